"""What only the store in SQLite does; its contract is in tests/contracts."""

import secrets
import uuid
from pathlib import Path

import pytest

from services.ids import UserId
from services.people.store_sqlite import SCHEMA as PEOPLE_SCHEMA
from services.sessions.states import Session
from services.sessions.store_sqlite import _INSERT, SCHEMA
from services.sessions.tokens import new_session_id
from services.sqlite import Database

NOW = 1_760_000_000.5
SESSIONS = 100_000
MOST_BYTES = 614
"""0.6 KB."""


def a_session(number: int) -> Session:
    """As large as they come: of a client, below a browser session, and refreshed before."""
    return Session(
        new_session_id(),
        UserId(uuid.uuid4().hex),
        client="grafana-production",
        parent=new_session_id() if number % 2 else None,
        account="default",
        kind="official_account",
        label="Chrome, Windows",
        amr="wechat",
        scope="openid profile offline_access",
        begun_at=NOW + number / 7,
        auth_at=NOW + number / 7,
        used_at=NOW + number / 7,
        ends_at=NOW + number / 7 + 2_592_000,
        generation=300,
        token_hash=secrets.token_bytes(32),
        previous_hash=secrets.token_bytes(32),
        rotated_at=NOW + number / 7,
    )


@pytest.mark.slow
@pytest.mark.gen_test(timeout=60)
async def test_a_session_takes_little_room(tmp_path: Path) -> None:
    """At most 0.6 KB in the file for each of a hundred thousand, indexes included, also once half
    of them have ended and others came in their place."""
    database = Database(tmp_path / "scanpush.db", "NORMAL", (PEOPLE_SCHEMA, SCHEMA))
    database.open()
    try:
        rows = [a_session(number) for number in range(SESSIONS)]
        await database.write(lambda db: db.executemany(_INSERT, rows) and None)
        assert await size(database) <= MOST_BYTES * SESSIONS
        gone = [(row.id,) for row in rows[::2]]
        await database.write(
            lambda db: db.executemany("DELETE FROM sessions WHERE id = ?", gone) and None
        )
        more = [a_session(number) for number in range(SESSIONS, SESSIONS * 3 // 2)]
        await database.write(lambda db: db.executemany(_INSERT, more) and None)
        assert await size(database) <= MOST_BYTES * SESSIONS
    finally:
        await database.close()


async def size(database: Database) -> int:
    """Bytes of the file."""
    pages, each = [
        await database.write(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "page_size")
    ]
    return int(pages * each)
