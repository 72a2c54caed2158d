"""The front of the house: what is decided from a request's first lines, before any handler."""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import Router

from handlers.callback_desk import PATH
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
