"""The token endpoint of the OpenID Provider, and what becomes of its tokens, over the wire."""

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest

from services.ids import UserId, secret_hash
from services.oidc.grants import CODE_SECONDS, family
from services.sessions.states import REPEAT_SECONDS, SessionId
from tests.conftest import UnexpectedLogs
from tests.handlers.openid import (
    APP,
    CALLBACK,
    ISSUER,
    OFFLINE_SCOPE,
    SCOPE,
    SECRETS,
    Provider,
    new_pkce,
    refusal,
    unverified,
)

TTL = 7200
INVALID_GRANT = (400, "invalid_grant")
INACTIVE = {"active": False}


def test_a_code_brings_tokens(provider: Provider) -> None:
    """In the form of RFC 6749, section 5.1, which nothing may cache."""
    answer = provider.exchange(provider.code(provider.granted()))
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
    assert set(body) == {"access_token", "token_type", "expires_in", "scope", "id_token"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", TTL, SCOPE)


def test_an_access_token_is_one_of_rfc_9068(provider: Provider) -> None:
    """With exactly these claims, signed by the configured algorithm."""
    grant = provider.granted()
    token = provider.exchange(provider.code(grant)).json()["access_token"]
    claims = unverified(token)
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert claims.pop("exp") == pytest.approx(provider.now + TTL, abs=5)
    assert claims.pop("iat") == pytest.approx(provider.now, abs=15)
    assert claims.pop("jti").endswith(".1")
    assert claims == {
        "iss": ISSUER,
        "sub": grant.user_id,
        "aud": "grafana",
        "client_id": "grafana",
        "scope": SCOPE,
        "sid": grant.session,
        "auth_time": int(grant.auth_at),
    }


def test_an_id_token_says_who_logged_in(provider: Provider) -> None:
    """With exactly these claims, signed by RSA."""
    user_id = provider.person(name="安", avatar="https://wx.test/a.png", email="an@example.com")
    grant = provider.granted(user_id=user_id)
    token = provider.exchange(provider.code(grant)).json()["id_token"]
    claims = unverified(token)
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    assert claims["auth_time"] <= claims["iat"] <= provider.now
    for name in ("exp", "iat", "at_hash"):
        assert claims.pop(name)
    assert claims == {
        "iss": ISSUER,
        "sub": user_id,
        "aud": "grafana",
        "auth_time": int(grant.auth_at),
        "sid": grant.session,
        "amr": ["wechat"],
        "acr": "1",
        "nonce": grant.nonce,
        "name": "安",
        "picture": "https://wx.test/a.png",
        "preferred_username": user_id,
        "email": "an@example.com",
        "email_verified": False,
    }


def test_what_is_not_known_or_not_granted_is_not_said(provider: Provider) -> None:
    """No empty claims; without the scope profile none of a profile."""
    nameless = unverified(provider.tokens(user_id=provider.person())["id_token"])
    assert not {"name", "picture", "email", "email_verified"} & set(nameless)
    plain = unverified(provider.tokens(scope="openid")["id_token"])
    assert not {"name", "preferred_username"} & set(plain)
    assert "nonce" not in unverified(provider.tokens(nonce="")["id_token"])


def test_a_client_may_have_its_own_algorithm_and_audience(provider: Provider) -> None:
    """The ID token is for the client all the same; scopes it may not have are left out."""
    tokens = provider.tokens("shop")
    assert jwt.get_unverified_header(tokens["id_token"])["alg"] == "EdDSA"
    assert unverified(tokens["id_token"])["aud"] == "shop"
    access = unverified(tokens["access_token"])
    assert (access["aud"], access["client_id"]) == ("https://api.test", "shop")
    assert access["scope"] == tokens["scope"] == "openid"


# Codes


def test_a_code_works_once_and_its_second_use_ends_what_it_brought(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """Without a refresh token and with one (RFC 6749, section 4.1.2)."""
    logs.expect("an authorization code came twice")
    for scope in (SCOPE, OFFLINE_SCOPE):
        code = provider.code(provider.granted(scope=scope))
        tokens = provider.exchange(code).json()
        assert provider.is_active(tokens["access_token"])
        assert refusal(provider.exchange(code)) == INVALID_GRANT
        assert not provider.is_active(tokens["access_token"])
        if token := tokens.get("refresh_token"):
            assert refusal(provider.refresh(token)) == INVALID_GRANT


def test_a_code_that_comes_again_after_weeks_still_ends_its_session(provider: Provider) -> None:
    """The code itself is forgotten by then."""
    code = provider.code(provider.granted(scope=OFFLINE_SCOPE))
    token = provider.exchange(code).json()["refresh_token"]
    provider.clock.advance(20 * 86400)
    assert refusal(provider.exchange(code)) == INVALID_GRANT
    assert refusal(provider.refresh(token)) == INVALID_GRANT


def test_of_many_exchanges_at_once_one_has_a_code(provider: Provider, logs: UnexpectedLogs) -> None:
    """And its tokens end, for the others show that the code was seen elsewhere."""
    logs.expect("an authorization code came twice")
    code = provider.code(provider.granted(scope=OFFLINE_SCOPE))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: provider.exchange(code), range(8)))
    brought = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(brought) <= 1
    for tokens in brought:
        assert not provider.is_active(tokens["access_token"])
        assert refusal(provider.refresh(tokens["refresh_token"])) == INVALID_GRANT


