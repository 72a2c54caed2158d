"""Authorization requests: what a client may ask for, what is decided, and how it is answered.

Pure. An unknown client or redirect URI is `Unshown`, for a page of this server: an error sent to an
address that the client never registered would make the server a redirector (RFC 6749, section
4.1.2.1). Every other mistake is `Refused`, and goes back to the client.

Read for it: RFC 6749 (4.1), RFC 7636, RFC 9207, RFC 9700 (4.1, 4.2, 4.8), OpenID Connect Core 1.0
(3.1.2), OAuth 2.0 Form Post Response Mode. Authlib's `AuthorizationCodeGrant` and `OpenIDCode`
were looked at: their checks are hooks of a synchronous server that loads clients and saves codes
itself, and leave ``prompt``, ``max_age``, ``response_mode`` and duplicates to the caller.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from services.errors import ScanpushError
from services.oidc.clients import Client, Clients

Parameters = Sequence[tuple[str, str]]
"""Of a query or a form, in their order, each as often as it came."""

PUSHED = "urn:ietf:params:oauth:request_uri:"
"""How the ``request_uri`` of a pushed request begins (RFC 9126, section 2.2)."""

RESPONSE_MODES = ("query", "form_post")

PROMPTS = frozenset({"none", "login", "select_account", "consent"})

MAX_VALUE = 4096
"""Characters of a parameter that is kept or sent back; a `state` of 2,000 has been seen."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
"""SHA-256 in base64url (RFC 7636, section 4.2)."""

_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_SECONDS = re.compile(r"[0-9]{1,9}")


class AuthorizationRequest(NamedTuple):
    """A request that may be granted."""

    client: str
    redirect_uri: str
    response_mode: str
    scope: str
    """What the client may have of what it asked for."""
    state: str
    nonce: str
    code_challenge: str
    prompt: str
    """``none``, ``login`` or empty: the rest of the values has no effect of its own."""
    max_age: int | None
    ui_locales: str
    id_token_hint: str


Cause = Literal["", "client", "no_redirect_uri", "redirect_uri", "over"]
"""What the administrator of the client's site has to know of an `Unshown`: no such client, no
redirect URI or none of the client's, or a request that was used or has expired."""


class Unshown(ScanpushError):
    """The request names no client, or no redirect URI of it: nothing is sent anywhere.

    Args:
        text: why, for the log and for clients that push; nothing of the request is in it.
        cause: empty where there is nothing to do about it.
        client: what the request names as its client.
        redirect_uri: what it names as its redirect URI.
    """

    def __init__(
        self, text: str, cause: Cause = "", *, client: str = "", redirect_uri: str = ""
    ) -> None:
        super().__init__(text)
        self.cause: Cause = cause
        self.client = client
        self.redirect_uri = redirect_uri


