"""Proxies in front: what they say of the scheme, what they drop, and the forms of their targets."""

import asyncio
import itertools
from pathlib import Path

import pytest

from tests.conftest import UnexpectedLogs
from tests.handlers.answers import parsed
from tests.stack import ON_LOOP, WITHIN_SECONDS, Page, Stack

pytestmark = ON_LOOP

PROXY = {"trusted_proxies": ["127.0.0.1"]}
HOST = "login.example"


async def said(stack: Stack, request: str, body: str = "") -> bytes:
    """What the server answers on a connection of its own, up to the end of the first head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(request.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body.encode())
    async with asyncio.timeout(WITHIN_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head


def upgrade(page: Page, *headers: str, target: str = "", origin: str = f"https://{HOST}") -> str:
    """A page's upgrade as a proxy passes it on, with its headers."""
    lines = [
        f"GET {target}{page.document['ws']} HTTP/1.1",
        f"Host: {HOST}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return "\n".join(lines) + "\n"


def offer(page: Page) -> str:
    return f"Sec-WebSocket-Protocol: scanpush.v1, watch.{page.document['watch_token']}"


HTTPS = ["https", "HTTPS", "wss", "WSS", " wss ", "https,https", "https, https", "wss, https"]


async def test_every_spelling_of_https_is_understood(tmp_path: Path) -> None:
    """By sockets and by requests that begin scenes."""
    async with Stack(tmp_path, server=PROXY) as stack:
        page = await stack.begin()
        for proto in HTTPS:
            forwarded = f"X-Forwarded-Proto: {proto}"
            assert b" 101 " in await said(stack, upgrade(page, offer(page), forwarded)), proto
            begin = f"POST /api/scenes HTTP/1.1\nHost: {HOST}\nOrigin: https://{HOST}\n"
            length = f"{forwarded}\nContent-Length: 2\n"
            assert b" 201 " in await said(stack, begin + length, "{}"), proto


async def test_a_proxy_may_name_the_default_port(tmp_path: Path) -> None:
    """As nginx's ``$host:$server_port`` does: the page's Origin has none."""
    async with Stack(tmp_path, server=PROXY) as stack:
        page = await stack.begin()
        for proto, port in (("https", 443), ("http", 80)):
            forwarded, origin = f"X-Forwarded-Proto: {proto}", f"{proto}://{HOST}"
            request = upgrade(page, offer(page), forwarded, origin=origin)
            request = request.replace(f"Host: {HOST}", f"Host: {HOST}:{port}")
            assert b" 101 " in await said(stack, request)


MISREAD = {
    "values that differ": ("X-Forwarded-Proto: https, http", "several values of X-Forwarded-Proto"),
    "http": ("X-Forwarded-Proto: http", "names another scheme in X-Forwarded-Proto"),
    "a word": ("X-Forwarded-Proto: tls", "names another scheme in X-Forwarded-Proto"),
    "nothing": ("X-Forwarded-For: 192.0.2.1", "sends no X-Forwarded-Proto"),
    "Forwarded": ("Forwarded: for=192.0.2.1;proto=https", "sends Forwarded, which is not read"),
    "X-Forwarded-Ssl": ("X-Forwarded-Ssl: on", "sends X-Forwarded-Ssl, which is not read"),
    "Front-End-Https": ("Front-End-Https: on", "sends Front-End-Https, which is not read"),
    "X-Forwarded-Scheme": ("X-Forwarded-Scheme: https", "X-Forwarded-Scheme, which is not read"),
    "X-Url-Scheme": ("X-Url-Scheme: https", "sends X-Url-Scheme, which is not read"),
}


@pytest.mark.parametrize(("header", "reason"), MISREAD.values(), ids=MISREAD)
async def test_a_proxy_that_is_misunderstood_is_told(
    tmp_path: Path, logs: UnexpectedLogs, header: str, reason: str
) -> None:
    """One warning says what to set, however many pages are refused; the metric has its label."""
    logs.expect("refused for the scheme of its Origin: the proxy .*" + reason)
    async with Stack(tmp_path, server=PROXY) as stack:
        page = await stack.begin()
        for _ in range(3):
            assert b" 403 " in await said(stack, upgrade(page, offer(page), header))
        (line,) = logs.lines
        assert "X-Forwarded-Proto" in line and "server.public_url" in line
        metrics = (await stack.http.get("/metrics")).text
        assert 'scanpush_upgrades_refused_total{code="other_scheme"} 3.0' in metrics


@pytest.mark.parametrize("path", ["/api/scenes", "/oauth/allow"])
async def test_requests_are_explained_like_sockets(
    tmp_path: Path, logs: UnexpectedLogs, path: str
) -> None:
    """A page that cannot begin a scene opens no socket."""
    logs.expect("refused for the scheme of its Origin: the proxy sends Forwarded")
    async with Stack(tmp_path, server=PROXY) as stack:
        head = (
            f"POST {path} HTTP/1.1\nHost: {HOST}\nOrigin: https://{HOST}\nForwarded: proto=https\n"
        )
        assert b" 403 " in await said(stack, head + "Content-Length: 0\n")
        assert len(logs.lines) == 1


async def test_a_client_that_is_no_proxy_warns_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Any client may write any Origin. The advice is in the log all the same, at INFO."""
    caplog.set_level("INFO", "scanpush")
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        request = upgrade(page, offer(page), "X-Forwarded-Proto: https")
        assert b" 403 " in await said(stack, request)
        assert "127.0.0.1 is not in server.trusted_proxies" in caplog.text


async def test_a_public_url_of_the_other_scheme_is_told(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """The setting itself is wrong then, whatever the proxy says."""
    logs.expect("set server.public_url to the address that browsers use")
    async with Stack(tmp_path, server={**PROXY, "public_url": "http://localhost:8888"}) as stack:
        page = await stack.begin()
        request = upgrade(
            page, offer(page), "X-Forwarded-Proto: https", origin="https://localhost:8888"
        )
        assert b" 403 " in await said(stack, request)
        assert len(logs.lines) == 1


async def test_a_foreign_origin_is_not_the_proxys_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its refusal names it, and that is all."""
    caplog.set_level("INFO", "scanpush")
    async with Stack(tmp_path, server=PROXY) as stack:
        page = await stack.begin()
        evil = "https://evil.example"
        forwarded = "X-Forwarded-Proto: https"
        assert b" 403 " in await said(stack, upgrade(page, offer(page), forwarded, origin=evil))
        begin = f"POST /api/scenes HTTP/1.1\nHost: {HOST}\nOrigin: {evil}\nContent-Length: 0\n"
        assert b" 403 " in await said(stack, begin)
        assert [getattr(record, "origin", "") for record in caplog.records].count(evil) == 2


async def test_a_dropped_subprotocol_is_told(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """The page logs in by polling; the operator reads why, and the metric has its label."""
    logs.expect("an upgrade came without Sec-WebSocket-Protocol")
    async with Stack(tmp_path, server=PROXY) as stack:
        page = await stack.begin()
        for _ in range(2):
            request = upgrade(page, "X-Forwarded-Proto: https")
            assert b" 403 " in await said(stack, request)
        assert len(logs.lines) == 1
        metrics = (await stack.http.get("/metrics")).text
        assert 'scanpush_upgrades_refused_total{code="no_subprotocol"} 2.0' in metrics
        await stack.scan(page)
        assert "login" in (await page.poll()).json()


ABSOLUTE = [
    "http://127.0.0.1:8888",
    "https://login.example",
    "HTTP://LOGIN.EXAMPLE",
    "http://[::1]:8888",
    "http://other.example:80",
]
PATHS = {
    "/healthz": 200,
    "": 200,
    "?x=1": 200,
    "/kiosk": 200,
    "/static/qr.js": 200,
    "/nothing": 404,
}
EITHER = pytest.mark.parametrize("tornado", [False, True], ids=["http1", "tornado"])


@EITHER
async def test_absolute_targets_are_served_by_every_kind_of_route(
    tmp_path: Path, tornado: bool
) -> None:
    """Pages, files, what is not there, a target without a path, and what WeChat posts."""
    async with Stack(tmp_path, tornado=tornado) as stack:
        for authority, path in itertools.product(ABSOLUTE, PATHS):
            head = f"GET {authority}{path} HTTP/1.1\nHost: a.example\nConnection: close\n"
            assert parsed(await said(stack, head)).status_code == PATHS[path], authority + path
        page = await stack.begin()
        push = stack.scan_of(page)
        target = ABSOLUTE[0] + push.url.partition(f":{stack.port}")[2]
        head = f"POST {target} HTTP/1.1\nHost: x\nContent-Length: {len(push.body)}\n"
        assert b" 200 " in await said(stack, head, push.body.decode())
        assert await page.state() == "authorized"


@EITHER
async def test_an_absolute_target_names_the_host(tmp_path: Path, tornado: bool) -> None:
    """The Origin is held to it as to a Host header; neither lets a page of another host in."""
    async with Stack(tmp_path, tornado=tornado) as stack:
        page = await stack.begin()
        for target, origin, status in [
            (f"http://{HOST}", f"http://{HOST}", b" 101 "),
            ("http://other.example", f"http://{HOST}", b" 403 "),
            (f"http://{HOST}", "http://evil.example", b" 403 "),
            (f"https://{HOST}", f"https://{HOST}", b" 403 "),
        ]:
            request = upgrade(page, offer(page), target=target, origin=origin)
            assert status in await said(stack, request), (target, origin)


NO_TARGETS = ["ftp://a/", "http:///x", "http://u@a/", "http://[::1/", "http://a,b/", "healthz"]


@EITHER
async def test_other_targets_are_refused(tmp_path: Path, tornado: bool) -> None:
    """400, and no route is looked for."""
    async with Stack(tmp_path, tornado=tornado) as stack:
        for target in NO_TARGETS:
            head = f"GET {target} HTTP/1.1\nHost: a\nConnection: close\n"
            assert b" 400 " in (await said(stack, head))[:20], target


HOSTS = ["a", "a:", "a:65535", "[::1]", "[2001:db8::1]:80", "a_b.c-d", "1.2.3.4:8", "a%41"]
NO_HOSTS = [
    "",
    "a,b",
    "a b",
    "u@a",
    "[::1",
    "[x]",
    "::1",
    "a:99999",
    ":1",
    "a\\b",
    "a%",
    "a|b",
    "[]:1",
]


@EITHER
async def test_no_scene_is_begun_for_a_host_that_cannot_be(tmp_path: Path, tornado: bool) -> None:
    """Its code would lead nowhere."""
    async with Stack(tmp_path, tornado=tornado) as stack:
        for host in NO_HOSTS:
            head = f"POST /api/scenes HTTP/1.1\nHost: {host}\nContent-Length: 2\n"
            assert b" 400 " in (await said(stack, head, "{}"))[:20], host


async def test_every_host_that_can_be_has_its_code(tmp_path: Path) -> None:
    """Names, addresses and ports, as RFC 3986 writes them."""
    async with Stack(tmp_path) as stack:
        for host in HOSTS:
            head = f"POST /api/scenes HTTP/1.1\nHost: {host}\nContent-Length: 2\n"
            assert b" 201 " in (await said(stack, head, "{}"))[:20], host
