"""The OpenID Provider against those who know its documents: RFC 9700, RFC 8725, OpenID Connect."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.ids import UserId
from services.sessions.service import SessionService
from services.sessions.states import SessionId
from services.sessions.tokens import MAX_CHARACTERS
from tests.conftest import UnexpectedLogs
from tests.handlers.openid import (
    CALLBACK,
    ISSUER,
    OFFLINE_SCOPE,
    Provider,
    new_pkce,
    refusal,
    unverified,
)

INACTIVE = {"active": False}
INVALID_GRANT = (400, "invalid_grant")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    running = Provider(tmp_path_factory.mktemp("provider"))
    yield running
    running.close()


# Forged tokens


def forgeries(provider: Provider, token: str) -> list[str]:
    """`token` with its claims, signed by whatever an attacker has: nothing, the public keys as
    secrets, a key of their own, one that the token brings along or points to."""
    claims, header = unverified(token), jwt.get_unverified_header(token)
    typ = header["typ"]
    published = provider.http.get("/oauth/jwks").json()["keys"]
    forged = [jwt.encode(claims, None, "none", headers={"typ": typ})]
    for jwk in published:
        public: Any = jwt.PyJWK.from_dict(jwk).key
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for secret in (pem, pem.strip(), der, json.dumps(jwk).encode()):
            forged.append(_hs256(claims, {"typ": typ, "kid": jwk["kid"]}, secret))
    more: list[dict[str, Any]] = [
        {"jwk": published[0]},
        {"jku": "https://evil.test/jwks"},
        {"x5u": "https://evil.test/cert"},
        {"kid": "../../../dev/null"},
        {"kid": None},
        {"crit": ["exp"]},
    ]
    for fields in more:
        forged.append(_hs256(claims, {**header, **fields, "alg": "HS256"}, b"\0" * 32))
    head, body, signature = token.split(".")
    longer = jwt.utils.base64url_encode(json.dumps({**claims, "exp": 2**40}).encode()).decode()
    return [*forged, f"{head}.{longer}.{signature}", f"{head}.{body}.", f"{head}.{body}"]


def _hs256(claims: dict[str, Any], header: dict[str, Any], secret: bytes) -> str:
    """A token signed with HMAC: by hand, for PyJWT refuses public keys as secrets."""
    parts = [{"alg": "HS256", **header}, claims]
    text = b".".join(jwt.utils.base64url_encode(json.dumps(part).encode()) for part in parts)
    mac = hmac.digest(secret, text, hashlib.sha256)
    return b".".join((text, jwt.utils.base64url_encode(mac))).decode()


def test_no_forged_token_is_taken(provider: Provider) -> None:
    """Of no algorithm, or signed with the public keys (RFC 8725, sections 2.1 and 3.1)."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    for token in forgeries(provider, tokens["access_token"]):
        assert provider.userinfo(token).status_code == 401
        assert provider.introspected(token) == provider.introspected(token, "api") == INACTIVE
        assert provider.post("revoke", {"token": token}, "grafana").status_code == 200
        assert provider.http.get("/api/me", headers=bearer(token)).status_code == 401
    for hint in forgeries(provider, tokens["id_token"]):
        left = provider.http.get("/oauth/logout", params={"id_token_hint": hint})
        assert left.status_code == 200 and "Location" not in left.headers
    assert provider.is_active(tokens["access_token"])
    assert provider.refresh(tokens["refresh_token"]).status_code == 200


def sessions_of(provider: Provider) -> SessionService:
    sessions = provider.stack.container.login_sessions
    assert sessions is not None
    return sessions


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Each token is for one thing


def test_each_token_has_one_use(provider: Provider) -> None:
    """Those of clients none of the server's own routes, and the other way round."""
    user_id = provider.person(name="Ann")
    tokens = provider.tokens(user_id=user_id, scope=OFFLINE_SCOPE)
    own = provider.do(sessions_of(provider).begin_at_once(user_id, "default", "web", "x"))
    first = sessions_of(provider).first_token(own.id)
    for token in (tokens["refresh_token"], tokens["access_token"], tokens["id_token"]):
        answer = provider.http.post("/api/token/refresh", json={"refresh_token": token})
        # Longer than any of its own it is not even looked at.
        assert answer.status_code == (400 if len(token) > MAX_CHARACTERS else 401)
        revoked = provider.http.post("/api/token/revoke", json={"refresh_token": token})
        assert revoked.status_code == 204
        for method, path in (
            ("GET", "/api/me"),
            ("GET", "/api/sessions"),
            ("DELETE", "/api/sessions"),
            ("DELETE", f"/api/sessions/{own.id}"),
        ):
            answer = provider.http.request(method, path, headers=bearer(token))
            assert answer.status_code == 401, (method, path)
    for client in ("grafana", "app", "tv"):
        assert refusal(provider.refresh(first, client)) == INVALID_GRANT
        assert provider.post("revoke", {"token": first}, client).status_code == 200
    assert provider.introspected(first, "api") == INACTIVE
    # Nothing of all this has ended anything.
    assert provider.is_active(tokens["access_token"])
    assert provider.refresh(tokens["refresh_token"]).status_code == 200
    again = provider.http.post("/api/token/refresh", json={"refresh_token": first})
    assert again.status_code == 200
    login = again.json()["token"]
    assert provider.userinfo(login).status_code == 401
    assert provider.introspected(login, "api") == INACTIVE


