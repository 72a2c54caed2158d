"""The way in: ``GET /ws/<scene_str>``, checked wholly before the upgrade, then parked.

This sits below web.Application, on Tornado's `HTTPServerConnectionDelegate` and
`HTTPMessageDelegate` (its documentation: "httputil", "HTTPConnection.detach" may be called in
``headers_received``, which may be a coroutine): a RequestHandler a socket would cost 13 KB
and half of the handshakes. Once a socket is parked nothing of its request is referred to.
"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.client import responses
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.routing import Router

from services.errors import ApiError, StoreUnavailable
from services.push.capacity import AddressLimit, Capacity
from services.push.counters import PushCounters
from services.push.delivery import Delivery, Scenes
from services.push.errands import Errands
from services.push.handshake import (
    PREFIX,
    Offer,
    check_request,
    forbidden,
    read_offer,
    switching_protocols,
)
from services.push.hub import Hub
from services.push.keys import scene_key
from services.push.parking import Parking
from services.push.waiters import Waiter
from services.scenes.states import Scene

log = logging.getLogger("scanpush.push.upgrade")

WATCH_SECONDS = 5
"""How long the store may take to admit a socket."""

RETRY_SECONDS = 2
"""What a refused page is told to wait, before its own jitter."""

AllowedOrigin = Callable[[str | None, HTTPHeaders, str], bool]
"""Whether a page of that Origin (None: no such header) may open a socket, given the request's
headers and its scheme ("http" or "https", as trusted proxies say)."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What an upgrade needs; made once."""

    scenes: Scenes
    hub: Hub
    parking: Parking
    delivery: Delivery
    errands: Errands
    capacity: Capacity
    addresses: AddressLimit
    counters: PushCounters
    allowed_origin: AllowedOrigin
    draining: Callable[[], bool]


class SocketRouter(Router):
    """Takes requests below ``/ws/``; everything else goes to `fallback`, a web.Application.

    Give it to `HTTPServer` in the application's place: then a socket never costs an
    `HTTPServerRequest`. As a target of another router it works as well.
    """

    def __init__(self, gate: Gate, fallback: HTTPServerConnectionDelegate) -> None:
        self._gate = gate
        self._fallback = fallback

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _Fork(self._gate, self._fallback, server_conn, request_conn)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        assert request.connection is not None
        if request.path is not None and request.path.startswith(PREFIX):
            return _Upgrade(self._gate, request.connection)
        return self._fallback.start_request(request.server_connection, request.connection)

    def on_close(self, server_conn: object) -> None:
        self._fallback.on_close(server_conn)


class _Fork(HTTPMessageDelegate):
    """Decides by the path who gets this request."""

    def __init__(
        self,
        gate: Gate,
        fallback: HTTPServerConnectionDelegate,
        server_conn: object,
        request_conn: HTTPConnection,
    ) -> None:
        self._gate = gate
        self._fallback = fallback
        self._server_conn = server_conn
        self._request_conn = request_conn
        self._chosen: HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        if start_line.path.startswith(PREFIX):
            self._chosen = _Upgrade(self._gate, self._request_conn)
        else:
            self._chosen = self._fallback.start_request(self._server_conn, self._request_conn)
        return self._chosen.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._chosen.data_received(chunk) if self._chosen is not None else None

    def finish(self) -> None:
        if self._chosen is not None:
            self._chosen.finish()

    def on_connection_close(self) -> None:
        if self._chosen is not None:
            self._chosen.on_connection_close()


