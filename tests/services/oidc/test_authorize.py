"""Authorization requests as pure values: what is granted, what is refused, and where to."""

import pytest

from services.oidc.authorize import (
    Known,
    Parameters,
    Refused,
    Response,
    Unshown,
    form_action,
    granted,
    needs_login,
    parsed,
    refusal,
)
from services.oidc.clients import Clients
from services.settings.models import ClientSettings, OidcSettings
from tests.flows.oidc import CALLBACK, CHALLENGE, SHOP, WIKI, asking

CLIENTS = Clients(
    OidcSettings(
        clients={
            "wiki": ClientSettings.model_validate(WIKI),
            "shop": ClientSettings.model_validate(SHOP),
        }
    ),
    offline=True,
)


def request(client: str = "wiki", **changes: str | None) -> Parameters:
    return list(asking(client, **changes).items())


def test_a_request_keeps_what_the_client_may_have() -> None:
    """Unknown scopes and parameters without effect are left out."""
    asked = parsed(
        request(
            scope="profile openid stars",
            prompt="consent",
            max_age="60",
            display="popup",
            acr_values="2",
            claims="{}",
            login_hint="alice",
        ),
        CLIENTS,
    )
    assert asked.client == "wiki" and asked.redirect_uri == CALLBACK
    assert set(asked.scope.split()) == {"openid", "profile"}
    assert (asked.state, asked.nonce) == ("a state & more", "n-1")
    assert asked.code_challenge == CHALLENGE
    assert (asked.prompt, asked.max_age, asked.response_mode) == ("", 60, "query")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": ""},
        {"client_id": "nobody"},
        {"client_id": "shop"},
        {"redirect_uri": None},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?a=1"},
        {"redirect_uri": CALLBACK + "#top"},
        {"redirect_uri": "https://wiki.example.test/x/../cb"},
        {"redirect_uri": CALLBACK.replace("wiki", "WIKI")},
        {"redirect_uri": CALLBACK.replace("https", "http")},
        {"redirect_uri": CALLBACK.replace("/cb", ":443/cb")},
        {"redirect_uri": CALLBACK + "%00"},
        {"redirect_uri": "https://shop.example.test/cb"},
    ],
)
def test_what_names_no_client_or_no_address_of_it_is_sent_nowhere(
    changes: dict[str, str | None],
) -> None:
    """Redirect URIs are compared character by character."""
    with pytest.raises(Unshown):
        parsed(request(**changes), CLIENTS)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_an_address_that_is_given_twice_is_none(name: str) -> None:
    """Not even where both are the same."""
    once = request()
    with pytest.raises(Unshown):
        parsed([*once, (name, dict(once)[name])], CLIENTS)


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("request_not_supported", {"request": "eyJ"}),
        ("request_uri_not_supported", {"request_uri": "https://wiki.example.test/r"}),
        ("invalid_request", {"response_type": None}),
        ("unsupported_response_type", {"response_type": "token"}),
        ("unsupported_response_type", {"response_type": "code id_token"}),
        ("invalid_request", {"response_mode": "fragment"}),
        ("invalid_scope", {"scope": None}),
        ("invalid_scope", {"scope": "profile"}),
        ("invalid_scope", {"scope": "openid  \x01"}),
        ("invalid_request", {"code_challenge_method": "plain"}),
        ("invalid_request", {"code_challenge_method": None}),
        ("invalid_request", {"code_challenge": None}),
        ("invalid_request", {"code_challenge": "short"}),
        ("invalid_request", {"prompt": "none login"}),
        ("invalid_request", {"prompt": "create"}),
        ("invalid_request", {"max_age": "-1"}),
        ("invalid_request", {"max_age": "1.5"}),
        ("invalid_request", {"max_age": "١"}),
        ("invalid_request", {"nonce": "n" * 5000}),
    ],
)
def test_other_mistakes_go_back_to_the_client(error: str, changes: dict[str, str | None]) -> None:
    """With the state, and to the address that was asked for."""
    with pytest.raises(Refused) as refused:
        parsed(request(**changes), CLIENTS)
    assert (refused.value.error, refused.value.redirect_uri) == (error, CALLBACK)
    assert refused.value.state == "a state & more"


