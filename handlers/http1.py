"""HTTP/1.1 for every route: one `asyncio.Protocol` on llhttp (the package httptools).

A fast path in the place of Tornado's own HTTP/1 connection, whose stream, coroutines and checks of
each header in Python are 45 % of `GET /healthz` and 14 % of a begun scene (`scripts/bench
instructions`). It feeds the interfaces that Tornado's connection feeds
(`HTTPServerConnectionDelegate` and `HTTPMessageDelegate`), so that one application runs on both,
and must answer as that one does: tests/handlers/test_bad_input.py and tests/conformance run over
both. Hot routes are answered without a RequestHandler, which is most of the rest of their cost.

A request reaches its delegate whole, body and all: no route reads a stream. One request of a
connection is answered at a time; what the peer sends meanwhile waits, first here and then, with
reading paused, in the kernel. All of it is dropped with the connection.
"""

import asyncio
import contextvars
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import httptools
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPOutputError,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from handlers.http_messages import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    HotRoute,
    HttpResponse,
    Refusal,
    Request,
    encoded,
    encoded_head,
    error_response,
    head_length,
    head_of_body,
    header_name,
    malformed,
    new_request_id,
    overloaded,
    problem_of,
    too_large,
)
from services.errors import ApiError
from services.logs import PacedLog
from services.push.admission import Capacity, hung_up
from services.tasks import Supervisor

log = logging.getLogger("scanpush.http")

MAX_BODY_ON_THE_WIRE = 8 * MAX_BODY_BYTES
"""A body with its chunk sizes, extensions and trailers. Chunks of one byte take six."""

SLICE_BYTES = 8192
"""What is parsed at once. llhttp cannot be stopped behind a request: this bounds how many requests
of a pipelining peer are held as objects."""

LONGEST_METHOD = 15
"""Above any method that llhttp knows."""

BODY_SECONDS = 10
"""How long a peer may take to send its body."""

WRITE_SECONDS = 5
WRITE_BYTES = 4096
"""A peer that does not take this much of its answer in that time, or the rest, is given up."""

LINGER_SECONDS = 1
"""How long is read, and thrown away, after an answer to a request that was not read to its end:
closing with unread input would send a reset that may overtake the answer."""

_VERSIONS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}
_NO_BODY = (204, 304)


