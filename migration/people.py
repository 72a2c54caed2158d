"""People: users, identities, aliases and unionids that are owed.

SQLite has a row for each user and each identity. MongoDB keeps a user in the document of one of
their identities (`services.people.mongo_identities`), the smallest by its key here. What has no
identity of its own there is kept at ``user:<id>``: a user who became an alias, for which identity
was theirs is not known in SQLite, and one who has none.

The scenes of the last logins are not copied: they are for repeats of a scene's login, and no scene
outlives the change of the backend.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pymongo import ReplaceOne

from migration.copying import PAGE, Records
from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.mongo_client import Document
from services.people.mongo_identities import (
    DocumentReader,
    IdentityLinks,
    LoginRecord,
    identity_of,
    key_of,
    link_document,
    primary_record,
    unionid_document,
    unionid_key,
)
from services.people.store import Identity, Profile
from services.people.store_mongo import MongoUserStore
from services.sqlite import Database, sqlite_errors
from services.tasks import Supervisor

Row = tuple[Any, ...]

COMMAND_SECONDS = 30.0
"""For each command to MongoDB: a page is more than a login."""

_USER_COLUMNS = ", ".join(
    ("id", "name", "avatar", "account", "created_at", "last_login_at", "logins", "alias_of")
    + ("phone", "email", "banned_at")
)
_IDENTITY = """SELECT i.app_id, i.openid, i.unionid, i.user_id, i.following, i.follow_changed_at,
    o.due FROM identities i LEFT JOIN unionids_owed o USING (app_id, openid)"""

_PERSONS = f"""WITH RECURSIVE person (id) AS (
    SELECT value FROM json_each(?)
    UNION SELECT users.id FROM users JOIN person ON users.alias_of = person.id
) SELECT {_USER_COLUMNS} FROM users JOIN person USING (id)"""

_FIRST_IDENTITY, _FIRST_UNIONID, _FIRST_USER = "openid:", "unionid:", "user:"
_AFTER_IDENTITIES = "openid;"
"""The first text after all that begin with ``openid:``."""


def documents_of(users: Sequence[Row], identities: Iterable[Row]) -> dict[str, Document]:
    """The documents of one person, by `_id`.

    Args:
        users: rows of `users`, the one that stayed and its aliases.
        identities: rows of `_IDENTITY`.
    """
    known = {key_of(Identity(AppId(row[0]), OpenId(row[1]))): row for row in identities}
    keys = sorted(known)
    (stayed,) = (row for row in users if row[7] is None)
    home = keys[0] if keys else _FIRST_USER + stayed[0]
    aliases = [row for row in users if row[7] is not None]
    documents: dict[str, Document] = {}
    for alias in aliases:
        of = home if alias[7] == stayed[0] else _FIRST_USER + alias[7]
        key = _FIRST_USER + alias[0]
        documents[key] = _user_document(key, alias) | {"home": False, "of": of, "left": False}
    documents[home] = _user_document(home, stayed) | {
        "absorbed": sorted(_FIRST_USER + alias[0] for alias in aliases)
    }
    for key in keys:
        app_id, _, unionid, _, following, changed_at, due = known[key]
        document = documents[key] if key == home else link_document(key, home, unionid)
        documents[key] = document | {
            "unionid": unionid,
            "following": bool(following),
            "follow_changed_at": changed_at,
            **({} if due is None else {"unionid_owed": {"app_id": app_id, "due": due}}),
        }
        if unionid is not None and unionid_key(unionid) not in documents:
            documents[unionid_key(unionid)] = unionid_document(unionid, key)
    return documents


def _user_document(key: str, row: Row) -> Document:
    user_id, name, avatar, account, created_at, last_login_at, logins, _, phone, email, ban = row
    profile = Profile(name, avatar, phone, email)
    first = LoginRecord(SceneStr(""), account, created_at, profile, UserId(user_id))
    known = {"last_login_at": last_login_at, "logins": logins, "recent": []}
    return primary_record(key, None, first) | known | ({} if ban is None else {"banned_at": ban})


class PeopleToMongo:
    """Persons from SQLite; a unit is a user who is no alias."""

    name = "people"

    def __init__(self, reader: sqlite3.Connection, users: MongoUserStore) -> None:
        self._reader = reader
        self._users = users
        self._people = users.collection("people")

    async def count(self) -> int:
        with sqlite_errors():
            return int(self._reader.execute("SELECT count(*) FROM users").fetchone()[0])

    async def page(self, after: str) -> tuple[str, int, Records]:
        with sqlite_errors():
            # One moment for all tables; it is short, so the server's log goes on being restarted.
            self._reader.execute("BEGIN")
            try:
                roots = self._reader.execute(
                    "SELECT id FROM users WHERE id > ? AND alias_of IS NULL ORDER BY id LIMIT ?",
                    (after, PAGE),
                ).fetchall()
                ids = json.dumps([root for (root,) in roots])
                users = self._reader.execute(_PERSONS, (ids,)).fetchall()
                identities = self._reader.execute(
                    f"{_IDENTITY} WHERE i.user_id IN (SELECT value FROM json_each(?))", (ids,)
                ).fetchall()
            finally:
                self._reader.execute("COMMIT")
        alias_of = {row[0]: row[7] for row in users}
        of_person: dict[str, list[Row]] = defaultdict(list)
        for row in users:
            stayed = row[0]
            while alias_of[stayed] is not None:
                stayed = alias_of[stayed]
            of_person[stayed].append(row)
        identities_of: dict[str, list[Row]] = defaultdict(list)
        for row in identities:
            identities_of[row[3]].append(row)
        records: dict[str, Document] = {}
        for stayed, rows in of_person.items():
            records |= documents_of(rows, identities_of[stayed])
        return (roots[-1][0] if roots else after), len(roots), records

    async def kept(self, keys: Collection[str]) -> Records:
        async with self._users.call():
            found = await self._people.find({"_id": {"$in": list(keys)}}).to_list()
        return {document["_id"]: document for document in found}

    async def write(self, records: Records) -> None:
        ids = [document["user_id"] for document in records.values() if "user_id" in document]
        replacing = [ReplaceOne({"_id": key}, one, upsert=True) for key, one in records.items()]
        async with self._users.call():
            # A user whose identities changed may be kept elsewhere, and the id is unique.
            await self._people.delete_many({"user_id": {"$in": ids}})
            await self._people.bulk_write(replacing, ordered=False)

    async def kept_keys(self, after: str) -> list[str]:
        async with self._users.call():
            found = self._people.find({"_id": {"$gt": after}}, ["_id"]).sort("_id").limit(PAGE)
            return [document["_id"] for document in await found.to_list()]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        with sqlite_errors():
            return [key for key in keys if self._is_wanted(key)]

    def _is_wanted(self, key: str) -> bool:
        if key.startswith(_FIRST_IDENTITY):
            identity = identity_of(key)
            asked: Row = (identity.app_id, identity.openid)
            query = "SELECT 1 FROM identities WHERE app_id = ? AND openid = ?"
        elif key.startswith(_FIRST_UNIONID):
            asked = (key.removeprefix(_FIRST_UNIONID),)
            query = "SELECT 1 FROM identities WHERE unionid = ?"
        else:
            asked = (key.removeprefix(_FIRST_USER),)
            query = """SELECT 1 FROM users WHERE id = ? AND (alias_of IS NOT NULL
                OR NOT EXISTS (SELECT 1 FROM identities WHERE user_id = users.id))"""
        return self._reader.execute(query, asked).fetchone() is not None

    async def remove(self, keys: Collection[str]) -> None:
        async with self._users.call():
            await self._people.delete_many({"_id": {"$in": list(keys)}})


@asynccontextmanager
async def identity_links(users: MongoUserStore) -> AsyncIterator[IdentityLinks]:
    """`IdentityLinks` over the connections of `users`."""
    people, supervisor = users.collection("people"), Supervisor()
    try:
        reader = DocumentReader(people, supervisor, timeout_seconds=COMMAND_SECONDS)
        yield IdentityLinks(people, reader)
    finally:
        await supervisor.close()


async def finish_merges(users: MongoUserStore) -> None:
    """Finish what crashed nodes left of users who became one, as their next login would."""
    async with users.call():
        left = await users.collection("people").find({"left": True}, ["_id"]).to_list()
    async with identity_links(users) as links:
        for document in left:
            async with users.call():
                await links.finish_merges(await links.path(document["_id"]))


class _FromMongo:
    """Reads people in MongoDB and follows their links; the destination is SQLite."""

    def __init__(self, users: MongoUserStore, database: Database) -> None:
        self._users = users
        self._people = users.collection("people")
        self._database = database

    async def _user_ids(self, documents: Sequence[Document]) -> dict[str, list[str]]:
        """By `_id` of each document that leads to a user: the ids of the users on the way beyond
        it, that of the one who stayed last; its own where it is that one's."""
        known = {document["_id"]: document for document in documents}
        asked = set(known)
        # A person who is being removed leads nowhere, and is not copied.
        while (
            of := {one["of"] for one in known.values() if "of" in one and not one["home"]} - asked
        ):
            asked |= of
            found = self._people.find({"_id": {"$in": list(of)}}, ["user_id", "home", "of"])
            known |= {one["_id"]: one for one in await found.to_list()}
        ways = {}
        for document in documents:
            way, one = [], document
            while not one["home"] and one.get("of") in known:
                one = known[one["of"]]
                way += [one["user_id"]] if "user_id" in one else []
            if one["home"]:
                ways[document["_id"]] = way or [one["user_id"]]
        return ways


