"""Tries on what is signed and on what clients prove: tokens, secrets, OpenID Connect."""

import base64
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attack.target import EVIL, Answer, NotApplicable, Target

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _part(value: object) -> str:
    text = json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _forgeries(keys: list[dict[str, Any]], issuer: str) -> Iterator[tuple[str, str]]:
    """Tokens that a careless verifier would accept, each with its trick (RFC 8725)."""
    now = int(time.time())
    own = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
    kid = keys[0].get("kid", "") if keys else ""
    claims = {
        "iss": issuer, "sub": "1", "aud": "scanpush", "iat": now, "nbf": now,
        "exp": now + 600, "jti": "x", "account": "default", "amr": ["wechat"],
    }  # fmt: skip
    for none in ("none", "NONE"):
        header = {"alg": none, "typ": "JWT", "kid": kid}
        yield "an algorithm of none", f"{_part(header)}.{_part(claims)}."
    for path in ("", "../../../../dev/null", "' UNION SELECT ''--"):
        yield "an empty secret", _signed(claims, b"", "HS256", {"kid": path})
    for headers in (
        {"kid": kid},
        {"kid": "unknown"},
        {"jwk": public},
        {"kid": kid, "jku": f"{EVIL}/jwks.json", "x5u": f"{EVIL}/x.pem"},
        {"kid": kid, "crit": ["exp"]},
    ):
        yield "another key", _signed(claims, own, "ES256", headers)
    for key in keys[:4]:
        for spelling in _public_spellings(key):
            named = {"kid": key.get("kid", "")}
            yield "the public key as a secret", _signed(claims, spelling, "HS256", named)


def _signed(claims: Mapping[str, object], key: Any, algorithm: str, headers: dict[str, Any]) -> str:
    # PyJWT's upper half refuses to sign with a public key, which is what an attacker does.
    payload = json.dumps(claims).encode()
    if algorithm != "HS256":
        return jwt.PyJWS().encode(payload, key, algorithm, headers)
    header = {"alg": algorithm, "typ": "JWT", **headers}
    signed = f"{_part(header)}.{_part(claims)}"
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = digest.sign(signed.encode(), key)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _public_spellings(key: dict[str, Any]) -> list[bytes]:
    """A public key as verifiers have been known to take it for a secret."""
    try:
        public = jwt.PyJWK(key).key
    except (jwt.PyJWTError, ValueError):
        return []
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, form)
    der: bytes = public.public_bytes(serialization.Encoding.DER, form)
    return [pem, pem.strip(), der]


async def forged_tokens(target: Target) -> None:
    """No token is taken that the server did not sign."""
    published = await target.ask("GET", "/.well-known/jwks.json")
    keys = [key for key in published.document().get("keys", []) if isinstance(key, dict)]
    for key in keys:
        private = {"d", "p", "q", "k"} & set(key)
        published.must(not private, "the published keys hold a private part")
    discovered = await target.ask("GET", "/.well-known/openid-configuration")
    issuer = str(discovered.document().get("issuer", "scanpush"))
    for trick, token in _forgeries(keys, issuer):
        answer = await target.ask("GET", "/api/me", headers={"Authorization": f"Bearer {token}"})
        answer.must_be(401, why=trick)
    for token in ("", "x", "a.b.c", "ey" + "A" * 6000 + ".e30.", "null", "undefined"):
        answer = await target.ask("GET", "/api/me", headers={"Authorization": f"Bearer {token}"})
        answer.must_refuse("no token at all")


async def refresh_tokens(target: Target) -> None:
    """An invented refresh token renews nothing, and a refusal tells nothing."""
    tried = [secrets.token_urlsafe(size) for size in (32, 39, 53)] + ["", "A" * 71]
    answers = []
    for token in tried:
        answer = await target.ask("POST", "/api/token/refresh", body={"refresh_token": token})
        if answer.status == 404:
            raise NotApplicable("sessions are off, and logins bring no refresh token")
        answer.must_be(400, 401, why="an invented refresh token")
        answers.append(answer)
    refused = [answer for answer in answers if answer.status == 401]
    for answer in refused:
        answer.must(answer.text == refused[0].text, "refusals differ")


async def well_known_secrets(target: Target) -> None:
    """The operator's token is none that others would try first."""
    for guess in ("", "admin", "operator", "scanpush", "changeme", "secret", "password", "token"):
        headers = {"Authorization": f"Bearer {guess}"}
        answer = await target.ask("GET", "/api/operator/overview", headers=headers)
        answer.must_be(401, why="a token that others would try first")
    answer = await target.ask("POST", "/api/exchange", body={"exchange_code": "x"})
    answer.must_be(401, why="an exchange without the operator's token")


