"""Scenes as rows of the embedded database: the table, and the way there and back.

Scenes in the embedded database.

A scan that becomes a login in one step, where scenes and people share a store.

The steps of a login (claim, find the person, authorize) are three transactions where scenes and
people live apart. In one database they are one: nothing lies between them, so nothing can be left
there, and it costs a third (docs/performance.md).
"""

import asyncio
import hmac
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from services.clock import Clock
from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.people.store import Identity, Login
from services.people.store_sqlite import log_in_within_transaction
from services.scenes.states import (
    KIND_OF,
    STATE_OF,
    Move,
    Scene,
    State,
    Step,
    Verdict,
    apply,
    settle,
)
from services.scenes.store import Notice
from services.sqlite import Connection, Database, sqlite_errors
from services.tokens.claims import Claims

SCHEMA = """
CREATE TABLE IF NOT EXISTS scenes (
    scene_str TEXT PRIMARY KEY, state TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    account TEXT NOT NULL, lang TEXT NOT NULL, created_at REAL NOT NULL,
    changed_at REAL NOT NULL, ends_at REAL NOT NULL, watch_hash BLOB NOT NULL,
    begin_hash BLOB NOT NULL, openid TEXT, user_id TEXT, jti TEXT, iat INTEGER, exp INTEGER,
    is_new INTEGER, owed INTEGER NOT NULL, error TEXT NOT NULL, details TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scenes_by_end ON scenes (ends_at);
CREATE INDEX IF NOT EXISTS scenes_owed ON scenes (changed_at) WHERE owed = 1;
CREATE TABLE IF NOT EXISTS kept (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, ends_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_by_end ON kept (ends_at);
"""

COLUMNS = (
    "scene_str, state, seq, kind, account, lang, created_at, changed_at, ends_at, watch_hash,"
    " begin_hash, openid, user_id, jti, iat, exp, is_new, owed, error, details"
)
_NO_CLAIMS = (None, None, None, False)
_encode = json.JSONEncoder(ensure_ascii=False).encode
_parsed = json.JSONDecoder().raw_decode
SELECT = f"SELECT {COLUMNS} FROM scenes WHERE scene_str = ?"
INSERT = f"INSERT INTO scenes ({COLUMNS}) VALUES ({', '.join('?' * 20)})"
# The last condition holds unless somebody moved the scene meanwhile.
_UPDATE = """UPDATE scenes SET state=?, seq=?, changed_at=?, ends_at=?, openid=?, user_id=?, jti=?,
    iat=?, exp=?, is_new=?, owed=?, error=? WHERE scene_str=? AND seq<?"""
_UPDATE_DETAILS = _UPDATE.replace(" WHERE", ", details=? WHERE")


def update(db: sqlite3.Connection, scene: Scene, *, details: bool) -> bool:
    """Write down a scene; False: somebody else has moved it as far, and nothing is done.

    Args:
        details: whether they changed. Few moves change them, and they are half of what is stored.
    """
    row = (str(scene.state), scene.seq, scene.changed_at, scene.ends_at, *_login(scene))
    key = (scene.scene_str, scene.seq)
    if details:
        return db.execute(_UPDATE_DETAILS, (*row, _encoded(scene.details), *key)).rowcount > 0
    return db.execute(_UPDATE, (*row, *key)).rowcount > 0


def row_of(scene: Scene) -> tuple[Any, ...]:
    """A scene as `COLUMNS`."""
    return (
        scene.scene_str,
        str(scene.state),
        scene.seq,
        str(scene.kind),
        *scene[4:11],
        *_login(scene),
        _encoded(scene.details),
    )


def _login(scene: Scene) -> tuple[Any, ...]:
    """What a login changes, in the order of the columns.

    Numbers in place of what is true or false: sqlite3 looks for an adapter of everything that it
    does not know, and that costs more than all the rest of a column.
    """
    jti, iat, exp, is_new = scene.claims or _NO_CLAIMS
    return scene.openid, scene.user_id, jti, iat, exp, int(is_new), int(scene.owed), scene.error


