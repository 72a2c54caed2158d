"""Screens in MongoDB: one document each, whose changes are single commands.

A unique index gives a name to one screen. The fields have the names of `Screen`; hashes are texts,
for not every server that speaks MongoDB's protocol finds binary values.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.mongo_client import Document
from services.people.store_mongo import MongoUserStore
from services.screens.store import MOST_SCENES, Beginning, Screen, new_id

_HASHES = ("secret_hash", "next_hash")


class MongoScreenStore:
    """`ScreenStore` for any number of nodes, over the connections of the store of people."""

    def __init__(self, users: MongoUserStore) -> None:
        self._users = users

    async def open(self) -> None:
        """Make the indexes; `users` must be open.

        Raises: as `MongoUserStore.open`.
        """
        self._screens = self._users.collection("screens")
        async with self._users.call("createIndexes"):
            await self._screens.create_index("name", unique=True)
            for field in _HASHES:
                await self._screens.create_index(field)

    async def all(self) -> Sequence[Screen]:
        async with self._users.call():
            found = await self._screens.find().sort("name").to_list()
        return [screen_of(document) for document in found]

    async def of_secret(self, secret_hash: bytes) -> Screen | None:
        text = secret_hash.hex()
        async with self._users.call():
            for field in _HASHES:
                if found := await self._screens.find_one({field: text}):
                    return screen_of(found)
        return None

    async def pair(self, screen: Screen) -> bool:
        document = document_of(screen)
        new_fields = {name: value for name, value in document.items() if name != "_id"}
        async with self._users.call():
            # A record without a secret is what was noted of a screen of the settings.
            noted = {"name": screen.name, "secret_hash": ""}
            if (await self._screens.update_one(noted, {"$set": new_fields})).matched_count:
                return True
            with contextlib.suppress(DuplicateKeyError):
                await self._screens.insert_one(document)
                return True
        return False

    async def begun(self, secret_hash: bytes, beginning: Beginning) -> Screen | None:
        text, change = secret_hash.hex(), _with_scene(beginning)
        replaced = {"secret_hash": text, "next_hash": ""}
        async with self._users.call():
            for field, more in (("secret_hash", {}), ("next_hash", replaced)):
                found = await self._screens.find_one_and_update(
                    {field: text},
                    {**change, "$set": {**change["$set"], **more}},
                    return_document=ReturnDocument.AFTER,
                )
                if found is not None:
                    return screen_of(found)
        return None

    async def begun_at(self, name: str, beginning: Beginning) -> None:
        await self._update_noted(name, _with_scene(beginning))

    async def seen(self, screen_id: str, transport: str, at: float) -> None:
        async with self._users.call():
            await self._screens.update_one(
                {"_id": screen_id}, {"$set": {"transport": transport}, "$max": {"seen_at": at}}
            )

    async def change(self, screen_id: str, changes: Mapping[str, Any]) -> Screen | None:
        async with self._users.call():
            with contextlib.suppress(DuplicateKeyError):
                found = await self._screens.find_one_and_update(
                    {"_id": screen_id, "revoked_at": 0.0},
                    {"$set": _texts(changes)},
                    return_document=ReturnDocument.AFTER,
                )
                return None if found is None else screen_of(found)
        return None

    async def care_for(self, name: str, changes: Mapping[str, Any]) -> None:
        await self._update_noted(name, {"$set": _texts(changes)})

    async def revoke(self, screen_id: str, at: float) -> Screen | None:
        ended = document_of(Screen(screen_id, "").revoked(at))
        fields = {name: ended[name] for name in ("name", *_HASHES, "revoked_at")}
        async with self._users.call():
            found = await self._screens.find_one_and_update(
                {"_id": screen_id, "revoked_at": 0.0},
                {"$set": fields},
                return_document=ReturnDocument.AFTER,
            )
        return None if found is None else screen_of(found)

    async def forget(self, revoked_before: float) -> None:
        async with self._users.call():
            await self._screens.delete_many({"revoked_at": {"$gt": 0.0, "$lt": revoked_before}})

    async def _update_noted(self, name: str, change: Mapping[str, Any]) -> None:
        """Change the record of a screen of the settings, which may be new."""
        async with self._users.call():
            # Not an upsert: of a new record every field has to be set, also those that change.
            if (await self._screens.update_one({"name": name}, change)).matched_count:
                return
            with contextlib.suppress(DuplicateKeyError):  # another node has just made it
                await self._screens.insert_one(document_of(Screen(new_id(), name)))
            await self._screens.update_one({"name": name}, change)


def document_of(screen: Screen) -> Document:
    """A screen as the document of its collection."""
    fields = _texts(screen._asdict())
    return {"_id": fields.pop("id"), **fields, "scenes": list(screen.scenes)}


def screen_of(document: Document) -> Screen:
    """The screen of a document."""
    values = {**document, "id": document["_id"], "scenes": tuple(document["scenes"])}
    for name in _HASHES:
        values[name] = bytes.fromhex(values[name])
    return Screen._make(values[name] for name in Screen._fields)


def _with_scene(beginning: Beginning) -> Document:
    """`Screen.with_scene` as a change of its document."""
    seen = {"seen_at": beginning.at, "begun_at": beginning.at}
    claims = {"page": beginning.page, "browser": beginning.browser}
    newest = {"$each": [beginning.scene_str], "$slice": -MOST_SCENES}
    return {"$set": {**seen, **claims}, "$push": {"scenes": newest}}


def _texts(fields: Mapping[str, Any]) -> Document:
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }
