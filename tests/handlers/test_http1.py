"""Connections of the HTTP layer: what is accepted, what is refused, and how connections end."""

import asyncio
import contextlib
import errno
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders
from tornado.web import Application, RequestHandler

from handlers import http1
from handlers.http1 import Http1Server
from handlers.http_messages import HotRoute, HttpResponse, Request, header_name
from services.push.admission import Capacity
from services.tasks import Supervisor
from tests.handlers.answers import parsed
from tests.stack import ON_LOOP, WITHIN_SECONDS, eventually

PUSH = b"POST /hot?nonce=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n<xml>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess"
CLOSED_ANSWER = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"

try:
    import uvloop
except ImportError:
    uvloop = None
LOOPS = ["asyncio", *(["uvloop"] if uvloop else [])]


@pytest.fixture(params=LOOPS, autouse=True)
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test on both event loops."""
    before = asyncio.get_event_loop_policy()
    if request.param == "uvloop":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(before)


class FakeCallbacks:
    """Answers ``success``, or what `status` and `body` say. `gate` holds answers back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.body = b"success"
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: Request) -> HttpResponse:
        self.asked.append((request.target, request.body))
        await self.gate.wait()
        length = str(len(self.body))
        return HttpResponse(self.status, {"Content-Length": length}, self.body)


class Echo(RequestHandler):
    """Says what it was asked; `gate` holds answers back, `gone` counts peers that left."""

    gate: asyncio.Event
    gone = 0

    async def get(self) -> None:
        await self.gate.wait()
        said = {"target": self.request.uri, "host": self.request.host, "ip": self.request.remote_ip}
        self.finish(
            {**said, "body": self.request.body.decode(), "x": self.request.headers.get("X")}
        )

    post = get

    def on_connection_close(self) -> None:
        Echo.gone += 1


class Stream(RequestHandler):
    """Writes a long answer of unknown length."""

    async def get(self) -> None:
        for _ in range(40):
            self.write(bytes(50_000))
            await self.flush()


