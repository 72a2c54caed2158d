"""Scenes and moves for the contract tests, and scenes for all others."""

from typing import Any

from services.ids import OpenId, UserId, new_scene_str
from services.scenes.states import Kind, Move, Outcome, Scene, State

WAITING = frozenset({State.WAITING})
SCANNED = frozenset({State.SCANNED})
ANN, BOB = OpenId("openid-ann"), OpenId("openid-bob")


def a_scene(now: float, life: float = 180, **fields: Any) -> Scene:
    """A scene with a random id, which was begun at `now`: waiting, but for what `fields` say."""
    scene = Scene(
        scene_str=new_scene_str(),
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
    return scene._replace(**fields)


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
