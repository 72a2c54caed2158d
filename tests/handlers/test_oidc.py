"""The OpenID Provider's routes for clients: discovery, keys, CORS, and the form of refusals."""

import base64
from pathlib import Path

import httpx
import pytest
from authlib.oidc.discovery import OpenIDProviderMetadata
from authlib.oidc.rpinitiated import OpenIDProviderMetadata as LogoutMetadata

from tests.conftest import UnexpectedLogs
from tests.handlers.answers import error_of, parsed
from tests.handlers.openid import ISSUER, Provider, refusal, stack
from tests.handlers.running import Running
from tests.stack import ON_LOOP, early_in_a_minute

PAGE = {"Origin": "https://app.test"}
FOREIGN = {"Origin": "https://evil.test"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATHS = ("token", "userinfo", "revoke", "introspect")


def test_discovery_says_what_there_is(provider: Provider) -> None:
    """What Authlib holds for a valid document, and what clients decide by."""
    answer = provider.http.get("/.well-known/openid-configuration")
    said = answer.json()
    document = OpenIDProviderMetadata(said)
    document.validate(metadata_classes=[LogoutMetadata])
    assert said["issuer"] == ISSUER
    assert all(
        said[name].startswith(f"{ISSUER}/oauth/")
        for name in said
        if "endpoint" in name and isinstance(said[name], str)
    )
    assert said["response_types_supported"] == ["code"]
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["response_modes_supported"] == ["query", "form_post"]
    assert said["id_token_signing_alg_values_supported"] == ["EdDSA", "RS256"]
    assert said["request_uri_parameter_supported"] is False
    assert said["authorization_response_iss_parameter_supported"] is True
    assert said["backchannel_logout_supported"] and said["backchannel_logout_session_supported"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "public, max-age=300"


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/oauth/jwks"])
def test_what_is_public_is_for_every_page(provider: Provider, path: str) -> None:
    """Of any origin, with a preflight or without."""
    for answer in (
        provider.http.get(path, headers=FOREIGN),
        provider.http.head(path, headers=FOREIGN),
        provider.http.options(path, headers=FOREIGN),
    ):
        assert answer.is_success and answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_keys_are_the_same_at_both_addresses(provider: Provider) -> None:
    """Those of login tokens and those of ID tokens."""
    keys = provider.http.get("/oauth/jwks").json()["keys"]
    assert keys == provider.http.get("/.well-known/jwks.json").json()["keys"]
    assert {key["alg"] for key in keys} == {"ES256", "EdDSA", "RS256"}
    assert all("d" not in key for key in keys)


def test_a_slash_too_many_is_told(provider: Provider) -> None:
    """As it is for the server's other addresses."""
    answer = provider.http.post("/oauth/token/", data={"a": "b"})
    assert answer.status_code == 404
    assert "without the slash at the end there is" in error_of(answer)["message"]


def test_without_clients_there_is_no_provider(server: Running) -> None:
    """Every address is unknown, and answers as every unknown address does."""
    for path in ("/.well-known/openid-configuration", *(f"/oauth/{one}" for one in PATHS)):
        for answer in (server.http.get(path), server.http.post(path, data={"a": "b"})):
            assert error_of(answer)["code"] == "not_found"
    assert error_of(server.http.get("/oauth/jwks"))["code"] == "not_found"
    assert len(server.http.get("/.well-known/jwks.json").json()["keys"]) == 1


@pytest.mark.parametrize("path", ["token", "userinfo", "revoke"])
def test_pages_of_public_clients_may_call(
    provider: Provider, path: str, logs: UnexpectedLogs
) -> None:
    """Preflight, refusal and answer carry the headers by which the page may read them."""
    logs.expect("scanpush.oidc WARNING")
    preflight = provider.http.options(f"/oauth/{path}", headers=PAGE)
    assert preflight.status_code == 204
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    refused = provider.post(path, {"a": "b"}, **PAGE)
    for answer in (preflight, refused):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]
        assert answer.headers["Vary"] == "Origin"
    assert refused.status_code == 401
    other = provider.http.options(f"/oauth/{path}", headers=FOREIGN)
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_page_of_a_public_client_reads_its_answers(provider: Provider) -> None:
    """From tokens over userinfo to their end."""
    tokens = provider.tokens("app", scope="openid offline_access")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answers = [
        provider.http.get("/oauth/userinfo", headers={**PAGE, **bearer}),
        provider.post(
            "token",
            {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
            "app",
            **PAGE,
        ),
        provider.post("revoke", {"token": tokens["access_token"]}, "app", **PAGE),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE["Origin"]


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://app.test"])
def test_other_pages_may_not(provider: Provider, path: str, origin: str) -> None:
    """Whatever they know; no page asks for an introspection from elsewhere."""
    answer = provider.post(path, {"token": "x"}, "grafana", Origin=origin)
    assert refusal(answer) == (403, "invalid_request")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_servers_own_pages_may(provider: Provider) -> None:
    """Its origin is that of its public address."""
    answer = provider.post("introspect", {"token": "x"}, "grafana", Origin=ISSUER)
    assert answer.json() == {"active": False}


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", FORM | {"Content-Type": "application/json"}),
        (b'{"grant_type": "authorization_code"}', {"Content-Type": "application/json"}),
        (b"grant_type=a", {}),
        (b"token=a&token=a", FORM),
        (b"token=a&token=", FORM),
        (b"client_id=grafana&client_id=other&token=a", FORM),
        (b"token=%ff", FORM),
        (b"token=\xff", FORM),
        (b"&".join(b"a%d=1" % n for n in range(100)), FORM),
    ],
    ids=[
        "json",
        "json body",
        "no type",
        "twice",
        "empty twice",
        "two clients",
        "utf-8",
        "bytes",
        "many",
    ],
)
def test_a_malformed_body_is_an_invalid_request(
    provider: Provider, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """Before anything else is looked at."""
    answer = provider.http.post(f"/oauth/{path}", content=body, headers=headers)
    assert refusal(answer) == (400, "invalid_request")


@pytest.mark.parametrize("path", PATHS)
def test_the_http_layer_refuses_in_oauths_form(provider: Provider, path: str) -> None:
    """A method that is none here, a body too large, a header that is none."""
    answer = provider.http.put(f"/oauth/{path}", content=b"x")
    assert refusal(answer) == (405, "invalid_request") and "POST" in answer.headers["Allow"]
    big = provider.http.post(f"/oauth/{path}", content=b"a=" + b"x" * 70_000, headers=FORM)
    assert refusal(big) == (413, "invalid_request")
    for more in (b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Host: b\r\n"):
        raw = b"POST /oauth/%b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), more)
        assert refusal(parsed(provider.raw(raw))) == (400, "invalid_request")
    host = provider.http.post(f"/oauth/{path}", headers={"Host": "a" * 300})
    assert refusal(host) == (400, "invalid_request")


def test_other_addresses_keep_the_servers_own_form(provider: Provider) -> None:
    """Also those below /oauth/ that are WeChat's."""
    for path in ("/api/me", "/oauth/wechat/start", "/oauth/tokens", "/oauth/token/x"):
        answer = provider.http.put(path, content=b"x" * 70_000)
        assert error_of(answer)["code"] == "too_large"


@ON_LOOP
async def test_a_store_that_is_away_is_told_in_oauths_form(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """503 with a time to come back, never a refusal for good."""
    logs.expect("store_unavailable")
    async with stack(tmp_path, faulty=True) as running:
        running.scenes.refuse("recall")
        secret = ("grafana", "a-secret-of-0123456789")
        form = {"grant_type": "authorization_code", "code": "x", "redirect_uri": "y"}
        answer = await running.http.post("/oauth/token", data=form, auth=secret)
        assert refusal(answer) == (503, "temporarily_unavailable")
        assert answer.headers["Retry-After"] == "2"


@ON_LOOP
async def test_a_flood_of_forged_refresh_tokens_is_slowed_down(tmp_path: Path) -> None:
    """429 in OAuth's form, with a time to come back."""
    limits = {"scenes_per_minute_per_address": 1}
    async with stack(tmp_path, early_in_a_minute(), limits=limits) as running:
        forged = base64.urlsafe_b64encode(b"\1" + b"i" * 16 + b"\0\0\0\1" + b"m" * 32)
        form = {"grant_type": "refresh_token", "refresh_token": forged.decode().rstrip("=")}
        answers = set()
        while (429, "slow_down") not in answers and len(answers) < 3:
            auth = ("grafana", "a-secret-of-0123456789")
            answer = await running.http.post("/oauth/token", data=form, auth=auth)
            answers.add(refusal(answer))
        assert answers == {(400, "invalid_grant"), (429, "slow_down")}
        assert int(answer.headers["Retry-After"]) > 0


def test_the_plain_path_answers_alike(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Without the hot route, as over Tornado's own connections."""
    logs.expect("scanpush.oidc WARNING")
    running = Running(lambda: stack(tmp_path, tornado=True))
    try:
        for form, expected in (({}, "invalid_client"), ({"client_id": "app"}, "invalid_request")):
            answer: httpx.Response = running.http.post("/oauth/token", data={"a": "b", **form})
            assert answer.json()["error"] == expected
            assert answer.headers["Cache-Control"] == "no-store"
    finally:
        running.close()
