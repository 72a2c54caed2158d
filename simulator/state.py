"""What the simulated WeChat still knows after a restart.

Small JSON documents by shelf and key, in one SQLite file, or nowhere. A change is written within
`WRITTEN_WITHIN_SECONDS`, together with those that come meanwhile: thousands of codes a second are
made under load, and a write for each would be most of the simulator's work.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("scanpush.simulator")

WRITTEN_WITHIN_SECONDS = 0.25

VERSION = 1
"""Of the documents: their fields are those of the simulator's classes."""

_TABLE = """CREATE TABLE documents (
    number INTEGER PRIMARY KEY, shelf TEXT, key TEXT, document TEXT, UNIQUE (shelf, key)
)"""
# A document that is put again keeps its number, and with it its place.
_PUT = """INSERT INTO documents (shelf, key, document) VALUES (?, ?, ?)
ON CONFLICT (shelf, key) DO UPDATE SET document = excluded.document"""

Document = dict[str, Any] | Callable[[], dict[str, Any]]


class State:
    """The documents of one simulated WeChat. One process at a time has the file.

    Args:
        path: the file, made where it is missing, for its owner's eyes only: it holds secrets, if
            only simulated ones. None: nothing is kept, and everything is found empty.

    Raises:
        OSError: the file cannot be used, or another process uses it.
    """

    def __init__(self, path: Path | None) -> None:
        self._changes: dict[tuple[str, str], Document | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            database = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from None
        try:
            # With the lock kept, a second simulator learns at once that the file is in use.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            # Only a crash of the whole machine could lose the last changes.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN IMMEDIATE")
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
            if not version:
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
        except sqlite3.Error as error:
            database.close()
            raise OSError(f"{path}: {error}") from None
        if version not in (0, VERSION):
            database.close()
            raise OSError(f"{path}: is of another version; delete it to begin as new")
        self._database = database

    def documents(self, shelf: str) -> dict[str, dict[str, Any]]:
        """All documents of this shelf by key, in the order in which they were put first."""
        self._write()
        if self._database is None:
            return {}
        rows = self._database.execute(
            "SELECT key, document FROM documents WHERE shelf = ? ORDER BY number", (shelf,)
        )
        return {json.loads(key): json.loads(document) for key, document in rows}

    def put(self, shelf: str, key: str, document: Document) -> None:
        """Keep this document, or what the callable makes of it when it is written."""
        self._change(shelf, key, document)

    def drop(self, shelf: str, key: str) -> None:
        self._change(shelf, key, None)

    def _change(self, shelf: str, key: str, document: Document | None) -> None:
        if self._database is None:
            return
        self._changes[shelf, key] = document
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WRITTEN_WITHIN_SECONDS, self._write)

    def _write(self) -> None:
        self._timer = None
        changes, self._changes = self._changes, {}
        if self._database is None or not changes:
            return
        dropped, put = [], []
        # Keys as JSON, too: a name may hold half of a surrogate pair, which is no UTF-8.
        for (shelf, key), document in changes.items():
            if document is None:
                dropped.append((shelf, json.dumps(key)))
            else:
                text = json.dumps(document() if callable(document) else document)
                put.append((shelf, json.dumps(key), text))
        try:
            self._database.execute("BEGIN")
            self._database.executemany("DELETE FROM documents WHERE shelf = ? AND key = ?", dropped)
            self._database.executemany(_PUT, put)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            log.warning("the simulated WeChat keeps nothing more over a restart: %s", error)
            self._database.close()
            self._database = None

    def close(self) -> None:
        """Write what is left and give the file free. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
        self._write()
        if self._database is not None:
            self._database.close()
            self._database = None
