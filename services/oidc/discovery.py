"""What the OpenID Provider says of itself: ``/.well-known/openid-configuration``.

OpenID Connect Discovery 1.0, section 3; RFC 8414 and 9207; the log-out and device documents.
"""

from collections.abc import Sequence
from typing import Any

from services.oidc.clients import METHODS, OFFLINE
from services.oidc.tokens import CODE_GRANT, DEVICE_GRANT, PROFILE, REFRESH_GRANT, acr_of
from services.settings.models import OidcSettings
from services.wechat.reply_texts import LANGUAGES

MAX_AGE_SECONDS = 300
"""How long the document may be cached."""

CLAIMS = (
    *("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"),
    *("name", "picture", "preferred_username", "email", "email_verified"),
)
"""Of ID tokens, and from ``name`` on of userinfo as well."""


def metadata(
    issuer: str, settings: OidcSettings, *, offline: bool, amr: Sequence[str]
) -> dict[str, Any]:
    """The document.

    Args:
        issuer: the server's public address.
        offline: whether refresh tokens are issued.
        amr: how people are authenticated here.
    """
    confidential = list(METHODS[:2])
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "end_session_endpoint": f"{issuer}/oauth/logout",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": [CODE_GRANT, *([REFRESH_GRANT] if offline else []), DEVICE_GRANT],
        "scopes_supported": ["openid", PROFILE, *([OFFLINE] if offline else [])],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(settings.id_token_algs),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "introspection_endpoint_auth_methods_supported": confidential,
        "claims_supported": list(CLAIMS),
        "claim_types_supported": ["normal"],
        "acr_values_supported": [acr_of(" ".join(amr))],
        "prompt_values_supported": ["none", "login", "select_account", "consent"],
        "ui_locales_supported": list(LANGUAGES),
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "require_pushed_authorization_requests": False,
    }
