"""Who is one person: the links of `store_mongo`, and how two users become one.

Links are never changed again and lead from younger to older, so following them ends; what a crash
interrupts is finished by the next login that comes by.
"""

import contextlib
import logging

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from services.errors import StoreUnavailable
from services.ids import UnionId
from services.people.documents import (
    PROFILE,
    Document,
    claim_document,
    link_document,
    profile_fields,
    unionid_name,
)
from services.people.lanes_mongo import DocumentReader
from services.people.store import NOTHING_KNOWN

log = logging.getLogger("scanpush.people")

TRIES = 20
"""Lost races in a row before we give up. Each means that another made a step."""


class Kinship:
    """Follows, makes and joins links between identities."""

    def __init__(self, people: AsyncCollection[Document], reader: DocumentReader) -> None:
        self._people = people
        self._reader = reader

    async def chain(self, key: str) -> list[Document]:
        """The document at `key` and where its links lead, the last one being the home."""
        chain: list[Document] = []
        document = await self._reader.read(key)
        while document is not None:
            chain.append(document)
            if document["home"]:
                break
            document = await self._reader.read(document["of"])
        return chain

    async def make_link(self, key: str, of: str, unionid: UnionId | None) -> None:
        with contextlib.suppress(DuplicateKeyError):  # whoever was quicker is read again
            await self._people.insert_one(link_document(key, of, unionid))

    async def claim(self, unionid: UnionId, key: str) -> str:
        """Who has that unionid: the identity at `key` from now on, unless there is one."""
        name = unionid_name(unionid)
        try:
            await self._people.insert_one(claim_document(name, key))
        except DuplicateKeyError:
            claimed = await self._reader.read(name)
            return str(claimed["of"]) if claimed is not None else key
        return key

    async def join(self, key: str, unionid: UnionId | None) -> None:
        """Note the unionid of a known identity; noted last, so that a crash leaves it to do."""
        if unionid is None or not await self.chain(key):
            return
        owner = await self.claim(unionid, key)
        for _ in range(TRIES):
            if await self._try_unite(key, owner, unionid):
                await self._people.update_one({"_id": key}, {"$set": {"unionid": unionid}})
                return
        raise StoreUnavailable("MongoDB: too many users become one at once")

    async def _try_unite(self, one: str, two: str, unionid: UnionId) -> bool:
        """Make one user of those two identities; False when another was quicker: look again."""
        chains = [await self.chain(one), await self.chain(two)]
        if not chains[1]:
            # Somebody claimed the unionid and has not come to making a home of it.
            await self.make_link(two, one, unionid)
            return False
        older, younger = sorted(
            (chain[-1] for chain in chains), key=lambda home: (home["created_at"], home["user_id"])
        )
        if older["_id"] == younger["_id"]:
            return True
        turned = await self._people.find_one_and_update(
            {"_id": younger["_id"], "home": True},
            {"$set": {"home": False, "of": older["_id"], "left": True}},
            return_document=ReturnDocument.AFTER,
        )
        if turned is not None:
            log.info(
                "two users are one person: %s is now an alias of %s",
                younger["user_id"],
                older["user_id"],
            )
            await self.absorb_left([turned, *await self.chain(older["_id"])])
        return turned is not None

    async def absorb_left(self, chain: list[Document]) -> None:
        """Add to the home what users that became its aliases have counted, each once.

        The alias's profile fills what the home lacks, and is forgotten there.
        """
        home = chain[-1]
        for alias in chain[:-1]:
            if not alias.get("left"):
                continue
            change: Document = {
                "$inc": {"logins": alias["logins"]},
                "$max": {"last_login_at": alias["last_login_at"]},
                "$push": {"absorbed": {"$each": [alias["_id"], *alias["absorbed"]]}},
            }
            if learned := {name: alias[name] for name in PROFILE if alias[name] and not home[name]}:
                change["$set"] = learned
            done = await self._people.find_one_and_update(
                {"_id": home["_id"], "home": True, "absorbed": {"$nin": [alias["_id"]]}}, change
            )
            if done is not None or alias["_id"] in home["absorbed"]:
                settled = {"left": False, **profile_fields(NOTHING_KNOWN)}
                await self._people.update_one({"_id": alias["_id"]}, {"$set": settled})