def test_a_token_of_a_log_out_is_none_of_a_login(provider: Provider) -> None:
    """Neither an ID token that a client sends back, nor an access token."""
    tokens = provider.tokens()
    claims = unverified(tokens["id_token"])
    issuer = provider.stack.container.issuer
    told = issuer.sign(claims, typ="logout+jwt", algorithm="RS256")
    assert provider.userinfo(told).status_code == 401
    params = {"id_token_hint": told, "post_logout_redirect_uri": "https://grafana.test/"}
    assert provider.http.get("/oauth/logout", params=params).status_code == 400
    provider.http.get("/oauth/logout", params={"id_token_hint": told})
    assert provider.is_active(tokens["access_token"])


def test_a_public_id_proves_nothing(provider: Provider) -> None:
    """What tokens say of sessions and families is no cookie, code or refresh token."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    claims = unverified(tokens["access_token"])
    family, sid = claims["jti"].partition(".")[0], claims["sid"]
    for text in (family, sid, f"{sid}.", f"{sid}.{'A' * 43}", f".{'A' * 43}", claims["jti"]):
        for cookie in (f"__Host-op_session={text}", f"op_session={text}"):
            parameters = {
                "client_id": "grafana",
                "redirect_uri": CALLBACK,
                "response_type": "code",
                "scope": "openid",
                "prompt": "none",
            }
            answer = provider.http.get(
                "/oauth/authorize", params=parameters, headers={"Cookie": cookie}
            )
            assert "error=login_required" in answer.headers["Location"]
        assert refusal(provider.exchange(text)) == INVALID_GRANT
        assert refusal(provider.refresh(text)) == INVALID_GRANT
        device = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": text,
        }
        assert refusal(provider.post("token", device, "grafana")) == INVALID_GRANT
    assert provider.is_active(tokens["access_token"])


# Codes in the wrong hands


def test_a_code_of_another_browser_is_of_no_use(provider: Provider) -> None:
    """Put into a victim's answer it meets the victim's verifier; without PKCE the ID token has the
    attacker's nonce (RFC 9700, section 4.5)."""
    attacker, victim = new_pkce(), new_pkce()
    code = provider.code(provider.granted(code_challenge=attacker.challenge, nonce="n-attacker"))
    answer = provider.exchange(code, code_verifier=victim.verifier)
    assert refusal(answer) == INVALID_GRANT
    assert refusal(provider.exchange(code)) == INVALID_GRANT
    plain = provider.exchange(provider.code(provider.granted(nonce="n-attacker"))).json()
    assert unverified(plain["id_token"])["nonce"] == "n-attacker"


def test_a_challenge_that_was_cut_out_is_noticed(provider: Provider) -> None:
    """The client sends its verifier all the same (RFC 9700, section 4.8.2)."""
    code = provider.code(provider.granted(code_challenge=""))
    assert refusal(provider.exchange(code, code_verifier=new_pkce().verifier)) == INVALID_GRANT


def test_of_a_hundred_who_bring_a_code_one_has_it(provider: Provider, logs: UnexpectedLogs) -> None:
    """At most, and what it has is over, for the code was seen elsewhere."""
    logs.expect("an authorization code came twice")
    code = provider.code(provider.granted(scope=OFFLINE_SCOPE))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: provider.exchange(code), range(100)))
    assert {answer.status_code for answer in answers} <= {200, 400}
    brought = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(brought) <= 1
    for tokens in brought:
        assert not provider.is_active(tokens["access_token"])
        assert refusal(provider.refresh(tokens["refresh_token"])) == INVALID_GRANT


# What is sent


