"""What all handlers share: JSON answers, the one error document, origins, limits, request ids, and
the access log."""

import json
import logging
import re
from codecs import BOM_UTF8
from collections.abc import Awaitable, Sequence
from typing import Any

import pydantic_core
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from handlers.http_messages import (
    JSON,
    SAFE_HEADERS,
    HttpResponse,
    error_response,
    new_request_id,
)
from services.container import Container
from services.errors import ApiError, ScanpushError, StoreUnavailable, WeChatError, unauthorized
from services.ids import SceneStr, WatchToken, is_scene_str
from services.logs import PacedLog, request_id, scrub_uri
from services.origins import (
    MAX_HOST,
    MAX_LOGGED_ORIGIN,
    Network,
    Origins,
    client_address,
    is_host,
    is_listed,
    request_scheme,
)
from services.wechat.callback import Forbidden, Malformed

log = logging.getLogger("scanpush.http")

MAX_METHOD = 16
"""Characters of a method that are logged: RFC 9110 and WebDAV have none much longer, but a client
may send one of 64 KiB."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
"""Python itself accepts more as a number: other scripts' digits, blanks, underscores."""

_TORNADO_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}


def as_api_error(error: BaseException | None, status_code: int = 500) -> ApiError:
    """What the contract answers to a failure; nothing of its text comes from outside."""
    match error:
        case ApiError():
            return error
        case StoreUnavailable():
            return ApiError("store_unavailable", "Please try again shortly.", retry_after=2)
        case WeChatError():
            # A code that the client sent and WeChat refused is the client's error.
            field = "code" if error.code == "bad_request" else None
            message = "WeChat refused the code." if field else "WeChat did not do its part."
            retry_after = 60 if error.code == "wechat_quota" else None
            return ApiError(error.code, message, field=field, retry_after=retry_after)
        case Forbidden():
            return ApiError("forbidden", "Forbidden.")
        case Malformed():
            return ApiError("bad_request", "Malformed.")
    code = _TORNADO_CODES.get(status_code, "internal")
    return ApiError(code, code.replace("_", " ").capitalize() + ".")