class Bench:
    """The layer with a fake hot route and an echo, and the client of a socket pair."""

    def __init__(self, idle_seconds: float, descriptors: int) -> None:
        self.callbacks = FakeCallbacks()
        Echo.gate = asyncio.Event()
        Echo.gate.set()
        Echo.gone = 0
        self.supervisor = Supervisor()
        self.http = Http1Server(
            Application([("/echo", Echo), ("/stream", Stream)], log_function=lambda handler: None),
            [
                HotRoute("POST", re.compile(r"/hot(\?.*)?"), self.callbacks.answer, True),
                HotRoute("POST", re.compile(r"/warm(\?.*)?"), self.callbacks.answer),
            ],
            Capacity(descriptors, 0),
            self.supervisor,
            idle_seconds,
        )
        self.client, self.server = socket.socketpair()
        for end in (self.client, self.server):
            end.setblocking(False)

    def answers_at_length(self, body: bytes) -> None:
        """The hot route answers more than the kernel takes at once."""
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.callbacks.body = body

    async def arrive(self, data: bytes) -> None:
        """The client connects and says `data`."""
        self.http.adopt(self.server, "192.0.2.1", data)
        await asyncio.sleep(0.02)

    async def hears(self) -> bytes:
        """What the client reads next; nothing at the end of the connection."""
        async with asyncio.timeout(WITHIN_SECONDS):
            try:
                return await asyncio.get_running_loop().sock_recv(self.client, 65536)
            except ConnectionResetError:
                return b""

    async def counts(self, gone: int) -> None:
        """Return once so many handlers have heard that their client left."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while Echo.gone < gone:
                await asyncio.sleep(0.002)

    async def hears_all(self) -> bytes:
        """Everything until the end of the connection."""
        heard = b""
        while more := await self.hears():
            heard += more
        return heard

    async def hears_bytes(self, count: int) -> bytes:
        heard = b""
        while len(heard) < count:
            heard += await self.hears()
        return heard

    async def rests(self) -> None:
        async def done() -> bool:
            return not self.http.requests

        await eventually(done)

    async def ended(self) -> None:
        async def done() -> bool:
            return not self.http.connections

        await eventually(done)


@contextlib.asynccontextmanager
async def bench(idle_seconds: float = 60, descriptors: int = 2**31) -> AsyncIterator[Bench]:
    one = Bench(idle_seconds, descriptors)
    try:
        yield one
    finally:
        one.http.close()
        await one.supervisor.close()
        await asyncio.sleep(0.01)
        for end in (one.client, one.server):
            end.close()


async def refusal_of(one: Bench, data: bytes) -> tuple[int, str]:
    """Status and code of the answer to `data`, which must end the connection."""
    await one.arrive(data)
    answer = parsed(await one.hears_all())
    assert answer.headers["Connection"] == "close" and answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"error"}
    return answer.status_code, answer.json()["error"]["code"]


@ON_LOOP
async def test_one_request_after_the_other() -> None:
    """A kept-alive connection brings requests for hot routes and for others, in any order."""
    async with bench() as one:
        await one.arrive(PUSH)
        assert await one.hears() == ANSWER
        one.client.send(GET)
        assert parsed(await one.hears()).json()["ip"] == "192.0.2.1"
        one.client.send(PUSH)
        assert await one.hears() == ANSWER
        assert one.callbacks.asked == 2 * [("/hot?nonce=1", b"<xml>")]


@ON_LOOP
async def test_requests_in_one_packet() -> None:
    """A client that does not wait for its answers gets them all, in order, one at a time."""
    async with bench() as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH + GET + PUSH.replace(b"nonce=1", b"nonce=2"))
        assert len(one.callbacks.asked) == 1 == len(one.http.requests)
        one.callbacks.gate.set()
        heard = b""
        while heard.count(b"success") < 2:
            heard += await one.hears()
        assert heard.startswith(ANSWER) and heard.endswith(ANSWER) and b'"target"' in heard


@ON_LOOP
@pytest.mark.parametrize("size", [0, 5000, 8150, 9000])
async def test_many_requests_at_once(size: int) -> None:
    """Wherever a slice ends in them, and with reading paused in between."""
    async with bench() as one:
        request = GET.replace(b"Host", b"X: %b\r\nHost" % (size * b"x"))
        await one.arrive(b"")
        count = 20
        sending = asyncio.get_running_loop().sock_sendall(one.client, count * request)
        sent = asyncio.ensure_future(sending)
        heard = b""
        while heard.count(b'"target"') < count:
            heard += await one.hears()
        await sent
        assert heard.count(b"HTTP/1.1 200") == count


@ON_LOOP
@pytest.mark.parametrize("cut", [1, 10, 30, len(PUSH) - 5, len(PUSH) - 1])
async def test_a_request_in_two_pieces(cut: int) -> None:
    """A head in halves, a body apart."""
    async with bench() as one:
        await one.arrive(PUSH[:cut])
        one.client.send(PUSH[cut:])
        assert await one.hears() == ANSWER


@ON_LOOP
async def test_a_request_before_the_answer() -> None:
    """What a client sends without waiting for the answer waits, in order."""
    async with bench() as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH)
        one.client.send(PUSH.replace(b"nonce=1", b"nonce=2"))
        await asyncio.sleep(0.02)
        assert len(one.callbacks.asked) == 1
        one.callbacks.gate.set()
        assert await one.hears_bytes(2 * len(ANSWER)) == 2 * ANSWER
        assert [target[-1] for target, _ in one.callbacks.asked] == ["1", "2"]


@ON_LOOP
async def test_a_client_that_leaves_meanwhile() -> None:
    """What was begun is finished all the same; only the answer is dropped, with what followed."""
    async with bench() as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH)
        one.client.close()
        await asyncio.sleep(0.02)
        assert len(one.http.requests) == 1
        one.callbacks.gate.set()
        await one.rests()
        await one.ended()


@ON_LOOP
async def test_what_a_client_sent_before_it_left_is_dropped() -> None:
    """Once an answer finds no reader, the requests behind it are not served."""
    async with bench() as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH + 100 * PUSH)
        one.client.close()
        one.callbacks.gate.set()
        await one.ended()
        assert len(one.callbacks.asked) < 5 and not one.http.requests


@ON_LOOP
async def test_a_client_that_leaves_between_requests() -> None:
    """The connection is closed with it."""
    async with bench() as one:
        await one.arrive(PUSH)
        await one.hears()
        one.client.close()
        await one.ended()


@ON_LOOP
@pytest.mark.parametrize("data", [PUSH, GET, PUSH + GET])
async def test_a_client_that_closes_its_side_only(data: bytes) -> None:
    """It still gets its answers; then the connection ends."""
    async with bench() as one:
        one.callbacks.gate.clear()
        Echo.gate.clear()
        await one.arrive(data)
        one.client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.02)
        one.callbacks.gate.set()
        Echo.gate.set()
        heard = await one.hears_all()
        assert heard.count(b"200 OK") == data.count(b"HTTP/1.1")
        await one.ended()


@ON_LOOP
@pytest.mark.parametrize("rest", [b"", GET[:9], b"rubbish\r\n\r\n"])
async def test_a_client_that_closes_its_side_at_once(rest: bytes) -> None:
    """All that it sent is answered, though the loop may see the end before it is served."""
    async with bench() as one:
        one.client.shutdown(socket.SHUT_WR)
        await one.arrive(3 * PUSH + GET + 3 * PUSH + rest)
        heard = await one.hears_all()
        assert heard.count(b"200 OK") == 7
        await one.ended()
        assert not one.http.requests


@ON_LOOP
async def test_a_handler_hears_that_its_client_left() -> None:
    """A long poll must not be waited out for a client that is gone."""
    async with bench() as one:
        Echo.gate.clear()
        await one.arrive(GET)
        one.client.close()
        await asyncio.sleep(0.02)
        assert Echo.gone == 1
        Echo.gate.set()
        await one.rests()


@ON_LOOP
@pytest.mark.parametrize("behind", [GET, PUSH, 3 * GET, GET[:9]])
async def test_a_handler_hears_that_its_client_left_more_behind(behind: bytes) -> None:
    """What waits behind a long poll does not hide the client's end from it."""
    async with bench() as one:
        Echo.gate.clear()
        await one.arrive(GET + behind)
        one.client.shutdown(socket.SHUT_WR)
        await one.counts(1)
        Echo.gate.set()
        assert (await one.hears_all()).count(b"200 OK") == 1 + behind.count(b"HTTP/1.1")
        await one.ended()