def test_a_parameter_may_come_once() -> None:
    """Of two states neither is sent back."""
    with pytest.raises(Refused) as refused:
        parsed([*request(), ("state", "another")], CLIENTS)
    assert (refused.value.error, refused.value.state) == ("invalid_request", "")
    with pytest.raises(Refused):
        parsed([*request(), ("display", "page"), ("display", "page")], CLIENTS)


def test_only_public_clients_must_use_pkce() -> None:
    """It is recommended to all."""
    without = {"code_challenge": None, "code_challenge_method": None}
    assert parsed(request(**without), CLIENTS).code_challenge == ""
    with pytest.raises(Refused) as refused:
        parsed(request("shop", **without), CLIENTS)
    assert refused.value.error == "invalid_request"


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("login", "login"),
        ("select_account", "login"),
        ("login consent", "login"),
        ("consent", ""),
        ("none", "none"),
        ("", ""),
    ],
)
def test_prompts(prompt: str, kept: str) -> None:
    """Choosing an account is logging in, and consent has no page of its own."""
    assert parsed(request(prompt=prompt), CLIENTS).prompt == kept


@pytest.mark.parametrize(
    ("changes", "known", "needs"),
    [
        ({}, None, True),
        ({}, Known(900, "official_account", True), False),
        ({}, Known(900, "official_account", False), True),
        ({}, Known(900, "website", True), True),
        ({}, Known(400, "official_account", True), True),
        ({"prompt": "login"}, Known(1000, "official_account", True), True),
        ({"max_age": "0"}, Known(1000, "official_account", True), True),
        ({"max_age": "100"}, Known(900, "official_account", True), True),
        ({"max_age": "101"}, Known(900, "official_account", True), False),
        ({"max_age": "9999"}, Known(400, "official_account", True), True),
    ],
)
def test_who_has_to_log_in(changes: dict[str, str], known: Known | None, needs: bool) -> None:
    """At 1000 s, with sessions of 600 s: time, person and login kind decide."""
    wiki = CLIENTS.get("wiki")
    assert wiki is not None
    asked = parsed(request(**changes), CLIENTS)
    assert needs_login(asked, known, wiki, 1000, session_ttl_seconds=600) is needs


def test_an_answer_leaves_the_redirect_uri_as_it_is() -> None:
    """A query of its own stays in front."""
    response = Response("https://x.test/cb?tenant=1", "query", {"code": "a b"})
    assert response.address == "https://x.test/cb?tenant=1&code=a+b"
    assert Response("https://x.test/cb?", "query", {"a": "1"}).address == "https://x.test/cb?a=1"
    assert Response("com.example.app:/cb", "query", {"a": "1"}).address == "com.example.app:/cb?a=1"


def test_every_answer_names_its_issuer() -> None:
    """RFC 9207; without a state there is none."""
    asked = parsed(request(state=None), CLIENTS)
    assert granted(asked, "c", "https://op").fields == {"code": "c", "iss": "https://op"}
    refused = refusal(Refused("access_denied", "no", CALLBACK, "form_post", "s"), "https://op")
    assert refused.mode == "form_post" and refused.fields["iss"] == "https://op"
    assert (refused.fields["error"], refused.fields["state"]) == ("access_denied", "s")


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://x.test/cb?tenant=1", "https://x.test/cb"),
        ("https://x.test/a;b,c", "https://x.test/a%3Bb%2Cc"),
        ("http://127.0.0.1:8000/cb", "http://127.0.0.1:8000/cb"),
        ("com.example.app:/cb", "com.example.app:"),
    ],
)
def test_a_policy_names_the_redirect_uri_alone(uri: str, source: str) -> None:
    """Nothing in it ends the directive."""
    assert form_action(uri) == source
