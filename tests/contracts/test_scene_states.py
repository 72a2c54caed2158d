"""Every `SceneStore` moves exactly as the pure functions of services/scenes/states.py say."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from services.ids import UserId
from services.scenes.states import Kind, Move, Scene, State, Verdict, apply, settle
from services.scenes.store import SceneStore
from tests.contracts.benches import SceneBench
from tests.contracts.scenes import ANN, BOB, SCANNED, a_scene, alike, authorize, claim

OPENIDS = st.sampled_from([None, ANN, BOB])
MOVES = st.builds(
    Move,
    to=st.sampled_from(list(State)),
    sources=st.one_of(
        st.just(frozenset(State)), st.frozensets(st.sampled_from(list(State)), max_size=4)
    ),
    life_seconds=st.sampled_from([0, 0.5, 20, 60, 600]),
    openid=OPENIDS,
    account=st.sampled_from([None, None, "default", "second"]),
    kind=st.sampled_from([None, None, Kind.OFFICIAL_ACCOUNT, Kind.CODE]),
    seq=st.sampled_from([None, None, 1, 2, 3]),
    user_id=st.sampled_from([None, UserId("u1"), UserId("u2")]),
    jti=st.sampled_from(["", "jti"]),
    is_new=st.booleans(),
    token_ttl_seconds=st.sampled_from([60, 7200]),
    owed=st.booleans(),
    error=st.sampled_from(["", "try_again"]),
    details=st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2),
    # What a kept outcome does is no part of the state machine.
    outcome=st.none(),
)
PROGRESS = st.sampled_from(
    [
        claim(),
        authorize(),
        Move(State.CONFIRMING, SCANNED, 120, openid=ANN),
        Move(State.REGISTERING, frozenset({State.SCANNED, State.CONFIRMING}), 600, openid=ANN),
        authorize()._replace(sources=frozenset({State.CONFIRMING, State.REGISTERING})),
        Move(State.CONSUMED, frozenset({State.AUTHORIZED})),
    ]
)
PLANS = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 19.5, 31, 61, 130]), st.one_of(PROGRESS, MOVES)),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=PLANS, life=st.sampled_from([20, 180]))
def test_it_agrees_with_the_pure_state_machine(
    scenes: SceneBench, io_loop: IOLoop, plan: list[tuple[float, Move]], life: float
) -> None:
    """Any moves at any times: verdict, scene and claims are what `states.apply` says."""
    io_loop.run_sync(lambda: _follow(scenes, scenes.store(), plan, life))


async def _follow(
    bench: SceneBench, store: SceneStore, plan: list[tuple[float, Move]], life: float
) -> None:
    model: Scene | None = await store.create(a_scene(bench.clock.now(), life=life))
    assert model is not None
    name = model.scene_str
    for pause, move in plan:
        await bench.pass_time(pause)
        step = await store.advance(name, move)
        expected = apply(model, move, step.now)
        assert step.verdict is expected.verdict, (step, expected)
        assert alike(step.scene, expected.scene), (step.scene, expected.scene)
        if expected.verdict is Verdict.MOVED:
            model = step.scene
        assert model is not None
        known = settle(model, step.now)
        if known is not None and known.ends_at > step.now + 1:
            assert alike(await store.get(name), known)
