"""Records that are alike on both sides: a row of a table, and a document of a collection.

Another such table is one more `Alike`.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import ReplaceOne

from migration.copying import PAGE, Records
from services.mongo_client import Document
from services.people.store_mongo import MongoUserStore
from services.screens import store_mongo as screens_mongo
from services.screens import store_sqlite as screens_sqlite
from services.screens.store import Screen
from services.sessions.states import Session
from services.sessions.store_mongo import document_of, session_of
from services.sqlite import Database, sqlite_errors


@dataclass(frozen=True, slots=True)
class Alike:
    """A table and a collection of one name.

    Args:
        columns: the first is the key, in the collection ``_id``.
        to_document, to_row: from one form to the other; what they bring is compared with ``==``.
    """

    name: str
    columns: Sequence[str]
    to_document: Callable[[tuple[Any, ...]], Document]
    to_row: Callable[[Document], tuple[Any, ...]]

    @property
    def select(self) -> str:
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"


SESSIONS = Alike(
    name="sessions",
    columns=Session._fields,
    to_document=lambda row: document_of(Session._make(row)),
    to_row=lambda document: tuple(session_of(document)),
)
"""Sessions: logins that can be renewed, browsers and clients of the OpenID Provider."""

SCREENS = Alike(
    name="screens",
    columns=Screen._fields,
    to_document=lambda row: screens_mongo.document_of(screens_sqlite.screen_of(row)),
    to_row=lambda document: screens_sqlite.row_of(screens_mongo.screen_of(document)),
)
"""Screens that were paired, and what is noted of those of the settings."""


class AlikeToMongo:
    """From SQLite; a unit is a row."""

    def __init__(
        self, alike: Alike, reader: sqlite3.Connection, connections: MongoUserStore
    ) -> None:
        self.name = alike.name
        self._alike = alike
        self._reader = reader
        self._connections = connections
        self._collection = connections.collection(alike.name)

    async def count(self) -> int:
        with sqlite_errors():
            return int(self._reader.execute(f"SELECT count(*) FROM {self.name}").fetchone()[0])

    async def page(self, after: str) -> tuple[str, int, Records]:
        key = self._alike.columns[0]
        query = f"{self._alike.select} WHERE {key} > ? ORDER BY {key} LIMIT ?"
        with sqlite_errors():
            rows = self._reader.execute(query, (after, PAGE)).fetchall()
        records = {row[0]: self._alike.to_document(row) for row in rows}
        return (rows[-1][0] if rows else after), len(rows), records

    async def kept(self, keys: Collection[str]) -> Records:
        async with self._connections.call():
            found = await self._collection.find({"_id": {"$in": list(keys)}}).to_list()
        return {document["_id"]: document for document in found}

    async def write(self, records: Records) -> None:
        replacing = [ReplaceOne({"_id": key}, one, upsert=True) for key, one in records.items()]
        async with self._connections.call():
            await self._collection.bulk_write(replacing, ordered=False)

    async def kept_keys(self, after: str) -> list[str]:
        async with self._connections.call():
            found = self._collection.find({"_id": {"$gt": after}}, ["_id"]).sort("_id").limit(PAGE)
            return [document["_id"] for document in await found.to_list()]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        key = self._alike.columns[0]
        query = f"SELECT {key} FROM {self.name} WHERE {key} IN (SELECT value FROM json_each(?))"
        with sqlite_errors():
            return [row[0] for row in self._reader.execute(query, (json.dumps(list(keys)),))]

    async def remove(self, keys: Collection[str]) -> None:
        async with self._connections.call():
            await self._collection.delete_many({"_id": {"$in": list(keys)}})


class AlikeToSqlite:
    """From MongoDB; a unit is a document."""

    def __init__(self, alike: Alike, connections: MongoUserStore, database: Database) -> None:
        self.name = alike.name
        self._alike = alike
        self._connections = connections
        self._collection = connections.collection(alike.name)
        self._database = database

    async def count(self) -> int:
        async with self._connections.call():
            return await self._collection.count_documents({})

    async def page(self, after: str) -> tuple[str, int, Records]:
        async with self._connections.call():
            found = self._collection.find({"_id": {"$gt": after}}).sort("_id").limit(PAGE)
            documents = await found.to_list()
        records = {document["_id"]: self._alike.to_row(document) for document in documents}
        return (documents[-1]["_id"] if documents else after), len(documents), records

    async def kept(self, keys: Collection[str]) -> Records:
        key = self._alike.columns[0]
        query = f"{self._alike.select} WHERE {key} IN (SELECT value FROM json_each(?))"
        with sqlite_errors():
            rows = self._database.reader.execute(query, (json.dumps(list(keys)),)).fetchall()
        return {row[0]: row for row in rows}

    async def write(self, records: Records) -> None:
        names = ", ".join(self._alike.columns)
        marks = ", ".join("?" * len(self._alike.columns))
        change = f"INSERT OR REPLACE INTO {self.name} ({names}) VALUES ({marks})"
        await self._database.write(lambda db: db.executemany(change, records.values()) and None)

    async def kept_keys(self, after: str) -> list[str]:
        key = self._alike.columns[0]
        query = f"SELECT {key} FROM {self.name} WHERE {key} > ? ORDER BY {key} LIMIT ?"
        with sqlite_errors():
            return [row[0] for row in self._database.reader.execute(query, (after, PAGE))]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        async with self._connections.call():
            found = self._collection.find({"_id": {"$in": list(keys)}}, ["_id"])
            return [document["_id"] for document in await found.to_list()]

    async def remove(self, keys: Collection[str]) -> None:
        change = f"DELETE FROM {self.name} WHERE {self._alike.columns[0]} = ?"
        await self._database.write(
            lambda db: db.executemany(change, [(key,) for key in keys]) and None
        )
