"""The listening sockets: who serves a new connection, decided by the first bytes it sends.

Nearly all load is two kinds of requests, upgrades of pages and callbacks of WeChat, and both come
in one piece and plain in every respect. Tornado's HTTP is most of what a handshake costs, and a
third of what a login costs (docs/performance.md). So the first bytes of a connection are read here:

    a plain upgrade   ->  `FastUpgrade`, which parks the descriptor (handlers/sockets.py)
    a hot route       ->  `FastConnection`, as long as nothing but plain requests for it comes
    anything else     ->  Tornado's `HTTPServer`, which gets the bytes as they came

A path that is fast must equal the plain one through Tornado: tests/conformance and
tests/handlers/test_fast_callbacks.py run on both. The rules for bodies, which Tornado has none for,
are at the end of this module.
"""

import asyncio
import contextlib
import contextvars
import errno
import logging
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.routing import Router

from handlers.base import HttpResponse, error_response
from services.errors import ApiError
from services.logs import new_request_id
from services.push.admission import RETRY_SECONDS, Capacity
from services.push.handshake import Headers
from services.tasks import Supervisor

log = logging.getLogger("scanpush.http")

SLICE = 8
"""Connections accepted in one turn of the event loop."""

READ_BYTES = 8192
"""The longest request that is served here, head and body. WeChat's callbacks have 1 to 2 KB."""

FIRST_READ_BYTES = 4096
"""What is looked at of a new connection."""

WRITE_SECONDS = 5
"""How long the client may take to read an answer that does not fit into the kernel at once."""

LOG_SECONDS = 60
"""How often it is logged that connections are turned away."""

PAUSE_SECONDS = 0.1
"""How long no connection is accepted after the system refused a descriptor."""

MAX_BODY_BYTES = 64 * 1024

INHERITS_NODELAY = sys.platform == "linux"
"""Whether a connection has TCP_NODELAY from its listening socket, which saves a call for each."""

Address = tuple[str, int]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_HEAD = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [ -~]*\r\n)+)\r\n"
)
_LENGTH = re.compile(r"[0-9]{1,4}")
_NOT_PLAIN = ("Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te")

# Clients send the same dozen names in every head.
_titled = lru_cache(maxsize=512)(str.title)


@dataclass(slots=True)
class Head:
    """A whole request head; its body, if it has one, begins after `length` bytes."""

    method: str
    target: str
    headers: Headers = field(repr=False)
    length: int