def _encoded(details: Mapping[str, str]) -> str:
    return _encode(details) if details else ""


def scene_of(row: tuple[Any, ...]) -> Scene:
    """A scene from `COLUMNS`, which stand in the order of its fields but for the claims."""
    claims = None if row[13] is None else Claims(row[13], row[14], row[15], bool(row[16]))
    details = _parsed(row[19])[0] if row[19] else {}
    state, kind = STATE_OF[row[1]], KIND_OF[row[3]]
    return Scene._make(
        (row[0], state, row[2], kind, *row[4:13], claims, bool(row[17]), row[18], details)
    )


T = TypeVar("T")

UNKNOWN_WHETHER_DONE = (StoreUnavailable, asyncio.CancelledError)
"""How waiting for a write ends that may be done all the same."""

RECENT = 256
"""Scenes kept in memory after they were begun or changed."""

OUTCOME_SECONDS = 600
"""How long the reply to an event is kept: well over WeChat's retries (about 15 s)."""


class SqliteSceneStore:
    """`SceneStore` on one file and one node, so that attaching is nothing but reading.

    Args:
        publish: called on the event loop with a notice after each change is committed.
    """

    def __init__(self, database: Database, clock: Clock, publish: Callable[[Notice], None]) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        self._recent: OrderedDict[SceneStr, Scene] = OrderedDict()
        """The scenes begun or changed last. This process alone writes the file, so they are as
        stored. Just these are read soon, by the page that opens its socket or after a notice, and
        a look here is cheaper than a query."""

    async def create(self, scene: Scene) -> Scene:
        await self._database.write(lambda db: db.execute(INSERT, row_of(scene)) and None)
        self._keep_recent(self._recent.get(scene.scene_str, scene))
        return scene

    async def get(self, scene_str: SceneStr) -> Scene | None:
        return self._read(scene_str)

    def at_hand(self, scene_str: SceneStr, seq: int = 0) -> Scene | None:
        try:
            return self._read(scene_str)
        except StoreUnavailable:
            return None  # `get` says what is wrong, to those who can wait for its end.

    def _read(self, scene_str: SceneStr) -> Scene | None:
        scene = self._recent.get(scene_str)
        if scene is None:
            with sqlite_errors():
                row = self._database.reader.execute(SELECT, (scene_str,)).fetchone()
            if row is None:
                return None
            scene = scene_of(row)
        return settle(scene, self._clock.now())

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        now = self._clock.now()
        known = self._recent.get(scene_str)
        return await self.written(
            scene_str, lambda db: _advance(db, scene_str, move, now, known), self.moved
        )

    def moved(self, step: Step) -> None:
        """A move is committed, if it was one."""
        if step.verdict is Verdict.MOVED and step.scene is not None:
            self.changed(step.scene)

    def changed(self, scene: Scene) -> None:
        """A change is committed: remember it for those who will ask, and tell them to."""
        known = self._recent.pop(scene.scene_str, scene)
        self._keep_recent(scene if scene.seq >= known.seq else known)
        self._publish(Notice(scene.scene_str, scene.seq))

    def _keep_recent(self, scene: Scene) -> None:
        self._recent[scene.scene_str] = scene
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    async def written(
        self,
        scene_str: SceneStr,
        job: Callable[[sqlite3.Connection], T],
        then: Callable[[T], None],
    ) -> T:
        """`Database.write` of a job that may move that scene.

        One that fails, or that nobody waits for any more, may be done all the same: then the scene
        is not remembered as it was before.
        """
        try:
            return await self._database.write(job, then)
        except UNKNOWN_WHETHER_DONE:
            self._recent.pop(scene_str, None)
            raise

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        return _watched(self._read(scene_str), watch_hash)

    def attach_at_hand(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        return _watched(self.at_hand(scene_str), watch_hash)

    async def reattach(self, scene_str: SceneStr, node: str, connection: int) -> Scene | None:
        return self._read(scene_str)

    async def detach(self, scene_str: SceneStr, node: str, connection: int) -> None:
        """Nothing was recorded."""

    async def owed(self, older_than_seconds: float, limit: int) -> Sequence[Scene]:
        now = self._clock.now()
        with sqlite_errors():
            rows = self._database.reader.execute(
                f"SELECT {COLUMNS} FROM scenes WHERE owed = 1 AND changed_at <= ? LIMIT ?",
                (now - older_than_seconds, limit),
            ).fetchall()
        settled = (settle(scene_of(row), now) for row in rows)
        return [scene for scene in settled if scene is not None and scene.owed]

    async def expire(self, limit: int) -> int:
        now = self._clock.now()
        with sqlite_errors():
            due = self._database.reader.execute(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM scenes WHERE ends_at <= ? LIMIT ?))"
                " + (SELECT count(*) FROM (SELECT 1 FROM kept WHERE ends_at <= ? LIMIT ?))",
                (now, limit, now, limit),
            ).fetchone()[0]
        if not due:
            return 0
        ended, touched = await self._database.write(lambda db: _expire(db, now, limit))
        for scene_str, scene in ended:
            if scene is None:
                self._recent.pop(scene_str, None)
            else:
                self.changed(scene)
        return touched

    async def recall(self, key: str) -> str | None:
        with sqlite_errors():
            return _kept(self._database.reader, key, self._clock.now())

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        now = self._clock.now()

        def job(db: sqlite3.Connection) -> str:
            kept = _kept(db, key, now)
            if kept is None:
                _keep(db, key, value, now + ttl_seconds)
            return value if kept is None else kept

        return await self._database.write(job)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        now = self._clock.now()

        def job(db: sqlite3.Connection) -> str | None:
            kept = _kept(db, key, now)
            _keep(db, key, value, now + ttl_seconds)
            return kept

        return await self._database.write(job)

    async def take(self, key: str) -> str | None:
        now = self._clock.now()

        def job(db: sqlite3.Connection) -> str | None:
            kept = _kept(db, key, now)
            db.execute("DELETE FROM kept WHERE key = ?", (key,))
            return kept

        return await self._database.write(job)

    async def count(self, key: str, ttl_seconds: float) -> int:
        now = self._clock.now()

        def job(db: sqlite3.Connection) -> int:
            kept = _kept(db, key, now)
            if kept is None:
                _keep(db, key, "1", now + ttl_seconds)
                return 1
            db.execute("UPDATE kept SET value = ? WHERE key = ?", (str(int(kept) + 1), key))
            return int(kept) + 1

        return await self._database.write(job)

    async def ping(self) -> None:
        await self._database.write(lambda db: db.execute("SELECT 1").fetchone())