@ON_LOOP
async def test_a_request_behind_the_clients_end_is_told() -> None:
    """It is served, for the client may have closed its side only; but it does not wait."""
    async with bench() as one:
        Echo.gate.clear()
        await one.arrive(GET + GET)
        one.client.shutdown(socket.SHUT_WR)
        await one.counts(1)
        Echo.gate.set()
        Echo.gate = asyncio.Event()
        await one.counts(2)
        Echo.gate.set()
        assert (await one.hears_all()).count(b"200 OK") == 2


@ON_LOOP
async def test_an_idle_connection_ends() -> None:
    """A connection that serves nothing is closed after a while; one at work is not idle."""
    async with bench(idle_seconds=0.05) as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH)
        await asyncio.sleep(0.2)
        assert one.http.connections
        one.callbacks.gate.set()
        assert await one.hears() == ANSWER
        assert await one.hears() == b""
    async with bench(idle_seconds=0.05) as one:
        await one.arrive(PUSH[:20])
        assert await one.hears() == b""


@ON_LOOP
async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies have less time than idle connections, however slowly they drip."""
    monkeypatch.setattr(http1, "BODY_SECONDS", 0.1)
    async with bench() as one:
        await one.arrive(PUSH[:-4])
        await asyncio.sleep(0.06)
        one.client.send(b"x")
        assert await one.hears() == b""
        assert not one.callbacks.asked


@ON_LOOP
async def test_a_leaving_server_says_so() -> None:
    """Every answer closes the connection, and says that it does."""
    for data in (PUSH, GET):
        async with bench() as one:
            one.http.leaving = True
            await one.arrive(data)
            assert b"\r\nConnection: close\r\n" in await one.hears_all()


@ON_LOOP
async def test_the_last_answer_is_not_followed_by_a_reset() -> None:
    """Closing with unread input would send one: what waits in the kernel is read first."""
    async with bench() as one:
        one.callbacks.gate.clear()
        await one.arrive(PUSH + PUSH)
        one.client.send(PUSH)
        one.http.leaving = True
        one.callbacks.gate.set()
        loop, heard = asyncio.get_running_loop(), b""
        while more := await loop.sock_recv(one.client, 65536):
            heard += more
        assert heard.count(b"HTTP/1.1 200") == 1
        one.client.close()
        await one.ended()


@ON_LOOP
async def test_a_reset_between_an_answer_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end cannot be written any more. That is no failure, and the connection is closed."""

    def fail(connection: socket.socket, how: int) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    async with bench() as one:
        if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            # It makes that call itself, and closes when it fails.
            return
        one.http.leaving = True
        monkeypatch.setattr(socket.socket, "shutdown", fail)
        offer = GET.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")
        await one.arrive(offer + PUSH)
        await one.ended()
        assert not one.http.requests