class Refused(ScanpushError):
    """An error for the client, at its redirect URI."""

    def __init__(
        self, error: str, description: str, redirect_uri: str, response_mode: str, state: str
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.redirect_uri = redirect_uri
        self.response_mode = response_mode
        self.state = state


def parsed(parameters: Parameters, clients: Clients) -> AuthorizationRequest:
    """The request that these parameters make.

    Raises:
        Unshown, Refused.
    """
    # One without a value counts as left out (RFC 6749, section 3.1).
    values = {name: value for name, value in parameters if value}
    twice = {name for name, times in Counter(name for name, _ in parameters).items() if times > 1}
    client_id, redirect_uri = values.get("client_id", ""), values.get("redirect_uri", "")
    client = clients.get(client_id)
    # Until it is known that this client registered this address, nothing may be sent there.
    if twice & {"client_id", "redirect_uri"}:
        raise Unshown("client_id or redirect_uri came twice")
    if client is None:
        raise Unshown("unknown client", "client", client=client_id)
    if redirect_uri not in client.redirect_uris:
        cause: Cause = "redirect_uri" if redirect_uri else "no_redirect_uri"
        raise Unshown("unknown redirect URI", cause, client=client_id, redirect_uri=redirect_uri)
    mode = values.get("response_mode") or "query"
    state = "" if "state" in twice else values.get("state", "")

    def refused(error: str, description: str) -> Refused:
        known_mode = mode if mode in RESPONSE_MODES and "response_mode" not in twice else "query"
        return Refused(error, description, redirect_uri, known_mode, state)

    if twice:
        raise refused("invalid_request", "a parameter came twice")
    for name in ("request", "request_uri"):
        if values.get(name):
            raise refused(f"{name}_not_supported", f"{name} is not supported")
    kept = ("state", "nonce", "code_challenge", "scope", "prompt", "ui_locales")
    if too_long := [name for name in kept if len(values.get(name, "")) > MAX_VALUE]:
        raise refused("invalid_request", f"{too_long[0]} is too long")
    if not values.get("response_type"):
        raise refused("invalid_request", "response_type is missing")
    if values["response_type"] != "code":
        raise refused("unsupported_response_type", "response_type must be code")
    if mode not in RESPONSE_MODES:
        raise refused("invalid_request", "response_mode must be query or form_post")
    scope = values.get("scope", "")
    if scope and not _SCOPES.fullmatch(scope):
        raise refused("invalid_scope", "scope is malformed")
    granted_scope = client.granted(scope)
    if "openid" not in granted_scope.split():
        raise refused("invalid_scope", "scope must hold openid")
    challenge, method = values.get("code_challenge", ""), values.get("code_challenge_method", "")
    if client.public and not challenge:
        raise refused("invalid_request", "code_challenge is missing (PKCE)")
    # Left out, the method is plain, which any reader of the request can answer.
    if (challenge or method) and (method != "S256" or not _CHALLENGE.fullmatch(challenge)):
        raise refused("invalid_request", "code_challenge_method must be S256, with its challenge")
    prompts = frozenset(values.get("prompt", "").split())
    if not prompts <= PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise refused(
            "invalid_request", "prompt must be none, or of login, select_account, consent"
        )
    max_age = values.get("max_age", "")
    if max_age and not _SECONDS.fullmatch(max_age):
        raise refused("invalid_request", "max_age must be a whole number of seconds")
    return AuthorizationRequest(
        client=client_id,
        redirect_uri=redirect_uri,
        response_mode=mode,
        scope=granted_scope,
        state=state,
        nonce=values.get("nonce", ""),
        code_challenge=challenge,
        prompt="login" if prompts & {"login", "select_account"} else "".join(prompts & {"none"}),
        max_age=int(max_age) if max_age else None,
        ui_locales=values.get("ui_locales", ""),
        id_token_hint=values.get("id_token_hint", ""),
    )


class Known(NamedTuple):
    """What the browser session says, where there is one."""

    auth_at: float
    kind: str
    is_hinted: bool
    """The person is the one that ``id_token_hint`` names, or it names none."""


def needs_login(
    request: AuthorizationRequest,
    known: Known | None,
    client: Client,
    now: float,
    *,
    session_ttl_seconds: float,
) -> bool:
    """Whether the person has to log in before `request` is granted."""
    if known is None or request.prompt == "login" or not known.is_hinted:
        return True
    longest = session_ttl_seconds
    if request.max_age is not None:
        # An age of 0 is the same as prompt=login (OpenID Connect Core, section 3.1.2.1).
        longest = min(longest, request.max_age)
    return not suffices(known.auth_at, known.kind, client, now, longest)


def suffices(auth_at: float, kind: str, client: Client, now: float, longest: float) -> bool:
    """Whether a login of that time and login kind, which is the client's choice, is enough for it.

    Args:
        longest: the age in seconds at which no login is.
    """
    return kind in client.kinds and now - auth_at < longest


class Response(NamedTuple):
    """An authorization response. It goes to `redirect_uri` by `mode`."""

    redirect_uri: str
    mode: str
    fields: Mapping[str, str]

    @property
    def address(self) -> str:
        """For the mode ``query``: a query that the redirect URI has stays as it is."""
        uri, query = self.redirect_uri, urlencode(self.fields)
        separator = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
        return f"{uri}{separator}{query}"


def granted(request: AuthorizationRequest, code: str, issuer: str) -> Response:
    """RFC 6749, section 4.1.2, with ``iss`` against mix-up (RFC 9207)."""
    fields = {"code": code, "state": request.state, "iss": issuer}
    return _response(request.redirect_uri, request.response_mode, fields)


def denied(request: AuthorizationRequest, error: str, description: str, issuer: str) -> Response:
    """The error `error` for a request that was well formed."""
    refused = Refused(
        error, description, request.redirect_uri, request.response_mode, request.state
    )
    return refusal(refused, issuer)


def refusal(refused: Refused, issuer: str) -> Response:
    """RFC 6749, section 4.1.2.1, with ``iss``."""
    fields = {
        "error": refused.error,
        "error_description": str(refused),
        "state": refused.state,
        "iss": issuer,
    }
    return _response(refused.redirect_uri, refused.response_mode, fields)


def _response(redirect_uri: str, mode: str, fields: Mapping[str, Any]) -> Response:
    return Response(redirect_uri, mode, {name: value for name, value in fields.items() if value})


def form_action(redirect_uri: str) -> str:
    """The source of a Content-Security-Policy that lets a form go to `redirect_uri`, and only
    there (CSP Level 3, section 2.3.1)."""
    if not re.match(r"https?://", redirect_uri):
        return f"{redirect_uri.partition(':')[0]}:"
    # What would end the source, or the directive; a source has no query.
    path = redirect_uri.partition("?")[0]
    return path.replace(";", "%3B").replace(",", "%2C").replace("'", "%27")
