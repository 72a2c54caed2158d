"""People in a file that an older version made."""

import sqlite3
from pathlib import Path

import pytest

from services.errors import SettingsError
from services.ids import AppId, OpenId, SceneStr, UserId
from services.people.store import Identity
from services.people.store_sqlite import SCHEMA, SqliteUserStore
from services.sqlite import SCHEMA_VERSION, Database

pytestmark = pytest.mark.gen_test

NOW = 1_760_000_000.0

OLD = """
CREATE TABLE probe (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, avatar TEXT NOT NULL, account TEXT NOT NULL,
    created_at REAL NOT NULL, last_login_at REAL NOT NULL, logins INTEGER NOT NULL,
    alias_of TEXT, phone TEXT NOT NULL, email TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE identities (
    app_id TEXT NOT NULL, openid TEXT NOT NULL, unionid TEXT, user_id TEXT NOT NULL,
    following INTEGER NOT NULL, follow_changed_at REAL NOT NULL,
    PRIMARY KEY (app_id, openid)
) WITHOUT ROWID;
CREATE TABLE logins (
    scene_str TEXT PRIMARY KEY, user_id TEXT NOT NULL, is_new INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE unionids_owed (
    app_id TEXT NOT NULL, openid TEXT NOT NULL, due REAL NOT NULL, PRIMARY KEY (app_id, openid)
) WITHOUT ROWID;
INSERT INTO users VALUES ('u1', 'Ann', '', 'default', 1, 2, 3, NULL, '', '');
INSERT INTO identities VALUES ('wx1', 'ann', NULL, 'u1', 1, 0);
PRAGMA user_version = 1;
"""
"""As schema 1 was, with one person."""


def old_file(folder: Path) -> Path:
    path = folder / "scanpush.db"
    with sqlite3.connect(path) as db:
        db.executescript(OLD)
    db.close()
    return path


async def test_a_file_of_schema_1_goes_on(tmp_path: Path) -> None:
    """Its people are there, none of them banned; they can be, new ones come, and it opens again."""
    path = old_file(tmp_path)
    for times in (1, 2):
        database = Database(path, "NORMAL", (SCHEMA,))
        database.open()
        store = SqliteUserStore(database)
        ann, bob = (Identity(AppId("wx1"), OpenId(name)) for name in ("ann", "bob"))
        known = await store.login(ann, SceneStr(f"a{times}"), "default", NOW)
        assert (known.user.id, known.user.logins, known.user.banned) == ("u1", 3 + times, False)
        met = await store.login(bob, SceneStr(f"b{times}"), "default", NOW)
        assert met.is_new is (times == 1)
        assert await store.ban(UserId("u1"), True, NOW)
        assert (await store.login(ann, SceneStr(f"c{times}"), "default", NOW)).user.banned
        assert await store.ban(UserId("u1"), False, NOW)
        await database.close()


async def test_the_older_version_refuses_the_file_afterwards(tmp_path: Path) -> None:
    """Its first logins would fail, and it would let banned people in: better not to start."""
    path = old_file(tmp_path)
    database = Database(path, "NORMAL", (SCHEMA,))
    database.open()
    (version,) = await database.write(lambda db: db.execute("PRAGMA user_version").fetchone())
    await database.close()
    assert version == SCHEMA_VERSION > 1


async def test_a_column_that_cannot_be_added_stops_the_start(tmp_path: Path) -> None:
    """One without a default, say: the operator is told, and the file is left as it was."""
    path = old_file(tmp_path)
    schema = SCHEMA.replace("banned_at REAL", "banned_at REAL NOT NULL")
    with pytest.raises(SettingsError, match="is not a usable database: Cannot add a NOT NULL"):
        Database(path, "NORMAL", (schema,)).open()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()
