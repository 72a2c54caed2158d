"""What only the event store in one file has to stand."""

import sqlite3
from contextlib import closing
from pathlib import Path

from services.events.store import Keeping
from services.events.store_sqlite import SCHEMA, SqliteEventStore
from services.sqlite import Database
from tests.contracts.test_event_store import due, login
from tests.stack import ON_LOOP

pytestmark = ON_LOOP


async def test_a_person_is_removed_while_events_are_read(tmp_path: Path) -> None:
    """By the writer's thread, between the lanes and their events: the others are told."""
    path = tmp_path / "scanpush.db"
    database = Database(path, "NORMAL", (SCHEMA,))
    database.open()
    store = SqliteEventStore(database, Keeping(told=True, audited=True))
    await store.keep([login("1"), login("2", 1)])

    def remove(statement: str) -> None:
        if statement.startswith("SELECT number"):
            database.reader.set_trace_callback(None)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("UPDATE events SET lane = NULL, due = NULL WHERE user = '1'")

    database.reader.set_trace_callback(remove)
    assert await due(store) == ["2 1"]
    await database.close()
