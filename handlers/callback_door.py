"""``POST /wechat/callback[/<account>]``: where a login's whole load arrives, below the application.

A RequestHandler costs as much as all the rest of a callback (docs/performance.md), so this speaks
Tornado's public `HTTPMessageDelegate`, as the sockets do. What it answers is the same.
"""

import json
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from urllib.parse import parse_qsl

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from handlers.base import JSON, as_api_error, new_request_id
from services.container import Container
from services.errors import ApiError, ScanpushError
from services.logs import request_id
from services.scenes.callbacks import Push, Reply
from services.wechat.accounts import Account
from services.wechat.forwarder import HOPS_HEADER

log = logging.getLogger("scanpush.http")

PATH = "/wechat/callback"

_REPLY_TYPES = {b"<": "application/xml; charset=utf-8", b"{": JSON}
"""By a reply's first byte: accounts may be set to XML or to JSON."""


def named_account(container: Container, path: str) -> Account:
    """The account of the path; the first one where none is named.

    Raises:
        ApiError: ``not_found``.
    """
    try:
        return container.accounts.named(path.removeprefix(PATH).removeprefix("/"))
    except ApiError:
        raise ApiError("not_found", "There is nothing here.") from None


class CallbackDoor(HTTPMessageDelegate):
    """One push.

    Args:
        under_way: where requests at work stand, so that nobody leaves before they are done.
    """

    def __init__(
        self, container: Container, connection: HTTPConnection, under_way: set[object]
    ) -> None:
        self._container = container
        self._connection = connection
        self._under_way = under_way
        self._chunks: list[bytes] = []
        self._peer_gone = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._path, _, self._query = start_line.path.partition("?")
        self._headers = headers
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._chunks.append(chunk)
        return None

    def finish(self) -> None:
        self._under_way.add(self)
        self._container.supervisor.spawn(self._answer(), name="callback")

    def on_connection_close(self) -> None:
        """What was begun is finished all the same; only nobody hears the answer."""
        self._peer_gone = True

    async def _answer(self) -> None:
        self._request_id = new_request_id()
        request_id.set(self._request_id)
        try:
            account = named_account(self._container, self._path)
            reply = await self._container.callbacks.receive(account, self._push())
        except ScanpushError as error:
            self._refuse(as_api_error(error, 500))
        except Exception:  # this is the edge: whatever it was, WeChat gets an answer
            log.error("unexpected failure", exc_info=True)
            self._refuse(as_api_error(None, 500))
        else:
            self._reply(reply)
        finally:
            self._under_way.discard(self)

    def _push(self) -> Push:
        hops = self._headers.get(HOPS_HEADER, "")
        return Push(
            query=dict(parse_qsl(self._query, keep_blank_values=True, errors="replace")),
            raw_query=self._query,
            body=b"".join(self._chunks),
            content_type=self._headers.get("Content-Type", ""),
            hops=int(hops) if hops.isascii() and hops.isdigit() and len(hops) < 4 else 0,
        )

    def _reply(self, reply: Reply) -> None:
        own_type = _REPLY_TYPES.get(reply.body[:1], "text/plain")
        self._write(200, reply.content_type or own_type, reply.body)

    def _refuse(self, error: ApiError) -> None:
        level = logging.WARNING if error.status == 500 else logging.INFO
        log.log(level, "%d POST %s %s", error.status, PATH, error.code)
        document = {"error": {"code": error.code, "message": error.message}}
        self._write(error.status, JSON, json.dumps(document).encode())

    def _write(self, status: int, content_type: str, body: bytes) -> None:
        if self._peer_gone:
            return
        headers = HTTPHeaders()
        headers["Content-Type"] = content_type
        headers["Content-Length"] = str(len(body))
        headers["Cache-Control"] = "no-store"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Request-Id"] = self._request_id
        if self._container.push.draining:
            # Whoever keeps connections, a proxy above all, must not send more over this one.
            headers["Connection"] = "close"
        start = ResponseStartLine("HTTP/1.1", status, HTTPStatus(status).phrase)
        self._connection.write_headers(start, headers, body)
        self._connection.finish()
