"""``/wechat/callback[/<account>]``: what WeChat sends to an Official Account's server.

``GET`` is the console's configuration check, ``POST`` an event or a message. The POST is a hot
route (handlers/http1.py): a login does not pay for a RequestHandler.
"""

import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from handlers.api_request import as_api_error
from handlers.base import BaseHandler, write_response
from handlers.http_messages import (
    JSON,
    SAFE_HEADERS,
    HotRoute,
    HttpResponse,
    error_response,
    new_request_id,
)
from services.container import Container
from services.errors import ApiError, ScanpushError
from services.logs import request_id
from services.scenes.callbacks import CallbackRequest
from services.wechat.accounts import Account
from services.wechat.callback import CallbackRefused
from services.wechat.forwarder import HOPS_HEADER

log = logging.getLogger("scanpush.http")

PATH = "/wechat/callback"

MOST_ARGUMENTS = 64
"""WeChat sends six. A full head holds 15,000, which would take 11 ms before a forged push is
refused."""

_TARGET = re.compile(re.escape(PATH) + r"(?:/[^/?]{1,64})?(?:\?.*)?")

_REPLY_TYPES = {b"<": "application/xml; charset=utf-8", b"{": JSON}
"""By a reply's first byte: accounts may be set to XML or to JSON."""


async def answer(
    container: Container, target: str, headers: Mapping[str, str], body: bytes
) -> HttpResponse:
    """The answer to a POST to `target` (path and query), however it came in.

    Never raises: WeChat counts requests without an answer, and suspends an account's callbacks
    after too many.
    """
    named = new_request_id()
    request_id.set(named)
    path, _, query = target.partition("?")
    try:
        hops = headers.get(HOPS_HEADER, "")
        reply = await container.callbacks.receive(
            named_account(container, path, query),
            CallbackRequest(
                query=arguments_of(query),
                raw_query=query,
                body=body,
                content_type=headers.get("Content-Type", ""),
                hops=int(hops) if hops.isascii() and hops.isdigit() and len(hops) < 4 else 0,
            ),
        )
    except Exception as failure:
        if not isinstance(failure, ScanpushError):
            # The edge: whatever the failure is, WeChat gets an answer.
            log.error("unexpected failure", exc_info=True)
        error = as_api_error(failure)
        level = logging.WARNING if error.status == 500 else logging.INFO
        log.log(level, "%d POST %s %s", error.status, PATH, error.code)
        return error_response(error, named)
    sent = {
        "Content-Type": reply.content_type or _REPLY_TYPES.get(reply.body[:1], "text/plain"),
        "Content-Length": str(len(reply.body)),
        **SAFE_HEADERS,
        "X-Request-Id": named,
    }
    return HttpResponse(200, sent, reply.body)


def hot_route(container: Container) -> HotRoute:
    """The POST as a route without a RequestHandler."""
    return HotRoute(
        "POST",
        _TARGET,
        lambda request: answer(container, request.target, request.headers, request.body),
        has_reserve=True,
    )


def arguments_of(query: str) -> dict[str, str]:
    """The query's arguments, of several with one name the last; none where they are too many."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="replace", max_num_fields=MOST_ARGUMENTS
        )
    except ValueError:
        return {}
    return dict(pairs)


def named_account(container: Container, path: str, query: str = "") -> Account:
    """The account of the path; the first one where none is named.

    Raises:
        ApiError: ``not_found``; a callback with that `query` is noted as lost.
    """
    try:
        return container.accounts.named(path.removeprefix(PATH).removeprefix("/"))
    except ApiError:
        container.accounts.lost(path, arguments_of(query), container.clock.now())
        raise ApiError("not_found", "There is nothing here.") from None


class CallbackHandler(BaseHandler):
    """The other methods, and the POST where Tornado's own connections serve it."""

    def get(self, name: str | None = None) -> None:
        """The configuration check.

        ``scripts/doctor`` also sends a wrong signature, with its `proof`: it is refused like any,
        but the log does not show it to the operator as an attack.
        """
        account = named_account(self.container, self.request.path)
        self.set_header("Content-Type", "text/plain")
        try:
            self.finish(account.gate.check_configuration(self.last_arguments()))
        except CallbackRefused:
            bearer = self.asked.bearer()
            self.is_refusal_expected = account.proves(bearer, self.container.clock.now())
            raise

    async def post(self, name: str | None = None) -> None:
        headers, body = self.request.headers, self.request.body
        write_response(self, await answer(self.container, self.request.uri or "", headers, body))
