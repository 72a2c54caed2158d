"""Scenes and moves for the contract tests."""

import uuid

from services.ids import OpenId, SceneStr, UserId
from services.scenes.states import Kind, Move, Outcome, Scene, State
from tests.contracts.benches import SceneBench

WAITING = frozenset({State.WAITING})
SCANNED = frozenset({State.SCANNED})
ANN, BOB = OpenId("openid-ann"), OpenId("openid-bob")


def a_scene(bench: SceneBench, life: float = 180, **fields: object) -> Scene:
    """A new waiting scene with a random name, made by the clock of a node."""
    now = bench.clock.now()
    scene = Scene(
        scene_str=SceneStr(str(uuid.uuid4())),
        state=State.WAITING,
        seq=1,
        kind=Kind.OFFICIAL_ACCOUNT,
        account="default",
        lang="zh-CN",
        created_at=now,
        changed_at=now,
        ends_at=now + life,
        watch_hash=bytes(range(224, 256)),
        begin_hash=b"\x00\xff\n\r ",
    )
    return scene._replace(**fields)  # type: ignore[arg-type]


def claim(openid: OpenId = ANN, reply: str | None = None, key: str = "") -> Move:
    outcome = Outcome(key, reply) if key else None
    return Move(State.SCANNED, WAITING, openid=openid, owed=True, outcome=outcome)


def authorize(openid: OpenId = ANN, key: str = "", reply: str | None = None) -> Move:
    return Move(
        State.AUTHORIZED,
        SCANNED,
        life_seconds=60,
        openid=openid,
        user_id=UserId("user-1"),
        jti="jti-1",
        is_new=True,
        token_ttl_seconds=7200,
        outcome=Outcome(key, reply) if key else None,
    )


def alike(one: Scene | None, two: Scene | None) -> bool:
    """Equal but for the digits of a float that lie below a microsecond."""
    if one is None or two is None:
        return one is two
    times = zip(
        (one.created_at, one.changed_at, one.ends_at),
        (two.created_at, two.changed_at, two.ends_at),
        strict=True,
    )
    rest = {"created_at": 0.0, "changed_at": 0.0, "ends_at": 0.0}
    return all(abs(a - b) < 0.00001 for a, b in times) and (
        one._replace(**rest) == two._replace(**rest)  # type: ignore[arg-type]
    )
