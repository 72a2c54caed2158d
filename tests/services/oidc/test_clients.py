"""services.oidc.clients: who a client is, and how it proves that."""

import base64
from typing import Any
from urllib.parse import quote_plus

import pytest

from services.errors import OAuthError
from services.oidc.clients import CHALLENGE, Clients
from services.settings.models import OidcSettings
from tests.conftest import UnexpectedLogs

HARD = "p+q %/:&=ä".encode().hex() + "+%2F:/=&"
SETTINGS = OidcSettings.model_validate(
    {
        "clients": {
            "web": {
                "secret": HARD,
                "redirect_uris": ["https://web.test/cb"],
                "origins": ["https://secret.test"],
            },
            "app": {
                "public": True,
                "redirect_uris": ["https://app.test:8443/cb", "com.example.app:/cb"],
            },
            "page": {"public": True, "origins": ["https://page.test"]},
        }
    }
)
CLIENTS = Clients(SETTINGS, offline=True)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def refused(authorization: str, form: dict[str, str]) -> OAuthError:
    with pytest.raises(OAuthError) as caught:
        CLIENTS.authenticate(authorization, form)
    assert HARD not in caught.value.description
    return caught.value


@pytest.mark.parametrize(
    ("authorization", "form"),
    [
        (basic(f"web:{quote_plus(HARD)}"), {}),
        (basic(f"web:{HARD}"), {}),
        (basic(f"web:{quote_plus(HARD)}"), {"client_id": "web"}),
        ("basic " + basic(f"web:{quote_plus(HARD)}").split()[1], {}),
        ("", {"client_id": "web", "client_secret": HARD}),
    ],
    ids=["encoded", "as it is", "with its id", "lower case", "post"],
)
def test_a_secret_in_either_place_proves_a_client(authorization: str, form: Any) -> None:
    """RFC 6749, section 2.3.1; in the header also unencoded, as many clients send it."""
    assert CLIENTS.authenticate(authorization, form).id == "web"


@pytest.mark.parametrize("authorization", ["", basic("app:")], ids=["id alone", "empty secret"])
def test_a_public_client_names_itself(authorization: str) -> None:
    """It has nothing to prove."""
    form = {} if authorization else {"client_id": "app"}
    assert CLIENTS.authenticate(authorization, form).public


@pytest.mark.parametrize(
    ("authorization", "form"),
    [
        ("", {}),
        ("", {"client_id": "web"}),
        ("", {"client_id": "web", "client_secret": "wrong"}),
        ("", {"client_id": "nobody", "client_secret": HARD}),
        ("", {"client_id": "app", "client_secret": HARD}),
        ("", {"client_id": "app", "client_assertion": "eyJ"}),
        (basic("web:"), {}),
        (basic("web:wrong"), {}),
        (basic(f"app:{HARD}"), {}),
        (basic("web"), {}),
        (basic(""), {}),
        ("Basic", {}),
        ("Basic !!", {}),
        ("Basic /w==", {}),
        ("Bearer eyJ", {"client_id": "app"}),
        (f"Digest {HARD}", {"client_id": "web", "client_secret": HARD}),
    ],
)
def test_everything_else_is_an_invalid_client(
    authorization: str, form: Any, logs: UnexpectedLogs
) -> None:
    """Always with the same words, and with a challenge where a header was sent (section 5.2)."""
    logs.expect("scanpush.oidc WARNING")
    error = refused(authorization, form)
    assert (error.code, error.status) == ("invalid_client", 401)
    assert error.challenge == (CHALLENGE if authorization else "")


@pytest.mark.parametrize(
    "form",
    [{"client_secret": HARD}, {"client_id": "app"}, {"client_assertion": "eyJ"}],
    ids=["two secrets", "two ids", "two methods"],
)
def test_two_methods_at_once_are_an_invalid_request(form: dict[str, str]) -> None:
    """RFC 6749, section 2.3."""
    assert refused(basic(f"web:{quote_plus(HARD)}"), form).code == "invalid_request"


def test_only_pages_of_public_clients_may_call() -> None:
    """Those that are listed, else those of their redirect URIs; an app has no page."""
    assert CLIENTS.origins == {"https://app.test:8443", "https://page.test"}


def test_a_client_is_granted_what_its_settings_allow() -> None:
    """Unknown scopes are ignored, and without sessions there is no offline access."""
    asked = "offline_access email openid  profile openid"
    (web,) = [client for client in CLIENTS if client.id == "web"]
    assert web.granted(asked) == "openid profile offline_access"
    assert web.granted("email") == ""
    online = Clients(SETTINGS, offline=False).get("web")
    assert online is not None and online.granted(asked) == "openid profile"
