"""Every error of scanpush, in one tree.

    ScanpushError
    ├── SettingsError            a mistake of the operator: one line, naming the dotted key
    ├── TokenError               a token that was not issued here, or is not valid now
    │   ├── TokenExpired         issued here, but expired
    │   └── UnknownKey           names a key that is not known here, or not yet
    ├── ExchangeFailed           an outgoing HTTP request brought no whole response
    │   ├── NotReached           not one byte of it was sent
    │   └── Broken               it may have arrived, its response did not
    ├── HookUnavailable          the operator's hook gave no usable answer
    ├── StoreUnavailable         a store refused, hung or lost the connection
    ├── WeChatError              a call to WeChat failed; knows its answer to the client
    │   ├── WeChatUnavailable    time-out, connection, 5xx, no JSON, or still busy after retries
    │   └── WeChatRefused        an errcode
    ├── OAuthError               the error of an OAuth endpoint: status, code, description
    └── ApiError                 the error a client gets: status, code, message, field

Adapters translate foreign exceptions into these at their edge (one context manager each), so
that nothing of httpx, sqlite3, redis or pymongo escapes.
"""

from collections.abc import Mapping
from types import MappingProxyType


class ScanpushError(Exception):
    """The root: catching it catches everything that scanpush itself raises."""


class SettingsError(ScanpushError):
    """A setting that stops the start.

    Args:
        key: the dotted name, as in ``wechat.accounts.default.app_secret``.
        problem: what is wrong and what is expected, never the value of a secret.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class TokenError(ScanpushError):
    """A token that did not verify. The text says why, for the log only."""


class TokenExpired(TokenError):
    """A token that was issued here and has expired."""


class UnknownKey(TokenError):
    """A token that names a key not known here: a forged one, or that of a node just started."""


class ExchangeFailed(ScanpushError):
    """An outgoing HTTP request brought no whole response; see `http_client.exchange`.

    The text names the kind of failure and holds no address: addresses carry secrets.
    """


class NotReached(ExchangeFailed):
    """There was no connection, so not one byte of the request was sent."""


class Broken(ExchangeFailed):
    """The request may have arrived and been obeyed; its response did not come."""


class HookUnavailable(ScanpushError):
    """The operator's hook gave no usable answer: down, slow, not 200, or not in its format."""


class StoreUnavailable(ScanpushError):
    """The store did not do what was asked; whether it was done is unknown."""


class WeChatError(ScanpushError):
    """A call to WeChat that failed.

    `code` is the error code that the client gets; the text never holds a secret.
    """

    code = "wechat_refused"


class WeChatUnavailable(WeChatError):
    """No usable answer: time-out, connection, 5xx, no JSON, or -1 after the retries."""

    code = "wechat_unavailable"


class WeChatRefused(WeChatError):
    """WeChat answered with an errcode.

    Args:
        errcode: WeChat's number.
        errmsg: WeChat's text, for the log (it carries the ``rid`` its support asks for).
        code: the error code that the client gets.
    """

    def __init__(self, errcode: int, errmsg: str, code: str = "wechat_refused") -> None:
        super().__init__(f"errcode {errcode}: {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg
        self.code = code


class ApiError(ScanpushError):
    """An error of the public contract (docs/errors.md), as a client gets it.

    Args:
        code: one of `STATUS`, which decides the HTTP status.
        message: a sentence for a developer; no secret and no input echoed back.
        field: the field at fault, for ``bad_request``.
        retry_after: seconds for ``Retry-After``.
        cause: what log and metrics say in place of `code` where they know more; never answered.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.cause = cause or code

    @property
    def status(self) -> int:
        return STATUS[self.code]


OAUTH_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "invalid_client": 401,
        "invalid_token": 401,
        "insufficient_scope": 403,
        "server_error": 500,
        "temporarily_unavailable": 503,
    }
)
"""HTTP status of the codes that are not answered 400."""


class OAuthError(ScanpushError):
    """An error as the documents of OAuth name it, at the OpenID Provider's own addresses.

    Args:
        code: of RFC 6749 (5.2), 6750 (3.1), 7009, 8628 (3.5), 9126 or OpenID Connect Core.
        description: a sentence for a developer, in ASCII without quotes and backslashes; no secret
            and no input echoed back.
        challenge: the value of ``WWW-Authenticate``.
        retry_after: seconds for ``Retry-After``.
        status: where it is not the code's own.
    """

    def __init__(
        self,
        code: str,
        description: str,
        *,
        challenge: str = "",
        retry_after: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.challenge = challenge
        self.retry_after = retry_after
        self.status = status or OAUTH_STATUS.get(code, 400)


STATUS: Mapping[str, int] = MappingProxyType(
    {
        "bad_request": 400,
        "unknown_account": 400,
        "unknown_kind": 400,
        "unauthorized": 401,
        "forbidden_origin": 403,
        "forbidden": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "upgrade_required": 426,
        "stale_seq": 409,
        "already_claimed": 409,
        "wrong_door": 409,
        "conflict": 409,
        "gone": 410,
        "too_large": 413,
        "rate_limited": 429,
        "slow_down": 429,
        "internal": 500,
        "wechat_unavailable": 502,
        "wechat_refused": 502,
        "wechat_ip_not_allowed": 502,
        "wechat_credentials": 502,
        "wechat_quota": 503,
        "overloaded": 503,
        "store_unavailable": 503,
    }
)
"""HTTP status of each error code; a code that is not here does not exist."""


def unauthorized() -> ApiError:
    """One and the same answer for an unknown scene and for a wrong or missing watch token."""
    return ApiError("unauthorized", "Unknown scene, or wrong or missing watch token.")
