"""The OpenID Provider for clients that were written elsewhere: one server as ``scripts/run`` starts
it, or two nodes behind nginx that are killed and started again; and the browser of a person."""

import asyncio
import contextlib
import html
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import urljoin

import httpx

from deploy.cluster import LocalCluster
from deploy.programs import free_port
from tests.browser.aside import Aside
from tests.browser.real_server import Real
from tests.servers import need

CLUSTER_STARTS_WITHIN_SECONDS = 90
WITHIN_SECONDS = 30

NGINX_FORGETS_SECONDS = 2.2
"""For fail_timeout it does not ask a node that was away, even when there is no other."""

AWAY = (502, 503, 504)
"""What nginx answers for a node that was killed, and a node that cannot answer now."""


class Provider(Protocol):
    """A running one. `url` is its issuer."""

    url: str

    def do(self, action: str, **what: Any) -> dict[str, Any]:
        """Let a person do something, as the simulator's controls have it."""


def sections(clients: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with these clients, and with refresh tokens."""
    return {
        "limits": {"exempt": ["127.0.0.0/8"]},
        "jwt": {"ttl_seconds": 300},
        "sessions": {"refresh_ttl_seconds": 86400},
        "oidc": {"clients": dict(clients)},
    }


@contextlib.contextmanager
def one_server(folder: Path, clients: Mapping[str, Any]) -> Iterator[Real]:
    """The embedded backend."""
    port = free_port()
    server = {"port": port, "public_url": f"http://127.0.0.1:{port}"}
    with Real(folder, server=server, **sections(clients)) as real:
        yield real


class Cluster:
    """Two nodes with Redis and MongoDB's protocol behind nginx. Use it in ``with``."""

    def __init__(self, folder: Path, clients: Mapping[str, Any]) -> None:
        for program in ("nginx", "redis-server", "nx-27017"):
            need(program, hint="scripts/test installs it")
        self._aside = Aside()
        self._cluster = LocalCluster(folder, sections=sections(clients))
        self.url = self._cluster.url
        self._turn = 0
        self.kills = 0

    def do(self, action: str, **what: Any) -> dict[str, Any]:
        simulator = self._cluster.phone_url.removesuffix("/phone")
        answer = httpx.post(f"{simulator}/simulator/{action}", json=what, timeout=20)
        answer.raise_for_status()
        done: dict[str, Any] = answer.json()
        return done

    def lose_a_node(self) -> None:
        """Kill a node, the other one each time. The one before is started again first, and known to
        nginx."""
        self._aside.run(self._lose_a_node(NGINX_FORGETS_SECONDS), WITHIN_SECONDS)

    async def _lose_a_node(self, pause: float) -> None:
        if self.kills:
            await self._cluster.restart_node(self._turn)
            await asyncio.sleep(pause)
            self._turn = 1 - self._turn
        await self._cluster.nodes[self._turn].kill()
        self.kills += 1

    @contextlib.contextmanager
    def losing_nodes(self) -> Iterator[None]:
        """Meanwhile nodes are killed in turn, whatever they do then, and started again. nginx knows
        of none for a moment, too: clients have to try again."""
        stop = asyncio.Event()
        work = self._aside.begin(self._lose_nodes(stop))
        try:
            yield
        finally:
            self._aside.run(self._set(stop))
            work.result(WITHIN_SECONDS)

    async def _set(self, stop: asyncio.Event) -> None:
        stop.set()

    async def _lose_nodes(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._lose_a_node(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.3)

    def __enter__(self) -> Self:
        self._aside.__enter__()
        try:
            self._aside.run(self._cluster.start(), CLUSTER_STARTS_WITHIN_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._aside.run(self._cluster.stop(), CLUSTER_STARTS_WITHIN_SECONDS)
        self._aside.__exit__(None, None, None)


class Arrived(NamedTuple):
    """What a client's redirect URI gets."""

    url: str
    form: Mapping[str, str] | None = None
    """What is posted to it; None: it is a GET."""


class Browser:
    """A person's browser with its cookies. It loads a page again that does not come.

    Use it in ``with``.
    """

    def __init__(self, provider: Provider, person: str) -> None:
        self._provider = provider
        self._person = person
        self.http = httpx.Client(timeout=WITHIN_SECONDS, verify=False)
        self.scans = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request, again as long as there is no answer to it."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self.http.request(method, url, **options)
                if answer.status_code not in AWAY:
                    return answer
            assert time.monotonic() < deadline, f"no answer: {method} {url}"
            time.sleep(0.05)

    def open(self, url: str) -> Arrived:
        """Where the browser leaves the provider that a client sent to `url`; the person scans and
        presses buttons where they are asked to."""
        while url.startswith(self._provider.url):
            answer = self.send("GET", url)
            if 'name="scanpush-authorize"' in answer.text:
                answer = self._scanned(answer)
            elif "<button" in answer.text and 'value="yes"' in answer.text:
                answer = self._pressed(answer)
            if form := re.search(r'<form[^>]* action="([^"]+)"', answer.text):
                return Arrived(html.unescape(form[1]), _fields(answer.text))
            url = _onward(answer)
        return Arrived(url)

    def allow_device(self, url: str) -> None:
        """Open the address beside a device's code, and press "allow"."""
        answer = self.send("GET", url)
        while 'name="allow"' not in answer.text:
            if 'name="scanpush-authorize"' in answer.text:
                answer = self._scanned(answer)
            answer = self.send("GET", _onward(answer))
        own = {"Origin": self._provider.url}
        data = {**_fields(answer.text), "allow": "1"}
        self.send("POST", f"{self._provider.url}/device", data=data, headers=own)

    def _scanned(self, page: httpx.Response) -> httpx.Response:
        """The answer to the login page's form, after a scan of its code."""
        found = re.search(r'name="scanpush-authorize" content="([^"]+)"', page.text)
        assert found, page.text[:500]
        own = {"Origin": self._provider.url}
        begun = self.send(
            "POST",
            f"{self._provider.url}/api/scenes",
            json={"authorize": found[1]},
            headers=own,
        )
        assert begun.status_code == 201, begun.text
        scene = begun.json()
        self._provider.do("scan", person=self._person, url=scene["qr"]["content"])
        self.scans += 1
        bearer = {"Authorization": f"Bearer {scene['watch_token']}"}
        seq = 0
        while True:
            address = f"{self._provider.url}{scene['status']}?wait=10&seq={seq}"
            status = self.send("GET", address, headers=bearer).json()
            if "ticket" in status:
                break
            assert status["state"] in ("waiting", "scanned", "authorized"), status
            seq = status["seq"]
        data = {"pending": found[1], "ticket": status["ticket"]}
        return self.send("POST", str(page.url), data=data, headers=own)

    def _pressed(self, page: httpx.Response) -> httpx.Response:
        """The answer to "yes, log me out"."""
        own = {"Origin": self._provider.url}
        data = {**_fields(page.text), "answer": "yes"}
        return self.send("POST", f"{self._provider.url}/oauth/logout", data=data, headers=own)


def _fields(page: str) -> dict[str, str]:
    """The hidden fields of a form."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def _onward(answer: httpx.Response) -> str:
    """Where a browser goes next."""
    if answer.is_redirect:
        return urljoin(str(answer.url), answer.headers["Location"])
    found = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]+)">', answer.text)
    assert found, (answer.status_code, answer.text[:500])
    return html.unescape(found[1])
