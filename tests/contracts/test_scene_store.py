"""What every `SceneStore` promises about scenes and their moves (services/scenes/store.py)."""

import asyncio
import uuid
from collections import Counter

import pytest

from services.ids import OpenId, SceneStr
from services.scenes.states import FINAL_READABLE_SECONDS, Kind, Move, State, Verdict
from tests.contracts.benches import SceneBench, eventually
from tests.contracts.scenes import ANN, BOB, SCANNED, WAITING, a_scene, alike, authorize, claim

# Reading and writing.


@pytest.mark.gen_test
async def test_what_was_created_is_read_back(scenes: SceneBench) -> None:
    """Every field comes back as it was given, also strange bytes and texts."""
    store = scenes.store()
    details = {"code": "http://weixin.qq.com/q/02", "名": "张三\n\u2028\x00", "empty": ""}
    stored = await store.create(
        a_scene(scenes.clock.now(), details=details, lang="en", account="second")
    )
    assert alike(await store.get(stored.scene_str), stored)


@pytest.mark.gen_test
async def test_an_unknown_scene_is_none(scenes: SceneBench) -> None:
    """Reading, moving, attaching and detaching what does not exist are no errors."""
    store, unknown = scenes.store(), SceneStr(str(uuid.uuid4()))
    assert await store.get(unknown) is None
    assert (await store.advance(unknown, claim())).verdict is Verdict.UNKNOWN
    assert await store.attach(unknown, "a", 1, b"w" * 32) is None
    assert await store.reattach(unknown, "a", 1, 0) is None
    await store.detach(unknown, "a", 1)
    assert await store.get(unknown) is None


@pytest.mark.gen_test
async def test_what_is_read_without_waiting_is_what_is_stored(scenes: SceneBench) -> None:
    """Reading and attaching without waiting say the same as with it, or nothing."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim())
    now = await store.get(scene.scene_str)
    attached = store.attach_nowait(scene.scene_str, "a", 1, scene.watch_hash)
    assert store.get_nowait(scene.scene_str, 2) in (None, now) and attached in (None, now)
    assert store.attach_nowait(scene.scene_str, "a", 2, bytes(32)) is None
    assert store.get_nowait(SceneStr(str(uuid.uuid4())), 0) is None


@pytest.mark.gen_test
async def test_a_created_scene_keeps_its_life(scenes: SceneBench) -> None:
    """Whatever clock the caller has, the stored scene lives as long as was asked."""
    scene = a_scene(scenes.clock.now(), life=17)
    stored = await scenes.store().create(scene)
    assert stored.ends_at - stored.created_at == pytest.approx(17, abs=0.001)
    assert stored.changed_at == stored.created_at


@pytest.mark.gen_test
async def test_a_complete_login_keeps_its_claims(scenes: SceneBench) -> None:
    """Scanned, authorized, consumed: the claims are fixed once, by the store's clock."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    scanned = (await store.advance(scene.scene_str, claim())).scene
    step = await store.advance(scene.scene_str, authorize())
    assert scanned is not None and scanned.owed and scanned.openid == ANN and scanned.seq == 2
    assert step.verdict is Verdict.MOVED and step.scene is not None
    claims = step.scene.claims
    assert claims is not None and (claims.jti, claims.is_new) == ("jti-1", True)
    assert claims.iat == int(step.now) and claims.exp == claims.iat + 7200
    assert not step.scene.owed and step.scene.user_id == "user-1" and step.scene.seq == 3
    consumed = Move(State.CONSUMED, frozenset({State.AUTHORIZED}), seq=3)
    await store.advance(scene.scene_str, consumed)
    after = await store.get(scene.scene_str)
    assert after is not None and after.state is State.CONSUMED and after.claims == claims


@pytest.mark.gen_test
async def test_details_are_merged(scenes: SceneBench) -> None:
    """A move adds to the details of a scene and replaces those of the same name."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), details={"ticket": "t", "name": "old"}))
    move = claim()._replace(details={"name": "新", "avatar": ""})
    step = await store.advance(scene.scene_str, move)
    assert step.scene is not None
    assert step.scene.details == {"ticket": "t", "name": "新", "avatar": ""}
    read = await store.get(scene.scene_str)
    assert read is not None and read.details == step.scene.details


@pytest.mark.gen_test
async def test_a_failed_scene_names_its_error(scenes: SceneBench) -> None:
    """`failed` carries the error for the page."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, Move(State.FAILED, WAITING, error="try_again"))
    read = await store.get(scene.scene_str)
    assert read is not None and (read.state, read.error) == (State.FAILED, "try_again")


