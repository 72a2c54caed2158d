"""The way in through Tornado: ``GET /ws/<scene_str>`` below web.Application, then parked.

On Tornado's `Router` and `HTTPMessageDelegate` (its documentation: "Integration with other
services"; `HTTP1Connection.detach` may be called in ``headers_received``, which may be a
coroutine). A RequestHandler a socket would cost 13 KB and half of the handshakes. Once a socket is
parked nothing of its request is referred to.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable
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

from services.errors import ApiError
from services.push.admission import Admission, hung_up
from services.push.handshake import PREFIX, Offer, Request

log = logging.getLogger("scanpush.push.upgrade")


class SocketRouter(Router):
    """Takes requests below ``/ws/``; everything else goes to `fallback`, a web.Application.

    Give it to `HTTPServer` in the application's place: then a socket never costs an
    `HTTPServerRequest`. As a target of another router it works as well.
    """

    def __init__(self, admission: Admission, fallback: HTTPServerConnectionDelegate) -> None:
        self._admission = admission
        self._fallback = fallback

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _Fork(self._admission, self._fallback, server_conn, request_conn)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        assert request.connection is not None
        if request.path is not None and request.path.startswith(PREFIX):
            return _Upgrade(self._admission, request.connection)
        return self._fallback.start_request(request.server_connection, request.connection)

    def on_close(self, server_conn: object) -> None:
        self._fallback.on_close(server_conn)


class _Fork(HTTPMessageDelegate):
    """Decides by the path who gets this request."""

    def __init__(
        self,
        admission: Admission,
        fallback: HTTPServerConnectionDelegate,
        server_conn: object,
        request_conn: HTTPConnection,
    ) -> None:
        self._admission = admission
        self._fallback = fallback
        self._server_conn = server_conn
        self._request_conn = request_conn
        self._chosen: HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        if start_line.path.startswith(PREFIX):
            self._chosen = _Upgrade(self._admission, self._request_conn)
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

    def __init__(self, admission: Admission, request_conn: HTTPConnection) -> None:
        self._admission = admission
        self._conn = request_conn
        self._refusal: ApiError | None = None
        self._is_head = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._is_head = start_line.method == "HEAD"
        # Tornado keeps the peer's address there (`HTTPServerRequest` reads it).
        remote_ip = getattr(getattr(self._conn, "context", None), "remote_ip", None) or ""
        try:
            offer = self._admission.check(Request(*start_line, headers, remote_ip))
        except ApiError as refusal:
            self._refusal = refusal
            return None
        return self._admit(offer)

    def data_received(self, chunk: bytes) -> None:
        """A body has no business here; Tornado limits its size."""

    def finish(self) -> None:
        """Called for refused requests only: a detached connection is not finished."""
        refusal = self._refusal
        assert refusal is not None
        headers, body = self._admission.refused(refusal)
        reason = responses.get(refusal.status, "Unknown")
        self._conn.write_headers(
            ResponseStartLine("HTTP/1.1", refusal.status, reason),
            HTTPHeaders(headers),
            # Tornado takes a body here for an error and answers nothing.
            None if self._is_head else body,
        )
        self._conn.finish()

    async def _admit(self, offer: Offer) -> None:
        try:
            await self._admission.admit(offer, self._take, self._gone)
        except ApiError as refusal:
            self._refusal = refusal

    def _gone(self) -> bool:
        assert isinstance(self._conn, HTTP1Connection)
        connection = self._conn.stream.socket
        return connection is None or hung_up(connection)

    def _take(self) -> tuple[int, bytes] | None:
        """The connection as a descriptor of our own, and what was read of it beyond the head."""
        assert isinstance(self._conn, HTTP1Connection)
        stream = self._conn.detach()
        try:
            if stream.closed():
                return None
            # Two statuses in a row (scanned, authorized) must not wait for a delayed ACK.
            stream.set_nodelay(True)
            handle = stream.fileno()
            fd = os.dup(handle if isinstance(handle, int) else handle.fileno())
        except OSError as error:
            log.warning("no descriptor for a socket", extra={"errno": error.errno})
            return None
        finally:
            stream.close()
        return fd, _already_read(stream)


def _already_read(stream: IOStream) -> bytes:
    """What a closed stream had read: it still gives that out, and touches no socket for it."""
    try:
        return asyncio.ensure_future(stream.read_bytes(65536, partial=True)).result()
    except StreamClosedError:
        return b""
