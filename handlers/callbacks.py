"""What a push of WeChat is answered, however it came in.

Two doors lead here, as for sockets: callback_door.py (through Tornado's HTTP) and
plain_callbacks.py (straight from the listening socket, for the plain case).

``GET /wechat/callback[/<account>]``: WeChat's configuration check. Pushes: callback_desk.py.

``POST /wechat/callback[/<account>]`` through Tornado's HTTP, below the application.

A RequestHandler costs as much as all the rest of a callback (docs/performance.md), so this speaks
Tornado's public `HTTPMessageDelegate`, as the sockets do.

``POST /wechat/callback[/<account>]`` of the plainest form, straight from the listening socket.

Tornado's HTTP is a third of what a login costs, and a proxy sends WeChat's pushes one like the
other, each in one piece. So, as for sockets (services/push/reception.py), a request that is a whole
push, nothing more, and plain in every respect is served from here. Anything else that comes over
the same connection is handed untouched to Tornado, which keeps the connection then.
"""

import asyncio
import contextvars
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from handlers.base import JSON, BaseHandler, as_api_error
from handlers.listener import Address, Head, plain_head
from services.container import Container
from services.errors import ApiError, ScanpushError
from services.logs import new_request_id, request_id
from services.scenes.callbacks import Push
from services.tasks import Supervisor
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


class HttpResponse(NamedTuple):
    """A whole answer; `headers` names the length of `body`, too."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallbackDesk:
    """Answers pushes; never raises."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def answer(self, target: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """What the push to `target` (path and query) is answered. `headers` are the request's."""
        named = new_request_id()
        request_id.set(named)
        path, _, query = target.partition("?")
        status = 200
        try:
            account = named_account(self._container, path)
            reply = await self._container.callbacks.receive(account, _push(query, headers, body))
        except ScanpushError as error:
            status, content_type, body = self._refusal(as_api_error(error, 500))
        except Exception:  # this is the edge: whatever it was, WeChat gets an answer
            log.error("unexpected failure", exc_info=True)
            status, content_type, body = self._refusal(as_api_error(None, 500))
        else:
            body = reply.body
            content_type = reply.content_type or _REPLY_TYPES.get(body[:1], "text/plain")
        return HttpResponse(status, self._headers(named, content_type, len(body)), body)

    def _refusal(self, error: ApiError) -> tuple[int, str, bytes]:
        level = logging.WARNING if error.status == 500 else logging.INFO
        log.log(level, "%d POST %s %s", error.status, PATH, error.code)
        document = {"error": {"code": error.code, "message": error.message}}
        return error.status, JSON, json.dumps(document).encode()

    def _headers(self, named: str, content_type: str, length: int) -> Mapping[str, str]:
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Request-Id": named,
        }
        if self._container.push.draining:
            # Whoever keeps connections, a proxy above all, must not send more over this one.
            headers["Connection"] = "close"
        return headers


def _push(query: str, headers: Mapping[str, str], body: bytes) -> Push:
    hops = headers.get(HOPS_HEADER, "")
    return Push(
        query=dict(parse_qsl(query, keep_blank_values=True, errors="replace")),
        raw_query=query,
        body=body,
        content_type=headers.get("Content-Type", ""),
        hops=int(hops) if hops.isascii() and hops.isdigit() and len(hops) < 4 else 0,
    )


class CallbackHandler(BaseHandler):
    """Answers the check; a POST never comes this far."""

    def query(self) -> dict[str, str]:
        return {
            key: values[-1].decode("utf-8", "replace")
            for key, values in self.request.query_arguments.items()
        }

    def get(self, name: str | None = None) -> None:
        gate = named_account(self.container, self.request.path).gate
        self.set_header("Content-Type", "text/plain")
        self.finish(gate.check_configuration(self.query()))

    def post(self, name: str | None = None) -> None:
        """Only so that ``Allow`` names it."""
        raise AssertionError("the door answers pushes")


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


READ_BYTES = 8192
"""The longest push that is served, head and body; WeChat's have 1 to 2 KB. A connection's first
one is read by `reception`, up to its `HEAD_BYTES`."""

WRITE_SECONDS = 5
"""How long the client may take to read an answer that does not fit into the kernel at once."""