@ON_LOOP
@pytest.mark.parametrize("data", [PUSH, GET])
async def test_older_and_single_requests(data: bytes) -> None:
    """Connection: close, and HTTP/1.0 with and without keep-alive."""
    async with bench() as one:
        await one.arrive(data.replace(b"Host", b"Connection: close\r\nHost") + GET)
        heard = await one.hears_all()
        assert heard.count(b"HTTP/1.1 200") == 1 and b"\r\nConnection: close\r\n" in heard
    async with bench() as one:
        old = data.replace(b"HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.0\r\n")
        await one.arrive(old)
        assert (await one.hears_all()).count(b"HTTP/1.1 200") == 1
    async with bench() as one:
        kept = old.replace(b"HTTP/1.0\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n")
        await one.arrive(kept)
        assert b"\r\nConnection: Keep-Alive\r\n" in await one.hears()
        one.client.send(kept)
        assert b"200 OK" in await one.hears()


@ON_LOOP
async def test_a_long_answer_in_pieces() -> None:
    """Chunked, flushed as the client reads it; to HTTP/1.0 it ends with the connection."""
    async with bench() as one:
        await one.arrive(GET.replace(b"/echo", b"/stream"))
        heard = b""
        while not heard.endswith(b"0\r\n\r\n"):
            heard += await one.hears()
        assert heard.count(bytes(50_000)) == 40 and b"Transfer-Encoding: chunked" in heard
        one.client.send(GET)
        assert b"200 OK" in await one.hears()
    async with bench() as one:
        await one.arrive(b"GET /stream HTTP/1.0\r\n\r\n")
        head, _, body = (await one.hears_all()).partition(b"\r\n\r\n")
        assert body == bytes(2_000_000) and b"chunked" not in head


@ON_LOOP
async def test_an_answer_that_does_not_fit_at_once() -> None:
    """It is in progress until the last byte is written: a drain waits for it."""
    async with bench() as one:
        one.answers_at_length(bytes(range(256)) * 256)
        await one.arrive(PUSH)
        assert len(one.http.requests) == 1
        heard = b""
        while not heard.endswith(one.callbacks.body):
            heard += await one.hears()
        await one.rests()
        one.client.send(PUSH)
        assert (await one.hears()).startswith(b"HTTP/1.1 200 OK")


@ON_LOOP
async def test_an_answer_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for so long, and no longer."""
    monkeypatch.setattr(http1, "WRITE_SECONDS", 0.05)
    async with bench() as one:
        one.answers_at_length(bytes(65536))
        await one.arrive(PUSH)
        await one.rests()
        await one.ended()


@ON_LOOP
async def test_an_answer_that_is_read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it arrives, however long it takes: the limit is for each part of it."""
    monkeypatch.setattr(http1, "WRITE_SECONDS", 1.0)
    async with bench() as one:
        one.answers_at_length(bytes(65536))
        began = asyncio.get_running_loop().time()
        await one.arrive(PUSH)
        heard = 0
        while heard < 65536:
            heard += len(await asyncio.get_running_loop().sock_recv(one.client, 4096))
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - began > http1.WRITE_SECONDS
        await one.rests()
        assert one.http.connections


@ON_LOOP
async def test_an_answer_that_is_read_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for: a few peers of that kind would keep their connections for hours."""
    monkeypatch.setattr(http1, "WRITE_SECONDS", 0.2)
    async with bench() as one:
        one.answers_at_length(bytes(65536))
        await one.arrive(PUSH)
        while one.http.connections:
            assert await asyncio.get_running_loop().sock_recv(one.client, 1)
            await asyncio.sleep(0.02)
        await one.rests()


@ON_LOOP
async def test_a_client_that_leaves_in_the_middle_of_an_answer() -> None:
    """The rest is not read: the connection ends, and nothing is kept for it."""
    async with bench() as one:
        one.answers_at_length(bytes(65536))
        await one.arrive(PUSH)
        await one.hears()
        one.client.close()
        await one.rests()
        await one.ended()


@ON_LOOP
async def test_a_body_is_asked_for_and_nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to read is that from the first byte that did not fit, even of a 100 before."""
    monkeypatch.setattr(http1, "WRITE_SECONDS", 0.2)
    async with bench() as one:
        await one.arrive(b"")
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(one.server.fileno(), bytes(4096))
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(one.server.fileno(), b"x")
        one.client.send(PUSH[:-5].replace(b"Host", b"Expect: 100-continue\r\nHost"))
        await asyncio.sleep(0.05)
        one.client.send(b"<xml>")
        await asyncio.sleep(0.05)
        assert one.callbacks.asked and one.http.requests
        await one.ended()
        assert not one.http.requests