class UsersToSqlite(_FromMongo):
    """Users, aliases among them."""

    name = "users"

    async def count(self) -> int:
        async with self._users.call():
            return await self._people.count_documents({"user_id": {"$exists": True}})

    async def page(self, after: str) -> tuple[str, int, Records]:
        async with self._users.call():
            found = self._people.find({"user_id": {"$gt": after}}).sort("user_id").limit(PAGE)
            documents = await found.to_list()
            ways = await self._user_ids(documents)
        records = {}
        for one in documents:
            # A node that starts tries its rights on a document that it removes again.
            if one["_id"].startswith("start:") or one["_id"] not in ways:
                continue
            alias_of = None if one["home"] else ways[one["_id"]][0]
            known = (one[name] for name in ("name", "avatar", "account", "created_at"))
            rest = (one["phone"], one["email"], one.get("banned_at"))
            logins = (one["last_login_at"], one["logins"])
            records[one["user_id"]] = (one["user_id"], *known, *logins, alias_of, *rest)
        return (documents[-1]["user_id"] if documents else after), len(documents), records

    async def kept(self, keys: Collection[str]) -> Records:
        query = f"SELECT {_USER_COLUMNS} FROM users WHERE id IN (SELECT value FROM json_each(?))"
        with sqlite_errors():
            rows = self._database.reader.execute(query, (json.dumps(list(keys)),)).fetchall()
        return {row[0]: row for row in rows}

    async def write(self, records: Records) -> None:
        change = f"INSERT OR REPLACE INTO users ({_USER_COLUMNS}) VALUES (?{', ?' * 10})"
        await self._database.write(lambda db: db.executemany(change, records.values()) and None)

    async def kept_keys(self, after: str) -> list[str]:
        query = "SELECT id FROM users WHERE id > ? ORDER BY id LIMIT ?"
        with sqlite_errors():
            return [row[0] for row in self._database.reader.execute(query, (after, PAGE))]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        async with self._users.call():
            found = self._people.find({"user_id": {"$in": list(keys)}}, ["user_id"])
            return [document["user_id"] for document in await found.to_list()]

    async def remove(self, keys: Collection[str]) -> None:
        await self._database.write(
            lambda db: db.executemany("DELETE FROM users WHERE id = ?", [(key,) for key in keys])
            and None
        )


