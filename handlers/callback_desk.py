"""What a push of WeChat is answered, however it came in.

Two doors lead here, as for sockets: callback_door.py (through Tornado's HTTP) and
plain_callbacks.py (straight from the listening socket, for the plain case).
"""

import json
import logging
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from handlers.base import JSON, as_api_error
from services.container import Container
from services.errors import ApiError, ScanpushError
from services.logs import new_request_id, request_id
from services.scenes.callbacks import Push
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


class Answer(NamedTuple):
    """A whole answer; `headers` names the length of `body`, too."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallbackDesk:
    """Answers pushes; never raises."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def answer(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
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
        return Answer(status, self._headers(named, content_type, len(body)), body)

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
