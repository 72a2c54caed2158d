"""The front of the house: what is decided from a request's first lines, before any handler."""

import json
import secrets
from collections.abc import Awaitable
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

MAX_BODY_BYTES = 64 * 1024


class Front(Router):
    """Sends oversized bodies away before they are read, and the rest to the application."""

    def __init__(self, application: Router) -> None:
        self._application = application

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        if _announced_length(request.headers) > MAX_BODY_BYTES:
            assert request.connection is not None
            return TooLarge(request.connection)
        return self._application.find_handler(request, **kwargs)


def _announced_length(headers: HTTPHeaders) -> int:
    """Chunked bodies announce none; `HTTPServer(max_body_size=...)` ends those."""
    length = headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


class TooLarge(HTTPMessageDelegate):
    """Answers 413 without reading the body."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        body = json.dumps(
            {"error": {"code": "too_large", "message": f"At most {MAX_BODY_BYTES} bytes."}}
        ).encode()
        answer = HTTPHeaders(
            {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "X-Request-Id": secrets.token_hex(8),
                "Connection": "close",
            }
        )
        self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", 413, "Too Large"), answer, body
        )
        self._connection.finish()
        return None