REDIRECTS = [
    CALLBACK + "/",
    CALLBACK + "?",
    CALLBACK + "?a=b",
    CALLBACK + "#",
    CALLBACK + "#top",
    CALLBACK.replace("login", "Login"),
    CALLBACK.replace("grafana.test", "GRAFANA.test"),
    CALLBACK.replace("https", "HTTPS"),
    CALLBACK.replace("https", "http"),
    CALLBACK.replace("/login", "/x/../login"),
    CALLBACK.replace("/login", "/./login"),
    CALLBACK.replace("/login", "//login"),
    CALLBACK.replace("/login", "/%6cogin"),
    CALLBACK.replace("/generic", "%2Fgeneric"),
    CALLBACK.replace(".test/", ".test:443/"),
    CALLBACK.replace(".test/", ".test:8443/"),
    CALLBACK.replace(".test/", ".test./"),
    CALLBACK.replace(".test/", ".test@evil.test/"),
    CALLBACK.replace(".test/", ".test\\@evil.test/"),
    CALLBACK.replace(".test/", ".test.evil.test/"),
    CALLBACK.replace("grafana.test", "evil.test#grafana.test"),
    " " + CALLBACK,
    CALLBACK + " ",
    CALLBACK + "\n",
    CALLBACK + "\0",
    "javascript:alert(1)",
    "//grafana.test/login/generic_oauth",
    "/login/generic_oauth",
]


def test_a_redirect_uri_is_compared_character_by_character(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """At the authorization, when it is pushed, and again with the code; nothing is sent there."""
    logs.expect("scanpush.oidc WARNING")
    for uri in REDIRECTS:
        parameters = {
            "client_id": "grafana",
            "redirect_uri": uri,
            "response_type": "code",
            "scope": "openid",
            "prompt": "none",
        }
        for answer in (
            provider.http.get("/oauth/authorize", params=parameters),
            provider.http.post("/oauth/authorize", data=parameters),
        ):
            assert answer.status_code == 400 and "Location" not in answer.headers, uri
            assert "evil" not in answer.text and "alert(1)" not in answer.text
        pushed = provider.post("par", parameters, "grafana")
        assert refusal(pushed) == (400, "invalid_request"), uri
        code = provider.code(provider.granted())
        assert refusal(provider.exchange(code, redirect_uri=uri)) == INVALID_GRANT, uri


PAGES = ["/oauth/authorize", "/oauth/logout", "/device", "/device?user_code=BCDF-GHJK"]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_framed_or_kept(provider: Provider, path: str, logs: UnexpectedLogs) -> None:
    """Neither what they show nor what they refuse (RFC 9700, section 4.16)."""
    logs.expect("scanpush.oidc WARNING")
    good = {"client_id": "grafana", "redirect_uri": CALLBACK, "response_type": "code"}
    query = {**good, "scope": "openid"} if path == "/oauth/authorize" else None
    answers = [provider.http.get(path, params=query), provider.http.get(path)]
    answers.append(provider.http.post(path, data={"a": "b"}, headers={"Origin": "https://evil"}))
    for answer in answers:
        if answer.is_redirect:
            continue
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_other_sites_press_no_button(provider: Provider) -> None:
    """Of the login page, the log-out and the device page; nor does a request without an Origin."""
    forms: list[tuple[str, dict[str, str]]] = [
        ("/oauth/authorize", {"pending": "x" * 43, "ticket": "t"}),
        ("/oauth/authorize", {"pending": "x" * 43, "refuse": "1"}),
        ("/oauth/logout", {"answer": "yes"}),
        ("/device", {"user_code": "BCDF-GHJK", "sid": "s", "allow": "1"}),
    ]
    for path, form in forms:
        for origin in ("https://evil.test", "null", ISSUER + ".evil.test", ISSUER + ":444", None):
            headers = {} if origin is None else {"Origin": origin}
            answer = provider.http.post(path, data=form, headers=headers)
            assert answer.status_code == 403, (path, origin)
            assert "Set-Cookie" not in answer.headers


BIG = "x" * 50_000
POSTS = ["token", "revoke", "introspect", "par", "device_authorization"]


@pytest.mark.parametrize("path", POSTS)
def test_parameters_may_come_once(provider: Provider, path: str) -> None:
    """Whichever of the two a proxy or a filter has looked at (RFC 6749, section 3.2)."""
    good = "grant_type=refresh_token&refresh_token=a&token=a&scope=openid&client_id=app"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for twice in ("client_id=app", "client_id=grafana", "token=b", "scope=", "%74oken=b"):
        body = f"{good}&{twice}"
        answer = provider.http.post(f"/oauth/{path}", content=body, headers=headers)
        assert refusal(answer) == (400, "invalid_request"), twice


def test_huge_and_odd_values_are_refused_and_no_failure(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """Wherever they stand: 4xx, and never the server's own error."""
    logs.expect("scanpush.oidc WARNING")
    for value in (BIG, "\0", "\ufffe", "\u202e", "a" * 4097, "%00", "'\"<script>", "[object]"):
        answers = [
            provider.exchange(value),
            provider.exchange("x", code_verifier=value),
            provider.exchange("x", redirect_uri=value),
            provider.refresh(value),
            provider.post("token", {"grant_type": value}, "grafana"),
            provider.post(
                "token",
                {
                    "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                    "device_code": value,
                },
                "tv",
            ),
            provider.http.post("/oauth/token", data={"client_id": value}),
            provider.http.post("/oauth/token", data={}, auth=("grafana", value)),
            provider.post("par", {"client_id": value}, "grafana"),
            provider.post("par", {"scope": value}, "grafana"),
            provider.post("device_authorization", {"scope": value}, "tv"),
        ]
        for answer in answers:
            assert answer.status_code in (400, 401, 431), answer.text
            refusal(answer)
        assert provider.introspected(value) == INACTIVE
        assert provider.post("revoke", {"token": value}, "grafana").status_code == 200
        posted = provider.http.post("/oauth/userinfo", data={"access_token": value})
        assert refusal(posted) == (401, "invalid_token")
        own = provider.http.post("/device", data={"user_code": value}, headers={"Origin": ISSUER})
        assert own.status_code in (400, 404)
    for name in ("state", "nonce", "scope", "prompt", "ui_locales", "code_challenge", "max_age"):
        parameters = {
            "client_id": "grafana",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid",
            name: "x" * 5000,
        }
        answer = provider.http.get("/oauth/authorize", params=parameters)
        assert answer.headers["Location"].startswith(f"{CALLBACK}?error="), name


@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], ["x"], {}, {"$gt": ""}, "", "x" * 513])
def test_a_refresh_token_of_another_type_is_none(provider: Provider, value: Any) -> None:
    """Objects would be operators in a query of the store."""
    answer = provider.http.post("/api/token/refresh", json={"refresh_token": value})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "bad_request"
    revoked = provider.http.post("/api/token/revoke", json={"refresh_token": value})
    assert revoked.status_code == 204