class _Upgrade(HTTPMessageDelegate):
    """One request for a socket."""

    def __init__(self, gate: Gate, request_conn: HTTPConnection) -> None:
        self._gate = gate
        self._conn = request_conn
        self._refusal: ApiError | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        try:
            return self._admit(self._checked(start_line, headers))
        except ApiError as refusal:
            self._refusal = refusal
            return None

    def data_received(self, chunk: bytes) -> None:
        """A body has no business here; Tornado limits its size."""

    def finish(self) -> None:
        """Called for refused requests only: a detached connection is not finished."""
        assert self._refusal is not None
        _refuse(self._conn, self._refusal)
        self._gate.counters.upgrade_refused(self._refusal.code)

    def _checked(self, start_line: RequestStartLine, headers: HTTPHeaders) -> Offer:
        """Everything that can be said without the store."""
        gate = self._gate
        check_request(start_line, headers)
        if gate.draining() or not gate.capacity.has_room(gate.parking.slots.count):
            raise ApiError("overloaded", "no room for a socket", retry_after=RETRY_SECONDS)
        scheme = getattr(_context(self._conn), "protocol", "http")
        if not gate.allowed_origin(headers.get("Origin"), headers, scheme):
            raise forbidden()
        return read_offer(start_line, headers)

    async def _admit(self, offer: Offer) -> None:
        gate = self._gate
        connection = gate.hub.ids.next()
        try:
            address = getattr(_context(self._conn), "remote_ip", None) or ""
            if not gate.addresses.enter(connection, address):
                raise ApiError("rate_limited", "too many sockets", retry_after=RETRY_SECONDS)
            gate.capacity.opening += 1
            try:
                await self._watch_and_park(offer, connection)
            finally:
                gate.capacity.opening -= 1
        except ApiError as refusal:
            gate.addresses.leave(connection)
            self._refusal = refusal

    async def _watch_and_park(self, offer: Offer, connection: int) -> None:
        gate = self._gate
        key = scene_key(offer.scene_str)
        # Listening begins before the store is read, so that no change falls in between.
        with gate.hub.arrival(key) as arrival:
            scene = await self._watch(offer, key, connection)
            if scene is None:
                raise forbidden()
            if arrival.scene is not None and arrival.scene.seq > scene.seq:
                scene = arrival.scene
            self._park(offer, key, connection, scene, arrival)

    async def _watch(self, offer: Offer, key: bytes, connection: int) -> Scene | None:
        gate = self._gate
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                return await gate.scenes.watch(offer.scene_str, offer.watch_token, connection)
        except (StoreUnavailable, TimeoutError) as error:
            # It may have been attached all the same.
            gate.errands.unwatch(key, connection)
            raise ApiError(
                "store_unavailable", "please try again", retry_after=RETRY_SECONDS
            ) from error

    def _park(
        self, offer: Offer, key: bytes, connection: int, scene: Scene, arrival: Waiter
    ) -> None:
        """Answer 101 with the first status behind it, and keep nothing but the descriptor."""
        gate = self._gate
        assert isinstance(self._conn, HTTP1Connection)
        taken = _take_over(self._conn.detach())
        if taken is None:
            gate.addresses.leave(connection)
            gate.errands.unwatch(key, connection)
            return
        fd, early = taken
        gate.parking.park(fd, key, connection)
        greeting = switching_protocols(offer.key)
        gate.hub.register(key, connection, fd, scene, greeting, arrival.replaced)
        gate.parking.serve(fd, connection, early)


def _take_over(stream: IOStream) -> tuple[int, bytes] | None:
    """The connection as a descriptor of our own, and what the peer has already said.

    None if the peer has gone or no descriptor was left.
    """
    try:
        if stream.closed():
            return None
        # Two statuses in a row (scanned, authorized) must not wait for the peer's delayed ACK.
        stream.set_nodelay(True)
        handle = stream.fileno()
        fd = os.dup(handle if isinstance(handle, int) else handle.fileno())
    except OSError as error:
        log.warning("no descriptor for a socket", extra={"errno": error.errno})
        return None
    finally:
        stream.close()
    try:
        # A closed stream still gives out what it had read, and touches no socket for it.
        read = asyncio.ensure_future(stream.read_bytes(65536, partial=True))
        return fd, read.result()
    except StreamClosedError:
        return fd, b""


def _context(conn: HTTPConnection) -> object:
    """Tornado keeps the peer's address and scheme there (`HTTPServerRequest` reads them)."""
    return getattr(conn, "context", None)


def _refuse(conn: HTTPConnection, refusal: ApiError) -> None:
    error = {"code": refusal.code, "message": str(refusal)}
    if refusal.field is not None:
        error["field"] = refusal.field
    body = json.dumps({"error": error}).encode()
    headers = HTTPHeaders(
        {
            "Content-Type": "application/json; charset=UTF-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Request-Id": secrets.token_hex(8),
        }
    )
    if refusal.code == "upgrade_required":
        headers["Upgrade"] = "websocket"
        headers["Sec-WebSocket-Version"] = "13"
    if refusal.code == "method_not_allowed":
        headers["Allow"] = "GET"
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    reason = responses.get(refusal.status, "Unknown")
    conn.write_headers(ResponseStartLine("HTTP/1.1", refusal.status, reason), headers, body)
    conn.finish()