# Conditions.

REFUSED_MOVES = {
    "another account": claim()._replace(account="second"),
    "another kind": claim()._replace(kind=Kind.WEB),
    "another state": claim()._replace(sources=SCANNED),
    "another seq": claim()._replace(seq=2),
    "no such way": Move(State.CONSUMED, frozenset(State)),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("move", REFUSED_MOVES.values(), ids=REFUSED_MOVES.keys())
async def test_a_condition_that_does_not_hold_changes_nothing(
    scenes: SceneBench, move: Move
) -> None:
    """The scene is returned as it was, and stays so."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    step = await store.advance(scene.scene_str, move)
    assert step.verdict is Verdict.REFUSED and alike(step.scene, scene)
    assert alike(await store.get(scene.scene_str), scene)


@pytest.mark.gen_test
async def test_a_second_person_changes_nothing(scenes: SceneBench) -> None:
    """The first openid claims; another is refused, whatever it asks."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim(ANN))
    assert (await store.advance(scene.scene_str, claim(BOB))).verdict is Verdict.REFUSED
    assert (await store.advance(scene.scene_str, authorize(BOB))).verdict is Verdict.REFUSED
    read = await store.get(scene.scene_str)
    assert read is not None and (read.openid, read.seq) == (ANN, 2)


@pytest.mark.gen_test
async def test_the_claimant_repeats(scenes: SceneBench) -> None:
    """The same move again, or an earlier one, is REPEATED and brings the scene as it is."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim())
    first = await store.advance(scene.scene_str, authorize())
    again = await store.advance(scene.scene_str, authorize())
    earlier = await store.advance(scene.scene_str, claim())
    assert (again.verdict, earlier.verdict) == (Verdict.REPEATED, Verdict.REPEATED)
    assert alike(again.scene, first.scene) and alike(earlier.scene, first.scene)


# Races.


@pytest.mark.gen_test(timeout=30)
async def test_one_of_a_hundred_claims_moves(scenes: SceneBench) -> None:
    """A hundred people on two nodes scan at once: one has it, the others are refused."""
    stores = scenes.store("a"), scenes.store("b")
    scene = await stores[0].create(a_scene(scenes.clock.now()))
    steps = await asyncio.gather(
        *(stores[i % 2].advance(scene.scene_str, claim(OpenId(f"o{i}"))) for i in range(100))
    )
    assert Counter(step.verdict for step in steps) == {Verdict.MOVED: 1, Verdict.REFUSED: 99}
    winner = next(step.scene for step in steps if step.verdict is Verdict.MOVED)
    assert winner is not None
    assert {step.scene.openid for step in steps if step.scene} == {winner.openid}


@pytest.mark.gen_test(timeout=30)
async def test_one_of_a_hundred_repeats_moves(scenes: SceneBench) -> None:
    """The same callback a hundred times at once: one moves, all see the same scene."""
    stores = scenes.store("a"), scenes.store("b")
    scene = await stores[0].create(a_scene(scenes.clock.now()))
    steps = await asyncio.gather(
        *(stores[i % 2].advance(scene.scene_str, claim()) for i in range(100))
    )
    assert Counter(step.verdict for step in steps) == {Verdict.MOVED: 1, Verdict.REPEATED: 99}
    assert {step.scene.seq for step in steps if step.scene} == {2}


@pytest.mark.gen_test
async def test_cancel_and_claim_decide_once(scenes: SceneBench) -> None:
    """A cancel and a claim at once: what is read afterwards is what both were told."""
    store = scenes.store()
    for _ in range(20):
        scene = await store.create(a_scene(scenes.clock.now()))
        cancel, taken = await asyncio.gather(
            store.advance(scene.scene_str, Move(State.CANCELLED, WAITING)),
            store.advance(scene.scene_str, claim()),
        )
        assert {cancel.verdict, taken.verdict} == {Verdict.MOVED, Verdict.REFUSED}


# Outcomes.


@pytest.mark.gen_test
async def test_an_outcome_is_kept_with_its_move(scenes: SceneBench) -> None:
    """After a move that carried a reply, the same event gets that reply and moves nothing."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim(key="event-1"))
    await store.advance(scene.scene_str, authorize(key="event-1", reply="欢迎"))
    again = await store.advance(scene.scene_str, claim(key="event-1"))
    assert (again.verdict, again.reply) == (Verdict.REPEATED, "欢迎")
    assert again.scene is not None and again.scene.state is State.AUTHORIZED


@pytest.mark.gen_test
async def test_a_refused_move_leaves_no_outcome(scenes: SceneBench) -> None:
    """Outcomes are written with the move or not at all."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, authorize(key="event-1", reply="too early"))
    step = await store.advance(scene.scene_str, claim(key="event-1"))
    assert (step.verdict, step.reply) == (Verdict.MOVED, None)


@pytest.mark.gen_test
async def test_a_lookup_writes_no_outcome(scenes: SceneBench) -> None:
    """A move whose outcome has no reply yet only looks."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim(key="event-1"))
    step = await store.advance(scene.scene_str, authorize(key="event-1", reply="done"))
    assert (step.verdict, step.reply) == (Verdict.MOVED, None)


@pytest.mark.gen_test
async def test_an_outcome_outlives_its_scene(scenes: SceneBench) -> None:
    """The very same callback gets its reply also when the scene is forgotten."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim(key="event-1"))
    await store.advance(scene.scene_str, authorize(key="event-1", reply="done"))
    await scenes.pass_time(60 + FINAL_READABLE_SECONDS + 1)
    step = await store.advance(scene.scene_str, claim(key="event-1"))
    assert (step.verdict, step.reply, step.scene) == (Verdict.REPEATED, "done", None)


# Time.


@pytest.mark.gen_test
async def test_a_scene_expires_by_the_stores_clock(scenes: SceneBench) -> None:
    """Expired at its end with the next seq, readable for a minute, then forgotten."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), life=50))
    await scenes.pass_time(51)
    ended = await store.get(scene.scene_str)
    assert ended is not None and (ended.state, ended.seq) == (State.EXPIRED, 2)
    assert ended.changed_at == pytest.approx(scene.ends_at, abs=0.001)
    assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.REFUSED
    await scenes.pass_time(FINAL_READABLE_SECONDS)
    assert await store.get(scene.scene_str) is None
    assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.UNKNOWN


@pytest.mark.gen_test
async def test_a_late_scan_leaves_half_a_minute(scenes: SceneBench) -> None:
    """A scan one second before the end extends the life to 30 s, no more."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), life=50))
    await scenes.pass_time(49)
    step = await store.advance(scene.scene_str, claim())
    assert step.scene is not None and step.scene.ends_at == pytest.approx(step.now + 30, abs=0.001)
    await scenes.pass_time(29)
    assert (await store.advance(scene.scene_str, authorize())).verdict is Verdict.MOVED


@pytest.mark.gen_test
async def test_no_answer_in_time_is_a_no(scenes: SceneBench) -> None:
    """`confirming` ends in `denied`, not in `expired`."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim())
    await store.advance(scene.scene_str, Move(State.CONFIRMING, SCANNED, 20, openid=ANN))
    await scenes.pass_time(21)
    read = await store.get(scene.scene_str)
    assert read is not None and (read.state, read.seq) == (State.DENIED, 4)


@pytest.mark.gen_test
async def test_a_final_state_is_forgotten_after_a_minute(scenes: SceneBench) -> None:
    """Cancelled scenes can be read for a minute."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), life=1000))
    await store.advance(scene.scene_str, Move(State.CANCELLED, WAITING))
    await scenes.pass_time(FINAL_READABLE_SECONDS - 1)
    assert await store.get(scene.scene_str) is not None
    await scenes.pass_time(2)
    assert await store.get(scene.scene_str) is None


@pytest.mark.gen_test
async def test_expire_changes_nothing_that_readers_see(scenes: SceneBench) -> None:
    """Written down or not, an ended scene reads the same; forgotten ones are counted once."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), life=50))
    await scenes.pass_time(51)
    before = await store.get(scene.scene_str)
    touched = await store.expire(10)
    assert touched == (0 if scenes.forgets_alone else 1)
    assert alike(await store.get(scene.scene_str), before)
    await scenes.pass_time(FINAL_READABLE_SECONDS)
    assert await store.expire(10) == touched
    assert await store.expire(10) == 0


@pytest.mark.gen_test
async def test_a_short_scene_really_ends(scenes: SceneBench) -> None:
    """Without any turned clock, a scene of a fifth of a second is expired soon after."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now(), life=0.2))
    states: list[State] = []

    async def look() -> None:
        while State.EXPIRED not in states:
            read = await store.get(scene.scene_str)
            assert read is not None
            states.append(read.state)
            await asyncio.sleep(0.01)

    looking = asyncio.ensure_future(look())
    await eventually(looking.done)
    await looking