def test_a_code_is_over_after_a_minute(provider: Provider) -> None:
    """Used or not."""
    code = provider.code(provider.granted())
    provider.clock.advance(CODE_SECONDS + 1)
    assert refusal(provider.exchange(code)) == INVALID_GRANT


@pytest.mark.parametrize(
    "form",
    [
        {"code": "nonsense"},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?a=b"},
        {"redirect_uri": CALLBACK.upper()},
        {"code_verifier": new_pkce().verifier},
        {"client": "other"},
    ],
    ids=["code", "slash", "query", "case", "verifier", "client"],
)
def test_a_code_alone_is_not_enough(provider: Provider, form: dict[str, str]) -> None:
    """Nor is it spent by a wrong try: no client spoils another's code."""
    code = provider.code(provider.granted())
    client = form.get("client", "grafana")
    sent = {name: value for name, value in form.items() if name != "client"}
    assert refusal(provider.exchange(**{"code": code, "client": client, **sent})) == INVALID_GRANT
    assert provider.exchange(code).status_code == 200


def test_pkce_holds_a_code_to_its_browser(provider: Provider) -> None:
    """The verifier must be the challenge's, and must be there (RFC 7636, section 4.6)."""
    pkce, other = new_pkce(), new_pkce()
    for client in ("grafana", "app"):
        code = provider.code(provider.granted(client, code_challenge=pkce.challenge))
        for verifier in ("", other.verifier, pkce.challenge, pkce.verifier[:42], "a" * 129, "ä"):
            answer = provider.exchange(code, client, code_verifier=verifier)
            assert refusal(answer) == INVALID_GRANT
        assert provider.exchange(code, client, code_verifier=pkce.verifier).status_code == 200


def test_a_public_client_has_no_code_without_pkce(provider: Provider) -> None:
    """Whatever the authorization endpoint let through."""
    code = provider.code(provider.granted("app"))
    assert refusal(provider.exchange(code, "app")) == INVALID_GRANT
    assert refusal(provider.exchange(code, "app", code_verifier="a" * 43)) == INVALID_GRANT


