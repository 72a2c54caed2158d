"""services.http_client: one exchange, the pools under it, and the proxies it may use."""

import traceback
from collections.abc import Callable

import httpx
import pytest
from tornado.testing import bind_unused_port

from services.errors import Broken, ExchangeFailed, NotReached
from services.http_client import Response, exchange, make_transport

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


@pytest.mark.parametrize(
    ("base", "proxied"),
    [(API, True), ("http://127.0.0.1:9", False), ("http://localhost:9", False)],
)
@pytest.mark.gen_test
async def test_proxies_of_the_environment(
    base: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may be WeChat's way out, never the way to the simulator."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with make_transport(base) as client:
        assert client.trust_env is proxied


@pytest.mark.parametrize(
    ("other", "proxied"),
    [
        ("http://127.0.0.1:9/hook", False),
        ("http://10.0.0.5/hook", False),
        ("http://[::1]:9/hook", False),
        ("https://[fd00::5]/hook", False),
        (f"{API}/hook", True),
    ],
)
@pytest.mark.gen_test
async def test_no_proxy_stands_before_the_operators_own_network(
    other: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook on this machine is asked directly, though WeChat is asked through a proxy."""
    listener, port = bind_unused_port()
    listener.close()
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
    async with make_transport(API, [other]) as client:
        assert client._transport_for_url(httpx.URL(API)) is not client._transport
        assert (client._transport_for_url(httpx.URL(other)) is not client._transport) is proxied