class Http1Server:
    """All connections, and what they share.

    Args:
        application: gets every request that is for no hot route.
        hot_routes: asked in this order.
        capacity: how many descriptors ordinary requests may take.
        idle_seconds: how long a connection may bring no whole head.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        hot_routes: Sequence[HotRoute],
        capacity: Capacity,
        supervisor: Supervisor,
        idle_seconds: float,
    ) -> None:
        self.application = application
        self.hot_routes = hot_routes
        self.capacity = capacity
        self.supervisor = supervisor
        self.idle_seconds = idle_seconds
        self.connections: set[Connection] = set()
        self.requests: set[Exchange] = set()
        """The requests in progress, each until the last byte of its answer is with the kernel."""
        self.leaving = False
        """Whether every answer closes its connection: a proxy that keeps connections must not send
        more over this one."""
        self._paced_log = PacedLog(log)

    def adopt(self, connection: socket.socket, remote_ip: str, data: bytes) -> None:
        """Serve an accepted, non-blocking connection for good; `data` was read of it already."""
        self.supervisor.spawn(self._adopt(connection, remote_ip, data), name="connection")

    async def _adopt(self, connection: socket.socket, remote_ip: str, data: bytes) -> None:
        made = Connection(self, connection, remote_ip, data)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: made, connection)
        except OSError as error:
            log.debug("a connection was gone before it was served: %s", error)
            connection.close()
            return
        made.begin()

    def hot_route(self, request: Request) -> HotRoute | None:
        for route in self.hot_routes:
            if request.method == route.method and route.target.fullmatch(request.target):
                return route
        return None

    def log_scarcity(self) -> None:
        """Idle connections must not take what stores and callbacks need."""
        self._paced_log.log(
            logging.ERROR, "the open-file limit is near: ordinary requests are turned away"
        )

    def close(self) -> None:
        """Close every connection at once."""
        for connection in list(self.connections):
            connection.abort()


class Exchange(HTTPConnection):
    """One request and its answer: Tornado's `HTTPConnection` for the delegate of that request."""

    def __init__(self, connection: "Connection", request: Request) -> None:
        self._connection: Connection | None = connection
        self._requests = connection.server.requests
        self._request = request
        self._keep_alive = request.keep_alive
        self._on_close: Callable[[], None] | None = None
        self._chunked = False
        self._left: int | None = None
        self._requests.add(self)

    @property
    def context(self) -> "Connection | None":
        """Where `HTTPServerRequest` looks for the peer's address."""
        return self._connection

    def has_no_peer(self) -> bool:
        """Whether the connection is lost or detached, or the peer has closed its side, whether
        the event loop has seen that or not."""
        return self._connection is None or self._connection.has_no_peer()

    def respond(self, route: HotRoute, response: HttpResponse) -> None:
        """Answer at once, without Tornado's header objects."""
        connection, request = self._connection, self._request
        if connection is None:
            self._requests.discard(self)
            return
        # A descriptor of the reserve is lent for one answer, and no refused push keeps any.
        is_lent = route.has_reserve and (
            response.status >= 400 or connection.has_reserved_descriptor()
        )
        self._keep_alive = self._keep_alive and not (connection.server.leaving or is_lent)
        said = "" if self._keep_alive else "close"
        if self._keep_alive and request.version == "HTTP/1.0":
            said = "Keep-Alive"
        connection.transport.write(
            encoded(response, connection=said, is_head=request.method == "HEAD")
        )
        self._end(connection)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the peer goes before it has its answer."""
        self._on_close = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        assert isinstance(start_line, ResponseStartLine)
        connection, request, code = self._connection, self._request, start_line.code
        if connection is None or connection.transport.is_closing():
            return _closed()
        has_body = request.method != "HEAD" and code >= 200 and code not in _NO_BODY
        length = headers.get("Content-Length")
        if connection.server.leaving or headers.get("Connection", "").lower() == "close":
            self._keep_alive = False
        if not has_body:
            self._left = 0
        elif length is not None:
            self._left = int(length)
        elif request.version == "HTTP/1.1":
            self._chunked = True
            headers["Transfer-Encoding"] = "chunked"
        else:
            # HTTP/1.0 knows no chunks: the body ends with the connection.
            self._keep_alive = False
        if not self._keep_alive:
            headers["Connection"] = "close"
        elif request.version == "HTTP/1.0":
            headers["Connection"] = "Keep-Alive"
        head = encoded_head(code, start_line.reason, headers.get_all())
        connection.transport.write(head + self._framed(chunk) if chunk else head)
        return connection.flushed()

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        connection = self._connection
        if connection is None or connection.transport.is_closing():
            return _closed()
        if chunk:
            connection.transport.write(self._framed(chunk))
        return connection.flushed()

    def _framed(self, chunk: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                self.abort()
                raise HTTPOutputError("Tried to write more data than Content-Length")
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk

    def finish(self) -> None:
        connection = self._connection
        if connection is None or connection.transport.is_closing():
            self._requests.discard(self)
            return
        if self._left:
            self.abort()
            raise HTTPOutputError(f"Tried to write {self._left} bytes less than Content-Length")
        if self._chunked:
            connection.transport.write(b"0\r\n\r\n")
        self._end(connection)

    def _end(self, connection: "Connection") -> None:
        self._connection = self._on_close = None
        connection.answered(self, self._keep_alive)

    def detach(self) -> tuple[int, bytes] | None:
        """Take the connection out of HTTP: a duplicate of its descriptor, and what was read of it
        behind the request. None if the peer is gone, or there is no descriptor."""
        connection, self._connection = self._connection, None
        self._requests.discard(self)
        return None if connection is None else connection.detach()

    def peer_left(self) -> None:
        """Tell the delegate, once."""
        callback, self._on_close = self._on_close, None
        if callback is not None:
            callback()

    def lost(self) -> None:
        """There is no connection any more. The request is in progress until it is finished."""
        self._connection = None
        self.peer_left()

    def abort(self) -> None:
        """Close the connection in the middle of the answer."""
        connection = self._connection
        self._requests.discard(self)
        if connection is not None:
            connection.abort()


def _closed() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future


class Connection(asyncio.Protocol):
    """One connection: parses what comes, has one request answered at a time, and keeps the limits
    of size and time."""

    __slots__ = (
        "_answered", "_awaits_body", "_body", "_body_bytes", "_deadline", "_exchange",
        "_expects", "_first", "_flushed", "_head_bytes", "_keep_alive", "_last", "_lines", "_loop",
        "_over", "_parser", "_paused", "_ready", "_refusal", "_request", "_seen",
        "_socket", "_timer", "_unparsed", "_unsent", "_url", "_wire_bytes", "peer_is_gone",
        "protocol", "remote_ip", "server", "transport",
    )  # fmt: skip

    def __init__(
        self, server: Http1Server, connection: socket.socket, remote_ip: str, first: bytes
    ) -> None:
        self.server = server
        self.remote_ip = remote_ip
        self.protocol = "http"
        self.transport: asyncio.Transport
        self.peer_is_gone = False
        # The transport's own: not to be read or written here.
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What was read and not parsed: before `begin`, and what came while a request was answered.
        self._first = first
        self._unparsed = b""
        # The message that is parsed now. `_seen`: what came since its head began, and maybe before.
        self._seen = b""
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        self._expects = self._awaits_body = False
        # Whole requests that wait, and what follows behind them: a refusal, or nothing.
        self._ready: list[Request] = []
        self._refusal: Refusal | None = None
        self._last = False
        # The request that is answered now; whether its answer is written, and is to be flushed.
        self._exchange: Exchange | None = None
        self._answered = False
        self._keep_alive = True
        self._flushed: asyncio.Future[None] | None = None
        self._unsent = 0
        self._paused = False
        self._over = False
        self._deadline = self._loop.time() + server.idle_seconds
        self._timer: asyncio.TimerHandle

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass.
        self.transport = cast(asyncio.Transport, transport)
        # So that writing is paused exactly while something is not with the kernel.
        self.transport.set_write_buffer_limits(high=0)
        self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.server.connections.discard(self)
        self.server.application.on_close(self)
        self._over = self.peer_is_gone = True
        self._ready.clear()
        self._unparsed = self._first = b""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._answered:
                self.server.requests.discard(exchange)
            exchange.lost()
        flushed, self._flushed = self._flushed, None
        if flushed is not None and not flushed.done():
            flushed.set_exception(StreamClosedError())
            flushed.exception()

    def eof_received(self) -> bool:
        """A peer that closes its side only still gets its answer. A long poll ends when its peer
        has left."""
        if self._first:
            self.begin()
        if self._over or self._exchange is None:
            return False
        self.peer_is_gone = True
        self._exchange.peer_left()
        return True

    def pause_writing(self) -> None:
        self._flushed = self._loop.create_future()
        self._unsent = self.transport.get_write_buffer_size()
        self._allow(WRITE_SECONDS)

    def resume_writing(self) -> None:
        flushed, self._flushed = self._flushed, None
        if flushed is not None and not flushed.done():
            flushed.set_result(None)
        if self._exchange is not None:
            self._deadline = float("inf")
            if self._answered:
                self._exchange_ended(self._exchange)

    def flushed(self) -> "asyncio.Future[None]":
        """Done when all that was written is with the kernel."""
        if self._flushed is not None:
            return self._flushed
        done = self._loop.create_future()
        done.set_result(None)
        return done

    def begin(self) -> None:
        """Serve what was read before there was a transport."""
        if self._first:
            self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self._over or self._last:
            return
        if self._first:
            # The loop may read on before `begin` is called.
            data, self._first = self._first + data, b""
        if self._exchange is not None or self._ready or self._unparsed:
            self._unparsed += data
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
            self._advance()
        else:
            self._unparsed = data
            self._advance()
        # Not at once: behind a request that waits, the end of a peer that leaves would go unseen.
        if len(self._unparsed) > SLICE_BYTES and not self._paused and not self._over:
            self._paused = True
            self.transport.pause_reading()

    # Time

    def _allow(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        # One timer serves many requests: it is moved forward here only.
        now = self._loop.time()
        if self._deadline <= now:
            unsent = self.transport.get_write_buffer_size()
            if self._flushed is None or unsent > self._unsent - WRITE_BYTES:
                self.abort()
                return
            # A slow peer, which goes on reading.
            self._unsent, self._deadline = unsent, now + WRITE_SECONDS
        at = min(self._deadline, now + self.server.idle_seconds)
        self._timer = self._loop.call_at(at, self._check_deadline)

    def abort(self) -> None:
        """Close at once."""
        self._over = True
        self.transport.abort()

    # Parsing

    def _feed(self, data: bytes) -> None:
        self._seen += data
        if self._request is None:
            self._head_bytes += len(data)
        else:
            self._wire_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            # A failure of this module, not of the peer.
            raise
        except httptools.HttpParserError as error:
            if "Content-Length overflow" in str(error):
                self._too_large()
            else:
                self._malformed(str(error))
        if self._request is not None:
            self._seen = b""
        elif not self._url:
            # No head begins here, but for a part of its method.
            self._seen = self._seen[-LONGEST_METHOD:]
        if self._request is None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_later(too_large("head", MAX_HEAD_BYTES), 431, "head too large")
        elif self._request is not None and self._wire_bytes > MAX_BODY_ON_THE_WIRE:
            self._too_large()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            # Any request may offer another protocol. What follows is of that protocol once the
            # connection is detached, and else HTTP as before (RFC 9110, section 7.8).
            self._unparsed = data[stopped.args[0] :] + self._unparsed
            self._parser = httptools.HttpRequestParser(self)
            if self._request is not None and self._refusal is None:
                # llhttp stops behind the head all the same where the request has a body, which
                # must not be read as the next request: another head tells it of the body. It also
                # leaves the transfer coding unchecked, and refuses it only now.
                self._parser.feed_data(head_of_body(self._request))

    def on_url(self, url: bytes) -> None:
        """httptools calls this and the following."""
        if self._request is None:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is None:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        if self._request is not None:
            return
        parser, lines = self._parser, self._lines
        headers: dict[str, str] = {}
        for raw, content in lines:
            name, value = header_name(raw), content.decode("latin-1").strip(" \t")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        method = parser.get_method().decode()
        version = _VERSIONS.get(parser.get_http_version(), "")
        # llhttp also reads RTSP/1.0 and ICE/1.0, and any number of blanks between the words.
        begun = b"%b %b %b\r\n" % (parser.get_method(), self._url, version.encode())
        is_plain = begun in self._seen
        self._request = request = Request(
            method,
            self._url.decode("latin-1"),
            version,
            headers,
            lines,
            parser.should_keep_alive() and method != "CONNECT",
            self.remote_ip,
        )
        # A slice may hold the end of this head and more; another may have held its beginning.
        over = self._head_bytes > MAX_HEAD_BYTES - SLICE_BYTES
        self._body, self._head_bytes, self._body_bytes, self._wire_bytes = [], 0, 0, 0
        if over and head_length(request) > MAX_HEAD_BYTES:
            self._refuse_later(too_large("head", MAX_HEAD_BYTES), 431, "head too large")
        problem = problem_of(request) if is_plain else "not a request line of HTTP"
        if problem:
            self._malformed(problem)
        length = headers.get("Content-Length")
        # llhttp takes any number of leading zeros, Python a few thousand.
        if length is not None and int(length.lstrip("0") or "0") > MAX_BODY_BYTES:
            self._too_large()
        self._awaits_body = False
        self._expects = "Expect" in headers and (
            version == "HTTP/1.1" and headers["Expect"].lower() == "100-continue"
        )

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self._body_bytes > MAX_BODY_BYTES:
            self._too_large()
        else:
            self._body.append(chunk)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        if self._parser.should_upgrade() and request.has_body:
            return
        self._request = None
        if self._refusal is None and not self._last:
            body = self._body
            request.body = body[0] if len(body) == 1 else b"".join(body)
            self._ready.append(request)
            # Behind an upgrade there is another protocol, or an answer that closes.
            self._last = not request.keep_alive and not self._parser.should_upgrade()
        self._url, self._lines, self._body = b"", [], []

    def _malformed(self, reason: str) -> None:
        self._refuse_later(malformed(), 400, reason)

    def _too_large(self) -> None:
        self._refuse_later(too_large("body", MAX_BODY_BYTES), 413, "too_large")

    def _refuse_later(self, error: ApiError, status: int, reason: str) -> None:
        """Refuse what is parsed now, after the requests before it are answered."""
        # Bytes behind the last request are ignored.
        if self._refusal is None and not self._last:
            if self._request is not None:
                is_head = self._request.method == "HEAD"
                target = self._request.target
            else:
                is_head = bool(self._url) and self._parser.get_method() == b"HEAD"
                target = self._url.decode("latin-1")
            self._refusal = Refusal(error, status, reason, is_head, target)

    # Answering

    def _advance(self) -> None:
        """Answer what is next, or wait for it."""
        while self._unparsed and not (
            self._exchange or self._ready or self._refusal or self._last or self._over
        ):
            data, self._unparsed = self._unparsed[:SLICE_BYTES], self._unparsed[SLICE_BYTES:]
            self._feed(data)
        if self._over or self._exchange is not None:
            return
        if self._ready:
            self._serve(self._ready.pop(0))
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif (self._head_bytes or self._request is not None) and self.has_reserved_descriptor():
            # Only a part of a request came: such connections get no descriptor of the reserve.
            self.server.log_scarcity()
            self._refuse(Refusal(overloaded(), 503, "overloaded", False))
        elif self.peer_is_gone:
            # It had closed its side already when what it had sent first was read.
            self._over = True
            self.transport.close()
        else:
            if self._request is not None and not self._awaits_body:
                self._awaits_body = True
                self._allow(BODY_SECONDS)
                if self._expects and not self._body_bytes:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._paused:
                self._paused = False
                self.transport.resume_reading()

    def _serve(self, request: Request) -> None:
        if self._flushed is None:
            self._deadline = float("inf")
        exchange = self._exchange = Exchange(self, request)
        route = self.server.hot_route(request)
        has_reserve = route is not None and route.has_reserve
        if not has_reserve and self.has_reserved_descriptor():
            self.server.log_scarcity()
            response = error_response(
                overloaded(), new_request_id(), {"Connection": "close"}, target=request.target
            )
            response.write_to(exchange, is_head=request.method == "HEAD")
            return
        if route is not None:
            self.server.supervisor.spawn(self._answer(route, request, exchange), name="hot route")
            return
        handed_on = False
        try:
            delegate = self.server.application.start_request(self, exchange)
            start = RequestStartLine(request.method, request.target, request.version)
            waits = delegate.headers_received(start, request.tornado_headers())
            if waits is None:
                self._deliver(delegate, request, exchange)
                if self.peer_is_gone:
                    # Its end came before this request was served: it is not waited for either.
                    exchange.peer_left()
            else:
                work = self._deliver_after(waits, delegate, request, exchange)
                self.server.supervisor.spawn(work, name="request")
            handed_on = True
        except HTTPInputError as error:
            handed_on = True
            self._exchange = None
            self.server.requests.discard(exchange)
            exchange.lost()
            is_head = request.method == "HEAD"
            self._refuse(Refusal(malformed(), 400, str(error)[:80], is_head, request.target))
        finally:
            # A failure of the application goes on to the loop, which logs it.
            if not handed_on:
                exchange.abort()

    async def _answer(self, route: HotRoute, request: Request, exchange: Exchange) -> None:
        answered = False
        try:
            exchange.respond(route, await route.answer(request))
            answered = True
        finally:
            if not answered:
                exchange.abort()

    def _deliver(self, delegate: HTTPMessageDelegate, request: Request, exchange: Exchange) -> None:
        # An answer may be finished before the request is delivered: then the rest is not wanted.
        if request.body and exchange.context is not None:
            delegate.data_received(request.body)
        if exchange.context is not None:
            delegate.finish()

    async def _deliver_after(
        self,
        waits: Awaitable[None],
        delegate: HTTPMessageDelegate,
        request: Request,
        exchange: Exchange,
    ) -> None:
        delivered = False
        try:
            await waits
            if exchange.context is None:
                # Detached, or lost: then there is no peer to answer.
                return
            if self.peer_is_gone:
                delegate.on_connection_close()
            else:
                self._deliver(delegate, request, exchange)
                delivered = True
        finally:
            if not delivered:
                exchange.abort()

    def answered(self, exchange: Exchange, keep_alive: bool) -> None:
        """The whole answer is written."""
        self._answered = True
        self._keep_alive = keep_alive
        if self._flushed is None:
            self._exchange_ended(exchange)

    def _exchange_ended(self, exchange: Exchange) -> None:
        self.server.requests.discard(exchange)
        self._exchange, self._answered = None, False
        if not self._keep_alive or (self.peer_is_gone and not (self._ready or self._unparsed)):
            self._over = True
            if self._ready or self._unparsed or self._paused:
                self._linger()
            else:
                self.transport.close()
            return
        self._deadline = self._loop.time() + self.server.idle_seconds
        waits = self._ready or self._unparsed or self._request or self._refusal
        if waits or self._paused:
            # In a turn and a context of its own: what follows must neither block the loop nor run
            # under the request id of this request.
            self._loop.call_soon(self._advance, context=contextvars.Context())

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without an application, and close: the rest of the request stays unread."""
        self._over = True
        request_id = new_request_id()
        log.info("%d %s", refusal.status, refusal.reason, extra={"request_id": request_id})
        response = error_response(refusal.error, request_id, target=refusal.target)
        response = response._replace(status=refusal.status)
        self.transport.write(encoded(response, is_head=refusal.is_head))
        self._linger()

    def _linger(self) -> None:
        if self.transport.is_closing():
            return
        if self.has_reserved_descriptor():
            # Rather a reset that overtakes the answer than a second without the descriptor.
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:
            # The peer has reset the connection since the answer.
            self.abort()
            return
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._allow(LINGER_SECONDS)

    def has_reserved_descriptor(self) -> bool:
        """Whether the server can spare no descriptor beyond this answer."""
        return self.server.capacity.is_reserved(self._socket.fileno())

    def has_no_peer(self) -> bool:
        """`Exchange.has_no_peer`."""
        return self.peer_is_gone or hung_up(self._socket)

    def detach(self) -> tuple[int, bytes] | None:
        """`Exchange.detach`."""
        self._exchange = None
        if self.transport.is_closing():
            return None
        early = self._unparsed
        self._over = True
        try:
            return os.dup(self._socket.fileno()), early
        except OSError as error:
            log.warning("no descriptor for a socket", extra={"errno": error.errno})
            return None
        finally:
            self.transport.abort()
