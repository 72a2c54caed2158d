"""What all RequestHandlers share: JSON answers, the one error document, request ids, the access
log."""

import json
from collections.abc import Awaitable
from typing import Any

from tornado.routing import PathMatches
from tornado.web import RequestHandler

from handlers.api_request import ApiRequest, as_api_error, log_access
from handlers.http_messages import (
    JSON,
    SAFE_HEADERS,
    HttpResponse,
    error_response,
    new_request_id,
)
from services.container import Container
from services.errors import ApiError, unauthorized
from services.ids import SceneStr, WatchToken, is_scene_str
from services.logs import request_id
from services.wechat.replies import language


class BaseHandler(RequestHandler):
    """Answers JSON; every failure is ``{"error": {"code", "message"[, "field"]}}``."""

    needs_clients = False
    """Whether there is nothing at its addresses without ``oidc.clients``."""

    is_refusal_expected = False
    """Whether the caller has shown that it is the operator, who tries whether it is refused."""

    def initialize(self, container: Container) -> None:
        self.container = container
        request = self.request
        self.asked = ApiRequest(
            container,
            request.headers,
            request.headers.get_list("Cookie"),
            request.remote_ip or "",
            request.host,
            request.body,
            self.request_id,
        )

    def set_default_headers(self) -> None:
        self.request_id = set_safe_headers(self)

    def prepare(self) -> None:
        request_id.set(self.request_id)
        self.asked.check_host()

    def share_with_origin(self) -> None:
        """CORS for exactly the configured origins."""
        for name, value in self.asked.cors_headers().items():
            self.set_header(name, value)

    def head(self, *args: str) -> Awaitable[None] | None:
        """What ``GET`` answers, without the body, which Tornado leaves out (RFC 9110, 9.3.2)."""
        return self.get(*args)

    def options(self, *args: str) -> None:
        """A preflight. Without the allowing headers the browser goes no further."""
        self.share_with_origin()
        if self.container.origins.shared_with(self.asked.headers.get("Origin")):
            self.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE")
            self.set_header("Access-Control-Allow-Headers", "authorization, content-type")
            self.set_header("Access-Control-Max-Age", "600")
        self.set_status(204)

    def scene_str(self, text: str) -> SceneStr:
        """The scene named in the path; one that cannot exist is answered like one that does not."""
        if not is_scene_str(text):
            raise unauthorized()
        return SceneStr(text)

    def visitor_language(self, asked: str = "") -> str:
        """As asked for; else as chosen on a page before, which a cookie keeps; else as the browser
        asks."""
        chosen = asked or self.get_cookie("lang")
        return language(chosen) if chosen else self.asked.accepted_language

    def last_arguments(self) -> dict[str, str]:
        """The arguments of the query, of several with one name the last; whatever the bytes."""
        return {
            name: values[-1].decode("utf-8", "replace")
            for name, values in self.request.query_arguments.items()
        }

    def watch_token(self) -> WatchToken:
        return WatchToken(self.asked.bearer())

    # What goes out.

    def write_json(self, body: Any) -> None:
        self.write_body(json.dumps(body, ensure_ascii=False).encode())

    def write_body(self, body: bytes) -> None:
        self.set_header("Content-Type", JSON)
        self.finish(body)

    def protect(self, policy: str) -> None:
        """The headers of a page with a form, whose Content-Security-Policy is `policy`."""
        self.set_header("Content-Security-Policy", policy)
        self.set_header("X-Frame-Options", "DENY")
        # With "no-referrer" browsers send "Origin: null" along with a form.
        self.set_header("Referrer-Policy", "same-origin")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        self.asked.log_failure(value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.share_with_origin()
        answer_error(self, as_api_error(kwargs.get("exc_info", (None, None))[1], status_code))


def set_safe_headers(handler: RequestHandler) -> str:
    """Set `SAFE_HEADERS` and the request's id, which is returned.

    Tornado sets the headers a second time before it writes an error: the id stays, for it is in
    the log.
    """
    request_id: str = getattr(handler, "request_id", "") or new_request_id()
    handler.clear_header("Server")
    handler.set_header("X-Request-Id", request_id)
    for name, value in SAFE_HEADERS.items():
        handler.set_header(name, value)
    return request_id


def write_response(handler: RequestHandler, response: HttpResponse) -> None:
    """Finish a handler's answer with one that was made without it."""
    handler.set_status(response.status)
    if "Content-Type" not in response.headers:
        handler.clear_header("Content-Type")  # Tornado's own, which is for pages
    for name, value in response.headers.items():
        handler.set_header(name, value)
    handler.finish(response.body)


def answer_error(handler: RequestHandler, error: ApiError) -> None:
    """Finish a handler's answer with the error document."""
    if error.code == "method_not_allowed":
        handler.set_header("Allow", ", ".join(allowed_methods(type(handler))))
    write_response(handler, error_response(error, getattr(handler, "request_id", "")))


def allowed_methods(handler: type[RequestHandler]) -> list[str]:
    """What that kind of handler answers, for ``Allow`` (RFC 9110, section 15.5.6)."""
    names = [method.lower() for method in handler.SUPPORTED_METHODS]
    answered = [n for n in names if getattr(handler, n) is not getattr(RequestHandler, n)]
    if "get" not in answered and "head" in answered:
        answered.remove("head")
    return [name.upper() for name in answered]


class PublicHandler(BaseHandler):
    """What pages of any origin may read."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")

    def share_with_origin(self) -> None:
        """It is shared with all."""

    def options(self, *args: str) -> None:
        """A preflight; some clients send headers of their own with every request."""
        self.set_header("Access-Control-Allow-Methods", "GET")
        self.set_header("Access-Control-Allow-Headers", "authorization, content-type")
        self.set_header("Access-Control-Max-Age", "600")
        self.set_status(204)


class NotFoundHandler(BaseHandler):
    """Every path that no route names."""

    def prepare(self) -> None:
        super().prepare()
        request, container = self.request, self.container
        if request.method == "POST" and "signature" in request.query_arguments:
            container.accounts.lost(request.path, self.last_arguments(), container.clock.now())
        raise ApiError(
            "not_found",
            (
                "There is nothing here; without the slash at the end there is."
                if self.request.path.endswith("/") and self._is_served(self.request.path[:-1])
                else "There is nothing here."
            ),
        )

    def _is_served(self, path: str) -> bool:
        # The route of WeChat's verification files names more files than there are.
        if path.endswith(".txt"):
            return False
        for rule in self.application.wildcard_router.rules:
            if isinstance(rule.matcher, PathMatches) and rule.matcher.regex.match(path):
                needs_clients = getattr(rule.target, "needs_clients", False)
                return not needs_clients or self.container.provider is not None
        return False


def log_request(handler: RequestHandler) -> None:
    """The access log of all that is served by a handler."""
    # What fails before `prepare`, such as a malformed form, has not set the log's request id yet.
    request_id.set(getattr(handler, "request_id", ""))
    request = handler.request
    log_access(
        handler.get_status(),
        request.method or "",
        request.uri or "",
        request.request_time(),
        expected=getattr(handler, "is_refusal_expected", False),
    )
