"""Sessions in the embedded database: each change is one transaction, in the writer thread's order.

A session that ended is deleted with those below it. Rows stand in the order in which sessions
begin (a rowid table), so that pages are full: 0.4 KB a session with its indexes (measured).
"""

import sqlite3
from collections.abc import Sequence

from services.events.store_sqlite import SqliteEventStore
from services.ids import UserId
from services.people.store_sqlite import person_in_transaction
from services.sessions import states
from services.sessions.states import Refresh, Refreshed, Refreshing, Session, SessionId
from services.sqlite import Database, sqlite_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, client TEXT NOT NULL, parent TEXT,
    account TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, amr TEXT NOT NULL,
    scope TEXT NOT NULL, begun_at REAL NOT NULL, auth_at REAL NOT NULL, used_at REAL NOT NULL,
    ends_at REAL NOT NULL, generation INTEGER NOT NULL, token_hash BLOB NOT NULL,
    previous_hash BLOB NOT NULL, rotated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS sessions_by_user ON sessions (user_id) WHERE parent IS NULL;
CREATE INDEX IF NOT EXISTS sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_by_end ON sessions (ends_at);
"""

_COLUMNS = ", ".join(Session._fields)
_SELECT = f"SELECT {_COLUMNS} FROM sessions"
_INSERT = (
    f"INSERT INTO sessions VALUES ({', '.join('?' * len(Session._fields))})"
    " ON CONFLICT (id) DO NOTHING"
)
_ROTATE = """UPDATE sessions SET generation = ?, token_hash = ?, previous_hash = ?, rotated_at = ?,
    used_at = ?, ends_at = ? WHERE id = ?"""
_DELETE = f"DELETE FROM sessions WHERE id = ? OR parent = ? RETURNING {_COLUMNS}"


class SqliteSessionStore:
    """`SessionStore` in one file, for one process.

    Args:
        events: keeps what is told of a reused token; None: nothing is kept.
    """

    def __init__(self, database: Database, events: SqliteEventStore | None = None) -> None:
        self._database = database
        self._events = events

    async def begin(self, session: Session, *, most_per_user: int, now: float) -> Sequence[Session]:
        return await self._database.write(
            lambda db: begin_in_transaction(db, session, most_per_user, now)
        )

    async def get(self, session_id: SessionId, now: float) -> Session | None:
        with sqlite_errors():
            return _get(self._database.reader, session_id, now)

    async def refresh(self, asked: Refresh, now: float) -> Refreshing:
        def job(db: sqlite3.Connection) -> Refreshing:
            outcome, session = states.refresh(_get(db, asked.id, now), asked, now)
            if session is not None and outcome is Refreshed.ROTATED:
                changed = (session.generation, session.token_hash, session.previous_hash)
                times = (session.rotated_at, session.used_at, session.ends_at)
                db.execute(_ROTATE, (*changed, *times, session.id))
            if session is not None and outcome is Refreshed.REUSED:
                if self._events is not None:
                    self._events.keep_in_transaction(db, [states.reused(session, now)])
                return Refreshing(outcome, session, _end(db, session.parent or session.id))
            return Refreshing(outcome, session)

        return await self._database.write(job)

    async def confirm(self, session_id: SessionId, ends_at: float) -> None:
        await self._database.write(
            lambda db: db.execute(
                "UPDATE sessions SET ends_at = ? WHERE id = ? AND ends_at < ?",
                (ends_at, session_id, ends_at),
            )
            and None
        )

    async def prove(self, session_id: SessionId, auth_at: float, kind: str) -> None:
        await self._database.write(
            lambda db: db.execute(
                "UPDATE sessions SET auth_at = ?, kind = ?, used_at = max(used_at, ?)"
                " WHERE id = ? AND auth_at <= ?",
                (auth_at, kind, auth_at, session_id, auth_at),
            )
            and None
        )

    async def of_user(self, user_id: UserId, now: float) -> Sequence[Session]:
        with sqlite_errors():
            found = _of_user(self._database.reader, user_id)
        return sorted(
            (one for one in found if one.ends_at > now),
            key=lambda one: (one.begun_at, one.id),
            reverse=True,
        )

    async def below(self, parent: SessionId, now: float) -> Sequence[Session]:
        with sqlite_errors():
            if _get(self._database.reader, parent, now) is None:
                return []
            rows = self._database.reader.execute(
                f"{_SELECT} WHERE parent = ? AND ends_at > ?", (parent, now)
            ).fetchall()
        return [Session._make(row) for row in rows]

    async def end(self, session_id: SessionId) -> Sequence[Session]:
        return await self._database.write(lambda db: _end(db, session_id))

    async def end_of_user(
        self, user_id: UserId, *, except_id: SessionId | None = None
    ) -> Sequence[Session]:
        def job(db: sqlite3.Connection) -> list[Session]:
            ending = [one.id for one in _of_user(db, user_id) if one.id != except_id]
            return [ended for one in ending for ended in _end(db, one)]

        return await self._database.write(job)

    async def expire(self, now: float, limit: int) -> int:
        due = "SELECT id FROM sessions WHERE ends_at <= ? ORDER BY ends_at LIMIT ?"
        # Most rounds find nothing due: they look on this thread, and the writer is left alone.
        with sqlite_errors():
            if self._database.reader.execute(due, (now, 1)).fetchone() is None:
                return 0

        def job(db: sqlite3.Connection) -> int:
            rows = db.execute(due, (now, limit)).fetchall()
            for (session_id,) in rows:
                _end(db, session_id)
            return len(rows)

        return await self._database.write(job)


def begin_in_transaction(
    db: sqlite3.Connection, session: Session, most_per_user: int, now: float
) -> list[Session]:
    """`SessionStore.begin` in the caller's transaction, which may also authorize the scene."""
    if session.parent is not None and _get(db, session.parent, now) is None:
        return []
    person = person_in_transaction(db, session.user_id)
    if person.banned or not person.known:
        return []
    begun = db.execute(_INSERT, session).rowcount
    if not begun or session.parent is not None or not most_per_user:
        return []
    alive = [one for one in _of_user(db, session.user_id) if one.ends_at > now]
    ending = states.longest_unused(alive, session.id, most_per_user)
    return [ended for one in ending for ended in _end(db, one.id)]


def _get(db: sqlite3.Connection, session_id: SessionId, now: float) -> Session | None:
    row = db.execute(f"{_SELECT} WHERE id = ? AND ends_at > ?", (session_id, now)).fetchone()
    if row is None:
        return None
    session = Session._make(row)
    if session.parent is not None and _get(db, session.parent, now) is None:
        return None
    return session


def _of_user(db: sqlite3.Connection, user_id: UserId) -> list[Session]:
    """The person's sessions without a parent, also those whose time is up."""
    ids = person_in_transaction(db, user_id).ids
    marks = ", ".join("?" * len(ids))
    rows = db.execute(f"{_SELECT} WHERE parent IS NULL AND user_id IN ({marks})", ids).fetchall()
    return [Session._make(row) for row in rows]


def _end(db: sqlite3.Connection, session_id: SessionId) -> list[Session]:
    rows = db.execute(_DELETE, (session_id, session_id)).fetchall()
    return [Session._make(row) for row in rows]
