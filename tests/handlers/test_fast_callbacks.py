"""Pushes served straight from the socket: what is taken, what is handed on, and how connections
end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer

from handlers.base import HttpResponse
from handlers.callbacks import hot_route
from handlers.listener import HotRoute, Listener
from services.push.admission import Capacity
from services.tasks import Supervisor
from tests.stack import ON_LOOP, WITHIN_SECONDS, eventually

PUSH = b"POST /wechat/callback?nonce=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n<xml>"
ROUTE = hot_route(None)  # its answer is not asked for here
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess"


class FakeCallbacks:
    """Answers ``success``, or what `body` says. Switches: `gate` holds answers back, `leaving`
    closes behind them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.leaving = False
        self.body = b"success"
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, target: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        self.asked.append((target, body))
        await self.gate.wait()
        more = {"Connection": "close"} if self.leaving else {}
        return HttpResponse(200, {"Content-Length": str(len(self.body)), **more}, self.body)


class Bench:
    """The listener's fast path with a fake route, and the client of a socket pair."""

    def __init__(self, idle_seconds: float) -> None:
        self.callbacks = FakeCallbacks()
        self.supervisor = Supervisor()
        self.unfinished: set[object] = set()
        self.handed_on: list[tuple[socket.socket, bytes]] = []
        self.listener = Listener(
            HTTPServer(lambda request: None),
            lambda connection, address, head, early: False,
            HotRoute("POST", ROUTE.target, self.callbacks.answer),
            Capacity(2**31, 0),
            self.supervisor,
            self.unfinished,
            idle_seconds,
        )
        self.listener.hand_over = lambda connection, address, data: self.handed_on.append(
            (connection, data)
        )
        self.client, self._server = socket.socketpair()
        for end in (self.client, self._server):
            end.setblocking(False)

    def arrive(self, data: bytes) -> bool:
        """The client connects and says `data`; whether the connection is taken."""
        self.client.send(data)
        self.listener._serve(self._server, ("127.0.0.1", 1))
        return not self.handed_on

    async def hears(self) -> bytes:
        """What the client reads next; nothing at the end of the connection."""
        async with asyncio.timeout(WITHIN_SECONDS):
            return await asyncio.get_running_loop().sock_recv(self.client, 8192)

    async def rests(self) -> None:
        async def done() -> bool:
            return not self.unfinished

        await eventually(done)


@contextlib.asynccontextmanager
async def bench(idle_seconds: float = 60) -> AsyncIterator[Bench]:
    one = Bench(idle_seconds)
    try:
        yield one
    finally:
        one.listener.close()
        await one.supervisor.close()
        for end in (one.client, one._server):
            end.close()


@ON_LOOP
async def test_one_push_after_the_other() -> None:
    """A kept-alive connection brings pushes, each answered before the next is read."""
    async with bench() as one:
        assert one.arrive(PUSH)
        assert await one.hears() == ANSWER
        one.client.send(PUSH)
        assert await one.hears() == ANSWER
        assert one.callbacks.asked == 2 * [("/wechat/callback?nonce=1", b"<xml>")]


@ON_LOOP
async def test_pushes_in_one_packet() -> None:
    """A client that does not wait for its answers is left to a real parser."""
    async with bench() as one:
        assert not one.arrive(PUSH + PUSH)
        assert not one.callbacks.asked and not one.listener.connections


@ON_LOOP
async def test_a_push_before_the_answer() -> None:
    """What a client sends without waiting for the answer waits in the kernel, in order."""
    async with bench() as one:
        one.callbacks.gate.clear()
        assert one.arrive(PUSH)
        one.client.send(PUSH.replace(b"nonce=1", b"nonce=2"))
        await asyncio.sleep(0.02)
        assert len(one.callbacks.asked) == 1
        one.callbacks.gate.set()
        heard = b""
        while len(heard) < 2 * len(ANSWER):
            heard += await one.hears()
        assert heard == 2 * ANSWER
        assert [target[-1] for target, _ in one.callbacks.asked] == ["1", "2"]


@ON_LOOP
async def test_another_request_is_handed_on_unserved() -> None:
    """The first request that is no plain push takes the connection with it, byte for byte."""
    async with bench() as one:
        assert one.arrive(PUSH)
        await one.hears()
        one.client.send(b"GET /healthz HTTP/1.1\r\n")
        while not one.handed_on:
            await asyncio.sleep(0.01)
        assert one.handed_on == [(one._server, b"GET /healthz HTTP/1.1\r\n")]
        assert not one.listener.connections


@ON_LOOP
async def test_a_client_that_leaves_meanwhile() -> None:
    """What was begun is finished all the same; only the answer is dropped."""
    async with bench() as one:
        one.callbacks.gate.clear()
        assert one.arrive(PUSH)
        one.client.close()
        await asyncio.sleep(0.02)
        assert len(one.unfinished) == 1
        one.callbacks.gate.set()
        await one.rests()
        assert not one.listener.connections


