"""The documents that `store_mongo` keeps, as pure functions.

The ``_id`` of a document names what it is about, and being unique it decides every race:

    openid:<length of app_id>:<app_id>:<openid>
        An identity. The first identity of a person is the person's **home** and holds the user;
        each further one is a **link** (``of``) to it.
    unionid:<unionid>
        Who has this unionid: a link to an identity.

Commands to MongoDB about many people at once.

A command costs a node a third of a whole login (docs/performance.md), and with many people in it
not much more than with one.

Who is one person: the links of `store_mongo`, and how two users become one.

Links are never changed again and lead from younger to older, so following them ends; what a crash
interrupts is finished by the next login that comes by.
"""

import asyncio
import contextlib
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from services.batching import Batcher
from services.errors import StoreUnavailable
from services.ids import SceneStr, UnionId, UserId
from services.people.store import NOTHING_KNOWN, Identity, Profile, User
from services.tasks import Supervisor

Document = dict[str, Any]

PROFILE = ("name", "avatar", "phone", "email")

SCHEMA = 1

RECENT = 32
"""Logins remembered by their scene. A repeat comes within half a minute of the first."""

LOGIN_FIELDS = (
    *("unionid", "born", "user_id", "name", "avatar"),
    *("account", "created_at", "last_login_at", "logins"),
)
"""What of a home a login reads; most of the rest of it are the scenes in `recent`."""


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """What a login brings besides the identity; see `UserStore.login`."""

    scene_str: SceneStr
    account: str
    now: float
    profile: Profile
    user_id: UserId | None


def key_of(identity: Identity) -> str:
    """The length keeps ``a:b`` + ``c`` and ``a`` + ``b:c`` apart."""
    return f"openid:{len(identity.app_id)}:{identity.app_id}:{identity.openid}"


def profile_fields(profile: Profile) -> Document:
    return {name: getattr(profile, name) for name in PROFILE}


def home_document(key: str, unionid: UnionId | None, wish: LoginRecord) -> Document:
    """A new user with its first login counted. `born` is the scene that made it, for ever."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": True,
        "user_id": wish.user_id or uuid.uuid4().hex,
        **profile_fields(wish.profile),
        "account": wish.account,
        "created_at": wish.now,
        "last_login_at": wish.now,
        "logins": 1,
        "born": wish.scene_str,
        "recent": [wish.scene_str],
        "absorbed": [],
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
    }


def uncounted(key: str, wish: LoginRecord) -> Document:
    """Matches the home at `key` unless this login is counted there."""
    return {"_id": key, "home": True, "recent": {"$nin": [wish.scene_str]}}


def counting(wish: LoginRecord) -> Document:
    """The change that counts this login and notes what is newly known of the person."""
    change: Document = {
        "$inc": {"logins": 1},
        "$max": {"last_login_at": wish.now},
        "$push": {"recent": {"$each": [wish.scene_str], "$slice": -RECENT}},
    }
    if learned := {field: text for field, text in profile_fields(wish.profile).items() if text}:
        change["$set"] = learned
    return change


def link_document(key: str, of: str, unionid: UnionId | None) -> Document:
    """A further identity of the person whose document is named `of`."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": False,
        "of": of,
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
    }


def unionid_name(unionid: UnionId) -> str:
    """Under which the owner of a unionid is noted."""
    return f"unionid:{unionid}"


def claim_document(name: str, of: str) -> Document:
    """That the unionid of that name belongs to the identity `of`."""
    return {"_id": name, "v": SCHEMA, "home": False, "of": of}


def user_of(home: Document) -> User:
    return User(
        id=UserId(home["user_id"]),
        name=home["name"],
        avatar=home["avatar"],
        account=home["account"],
        created_at=home["created_at"],
        last_login_at=home["last_login_at"],
        logins=home["logins"],
    )


FOREIGN = (PyMongoError, OSError)
"""Whatever goes wrong with MongoDB; OSError includes the TimeoutError that asyncio raises."""

MOST_IN_A_BATCH = 16
"""The two commands of a full batch cost each login a sixth of what one of its own would."""

MOST_UNDER_WAY = 8
"""With a MongoDB that needs 100 ms for each command, a node still does 640 logins a second."""

PATIENCE_SECONDS = 0.05
"""How long a batch that hangs holds up others."""

Question = TypeVar("Question")


class InCompany(ABC, Generic[Question]):
    """Asks MongoDB about one person each, with whoever else asks; each gets that one's document.

    Args:
        timeout_seconds: for a call before it is sent; `_send` has to keep to it by itself.
    """

    name: ClassVar[str]
    """Of its background tasks."""

    def __init__(
        self,
        people: AsyncCollection[Document],
        supervisor: Supervisor,
        *,
        timeout_seconds: float,
    ) -> None:
        self._people = people
        self._timeout_seconds = timeout_seconds
        self._lane: Batcher[Question, Document | None] = Batcher(
            self._send,
            supervisor,
            name=self.name,
            timeout_seconds=timeout_seconds,
            max_batch_size=MOST_IN_A_BATCH,
            max_in_flight=MOST_UNDER_WAY,
            max_delay_seconds=PATIENCE_SECONDS,
        )

    @abstractmethod
    async def _send(self, batch: Sequence[Question]) -> Sequence[Document | Exception | None]:
        """One answer or exception for each; raises nothing."""


class DocumentReader(InCompany[str]):
    """Reads documents by their names, together where several are asked for."""

    name = "people"

    def read(self, key: str) -> "asyncio.Future[Document | None]":
        """The document of that name as it is now or later. Raises what `FOREIGN` names."""
        return self._lane.submit(key)

    async def _send(self, batch: Sequence[str]) -> list[Document | Exception | None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await self._find(set(batch))
        except FOREIGN as error:
            return [error] * len(batch)
        documents = {document["_id"]: document for document in found}
        return [documents.get(key) for key in batch]

    async def _find(self, keys: set[str]) -> list[Document]:
        if len(keys) > 1:
            return await self._people.find({"_id": {"$in": list(keys)}}).to_list()
        found = await self._people.find_one({"_id": keys.pop()})
        return [] if found is None else [found]


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