def _watched(scene: Scene | None, watch_hash: bytes) -> Scene | None:
    matches = scene is not None and hmac.compare_digest(scene.watch_hash, watch_hash)
    return scene if matches else None


def _advance(
    db: sqlite3.Connection, scene_str: SceneStr, move: Move, now: float, known: Scene | None
) -> Step:
    """`known` is the scene as it was stored when this was asked. Most often it still is, which the
    writing itself finds out; else it is read, and decided again."""
    if known is not None and move.outcome is None:
        step = apply(known, move, now)
        if step.verdict is Verdict.MOVED and step.scene is not None:
            if update(db, step.scene, details=bool(move.details)):
                return step
    step = claimed_within(db, scene_str, move, now)
    if step.verdict is Verdict.MOVED and step.scene is not None:
        saved_within(db, step.scene, (move,), now)
    return step


def claimed_within(db: sqlite3.Connection, scene_str: SceneStr, move: Move, now: float) -> Step:
    """What `move` does to the scene, not yet written down: for a caller in the writer thread."""
    row = db.execute(SELECT, (scene_str,)).fetchone()
    scene = None if row is None else scene_of(row)
    if move.outcome is not None and (reply := _kept(db, move.outcome.key, now)) is not None:
        return Step(Verdict.REPEATED, settle(scene, now) if scene else None, reply, now)
    return apply(scene, move, now)


