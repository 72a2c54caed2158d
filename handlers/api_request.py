"""What routes read of a request, and what is answered and logged when one fails. It knows no
RequestHandler, for some routes have none (`HotRoute`)."""

import json
import logging
import re
import time
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import pydantic_core
from tornado.web import HTTPError

from handlers.http_messages import (
    JSON,
    NO_HEADERS,
    SAFE_HEADERS,
    HttpResponse,
    Request,
    error_response,
    new_request_id,
)
from services.container import Container
from services.errors import ApiError, ScanpushError, StoreUnavailable, WeChatError
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
from services.wechat.replies import language

log = logging.getLogger("scanpush.http")

MAX_METHOD = 16
"""Characters of a method that are logged: RFC 9110 and WebDAV have none much longer, but a client
may send one of 64 KiB."""

MOST_WISHES = 32
"""Languages that are read of a browser's list; a full head holds 30,000, which would take 12 ms."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
"""Python itself accepts more as a number: other scripts' digits, blanks, underscores."""

_DAY_SECONDS = 86_400

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


class ApiRequest:
    """One request, as the routes read it.

    Args:
        headers: under Tornado's names; one that came twice is joined by a comma.
        cookies: each value of the header Cookie.
        peer: the address of the connection's other end.
        id: of the request, in its answer and in every line of the log.
    """

    __slots__ = ("body", "container", "cookies", "headers", "host", "id", "peer")

    def __init__(
        self,
        container: Container,
        headers: Mapping[str, str],
        cookies: Sequence[str],
        peer: str,
        host: str,
        body: bytes,
        id: str,
    ) -> None:
        self.container = container
        self.headers = headers
        self.cookies = cookies
        self.peer = peer
        self.host = host
        self.body = body
        self.id = id

    def check_host(self) -> None:
        """Addresses are made of the Host, and a code holds only so much.

        Raises:
            ApiError: ``bad_request``.
        """
        host = self.headers.get("Host")
        if host is not None and (len(host) > MAX_HOST or not is_host(host)):
            raise ApiError("bad_request", "That is no host.", field="Host")

    # Its sender.

    @property
    def address(self) -> str:
        """The client's address; proxies are believed only when listed."""
        return client_address(
            self.peer,
            self.headers.get("X-Forwarded-For", ""),
            self.container.settings.server.trusted_proxies,
        )

    @property
    def accepted_language(self) -> str:
        """The first of this server's languages that the browser asks for; English where it asks for
        none (RFC 9110, section 12.5.4)."""
        wishes = []
        for part in self.headers.get("Accept-Language", "").split(",", MOST_WISHES)[:MOST_WISHES]:
            tag, _, q = part.replace(" ", "").partition(";q=")
            wishes.append((float(q) if _NUMBER.fullmatch(q) else 1.0, tag))
        # By weight alone: of equal ones the first counts.
        for weight, tag in sorted(wishes, key=itemgetter(0), reverse=True):
            if weight and tag[:2].lower() in ("zh", "ja", "en"):
                return language(tag)
        return "en"

    @property
    def scheme(self) -> str:
        return request_scheme(
            self.peer,
            self.headers.get("X-Forwarded-Proto", ""),
            self.container.settings.server.trusted_proxies,
        )

    @property
    def own_origin(self) -> str:
        """The server's own origin, as the client reached it."""
        return self.container.origins.own(self.scheme, self.host)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach this server over TLS."""
        public_url = self.container.settings.server.public_url
        return public_url.startswith("https:") if public_url else self.scheme == "https"

    def refuse_foreign_origin(self) -> None:
        """For every request that changes something. Browsers send it whether or not CORS allows
        the page to read the answer."""
        origin = self.headers.get("Origin")
        if self.container.origins.is_foreign(origin, self.scheme, self.host):
            self.log_foreign_origin(origin or "")
            raise ApiError("forbidden_origin", "Pages of that origin may not do this.")

    def refuse_other_pages(self) -> None:
        """For the forms of this server's own pages: no other site may press their buttons.

        Stricter than elsewhere: a request without an Origin is none of a form's. Browsers name it
        with a form; `BaseHandler.protect` says when they do not.
        """
        origin = self.headers.get("Origin", "")
        if origin != self.own_origin:
            self.log_foreign_origin(origin)
            raise ApiError("forbidden_origin", "Only our own page may answer.")

    def log_foreign_origin(self, origin: str) -> None:
        """Name the Origin that is refused, and what to set if a proxy may have been
        misunderstood."""
        container = self.container
        if container.origins.differs_in_scheme(origin, self.scheme, self.host):
            log_other_scheme(
                container.paced_log,
                container.origins,
                container.settings.server.trusted_proxies,
                self.peer,
                self.headers,
            )
        else:
            log.info("refused for its Origin", extra={"origin": origin[:MAX_LOGGED_ORIGIN]})

    def bearer(self) -> str:
        """The bearer token of the request, or an empty string."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    # What it carries.

    def own_cookie(self, name: str) -> str | None:
        """The value of a cookie of this server; None if the request has it not exactly once.

        A sibling domain, or a page without TLS, can set a cookie of any name for this host. Two of
        one name: one of them is not this server's, and nothing says which.
        """
        prefix = f"{self._cookie_prefix}{name}="
        # No other blanks: browsers guard the prefix only where a name begins with it.
        pairs = [pair.strip(" \t") for cookie in self.cookies for pair in cookie.split(";")]
        values = [pair.removeprefix(prefix) for pair in pairs if pair.startswith(prefix)]
        return values[0] if len(values) == 1 else None

    def set_cookie(self, name: str, value: str, path: str, days: int | None = None) -> str:
        """The Set-Cookie for a cookie that scripts cannot read, for `days` or until the browser
        closes.

        Over TLS for all paths, which browsers require of the prefix that keeps other hosts off.

        Args:
            value: needs no quotes, as base64url.
        """
        lasts = "" if days is None else f"; Max-Age={days * _DAY_SECONDS}"
        where = "/; Secure" if self.is_https else path
        return f"{self._cookie_prefix}{name}={value}{lasts}; HttpOnly; SameSite=Lax; Path={where}"

    @property
    def _cookie_prefix(self) -> str:
        # draft-ietf-httpbis-rfc6265bis, section 4.1.3.2: Secure, no Domain, Path=/. Without TLS
        # browsers refuse it.
        return "__Host-" if self.is_https else ""

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        if not self.body:
            return {}
        try:
            # Unlike json, it refuses a lone surrogate, which no store could write. Some clients
            # begin with a byte order mark, which may be ignored (RFC 8259, section 8.1).
            body = pydantic_core.from_json(self.body.removeprefix(BOM_UTF8))
        except ValueError:
            raise ApiError("bad_request", "The body is not JSON.") from None
        if not isinstance(body, dict):
            raise ApiError("bad_request", "The body must be a JSON object.")
        return body

    # What is answered.

    def cors_headers(self) -> dict[str, str]:
        """CORS for exactly the configured origins."""
        origin = self.headers.get("Origin")
        if origin is None or not self.container.origins.shared_with(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Retry-After, X-Request-Id",
        }

    def respond(
        self, document: Any, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
    ) -> HttpResponse:
        """`document` as JSON, with the headers that every answer has."""
        body = json.dumps(document, ensure_ascii=False).encode()
        sent = {
            "Content-Type": JSON,
            "Content-Length": str(len(body)),
            **SAFE_HEADERS,
            "X-Request-Id": self.id,
            **headers,
        }
        return HttpResponse(status, sent, body)

    def log_failure(self, failure: BaseException) -> None:
        """Only what is the server's own fault is an error in the log."""
        if isinstance(failure, StoreUnavailable):
            # A full disk, or a store that is away, fails every request.
            self.container.paced_log.log(logging.WARNING, "store_unavailable: %s", failure)
        elif isinstance(failure, WeChatError):
            code = as_api_error(failure).code
            # A code that WeChat refused is what a client sent: the operator cannot change that.
            log.log(
                logging.INFO if code == "bad_request" else logging.WARNING, "%s: %s", code, failure
            )
        elif not isinstance(failure, ScanpushError | HTTPError):
            log.error("unexpected failure", exc_info=failure)