class IdentitiesToSqlite(_FromMongo):
    """Identities, and whether a unionid is owed of each."""

    name = "identities"

    async def count(self) -> int:
        async with self._users.call():
            return await self._people.count_documents(
                {"_id": {"$gt": _FIRST_IDENTITY, "$lt": _AFTER_IDENTITIES}}
            )

    async def page(self, after: str) -> tuple[str, int, Records]:
        beyond = {"_id": {"$gt": after or _FIRST_IDENTITY, "$lt": _AFTER_IDENTITIES}}
        async with self._users.call():
            documents = await self._people.find(beyond).sort("_id").limit(PAGE).to_list()
            ways = await self._user_ids(documents)
        records = {}
        for one in documents:
            # Without a way to a user the identity was never made: a login ended before that.
            if way := ways.get(one["_id"]):
                identity = identity_of(one["_id"])
                due = one.get("unionid_owed", {}).get("due")
                noted = (int(one["following"]), one["follow_changed_at"], due)
                unionid: UnionId | None = one["unionid"]
                names = (identity.app_id, identity.openid, unionid)
                records[one["_id"]] = (*names, way[-1], *noted)
        return (documents[-1]["_id"] if documents else after), len(documents), records

    async def kept(self, keys: Collection[str]) -> Records:
        found = {}
        with sqlite_errors():
            for key in keys:
                row = self._database.reader.execute(
                    f"{_IDENTITY} WHERE i.app_id = ? AND i.openid = ?", identity_of(key)[:2]
                ).fetchone()
                if row is not None:
                    found[key] = row
        return found

    async def write(self, records: Records) -> None:
        def job(db: sqlite3.Connection) -> None:
            for *identity, due in records.values():
                db.execute("INSERT OR REPLACE INTO identities VALUES (?, ?, ?, ?, ?, ?)", identity)
                _forget_owed(db, *identity[:2])
                if due is not None:
                    db.execute("INSERT INTO unionids_owed VALUES (?, ?, ?)", (*identity[:2], due))

        await self._database.write(job)

    async def kept_keys(self, after: str) -> list[str]:
        last = identity_of(after)[:2] if after else ("", "")
        query = """SELECT app_id, openid FROM identities WHERE (app_id, openid) > (?, ?)
            ORDER BY app_id, openid LIMIT ?"""
        with sqlite_errors():
            rows = self._database.reader.execute(query, (*last, PAGE)).fetchall()
        return [key_of(Identity(AppId(app_id), OpenId(openid))) for app_id, openid in rows]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        async with self._users.call():
            found = self._people.find({"_id": {"$in": list(keys)}}, ["_id"])
            return [document["_id"] for document in await found.to_list()]

    async def remove(self, keys: Collection[str]) -> None:
        def job(db: sqlite3.Connection) -> None:
            for key in keys:
                names = identity_of(key)[:2]
                db.execute("DELETE FROM identities WHERE app_id = ? AND openid = ?", names)
                _forget_owed(db, *names)

        await self._database.write(job)


def _forget_owed(db: sqlite3.Connection, app_id: str, openid: str) -> None:
    db.execute("DELETE FROM unionids_owed WHERE app_id = ? AND openid = ?", (app_id, openid))
