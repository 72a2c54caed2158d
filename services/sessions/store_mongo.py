"""Sessions in MongoDB: one document each, safe without transactions.

The order of the writes makes up for them:

- A session below another counts only while that one is there, for every reader. So the upper one
  is deleted first: what a crash leaves below it is over all the same, and is deleted when the upper
  one is ended again, or when the time of either is up.
- `begin` writes first and then looks again for the parent, the person and a ban, and takes back
  what may not be. A ban, a removal or an end that comes after that look finds the session.
- A refresh is one `find_one_and_update` that holds only while the presented token is the current
  one.

The fields have the names of `Session`; what is empty is left out, and hashes are texts, for not
every server that speaks MongoDB's protocol finds binary values.
"""

import asyncio
import base64
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.errors import StoreUnavailable
from services.events.store_mongo import MongoEventStore
from services.ids import UserId
from services.mongo_client import Document
from services.people.store_mongo import MongoUserStore
from services.sessions import states
from services.sessions.states import Refresh, Refreshed, Refreshing, Session, SessionId

TRIES = 20
"""Lost races in a row before giving up. Each means that another caller made a step."""

_EMPTY: Mapping[str, Any] = {
    **{"client": "", "parent": None, "label": "", "scope": ""},
    **{"previous_hash": "", "rotated_at": 0.0},
}

_HASHES = ("token_hash", "previous_hash")


