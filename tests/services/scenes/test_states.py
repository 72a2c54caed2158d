"""The state machine, held to the table of docs/contract.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import OpenId, UserId
from services.scenes.states import (
    FIELDS,
    FINAL,
    FINAL_READABLE_SECONDS,
    NEXT,
    OWED_SECONDS,
    SCANNED_AT_LEAST_SECONDS,
    Kind,
    Move,
    Scene,
    State,
    Verdict,
    apply,
    restored,
    settle,
    stored,
)
from services.tokens.claims import Claims
from tests.contracts import scenes

NOW = 1_000_000.0
ALICE = OpenId("oAlice")
BOB = OpenId("oBob")
ANY = frozenset(State)


def a_scene(state: State = State.WAITING, **changes: object) -> Scene:
    return scenes.a_scene(NOW, state=state, **changes)


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("target", State)
def test_only_the_table_moves(start: State, target: State) -> None:
    """Of all hundred pairs of states exactly those of the table are moves."""
    step = apply(a_scene(start), Move(target, ANY), NOW)
    if start is target:
        assert step.verdict is Verdict.REPEATED
    else:
        assert (step.verdict is Verdict.MOVED) == (target in NEXT[start])


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_states_never_move(state: State) -> None:
    """Nothing leads out of a final state."""
    assert not NEXT[state]


def test_each_change_raises_seq_by_one() -> None:
    """A page can tell newer from older by seq alone."""
    step = apply(a_scene(seq=4), Move(State.SCANNED, ANY, openid=ALICE), NOW)
    assert step.scene is not None and step.scene.seq == 5


def test_the_first_openid_claims_the_scene() -> None:
    """The person who scans first owns the scene, and a second person changes nothing."""
    first = apply(a_scene(), Move(State.SCANNED, ANY, openid=ALICE), NOW)
    assert first.scene is not None and first.scene.openid == ALICE
    second = apply(first.scene, Move(State.SCANNED, ANY, openid=BOB), NOW)
    assert second.verdict is Verdict.REFUSED and second.scene == first.scene


@pytest.mark.parametrize("state", [State.SCANNED, State.AUTHORIZED, State.CONSUMED])
def test_the_claimants_scan_again_is_a_repeat(state: State) -> None:
    """A retried callback ends where the first one did."""
    scene = a_scene(state, openid=ALICE)
    step = apply(scene, Move(State.SCANNED, frozenset({State.WAITING}), openid=ALICE), NOW)
    assert step.verdict is Verdict.REPEATED and step.scene == scene


@pytest.mark.parametrize("state", [State.EXPIRED, State.CANCELLED, State.DENIED, State.FAILED])
def test_the_claimants_scan_after_an_unhappy_end_is_refused(state: State) -> None:
    """No person is told "logged in" about a scene that ended otherwise."""
    step = apply(a_scene(state, openid=ALICE), Move(State.SCANNED, ANY, openid=ALICE), NOW)
    assert step.verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    "move",
    [
        Move(State.SCANNED, ANY, account="other"),
        Move(State.SCANNED, ANY, kind=Kind.WEB),
        Move(State.SCANNED, ANY, seq=2),
        Move(State.SCANNED, frozenset({State.CONFIRMING})),
    ],
    ids=["account", "kind", "seq", "source"],
)
def test_every_condition_must_hold(move: Move) -> None:
    """A move with one unmet condition changes nothing."""
    scene = a_scene()
    step = apply(scene, move, NOW)
    assert step.verdict is Verdict.REFUSED and step.scene == scene


def test_an_unknown_scene_is_said_to_be_unknown() -> None:
    """No scene is no error, only a verdict."""
    assert apply(None, Move(State.SCANNED, ANY), NOW).verdict is Verdict.UNKNOWN


def test_a_late_scan_finds_the_scene_expired() -> None:
    """Time comes before the move: a scan at the very end is too late."""
    step = apply(a_scene(), Move(State.SCANNED, ANY, openid=ALICE), NOW + 180)
    assert step.verdict is Verdict.REFUSED
    assert step.scene is not None and step.scene.state is State.EXPIRED


def test_a_scan_leaves_at_least_half_a_minute() -> None:
    """A scan just before the end still has time to become a login."""
    step = apply(a_scene(), Move(State.SCANNED, ANY), NOW + 179)
    assert step.scene is not None
    assert step.scene.ends_at == NOW + 179 + SCANNED_AT_LEAST_SECONDS


def test_an_early_scan_keeps_the_longer_life() -> None:
    """A person who must still decide keeps the time that the code had."""
    step = apply(a_scene(), Move(State.SCANNED, ANY), NOW + 1)
    assert step.scene is not None and step.scene.ends_at == NOW + 180


def test_an_owed_login_fails_after_its_time() -> None:
    """A claim whose login never came ends in failed, try_again, not in expired."""
    step = apply(a_scene(), Move(State.SCANNED, ANY, owed=True), NOW)
    assert step.scene is not None and step.scene.ends_at == NOW + OWED_SECONDS
    late = settle(step.scene, NOW + OWED_SECONDS)
    assert late is not None and (late.state, late.error) == (State.FAILED, "try_again")


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (State.WAITING, State.EXPIRED),
        (State.SCANNED, State.EXPIRED),
        (State.CONFIRMING, State.DENIED),
        (State.REGISTERING, State.EXPIRED),
        (State.AUTHORIZED, State.EXPIRED),
    ],
)
def test_time_alone_ends_every_open_state(state: State, end: State) -> None:
    """A reader after the end sees the end, written down or not, with the next seq."""
    scene = settle(a_scene(state), NOW + 180)
    assert scene is not None and (scene.state, scene.seq) == (end, 2)


def test_settling_twice_changes_nothing() -> None:
    """Every reader at every later time sees the same end and the same seq."""
    once = settle(a_scene(), NOW + 181)
    assert once is not None and settle(once, NOW + 200) == once


def test_a_final_state_is_readable_for_a_minute() -> None:
    """A page that comes back late still learns the end; then the scene is forgotten."""
    scene = a_scene(State.CONSUMED, ends_at=NOW + FINAL_READABLE_SECONDS)
    assert settle(scene, NOW + FINAL_READABLE_SECONDS - 1) == scene
    assert settle(scene, NOW + FINAL_READABLE_SECONDS) is None


def test_claims_are_fixed_when_authorized() -> None:
    """The token's times are the store's at that moment, whole seconds, and never change."""
    move = Move(
        State.AUTHORIZED,
        ANY,
        life_seconds=60,
        user_id=UserId("u1"),
        jti="j1",
        is_new=True,
        token_ttl_seconds=7200,
    )
    step = apply(a_scene(State.SCANNED), move, NOW + 0.7)
    assert step.scene is not None
    assert step.scene.claims == Claims("j1", int(NOW), int(NOW) + 7200, True)
    acked = apply(step.scene, Move(State.CONSUMED, ANY, seq=2), NOW + 30)
    assert acked.scene is not None and acked.scene.claims == step.scene.claims


def test_details_are_merged() -> None:
    """A move adds what it learned and keeps the rest."""
    scene = a_scene(details={"qr_content": "u", "name": "old"})
    step = apply(scene, Move(State.SCANNED, ANY, details={"name": "new"}), NOW)
    assert step.scene is not None
    assert step.scene.details == {"qr_content": "u", "name": "new"}


# How stores keep a scene.

SCENES = st.builds(
    Scene,
    state=st.sampled_from(State),
    kind=st.sampled_from(Kind),
    begin_hash=...,
    openid=...,
    user_id=...,
    claims=st.none() | st.builds(Claims),
    owed=...,
    error=...,
    details=st.dictionaries(st.text(), st.text()),
)


@given(SCENES)
def test_a_stored_scene_comes_back_as_it_was(scene: Scene) -> None:
    """Types included: an enum is no text, a bool no number."""
    back = restored(stored(scene))
    assert back == scene
    assert [type(value) for value in back] == [type(value) for value in scene]
    assert back.claims is None or type(back.claims.is_new) is bool


@given(SCENES)
def test_stores_get_plain_values_only(scene: Scene) -> None:
    """What sqlite3 needs no adapter for; None only where a field may be missing."""
    *values, details = stored(scene)
    assert details == scene.details
    for field, value in zip(FIELDS, values, strict=True):
        assert type(value) in (str, int, float, bytes) or value is None and field.optional


def test_every_field_of_a_scene_is_stored_in_its_place() -> None:
    """The claims as their own fields, and the details behind all others."""
    names = [name for name in Scene._fields if name != "details"]
    at = names.index("claims")
    names[at : at + 1] = Claims._fields
    assert [field.name for field in FIELDS] == names
