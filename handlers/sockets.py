"""``GET /ws/<scene_str>``: the upgrade of a page's socket, which is parked when it is admitted.

Two paths lead to the same checks (services/push/admission.py). `FastUpgrade` serves a plain
request, straight from the listening socket; `SocketRouter` serves every other one, through HTTP
but below the RequestHandlers, which would cost 13 KB per socket. Once a socket is parked nothing of
its request is referred to.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Mapping
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.routing import Router

from handlers.api_request import log_other_scheme
from handlers.http1 import LINGER_SECONDS, Exchange
from handlers.http_messages import (
    NO_HEADERS,
    HttpResponse,
    encoded,
    error_response,
    new_request_id,
)
from handlers.listener import FIRST_READ_BYTES, INHERITS_NODELAY, Address, Head
from services.errors import ApiError
from services.logs import PacedLog
from services.metrics import Metrics
from services.origins import MAX_LOGGED_ORIGIN, is_listed
from services.push.admission import Admission, Take, hung_up
from services.push.handshake import (
    FOREIGN_ORIGIN,
    NO_SUBPROTOCOL,
    OTHER_SCHEME,
    PREFIX,
    Offer,
    UpgradeRequest,
)
from services.tasks import Supervisor

log = logging.getLogger("scanpush.push")

_REFUSAL_HEADERS: Mapping[str, Mapping[str, str]] = {
    "upgrade_required": {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
    "method_not_allowed": {"Allow": "GET"},
}


def refused(refusal: ApiError, metrics: Metrics, origin: str = "") -> HttpResponse:
    """Count a refused upgrade and log it, with the Origin it is refused for: its answer."""
    request_id = new_request_id()
    is_proxys = refusal.cause in (OTHER_SCHEME, NO_SUBPROTOCOL)
    metrics.upgrade_refused(refusal.cause if is_proxys else refusal.code)
    fields = {"request_id": request_id}
    if origin:
        fields["origin"] = origin[:MAX_LOGGED_ORIGIN]
    log.info("%d GET %s %s", refusal.status, PREFIX, refusal.cause, extra=fields)
    return error_response(refusal, request_id, _REFUSAL_HEADERS.get(refusal.code, NO_HEADERS))


class FastUpgrade:
    """Upgrades of the plainest form, straight from the listening socket.

    A transport, a parser, a task and Tornado's request are most of what a handshake costs otherwise
    (docs/performance.md). tests/conformance runs on this path and on `SocketRouter`.
    """

    def __init__(self, admission: Admission, supervisor: Supervisor, metrics: Metrics) -> None:
        self._admission = admission
        self._supervisor = supervisor
        self._metrics = metrics

    def take(self, connection: socket.socket, address: Address, head: Head, early: bytes) -> bool:
        """Take the connection over, and park it if it is admitted.

        False where something but the store refuses it: then it is served as any request, so that
        there is one place for refusals of that kind.
        """
        request = UpgradeRequest(head.method, head.target, "HTTP/1.1", head.headers, address[0])
        try:
            offer = self._admission.check(request)
        except ApiError:
            return False

        def detach() -> tuple[int, bytes] | None:
            if not INHERITS_NODELAY:
                try:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    connection.close()
                    return None
            return connection.detach(), early

        decided = False
        try:
            waits = not self._admission.admit_nowait(offer, detach)
            decided = True
        finally:
            if not decided:
                connection.close()
        if waits:
            work = self._admit(offer, connection, detach)
            self._supervisor.spawn(work, name="push upgrade")
        return True

    async def _admit(self, offer: Offer, connection: socket.socket, take: Take) -> None:
        try:
            await self._admission.admit(offer, take, lambda: hung_up(connection))
        except ApiError as refusal:
            await self._refuse(connection, refused(refusal, self._metrics))
        finally:
            connection.close()

    async def _refuse(self, connection: socket.socket, response: HttpResponse) -> None:
        try:
            # A few hundred bytes on a new connection: they fit, or the peer is gone.
            connection.send(encoded(response))
            if self._admission.capacity.is_reserved(connection.fileno()):
                # A descriptor of the reserve is not kept for a second.
                return
            connection.shutdown(socket.SHUT_WR)
            # Closing with input unread would send a reset that may overtake the answer.
            async with asyncio.timeout(LINGER_SECONDS):
                while await asyncio.get_running_loop().sock_recv(connection, FIRST_READ_BYTES):
                    pass
        except (OSError, TimeoutError):
            return


class SocketRouter(Router):
    """The target of the route ``/ws/``.

    On Tornado's `Router` and `HTTPMessageDelegate` (its documentation: "Integration with other
    services"), over handlers/http1.py and over Tornado's own connection alike: both may be detached
    in ``headers_received``, which may be a coroutine.
    """

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._paced_log = PacedLog(log)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        return _Upgrade(self._admission, self._metrics, self._paced_log, request)


class _Upgrade(HTTPMessageDelegate):
    """One request for a socket."""

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        paced_log: PacedLog,
        request: HTTPServerRequest,
    ) -> None:
        assert request.connection is not None
        self._admission = admission
        self._metrics = metrics
        self._paced_log = paced_log
        self._request = request
        self._conn = request.connection
        self._remote_ip = request.remote_ip or ""
        self._refusal: ApiError | None = None
        self._is_head = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._is_head = start_line.method == "HEAD"
        try:
            # Not the target of `start_line`, which may be in absolute form.
            method, target, version = start_line.method, self._request.uri or "", start_line.version
            request = UpgradeRequest(method, target, version, headers, self._remote_ip)
            offer = self._admission.check(request)
            if headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers:
                raise ApiError("bad_request", "an upgrade has no body")
        except ApiError as refusal:
            self._refusal = refusal
            self._explain(refusal)
            return None
        return self._admit(offer)

    def _explain(self, refusal: ApiError) -> None:
        """Tell the operator what a proxy in front is most likely to have done."""
        proxies = self._admission.trusted_proxies
        if refusal.cause == OTHER_SCHEME:
            log_other_scheme(
                self._paced_log,
                self._admission.origins,
                proxies,
                self._remote_ip,
                self._request.headers,
            )
        elif refusal.cause == NO_SUBPROTOCOL:
            self._paced_log.log(
                logging.WARNING if is_listed(self._remote_ip, proxies) else logging.INFO,
                "an upgrade came without Sec-WebSocket-Protocol: pages log in by polling until the "
                "proxy passes that header on",
                peer=self._remote_ip,
            )

    def data_received(self, chunk: bytes) -> None:
        """Ignored: a request with a body is refused."""

    def finish(self) -> None:
        """Called for refused requests only: a detached connection is not finished."""
        assert self._refusal is not None
        is_foreign = self._refusal.cause in (FOREIGN_ORIGIN, OTHER_SCHEME)
        origin = self._request.headers.get("Origin", "") if is_foreign else ""
        response = refused(self._refusal, self._metrics, origin)
        response.write_to(self._conn, is_head=self._is_head)

    async def _admit(self, offer: Offer) -> None:
        try:
            await self._admission.admit(offer, self._detach, self._gone)
        except ApiError as refusal:
            self._refusal = refusal

    def _gone(self) -> bool:
        if isinstance(self._conn, Exchange):
            return self._conn.has_no_peer()
        assert isinstance(self._conn, HTTP1Connection)
        connection = self._conn.stream.socket
        return connection is None or hung_up(connection)

    def _detach(self) -> tuple[int, bytes] | None:
        """A `Take`: a duplicate of the descriptor, and what was read of it beyond the request."""
        if isinstance(self._conn, Exchange):
            return self._conn.detach()
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