def plain_head(data: bytes) -> Head | None:
    """Read the head that `data` begins with.

    None for everything that is not plain: an unfinished head, another version than HTTP/1.1, no
    Host, a header twice, folded lines, other white space, bytes outside ASCII. This is no HTTP
    parser: a real one decides about all of that.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    lines = [line.partition(": ") for line in match[3].decode("ascii").split("\r\n")[:-1]]
    headers = {_titled(name): value.strip() for name, _, value in lines}
    if len(headers) < len(lines) or "Host" not in headers:
        return None
    return Head(match[1].decode("ascii"), match[2].decode("ascii"), headers, match.end())


class HotRoute(NamedTuple):
    """A route that is served without Tornado's HTTP where a request for it is plain.

    Its ordinary path, a RequestHandler, must answer the same.
    """

    method: str
    target: re.Pattern[str]
    answer: Callable[[str, Headers, bytes], Awaitable[HttpResponse]]
    """Given target, headers and body; never raises."""

    def plain_request(self, data: bytes) -> Head | None:
        """The head of the request for this route that `data` is, no more and no less.

        None where it is another request, or not whole, or not plain.
        """
        if not data.startswith(self.method.encode()) or (head := plain_head(data)) is None:
            return None
        headers = head.headers
        length = headers.get("Content-Length", "")
        if (
            head.method != self.method
            or self.target.fullmatch(head.target) is None
            or _LENGTH.fullmatch(length) is None
            or headers.get("Connection", "keep-alive").lower() != "keep-alive"
            or any(name in headers for name in _NOT_PLAIN)
        ):
            return None
        return head if head.length + int(length) == len(data) else None


class Listener:
    """Listens in the place of `HTTPServer.add_sockets`, and feeds that server.

    Args:
        server: gets every connection that is not served here.
        upgrade: takes over a connection that begins with a plain upgrade (True), or does not.
        route: the hot route.
        capacity: how many descriptors ordinary requests may take.
        requests: the requests in progress; a drain waits for them.
        idle_seconds: how long a kept-alive connection may be idle.
    """

    def __init__(
        self,
        server: HTTPServer,
        upgrade: Callable[[socket.socket, Address, Head, bytes], bool],
        route: HotRoute,
        capacity: Capacity,
        supervisor: Supervisor,
        requests: set[object],
        idle_seconds: float,
    ) -> None:
        self.server = server
        self.route = route
        self.supervisor = supervisor
        self.requests = requests
        self.idle_seconds = idle_seconds
        self.connections: set[FastConnection] = set()
        self._upgrade = upgrade
        self._capacity = capacity
        self._sockets: list[socket.socket] = []
        self._logged_at = float("-inf")

    def listen(self, sockets: list[socket.socket]) -> None:
        """Accept on bound, listening, non-blocking sockets; they are taken over and detached."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            if listening.family not in (socket.AF_INET, socket.AF_INET6):
                self.server.add_socket(listening)
                continue
            # Two statuses in a row (scanned, authorized) must not wait for a delayed ACK.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):
                # Linux reports a connection when its first bytes are there, not before (tcp(7)).
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
            own = _ListeningSocket(listening)
            self._sockets.append(own)
            loop.add_reader(own, self._accept, own)

    def stop(self) -> None:
        """Accept no more; may be called twice. Connections that were accepted go on."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self.server.stop()

    def close(self) -> None:
        """Close every connection that is served here, at once."""
        for connection in list(self.connections):
            connection.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(SLICE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                # Without a descriptor, accepting again at once would only spin.
                log.error("no descriptor for a connection", extra={"errno": error.errno})
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(PAUSE_SECONDS, self._accept_again, listening)
                return
            self._serve(connection, address)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _serve(self, connection: socket.socket, address: Address) -> None:
        connection.setblocking(False)
        try:
            data = connection.recv(FIRST_READ_BYTES)
        except BlockingIOError:
            data = b""
        except OSError:
            connection.close()
            return
        if data.startswith(b"GET /ws/"):
            head = plain_head(data)
            if head is not None and self._upgrade(connection, address, head, data[head.length :]):
                return
        elif (head := self.route.plain_request(data)) is not None:
            FastConnection(self, connection, address).serve(head, data)
            return
        # The system gives out the lowest free number, so a high one says how many are in use.
        if connection.fileno() >= self._capacity.descriptors:
            self._turn_away(connection, bool(data))
        else:
            self.hand_over(connection, address, data)

    def _turn_away(self, connection: socket.socket, asked: bool) -> None:
        """Idle connections must not take what stores and callbacks need."""
        now = asyncio.get_running_loop().time()
        if now - self._logged_at > LOG_SECONDS:
            self._logged_at = now
            log.error("the open-file limit is near: ordinary requests are turned away")
        if asked:
            refusal = ApiError("overloaded", "no descriptor to spare", retry_after=RETRY_SECONDS)
            with contextlib.suppress(OSError):
                connection.send(encoded(error_response(refusal, new_request_id())))
        connection.close()

    def hand_over(self, connection: socket.socket, address: Address, data: bytes) -> None:
        """Let Tornado serve a connection for good; `data` was read of it already."""
        stream = _BegunStream(
            connection,
            data,
            max_buffer_size=self.server.max_buffer_size,
            read_chunk_size=self.server.read_chunk_size,
        )
        self.server.handle_stream(stream, address)


def encoded(response: HttpResponse, *, keep_alive: bool = False) -> bytes:
    """An answer as bytes, for connections that Tornado does not serve."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    if not keep_alive and "Connection" not in response.headers:
        lines += "Connection: close\r\n"
    start = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
    return f"{start}{lines}\r\n".encode() + response.body


