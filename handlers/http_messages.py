"""The messages of HTTP/1.1: what counts as a request, how one is refused, how an answer is written,
and the one error document. handlers/http1.py reads and sends them; RequestHandlers use what they
share with routes that have none."""

import json
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from tornado.httputil import HTTPConnection, HTTPHeaders, ResponseStartLine

from services.errors import ApiError
from services.origins import is_host
from services.push.admission import RETRY_SECONDS

JSON = "application/json; charset=utf-8"

SAFE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)
"""What every answer has unless it says otherwise."""

MAX_HEAD_BYTES = 64 * 1024
"""Twice what nginx passes on by default: the proxy refuses a long head before the server does."""

MAX_BODY_BYTES = 64 * 1024


@lru_cache(maxsize=512)
def _known_name(raw: bytes) -> str:
    return "-".join([word.capitalize() for word in raw.decode("latin-1").split("-")])


def header_name(raw: bytes) -> str:
    """A header's name as Tornado gives it: ``Sec-Websocket-Key``."""
    # Peers send the same dozen names again and again. Long ones must not fill the memory.
    return _known_name(raw) if len(raw) <= 64 else _known_name.__wrapped__(raw)


class Request:
    """A whole request. Headers under Tornado's names; one that came twice is joined by a comma."""

    __slots__ = (
        "body",
        "headers",
        "keep_alive",
        "lines",
        "method",
        "remote_ip",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: dict[str, str],
        lines: list[tuple[bytes, bytes]],
        keep_alive: bool,
        remote_ip: str,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.lines = lines
        self.keep_alive = keep_alive
        self.remote_ip = remote_ip
        self.body = b""

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        headers = self.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    def tornado_headers(self) -> HTTPHeaders:
        """The same headers for a RequestHandler.

        llhttp has checked names and values. `HTTPHeaders.add` checks them again: 10 us for eight
        headers instead of 2.4, of some 60 for a whole `GET /healthz`.
        """
        if len(self.headers) == len(self.lines):
            return HTTPHeaders(self.headers)
        made = HTTPHeaders()
        for raw, value in self.lines:
            made.add(header_name(raw), value.decode("latin-1").strip(" \t"))
        if "Host" in self.headers:
            made["Host"] = self.headers["Host"]
        return made


class HttpResponse(NamedTuple):
    """A whole answer, for what is served without a RequestHandler."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def write_to(self, connection: HTTPConnection, *, is_head: bool) -> None:
        """Write it through Tornado. To HEAD without the body, which Tornado takes for an error."""
        start = ResponseStartLine("HTTP/1.1", self.status, HTTPStatus(self.status).phrase)
        headers = HTTPHeaders(dict(self.headers))
        connection.write_headers(start, headers, None if is_head else self.body)
        connection.finish()


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


OAUTH_PATHS = ("token", "userinfo", "revoke", "introspect", "par", "device_authorization")
"""Below ``/oauth/``: what clients of the OpenID Provider call. Their errors have OAuth's form."""

_OAUTH_TARGET = re.compile(rf"/oauth/(?:{'|'.join(OAUTH_PATHS)})(?:\?.*)?")

_OAUTH_CODES = {
    429: "slow_down",
    500: "server_error",
    503: "temporarily_unavailable",
}
"""By the status of what is no error of OAuth. Everything else is an ``invalid_request``."""


def error_response(
    error: ApiError, request_id: str, headers: Mapping[str, str] = NO_HEADERS, *, target: str = ""
) -> HttpResponse:
    """The error document of the contract, with its headers and the further ones given.

    Args:
        target: of the request, where it is known: clients of the OpenID Provider are answered in
            OAuth's form (RFC 6749, section 5.2).
    """
    document: dict[str, object]
    if target.startswith("/oauth/") and _OAUTH_TARGET.fullmatch(target):
        code = _OAUTH_CODES.get(error.status, "invalid_request")
        document = {"error": code, "error_description": error.message.replace('"', "'")}
    else:
        about = {"code": error.code, "message": error.message}
        if error.field:
            about["field"] = error.field
        document = {"error": about}
    body = json.dumps(document, ensure_ascii=False).encode()
    sent = {
        "Content-Type": JSON,
        "Content-Length": str(len(body)),
        **SAFE_HEADERS,
        "X-Request-Id": request_id,
        **headers,
    }
    if error.retry_after is not None:
        sent["Retry-After"] = str(error.retry_after)
    return HttpResponse(error.status, sent, body)


def new_request_id() -> str:
    """The id of a request in answers and logs; no secret, hence no `secrets`."""
    return f"{random.getrandbits(64):016x}"


class HotRoute(NamedTuple):
    """A route that is answered without a RequestHandler. The route table may have a handler for
    the same path: it gets the other methods."""

    method: str
    target: re.Pattern[str]
    """Must match path and query in full."""
    answer: Callable[[Request], Awaitable[HttpResponse]]
    """Never raises."""
    has_reserve: bool = False
    """Whether it is answered with descriptors of the reserve, too. Then no refusal keeps its
    connection: what anybody may send must not hold on to them."""


def encoded_head(code: int, reason: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer. Raises ValueError where a header would begin another line."""
    lines = [f"HTTP/1.1 {code} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") >= len(lines) or text.count("\r") >= len(lines):
        raise ValueError("CR or LF in a header")
    return f"{text}\r\n\r\n".encode("latin-1")


def encoded(response: HttpResponse, *, connection: str = "close", is_head: bool = False) -> bytes:
    """A whole answer; `connection`: the header Connection, empty for none."""
    headers = [*response.headers.items()]
    if connection:
        headers.append(("Connection", connection))
    head = encoded_head(response.status, HTTPStatus(response.status).phrase, headers)
    return head if is_head else head + response.body


class Refusal(NamedTuple):
    """What is answered to a request that no delegate sees."""

    error: ApiError
    status: int
    reason: str
    """For the log."""
    is_head: bool
    target: str = ""
    """As far as it was read."""


def problem_of(request: Request) -> str:
    """Why a request is invalid although llhttp accepts it; empty if it is valid.

    For an absolute target, its authority becomes the Host (RFC 9112, section 3.2.2).
    """
    headers, target = request.headers, request.target
    host = headers.get("Host")
    if not request.version:
        return "neither HTTP/1.1 nor HTTP/1.0"
    if host is None and request.version == "HTTP/1.1":
        return "no Host"
    if host is not None and not is_host(host):
        return "not one Host"
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (request.version != "HTTP/1.1" or coding.lower() != "chunked"):
        return "a transfer coding that is not known"
    if target[:1] != "/" and target != "*" and request.method != "CONNECT":
        named = origin_form(target)
        if named is None:
            return "not a target"
        headers["Host"], request.target = named
    return ""


def origin_form(target: str) -> tuple[str, str] | None:
    """The host that an absolute target names, and the target in origin form; None if it is none.

    Every server must accept it (RFC 9112, section 3.2.2). Its scheme is not believed: that one
    comes from the proxy, as ever.
    """
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not is_host(parts.netloc):
        return None
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def head_length(request: Request) -> int:
    """How many bytes the head has, whatever separates its words."""
    lines = sum(len(name) + len(value) + 4 for name, value in request.lines)
    return len(request.method) + len(request.target) + len(" / HTTP/1.1\r\n") + lines


def head_of_body(request: Request) -> bytes:
    """A head after which a parser reads the body of `request`."""
    names = ("Content-Length", "Transfer-Encoding")
    lines = [f"{name}: {request.headers[name]}\r\n" for name in names if name in request.headers]
    return f"POST / HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")


def too_large(what: str, most: int) -> ApiError:
    text = f"At most {most} bytes." if what == "body" else f"At most {most} bytes of headers."
    return ApiError("too_large", text)


def malformed() -> ApiError:
    return ApiError("bad_request", "Malformed.")


def overloaded() -> ApiError:
    return ApiError("overloaded", "no descriptor to spare", retry_after=RETRY_SECONDS)
