"""The clients of the OpenID Provider: who they are, what each may ask for, how one proves itself.

Registered in config.yaml only. A client authenticates as RFC 6749, section 2.3.1, says: with HTTP
Basic (id and secret form-urlencoded), or with both in the body; a public client names its id.
"""

import base64
import binascii
import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit

from services.errors import OAuthError
from services.ids import secret_hash
from services.logs import PacedLog
from services.origins import DEFAULT_PORTS, origin_of
from services.settings.models import ClientSettings, OidcSettings

log = logging.getLogger("scanpush.oidc")

OFFLINE = "offline_access"
"""The scope that brings a refresh token (OpenID Connect Core, section 11)."""

CHALLENGE = 'Basic realm="scanpush", charset="UTF-8"'

METHODS = ("client_secret_basic", "client_secret_post", "none")
"""How a client may authenticate, as discovery names it (OpenID Connect Core, section 9)."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client, from its settings."""

    id: str
    name: str
    """What people read."""
    public: bool
    """It has no secret, and proves by PKCE alone that it began an authorization."""
    redirect_uris: tuple[str, ...]
    kinds: tuple[str, ...]
    """The login kinds that may finish its authorizations: values of `scenes.states.Kind`."""
    scopes: tuple[str, ...]
    """What it may be granted. Without sessions there is no `OFFLINE` among them."""
    audience: str
    """Of its access tokens."""
    id_token_alg: str
    introspects_all: bool
    """Whether it may ask about the tokens of other clients."""
    secret_hash: bytes
    """Of a public client: that of an empty text, which `Clients.authenticate` never compares."""
    settings: ClientSettings

    def granted(self, scope: str) -> str:
        """What of the asked `scope` it may have, in the order of the settings. Unknown values are
        ignored (OpenID Connect Core, section 3.1.2.1)."""
        asked = scope.split()
        return " ".join(one for one in self.scopes if one in asked)


class Clients:
    """All clients by id.

    Args:
        offline: whether sessions can be renewed here.
    """

    def __init__(self, settings: OidcSettings, *, offline: bool) -> None:
        self._clients = {
            name: _client(name, client, offline) for name, client in settings.clients.items()
        }
        self._paced_log = PacedLog(log)
        self._nothing = secret_hash(secrets.token_urlsafe())
        self.origins: frozenset[str] = frozenset(
            origin
            for client in settings.clients.values()
            if client.public
            for origin in client.origins or _origins(client.redirect_uris)
        )
        """The pages that may call token, userinfo and revoke: those of public clients."""

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients.values())

    def get(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def authenticate(self, authorization: str, form: Mapping[str, str]) -> Client:
        """The client that a request to the token endpoint, or one like it, is from.

        Args:
            authorization: the header of that name, or an empty text.
            form: the parameters of the body, without those that are empty.

        Raises:
            OAuthError: ``invalid_client``, or ``invalid_request`` for two methods at once.
        """
        is_known_method = True
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "basic":
            if "client_secret" in form or "client_assertion" in form:
                raise OAuthError("invalid_request", "Two ways of client authentication at once.")
            name, spellings = _basic(credentials)
            if form.get("client_id", name) != name:
                raise OAuthError("invalid_request", "Two client ids at once.")
        else:
            # Another scheme, or an assertion, is not understood: no client has an empty id.
            is_known_method = not authorization and "client_assertion" not in form
            name = form.get("client_id", "") if is_known_method else ""
            spellings = [form.get("client_secret", "")]
        client = self._clients.get(name)
        kept = self._nothing if client is None or client.public else client.secret_hash
        # Each is compared whatever came of the others, and for unknown clients too, so that the
        # time tells nothing.
        fits = [hmac.compare_digest(secret_hash(text), kept) for text in spellings]
        if client is None or (any(spellings) if client.public else not any(fits)):
            # An id that is not known is left out: some send the secret in its place.
            if not is_known_method:
                why = "a client authenticates by another method than " + ", ".join(METHODS)
            elif client is None:
                why = "no such client in oidc.clients"
            elif client.public:
                why = f"client {name}: sent a secret, and is public"
            else:
                why = f"client {name}: {'wrong' if any(spellings) else 'no'} secret"
            self._paced_log.log(logging.WARNING, why)
            raise OAuthError(
                "invalid_client",
                "Unknown client, or not its authentication.",
                challenge=CHALLENGE if authorization else "",
            )
        return client


def _client(name: str, settings: ClientSettings, offline: bool) -> Client:
    return Client(
        id=name,
        name=settings.name or name,
        public=settings.public,
        redirect_uris=settings.redirect_uris,
        kinds=settings.kinds,
        scopes=tuple(scope for scope in settings.scopes if offline or scope != OFFLINE),
        audience=settings.audience or name,
        id_token_alg=settings.id_token_alg,
        introspects_all=settings.introspect,
        secret_hash=secret_hash(settings.secret.get_secret_value()),
        settings=settings,
    )


def _origins(uris: tuple[str, ...]) -> list[str]:
    return [origin_of(uri) for uri in uris if urlsplit(uri).scheme in DEFAULT_PORTS]


def _basic(credentials: str) -> tuple[str, list[str]]:
    """Id, and the secret in its possible spellings; an empty id where it is malformed."""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return "", [""]
    name, _, secret = text.partition(":")
    # Many clients leave the encoding out, which matters where a secret holds + or %.
    return unquote_plus(name), [unquote_plus(secret), secret]