@ON_LOOP
async def test_the_body_is_asked_for_when_it_is_awaited() -> None:
    """Expect: 100-continue (RFC 9110, section 10.1.1)."""
    async with bench() as one:
        expecting = PUSH.replace(b"Host", b"Expect: 100-continue\r\nHost")
        await one.arrive(expecting[:-5])
        assert await one.hears() == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.client.send(b"<xml>")
        assert await one.hears() == ANSWER
        one.client.send(expecting)
        assert await one.hears() == ANSWER


@ON_LOOP
@pytest.mark.parametrize(
    ("target", "host", "seen"),
    [
        (b"http://b.example:81/echo?x=1", "b.example:81", "/echo?x=1"),
        (b"https://b.example/echo", "b.example", "/echo"),
    ],
)
async def test_absolute_targets(target: bytes, host: str, seen: str) -> None:
    """Their authority is the Host, whatever Host says (RFC 9112, section 3.2.2)."""
    async with bench() as one:
        await one.arrive(GET.replace(b"/echo", target))
        said = parsed(await one.hears()).json()
        assert (said["host"], said["target"]) == (host, seen)


@ON_LOOP
async def test_chunked_bodies() -> None:
    """Chunks, extensions and trailers; a trailer is no header."""
    async with bench() as one:
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await one.arrive(head + b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX: evil\r\n\r\n" + GET)
        heard = b""
        while heard.count(b'"target"') < 2:
            heard += await one.hears()
        said = parsed(heard).json()
        assert said["body"] == "abc" and said["x"] is None


@ON_LOOP
async def test_headers_that_come_twice() -> None:
    """They are joined, as Tornado does."""
    async with bench() as one:
        await one.arrive(GET.replace(b"Host", b"X: a\r\nx:  b \r\nHost"))
        assert parsed(await one.hears()).json()["x"] == "a,b"


@ON_LOOP
async def test_other_upgrades_stay_http() -> None:
    """The offer of h2c is declined by answering; what follows is the next request."""
    async with bench() as one:
        offer = GET.replace(b"Host", b"Upgrade: h2c\r\nConnection: Upgrade\r\nHost")
        await one.arrive(offer + GET)
        heard = b""
        while heard.count(b'"target"') < 2:
            heard += await one.hears()
        one.client.send(offer)
        assert b"200 OK" in await one.hears()


SMUGGLED = b"GET /echo?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@ON_LOOP
@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"Content-Length: %d" % len(SMUGGLED), SMUGGLED),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    ],
    ids=["length", "chunks"],
)
async def test_the_body_of_an_offer_is_no_request(header: bytes, body: bytes) -> None:
    """An upgrade that is declined may have a body, whole or in pieces."""
    offer = b"Host: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
    head = b"POST /echo HTTP/1.1\r\n" + offer + header + b"\r\n\r\n"
    data = head + body + GET
    for cut in (1, len(head) - 1, len(head), len(head) + 7, len(data) - 1):
        async with bench() as one:
            await one.arrive(data[:cut])
            one.client.send(data[cut:])
            heard = b""
            while heard.count(b'"target"') < 2:
                heard += await one.hears()
            assert parsed(heard).json()["body"].encode() == SMUGGLED
            assert b'/echo?smuggled"' not in heard


@ON_LOOP
async def test_a_length_with_many_zeros() -> None:
    """Python reads no number of thousands of digits, whatever the digits are."""
    async with bench() as one:
        await one.arrive(PUSH.replace(b": 5", b": " + 5000 * b"0" + b"5") + PUSH)
        assert await one.hears_bytes(2 * len(ANSWER)) == 2 * ANSWER


