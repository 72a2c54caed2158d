"""What a token of scanpush must say to be accepted. Pure: given the key, no input or output.

Three kinds of token come from one issuer and may be signed by one key: login tokens, access tokens
of the OpenID Provider (RFC 9068) and its ID tokens (OpenID Connect Core). None is accepted in place
of another (RFC 8725, sections 3.9, 3.11 and 3.12), and nothing that a token says of itself decides
how it is verified: not its algorithm, not where its key could be found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import jwt

Algorithm = Literal["ES256", "EdDSA", "RS256", "HS256"]
"""What ``jwt.algorithm`` of the server may be."""

MAX_TOKEN_CHARACTERS = 8192
"""Nothing longer is decoded. A login token has about 500."""

ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "azp", "auth_time"})
"""Claims by which an ID token is known; its ``typ`` may be that of a login token."""

_LOGIN_REQUIRED = ("iss", "aud", "sub", "exp", "iat", "nbf", "jti", "account", "amr")
_ACCESS_REQUIRED = ("iss", "aud", "sub", "exp", "iat", "jti", "client_id")


class ScanpushError(Exception):
    """The root of what this package raises. Its texts are for the log and quote no secret."""


class InvalidToken(ScanpushError):
    """There is no token, or it is not valid: 401. The text says why."""


class ExpiredToken(InvalidToken):
    """The token was valid, and its time is over: refresh, or log in again."""


class Refused(ScanpushError):
    """scanpush said no: the session has ended (401), the exchange code was used (410), or what was
    asked for is switched off (404). Asking again changes nothing.

    Attributes:
        status: the HTTP status.
        code: scanpush's error code, as in ``unauthorized``; empty where the answer had none.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"scanpush answered {status} {code}".rstrip())
        self.status = status
        self.code = code


class Unavailable(ScanpushError):
    """scanpush did not answer, or not usefully: 503, and try again later.

    Attributes:
        status: the HTTP status; None where there was no answer.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose tokens are accepted, and for whom. `leeway_seconds` is what the clocks may differ."""

    issuer: str
    audience: str
    algorithm: Algorithm
    leeway_seconds: float


@dataclass(frozen=True, slots=True)
class LoginClaims:
    """What a valid login token says. Times are unix seconds.

    Attributes:
        sub: the user's id, the same for every login kind.
        account: the account of scanpush through which the person came.
        amr: how the person was recognised; ``("simulated",)`` while WeChat is simulated.
        sid: the id of the session that can be refreshed; None where the server keeps none.
        all: every claim, also those that later versions of the server add.
    """

    sub: str
    account: str
    amr: tuple[str, ...]
    jti: str
    iat: int
    exp: int
    sid: str | None
    all: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid access token of the OpenID Provider says (RFC 9068, section 2.2)."""

    sub: str
    client_id: str
    scope: frozenset[str]
    jti: str
    iat: int
    exp: int
    sid: str | None
    all: Mapping[str, Any] = field(repr=False)


def kid_of(token: str, algorithm: Algorithm) -> str | None:
    """The name of the key that the token says it was signed by; None where it names none.

    Raises:
        InvalidToken: it is no token, or says that it was signed by another algorithm.
    """
    header = _header(token)
    if header.get("alg") != algorithm:
        raise InvalidToken(f"not signed by {algorithm}")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise InvalidToken("without a proper kid")
    return kid


def login_claims(token: str, key: Any, rules: Rules) -> LoginClaims:
    """The claims of a login token, verified.

    Raises:
        ExpiredToken: its time is over.
        InvalidToken: it is not valid, or is another kind of token.
    """
    if _header(token).get("typ") != "JWT":
        raise InvalidToken("not a login token, by its typ")
    claims = _verified(token, key, rules, _LOGIN_REQUIRED)
    if not ID_TOKEN_CLAIMS.isdisjoint(claims):
        raise InvalidToken("an ID token, not a login token")
    amr = claims["amr"]
    if not isinstance(amr, list) or not all(isinstance(item, str) for item in amr):
        raise InvalidToken("without a proper amr")
    return LoginClaims(
        sub=_text(claims, "sub"),
        account=_text(claims, "account"),
        amr=tuple(amr),
        jti=_text(claims, "jti"),
        iat=int(claims["iat"]),
        exp=int(claims["exp"]),
        sid=_text(claims, "sid") if "sid" in claims else None,
        all=MappingProxyType(claims),
    )


def access_claims(token: str, key: Any, rules: Rules) -> AccessClaims:
    """The claims of an access token, verified as RFC 9068, section 4, says.

    Raises:
        ExpiredToken: its time is over.
        InvalidToken: it is not valid, or is another kind of token.
    """
    typ = _header(token).get("typ")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != "at+jwt":
        raise InvalidToken("not an access token, by its typ")
    claims = _verified(token, key, rules, _ACCESS_REQUIRED)
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise InvalidToken("without a proper scope")
    return AccessClaims(
        sub=_text(claims, "sub"),
        client_id=_text(claims, "client_id"),
        scope=frozenset(scope.split()),
        jti=_text(claims, "jti"),
        iat=int(claims["iat"]),
        exp=int(claims["exp"]),
        sid=_text(claims, "sid") if "sid" in claims else None,
        all=MappingProxyType(claims),
    )


def _header(token: str) -> Mapping[str, Any]:
    """The header as the token claims it to be: nothing in it is true yet."""
    if not token:
        raise InvalidToken("no token")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken("too long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise InvalidToken("not a token") from None
    if "crit" in header:
        raise InvalidToken("with a critical header, of which none is known here")
    return header


def _verified(token: str, key: Any, rules: Rules, required: Sequence[str]) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[rules.algorithm],
            issuer=rules.issuer,
            audience=rules.audience,
            leeway=rules.leeway_seconds,
            options={"require": list(required)},
        )
    except jwt.ExpiredSignatureError:
        raise ExpiredToken("expired") from None
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        # The names of PyJWT's classes tell what is wrong; their texts may quote claims.
        raise InvalidToken(type(error).__name__) from None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str) or not value:
        raise InvalidToken(f"without a proper {name}")
    return value