class FastConnection:
    """A connection over which nothing but plain requests for the hot route came so far.

    It reads one request at a time; what comes meanwhile waits in the kernel.
    """

    __slots__ = (
        "_address",
        "_busy",
        "_connection",
        "_idle",
        "_listener",
        "_loop",
        "_reading",
        "_used",
    )

    def __init__(self, listener: Listener, connection: socket.socket, address: Address) -> None:
        self._listener = listener
        self._connection = connection
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._reading = False
        self._used = self._loop.time()
        self._idle = self._loop.call_later(listener.idle_seconds, self._close_if_idle)
        listener.connections.add(self)

    def serve(self, head: Head, data: bytes) -> None:
        """Answer the request that `data` is, in a task."""
        self._busy = True
        self._listener.requests.add(self)
        self._listener.supervisor.spawn(self._answer(head, data[head.length :]), name="callback")

    async def _answer(self, head: Head, body: bytes) -> None:
        try:
            response = await self._listener.route.answer(head.target, head.headers, body)
            data = encoded(response, keep_alive=True)
            try:
                # The server's own replies fit at once; another system's may have 64 KB.
                rest = data[self._connection.send(data) :]
                if rest:
                    async with asyncio.timeout(WRITE_SECONDS):
                        await self._loop.sock_sendall(self._connection, rest)
            except (OSError, TimeoutError):
                self.close()
                return
            if "Connection" in response.headers:
                self.close()
                return
            self._used = self._loop.time()
            if not self._reading:
                self._reading = True
                # In a context of its own, or all that follows would run under the request id of
                # this request.
                context = contextvars.Context()
                context.run(self._loop.add_reader, self._connection, self._read)
        finally:
            self._listener.requests.discard(self)
            self._busy = False

    def _read(self) -> None:
        if self._busy:
            self._stop_reading()
            return
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif (head := self._listener.route.plain_request(data)) is not None:
            self.serve(head, data)
        else:
            self._forget()
            self._listener.hand_over(self._connection, self._address, data)

    def _close_if_idle(self) -> None:
        most = self._listener.idle_seconds
        left = most if self._busy else self._used + most - self._loop.time()
        if left > 0:
            self._idle = self._loop.call_later(left, self._close_if_idle)
        else:
            self.close()

    def close(self) -> None:
        """Forget and close the connection; may be called twice."""
        self._forget()
        self._connection.close()

    def _forget(self) -> None:
        self._listener.connections.discard(self)
        self._idle.cancel()
        self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._connection)


class _ListeningSocket(socket.socket):
    """A listening socket that knows its family and type.

    `accept` asks for both each time, and making them an enum's members again takes the library a
    twentieth of a handshake.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._family, self._type = listening.family, listening.type
        super().__init__(listening.family, listening.type, fileno=listening.detach())
        self.setblocking(False)

    @property
    def family(self) -> socket.AddressFamily:
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        return self._type


class _BegunStream(IOStream):
    """A stream that begins with what was read of the connection before."""

    def __init__(self, connection: socket.socket, begun: bytes, **options: int | None) -> None:
        self._begun = begun
        super().__init__(connection, **options)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Tornado asks here before it waits for the connection."""
        if not self._begun:
            return super().read_from_fd(buf)
        now, self._begun = self._begun[: len(buf)], self._begun[len(buf) :]
        buf[: len(now)] = now
        return len(now)


# Bodies. Tornado closes the connection over a long one; the contract is an answer 413.


class BodyLimit(Router):
    """Refuses bodies over `MAX_BODY_BYTES` before they are read, in front of the application."""

    def __init__(self, application: Router) -> None:
        self._application = application

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        assert request.connection is not None
        length = request.headers.get("Content-Length", "")
        # The first digits tell enough, and Python refuses to read thousands of them.
        announced = int(length[:20]) if length.isascii() and length.isdigit() else 0
        is_head = request.method == "HEAD"
        if announced > MAX_BODY_BYTES:
            return _TooLarge(request.connection, is_head)
        delegate = self._application.find_handler(request, **kwargs)
        if delegate is not None and "Transfer-Encoding" in request.headers:
            # A chunked body announces no length: it is counted as it comes.
            return _CountedBody(request.connection, delegate, is_head)
        return delegate


class _TooLarge(HTTPMessageDelegate):
    """Answers 413 without reading the body."""

    def __init__(self, connection: HTTPConnection, is_head: bool) -> None:
        self._connection = connection
        self._is_head = is_head

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        refuse_body(self._connection, self._is_head)
        return None


class _CountedBody(HTTPMessageDelegate):
    """Passes a body of unknown length on, until it is too long: then 413, and nothing is done."""

    def __init__(
        self, connection: HTTPConnection, delegate: HTTPMessageDelegate, is_head: bool
    ) -> None:
        self._connection = connection
        self._is_head = is_head
        self._delegate = delegate
        self._bytes = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._bytes += len(chunk)
        if self._bytes <= MAX_BODY_BYTES:
            return self._delegate.data_received(chunk)
        # Once an answer is finished, Tornado brings nothing more of this request.
        refuse_body(self._connection, self._is_head)
        return None

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


def refuse_body(connection: HTTPConnection, is_head: bool) -> None:
    """Write the whole answer 413; the connection ends with it, for the body stays unread."""
    request_id = new_request_id()
    log.info("413 too_large", extra={"request_id": request_id})
    error = ApiError("too_large", f"At most {MAX_BODY_BYTES} bytes.")
    response = error_response(error, request_id, {"Connection": "close"})
    response.write_to(connection, is_head=is_head)
