"""The status document: an allow-list of what a page may know."""

import json
from typing import Any

import pytest

from services.clock import SystemClock
from services.ids import OpenId, SceneStr, UserId
from services.scenes import status
from services.scenes.login import LoginService
from services.scenes.states import Scene, State
from services.tokens.claims import Claims
from tests.contracts.scenes import a_scene

NOW = 1_700_000_000.0
SCENE = a_scene(
    NOW,
    life=59.2,
    scene_str=SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
    watch_hash=b"w" * 32,
    begin_hash=b"b" * 32,
    openid=OpenId("o" + "x" * 27),
    user_id=UserId("user"),
    claims=Claims("jti", int(NOW), int(NOW) + 7200, True),
    details={"name": "张三丰", "avatar": "https://a/", "qr_content": "http://q", "qr_ticket": "gQ"},
)


def document(scene: Scene, now: float = NOW) -> dict[str, object]:
    return status.document(scene, now, lambda _scene, _purpose: "signed.now")


@pytest.mark.parametrize("state", list(State))
def test_nothing_of_the_store_shows(state: State) -> None:
    """Neither hashes nor openid nor the code's ticket, in any state."""
    text = json.dumps(document(SCENE._replace(state=state, error="try_again")))
    for secret in (SCENE.openid, "gQ", "http://q", "wwww", "bbbb", "jti"):
        assert str(secret) not in text


@pytest.mark.parametrize("state", list(State))
def test_only_authorized_has_a_token(state: State) -> None:
    """And is the only one for which anything is signed."""
    assert ("login" in document(SCENE._replace(state=state))) is (state is State.AUTHORIZED)


@pytest.mark.parametrize(
    ("state", "name", "avatar"),
    [
        (State.SCANNED, "张**", ""),
        (State.CONFIRMING, "张**", ""),
        (State.REGISTERING, "张**", ""),
        (State.AUTHORIZED, "张三丰", "https://a/"),
        (State.CONSUMED, "张三丰", "https://a/"),
        (State.FAILED, "张**", ""),
    ],
)
def test_names_are_masked_until_the_login(state: State, name: str, avatar: str) -> None:
    """A screen in public shows no more than the first character."""
    assert document(SCENE._replace(state=state))["user"] == {"name": name, "avatar": avatar}


def test_without_a_name_there_is_no_user() -> None:
    """WeChat tells no names any more unless the person allows it."""
    assert "user" not in document(SCENE._replace(details={}))


@pytest.mark.parametrize(
    ("later", "left"), [(0, 60), (0.2, 59), (58.3, 1), (59.2, 0), (60, 0), (-5, 65)]
)
def test_remaining_seconds_are_whole_and_never_negative(later: float, left: int) -> None:
    """Rounded up, so that a page never counts down to zero too early."""
    assert document(SCENE, NOW + later)["expires_in"] == left


def test_final_states_have_no_time_left() -> None:
    """Their readability is no life."""
    assert document(SCENE._replace(state=State.CONSUMED))["expires_in"] == 0


def test_a_failure_says_why() -> None:
    """A code for programs, a sentence for people; unknown codes have one, too."""
    failed = SCENE._replace(state=State.FAILED)
    assert document(failed._replace(error="try_again"))["error"]["code"] == "try_again"
    assert document(failed._replace(error="of the future"))["error"]["message"]


def test_a_kiosk_gets_its_exchange_code_instead() -> None:
    """The token goes to the site's server, never to the screen."""
    scene = SCENE._replace(state=State.AUTHORIZED, details={**SCENE.details, "kiosk": "lobby3"})
    body = document(scene)
    assert body["exchange_code"] == "signed.now" and "login" not in body


@pytest.mark.parametrize("state", [State.AUTHORIZED, State.CONSUMED])
def test_a_kiosk_never_shows_a_whole_name(state: State) -> None:
    """Its screen hangs where everybody passes by."""
    scene = SCENE._replace(state=state, details={**SCENE.details, "kiosk": "lobby3"})
    assert document(scene)["user"] == {"name": "张**", "avatar": ""}


def test_a_stranger_is_asked_for_the_configured_fields() -> None:
    """With the token that the form is sent with."""
    details = {"register_fields": "name phone"}
    body = document(SCENE._replace(state=State.REGISTERING, details=details))
    assert body["registration_token"] == "signed.now"
    assert body["register_fields"] == ["name", "phone"]


def test_a_token_that_is_over_has_no_negative_life() -> None:
    """Claims are fixed; the seconds are counted at delivery."""
    scene = SCENE._replace(state=State.AUTHORIZED, ends_at=NOW + 9000)
    assert document(scene, NOW + 8000)["login"]["expires_in"] == 0


def test_documents_are_compact_utf_8() -> None:
    """One frame, no escapes."""
    unused: Any = None
    login = LoginService(
        *(unused, unused, unused, unused, SystemClock(), unused),
        amr=(),
        collect_ttl_seconds=60,
        token_ttl_seconds=7200,
    )
    encoded = login.document(SCENE._replace(state=State.CONSUMED))
    assert encoded.startswith(b'{"type":"status","scene_str":"3f2504e0')
    assert '"user":{"name":"张三丰","avatar":"https://a/"}'.encode() in encoded
