"""Scenes, and whole logins, in the embedded database: one file, one node.

`SqliteSceneStore` is the store of scenes, `SqliteLoginStore` a whole login in one transaction. What
they do within a transaction is in plain functions below, which run in the writer thread of
`services.sqlite.Database`; reads run on the event loop. Rows are those of `states.FIELDS`.
"""

import asyncio
import hmac
import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from services.caches import Cache
from services.clock import Clock
from services.errors import StoreUnavailable
from services.events.store_sqlite import SqliteEventStore
from services.ids import SceneStr
from services.people.store import Identity
from services.people.store_sqlite import login_in_transaction
from services.scenes.login import Completion, LoginTerms, is_claimed
from services.scenes.states import (
    FIELDS,
    Keep,
    Move,
    Scene,
    State,
    Step,
    Verdict,
    apply,
    restored,
    settle,
    stored,
)
from services.scenes.store import Attachment, Notice
from services.scenes.tellings import TELLING, entries_of
from services.sessions.states import Session
from services.sessions.store_sqlite import begin_in_transaction
from services.sqlite import Connection, Database, sqlite_errors

_SQL_TYPES = {
    Keep.TEXT: "TEXT",
    Keep.WHOLE: "INTEGER",
    Keep.TIME: "REAL",
    Keep.HASH: "BLOB",
    Keep.FLAG: "INTEGER",
}
_DEFINITIONS = ", ".join(
    f"{field.name} {_SQL_TYPES[field.keep]}{'' if field.optional else ' NOT NULL'}"
    for field in FIELDS
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS scenes (
    {_DEFINITIONS}, details TEXT NOT NULL, PRIMARY KEY (scene_str)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scenes_by_end ON scenes (ends_at);
CREATE INDEX IF NOT EXISTS scenes_owed ON scenes (changed_at) WHERE owed = 1;
CREATE TABLE IF NOT EXISTS kept (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, ends_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_by_end ON kept (ends_at);
"""

COLUMNS = ", ".join([field.name for field in FIELDS] + ["details"])
SELECT = f"SELECT {COLUMNS} FROM scenes WHERE scene_str = ?"
INSERT = f"INSERT INTO scenes ({COLUMNS}) VALUES ({', '.join('?' * (len(FIELDS) + 1))})"

# Of the columns, a move writes those that moves change.
_CHANGING = [(at, field.name) for at, field in enumerate(FIELDS) if field.changes]
_changing = itemgetter(*(at for at, _ in _CHANGING))
_SET = ", ".join(f"{name} = ?" for _, name in _CHANGING)
# The last condition holds unless another caller has moved the scene meanwhile.
_UPDATE = f"UPDATE scenes SET {_SET} WHERE scene_str = ? AND seq < ?"
_UPDATE_WITH_DETAILS = f"UPDATE scenes SET {_SET}, details = ? WHERE scene_str = ? AND seq < ?"

# As json.dumps and json.loads, whose handling of options costs more than these small objects.
_encode = json.JSONEncoder(ensure_ascii=False).encode
_decode = json.JSONDecoder().raw_decode

RECENT = 256
"""Scenes kept in memory after they were begun or changed."""

OUTCOME_SECONDS = 600
"""How long the reply to an event is kept: well over WeChat's retries (about 15 s)."""


class SqliteSceneStore:
    """`SceneStore` on one file and one node, so that attaching is nothing but reading.

    Args:
        publish: called on the event loop with a notice after each change is committed.
        events: keeps what moves tell, in their transaction; None: nothing is kept.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        publish: Callable[[Notice], None],
        events: SqliteEventStore | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        self.events = events
        # The scenes begun or changed last, which are read soon: by the page that opens its socket,
        # or after a notice. This process alone writes the file, so they are as stored.
        self._recent: Cache[SceneStr, Scene] = Cache(RECENT)

    async def create(self, scene: Scene) -> Scene:
        *values, details = stored(scene)
        row = (*values, _encode(details) if details else "")
        await self._database.write(lambda db: db.execute(INSERT, row) and None)
        # A move may have been faster than this coroutine, and its scene is the newer one.
        self._recent.keep(scene.scene_str, self._recent.get(scene.scene_str, scene))
        return scene

    async def get(self, scene_str: SceneStr) -> Scene | None:
        return self._read(scene_str)

    def get_nowait(self, scene_str: SceneStr, seq: int = 0) -> Scene | None:
        try:
            return self._read(scene_str)
        except StoreUnavailable:
            return None  # The caller goes on to `get`, which says what is wrong.

    def _read(self, scene_str: SceneStr) -> Scene | None:
        scene = self._recent.get(scene_str)
        if scene is None:
            with sqlite_errors():
                row = self._database.reader.execute(SELECT, (scene_str,)).fetchone()
            if row is None:
                return None
            scene = _scene_of(row)
        return settle(scene, self._clock.now())

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        now = self._clock.now()
        known = self._recent.get(scene_str)
        completion = await self.write_move(
            scene_str, lambda db: Completion(_advance(db, scene_str, move, now, known, self.events))
        )
        return completion.step

    async def write_move(
        self, scene_str: SceneStr, job: Callable[[Connection], Completion]
    ) -> Completion:
        """`Database.write` of a job that may move that scene. The notice follows the commit."""

        def committed(completion: Completion) -> None:
            step = completion.step
            if step.verdict is Verdict.MOVED and step.scene is not None:
                self._changed(step.scene)

        try:
            return await self._database.write(job, committed)
        except (StoreUnavailable, asyncio.CancelledError):
            # A write that failed, or is no longer waited for, may be done all the same: the scene
            # must be read from the file next time.
            self._recent.pop(scene_str, None)
            raise

    def _changed(self, scene: Scene) -> None:
        """A change is committed: keep the scene, then publish the notice, whose readers find it."""
        # Changes may be told out of order: an older one must not replace a newer scene.
        known = self._recent.get(scene.scene_str, scene)
        self._recent.keep(scene.scene_str, scene if scene.seq >= known.seq else known)
        self._publish(Notice(scene.scene_str, scene.seq))

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        # Nothing is recorded: on the only node every notice is for it, and it has all attachments.
        scene = _watched(self._read(scene_str), watch_hash)
        return None if scene is None else Attachment(scene, 0)

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        return _watched(self.get_nowait(scene_str), watch_hash)

    async def reattach(
        self, scene_str: SceneStr, node: str, connection: int, number: int
    ) -> Attachment | None:
        scene = self._read(scene_str)
        return None if scene is None else Attachment(scene, 0)

    async def detach(self, scene_str: SceneStr, node: str, connection: int) -> None:
        """Nothing was recorded."""

    async def owed(self, older_than_seconds: float, limit: int) -> Sequence[Scene]:
        now = self._clock.now()
        with sqlite_errors():
            rows = self._database.reader.execute(
                f"SELECT {COLUMNS} FROM scenes WHERE owed = 1 AND changed_at <= ? LIMIT ?",
                (now - older_than_seconds, limit),
            ).fetchall()
        settled = (settle(_scene_of(row), now) for row in rows)
        return [scene for scene in settled if scene is not None and scene.owed]

    async def expire(self, limit: int) -> int:
        now = self._clock.now()
        # Most rounds find nothing due: they look on this thread, and the writer is left alone.
        with sqlite_errors():
            due = self._database.reader.execute(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM scenes WHERE ends_at <= ? LIMIT ?))"
                " + (SELECT count(*) FROM (SELECT 1 FROM kept WHERE ends_at <= ? LIMIT ?))",
                (now, limit, now, limit),
            ).fetchone()[0]
        if not due:
            return 0
        ended, touched = await self._database.write(lambda db: _expire(db, now, limit, self.events))
        for scene_str, scene in ended:
            if scene is None:
                self._recent.pop(scene_str, None)
            else:
                self._changed(scene)
        return touched

    async def recall(self, key: str) -> str | None:
        with sqlite_errors():
            return _kept(self._database.reader, key, self._clock.now())

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        now = self._clock.now()

        def job(db: Connection) -> str:
            kept = _kept(db, key, now)
            if kept is None:
                _keep(db, key, value, now + ttl_seconds)
            return value if kept is None else kept

        return await self._database.write(job)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        now = self._clock.now()

        def job(db: Connection) -> str | None:
            kept = _kept(db, key, now)
            _keep(db, key, value, now + ttl_seconds)
            return kept

        return await self._database.write(job)

    async def take(self, key: str) -> str | None:
        now = self._clock.now()

        def job(db: Connection) -> str | None:
            kept = _kept(db, key, now)
            db.execute("DELETE FROM kept WHERE key = ?", (key,))
            return kept

        return await self._database.write(job)

    async def count(self, key: str, ttl_seconds: float) -> int:
        now = self._clock.now()

        def job(db: Connection) -> int:
            kept = _kept(db, key, now)
            if kept is None:
                _keep(db, key, "1", now + ttl_seconds)
                return 1
            db.execute("UPDATE kept SET value = ? WHERE key = ?", (str(int(kept) + 1), key))
            return int(kept) + 1

        return await self._database.write(job)

    async def ping(self) -> None:
        await self._database.check()


def _watched(scene: Scene | None, watch_hash: bytes) -> Scene | None:
    matches = scene is not None and hmac.compare_digest(scene.watch_hash, watch_hash)
    return scene if matches else None


def _advance(
    db: Connection,
    scene_str: SceneStr,
    move: Move,
    now: float,
    known: Scene | None,
    events: SqliteEventStore | None,
) -> Step:
    """`apply`, and what came of it written down.

    Args:
        known: the scene as it was stored when the move was asked for.
    """
    # Nearly always it still is so, which the update's own condition on seq finds out: that saves
    # the query. Otherwise the scene is read, and the move decided again. A move with an outcome
    # has to look for the kept reply first.
    if known is not None and move.outcome is None:
        step = apply(known, move, now)
        if step.verdict is Verdict.MOVED and step.scene is not None:
            if _update(db, step.scene, details=bool(move.details)):
                _tell(db, events, step.scene)
                return step
    step = _claimed(db, scene_str, move, now)
    if step.verdict is Verdict.MOVED and step.scene is not None:
        _save(db, step.scene, (move,), now)
        _tell(db, events, step.scene)
    return step


def _tell(db: Connection, events: SqliteEventStore | None, scene: Scene) -> None:
    if events is not None and scene.state in TELLING:
        events.keep_in_transaction(db, entries_of(scene))


def _claimed(db: Connection, scene_str: SceneStr, move: Move, now: float) -> Step:
    """What `move` does to the scene as it is stored now; not written down yet."""
    row = db.execute(SELECT, (scene_str,)).fetchone()
    scene = None if row is None else _scene_of(row)
    # The kept reply comes before the state: a repeat is answered as the first was, whatever the
    # scene has become since.
    if move.outcome is not None and (reply := _kept(db, move.outcome.key, now)) is not None:
        return Step(Verdict.REPEATED, settle(scene, now) if scene else None, reply, now)
    return apply(scene, move, now)


def _save(db: Connection, scene: Scene, moves: Sequence[Move], now: float) -> None:
    """Write down what `moves` made of a scene just read, with the replies to be kept: all in the
    caller's transaction, so that a reply is never kept of a move that was not made."""
    _update(db, scene, details=any(move.details for move in moves))
    for move in moves:
        if move.outcome is not None and move.outcome.reply is not None:
            _keep(db, move.outcome.key, move.outcome.reply, now + OUTCOME_SECONDS)


def _expire(
    db: Connection, now: float, limit: int, events: SqliteEventStore | None
) -> tuple[list[tuple[SceneStr, Scene | None]], int]:
    rows = db.execute(
        f"SELECT {COLUMNS} FROM scenes WHERE ends_at <= ? ORDER BY ends_at LIMIT ?", (now, limit)
    ).fetchall()
    ended = []
    for row in rows:
        scene = settle(_scene_of(row), now)
        if scene is None:
            db.execute("DELETE FROM scenes WHERE scene_str = ?", (row[0],))
        elif _update(db, scene, details=False) and scene.state is State.FAILED:
            _tell(db, events, scene)
        ended.append((SceneStr(row[0]), scene))
    forgotten = db.execute(
        "DELETE FROM kept WHERE key IN (SELECT key FROM kept WHERE ends_at <= ? LIMIT ?)",
        (now, limit),
    )
    return ended, len(rows) + forgotten.rowcount


def _kept(db: Connection, key: str, now: float) -> str | None:
    row = db.execute("SELECT value FROM kept WHERE key = ? AND ends_at > ?", (key, now)).fetchone()
    return None if row is None else str(row[0])


def _keep(db: Connection, key: str, value: str, ends_at: float) -> None:
    db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, value, ends_at))


def _scene_of(row: tuple[Any, ...]) -> Scene:
    """A scene from `COLUMNS`."""
    return restored((*row[:-1], _decode(row[-1])[0] if row[-1] else {}))


def _update(db: Connection, scene: Scene, *, details: bool) -> bool:
    """Write down a scene; False: another caller has moved it as far, and nothing is done.

    Args:
        details: whether they changed, too.
    """
    # Few moves change the details, and they are half of what is stored.
    changed, key = _changing(stored(scene)), (scene.scene_str, scene.seq)
    if details:
        encoded = _encode(scene.details) if scene.details else ""
        return db.execute(_UPDATE_WITH_DETAILS, (*changed, encoded, *key)).rowcount > 0
    return db.execute(_UPDATE, (*changed, *key)).rowcount > 0


class SqliteLoginStore:
    """`LoginStore` in one transaction: no crash can come between claim and login."""

    # A third of the cost of `SteppedLoginStore` (measured), with the same outcomes.

    def __init__(self, clock: Clock, scenes: SqliteSceneStore) -> None:
        self._clock = clock
        self._scenes = scenes

    async def complete_login(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        terms: LoginTerms,
        *,
        unionid_wanted: bool,
    ) -> Completion:
        now = self._clock.now()

        def job(db: Connection) -> Completion:
            claimed = _claimed(db, scene_str, claim, now)
            scene = claimed.scene
            if scene is None or not is_claimed(claimed):
                return Completion(claimed)
            # Until this transaction the scene was waiting, so no login of it can exist.
            first_try = claimed.verdict is Verdict.MOVED
            login = login_in_transaction(
                db,
                identity,
                scene_str,
                scene.account,
                now,
                first_try=first_try,
                unionid_wanted=unionid_wanted,
            )
            move = terms.authorization(scene, login)
            step = apply(scene, move, now)
            ended: Sequence[Session] = ()
            if step.verdict is Verdict.MOVED and step.scene is not None:
                _save(db, step.scene, (claim, move), now)
                _tell(db, self._scenes.events, step.scene)
                if (session := terms.session_of(scene)) is not None:
                    begun = session.begun(scene, login)
                    ended = begin_in_transaction(db, begun, session.most_per_user, now)
            return Completion(step, login, ended)

        return await self._scenes.write_move(scene_str, job)