def test_a_code_of_a_person_who_logged_out_brings_nothing(provider: Provider) -> None:
    """The browser session is over before the code is used."""
    grant = provider.granted()
    code = provider.code(grant)
    provider.end(grant.session)
    assert refusal(provider.exchange(code)) == INVALID_GRANT


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "client_credentials"}, (400, "unsupported_grant_type")),
        ({"grant_type": "authorization_code"}, (400, "invalid_request")),
        ({"grant_type": "authorization_code", "code": "x"}, (400, "invalid_request")),
        (
            {"grant_type": "authorization_code", "code": "", "redirect_uri": "x"},
            (400, "invalid_request"),
        ),
        ({"grant_type": "refresh_token"}, (400, "invalid_request")),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, (400, "invalid_request")),
    ],
)
def test_each_mistake_has_the_name_that_oauth_gives_it(
    provider: Provider, form: dict[str, str], expected: tuple[int, str]
) -> None:
    """RFC 6749, section 5.2."""
    assert refusal(provider.post("token", form, "grafana")) == expected


def test_a_client_of_devices_alone_has_no_codes(provider: Provider) -> None:
    """It has no redirect URI."""
    answer = provider.exchange("x", "tv")
    assert refusal(answer) == (400, "unauthorized_client")


def test_a_client_that_proves_nothing_gets_nothing(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """And the code is not spent."""
    logs.expect("scanpush.oidc WARNING")
    code = provider.code(provider.granted())
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    for headers in ({}, {"Authorization": "Basic Z3JhZmFuYTp3cm9uZw=="}):
        answer = provider.http.post("/oauth/token", data=form, headers=headers)
        assert refusal(answer) == (401, "invalid_client")
        assert ("WWW-Authenticate" in answer.headers) is bool(headers)
    posted = {**form, "client_id": "grafana", "client_secret": SECRETS["grafana"]}
    assert provider.http.post("/oauth/token", data=posted).status_code == 200


# Refresh tokens


def test_a_refresh_token_is_renewed_with_each_use(provider: Provider) -> None:
    """The ID token of a refresh is about the same login, and has no nonce (OpenID Connect Core,
    section 12.2)."""
    first = provider.tokens(scope=OFFLINE_SCOPE)
    provider.clock.advance(600)
    second = provider.refresh(first["refresh_token"]).json()
    third = provider.refresh(second["refresh_token"]).json()
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert third["scope"] == first["scope"] == OFFLINE_SCOPE
    before, after = unverified(first["id_token"]), unverified(third["id_token"])
    for name in ("iss", "sub", "aud", "auth_time", "sid"):
        assert before[name] == after[name]
    assert after["iat"] > before["iat"] and "nonce" not in after
    assert provider.is_active(third["access_token"])
    jtis = [unverified(one["access_token"])["jti"].split(".") for one in (first, second, third)]
    assert [number for _, number in jtis] == ["1", "2", "3"] and len({f for f, _ in jtis}) == 1


def test_a_lost_answer_is_given_again(provider: Provider) -> None:
    """The same refresh token, jti and exp; then the successor works."""
    first = provider.tokens(scope=OFFLINE_SCOPE)
    lost, again = (provider.refresh(first["refresh_token"]).json() for _ in range(2))
    assert lost["refresh_token"] == again["refresh_token"]
    claims = [unverified(one["access_token"]) for one in (lost, again)]
    assert claims[0] == claims[1]
    assert provider.refresh(again["refresh_token"]).status_code == 200


def test_a_refresh_token_that_is_used_again_ends_the_login(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """Of the browser too, as it may be that browser that was robbed (RFC 9700, 4.14.2)."""
    logs.expect("a refresh token was used again")
    first = provider.tokens(scope=OFFLINE_SCOPE)
    second = provider.refresh(first["refresh_token"]).json()
    provider.clock.advance(REPEAT_SECONDS + 1)
    assert refusal(provider.refresh(first["refresh_token"])) == INVALID_GRANT
    assert refusal(provider.refresh(second["refresh_token"])) == INVALID_GRANT
    assert not provider.is_active(second["access_token"])


def test_a_refresh_token_is_its_clients_alone(provider: Provider) -> None:
    """Another client's try ends nothing."""
    token = provider.tokens(scope=OFFLINE_SCOPE)["refresh_token"]
    for client in ("other", "app"):
        assert refusal(provider.refresh(token, client)) == INVALID_GRANT
    assert provider.refresh(token).status_code == 200


def test_a_scope_that_is_sent_again_is_narrowed(provider: Provider) -> None:
    """For that answer alone; what goes beyond the grant is left out (next RFC 6749, section 6)."""
    token = provider.tokens(scope="openid offline_access")["refresh_token"]
    narrowed = provider.refresh(token, scope="openid profile email").json()
    assert narrowed["scope"] == "openid"
    assert "name" not in unverified(narrowed["id_token"])
    whole = provider.refresh(narrowed["refresh_token"], scope="groups").json()
    assert whole["scope"] == "openid offline_access"
    without = provider.refresh(whole["refresh_token"], scope="offline_access").json()
    assert "id_token" not in without


def test_offline_access_must_be_granted(provider: Provider) -> None:
    """To that client, and in that authorization."""
    assert "refresh_token" not in provider.tokens()
    tokens = provider.tokens("shop", scope=OFFLINE_SCOPE)
    assert "refresh_token" not in tokens and tokens["scope"] == "openid"
    assert refusal(provider.refresh("x", "shop")) == (400, "unauthorized_client")


LAST = base64.urlsafe_b64encode(b"\1" + b"i" * 16 + b"\xff" * 4 + b"m" * 32).decode().rstrip("=")


@pytest.mark.parametrize(
    "token", ["x", "AAAA" * 17 + "AAA", "a" * 5000, "\u540d", LAST], ids=range(5)
)
def test_what_is_no_refresh_token_is_an_invalid_grant(provider: Provider, token: str) -> None:
    """Whatever it is."""
    assert refusal(provider.refresh(token)) == INVALID_GRANT


def test_a_refresh_token_ends_with_its_time(provider: Provider) -> None:
    """Which is counted from the login, not from the last use."""
    token = provider.tokens(scope=OFFLINE_SCOPE)["refresh_token"]
    provider.clock.advance(29 * 86400)
    token = provider.refresh(token).json()["refresh_token"]
    provider.clock.advance(2 * 86400)
    assert refusal(provider.refresh(token)) == INVALID_GRANT


# Devices


def test_a_device_gets_tokens_when_the_person_allows(provider: Provider) -> None:
    """Pending before; then a session of its own, which is the sid; once."""
    devices = provider.stack.container.provider.device_grants
    codes = provider.do(devices.begin("tv", OFFLINE_SCOPE))
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": codes.device_code,
    }
    assert refusal(provider.post("token", form, "tv")) == (400, "authorization_pending")
    assert refusal(provider.post("token", form, "tv")) == (400, "slow_down")
    browser = provider.browser(provider.person(name="Ann"))
    sessions = provider.stack.container.backend.sessions
    session = provider.do(sessions.get(browser, provider.now))
    opened = provider.do(devices.open(codes.user_code, "192.0.2.1"))
    provider.do(devices.answer(opened, session, allow=True))
    assert refusal(provider.post("token", form, "other")) == INVALID_GRANT
    tokens = provider.post("token", form, "tv").json()
    claims = unverified(tokens["id_token"])
    assert (claims["sub"], claims["sid"]) == (session.user_id, family(codes.device_code))
    # Whatever becomes of the browser in which it was allowed.
    provider.end(browser)
    tokens = provider.refresh(tokens["refresh_token"], "tv").json()
    assert provider.is_active(tokens["access_token"], "tv")
    assert refusal(provider.post("token", form, "tv")) == INVALID_GRANT
    provider.end(SessionId(claims["sid"]))
    assert not provider.is_active(tokens["access_token"], "tv")


def test_a_device_without_offline_access_has_a_session_too(provider: Provider) -> None:
    """As long as its token, so that the person can end it."""
    devices = provider.stack.container.provider.device_grants
    codes = provider.do(devices.begin("tv", SCOPE))
    user_id = provider.person()
    sessions = provider.stack.container.backend.sessions
    session = provider.do(sessions.get(provider.browser(user_id), provider.now))
    opened = provider.do(devices.open(codes.user_code, "192.0.2.1"))
    provider.do(devices.answer(opened, session, allow=True))
    grant_type = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"grant_type": grant_type, "device_code": codes.device_code}
    tokens = provider.post("token", form, "tv").json()
    assert "refresh_token" not in tokens and provider.is_active(tokens["access_token"], "tv")
    listed = provider.do(sessions.of_user(user_id, provider.now))
    assert {one.client for one in listed} == {"@browser", "tv"}
    provider.end(SessionId(unverified(tokens["access_token"])["sid"]))
    assert not provider.is_active(tokens["access_token"], "tv")


