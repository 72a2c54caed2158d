"""Screens in the embedded database: each change is one transaction, in the writer's order."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from services.screens.store import Beginning, Screen, new_id
from services.sqlite import Database, sqlite_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS screens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, label TEXT NOT NULL, keypad INTEGER NOT NULL,
    secret_hash BLOB NOT NULL, next_hash BLOB NOT NULL, paired_at REAL NOT NULL,
    revoked_at REAL NOT NULL, notice TEXT NOT NULL, reload INTEGER NOT NULL, seen_at REAL NOT NULL,
    begun_at REAL NOT NULL, page TEXT NOT NULL, browser TEXT NOT NULL, transport TEXT NOT NULL,
    scenes TEXT NOT NULL
) WITHOUT ROWID;
"""

_SELECT = f"SELECT {', '.join(Screen._fields)} FROM screens"
_OF_SECRET = f"{_SELECT} WHERE ? IN (secret_hash, next_hash) AND revoked_at = 0"
_REPLACE = f"REPLACE INTO screens VALUES ({', '.join('?' * len(Screen._fields))})"


class SqliteScreenStore:
    """`ScreenStore` in one file, for one process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[Screen]:
        with sqlite_errors():
            rows = self._database.reader.execute(f"{_SELECT} ORDER BY name").fetchall()
        return [screen_of(row) for row in rows]

    async def of_secret(self, secret_hash: bytes) -> Screen | None:
        with sqlite_errors():
            return _found(self._database.reader, _OF_SECRET, secret_hash)

    async def pair(self, screen: Screen) -> bool:
        def job(db: sqlite3.Connection) -> bool:
            found = _named(db, screen.name)
            if found is not None and found.secret_hash:
                return False
            # A record without a secret is what was noted of a screen of the settings.
            _keep(db, screen if found is None else screen._replace(id=found.id))
            return True

        return await self._database.write(job)

    async def begun(self, secret_hash: bytes, beginning: Beginning) -> Screen | None:
        def job(db: sqlite3.Connection) -> Screen | None:
            found = _found(db, _OF_SECRET, secret_hash)
            if found is None:
                return None
            if found.secret_hash != secret_hash:
                found = found._replace(secret_hash=secret_hash, next_hash=b"")
            return _keep(db, found.with_scene(beginning))

        return await self._database.write(job)

    async def begun_at(self, name: str, beginning: Beginning) -> None:
        await self._database.write(
            lambda db: _keep(db, _noted(db, name).with_scene(beginning)) and None
        )

    async def seen(self, screen_id: str, transport: str, at: float) -> None:
        await self._database.write(
            lambda db: db.execute(
                "UPDATE screens SET transport = ?, seen_at = max(seen_at, ?) WHERE id = ?",
                (transport, at, screen_id),
            )
            and None
        )

    async def change(self, screen_id: str, changes: Mapping[str, Any]) -> Screen | None:
        def job(db: sqlite3.Connection) -> Screen | None:
            found = _found(db, f"{_SELECT} WHERE id = ? AND revoked_at = 0", screen_id)
            if found is None:
                return None
            other = _named(db, changes.get("name", found.name))
            if other is not None and other.id != screen_id:
                return None
            return _keep(db, found._replace(**changes))

        return await self._database.write(job)

    async def care_for(self, name: str, changes: Mapping[str, Any]) -> None:
        await self._database.write(
            lambda db: _keep(db, _noted(db, name)._replace(**changes)) and None
        )

    async def revoke(self, screen_id: str, at: float) -> Screen | None:
        def job(db: sqlite3.Connection) -> Screen | None:
            found = _found(db, f"{_SELECT} WHERE id = ? AND revoked_at = 0", screen_id)
            if found is None:
                return None
            return _keep(db, found.revoked(at))

        return await self._database.write(job)

    async def forget(self, revoked_before: float) -> None:
        await self._database.write(
            lambda db: db.execute(
                "DELETE FROM screens WHERE revoked_at > 0 AND revoked_at < ?", (revoked_before,)
            )
            and None
        )


def row_of(screen: Screen) -> tuple[Any, ...]:
    """A screen as the row of its table."""
    return (*screen[:-1], json.dumps(screen.scenes))


def screen_of(row: Sequence[Any]) -> Screen:
    """The screen of a row."""
    screen = Screen._make(row)
    return screen._replace(keypad=bool(screen.keypad), scenes=tuple(json.loads(row[-1])))


def _found(db: sqlite3.Connection, query: str, value: Any) -> Screen | None:
    row = db.execute(query, (value,)).fetchone()
    return None if row is None else screen_of(row)


def _named(db: sqlite3.Connection, name: str) -> Screen | None:
    return _found(db, f"{_SELECT} WHERE name = ?", name)


def _noted(db: sqlite3.Connection, name: str) -> Screen:
    """The record of a screen of the settings, which may be new."""
    return _named(db, name) or Screen(new_id(), name)


def _keep(db: sqlite3.Connection, screen: Screen) -> Screen:
    db.execute(_REPLACE, row_of(screen))
    return screen