_FIRST_BYTES = f"POST {PATH}".encode()
_TARGET = re.compile(re.escape(PATH) + r"(?:/[^/?]{1,64})?(?:\?.*)?")
_LENGTH = re.compile(r"[0-9]{1,4}")
_NOT_PLAIN = ("Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te")


def plain_push(data: bytes) -> Head | None:
    """The head of the push that `data` is, no more and no less; None: it is not, or not plain."""
    if not data.startswith(_FIRST_BYTES) or (head := plain_head(data)) is None:
        return None
    headers = head.headers
    length = headers.get("Content-Length", "")
    if (
        head.method != "POST"
        or _TARGET.fullmatch(head.target) is None
        or _LENGTH.fullmatch(length) is None
        or headers.get("Connection", "keep-alive").lower() != "keep-alive"
        or any(name in headers for name in _NOT_PLAIN)
    ):
        return None
    return head if head.length + int(length) == len(data) else None


class PlainCallbacks:
    """Every connection over which nothing but plain pushes came so far.

    Args:
        under_way: where requests at work stand, so that nobody leaves before they are done.
        hand_on: gives a connection away, and what was read of it and not served.
        idle_seconds: how long a kept-alive connection may be idle.
    """

    def __init__(
        self,
        desk: CallbackDesk,
        supervisor: Supervisor,
        under_way: set[object],
        hand_on: Callable[[socket.socket, Address, bytes], None],
        idle_seconds: float,
    ) -> None:
        self.desk = desk
        self.supervisor = supervisor
        self.under_way = under_way
        self.hand_on = hand_on
        self.idle_seconds = idle_seconds
        self.lines: set[_Line] = set()

    def take(self, connection: socket.socket, address: Address, data: bytes) -> bool:
        """A `Taker`: serve the connection if it begins with a plain push."""
        head = plain_push(data)
        if head is None:
            return False
        line = _Line(self, connection, address)
        self.lines.add(line)
        line.serve(head, data)
        return True

    def close(self) -> None:
        """Close every connection at once."""
        for line in list(self.lines):
            line.close()


class _Line:
    """One connection. It reads one push at a time; what comes meanwhile waits in the kernel."""

    __slots__ = (
        "_address",
        "_all",
        "_busy",
        "_connection",
        "_idle",
        "_listening",
        "_loop",
        "_used",
    )

    def __init__(self, every: PlainCallbacks, connection: socket.socket, address: Address) -> None:
        self._all = every
        self._connection = connection
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._listening = False
        self._used = self._loop.time()
        self._idle = self._loop.call_later(every.idle_seconds, self._leave_if_idle)

    def serve(self, head: Head, data: bytes) -> None:
        """HttpResponse the push that `data` is in a task."""
        self._busy = True
        self._all.under_way.add(self)
        self._all.supervisor.spawn(self._answer(head, data[head.length :]), name="callback")

    async def _answer(self, head: Head, body: bytes) -> None:
        try:
            await self._write(await self._all.desk.answer(head.target, head.headers, body))
        finally:
            self._all.under_way.discard(self)
            self._busy = False

    async def _write(self, answer: HttpResponse) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        data = f"{start}{lines}\r\n".encode() + answer.body
        try:
            # Our own replies fit at once; another system's may have 64 KB.
            rest = data[self._connection.send(data) :]
            if rest:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._loop.sock_sendall(self._connection, rest)
        except (OSError, TimeoutError):
            self.close()
            return
        if "Connection" in answer.headers:
            self.close()
            return
        self._used = self._loop.time()
        self._listen()

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            # Of its own, or all that follows would run under the request id of this push.
            context = contextvars.Context()
            context.run(self._loop.add_reader, self._connection, self._ready)

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._connection)

    def _ready(self) -> None:
        if self._busy:
            self._stop_listening()
            return
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif (head := plain_push(data)) is not None:
            self.serve(head, data)
        else:
            self._forget()
            self._all.hand_on(self._connection, self._address, data)

    def _leave_if_idle(self) -> None:
        most = self._all.idle_seconds
        left = most if self._busy else self._used + most - self._loop.time()
        if left > 0:
            self._idle = self._loop.call_later(left, self._leave_if_idle)
        else:
            self.close()

    def close(self) -> None:
        """Forget and close the connection; may be called twice."""
        self._forget()
        self._connection.close()

    def _forget(self) -> None:
        self._all.lines.discard(self)
        self._idle.cancel()
        self._stop_listening()