# What becomes of a token


def test_a_token_ends_with_the_browser_session(provider: Provider) -> None:
    """Whether it came with a refresh token or not."""
    for scope in (SCOPE, OFFLINE_SCOPE):
        grant = provider.granted(scope=scope)
        tokens = provider.exchange(provider.code(grant)).json()
        assert provider.is_active(tokens["access_token"])
        provider.end(grant.session)
        assert not provider.is_active(tokens["access_token"])
        if token := tokens.get("refresh_token"):
            assert refusal(provider.refresh(token)) == INVALID_GRANT
            assert provider.introspected(token) == INACTIVE


def test_the_end_of_all_sessions_of_a_person_ends_their_tokens(provider: Provider) -> None:
    """As a ban does it."""
    user_id = provider.person()
    tokens = [provider.tokens(user_id=user_id, scope=scope) for scope in (SCOPE, OFFLINE_SCOPE)]
    pending = provider.code(provider.granted(user_id=user_id))
    provider.do(provider.stack.container.backend.sessions.end_of_user(user_id))
    assert not any(provider.is_active(one["access_token"]) for one in tokens)
    assert refusal(provider.refresh(tokens[1]["refresh_token"])) == INVALID_GRANT
    assert refusal(provider.exchange(pending)) == INVALID_GRANT