def saved_within(db: sqlite3.Connection, scene: Scene, moves: Sequence[Move], now: float) -> None:
    """Write down what `moves` made of a scene just read, in the caller's transaction."""
    update(db, scene, details=any(move.details for move in moves))
    for move in moves:
        if move.outcome is not None and move.outcome.reply is not None:
            _keep(db, move.outcome.key, move.outcome.reply, now + OUTCOME_SECONDS)


def _expire(
    db: sqlite3.Connection, now: float, limit: int
) -> tuple[list[tuple[SceneStr, Scene | None]], int]:
    rows = db.execute(
        f"SELECT {COLUMNS} FROM scenes WHERE ends_at <= ? ORDER BY ends_at LIMIT ?", (now, limit)
    ).fetchall()
    ended = []
    for row in rows:
        scene = settle(scene_of(row), now)
        if scene is None:
            db.execute("DELETE FROM scenes WHERE scene_str = ?", (row[0],))
        else:
            update(db, scene, details=False)
        ended.append((SceneStr(row[0]), scene))
    forgotten = db.execute(
        "DELETE FROM kept WHERE key IN (SELECT key FROM kept WHERE ends_at <= ? LIMIT ?)",
        (now, limit),
    )
    return ended, len(rows) + forgotten.rowcount


def _kept(db: sqlite3.Connection, key: str, now: float) -> str | None:
    row = db.execute("SELECT value FROM kept WHERE key = ? AND ends_at > ?", (key, now)).fetchone()
    return None if row is None else str(row[0])


def _keep(db: sqlite3.Connection, key: str, value: str, ends_at: float) -> None:
    db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, value, ends_at))


Authorization = Callable[[Scene, Login], Move]
"""The last move, once it is known who logs in."""


class WholeLogin(Protocol):
    """Claim, person and authorization, all or nothing; noticed once, after it is saved."""

    async def log_in(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        then: Authorization,
        *,
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        """The last move that was tried. Without a login it is the claim, which then moved nothing.

        Args:
            then: called in the transaction; must be pure.
            unionid_wanted: for a person whose unionid is unknown nothing is done, and None is
                returned: somebody must ask for it first.
        """


class SqliteWholeLogin:
    """`WholeLogin` in the embedded database."""

    def __init__(self, clock: Clock, scenes: SqliteSceneStore) -> None:
        self._clock = clock
        self._scenes = scenes

    async def log_in(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        then: Authorization,
        *,
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        now = self._clock.now()

        def job(db: Connection) -> tuple[Step, Login | None] | None:
            claimed = claimed_within(db, scene_str, claim, now)
            scene = claimed.scene
            if claimed.reply is not None or scene is None or scene.state is not State.SCANNED:
                return claimed, None
            if claimed.verdict is Verdict.REFUSED:
                return claimed, None
            login = log_in_within_transaction(
                db,
                identity,
                scene.scene_str,
                scene.account,
                now,
                first_try=claimed.verdict is Verdict.MOVED,
                unionid_wanted=unionid_wanted,
            )
            if login is None:
                return None
            move = then(scene, login)
            step = apply(scene, move, now)
            if step.verdict is Verdict.MOVED and step.scene is not None:
                saved_within(db, step.scene, (claim, move), now)
            return step, login

        return await self._scenes.written(scene_str, job, self._done)

    def _done(self, done: tuple[Step, Login | None] | None) -> None:
        """Without a login the claim moved nothing."""
        if done is not None and done[1] is not None:
            self._scenes.moved(done[0])