class BaseHandler(RequestHandler):
    """Answers JSON; every failure is ``{"error": {"code", "message"[, "field"]}}``."""

    def initialize(self, container: Container) -> None:
        self.container = container

    def set_default_headers(self) -> None:
        self.request_id = set_safe_headers(self)

    def prepare(self) -> None:
        request_id.set(self.request_id)
        # Addresses are made of it, and a code holds only so much.
        host = self.request.headers.get("Host")
        if host is not None and (len(host) > MAX_HOST or not is_host(host)):
            raise ApiError("bad_request", "That is no host.", field="Host")

    # What the request says about its sender.

    @property
    def address(self) -> str:
        """The client's address; proxies are believed only when listed."""
        return client_address(
            self.request.remote_ip or "",
            self.request.headers.get("X-Forwarded-For", ""),
            self.container.settings.server.trusted_proxies,
        )

    @property
    def scheme(self) -> str:
        return request_scheme(
            self.request.remote_ip or "",
            self.request.headers.get("X-Forwarded-Proto", ""),
            self.container.settings.server.trusted_proxies,
        )

    @property
    def is_https(self) -> bool:
        """Whether browsers reach this server over TLS."""
        public_url = self.container.settings.server.public_url
        return public_url.startswith("https:") if public_url else self.scheme == "https"

    def refuse_foreign_origin(self) -> None:
        """For every request that changes something. Browsers send it whether or not CORS allows
        the page to read the answer."""
        origin = self.request.headers.get("Origin")
        if self.container.origins.is_foreign(origin, self.scheme, self.request.host):
            self.log_foreign_origin(origin or "")
            raise ApiError("forbidden_origin", "Pages of that origin may not do this.")

    def log_foreign_origin(self, origin: str) -> None:
        """Name the Origin that is refused, and what to set if a proxy may have been
        misunderstood."""
        container, request = self.container, self.request
        if container.origins.differs_in_scheme(origin, self.scheme, request.host):
            log_other_scheme(
                container.paced_log,
                container.origins,
                container.settings.server.trusted_proxies,
                request,
            )
        else:
            fields = {"origin": origin[:MAX_LOGGED_ORIGIN]}
            log.info("refused for its Origin", extra=fields)

    def share_with_origin(self) -> None:
        """CORS for exactly the configured origins."""
        origin = self.request.headers.get("Origin")
        self.set_header("Vary", "Origin")
        if origin is not None and self.container.origins.shared_with(origin):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")

    def head(self, *args: str) -> Awaitable[None] | None:
        """What ``GET`` answers, without the body, which Tornado leaves out (RFC 9110, 9.3.2)."""
        return self.get(*args)

    def options(self, *args: str) -> None:
        """A preflight. Without the allowing headers the browser goes no further."""
        self.share_with_origin()
        if self.container.origins.shared_with(self.request.headers.get("Origin")):
            self.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE")
            self.set_header("Access-Control-Allow-Headers", "authorization, content-type")
            self.set_header("Access-Control-Max-Age", "600")
        self.set_status(204)

    def bearer(self) -> str:
        """The bearer token of the request, or an empty string."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    # Cookies.

    def own_cookie(self, name: str) -> str | None:
        """The value of a cookie of this server; None if the request has it not exactly once.

        A sibling domain, or a page without TLS, can set a cookie of any name for this host. Two of
        one name: one of them is not this server's, and nothing says which.
        """
        prefix = f"{self._cookie_prefix}{name}="
        pairs = [
            pair.strip()
            for header in self.request.headers.get_list("Cookie")
            for pair in header.split(";")
        ]
        values = [pair.removeprefix(prefix) for pair in pairs if pair.startswith(prefix)]
        return values[0] if len(values) == 1 else None

    def set_own_cookie(self, name: str, value: str, path: str, days: int | None = None) -> None:
        """Set a cookie that scripts cannot read, for `days` or until the browser closes.

        Over TLS for all paths, which browsers require of the prefix that keeps other hosts off.
        """
        self.set_cookie(
            f"{self._cookie_prefix}{name}",
            value,
            expires_days=days,
            path="/" if self.is_https else path,
            httponly=True,
            samesite="Lax",
            secure=self.is_https,
        )

    @property
    def _cookie_prefix(self) -> str:
        # draft-ietf-httpbis-rfc6265bis, section 4.1.3.2: Secure, no Domain, Path=/. Without TLS
        # browsers refuse it.
        return "__Host-" if self.is_https else ""

    # What the request carries.

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        if not self.request.body:
            return {}
        try:
            # Unlike json, it refuses a lone surrogate, which no store could write. Some clients
            # begin with a byte order mark, which may be ignored (RFC 8259, section 8.1).
            body = pydantic_core.from_json(self.request.body.removeprefix(BOM_UTF8))
        except ValueError:
            raise ApiError("bad_request", "The body is not JSON.") from None
        if not isinstance(body, dict):
            raise ApiError("bad_request", "The body must be a JSON object.")
        return body

    def scene_str(self, text: str) -> SceneStr:
        """The scene named in the path; one that cannot exist is answered like one that does not."""
        if not is_scene_str(text):
            raise unauthorized()
        return SceneStr(text)

    def watch_token(self) -> WatchToken:
        return WatchToken(self.bearer())

    # What goes out.

    def write_json(self, body: Any, status: int = 200) -> None:
        self.write_body(json.dumps(body, ensure_ascii=False).encode(), status)

    def write_body(self, body: bytes, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", JSON)
        self.finish(body)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Only what is the server's own fault is an error in the log."""
        if isinstance(value, StoreUnavailable | WeChatError):
            code = as_api_error(value).code
            if isinstance(value, StoreUnavailable):
                # A full disk, or a store that is away, fails every request.
                self.container.paced_log.log(logging.WARNING, "store_unavailable: %s", value)
                return
            # A code that WeChat refused is what a client sent: the operator cannot change that.
            log.log(
                logging.INFO if code == "bad_request" else logging.WARNING, "%s: %s", code, value
            )
        elif not isinstance(value, ScanpushError | HTTPError):
            log.error("unexpected failure", exc_info=(typ, value, tb))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.share_with_origin()
        answer_error(self, as_api_error(kwargs.get("exc_info", (None, None))[1], status_code))