@ON_LOOP
async def test_a_client_that_leaves_between_pushes() -> None:
    """The connection is closed with it."""
    async with bench() as one:
        assert one.arrive(PUSH)
        await one.hears()
        one.client.close()
        while one.listener.connections:
            await asyncio.sleep(0.01)


@ON_LOOP
async def test_an_idle_connection_ends() -> None:
    """A connection that serves nothing is closed after a while; one at work is not idle."""
    async with bench(idle_seconds=0.05) as one:
        one.callbacks.gate.clear()
        assert one.arrive(PUSH)
        await asyncio.sleep(0.2)
        assert one.listener.connections
        one.callbacks.gate.set()
        assert await one.hears() == ANSWER
        assert await one.hears() == b""


@ON_LOOP
async def test_a_leaving_server_says_so() -> None:
    """The answer closes the connection, and says that it does."""
    async with bench() as one:
        one.callbacks.leaving = True
        assert one.arrive(PUSH)
        assert b"Connection: close\r\n" in await one.hears()
        assert await one.hears() == b""


@ON_LOOP
async def test_an_answer_that_does_not_fit_at_once() -> None:
    """Another system's long answer is written as the client reads it; the connection goes on."""
    async with bench() as one:
        one._server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        one.callbacks.body = bytes(range(256)) * 256
        assert one.arrive(PUSH)
        heard = b""
        while not heard.endswith(one.callbacks.body):
            heard += await one.hears()
        one.client.send(PUSH)
        assert (await one.hears()).startswith(b"HTTP/1.1 200 OK")


@ON_LOOP
async def test_a_client_that_leaves_in_the_middle_of_an_answer() -> None:
    """The rest is not read: the connection ends, and nothing is kept for it."""
    async with bench() as one:
        one._server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        one.callbacks.body = bytes(65536)
        assert one.arrive(PUSH)
        await one.hears()
        one.client.close()
        await one.rests()
        assert not one.listener.connections


NOT_PLAIN = {
    "in pieces": PUSH[:-1],
    "with more behind it": PUSH + b"P",
    "another method": PUSH.replace(b"POST", b"PUT"),
    "another path": PUSH.replace(b"callback?", b"callbacks?"),
    "a longer path": PUSH.replace(b"callback?", b"callback/a/b?"),
    "an older version": PUSH.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no host": PUSH.replace(b"Host: a\r\n", b""),
    "no length": PUSH.replace(b"Content-Length: 5\r\n", b""),
    "two lengths": PUSH.replace(b"Host", b"Content-Length: 5\r\nHost"),
    "a length with a sign": PUSH.replace(b": 5", b": +5"),
    "chunks": PUSH.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
    "an expectation": PUSH.replace(b"Host", b"Expect: 100-continue\r\nHost"),
    "an upgrade": PUSH.replace(b"Host", b"Upgrade: h2c\r\nHost"),
    "one request only": PUSH.replace(b"Host", b"Connection: close\r\nHost"),
    "bare line feeds": PUSH.replace(b"\r\n", b"\n"),
    "a folded line": PUSH.replace(b"Host: a", b"Host: a\r\n b"),
    "space before the colon": PUSH.replace(b"Host:", b"Host :"),
    "a byte that is not ASCII": PUSH.replace(b"Host: a", b"Host: \xe9"),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain(data: bytes) -> None:
    """A real parser decides about everything out of the ordinary."""
    assert ROUTE.plain_request(data) is None


LINES = st.sampled_from(
    [
        "Host: a",
        "host: b",
        "Content-Length: 5",
        "content-length: 3",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "Connection: keep-alive",
        "Content-Type: text/xml",
        "X: \t",
        "X:",
        "X-Y: z  ",
        " folded",
    ]
)
TARGETS = st.sampled_from(["/wechat/callback", "/wechat/callback/b?x=%0d%0a", "/wechat/callback#"])


@given(target=TARGETS, lines=st.lists(LINES, max_size=6), body=st.binary(max_size=9))
def test_it_reads_what_a_full_parser_reads(target: str, lines: list[str], body: bytes) -> None:
    """Whatever is taken is the same request to h11, ending at the same byte: none is smuggled."""
    head = "".join(f"{line}\r\n" for line in (f"POST {target} HTTP/1.1", *lines)).encode()
    data = head + b"\r\n" + body
    taken = ROUTE.plain_request(data)
    if taken is None:
        return
    full = h11.Connection(h11.SERVER)
    full.receive_data(data)
    request, content = full.next_event(), full.next_event()
    assert isinstance(request, h11.Request) and request.target.decode() == taken.target
    assert {name.decode().title(): value.decode() for name, value in request.headers} == dict(
        taken.headers
    )
    read = bytes(content.data) if isinstance(content, h11.Data) else b""
    assert read == data[taken.length :]
    assert full.trailing_data == (b"", False)


@given(start=st.integers(0, len(PUSH)), rest=st.binary(max_size=60))
def test_any_bytes(start: int, rest: bytes) -> None:
    """Nothing that comes can make it raise, nor read beyond what came."""
    data = PUSH[:start] + rest
    head = ROUTE.plain_request(data)
    assert head is None or head.length <= len(data)
