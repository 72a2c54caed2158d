"""The server that is tried: requests within a budget, scenes that are cancelled in the end."""

import asyncio
import contextlib
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

MOST_REQUESTS = 500
"""Of one run, sockets included: no more than a page or two of an ordinary site."""

ANSWER_SECONDS = 10.0
"""How long one answer, or the end of a socket, may take."""

MOST_TRIES = 3
PROXY_SECONDS = 2.0
"""How often, and after which pause, a request is sent that a proxy did not let through."""

BY_PROXY = (429, 502, 503, 504)
"""Statuses by which proxies say that they do not."""

EVIL = "https://evil.example"
"""A site of another owner (RFC 2606)."""

CHEAP_KINDS = ("web", "code", "website", "mini_program")
"""Login kinds whose scenes spend nothing of WeChat's."""

JSON_HEADERS = {"Content-Type": "application/json"}


class Broken(Exception):
    """A threat of the table came true.

    Args:
        what: what happened, and what should have.
        request: the exact request, to be sent again.
    """

    def __init__(self, what: str, request: str) -> None:
        super().__init__(what)
        self.what = what
        self.request = request


class NotApplicable(Exception):
    """This server does not have what the row is about; the text says what."""


class CannotLook(Exception):
    """The server does not answer, or not to this caller: the run says nothing about it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, with the request that brought it as text."""

    response: httpx.Response
    request: str

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        return self.response.text

    def header(self, name: str) -> str:
        return str(self.response.headers.get(name, ""))

    def must_be(self, *statuses: int, why: str) -> None:
        """Raise `Broken` unless the status is one of these."""
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise Broken(f"{why}: {self.status} instead of {wanted}", self.request)

    def must(self, holds: object, what: str) -> None:
        """Raise `Broken` unless it holds."""
        if not holds:
            raise Broken(what, self.request)

    def must_refuse(self, why: str) -> None:
        """Raise `Broken` unless the request was refused, and without a failure of the server."""
        if not 400 <= self.status < 500:
            raise Broken(f"{why}: {self.status} instead of a refusal", self.request)

    def document(self) -> dict[str, Any]:
        """The JSON object of the body; an empty one where it is none."""
        try:
            body = self.response.json()
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene that this run has begun."""

    document: Mapping[str, Any]
    begun: Answer

    @property
    def scene_str(self) -> str:
        return str(self.document.get("scene_str", ""))

    @property
    def watch_token(self) -> str:
        return str(self.document.get("watch_token", ""))

    @property
    def path(self) -> str:
        return f"/api/scenes/{self.scene_str}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.watch_token}"}

    @property
    def set_cookie(self) -> str:
        """The header that sets the begin cookie."""
        cookies = self.begun.response.headers.get_list("set-cookie")
        return next((cookie for cookie in cookies if "begin=" in cookie.split(";")[0]), "")

    @property
    def cookie(self) -> str:
        """``name=value`` of the begin cookie."""
        return self.set_cookie.partition(";")[0]


@dataclass
class Target:
    """One server, as a stranger reaches it.

    Args:
        url: its origin.
        pause: seconds between two requests, so that a proxy's limits for the address are not used
            up.
    """

    url: str
    pause: float = 0.0
    requests: int = 0
    _scenes: list[Scene] = field(default_factory=list)
    _named: dict[str, Scene] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=ANSWER_SECONDS, follow_redirects=False, trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Leave nothing behind: what is left of a failing server's scenes expires by itself.
        with contextlib.suppress(httpx.HTTPError):
            for scene in self._scenes:
                await self._http.delete(scene.path, headers=scene.bearer)
        await self._http.aclose()

    @property
    def is_https(self) -> bool:
        return self.url.startswith("https:")

    def count(self, requests: int = 1) -> None:
        """Spend some of the budget."""
        self.requests += requests
        if self.requests > MOST_REQUESTS:
            raise CannotLook(f"more than {MOST_REQUESTS} requests would be needed")

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: object = None,
        content: bytes | None = None,
    ) -> Answer:
        """One request; `body` is sent as JSON. No redirect is followed, no cookie kept."""
        self.count()
        # A value may not end in a blank: no token at all is the bare word Bearer.
        sent = {name: value.strip() for name, value in headers.items()}
        if body is not None:
            content = json.dumps(body).encode()
            sent = {**JSON_HEADERS, **sent}
        for _ in range(MOST_TRIES):
            await asyncio.sleep(self.pause)
            self._http.cookies.clear()
            try:
                response = await self._http.request(method, path, headers=sent, content=content)
            except httpx.HTTPError as error:
                raise CannotLook(f"{method} {path}: {type(error).__name__}") from None
            is_json = "json" in response.headers.get("Content-Type", "")
            if is_json or response.status_code not in BY_PROXY:
                break
            # Not the server's own answer. A limit passes soon.
            await asyncio.sleep(PROXY_SECONDS)
        else:
            raise CannotLook(f"a proxy answers {response.status_code} to {method} {path}")
        return Answer(response, as_text(method, self.url + path, sent, content))

    async def begin(
        self, kind: str = "", *, headers: Mapping[str, str] = {}, said: Mapping[str, str] = {}
    ) -> Scene:
        """A new scene, which spends nothing of WeChat's unless `kind` asks for it.

        Args:
            said: what else the body claims.
        """
        for one in (kind,) if kind else CHEAP_KINDS:
            answer = await self.ask(
                "POST", "/api/scenes", body={"kind": one, **said}, headers=headers
            )
            if answer.status == 201:
                scene = Scene(answer.document(), answer)
                self._scenes.append(scene)
                return scene
            if answer.document().get("error", {}).get("code") != "unknown_kind":
                break
        if answer.status == 429:
            wait = answer.header("Retry-After")
            raise CannotLook(f"the limit of this address is used up: try again in {wait} s")
        raise NotApplicable(f"no scene could be begun ({answer.status})")

    async def scene(self, name: str) -> Scene:
        """One of the scenes that several rows look at; nothing is done that changes them."""
        if name not in self._named:
            self._named[name] = await self.begin()
        return self._named[name]

    async def state(self, scene: Scene) -> Answer:
        """Its status, asked for by its own page. A long poll that need not wait: plain ones are
        answered once in `login.poll_interval_seconds`."""
        return await self.ask("GET", f"{scene.path}?wait=1&seq=0", headers=scene.bearer)

    async def must_be_untouched(self, scene: Scene, tried: Answer) -> None:
        """Raise `Broken`, naming `tried`, unless the scene still waits for a scan."""
        answer = await self.state(scene)
        if answer.status == 429:
            raise CannotLook("the server takes no more long polls of this address: try again later")
        status = answer.document()
        tried.must(
            status.get("state") == "waiting" and "login" not in status,
            f"the scene is {status.get('state')!r} after a request that should change nothing",
        )

    # Sockets.

    def socket_request(self, scene_str: str, token: str | None, origin: str | None) -> str:
        """An upgrade as text."""
        names = "scanpush.v1" + ("" if token is None else f", watch.{token}")
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": names}
        if origin is not None:
            headers["Origin"] = origin
        return as_text("GET", f"{self.url}/ws/{scene_str}", headers, None)

    @contextlib.asynccontextmanager
    async def socket(
        self, scene_str: str, token: str | None, origin: str | None = None
    ) -> AsyncIterator[ClientConnection | int]:
        """A socket, or the status with which it is refused."""
        self.count()
        names: list[Any] = ["scanpush.v1", *([] if token is None else [f"watch.{token}"])]
        address = f"ws{self.url.removeprefix('http')}/ws/{scene_str}"
        options: dict[str, Any] = {"subprotocols": names, "open_timeout": ANSWER_SECONDS}
        if origin is not None:
            options["origin"] = origin
        try:
            socket = await connect(address, **options, proxy=None, close_timeout=2)
        except InvalidStatus as refusal:
            yield refusal.response.status_code
        except InvalidHandshake:
            yield 0
        except (OSError, TimeoutError) as error:
            raise CannotLook(f"no socket: {type(error).__name__}") from None
        else:
            async with socket:
                yield socket

    async def must_refuse_socket(
        self, scene_str: str, token: str | None, origin: str | None, why: str
    ) -> None:
        """Raise `Broken` if this opens a socket."""
        async with self.socket(scene_str, token, origin) as socket:
            if not isinstance(socket, int) or not 400 <= socket < 500:
                request = self.socket_request(scene_str, token, origin)
                what = "it is opened" if not isinstance(socket, int) else f"{socket}"
                raise Broken(f"{why}: {what} instead of a refusal", request)

    async def closed_with(self, socket: ClientConnection) -> int | None:
        """The code with which the server closes the socket; None if it does not."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    await socket.recv()
        except ConnectionClosed:
            return socket.close_code
        except TimeoutError:
            return None

    # Bytes.

    @contextlib.asynccontextmanager
    async def bytes(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A bare connection, for what no HTTP client would send."""
        parts = urlsplit(self.url)
        tls = ssl.create_default_context() if self.is_https else None
        port = parts.port or (443 if self.is_https else 80)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        except (OSError, TimeoutError) as error:
            raise CannotLook(f"no connection: {type(error).__name__}") from None
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def is_near(url: str) -> bool:
    """Whether that is this machine or a private network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def as_text(method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> str:
    """A request as a command that sends it again; a long body is cut."""
    words = ["curl", "-i", "-X", method]
    for name, value in headers.items():
        words += ["-H", f"'{name}: {value[:500]}'"]
    if content is not None:
        text = content[:1000].decode("utf-8", "replace").replace("'", "'\\''")
        text = re.sub(r"[\x00-\x08\x0b-\x1f]", "?", text)
        more = f" (and {len(content) - 1000} bytes more)" if len(content) > 1000 else ""
        words += ["--data-binary", f"'{text}'{more}"]
    return " ".join([*words, f"'{url}'"])