class MongoSessionStore:
    """`SessionStore` for any number of nodes, over the connections of the store of people.

    Args:
        events: keeps what is told of a reused token; None: nothing is kept.
    """

    def __init__(self, users: MongoUserStore, events: MongoEventStore | None = None) -> None:
        self._users = users
        self._events = events

    async def open(self) -> None:
        """Make the indexes; `users` must be open.

        Raises: as `MongoUserStore.open`.
        """
        self._sessions = self._users.collection("sessions")
        async with self._users.call("createIndexes"):
            for field in ("user_id", "parent", "ends_at"):
                await self._sessions.create_index(field, sparse=field == "parent")

    async def begin(self, session: Session, *, most_per_user: int, now: float) -> Sequence[Session]:
        async with self._users.call():
            # Where it was begun before, what follows may not have been done.
            with contextlib.suppress(DuplicateKeyError):
                await self._sessions.insert_one(document_of(session))
            person, parent = await asyncio.gather(
                self._users.person(session.user_id),
                self._parent_of(session, now),
            )
            if person.banned or not person.known or (session.parent is not None and parent is None):
                await self._sessions.delete_one({"_id": session.id})
                return []
            if session.parent is not None or not most_per_user:
                return []
            alive = [one for one in await self._of_ids(person.ids) if one.ends_at > now]
            ending = states.longest_unused(alive, session.id, most_per_user)
            return [ended for one in ending for ended in await self._end(one.id)]

    async def get(self, session_id: SessionId, now: float) -> Session | None:
        async with self._users.call():
            return await self._get(session_id, now)

    async def refresh(self, asked: Refresh, now: float) -> Refreshing:
        async with self._users.call():
            # Most tokens are current ones of sessions that stand alone, and were used before.
            if asked.generation > 1 and (session := await self._rotate(asked, now)):
                return Refreshing(Refreshed.ROTATED, session)
            for _ in range(TRIES):
                found = await self._get(asked.id, now)
                outcome, session = states.refresh(found, asked, now)
                if session is not None and outcome is Refreshed.REUSED:
                    # Before the end: after it, no refresh would find the reuse again.
                    if self._events is not None:
                        await self._events.keep([states.reused(session, now)])
                    ended = await self._end(session.parent or session.id)
                    return Refreshing(outcome, session, ended)
                if found is None or session is None or outcome is not Refreshed.ROTATED:
                    return Refreshing(outcome, session)
                changed = await self._sessions.update_one(
                    {
                        "_id": asked.id,
                        "generation": asked.generation,
                        "token_hash": _text(asked.token_hash),
                    },
                    {"$set": _changes(found, session)},
                )
                if changed.matched_count:
                    return Refreshing(outcome, session)
        raise StoreUnavailable("MongoDB: too many refreshes of one session at once")

    async def _rotate(self, asked: Refresh, now: float) -> Session | None:
        """Use the presented token in one command; None where that needs a closer look."""
        used = {"used_at": {"$gt": now - asked.idle_seconds}} if asked.idle_seconds else {}
        found = await self._sessions.find_one_and_update(
            {
                "_id": asked.id,
                **({"client": asked.client} if asked.client else {"client": {"$exists": False}}),
                "parent": {"$exists": False},
                "generation": asked.generation,
                "token_hash": _text(asked.token_hash),
                "ends_at": {"$gt": now},
                **used,
            },
            {
                "$set": {
                    "generation": asked.generation + 1,
                    "token_hash": _text(asked.next_hash),
                    "previous_hash": _text(asked.token_hash),
                    "rotated_at": now,
                    "used_at": now,
                }
            },
            return_document=ReturnDocument.AFTER,
        )
        return None if found is None else session_of(found)

    async def confirm(self, session_id: SessionId, ends_at: float) -> None:
        async with self._users.call():
            await self._sessions.update_one({"_id": session_id}, {"$max": {"ends_at": ends_at}})

    async def prove(self, session_id: SessionId, auth_at: float, kind: str) -> None:
        async with self._users.call():
            await self._sessions.update_one(
                {"_id": session_id, "auth_at": {"$lte": auth_at}},
                {"$set": {"auth_at": auth_at, "kind": kind}, "$max": {"used_at": auth_at}},
            )

    async def of_user(self, user_id: UserId, now: float) -> Sequence[Session]:
        async with self._users.call():
            found = await self._of_ids((await self._users.person(user_id)).ids)
        return sorted(
            (one for one in found if one.ends_at > now),
            key=lambda one: (one.begun_at, one.id),
            reverse=True,
        )

    async def below(self, parent: SessionId, now: float) -> Sequence[Session]:
        async with self._users.call():
            if await self._get(parent, now) is None:
                return []
            found = await self._sessions.find({"parent": parent, "ends_at": {"$gt": now}}).to_list()
        return [session_of(document) for document in found]

    async def end(self, session_id: SessionId) -> Sequence[Session]:
        async with self._users.call():
            return await self._end(session_id)

    async def end_of_user(
        self, user_id: UserId, *, except_id: SessionId | None = None
    ) -> Sequence[Session]:
        async with self._users.call():
            found = await self._of_ids((await self._users.person(user_id)).ids)
            ending = [one.id for one in found if one.id != except_id]
            return [ended for one in ending for ended in await self._end(one)]

    async def expire(self, now: float, limit: int) -> int:
        async with self._users.call():
            due = self._sessions.find({"ends_at": {"$lte": now}}, ["_id"]).limit(limit)
            ids = [document["_id"] for document in await due.to_list()]
            if ids:
                # Those below them are over as well, whatever their own time says.
                await self._sessions.delete_many({"_id": {"$in": ids}, "ends_at": {"$lte": now}})
                await self._sessions.delete_many({"parent": {"$in": ids}})
        return len(ids)

    async def _get(self, session_id: SessionId, now: float) -> Session | None:
        document = await self._sessions.find_one({"_id": session_id, "ends_at": {"$gt": now}})
        if document is None:
            return None
        session = session_of(document)
        if session.parent is not None and await self._parent_of(session, now) is None:
            return None
        return session

    async def _parent_of(self, session: Session, now: float) -> Document | None:
        if session.parent is None:
            return None
        return await self._sessions.find_one({"_id": session.parent, "ends_at": {"$gt": now}})

    async def _of_ids(self, ids: Sequence[UserId]) -> list[Session]:
        """The sessions without a parent of one person, also those whose time is up."""
        of_person = {"user_id": {"$in": list(ids)}, "parent": {"$exists": False}}
        found = await self._sessions.find(of_person).sort("begun_at", DESCENDING).to_list()
        return [session_of(document) for document in found]

    async def _end(self, session_id: SessionId) -> list[Session]:
        first = await self._sessions.find_one_and_delete({"_id": session_id})
        ended = [] if first is None else [session_of(first)]
        # Also where it was gone already: a caller that was killed may have left these.
        async for document in self._sessions.find({"parent": session_id}, ["_id"]):
            gone = await self._sessions.find_one_and_delete({"_id": document["_id"]})
            if gone is not None:  # else another caller has ended it, and tells of it
                ended.append(session_of(gone))
        return ended


def document_of(session: Session) -> Document:
    fields = session._asdict()
    fields["_id"] = fields.pop("id")
    for name in _HASHES:
        fields[name] = _text(fields[name])
    return {
        name: value for name, value in fields.items() if name not in _EMPTY or value != _EMPTY[name]
    }


def session_of(document: Document) -> Session:
    values = {**_EMPTY, **document, "id": document["_id"]}
    for name in _HASHES:
        values[name] = base64.b64decode(values[name])
    return Session._make(values[name] for name in Session._fields)


def _changes(before: Session, after: Session) -> Document:
    """What `after` has other than `before`."""
    old = document_of(before)
    return {name: new for name, new in document_of(after).items() if new != old.get(name)}


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
