"""The OpenID Provider's tokens as Authlib and joserfc see them, which were written elsewhere."""

import warnings

import pytest
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oidc.core import CodeIDToken, UserInfo
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.handlers.openid import (
    CALLBACK,
    ISSUER,
    OFFLINE_SCOPE,
    SECRETS,
    Provider,
    new_pkce,
    refusal,
)

with warnings.catch_warnings():
    # Authlib would rather have httpx's successor, which nothing else here uses.
    warnings.simplefilter("ignore")
    from authlib.integrations.httpx_client import OAuth2Client


def keys_of(provider: Provider) -> KeySet:
    return KeySet.import_key_set(provider.http.get("/oauth/jwks").json())


def session(provider: Provider, client: str, method: str) -> OAuth2Client:
    """Authlib's client, as an application uses it."""
    return OAuth2Client(
        client,
        SECRETS[client] or None,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        base_url=str(provider.http.base_url),
    )


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 gives it another name
@pytest.mark.parametrize(("client", "algorithm"), [("grafana", "RS256"), ("shop", "EdDSA")])
def test_authlib_takes_the_id_token(provider: Provider, client: str, algorithm: str) -> None:
    """Signature, issuer, audience, nonce, times, and the hash of the access token."""
    grant = provider.granted(client)
    tokens = provider.exchange(provider.code(grant), client).json()
    decoded = jwt.decode(tokens["id_token"], keys_of(provider), algorithms=[algorithm])
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        {
            "iss": {"essential": True, "value": ISSUER},
            "aud": {"essential": True, "value": client},
            "at_hash": {"essential": True},
            "sid": {"essential": True},
        },
        {
            "nonce": grant.nonce,
            "client_id": client,
            "max_age": 60,
            "access_token": tokens["access_token"],
        },
    )
    claims.validate(now=provider.now)
    userinfo = UserInfo(provider.userinfo(tokens["access_token"]).json())
    assert userinfo.sub == claims["sub"]


def test_an_id_token_of_another_algorithm_is_not_taken(provider: Provider) -> None:
    """A client that allows RS256 alone gets nothing else."""
    token = provider.tokens("shop")["id_token"]
    with pytest.raises(JoseError):
        jwt.decode(token, keys_of(provider), algorithms=["RS256"])


@pytest.mark.parametrize(
    ("client", "audience"), [("grafana", "grafana"), ("shop", "https://api.test")]
)
def test_authlib_takes_the_access_token(provider: Provider, client: str, audience: str) -> None:
    """As a resource server that knows the keys and no more (RFC 9068, section 4)."""

    class Validator(JWTBearerTokenValidator):  # type: ignore[misc]
        def get_jwks(self) -> KeySet:
            return keys_of(provider)

    validator = Validator(issuer=ISSUER, resource_server=audience)
    tokens = provider.tokens(client)
    token = validator.authenticate_token(tokens["access_token"])
    token.validate(now=provider.now)
    assert token["client_id"] == client and token["scope"].split()[0] == "openid"
    # An ID token is of another type.
    with pytest.raises((JoseError, InvalidTokenError)):
        validator.authenticate_token(tokens["id_token"]).validate(now=provider.now)


@pytest.mark.parametrize(
    ("client", "method"),
    [
        ("grafana", "client_secret_basic"),
        ("grafana", "client_secret_post"),
        ("app", "none"),
    ],
)
def test_authlibs_client_lives_through_a_session(
    provider: Provider, client: str, method: str
) -> None:
    """A code with PKCE, userinfo, a refresh, introspection, revocation."""
    with session(provider, client, method) as authlib:
        pkce = new_pkce()
        grant = provider.granted(client, scope=OFFLINE_SCOPE, code_challenge=pkce.challenge)
        token = authlib.fetch_token(
            "/oauth/token",
            code=provider.code(grant),
            redirect_uri=grant.redirect_uri,
            code_verifier=pkce.verifier,
        )
        assert authlib.get("/oauth/userinfo").json()["sub"] == grant.user_id
        renewed = authlib.refresh_token("/oauth/token", refresh_token=token["refresh_token"])
        assert authlib.get("/oauth/userinfo").json()["sub"] == grant.user_id
        if client == "grafana":
            said = authlib.introspect_token("/oauth/introspect", token=renewed["access_token"])
            assert said.json()["active"] is True
        gone = authlib.revoke_token("/oauth/revoke", token=renewed["refresh_token"])
        assert gone.status_code == 200
        assert refusal(provider.userinfo(renewed["access_token"])) == (401, "invalid_token")
