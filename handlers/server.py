"""The front of the house: what is decided from a request's first lines, before any handler.

The HTTP server: the application, the sockets below it, and leaving in good order.
"""

import asyncio
import contextlib
import functools
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.netutil import bind_unix_socket
from tornado.routing import Router

from handlers.base import UNDER_WAY
from handlers.callbacks import PATH, CallbackDesk, CallbackDoor, PlainCallbacks
from handlers.listener import Reception, hand_to
from handlers.routes import make_application, routes, routes_for_worker_peers
from handlers.sockets import SocketRouter
from services.container import Container
from services.logs import new_request_id

log = logging.getLogger("scanpush.http")

MAX_BODY_BYTES = 64 * 1024

_PUSH = re.compile(re.escape(PATH) + "(/[^/]{1,64})?")


class Front(Router):
    """Sends oversized bodies away before they are read, pushes to their door, and the rest to
    the application."""

    def __init__(
        self, application: Router, door: Callable[[HTTPConnection], HTTPMessageDelegate]
    ) -> None:
        self._application = application
        self._door = door

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        assert request.connection is not None
        if _announced_length(request.headers) > MAX_BODY_BYTES:
            return TooLarge(request.connection, request.method == "HEAD")
        delegate: HTTPMessageDelegate | None
        if request.method == "POST" and _PUSH.fullmatch(request.path or ""):
            delegate = self._door(request.connection)
        else:
            delegate = self._application.find_handler(request, **kwargs)
        if delegate is not None and "Transfer-Encoding" in request.headers:
            return Counted(request.connection, delegate, request.method == "HEAD")
        return delegate


def _announced_length(headers: HTTPHeaders) -> int:
    """Chunked bodies announce none; `Counted` counts those. The first digits tell enough: Python
    refuses to read thousands of them."""
    length = headers.get("Content-Length", "")
    return int(length[:20]) if length.isascii() and length.isdigit() else 0


class TooLarge(HTTPMessageDelegate):
    """Answers 413 without reading the body."""

    def __init__(self, connection: HTTPConnection, is_head: bool) -> None:
        self._connection = connection
        self._is_head = is_head

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        refuse_body(self._connection, self._is_head)
        return None


class Counted(HTTPMessageDelegate):
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
    """Write the whole answer 413; the connection ends with it, for the body is not wanted.

    To HEAD only its head: Tornado takes a body there for an error and answers nothing.
    """
    named = new_request_id()
    log.info("413 too_large", extra={"request_id": named})
    body = json.dumps(
        {"error": {"code": "too_large", "message": f"At most {MAX_BODY_BYTES} bytes."}}
    ).encode()
    headers = HTTPHeaders(
        {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Request-Id": named,
            "Connection": "close",
        }
    )
    connection.write_headers(
        ResponseStartLine("HTTP/1.1", 413, "Too Large"), headers, None if is_head else body
    )
    connection.finish()


MAX_HEADER_BYTES = 64 * 1024
"""Twice what nginx passes on. To more Tornado closes the connection without an answer, and a proxy
takes that for a node's failure and asks it no more for a while."""

IDLE_SECONDS = 75
"""How long a kept-alive connection may be idle; above the usual 60 s of proxies."""

DRAIN_TURN_SECONDS = 0.01

BODY_SECONDS = 10
"""How long a client may take to send its body."""


class Server:
    """Accepts connections for one container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        application = make_application(container, routes(container))
        self._under_way = application.settings[UNDER_WAY]
        callbacks = (CallbackDesk(container), container.supervisor, self._under_way)
        self._http = HTTPServer(
            SocketRouter(
                container.push.admission,
                Front(application, lambda conn: CallbackDoor(*callbacks, conn)),
            ),
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=2 * MAX_BODY_BYTES,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
        )
        self._plain = PlainCallbacks(
            *callbacks, functools.partial(hand_to, self._http), IDLE_SECONDS
        )
        self._reception = Reception(
            self._http, container.push.admission, container.supervisor, self._plain.take
        )
        self._for_worker_peers = HTTPServer(
            make_application(container, routes_for_worker_peers(container))
        )

    def listen(self, sockets: list[socket.socket]) -> None:
        self._reception.listen(sockets)
        if (peers := self._container.worker_peers) is not None:
            address = peers.context.address(peers.context.number)
            self._for_worker_peers.add_socket(bind_unix_socket(str(address), mode=0o600))
            peers.context.report_started()

    async def drain(self) -> None:
        """Accept no more, finish what is under way, send every socket away with 1001.

        A callback that was cut off would not come again: WeChat documents its retries for
        time-outs only.
        """
        seconds = self._container.settings.server.drain_seconds
        log.info("leaving: draining for at most %s s", seconds)
        self._reception.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._container.push.drain(seconds)
                while self._under_way:
                    await asyncio.sleep(DRAIN_TURN_SECONDS)

    async def close(self) -> None:
        """End what is left."""
        self._reception.stop()
        self._for_worker_peers.stop()
        self._plain.close()
        await asyncio.wait_for(self._http.close_all_connections(), 1)
        await asyncio.wait_for(self._for_worker_peers.close_all_connections(), 1)
