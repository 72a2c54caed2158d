"""A scanpush before and after its backend changes: both stores, filled as logins fill them."""

import argparse
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from migration.command import TO_MONGODB, TO_SQLITE, migrate
from services.events.entries import entry
from services.events.store import Dead, EventStore, Keeping, Later
from services.events.store_mongo import MongoEventStore
from services.events.store_sqlite import SCHEMA as EVENTS_SCHEMA
from services.events.store_sqlite import SqliteEventStore
from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.people.store import Identity, Profile, UserStore
from services.people.store_mongo import MongoUserStore
from services.people.store_sqlite import SCHEMA as PEOPLE_SCHEMA
from services.people.store_sqlite import SqliteUserStore
from services.screens.store_sqlite import SCHEMA as SCREENS_SCHEMA
from services.sessions.states import Session, SessionId
from services.sessions.store import SessionStore
from services.sessions.store_mongo import MongoSessionStore
from services.sessions.store_sqlite import SCHEMA as SESSIONS_SCHEMA
from services.sessions.store_sqlite import SqliteSessionStore
from services.settings.models import Settings
from services.sqlite import Database
from tests.contracts.sessions import a_session

NOW = 1_700_000_000.0

TABLES = ("users", "identities", "unionids_owed", "sessions", "events")


KEEPING = Keeping(told=True, audited=True)


class Site:
    """One file, one MongoDB database, and settings that name both.

    Attributes:
        entries: of the audit, in the store that is open.
    """

    entries: EventStore

    def __init__(self, folder: Path, mongo_url: str) -> None:
        self.path = folder / "scanpush.db"
        self.database = f"scanpush_test_{uuid.uuid4().hex[:12]}"
        self.url = mongo_url
        self.settings = Settings.model_validate(
            {
                "embedded": {"path": self.path},
                "mongodb": {"url": mongo_url, "database": self.database},
            }
        )
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"embedded: {{path: {self.path}}}\n"
            f"mongodb: {{url: '{mongo_url}', database: {self.database}}}\n"
        )

    async def run(self, direction: str, *, final: bool = False, dry_run: bool = False) -> int:
        """One run in this process; its exit code."""
        options = argparse.Namespace(direction=direction, final=final, dry_run=dry_run)
        return await migrate(self.settings, options)

    async def to_mongodb(self, **how: bool) -> int:
        return await self.run(TO_MONGODB, **how)

    async def to_sqlite(self, **how: bool) -> int:
        return await self.run(TO_SQLITE, **how)

    @asynccontextmanager
    async def embedded(self) -> AsyncIterator[tuple[UserStore, SessionStore]]:
        """The stores as a server with ``backend: embedded`` has them open."""
        schemas = (PEOPLE_SCHEMA, SESSIONS_SCHEMA, SCREENS_SCHEMA, EVENTS_SCHEMA)
        database = Database(self.path, "NORMAL", schemas)
        database.open()
        try:
            self.entries = SqliteEventStore(database, KEEPING)
            yield SqliteUserStore(database), SqliteSessionStore(database)
        finally:
            await database.close()

    @asynccontextmanager
    async def distributed(self) -> AsyncIterator[tuple[MongoUserStore, SessionStore]]:
        """The stores as a node with ``backend: distributed`` has them open."""
        users = MongoUserStore(self.url, self.database, timeout_seconds=30)
        await users.open()
        sessions = MongoSessionStore(users)
        await sessions.open()
        self.entries = MongoEventStore(users, KEEPING)
        await self.entries.open()
        try:
            yield users, sessions
        finally:
            await users.close()

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that SQLite keeps and the copy is for."""
        with sqlite3.connect(self.path) as connection:
            found = {
                table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
                for table in TABLES
            }
        connection.close()
        return found


async def happen(entries: EventStore, number: int = 1) -> None:
    """What there is of entries: for the audit alone, told, to be told, tried in vain, dead; some at
    one moment, and with one number."""
    told = [
        entry(type, NOW + at, f"{number} {n}", user=UserId(f"u{n}"), scene=f"s{n}")
        for n, (type, at) in enumerate(
            [("login", 0.5), ("registered", 0.5), ("denied", 1), ("login", 2), ("login", 3)]
        )
    ]
    alike = told[0]._replace(id=f"evt_{number}" + told[0].id[-2:], user=UserId("other"))
    deed = entry("operator", NOW + 4, outcome="users ban", detail="POST", account="main")
    await entries.keep([*told, alike, deed])
    due = {one.entry.id: one for one in await entries.due(NOW + 9, NOW + 9, 100)}
    *_, vain, over, done = (due[one.id] for one in told)
    dead = Dead(over.number, over.entry, 9, "HTTP 500")
    await entries.settle([done], [Later(vain, NOW + 30)], [dead])


def identity(name: str, unionid: str | None = None, app_id: str = "wx1") -> Identity:
    known = None if unionid is None else UnionId(unionid)
    return Identity(AppId(app_id), OpenId(name), known)


async def log_in(users: UserStore, who: Identity, at: float = NOW, **more: Any) -> UserId:
    login = await users.login(who, SceneStr(uuid.uuid4().hex), "default", at, **more)
    return login.user.id


def session(name: str, user_id: UserId, parent: str | None = None) -> Session:
    return a_session(
        user_id,
        NOW,
        id=SessionId(name),
        client="shop" if parent else "",
        parent=SessionId(parent) if parent else None,
        scope="openid" if parent else "",
        ends_at=NOW + 3600,
        generation=3,
        token_hash=b"a" * 32,
        previous_hash=b"\x00\xff" * 16,
        rotated_at=NOW - 5,
    )


async def populate(users: UserStore, sessions: SessionStore) -> dict[str, UserId]:
    """People of every kind that there is, by what is special about them."""
    ids = {
        "plain": await log_in(users, identity("plain"), profile=Profile("张三", "https://a/b.png")),
        "owing": await log_in(users, identity("owing"), unionid_wanted=True),
        "banned": await log_in(users, identity("banned")),
        "left": await log_in(users, identity("left"), profile=Profile("gone", email="g@x.cn")),
        "two ways": await log_in(users, identity("way:1", "u1", "wx:2")),
    }
    await users.ban(ids["banned"], True, NOW + 1)
    await users.follow(identity("left"), NOW + 2, following=False)
    await log_in(users, identity("a:way", "u1"), NOW + 3)
    # Three users who turn out to be one, two by two: an alias of an alias.
    oldest = await log_in(users, identity("z1", app_id="wx3"), NOW - 30)
    middle = await log_in(users, identity("z2", app_id="wx2"), NOW - 20)
    youngest = await log_in(users, identity("z3"), NOW - 10, profile=Profile("李四", phone="1"))
    await users.join(identity("z3", "u2"))
    await users.join(identity("z2", "u2", "wx2"))
    await users.join(identity("z1", "u2", "wx3"))
    ids |= {"oldest": oldest, "middle": middle, "youngest": youngest}
    for one in (
        session("s1", ids["plain"]),
        session("s2", youngest),
        session("s3", youngest, "s2"),
    ):
        await sessions.begin(one, most_per_user=0, now=NOW)
    return ids