def failure_response(asked: ApiRequest, failure: BaseException) -> HttpResponse:
    """The error document of the API."""
    return error_response(as_api_error(failure), asked.id, asked.cors_headers())


async def answer(
    container: Container,
    request: Request,
    work: Callable[[ApiRequest], Awaitable[HttpResponse]],
    failed: Callable[[ApiRequest, BaseException], HttpResponse] = failure_response,
) -> HttpResponse:
    """What a hot route answers: what `work` makes, or what `failed` makes of its failure; by
    default the error document. Never raises."""
    began = time.monotonic()
    named = new_request_id()
    request_id.set(named)
    headers = request.headers
    cookies = [
        value.decode("latin-1") for name, value in request.lines if name.lower() == b"cookie"
    ]
    asked = ApiRequest(
        container, headers, cookies, request.remote_ip, headers.get("Host", ""), request.body, named
    )
    try:
        asked.check_host()
        response = await work(asked)
    except Exception as failure:
        # The edge: whatever the failure is, the client gets an answer.
        asked.log_failure(failure)
        response = failed(asked, failure)
    log_access(response.status, request.method, request.target, time.monotonic() - began)
    return response


def log_access(
    status: int, method: str, target: str, seconds: float, *, expected: bool = False
) -> None:
    """The access log: one line per request, without secrets. The server's own failures at WARNING,
    a client's errors at INFO unless they are `expected`, everything else at DEBUG."""
    told = status >= 400 and not expected
    level = logging.WARNING if status == 500 else logging.INFO if told else logging.DEBUG
    if log.isEnabledFor(level):
        shown = scrub_uri(target)
        log.log(level, "%d %s %s %.1f ms", status, method[:MAX_METHOD], shown, 1000 * seconds)


def log_other_scheme(
    paced_log: PacedLog,
    origins: Origins,
    trusted_proxies: Sequence[Network],
    peer: str,
    headers: Mapping[str, str],
) -> None:
    """Tell the operator why the server's own page is refused (`Origins.differs_in_scheme`).

    A warning where a listed proxy sent the request. Any other client may write any Origin.
    """
    paced_log.log(
        logging.WARNING if is_listed(peer, trusted_proxies) else logging.INFO,
        "a page of this server is refused for the scheme of its Origin: %s",
        origins.scheme_advice(peer, headers, trusted_proxies),
        origin=headers.get("Origin", "")[:MAX_LOGGED_ORIGIN],
        peer=peer,
    )


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