MALFORMED = {
    "an unknown method": GET.replace(b"GET", b"BREW"),
    "no host": GET.replace(b"Host: a\r\n", b""),
    "two hosts": GET.replace(b"Host: a", b"Host: a\r\nHost: a"),
    "a list of hosts": GET.replace(b"Host: a", b"Host: a, b"),
    "a host with a space": GET.replace(b"Host: a", b"Host: a b"),
    "a host with a user": GET.replace(b"Host: a", b"Host: u@a"),
    "an absolute target with a user": GET.replace(b"/echo", b"http://u@a/echo"),
    "an absolute target without a host": GET.replace(b"/echo", b"http:///echo"),
    "a target of another scheme": GET.replace(b"/echo", b"ftp://a/echo"),
    "a target without a slash": GET.replace(b"/echo", b"echo"),
    "two blanks": GET.replace(b"GET ", b"GET  "),
    "two blanks before the version": GET.replace(b" HTTP", b"  HTTP"),
    "RTSP": GET.replace(b"HTTP/1.1", b"RTSP/1.0"),
    "RTSP of the newer version": GET.replace(b"HTTP/1.1", b"RTSP/1.1"),
    "ICE": GET.replace(b"GET", b"SOURCE").replace(b"HTTP/1.1", b"ICE/1.0"),
    "no version": GET.replace(b" HTTP/1.1", b""),
    "version 0.9": GET.replace(b"1.1", b"0.9"),
    "version 2": GET.replace(b"1.1", b"2.0"),
    "bare line feeds": GET.replace(b"\r\n", b"\n"),
    "a folded line": GET.replace(b"Host: a", b"Host: a\r\n b"),
    "space before the colon": GET.replace(b"Host:", b"Host :"),
    "a NUL": GET.replace(b"Host: a", b"Host: a\x00"),
    "a line without a colon": GET.replace(b"Host: a", b"Host: a\r\nb"),
    "two lengths": PUSH.replace(b"Host", b"Content-Length: 5\r\nHost"),
    "a length with a sign": PUSH.replace(b": 5", b": +5"),
    "a list of lengths": PUSH.replace(b": 5", b": 5, 5"),
    "an empty length": PUSH.replace(b": 5", b":"),
    "length and chunks": PUSH.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
    "another coding": PUSH.replace(b"Content-Length: 5", b"Transfer-Encoding: gzip, chunked"),
    "chunks twice": PUSH.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked, chunked"),
    "chunks of an older version": PUSH.replace(b"1.1", b"1.0").replace(
        b"Content-Length: 5", b"Transfer-Encoding: chunked"
    ),
    "another coding in an offer": PUSH.replace(
        b"Content-Length: 5", b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: identity"
    ),
    "another coding of an offer": PUSH.replace(
        b"Content-Length: 5", b"Transfer-Encoding: gzip\r\nUpgrade: h2c\r\nConnection: Upgrade"
    ),
    "another coding of a tunnel": PUSH.replace(b"POST /hot?nonce=1", b"CONNECT a:1").replace(
        b"Content-Length: 5", b"Transfer-Encoding: gzip"
    ),
    "no chunk size": PUSH.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@ON_LOOP
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_malformed(data: bytes) -> None:
    """400 with the error document, and the end of the connection."""
    async with bench() as one:
        assert await refusal_of(one, data) == (400, "bad_request")
        assert not one.callbacks.asked


@ON_LOOP
@pytest.mark.parametrize("cut", [1, 3, 4, 9, 17, 18, 19, 20, 24, 29])
async def test_a_head_in_pieces(cut: int) -> None:
    """Its first line is read as a whole, wherever it is cut, and behind another request."""
    for data, statuses in ((GET, [200, 200]), (MALFORMED["RTSP"], [200, 400])):
        async with bench() as one:
            await one.arrive(GET + data[:cut])
            assert b"200 OK" in await one.hears()
            one.client.send(data[cut:])
            heard = await one.hears()
            assert int(heard.split()[1]) == statuses[1]


@ON_LOOP
async def test_a_malformed_request_waits_its_turn() -> None:
    """The requests before it are answered first."""
    async with bench() as one:
        await one.arrive(PUSH + b"rubbish\r\n\r\n")
        heard = await one.hears_all()
        assert heard.startswith(ANSWER) and b"HTTP/1.1 400 " in heard


@ON_LOOP
async def test_what_is_too_large() -> None:
    """431 for a head, 413 for a body, announced or not; and what would hide its size in chunks."""
    async with bench() as one:
        long = GET.replace(b"Host", b"X: " + 80_000 * b"x" + b"\r\nHost")
        assert await refusal_of(one, long[:75_000]) == (431, "too_large")
    for behind, heard in ((65_400, b"HTTP/1.1 200 "), (65_600, b"HTTP/1.1 431 ")):
        async with bench() as one:
            await one.arrive(GET.replace(b"Host", b"X: " + behind * b"x" + b"\r\nHost"))
            assert (await one.hears()).startswith(heard)
    for announced in (b"65537", b"9" * 18, b"9" * 5000):
        async with bench() as one:
            data = PUSH.replace(b": 5", b": " + announced)
            assert await refusal_of(one, data) == (413, "too_large")
    chunked = PUSH[:-5].replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    for chunks in (17 * (b"1000\r\n" + bytes(0x1000) + b"\r\n"), b"1;" + 600_000 * b"x"):
        async with bench() as one:
            assert await refusal_of(one, chunked + chunks) == (413, "too_large")
            assert not one.callbacks.asked
    async with bench() as one:
        await one.arrive(PUSH.replace(b": 5", b": 65536") + bytes(65531))
        assert await one.hears() == ANSWER


@ON_LOOP
async def test_few_descriptors(logs) -> None:
    """Routes that have the reserve are served to the last one, everything else is told 503."""
    logs.expect("the open-file limit is near")
    for data in (GET, GET[:5], PUSH[:-1], PUSH.replace(b"/hot", b"/warm")):
        async with bench(descriptors=0) as one:
            assert await refusal_of(one, data) == (503, "overloaded")
    async with bench(descriptors=0) as one:
        await one.arrive(PUSH)
        assert await one.hears_all() == CLOSED_ANSWER
        await one.ended()


@ON_LOOP
async def test_a_reserved_descriptor_serves_one_request(logs) -> None:
    """Nothing behind it is served or waited for: neither for more, nor for the peer's end."""
    logs.expect("the open-file limit is near")
    for data in (PUSH + PUSH, PUSH + PUSH[:9], PUSH[:-1] + 9_000 * b"x", GET + 9_000 * b"x"):
        async with bench(descriptors=0) as one:
            await one.arrive(data)
            assert (await one.hears_all()).count(b"HTTP/1.1 ") <= 1
            await one.ended()


@ON_LOOP
async def test_a_refused_push_closes_its_connection() -> None:
    """Forged ones must not hold descriptors: WeChat's are not refused."""
    async with bench() as one:
        one.callbacks.status = 403
        await one.arrive(PUSH)
        heard = await one.hears_all()
        assert heard.startswith(b"HTTP/1.1 403 ") and b"\r\nConnection: close\r\n" in heard
        await one.ended()


@ON_LOOP
async def test_a_refusal_without_the_reserve_keeps_its_connection() -> None:
    """A page that is told to come back later does so on the same connection."""
    async with bench() as one:
        one.callbacks.status = 429
        await one.arrive(PUSH.replace(b"/hot", b"/warm"))
        assert b"\r\nConnection: close\r\n" not in await one.hears()
        one.callbacks.status = 200
        one.client.send(PUSH.replace(b"/hot", b"/warm"))
        assert (await one.hears()).startswith(b"HTTP/1.1 200 ")


@ON_LOOP
async def test_scarcity_is_logged_once_a_minute(logs) -> None:
    """However many are turned away."""
    logs.expect("the open-file limit is near")
    async with bench(descriptors=0) as one:
        for _ in range(5):
            one.http.log_scarcity()
        assert len(logs.lines) == 1


@ON_LOOP
async def test_a_failing_hot_route_closes_the_connection(logs) -> None:
    """Rather than leave the client to wait; the failure is logged once."""
    logs.expect("hot route failed")
    async with bench() as one:
        one.callbacks.body = None
        await one.arrive(PUSH)
        assert await one.hears() == b""
        await one.rests()
        await one.ended()


LINES = st.sampled_from(
    [
        "Host: a",
        "host: b",
        "Content-Length: 5",
        "content-length: 3",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "transfer-encoding: identity",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: Upgrade",
        "Upgrade: h2c",
        "Content-Type: text/xml",
        "X: \t",
        "X:",
        "X-Y: z  ",
        "X-Y : z",
        " folded",
    ]
)
TARGETS = st.sampled_from(["/hot", "/hot?x=%0d%0a", "/hot#", "http://b/hot"])
BODIES = st.binary(max_size=9) | st.sampled_from(
    [b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\nGET", b"3;a\r\nabc\r\n0\r\nHost: c\r\n\r\n"]
)


def collected(*pieces: bytes) -> tuple[list[Request], bool]:
    """What a connection reads of the pieces: the requests, and whether the rest is refused."""

    async def read() -> tuple[list[Request], bool]:
        supervisor = Supervisor()
        server = Http1Server(Application(), [], Capacity(9, 0), supervisor, 60)
        one = http1.Connection(server, None, "", b"")
        for piece in pieces:
            one._unparsed = piece
            while one._unparsed and not one._refusal and not one._last:
                data, one._unparsed = one._unparsed, b""
                one._feed(data)
        return one._ready, one._refusal is not None

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(read())


def read_by_h11(data: bytes) -> list[tuple[str, str, bytes]]:
    """Method, target and body of the whole requests that h11 reads, each answered at once."""
    full, found = h11.Connection(h11.SERVER), []
    full.receive_data(data)
    try:
        while isinstance(request := full.next_event(), h11.Request):
            body = b""
            while isinstance(event := full.next_event(), h11.Data):
                body += event.data
            if not isinstance(event, h11.EndOfMessage):
                break
            found.append((request.method.decode(), request.target.decode(), body))
            full.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            full.send(h11.EndOfMessage())
            if full.our_state is not h11.DONE:
                break
            full.start_next_cycle()
    except h11.RemoteProtocolError:
        return found
    return found


@given(
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    target=TARGETS,
    lines=st.lists(LINES, max_size=6),
    body=BODIES,
)
def test_it_reads_what_another_parser_reads(
    method: str, target: str, lines: list[str], body: bytes
) -> None:
    """What is accepted is the same request to h11, ending at the same byte: none is smuggled."""
    head = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", *lines)).encode()
    data = head + b"\r\n" + body
    read, _ = collected(data)
    full = h11.Connection(h11.SERVER)
    full.receive_data(data)
    if not read:
        return
    taken = read[0]
    request = full.next_event()
    assert isinstance(request, h11.Request) and request.method.decode() == method
    assert request.target.decode() in (taken.target, f"http://b{taken.target}")
    theirs: dict[str, str] = {}
    for raw, value in request.headers:
        name = header_name(raw)
        theirs[name] = f"{theirs[name]},{value.decode()}" if name in theirs else value.decode()
    if target.startswith("http:"):
        theirs["Host"] = "b"
    # h11 keeps one of equal lengths, and spells the coding in lower case.
    ours = dict(taken.headers)
    if "Transfer-Encoding" in ours:
        ours["Transfer-Encoding"] = ours["Transfer-Encoding"].lower()
    assert (
        theirs
        == ours
        == {name: value for name, value in taken.tornado_headers().items()}
        | {name: ours[name] for name in ("Transfer-Encoding",) if name in ours}
    )
    content = b""
    while isinstance(event := full.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage) and content == taken.body
    assert len(read) == 1 and full.trailing_data[0] in (b"", data[-len(full.trailing_data[0]) :])


WHOLE = st.sampled_from(
    [
        GET,
        PUSH,
        PUSH[:-5].replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        + b"3;x=y\r\nGET\r\n0\r\nX: y\r\n\r\n",
        PUSH.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost"),
        GET.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost"),
        GET.replace(b"Host", b"Content-Length: %d\r\nHost" % len(PUSH)) + PUSH,
        PUSH.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost").replace(
            b"Content-Length: 5\r\n\r\n", b"Content-Length: %d\r\n\r\n" % (5 + len(GET))
        )
        + GET,
        GET.replace(b"Host", b"Connection: close\r\nHost"),
    ]
)


# llhttp also skips line ends before a request, which h11 refuses: they separate nothing.
JUNK = st.binary(max_size=4).filter(lambda junk: not {*b"\r\n"} & {*junk})


@given(parts=st.lists(WHOLE | JUNK, max_size=6), cuts=st.lists(st.integers(0, 700)))
def test_many_requests_are_those_that_another_parser_reads(
    parts: list[bytes], cuts: list[int]
) -> None:
    """However they are cut into packets, none more and none before h11 sees one."""
    data = b"".join(parts)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    read, _ = collected(*(data[start:end] for start, end in zip(places, places[1:], strict=False)))
    theirs = read_by_h11(data)
    ours = [(request.method, request.target, request.body) for request in read]
    assert ours == theirs[: len(ours)]
    if all(part in (GET, PUSH) for part in parts):
        assert len(ours) == len(parts)


@given(start=st.integers(0, len(PUSH)), rest=st.binary(max_size=60))
def test_any_bytes(start: int, rest: bytes) -> None:
    """Nothing that comes can make it raise."""
    read, _ = collected(PUSH[:start] + rest)
    assert len(read) <= 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Host", b"hOST", b"x-Y", b"X1foo", b"Cookie"]),
            st.sampled_from([b"a", b"b; c", b"\xe9", b""]),
        ),
        max_size=6,
    )
)
def test_headers_are_those_that_tornado_would_read(lines: list[tuple[bytes, bytes]]) -> None:
    """By name, joined, and as a list."""
    text = "".join(f"{n.decode()}: {v.decode('latin-1')}\r\n" for n, v in lines)
    data = b"GET / HTTP/1.0\r\n" + text.encode("latin-1") + b"\r\n"
    read, refused = collected(data)
    if refused:
        return
    made, theirs = read[0].tornado_headers(), HTTPHeaders.parse(text)
    assert list(made.get_all()) == list(theirs.get_all())
    assert read[0].headers == dict(theirs)
