"""Browsers and clients of the OpenID Provider, over real connections."""

import atexit
import contextlib
import copy
import functools
import html
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import httpx
from tornado.web import RequestHandler

from tests.handlers.running import Running
from tests.listeners import Listener
from tests.stack import WITHIN_SECONDS, Page, Stack

ISSUER = "https://login.example.test"
"""Whatever address the test server has: nothing here is reached by it."""

CALLBACK = "https://wiki.example.test/cb"
SECRET = "a-secret-of-the-wiki-alone"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
"""RFC 7636, appendix B."""

WIKI: dict[str, Any] = {
    "secret": SECRET,
    "name": "Tea Wiki",
    "redirect_uris": [CALLBACK, "https://wiki.example.test/cb?tenant=1"],
    "post_logout_redirect_uris": ["https://wiki.example.test/bye"],
}
SHOP: dict[str, Any] = {
    "public": True,
    "name": "Tea Shop",
    "redirect_uris": ["https://shop.example.test/cb"],
    "post_logout_redirect_uris": ["https://shop.example.test/"],
}


def provider(**clients: dict[str, Any]) -> dict[str, Any]:
    """Sections of the settings of a server with the two clients, changed as given."""
    made = {
        "wiki": {**WIKI, **clients.pop("wiki", {})},
        "shop": {**SHOP, **clients.pop("shop", {})},
    }
    return {
        "server": {"public_url": ISSUER},
        "jwt": {"key_file": Path(_keys().name) / "keys.json"},
        "oidc": {"clients": {**made, **clients}},
    }


@functools.cache
def _keys() -> "tempfile.TemporaryDirectory[str]":
    """For the keys of all these servers: an RSA key takes longer to make than a server."""
    folder = tempfile.TemporaryDirectory(prefix="scanpush-keys-")
    atexit.register(folder.cleanup)
    return folder


def asking(client: str = "wiki", **changes: str | None) -> dict[str, str]:
    """The parameters of a request that is granted. None leaves one out."""
    callback = CALLBACK if client == "wiki" else "https://shop.example.test/cb"
    parameters = {
        "client_id": client,
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid",
        "state": "a state & more",
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def sent_to(answer: httpx.Response) -> tuple[str, dict[str, str]]:
    """Where a browser is sent, and with which parameters: by a redirect, or after a form by a page
    of its own."""
    if answer.request.method == "POST" and answer.status_code == 200:
        found = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]+)">', answer.text)
        assert found, answer.text
        target = html.unescape(found[1])
    else:
        assert answer.status_code in (302, 303), (answer.status_code, answer.text)
        target = answer.headers["Location"]
    address, _, query = target.partition("?")
    fields = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    assert len(dict(fields)) == len(fields)
    return address, dict(fields)


def meta(answer: httpx.Response, name: str) -> str:
    """What a page is told in a meta tag."""
    found = re.search(rf'<meta name="scanpush-{name}" content="([^"]*)">', answer.text)
    assert found, answer.text[:300]
    return found[1]


@contextlib.asynccontextmanager
async def visiting(running: Running) -> AsyncIterator[Stack]:
    """A server that tests share, for one of them: what it does over HTTP is done on its own loop.
    Parts of the server are reached by `Running.do`."""
    stack = copy.copy(running.stack)
    stack.http = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{stack.port}", timeout=WITHIN_SECONDS, verify=False
    )
    async with stack.http:
        yield stack


class BrowserOfOne:
    """A browser with its cookies, over TLS as it believes: a proxy in front speaks it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{stack.port}", timeout=WITHIN_SECONDS, verify=False
        )
        self.jar: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; cookies are kept as a browser keeps those of the prefix __Host-."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        headers = {name: value for name, value in headers.items() if value}
        headers |= options.pop("headers", {})
        answer = await self.http.request(method, path, headers=headers, **options)
        for line in answer.headers.get_list("Set-Cookie"):
            pair, *attributes = line.split("; ")
            assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(attributes), line
            name, _, value = pair.partition("=")
            assert name.startswith("__Host-"), line
            if "Max-Age=0" in attributes:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        self.http.cookies.clear()
        return answer

    async def ask(self, client: str = "wiki", **changes: str | None) -> httpx.Response:
        """Bring a client's request."""
        return await self.send("GET", "/oauth/authorize", params=asking(client, **changes))

    async def begin(self, shown: httpx.Response, **body: Any) -> Page:
        """What the login page does first."""
        assert shown.status_code == 200, shown.text
        wish = {"authorize": meta(shown, "authorize"), **body}
        answer = await self.send("POST", "/api/scenes", json=wish)
        assert answer.status_code == 201, answer.text
        return Page(self.stack, answer.json(), self.jar["__Host-begin"])

    async def post(
        self, shown: httpx.Response, origin: str | None = ISSUER, **fields: str
    ) -> httpx.Response:
        """What the login page's form sends, to the address of the page."""
        headers = {} if origin is None else {"Origin": origin}
        data = {"pending": meta(shown, "authorize"), **fields}
        return await self.send("POST", str(shown.url), data=data, headers=headers)

    async def ticket(self, page: Page) -> str:
        """The ticket of an authorized page."""
        document = await page.reaches("authorized")
        assert "login" not in document
        return str(document["ticket"])

    async def log_in(
        self, person: str = "alice", client: str = "wiki", **changes: str | None
    ) -> httpx.Response:
        """All of it, from the client's request to what it is answered."""
        shown = await self.ask(client, **changes)
        page = await self.begin(shown)
        await self.stack.scan(page, person)
        return await self.post(shown, ticket=await self.ticket(page))

    async def sid(self) -> str:
        """The id of the browser's session."""
        return self.jar["__Host-op_session"].partition(".")[0]


class _BackChannel(RequestHandler):
    def post(self) -> None:
        self.settings["listener"].heard.append(self.get_body_argument("logout_token"))


class ClientServer(Listener):
    """What listens at a client's ``backchannel_logout_uri``: `heard` has the log-out tokens."""

    def __init__(self) -> None:
        super().__init__("/bcl", _BackChannel)
        self.heard: list[str] = []