def test_a_token_ends_with_its_time(provider: Provider) -> None:
    """To the second: here it is this server that says so."""
    token = provider.tokens()["access_token"]
    provider.clock.advance(TTL)
    assert not provider.is_active(token)


def test_introspection_says_what_the_token_says(provider: Provider) -> None:
    """RFC 7662, section 2.2."""
    token = provider.tokens()["access_token"]
    said = provider.introspected(token)
    assert said == {"active": True, "token_type": "Bearer", **unverified(token)}


def test_a_refresh_token_is_told_to_its_client_alone(provider: Provider) -> None:
    """And is never of a type that an API would take; a used one is not active."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    said = provider.introspected(tokens["refresh_token"])
    assert said["active"] and said["client_id"] == "grafana" and "token_type" not in said
    assert said["scope"] == OFFLINE_SCOPE and said["exp"] > provider.now + 29 * 86400
    for client in ("other", "api"):
        assert provider.introspected(tokens["refresh_token"], client) == INACTIVE
    provider.refresh(tokens["refresh_token"])
    assert provider.introspected(tokens["refresh_token"]) == INACTIVE


def test_only_those_who_may_are_told_of_others_tokens(
    provider: Provider, logs: UnexpectedLogs
) -> None:
    """A stranger learns nothing, not even that there is such a token."""
    logs.expect("scanpush.oidc WARNING")
    token = provider.tokens()["access_token"]
    assert provider.introspected(token, "other") == INACTIVE
    assert provider.introspected(token, "api")["client_id"] == "grafana"
    assert refusal(provider.post("introspect", {"token": token})) == (401, "invalid_client")
    assert refusal(provider.post("introspect", {"token": token}, "app")) == (401, "invalid_client")


@pytest.mark.parametrize("scope", [SCOPE, OFFLINE_SCOPE])
def test_a_client_gives_its_tokens_up(provider: Provider, scope: str) -> None:
    """RFC 7009: 200, empty and of no type; a second time too. The browser stays logged in."""
    grant = provider.granted(scope=scope)
    tokens = provider.exchange(provider.code(grant)).json()
    for token in (tokens.get("refresh_token", tokens["access_token"]), "nonsense", ""):
        answer = provider.post("revoke", {"token": token, "token_type_hint": "any"}, "grafana")
        if token:
            assert (answer.status_code, answer.content) == (200, b"")
            assert "Content-Type" not in answer.headers
        else:
            assert refusal(answer) == (400, "invalid_request")
    assert not provider.is_active(tokens["access_token"])
    again = provider.exchange(provider.code(provider.granted(session=grant.session)))
    assert provider.is_active(again.json()["access_token"])


def test_an_access_token_given_up_takes_its_refresh_token_along(provider: Provider) -> None:
    """RFC 7009, section 2.1, allows it: both are one login."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    provider.post("revoke", {"token": tokens["access_token"]}, "grafana")
    assert refusal(provider.refresh(tokens["refresh_token"])) == INVALID_GRANT