def log_other_scheme(
    paced_log: PacedLog,
    origins: Origins,
    trusted_proxies: Sequence[Network],
    request: HTTPServerRequest,
) -> None:
    """Tell the operator why the server's own page is refused (`Origins.differs_in_scheme`).

    A warning where a listed proxy sent the request. Any other client may write any Origin.
    """
    peer = request.remote_ip or ""
    paced_log.log(
        logging.WARNING if is_listed(peer, trusted_proxies) else logging.INFO,
        "a page of this server is refused for the scheme of its Origin: %s",
        origins.scheme_advice(peer, request.headers, trusted_proxies),
        origin=request.headers.get("Origin", "")[:MAX_LOGGED_ORIGIN],
        peer=peer,
    )


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
    for name, value in response.headers.items():
        handler.set_header(name, value)
    handler.finish(response.body)


def answer_error(handler: RequestHandler, error: ApiError) -> None:
    """Finish a handler's answer with the error document."""
    if error.code == "method_not_allowed":
        handler.set_header("Allow", ", ".join(_methods(type(handler))))
    write_response(handler, error_response(error, getattr(handler, "request_id", "")))


def _methods(handler: type[RequestHandler]) -> list[str]:
    """What that kind of handler answers, for ``Allow`` (RFC 9110, section 15.5.6)."""
    names = [method.lower() for method in handler.SUPPORTED_METHODS]
    answered = [n for n in names if getattr(handler, n) is not getattr(RequestHandler, n)]
    if "get" not in answered and "head" in answered:
        answered.remove("head")
    return [name.upper() for name in answered]


def optional_text(body: dict[str, Any], field: str, longest: int = 64) -> str | None:
    """A field that is text or absent; ``null`` counts as absent."""
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > longest:
        message = f"{field} must be a text of at most {longest}."
        raise ApiError("bad_request", message, field=field)
    return value


def required_text(body: dict[str, Any], field: str, longest: int) -> str:
    """A field that must be there, as text that is not empty."""
    text = optional_text(body, field, longest)
    if not text:
        raise ApiError("bad_request", f"{field} is missing.", field=field)
    return text


def query_number(text: str | None, field: str, most: float, *, whole: bool = False) -> float | None:
    """A number of the query string, in plain digits; over `most` counts as `most`."""
    if text is None:
        return None
    number = _NUMBER.fullmatch(text)
    if number is None or (whole and number[1]):
        kind = "whole number" if whole else "number"
        raise ApiError("bad_request", f"{field} must be a {kind}.", field=field)
    return min(float(text), most)


class NotFoundHandler(BaseHandler):
    """Every path that no route names."""

    def prepare(self) -> None:
        super().prepare()
        raise ApiError("not_found", "There is nothing here.")


def log_request(handler: RequestHandler) -> None:
    """The access log: one line per request, without secrets. The server's own failures at WARNING,
    a client's errors at INFO, everything else at DEBUG."""
    # What fails before `prepare`, such as a malformed form, has not set the log's request id yet.
    request_id.set(getattr(handler, "request_id", ""))
    status = handler.get_status()
    request = handler.request
    level = logging.WARNING if status == 500 else logging.INFO if status >= 400 else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(
            level,
            "%d %s %s %.1f ms",
            status,
            (request.method or "")[:MAX_METHOD],
            scrub_uri(request.uri or ""),
            1000 * request.request_time(),
        )
