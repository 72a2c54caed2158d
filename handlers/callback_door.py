"""``POST /wechat/callback[/<account>]`` through Tornado's HTTP, below the application.

A RequestHandler costs as much as all the rest of a callback (docs/performance.md), so this speaks
Tornado's public `HTTPMessageDelegate`, as the sockets do.
"""

from collections.abc import Awaitable
from http import HTTPStatus

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from handlers.callback_desk import CallbackDesk
from services.supervisor import Supervisor


class CallbackDoor(HTTPMessageDelegate):
    """One push.

    Args:
        under_way: where requests at work stand, so that nobody leaves before they are done.
    """

    def __init__(
        self,
        desk: CallbackDesk,
        supervisor: Supervisor,
        under_way: set[object],
        connection: HTTPConnection,
    ) -> None:
        self._desk = desk
        self._supervisor = supervisor
        self._under_way = under_way
        self._connection = connection
        self._chunks: list[bytes] = []
        self._peer_gone = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self._target = start_line.path
        self._headers = headers
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._chunks.append(chunk)
        return None

    def finish(self) -> None:
        self._under_way.add(self)
        self._supervisor.spawn(self._answer(), name="callback")

    def on_connection_close(self) -> None:
        """What was begun is finished all the same; only nobody hears the answer."""
        self._peer_gone = True

    async def _answer(self) -> None:
        try:
            answer = await self._desk.answer(self._target, self._headers, b"".join(self._chunks))
            if not self._peer_gone:
                start = ResponseStartLine(
                    "HTTP/1.1", answer.status, HTTPStatus(answer.status).phrase
                )
                headers = HTTPHeaders(dict(answer.headers))
                self._connection.write_headers(start, headers, answer.body)
                self._connection.finish()
        finally:
            self._under_way.discard(self)
