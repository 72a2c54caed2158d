"""Entries in MongoDB: one document each, safe without transactions.

What is empty is left out, so that sparse indexes hold only what they are asked for. A document that
is pending has `lane` and `due`, a dead letter has `dead`. The lease is a document of its own.
"""

import asyncio
import itertools
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from pymongo import DESCENDING, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from services.errors import StoreUnavailable
from services.events.entries import DELETION, Entry, nameless, number_at
from services.events.store import (
    FURTHER_LANES,
    MOST_COUNTED,
    MOST_LOOKED_AT,
    MOST_OF_LANE,
    Backlog,
    Dead,
    Keeping,
    Later,
    Page,
    Pending,
    Search,
)
from services.ids import UserId
from services.mongo_client import Document
from services.people.store_mongo import MongoUserStore

DUPLICATE = 11000
"""MongoDB's code of a key that exists."""

_LEASE = "owner"

_INDEXES: Sequence[str] = ("user", "person", "account", "outcome", "screen", "scene")


class MongoEventStore:
    """`EventStore` for any number of nodes, over the connections of the store of people.

    Args:
        keeping: which entries, and for what.
        most_looked_at: see `MOST_LOOKED_AT`; a test makes it small.
    """

    def __init__(
        self, users: MongoUserStore, keeping: Keeping, *, most_looked_at: int = MOST_LOOKED_AT
    ) -> None:
        self._users = users
        self._keeping = keeping
        self._most_looked_at = most_looked_at
        self._last_lane = ""
        """Where the search for further lanes goes on."""

    async def open(self) -> None:
        """Make the indexes; `users` must be open.

        Raises: as `MongoUserStore.open`.
        """
        self._events = self._users.collection("events")
        self._leases = self._users.collection("event_leases")
        async with self._users.call("createIndexes"):
            await self._events.create_index("number")
            for field in ("due", "dead"):
                await self._events.create_index(field, sparse=True)
            await self._events.create_index([("lane", 1), ("number", 1)], **_having("lane"))
            if self._keeping.audited:
                for field in _INDEXES:
                    await self._events.create_index([(field, 1), ("number", -1)], **_having(field))

    async def keep(self, entries: Sequence[Entry]) -> None:
        documents = [self._document(one) for one in entries if self._keeping.keeps(one)]
        if not documents:
            return
        async with self._users.call():
            try:
                await self._events.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                # The driver's own words quote the documents.
                details = error.details
                codes = {failed["code"] for failed in details["writeErrors"]} - {DUPLICATE}
                if codes or details["writeConcernErrors"]:
                    raise StoreUnavailable("MongoDB: entries are not safely kept") from None

    def _document(self, entry: Entry) -> Document:
        kept = document_of(entry, entry.number)
        if self._keeping.tells(entry):
            kept.update(lane=entry.lane, due=entry.at, tries=0)
        return kept

    async def lease(self, node: str, now: float, seconds: float) -> bool:
        free = {"_id": _LEASE, "$or": [{"node": node}, {"until": {"$lte": now}}]}
        async with self._users.call():
            try:
                await self._leases.update_one(
                    free, {"$set": {"node": node, "until": now + seconds}}, upsert=True
                )
            except DuplicateKeyError:
                return False  # another node has it
        return True

    async def release(self, node: str) -> None:
        async with self._users.call():
            await self._leases.delete_one({"_id": _LEASE, "node": node})

    async def due(self, now: float, until: float, limit: int) -> Sequence[Pending]:
        async with self._users.call():
            lanes = await self._due_lanes(now, limit)
            if not lanes:
                return []
            pending = await self._pending({"$in": lanes}, most := len(lanes) * MOST_OF_LANE)
            if len(pending) == most:
                # Some may have taken the place of others.
                each = await asyncio.gather(*(self._pending(one, MOST_OF_LANE) for one in lanes))
                pending = sorted(itertools.chain(*each), key=itemgetter("number"))
            first_due: dict[str, float] = {}
            for found in pending:
                first_due.setdefault(found["lane"], found["due"])
            # They would be found again in each round, until the first of their lane is due.
            waiting = [
                UpdateMany({"lane": lane, "due": {"$lt": due_at}}, {"$set": {"due": due_at}})
                for lane, due_at in first_due.items()
                if due_at > now
            ]
            if waiting:
                await self._events.bulk_write(waiting, ordered=False)
        return [
            Pending(found["number"], entry_of(found), found["lane"], found["tries"])
            for found in pending
            if first_due[found["lane"]] <= now and found["at"] <= until
        ]

    async def _due_lanes(self, now: float, limit: int) -> list[str]:
        """Those due longest."""
        lanes: dict[str, None] = {}
        looked_at = 0
        async with (
            self._events.find({"due": {"$lte": now}}, {"_id": False, "lane": True})
            .sort("due")
            .limit(self._most_looked_at)
            .batch_size(limit)
        ) as due:
            async for found in due:
                looked_at += 1
                lanes[found["lane"]] = None
                if len(lanes) == limit:
                    break
        for _ in range(FURTHER_LANES if looked_at == self._most_looked_at else 0):
            further = {"lane": {"$gt": self._last_lane}, "due": {"$exists": True}}
            first = await self._events.find_one(further, {"lane": True}, sort=[("lane", 1)])
            self._last_lane = "" if first is None else first["lane"]
            if first is not None:
                lanes[first["lane"]] = None
        return list(lanes)

    async def _pending(self, lane: str | Document, most: int) -> list[Document]:
        which = {"lane": lane, "due": {"$exists": True}}
        return await self._events.find(which).sort("number").limit(most).to_list()

    async def settle(
        self, told: Sequence[Pending], later: Sequence[Later], dead: Sequence[Dead]
    ) -> None:
        changes = [
            UpdateOne(
                {"_id": one.event.entry.id, "due": {"$exists": True}},
                {"$set": {"due": one.due, "tries": one.event.tries + 1}},
            )
            for one in later
        ] + [
            UpdateOne(
                {"_id": one.entry.id, "due": {"$exists": True}},
                {
                    "$set": {"dead": one.number, "tries": one.tries, "error": one.error},
                    "$unset": {"due": "", "lane": ""},
                },
            )
            for one in dead
        ]
        async with self._users.call():
            if told:
                done = {"_id": {"$in": [one.entry.id for one in told]}, "due": {"$exists": True}}
                if self._keeping.audited:
                    await self._events.update_many(
                        done, {"$unset": {"due": "", "lane": "", "tries": "", "error": ""}}
                    )
                else:
                    await self._events.delete_many(done)
            if changes:
                await self._events.bulk_write(changes, ordered=False)

    async def backlog(self) -> Backlog:
        is_pending = {"due": {"$exists": True}}
        async with self._users.call():
            pending = await self._events.count_documents(
                {"due": {"$gte": 0}}, limit=MOST_COUNTED, hint="due_1"
            )
            dead = await self._events.count_documents(
                {"dead": {"$gte": 0}}, limit=MOST_COUNTED, hint="dead_1"
            )
            # By `due` and not by `at`, for which there is no index of the pending ones alone.
            oldest = await self._events.find(is_pending, ["at"]).sort("due").limit(1000).to_list()
        return Backlog(pending, dead, min((found["at"] for found in oldest), default=None))

    async def dead_letters(self, before: int | None, limit: int) -> Sequence[Dead]:
        older = {"$gte": 0} if before is None else {"$gte": 0, "$lt": before}
        async with self._users.call():
            found = self._events.find({"dead": older}).sort("dead", DESCENDING).limit(limit)
            letters = await found.to_list()
        return [Dead(one["number"], entry_of(one), one["tries"], one["error"]) for one in letters]

    async def send_again(self, event_id: str | None, now: float, limit: int) -> int:
        which: Document = {"dead": {"$gte": 0}}
        if event_id is not None:
            which["_id"] = event_id
        async with self._users.call():
            letters = await self._events.find(which).sort("dead").limit(limit).to_list()
            changes = [
                UpdateOne(
                    {"_id": one["_id"], "dead": {"$exists": True}},
                    {
                        "$set": {"due": now, "lane": entry_of(one).lane, "tries": 0},
                        "$unset": {"dead": "", "error": ""},
                    },
                )
                for one in letters
            ]
            if not changes:
                return 0
            return (await self._events.bulk_write(changes, ordered=False)).modified_count

    async def search(self, search: Search, before: int | None, limit: int) -> Page:
        numbers: Document = {}
        if search.since is not None:
            numbers["$gte"] = number_at(search.since)
        bounds = [] if before is None else [before]
        if search.until is not None:
            bounds.append(number_at(search.until))
        if bounds:
            numbers["$lt"] = min(bounds)
        which: Document = {"number": numbers} if numbers else {}
        for field in ("account", "screen", "outcome"):
            if value := getattr(search, field):
                which[field] = value
        if search.scene:
            which["scene"] = {"$gte": search.scene, "$lt": search.scene + "g"}
        people = _people(search.users, search.hashes)
        if search.short_hash:
            people.append({"person": search.short_hash})
        if people:
            which = {**which, "$or": people} if len(people) > 1 else {**which, **people[0]}
        async with self._users.call():
            found = await (
                self._events.find(which).sort("number", DESCENDING).limit(limit + 1).to_list()
            )
        entries = [entry_of(one) for one in found[:limit]]
        return Page(entries, found[limit - 1]["number"] if len(found) > limit else None)

    async def forget(self, users: Sequence[UserId], hashes: Sequence[str], limit: int) -> int:
        which = {"$or": _people(users, hashes), "outcome": {"$ne": DELETION}}
        async with self._users.call():
            found = await self._events.find(which).limit(limit).to_list()
            ids = [one["_id"] for one in found]
            if ids and not self._keeping.audited:
                await self._events.delete_many({"_id": {"$in": ids}})
            elif ids:
                gone = dict.fromkeys(
                    ("user", "person", "lane", "due", "dead", "tries", "error"), ""
                )
                await self._events.bulk_write(
                    [
                        UpdateOne(
                            {"_id": one["_id"]},
                            {
                                "$set": {"detail": nameless(entry_of(one), users).detail},
                                "$unset": gone,
                            },
                        )
                        for one in found
                    ],
                    ordered=False,
                )
        return len(ids)

    async def expire(self, before: float, limit: int) -> int:
        old: Document = {"number": {"$lt": number_at(before)}}
        if self._keeping.told:
            old["due"] = {"$exists": False}
        async with self._users.call():
            found = self._events.find(old, ["_id"]).sort("number").limit(limit)
            ids = [one["_id"] for one in await found.to_list()]
            if ids:
                await self._events.delete_many({"_id": {"$in": ids}})
        return len(ids)


def _having(field: str) -> dict[str, Any]:
    """An index of those documents alone that have the field."""
    return {"partialFilterExpression": {field: {"$exists": True}}}


def _people(users: Sequence[UserId], hashes: Sequence[str]) -> list[Document]:
    """The ways in which entries name a person."""
    ways: list[Document] = [{"user": {"$in": list(users)}}] if users else []
    if hashes:
        ways.append({"person": {"$in": list(hashes)}, "user": {"$exists": False}})
    return ways


def document_of(entry: Entry, number: int) -> Document:
    """What is kept of an entry that is not to be told."""
    kept: Document = {name: value for name, value in entry._asdict().items() if value}
    kept["_id"] = kept.pop("id")
    return {**kept, "number": number}


def entry_of(found: Document) -> Entry:
    facts = {name: found[name] for name in Entry._fields if name in found}
    return Entry(**{**facts, "id": found["_id"]})