def test_a_token_of_fewer_scopes_ends_with_its_refresh_token(provider: Provider) -> None:
    """Also where it does not say that there is one."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    narrow = provider.refresh(tokens["refresh_token"], scope="openid").json()
    assert narrow["scope"] == "openid" and provider.is_active(narrow["access_token"])
    provider.post("revoke", {"token": narrow["refresh_token"]}, "grafana")
    assert not provider.is_active(narrow["access_token"])


def test_a_ban_holds_though_sessions_outlived_it(provider: Provider) -> None:
    """As when the node that bans ends in between: no code, token or device brings anything."""
    user_id = provider.person()
    code, unused = (
        provider.code(provider.granted(user_id=user_id, scope=OFFLINE_SCOPE)) for _ in range(2)
    )
    tokens = provider.exchange(code).json()
    plain = provider.tokens(user_id=user_id)
    users = provider.stack.container.backend.users
    assert provider.do(users.ban(user_id, True, provider.now)) is not None
    assert refusal(provider.exchange(unused)) == INVALID_GRANT
    assert provider.introspected(tokens["refresh_token"]) == INACTIVE
    for one in (tokens, plain):
        assert not provider.is_active(one["access_token"])
        assert provider.introspected(one["access_token"], "api") == INACTIVE
    assert refusal(provider.refresh(tokens["refresh_token"])) == INVALID_GRANT


def test_no_client_ends_anothers_tokens(provider: Provider) -> None:
    """RFC 7009, section 2.1: it is refused."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    answer = provider.post("revoke", {"token": tokens["access_token"]}, "other")
    assert refusal(answer) == INVALID_GRANT
    provider.post("revoke", {"token": tokens["refresh_token"]}, "other")
    assert provider.is_active(tokens["access_token"])
    assert provider.refresh(tokens["refresh_token"]).status_code == 200


def test_a_public_client_gives_up_by_its_id(provider: Provider) -> None:
    """It has nothing else."""
    tokens = provider.tokens("app", scope=OFFLINE_SCOPE)
    answer = provider.post("revoke", {"token": tokens["refresh_token"]}, "app")
    assert answer.status_code == 200
    assert refusal(provider.refresh(tokens["refresh_token"], "app")) == INVALID_GRANT


# Userinfo


def test_userinfo_tells_the_profile(provider: Provider) -> None:
    """What the ID token tells, by GET and by POST."""
    tokens = provider.tokens(user_id=provider.person(name="Ann", email="ann@example.com"))
    said = provider.userinfo(tokens["access_token"])
    id_token = unverified(tokens["id_token"])
    names = ("sub", "name", "preferred_username", "email", "email_verified")
    assert said.json() == {name: id_token[name] for name in names}
    posted = provider.http.post("/oauth/userinfo", data={"access_token": tokens["access_token"]})
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert posted.json() == provider.http.post("/oauth/userinfo", headers=header).json()
    assert posted.json() == said.json() and said.headers["Cache-Control"] == "no-store"
    bare = provider.tokens(scope="openid")
    assert list(provider.userinfo(bare["access_token"]).json()) == ["sub"]


