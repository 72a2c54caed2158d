"""services.http_client: one exchange, its transport, and the proxies it may use."""

import asyncio
import base64
import contextlib
import traceback
from collections.abc import Callable
from typing import Self
from urllib.parse import quote

import httpx
import pytest

from services.errors import Broken, ExchangeFailed, NotReached
from services.http_client import Response, exchange, make_transport
from services.settings.models import AccountSettings, Settings, WeChatSettings
from services.settings.outgoing import load_outgoing

API = "https://api.weixin.qq.com"
URL = "http://site.test/path?a=%2Bb+c"
SECRET = "a-secret-in-the-address"


async def ask(
    handler: Callable[[httpx.Request], httpx.Response], url: str = URL, **options: object
) -> Response:
    timeout = httpx.Timeout(5)
    transport = httpx.MockTransport(handler)
    return await exchange(transport, "POST", url, timeout=timeout, longest=4, **options)


@pytest.mark.parametrize(("query", "sent"), [(None, b"a=%2Bb+c"), ({"x": "1"}, b"x=1"), ({}, b"")])
@pytest.mark.gen_test
async def test_the_query_is_sent_as_it_stands_unless_another_is_given(
    query: dict[str, str] | None, sent: bytes
) -> None:
    """A forwarded callback must keep every byte that its signature is checked against."""
    seen: list[httpx.Request] = []

    def site(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404, content=b"none", headers={"Content-Type": "text/plain"})

    assert await ask(site, query=query, content=b"body") == Response(404, "text/plain", b"none")
    assert (seen[0].url.query, seen[0].content) == (sent, b"body")


@pytest.mark.gen_test
async def test_a_long_body_is_left_out() -> None:
    """The status counts all the same: an error page is an error, however long."""
    assert await ask(lambda _: httpx.Response(500, content=b"12345")) == Response(500, "", None)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError, NotReached),
        (httpx.ConnectTimeout, NotReached),
        (httpx.PoolTimeout, NotReached),
        (httpx.ReadError, Broken),
        (httpx.WriteTimeout, Broken),
        (httpx.RemoteProtocolError, Broken),
        (httpx.InvalidURL, Broken),
        (ConnectionResetError, Broken),
    ],
)
@pytest.mark.gen_test
async def test_failures_say_whether_the_server_may_have_seen_the_request(
    fault: type[Exception], kind: type[ExchangeFailed]
) -> None:
    """By name only: neither text nor traceback shows the address."""

    def site(request: httpx.Request) -> httpx.Response:
        raise fault(f"no way to {request.url}")

    with pytest.raises(ExchangeFailed) as caught:
        await ask(site, f"http://site.test/?secret={SECRET}")
    assert type(caught.value) is kind and str(caught.value) == fault.__name__
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.gen_test
async def test_an_address_that_is_none_is_a_failure_like_others() -> None:
    """It is found out only when the request is built."""
    with pytest.raises(Broken, match="^InvalidURL$"):
        await ask(lambda _: httpx.Response(200), "http://site.test/?\x00")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.gen_test
async def test_no_request_is_sent_again_on_another_connection(method: str) -> None:
    """Also not where a kept connection ends without an answer: the server may have read it."""
    heads: list[bytes] = []

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            heads.append(await reader.readuntil(b"\r\n\r\n"))

    server = await asyncio.start_server(answer_the_first, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    timeout = httpx.Timeout(5)
    async with server, make_transport(url) as client:
        assert (await exchange(client, method, url, timeout=timeout, longest=4)).status == 200
        with pytest.raises(Broken):
            await exchange(client, method, url, timeout=timeout, longest=4)
    assert len(heads) == 2


class ProxyServer:
    """An HTTP proxy that answers every request itself; `seen` has the heads. It opens no tunnel."""

    async def __aenter__(self) -> Self:
        self.seen: list[str] = []
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head)
        status = "403 Forbidden" if head.startswith("CONNECT") else "200 OK"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


async def asked(url: str, base: str, **environ: str) -> Response:
    """The response to a client whose process has this environment."""
    settings = Settings(
        wechat=WeChatSettings(
            api_base=base, accounts={"a": AccountSettings(app_id="wx0123456789abcdef")}
        )
    )
    async with make_transport(base, load_outgoing(settings, environ)) as client:
        return await exchange(client, "GET", url, timeout=httpx.Timeout(5), longest=4)


@pytest.mark.parametrize("password", ["p@ss", "密码"])
@pytest.mark.gen_test
async def test_a_request_goes_through_the_proxy(password: str) -> None:
    """With the proxy's user and password, which the server behind it is not told in the address."""
    async with ProxyServer() as proxy:
        address = f"http://user:{quote(password)}@127.0.0.1:{proxy.port}"
        url = "http://api.example.com/token"
        assert (await asked(url, API, HTTP_PROXY=address)).status == 200
    [head] = proxy.seen
    credentials = base64.b64encode(f"user:{password}".encode()).decode()
    assert head.startswith("GET http://api.example.com/token HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {credentials}\r\n" in head


@pytest.mark.gen_test
async def test_a_proxy_that_opens_no_tunnel_is_a_request_that_was_not_sent() -> None:
    """TLS goes through CONNECT, and the server has seen nothing of a request that it refuses."""
    async with ProxyServer() as proxy:
        with pytest.raises(NotReached):
            await asked(f"{API}/token", API, HTTPS_PROXY=f"user:%E5%AF%86@127.0.0.1:{proxy.port}")
    assert proxy.seen[0].startswith("CONNECT api.weixin.qq.com:443 HTTP/1.1\r\n")
    assert (
        f"\r\nProxy-Authorization: Basic {base64.b64encode('user:密'.encode()).decode()}\r\n"
        in (proxy.seen[0])
    )


@pytest.mark.parametrize(
    ("base", "host"),
    [
        (API, "127.0.0.1"),
        (API, "localhost"),
        ("http://127.0.0.1:9", "127.0.0.1"),
        ("http://localhost:9", "127.0.0.1"),
    ],
)
@pytest.mark.gen_test
async def test_no_proxy_stands_before_the_operators_own_network(base: str, host: str) -> None:
    """A hook on this machine is asked directly, and so is a simulator."""
    async with ProxyServer() as proxy, ProxyServer() as hook:
        address = f"http://127.0.0.1:{proxy.port}"
        url = f"http://{host}:{hook.port}/hook"
        assert (await asked(url, base, ALL_PROXY=address)).status == 200
    assert (len(proxy.seen), len(hook.seen)) == (0, 1)


@pytest.mark.gen_test
async def test_no_library_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its proxies nor its certificates: what the client uses was checked before."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "[::1]")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    async with ProxyServer() as hook:
        assert (await asked(f"http://127.0.0.1:{hook.port}/hook", API)).status == 200
