"""How much room sessions take; what the stores do is in tests/contracts."""

import secrets
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import bson
import httpx
import pytest
import yaml

from services.clock import SystemClock
from services.ids import secret_hash
from services.people.store_sqlite import SCHEMA as PEOPLE_SCHEMA
from services.sessions.states import Session
from services.sessions.store_mongo import document_of
from services.sessions.store_sqlite import _INSERT, SCHEMA
from services.sessions.tokens import RefreshTokens, new_session_id
from services.sqlite import Database
from tests.contracts.sessions import a_session
from tests.processes import ServerProcess

NOW = 1_760_000_000.5
SESSIONS = 100_000
MOST_BYTES = 614
"""0.6 KB."""
_INSERT_USER = """INSERT INTO users
    (id, name, avatar, account, created_at, last_login_at, logins, phone, email)
    VALUES (?, '', '', 'default', 0, 0, 1, '', '')"""


def large_session(number: int) -> Session:
    """As large as they come: of a client, below a browser session, and refreshed before."""
    at = NOW + number / 7
    return a_session(
        uuid.uuid4().hex,
        at,
        client="grafana-production",
        parent=new_session_id() if number % 2 else None,
        scope="openid profile offline_access",
        ends_at=at + 2_591_000,
        generation=300,
        token_hash=secrets.token_bytes(32),
        previous_hash=secrets.token_bytes(32),
        rotated_at=at,
    )


@pytest.mark.slow
@pytest.mark.gen_test(timeout=60)
async def test_a_session_takes_little_room(tmp_path: Path) -> None:
    """At most 0.6 KB in the file for each of a hundred thousand, indexes included, also once half
    of them have ended and others came in their place."""
    database = Database(tmp_path / "scanpush.db", "NORMAL", (PEOPLE_SCHEMA, SCHEMA))
    database.open()
    try:
        rows = [large_session(number) for number in range(SESSIONS)]
        await database.write(lambda db: db.executemany(_INSERT, rows) and None)
        assert await size(database) <= MOST_BYTES * SESSIONS
        gone = [(row.id,) for row in rows[::2]]
        await database.write(
            lambda db: db.executemany("DELETE FROM sessions WHERE id = ?", gone) and None
        )
        more = [large_session(number) for number in range(SESSIONS, SESSIONS * 3 // 2)]
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


def test_a_session_is_a_small_document_in_mongodb() -> None:
    """As BSON, before MongoDB compresses it, and without its indexes."""
    assert len(bson.encode(document_of(large_session(1)))) <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=120)
async def test_sessions_take_no_memory_of_the_node(tmp_path: Path) -> None:
    """A server with a hundred thousand of them in its store, of which it renews a thousand, is as
    large as one with a thousand: the pages that SQLite keeps are limited."""
    config = tmp_path / "config.yaml"
    sections = {
        "server": {"port": 0},
        "limits": {"scenes_per_minute_per_address": 0},
        "sessions": {"refresh_ttl_seconds": 86400, "most_per_user": 0},
    }
    config.write_text(yaml.safe_dump(sections))
    now, derived = SystemClock().now(), RefreshTokens([secrets.token_bytes(32)])
    async with ServerProcess(config) as server, httpx.AsyncClient(base_url=server.url) as http:
        sizes = []
        for count in (1_000, SESSIONS - 1_000):
            rows = [
                large_session(0)._replace(
                    client="", scope="", ends_at=now + 3600, generation=1, begun_at=now
                )
                for _ in range(count)
            ]
            tokens = [derived.derive(row.id, 1) for row in rows]
            rows = [
                row._replace(token_hash=secret_hash(token))
                for row, token in zip(rows, tokens, strict=True)
            ]
            with closing(sqlite3.connect(tmp_path / "data" / "scanpush.db", timeout=30)) as db:
                db.executemany(_INSERT, rows)
                # A session is renewed for a person only who is there.
                db.executemany(_INSERT_USER, [(row.user_id,) for row in rows])
                db.commit()
            for token in tokens[:: len(tokens) // 1_000]:
                answer = await http.post("/api/token/refresh", json={"refresh_token": token})
                assert answer.status_code == 200, answer.text
            sizes.append(server.resident_bytes)
        print(f"{(sizes[1] - sizes[0]) / SESSIONS:.1f} bytes of the node a session")
        assert sizes[1] - sizes[0] < 10e6
