"""Upgrades by a raw client: every refusal comes before the upgrade, in JSON and without a hint."""

import asyncio
import json

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import AnyMatches, PathMatches, Rule, RuleRouter
from tornado.web import Application

from handlers.sockets import SocketRouter
from services.push import admission
from tests.conformance.raw import TEXT, Raw, upgrade
from tests.services.push.kit import ORIGIN, TOKEN, Node, eventually

pytestmark = pytest.mark.usefixtures("accepting")

UNKNOWN = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


async def _answer(node: Node, request: bytes) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and JSON body."""
    client = await Raw.connect(node.port)
    client.send(request)
    first, *lines = (await client.head()).decode().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await client.reader.readexactly(int(headers["Content-Length"]))
    client.leave()
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.gen_test
async def test_answer_of_the_rfc():
    """The accept value of RFC 6455 section 1.3, scanpush's subprotocol only, and no extension."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin()))
        head = (await client.head()).decode()
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        assert "Sec-WebSocket-Protocol: scanpush.v1\r\n" in head
        assert "Extensions" not in head and "watch." not in head
        assert (await client.read()).opcode == TEXT
        client.leave()


FORBIDDEN = {
    "foreign origin": lambda known: upgrade(known, Origin="https://evil.example"),
    "null origin": lambda known: upgrade(known, Origin="null"),
    "other scheme": lambda known: upgrade(known, Origin="http://shop.example"),
    "other port": lambda known: upgrade(known, Origin="https://shop.example:8443"),
    "no origin, no token": lambda known: upgrade(
        known, Origin=None, Sec_WebSocket_Protocol="scanpush.v1"
    ),
    "no token": lambda known: upgrade(known, Sec_WebSocket_Protocol="scanpush.v1"),
    "without scanpush.v1": lambda known: upgrade(known, Sec_WebSocket_Protocol=f"watch.{TOKEN}"),
    "another version": lambda known: upgrade(
        known, Sec_WebSocket_Protocol=f"scanpush.v2, watch.{TOKEN}"
    ),
    "no subprotocols": lambda known: upgrade(known, Sec_WebSocket_Protocol=None),
    "wrong token": lambda known: upgrade(known, token="x" * 43),
    "short token": lambda known: upgrade(known, token="short"),
    "two tokens": lambda known: upgrade(known, token=f"{'t' * 43}, watch.{'x' * 43}"),
    "unknown scene": lambda known: upgrade(UNKNOWN),
    "upper case": lambda known: upgrade(known.upper()),
    "not a version 4": lambda known: upgrade("3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
    "not a UUID": lambda known: upgrade("../../etc/passwd"),
    "no scene": lambda known: upgrade(""),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("request_for", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_forbidden(request_for):
    """Foreign origin, unknown scene and wrong token: one and the same answer."""
    async with Node() as node:
        status, headers, body = await _answer(node, request_for(node.scenes.begin()))
        assert status == 403
        assert body == {
            "error": {"code": "forbidden", "message": "this socket is not yours to open"}
        }
        assert headers["Cache-Control"] == "no-store" and len(headers["X-Request-Id"]) == 16
        assert node.sockets == 0 and not node.scenes.attached


@pytest.mark.gen_test
@pytest.mark.parametrize("host", ["node.example", "other.example"])
async def test_absolute_target(host):
    """The target names the Host (RFC 9112, section 3.2.2), and the Origin is held to that one."""
    async with Node() as node:
        request = upgrade(node.scenes.begin(), Origin="http://node.example")
        client = await Raw.connect(node.port)
        client.send(request.replace(b"GET /", b"GET http://%b/" % host.encode()))
        assert (b" 101 " in await client.head()) is (host == "node.example")
        client.leave()


@pytest.mark.gen_test
async def test_log_names_a_foreign_origin(caplog):
    """The one refused, at most a line of it, so that an operator sees which site to allow."""
    caplog.set_level("INFO", "scanpush.push")
    async with Node() as node:
        for origin in ("https://shop.example.org", "https://" + "x" * 3000):
            await _answer(node, upgrade(node.scenes.begin(), Origin=origin))
        await _answer(node, upgrade(UNKNOWN, Origin=ORIGIN))
    named = [getattr(record, "origin", None) for record in caplog.records]
    assert named == ["https://shop.example.org", "https://" + "x" * 112, None]


@pytest.mark.gen_test
async def test_no_origin_with_token():
    """Without an Origin no browser page asked, and the token decides."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin(), Origin=None))
        assert b" 101 " in await client.head()
        client.leave()


IMPOLITE = {
    "plain GET": (lambda known: upgrade(known, Upgrade=None, Connection=None), 426),
    "upgrade to something else": (lambda known: upgrade(known, Upgrade="h2c"), 426),
    "version 8": (lambda known: upgrade(known, Sec_WebSocket_Version="8"), 426),
    "HTTP/1.0": (lambda known: upgrade(known).replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
    "no key": (lambda known: upgrade(known, Sec_WebSocket_Key=None), 400),
    "short key": (lambda known: upgrade(known, Sec_WebSocket_Key="c2hvcnQ="), 400),
    "a body": (lambda known: upgrade(known, Content_Length="5") + b"hello", 400),
    "a body in chunks": (
        lambda known: upgrade(known, Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n\r\n",
        400,
    ),
    "POST": (lambda known: upgrade(known).replace(b"GET", b"POST"), 405),
}


@pytest.mark.gen_test
@pytest.mark.parametrize(("request_for", "expected"), IMPOLITE.values(), ids=IMPOLITE)
async def test_not_an_upgrade(request_for, expected):
    """A request that is no upgrade to scanpush's protocol is told so, in JSON."""
    async with Node() as node:
        status, headers, body = await _answer(node, request_for(node.scenes.begin()))
        assert status == expected
        assert isinstance(body["error"], dict)
        if status == 426:
            assert headers["Upgrade"] == "websocket"
            assert headers["Sec-Websocket-Version"] == "13"


NO_HOSTS = ["a,b", "a b", "u@a", "[::1", "", "::1", "[]", "[1.2.3.4]", "[::1]x", "a:x", "a:65536",
            "a:1:2", ":80", "a/b", "a?b", "a#b", "a\\b", "a%zz", "<a>", "a\x7f", "é"]  # fmt: skip


@pytest.mark.gen_test
@pytest.mark.parametrize("host", NO_HOSTS, ids=ascii)
async def test_host_that_cannot_be(host):
    """One grammar on every path: 400, and nothing is attached."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin(), Host=host, Origin=None))
        head = await client.head()
        client.leave()
        assert head.startswith(b"HTTP/1.1 400 ") and not node.scenes.attached


@pytest.mark.gen_test
async def test_store_away():
    """Without the store no socket is accepted: 503, and when to come back."""
    async with Node() as node:
        node.scenes.down = True
        status, headers, body = await _answer(node, upgrade(node.scenes.begin()))
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        assert int(headers["Retry-After"]) > 0


@pytest.mark.gen_test
async def test_store_hangs(monkeypatch):
    """A store that does not answer is not waited for without end."""
    monkeypatch.setattr(admission, "ATTACH_SECONDS", 0.05)
    async with Node() as node:
        node.scenes.gate.clear()
        status, _, body = await _answer(node, upgrade(node.scenes.begin()))
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        node.scenes.gate.set()
        await eventually(lambda: not node.scenes.attached)


@pytest.mark.gen_test
async def test_descriptor_limit():
    """Upgrades are refused with 503 before the open-file limit, and welcome again after a close."""
    async with Node(open_files=4002, reserve_descriptors=4000) as node:
        clients = [await Raw.open(node, node.scenes.begin()) for _ in range(2)]
        status, headers, body = await _answer(node, upgrade(node.scenes.begin()))
        assert (status, body["error"]["code"]) == (503, "overloaded")
        assert int(headers["Retry-After"]) > 0
        clients.pop().leave()
        await eventually(lambda: node.sockets == 1)
        clients.append(await Raw.open(node, node.scenes.begin()))
        for client in clients:
            client.leave()


@pytest.mark.gen_test
async def test_sockets_per_address():
    """One address holds so many sockets and no more; one that closes makes room."""
    async with Node(sockets_per_address=1) as node:
        client = await Raw.open(node, node.scenes.begin())
        status, headers, body = await _answer(node, upgrade(node.scenes.begin()))
        assert (status, body["error"]["code"]) == (429, "rate_limited")
        client.leave()
        await eventually(lambda: node.sockets == 0)
        (await Raw.open(node, node.scenes.begin())).leave()


@pytest.mark.gen_test
async def test_refusals_are_counted():
    """A refusal counts once, and holds nothing."""
    async with Node() as node:
        await _answer(node, upgrade(UNKNOWN))
        await _answer(node, upgrade(UNKNOWN, Origin="null"))
        assert node.counters.refusals == ["forbidden", "forbidden"]
        assert not node.push.hub.keys() and node.counters.opened == 0


@pytest.mark.gen_test
async def test_peer_gone_during_the_upgrade():
    """A peer that leaves while the store is asked is detached again."""
    async with Node() as node:
        node.scenes.gate.clear()
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin()))
        await eventually(lambda: "attach" in node.scenes.calls)
        client.leave()
        await asyncio.sleep(0.01)
        node.scenes.gate.set()
        await eventually(lambda: node.sockets == 0 and not node.scenes.attached)


@pytest.mark.gen_test
async def test_below_another_router(logs):
    """The router also works as one rule of Tornado's own."""
    logs.expect("404 GET /elsewhere")
    async with Node() as node:
        sockets = SocketRouter(node.push.admission, node.counters)
        rules = [Rule(PathMatches("/ws/.*"), sockets), Rule(AnyMatches(), Application())]
        server = HTTPServer(RuleRouter(rules))
        listening = bind_sockets(0, "127.0.0.1")
        server.add_sockets(listening)
        client = await Raw.connect(listening[0].getsockname()[1])
        client.send(upgrade(node.scenes.begin()))
        assert b" 101 " in await client.head()
        client.leave()
        other = await Raw.connect(listening[0].getsockname()[1])
        other.send(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 404 " in await other.head()
        other.leave()
        server.stop()
        await server.close_all_connections()
