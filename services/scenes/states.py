"""The life of a scene, as pure functions of (scene, move, now).

    waiting ──> scanned ──┬─────────────> authorized ──> consumed
                          ├> confirming ─┤
                          └> registering ┘
    from any of these also: expired, and where the table allows: denied, cancelled, failed

Stores keep scenes and call `apply` where no other caller can come between reading and writing; on
Redis its twin in advance.lua does that, held to it by tests/contracts/test_scene_states.py. Time
decides lazily: `settle` gives the state a scene has at `now`, whether or not that has been written
down. So every reader on every node sees the same state and the same `seq`, and the sweeper only
makes visible what is already true.

First the states, then `Scene` and how stores keep it (`FIELDS`), then what is asked of a scene
(`Move`) and answered (`Step`), then the two functions.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from services.ids import OpenId, SceneStr, UserId
from services.tokens.claims import Claims

FINAL_READABLE_SECONDS = 60
"""How long a final state can still be read."""

SCANNED_AT_LEAST_SECONDS = 30
"""A scan just before the end still leaves this long to finish the login."""

OWED_SECONDS = 30
"""A login that the server itself owes (a callback claimed the scene) fails after this long."""

TRY_AGAIN = "try_again"
"""The `error` of a scene whose owed login could not be finished in time."""


class State(StrEnum):
    """The words of the status document; the same in code, stores and JSON."""

    # Enum's own is a function in Python, and states are looked up in sets all the time.
    __hash__ = str.__hash__

    WAITING = "waiting"
    SCANNED = "scanned"
    CONFIRMING = "confirming"
    REGISTERING = "registering"
    AUTHORIZED = "authorized"
    CONSUMED = "consumed"
    EXPIRED = "expired"
    DENIED = "denied"
    CANCELLED = "cancelled"
    FAILED = "failed"


OPEN = frozenset({State.WAITING, State.SCANNED, State.CONFIRMING, State.REGISTERING})
"""Where a login is still to be decided."""

FINAL = frozenset({State.CONSUMED, State.EXPIRED, State.DENIED, State.CANCELLED, State.FAILED})

NEXT: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.WAITING: frozenset({State.SCANNED, State.EXPIRED, State.CANCELLED, State.FAILED}),
        State.SCANNED: frozenset(
            {
                State.CONFIRMING,
                State.REGISTERING,
                State.AUTHORIZED,
                State.FAILED,
                State.EXPIRED,
                State.CANCELLED,
                State.DENIED,
            }
        ),
        State.CONFIRMING: frozenset(
            {
                State.AUTHORIZED,
                State.REGISTERING,
                State.DENIED,
                State.EXPIRED,
                State.CANCELLED,
                State.FAILED,
            }
        ),
        State.REGISTERING: frozenset(
            {State.AUTHORIZED, State.FAILED, State.EXPIRED, State.CANCELLED}
        ),
        State.AUTHORIZED: frozenset({State.CONSUMED, State.EXPIRED}),
        **{state: frozenset() for state in FINAL},
    }
)
"""Where each state may go. Nothing else ever happens, whatever is asked."""

TIMEOUT: Mapping[State, State] = MappingProxyType(
    {
        State.WAITING: State.EXPIRED,
        State.SCANNED: State.EXPIRED,
        # A question that is not answered in time is answered with no.
        State.CONFIRMING: State.DENIED,
        State.REGISTERING: State.EXPIRED,
        State.AUTHORIZED: State.EXPIRED,
    }
)
"""What a state turns into when its time is up."""


class Kind(StrEnum):
    """The login kind: what a scene shows, and so by which way it may be finished."""

    OFFICIAL_ACCOUNT = "official_account"
    MINI_PROGRAM = "mini_program"
    WEB = "web"
    WEBSITE = "website"
    CODE = "code"


NO_DETAILS: Mapping[str, str] = MappingProxyType({})


# Named tuples from here on: as unchangeable as frozen dataclasses, and made (several a login) in a
# fifth of the time.


class Scene(NamedTuple):
    """One attempt to log in.

    `ends_at` is when the present state ends by itself (for a final state: when the scene is
    forgotten). Secrets are kept as SHA-256 only. `details` holds what only some kinds of scenes
    have, as plain strings (QR content and ticket, kiosk, the browser's claimed name, ...).
    """

    scene_str: SceneStr
    state: State
    seq: int
    kind: Kind
    account: str
    lang: str
    created_at: float
    changed_at: float
    ends_at: float
    watch_hash: bytes
    begin_hash: bytes = b""
    openid: OpenId | None = None
    user_id: UserId | None = None
    claims: Claims | None = None
    owed: bool = False
    """The server itself owes the next step (a callback claimed the scene): a sweeper may finish it.
    False where a person must still decide."""
    error: str = ""
    details: Mapping[str, str] = NO_DETAILS


# How stores keep a scene. A new field with a plain value is added to `Scene` and to `FIELDS`, in
# the same place before `claims` (and `_CLAIMS` counts one more); one that needs a translation, to
# `stored` and `restored` as well. What moves change is up to `_moved` and its twin in advance.lua.


class Keep(StrEnum):
    """What a field holds, for stores that have to translate it."""

    TEXT = "text"
    WHOLE = "whole"
    TIME = "time"
    """Unix seconds. Redis keeps whole microseconds."""
    HASH = "hash"
    """SHA-256. Redis keeps hexadecimal digits."""
    FLAG = "flag"
    """0 or 1."""


class StoredField(NamedTuple):
    """One field of a stored scene."""

    name: str
    """Its column in SQLite."""
    short: str
    """Its name in Redis's hash."""
    keep: Keep
    optional: bool = False
    """Whether it may be None."""
    changes: bool = False
    """Whether moves change it; the others are written once."""


FIELDS = (
    StoredField("scene_str", "", Keep.TEXT),  # Redis has it in the key
    StoredField("state", "state", Keep.TEXT, changes=True),
    StoredField("seq", "seq", Keep.WHOLE, changes=True),
    StoredField("kind", "kind", Keep.TEXT),
    StoredField("account", "account", Keep.TEXT),
    StoredField("lang", "lang", Keep.TEXT),
    StoredField("created_at", "created", Keep.TIME),
    StoredField("changed_at", "changed", Keep.TIME, changes=True),
    StoredField("ends_at", "ends", Keep.TIME, changes=True),
    StoredField("watch_hash", "watch", Keep.HASH),
    StoredField("begin_hash", "begin", Keep.HASH),
    StoredField("openid", "openid", Keep.TEXT, optional=True, changes=True),
    StoredField("user_id", "user_id", Keep.TEXT, optional=True, changes=True),
    StoredField("jti", "jti", Keep.TEXT, optional=True, changes=True),
    StoredField("iat", "iat", Keep.WHOLE, optional=True, changes=True),
    StoredField("exp", "exp", Keep.WHOLE, optional=True, changes=True),
    StoredField("is_new", "is_new", Keep.FLAG, optional=True, changes=True),
    StoredField("owed", "owed", Keep.FLAG, changes=True),
    StoredField("error", "error", Keep.TEXT, changes=True),
)
"""What stores keep of a scene besides its details: its fields in their order, with those of
`Claims` in place of `claims`. The columns of SQLite, the hash of Redis and the answers of
advance.lua all follow it."""

_PLAIN: Final = 4
_CLAIMS: Final = 13
"""In `Scene` and in `FIELDS` alike, what stands from the one up to the other is kept as it is."""

_NO_CLAIMS = (None, None, None, 0)

# By what stores keep of them. Calling the enums does the same and takes longer.
_STATES = {state.value: state for state in State}
_KINDS = {kind.value: kind for kind in Kind}


def stored(scene: Scene) -> tuple[Any, ...]:
    """The values of `FIELDS`, then the details: enums as plain strings, bools as 0 and 1."""
    # sqlite3 looks for an adapter of every type that it does not know (enums and bools among them),
    # and that costs more than all the rest of a column.
    scene_str, state, seq, kind = scene[:_PLAIN]
    claims, owed, error, details = scene[_CLAIMS:]
    jti, iat, exp, is_new = claims or _NO_CLAIMS
    return (
        *(scene_str, str(state), seq, str(kind), *scene[_PLAIN:_CLAIMS]),
        *(jti, iat, exp, int(is_new), int(owed), error, details),
    )


def restored(values: Sequence[Any]) -> Scene:
    """The scene that `stored` turned into these values.

    Raises:
        KeyError: a state or kind that this version does not know.
    """
    scene_str, state, seq, kind = values[:_PLAIN]
    jti, iat, exp, is_new, owed, error, details = values[_CLAIMS:]
    claims = None if jti is None else Claims(jti, iat, exp, bool(is_new))
    return Scene._make(
        (
            *(scene_str, _STATES[state], seq, _KINDS[kind], *values[_PLAIN:_CLAIMS]),
            *(claims, bool(owed), error, details),
        )
    )


# What is asked of a scene, and answered.


class Outcome(NamedTuple):
    """The memory of one callback: the same event again gets the same reply.

    It is looked up by the first move of an event and written together with the last, so a failed
    attempt leaves none.
    """

    key: str
    reply: str | None = None
    """None: only look up. A text: write it with the move."""


class Move(NamedTuple):
    """One change asked of a scene, as data, so that every store can carry it out atomically.

    The conditions (`sources`, `openid`, `account`, `kind`, `seq`) must all hold, or nothing
    changes. `life_seconds` is the life of the new state; final states and `scanned` have rules of
    their own (see `apply`).
    """

    to: State
    sources: frozenset[State]
    life_seconds: float = 0
    openid: OpenId | None = None
    """The person who does it. Claims an unclaimed scene; must be the claimant of a claimed one."""
    account: str | None = None
    kind: Kind | None = None
    seq: int | None = None
    """The `seq` the scene must have (an ack names the status it acknowledges)."""
    user_id: UserId | None = None
    jti: str = ""
    is_new: bool = False
    token_ttl_seconds: int = 0
    owed: bool = False
    error: str = ""
    details: Mapping[str, str] = NO_DETAILS
    """Merged over the scene's."""
    outcome: Outcome | None = None


class Verdict(StrEnum):
    """What came of a move."""

    MOVED = "moved"
    REPEATED = "repeated"
    """The scene is already there, or further on, by the same openid: the same outcome."""
    REFUSED = "refused"
    """A condition did not hold; the scene says which."""
    UNKNOWN = "unknown"
    """No such scene, or forgotten."""


class Step(NamedTuple):
    """The answer to a move: the scene as it is afterwards, by the store's clock."""

    verdict: Verdict
    scene: Scene | None = None
    reply: str | None = None
    """The kept reply, where the move's outcome was already known."""
    now: float = 0
    """The store's time of the move."""


def settle(scene: Scene, now: float) -> Scene | None:
    """The scene as time alone has made it by `now`; None when it is forgotten."""
    # As of its end, not of `now`: what a reader sees does not depend on when it looks.
    if scene.state not in FINAL and now >= scene.ends_at:
        scene = scene._replace(
            state=State.FAILED if scene.owed else TIMEOUT[scene.state],
            error=TRY_AGAIN if scene.owed else scene.error,
            seq=scene.seq + 1,
            changed_at=scene.ends_at,
            ends_at=scene.ends_at + FINAL_READABLE_SECONDS,
            owed=False,
        )
    return None if scene.state in FINAL and now >= scene.ends_at else scene


def apply(scene: Scene | None, move: Move, now: float) -> Step:
    """Carry out `move` on `scene` at `now`, or say why not. Never raises.

    The order of the checks is part of the contract: time first, then login kind (account, kind),
    then person, then state, then seq. A scene in the state asked for, or one that came from it, is
    `REPEATED` for its claimant, so that a retried callback ends where the first one did.
    """
    # advance.lua has the same checks in the same order.
    scene = settle(scene, now) if scene is not None else None
    if scene is None:
        return Step(Verdict.UNKNOWN, None, now=now)
    if move.account is not None and move.account != scene.account:
        return Step(Verdict.REFUSED, scene, now=now)
    if move.kind is not None and move.kind != scene.kind:
        return Step(Verdict.REFUSED, scene, now=now)
    if move.openid is not None and scene.openid is not None and move.openid != scene.openid:
        return Step(Verdict.REFUSED, scene, now=now)
    if scene.state == move.to or _already_past(scene, move):
        return Step(Verdict.REPEATED, scene, now=now)
    # The move says what it expects, and the table what is possible at all.
    if scene.state not in move.sources or move.to not in NEXT[scene.state]:
        return Step(Verdict.REFUSED, scene, now=now)
    if move.seq is not None and move.seq != scene.seq:
        return Step(Verdict.REFUSED, scene, now=now)
    return Step(Verdict.MOVED, _moved(scene, move, now), now=now)


# The states of a login that goes well, in their order.
_ON_THE_WAY = (
    State.WAITING,
    State.SCANNED,
    State.CONFIRMING,
    State.REGISTERING,
    State.AUTHORIZED,
    State.CONSUMED,
)


def _already_past(scene: Scene, move: Move) -> bool:
    """Whether the claimant's own earlier move already went through `move.to`."""
    return (
        move.openid is not None
        and scene.openid == move.openid
        and scene.state in _ON_THE_WAY
        and move.to in _ON_THE_WAY
        and _ON_THE_WAY.index(scene.state) > _ON_THE_WAY.index(move.to)
    )


def _moved(scene: Scene, move: Move, now: float) -> Scene:
    return scene._replace(
        state=move.to,
        seq=scene.seq + 1,
        changed_at=now,
        ends_at=_end(scene, move, now),
        openid=scene.openid if scene.openid is not None else move.openid,
        user_id=move.user_id if move.user_id is not None else scene.user_id,
        claims=_claims(move, now) if move.to is State.AUTHORIZED else scene.claims,
        owed=move.owed,
        error=move.error,
        details={**scene.details, **move.details} if move.details else scene.details,
    )


def _end(scene: Scene, move: Move, now: float) -> float:
    if move.to in FINAL:
        return now + FINAL_READABLE_SECONDS
    # A login that the server owes is done in milliseconds, or by the sweeper within seconds. One
    # that waits for a person keeps what was left of the code's life.
    if move.owed:
        return now + OWED_SECONDS
    if move.to is State.SCANNED:
        return max(scene.ends_at, now + SCANNED_AT_LEAST_SECONDS)
    return now + move.life_seconds


def _claims(move: Move, now: float) -> Claims:
    return Claims(move.jti, int(now), int(now) + move.token_ttl_seconds, move.is_new)