def test_userinfo_names_the_reason_in_its_header(provider: Provider) -> None:
    """RFC 6750, section 3: none where no token was shown."""
    missing = provider.http.get("/oauth/userinfo")
    assert refusal(missing) == (401, "invalid_token")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="scanpush"'
    wrong = provider.userinfo("nonsense")
    assert refusal(wrong) == (401, "invalid_token")
    assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]
    token = provider.tokens(scope="profile")["access_token"]
    narrow = provider.userinfo(token)
    assert refusal(narrow) == (403, "insufficient_scope")
    assert 'scope="openid"' in narrow.headers["WWW-Authenticate"]


def test_a_token_in_an_address_is_not_looked_at(provider: Provider) -> None:
    """RFC 9700, section 4.3.2; and two at once are one too many."""
    token = provider.tokens()["access_token"]
    in_address = provider.http.get("/oauth/userinfo", params={"access_token": token})
    assert refusal(in_address) == (401, "invalid_token")
    twice = provider.http.post(
        "/oauth/userinfo",
        data={"access_token": token},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert refusal(twice) == (400, "invalid_request")


def test_userinfo_keeps_the_subject_of_two_users_who_became_one(provider: Provider) -> None:
    """A client would take another subject for another person (OpenID Connect Core, 5.3.2)."""
    older, younger = provider.person(name="Ann"), provider.person()
    tokens = provider.tokens(user_id=younger, scope=OFFLINE_SCOPE)

    def join(db: Any) -> None:
        db.execute("UPDATE users SET alias_of = ? WHERE id = ?", (older, younger))

    provider.do(provider.stack.container.backend.database.write(join))
    said = provider.userinfo(tokens["access_token"]).json()
    assert (said["sub"], said["name"]) == (younger, "Ann")
    refreshed = provider.refresh(tokens["refresh_token"]).json()
    claims = unverified(refreshed["id_token"])
    assert (claims["sub"], claims["preferred_username"], claims["name"]) == (
        younger,
        younger,
        "Ann",
    )


# One sort of token is none of another


def test_tokens_for_clients_are_none_for_the_servers_own_api(provider: Provider) -> None:
    """RFC 8725, section 3.12."""
    tokens = provider.tokens(scope=OFFLINE_SCOPE)
    for name in ("access_token", "id_token", "refresh_token"):
        answer = provider.http.get("/api/me", headers={"Authorization": f"Bearer {tokens[name]}"})
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "unauthorized"


def test_the_servers_own_tokens_are_none_for_clients(provider: Provider) -> None:
    """Nor is an ID token one for userinfo."""
    issuer = provider.stack.container.issuer
    at = int(provider.now)
    own = {
        **{"iss": ISSUER, "aud": "scanpush", "sub": provider.person(), "jti": "x.1"},
        **{"iat": at, "nbf": at, "exp": at + 600, "account": "default", "amr": ["wechat"]},
        **{"client_id": "grafana", "scope": SCOPE, "sid": provider.browser(UserId("x"))},
    }
    for token in (issuer.sign(own, typ="JWT"), provider.tokens()["id_token"]):
        assert provider.userinfo(token).status_code == 401
        assert provider.introspected(token) == INACTIVE
        assert refusal(provider.refresh(token)) == INVALID_GRANT


def test_a_token_of_another_issuer_is_none(provider: Provider) -> None:
    """Also where it is signed with a key of this server, as after a change of its address."""
    claims = unverified(provider.tokens()["access_token"])
    changed = provider.stack.container.issuer.sign(
        {**claims, "iss": "https://old.test"}, typ="at+jwt"
    )
    assert not provider.is_active(changed)
    gone = provider.stack.container.issuer.sign({**claims, "client_id": "gone"}, typ="at+jwt")
    assert not provider.is_active(gone)


def test_nothing_is_stored_in_clear(provider: Provider) -> None:
    """Neither codes nor refresh tokens, used or not."""
    code, unused = (provider.code(provider.granted(scope=OFFLINE_SCOPE)) for _ in range(2))
    token = provider.exchange(code).json()["refresh_token"]
    dump = provider.do(
        provider.stack.container.backend.database.write(lambda db: "\n".join(db.iterdump()))
    )
    for secret in (code, unused, token):
        assert secret not in dump
    assert secret_hash(token).hex().upper() in dump.upper()


def test_the_log_says_why_a_client_gets_no_token(
    tmp_path_factory: pytest.TempPathFactory,
    logs: UnexpectedLogs,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once a minute which client has a wrong secret; the code of each error; never the secret."""
    logs.expect("scanpush.oidc WARNING")
    caplog.set_level(logging.DEBUG, "scanpush.oidc")
    provider = Provider(tmp_path_factory.mktemp("told"))
    try:
        for _ in range(2):
            sent = {"client_id": "grafana", "client_secret": "not-its-secret"}
            assert refusal(provider.post("token", sent)) == (401, "invalid_client")
        for sent, authorization in (
            ({"client_id": "tv"}, {}),
            ({"client_id": "app", "client_secret": "not-its-secret"}, {}),
            ({"client_id": "not-its-secret"}, {}),
            ({"client_id": "tv"}, {"Authorization": "Digest not-its-secret"}),
        ):
            assert provider.post("token", sent, **authorization).status_code == 401
        provider.exchange("no-such-code")
        provider.post("token", {"grant_type": "no-such-grant"}, "grafana")
        codes = provider.post("device_authorization", {"scope": "openid"}, "tv").json()
        device_grant = "urn:ietf:params:oauth:grant-type:device_code"
        poll = {"grant_type": device_grant, "device_code": codes["device_code"]}
        assert refusal(provider.post("token", poll, "tv")) == (400, "authorization_pending")
    finally:
        provider.close()
    records = [record for record in caplog.records if record.name == "scanpush.oidc"]
    assert [record.message for record in records if record.levelname == "WARNING"] == [
        "client grafana: wrong secret",
        "client tv: no secret",
        "client app: sent a secret, and is public",
        "no such client in oidc.clients",
        "a client authenticates by another method than client_secret_basic, client_secret_post, "
        "none",
    ]
    errors = [(record.levelname, record.error) for record in records if hasattr(record, "error")]
    assert errors == [
        ("INFO", "invalid_grant"),
        ("INFO", "unsupported_grant_type"),
        ("DEBUG", "authorization_pending"),
    ]
    assert not any("not-its-secret" in str(vars(record)) for record in records)


def test_without_sessions_there_is_no_offline_access(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Neither a refresh token nor the grant; tokens follow the browser session."""
    provider = Provider(tmp_path_factory.mktemp("off"), sessions={"refresh_ttl_seconds": 0})
    try:
        grant = provider.granted(scope=OFFLINE_SCOPE)
        tokens = provider.exchange(provider.code(grant)).json()
        assert "refresh_token" not in tokens and tokens["scope"] == SCOPE
        refused = provider.refresh("x")
        assert refusal(refused) == (400, "unsupported_grant_type")
        assert "sessions.refresh_ttl_seconds is 0" in refused.json()["error_description"]
        assert provider.is_active(tokens["access_token"])
        provider.end(grant.session)
        assert not provider.is_active(tokens["access_token"])
        said = provider.http.get("/.well-known/openid-configuration").json()
        assert "refresh_token" not in said["grant_types_supported"]
        assert "offline_access" not in said["scopes_supported"]
    finally:
        provider.close()


def test_the_address_of_the_app_is_its_own(provider: Provider) -> None:
    """A public client with PKCE, from the code to userinfo."""
    pkce = new_pkce()
    code = provider.code(provider.granted("app", code_challenge=pkce.challenge))
    tokens = provider.exchange(code, "app", code_verifier=pkce.verifier, redirect_uri=APP).json()
    assert provider.userinfo(tokens["access_token"]).status_code == 200