# OpenID Connect.


async def _discovered(target: Target) -> Answer:
    answer = await target.ask("GET", "/.well-known/openid-configuration")
    if answer.status == 404:
        raise NotApplicable("no clients of OpenID Connect are configured")
    answer.must_be(200, why="discovery")
    return answer


async def discovery(target: Target) -> None:
    """What is published allows no downgrade."""
    answer = await _discovered(target)
    document = answer.document()
    methods = document.get("code_challenge_methods_supported")
    answer.must(methods == ["S256"], "PKCE is offered otherwise than by S256")
    answer.must(document.get("response_types_supported") == ["code"], "more than the code flow")
    algorithms = document.get("id_token_signing_alg_values_supported", [])
    weak = {"none", "HS256", "HS384", "HS512"} & set(algorithms)
    answer.must(not weak, "ID tokens may be unsigned, or signed by a shared secret")
    answer.must(document.get("request_uri_parameter_supported") is False, "request_uri is read")
    answer.must(
        document.get("authorization_response_iss_parameter_supported") is True,
        "authorization responses do not name their issuer (RFC 9207)",
    )


async def strange_clients(target: Target) -> None:
    """A client that is not registered, or proves nothing, gets nothing."""
    await _discovered(target)
    made_up = secrets.token_urlsafe(32)
    stranger = {"client_id": f"stranger-{secrets.token_hex(4)}", "client_secret": made_up}
    tries: list[tuple[str, dict[str, str]]] = [
        ("/oauth/token", {"grant_type": "authorization_code", "code": made_up}),
        ("/oauth/token", {"grant_type": "refresh_token", "refresh_token": made_up}),
        ("/oauth/token", {"grant_type": "password", "username": "admin", "password": "admin"}),
        ("/oauth/token", {"grant_type": "client_credentials"}),
        ("/oauth/par", {"response_type": "code", "redirect_uri": EVIL}),
        ("/oauth/introspect", {"token": made_up}),
        ("/oauth/revoke", {"token": made_up}),
        ("/oauth/device_authorization", {"scope": "openid"}),
    ]
    for path, form in tries:
        for proof in ({}, stranger):
            content = urlencode(form | proof).encode()
            answer = await target.ask("POST", path, headers=FORM, content=content)
            answer.must_refuse("a client that is not registered")
            answer.must("access_token" not in answer.document(), "a stranger gets a token")
    unsigned = f"{_part({'alg': 'none', 'typ': 'at+jwt'})}.{_part({'sub': '1'})}."
    for token in ("", made_up, unsigned):
        answer = await target.ask(
            "GET", "/oauth/userinfo", headers={"Authorization": f"Bearer {token}"}
        )
        answer.must_be(400, 401, why="a token that the server did not sign")


async def strange_redirects(target: Target) -> None:
    """An unknown client, or log-out without a hint, never leads to another site."""
    await _discovered(target)
    wanted = {
        "client_id": f"stranger-{secrets.token_hex(4)}", "redirect_uri": f"{EVIL}/callback",
        "response_type": "code", "scope": "openid", "state": "x",
    }  # fmt: skip
    for more in ({}, {"prompt": "none"}, {"request_uri": EVIL}, {"response_mode": "form_post"}):
        answer = await target.ask("GET", f"/oauth/authorize?{urlencode(wanted | more)}")
        answer.must(answer.status >= 400, "an unknown client is served")
        answer.must("evil.example" not in answer.header("Location"), "a redirect to another site")
    for hint in ("", "x.y.z", f"{_part({'alg': 'none'})}.{_part({'sub': '1'})}."):
        answer = await target.ask(
            "GET",
            f"/oauth/logout?post_logout_redirect_uri={quote(EVIL, safe='')}&id_token_hint={hint}",
        )
        answer.must("evil.example" not in answer.header("Location"), "a redirect to another site")


async def user_codes(target: Target) -> None:
    """An invented user code of the device flow names nothing."""
    await _discovered(target)
    answers = [
        await target.ask("GET", f"/device?user_code={code}") for code in ("BBBB-BBBB", "ZZZZ-ZZZZ")
    ]
    for answer in answers:
        answer.must(answer.status != 200 or "allow" not in answer.text, "an invented code is asked")
