"""Entries of the audit, events that are not told yet, and dead letters.

SQLite numbers each entry on its own; in MongoDB two of one microsecond may have one number. So a
key here is the source's number and the id, and an entry that comes to SQLite takes the next number
that is free, as it does when it is kept there first.
"""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from pymongo import ReplaceOne

from migration.copying import PAGE, Records
from services.events.entries import Entry
from services.events.store_mongo import document_of, entry_of
from services.events.store_sqlite import insert
from services.mongo_client import Document
from services.people.store_mongo import MongoUserStore
from services.sqlite import Database, sqlite_errors

Row = tuple[Any, ...]

NAME = "events"

_COLUMNS = ("lane", "due", "tries", "error", *Entry._fields)
_SELECT = f"SELECT number, {', '.join(_COLUMNS)} FROM events"

TAKEN = 512
"""The numbers of one microsecond and rank (`Entry.number`): so far apart an entry's numbers in both
stores are at most."""


def to_document(number: int, row: Row) -> Document:
    """What MongoDB keeps of a row of `_COLUMNS`."""
    lane, due, tries, error, *fields = row
    document = document_of(Entry._make(fields), number)
    if due is not None:
        return document | {"lane": lane, "due": due, "tries": tries}
    if lane is not None:
        return document | {"dead": number, "tries": tries, "error": error}
    return document


def to_row(document: Document) -> Row:
    """The row of `_COLUMNS` for what MongoDB keeps."""
    entry, due = entry_of(document), document.get("due")
    lane = entry.lane if due is not None or "dead" in document else None
    return (lane, due, document.get("tries", 0), document.get("error", ""), *entry)


def _key(number: int, event_id: str) -> str:
    return f"{number} {event_id}"


def _number(key: str) -> int:
    return int(key.partition(" ")[0] or -1)


def _id(key: str) -> str:
    return key.partition(" ")[2]


class EventsToMongo:
    """From SQLite; a unit is a row."""

    name = NAME

    def __init__(self, reader: sqlite3.Connection, users: MongoUserStore) -> None:
        self._reader = reader
        self._users = users
        self._events = users.collection(NAME)

    async def count(self) -> int:
        with sqlite_errors():
            return int(self._reader.execute("SELECT count(*) FROM events").fetchone()[0])

    async def page(self, after: str) -> tuple[str, int, Records]:
        query = f"{_SELECT} WHERE number > ? ORDER BY number LIMIT ?"
        with sqlite_errors():
            rows = self._reader.execute(query, (_number(after), PAGE)).fetchall()
        documents = [to_document(row[0], row[1:]) for row in rows]
        records = {_key(one["number"], one["_id"]): one for one in documents}
        return (next(reversed(records), after)), len(rows), records

    async def kept(self, keys: Collection[str]) -> Records:
        async with self._users.call():
            found = await self._events.find({"_id": {"$in": [*map(_id, keys)]}}).to_list()
        return {_key(one["number"], one["_id"]): one for one in found}

    async def write(self, records: Records) -> None:
        replacing = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in records.values()]
        async with self._users.call():
            await self._events.bulk_write(replacing, ordered=False)

    async def kept_keys(self, after: str) -> list[str]:
        # All of them were copied from SQLite: no two have one number.
        later = {"number": {"$gt": _number(after)}}
        async with self._users.call():
            found = self._events.find(later, ["number"]).sort("number").limit(PAGE)
            return [_key(one["number"], one["_id"]) for one in await found.to_list()]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        query = "SELECT 1 FROM events WHERE number = ? AND id = ?"
        with sqlite_errors():
            return [
                key
                for key in keys
                if self._reader.execute(query, (_number(key), _id(key))).fetchone()
            ]

    async def remove(self, keys: Collection[str]) -> None:
        async with self._users.call():
            await self._events.delete_many({"_id": {"$in": [*map(_id, keys)]}})


class EventsToSqlite:
    """From MongoDB; a unit is a document."""

    name = NAME

    def __init__(self, users: MongoUserStore, database: Database) -> None:
        self._users = users
        self._events = users.collection(NAME)
        self._database = database

    async def count(self) -> int:
        async with self._users.call():
            return await self._events.count_documents({})

    async def page(self, after: str) -> tuple[str, int, Records]:
        later = {"number": {"$gt": _number(after)}}
        async with self._users.call():
            documents = await self._events.find(later).sort("number").limit(PAGE).to_list()
            if documents:
                # All that share the last number, for the next page begins after it.
                same = await self._events.find({"number": documents[-1]["number"]}).to_list()
                documents = [*{one["_id"]: one for one in (*documents, *same)}.values()]
        records = {_key(one["number"], one["_id"]): to_row(one) for one in documents}
        return next(reversed(records), after), len(documents), records

    async def kept(self, keys: Collection[str]) -> Records:
        with sqlite_errors():
            found = {key: _found(self._database.reader, key) for key in keys}
        return {key: row[1:] for key, row in found.items() if row is not None}

    async def write(self, records: Records) -> None:
        def job(db: sqlite3.Connection) -> None:
            for key, (lane, due, tries, error, *fields) in records.items():
                if (before := _found(db, key)) is not None:
                    db.execute("DELETE FROM events WHERE number = ?", before[:1])
                insert(db, Entry._make(fields), lane, due, tries, error)

        await self._database.write(job)

    async def kept_keys(self, after: str) -> list[str]:
        query = "SELECT number, id FROM events WHERE number > ? ORDER BY number LIMIT ?"
        with sqlite_errors():
            rows = self._database.reader.execute(query, (_number(after), PAGE)).fetchall()
        return [_key(number, event_id) for number, event_id in rows]

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        async with self._users.call():
            found = self._events.find({"_id": {"$in": [*map(_id, keys)]}}, ["_id"])
            ids = {one["_id"] for one in await found.to_list()}
        return [key for key in keys if _id(key) in ids]

    async def remove(self, keys: Collection[str]) -> None:
        gone = [(_number(key), _id(key)) for key in keys]
        await self._database.write(
            lambda db: db.executemany("DELETE FROM events WHERE number = ? AND id = ?", gone)
            and None
        )


def _found(db: sqlite3.Connection, key: str) -> Sequence[Any] | None:
    """The row that SQLite has of an entry, with its number there."""
    query, number = f"{_SELECT} WHERE number BETWEEN ? AND ? AND id = ?", _number(key)
    around = (number - TAKEN, number + TAKEN, _id(key))
    row: Sequence[Any] | None = db.execute(query, around).fetchone()
    return row