def test_clients_prove_themselves_in_one_way(provider: Provider, logs: UnexpectedLogs) -> None:
    """The secret of another, of a public one, none at all, and in the address."""
    logs.expect("scanpush.oidc WARNING")
    code = provider.code(provider.granted())
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    tries: list[dict[str, Any]] = [
        {"auth": ("grafana", "other-secret-0123456789")},
        {"auth": ("grafana", "")},
        {"auth": ("app", "")},
        {"data": {**form, "client_id": "grafana"}},
        {"data": {**form, "client_id": "app"}},
        {"data": {**form, "client_id": "GRAFANA", "client_secret": "a-secret-of-0123456789"}},
        {"params": {"client_id": "grafana", "client_secret": "a-secret-of-0123456789"}},
        {"headers": {"Authorization": "Bearer a-secret-of-0123456789"}},
        {"data": {**form, "client_assertion": "x", "client_id": "grafana"}},
    ]
    for one in tries:
        answer: httpx.Response = provider.http.post("/oauth/token", **{"data": form, **one})
        assert answer.status_code in (400, 401), one
        refusal(answer)
    assert provider.exchange(code).status_code == 200


def test_a_stranger_learns_nothing_of_tokens(provider: Provider) -> None:
    """Without a secret no introspection; with another client's neither token nor person."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        for client in ("", "app"):
            answer = provider.post("introspect", {"token": token}, client)
            assert refusal(answer)[1] == "invalid_client"
        assert provider.introspected(token, "other") == INACTIVE
    assert provider.introspected(tokens["refresh_token"], "api") == INACTIVE


def test_sessions_are_ended_by_their_person_alone(provider: Provider) -> None:
    """The id of a browser's session is in every token: it ends nothing for another person."""
    victim, attacker = provider.person(), provider.person()
    tokens = provider.tokens(user_id=victim)
    sid = SessionId(unverified(tokens["access_token"])["sid"])
    login = provider.do(sessions_of(provider).begin_at_once(attacker, "default", "web", "x"))
    refreshed = provider.http.post(
        "/api/token/refresh", json={"refresh_token": sessions_of(provider).first_token(login.id)}
    )
    headers = bearer(refreshed.json()["token"])
    assert provider.http.delete(f"/api/sessions/{sid}", headers=headers).status_code == 404
    assert provider.http.delete("/api/sessions", headers=headers).status_code == 204
    assert provider.is_active(tokens["access_token"])
    listed = provider.http.get("/api/sessions", headers=headers).json()["sessions"]
    assert [one["id"] for one in listed] == [login.id]
    assert UserId(refreshed.json()["user"]["id"]) == attacker != victim
