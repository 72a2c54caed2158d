"""People in MongoDB: their documents, the links between them, and how two users are merged.

One collection. The ``_id`` of a document names what it is about, and being unique it decides
every race:

    openid:<length of app_id>:<app_id>:<openid>
        An identity. The first identity of a person is the person's **primary record** and holds
        the user; each further one is a **link** to it.
    unionid:<unionid>
        The owner of this unionid: a link to an identity.

The names of the fields are stored for ever; some say less than the code does:

    home        true in a primary record, false in a link
    of          in a link: the ``_id`` it leads to
    born        in a primary record: the scene whose login made it
    recent      in a primary record: the scenes of its last logins, by which a repeat is known
    left        true in a primary record that became a link and whose logins are yet to be added
                to the other's; false once they are
    absorbed    in a primary record: the ``_id`` of each record whose logins were added to it
    banned_at   in a primary record: since when the operator keeps the person out; absent in others
    unionid_owed
                in an identity whose unionid WeChat is still to be asked for: the ``app_id``, the
                time from which on any node may ask (``due``), and the mark of the last one that did
                (``taken``)
    gone        true in what was a primary record: the person is being removed
    mark        in a link: which making of it this is. One that is made again, or that a login takes
                for its own once more, has another, and is not deleted in place of the one before

**Removing a person**: the primary record is marked ``gone`` in one write, which takes ``home`` from
it, so that no login is counted there any more, no ban noted and no other user merged. Then all that
leads to it is deleted, what is farthest first, and last the record (`IdentityLinks.clear`). A
caller that comes upon a record that is gone, or a link that leads nowhere, does the rest of that,
and then looks again. A write that leads to the person and comes too late to be found leads nowhere,
and its caller looks, as every caller does after such a write.

A link never changes again and leads from the younger user to the older, so following links ends.
What a crash leaves half done is finished by the next login of that person, or, where their unionid
is owed, before that: the note of it goes with the last write of a merge.

The functions on documents are pure. Commands travel in batches (`BatchedCommand`): a command costs
a node a third of a whole login (docs/performance.md), and little more for many people than for one.
"""

import asyncio
import contextlib
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from services.batching import Batcher
from services.errors import StoreUnavailable
from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.mongo_client import FOREIGN, Document
from services.people.store import NOTHING_KNOWN, UNIONID_DUE_SECONDS, Identity, Profile, User
from services.tasks import Supervisor

log = logging.getLogger("scanpush.people")

Question = TypeVar("Question")

PROFILE = ("name", "avatar", "phone", "email")

SCHEMA = 1

RECENT = 32
"""Logins remembered by their scene. A repeat comes within half a minute of the first."""

LOGIN_FIELDS = (
    *("unionid", "born", "user_id", "name", "avatar"),
    *("account", "created_at", "last_login_at", "logins", "banned_at", "email", "unionid_owed"),
)
"""What a login reads of a primary record; most of the rest are the scenes in `recent`."""

MOST_IN_A_BATCH = 16
"""The two commands of a full batch cost each login a sixth of what one of its own would."""

MAX_IN_FLIGHT = 8
"""Batches in flight: with a MongoDB that needs 100 ms for each command, a node still does 640
logins a second."""

MAX_DELAY_SECONDS = 0.05
"""How long a full flight of batches holds up the next one: one of them may hang."""

TRIES = 20
"""Lost races in a row before giving up. Each means that another caller made a step."""


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """What a login brings besides the identity; see `UserStore.login`."""

    scene_str: SceneStr
    account: str
    now: float
    profile: Profile
    user_id: UserId | None
    unionid_wanted: bool = False


def key_of(identity: Identity) -> str:
    """The ``_id`` of an identity. The length keeps ``a:b`` + ``c`` and ``a`` + ``b:c`` apart."""
    return f"openid:{len(identity.app_id)}:{identity.app_id}:{identity.openid}"


def identity_of(key: str) -> Identity:
    """The identity at that ``_id``; its unionid is left unknown."""
    _, length, names = key.split(":", 2)
    return Identity(AppId(names[: int(length)]), OpenId(names[int(length) + 1 :]))


def unionid_owed(key: str, unionid: UnionId | None, login: LoginRecord) -> Document:
    """The field of that name for the identity at `key`; none where nothing is owed."""
    if unionid is not None or not login.unionid_wanted:
        return {}
    due = login.now + UNIONID_DUE_SECONDS
    return {"unionid_owed": {"app_id": identity_of(key).app_id, "due": due}}


def unionid_key(unionid: UnionId) -> str:
    """The ``_id`` under which the owner of a unionid is noted."""
    return f"unionid:{unionid}"


def profile_fields(profile: Profile) -> Document:
    return {name: getattr(profile, name) for name in PROFILE}


def primary_record(key: str, unionid: UnionId | None, login: LoginRecord) -> Document:
    """A new user with its first login counted."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": True,
        "user_id": login.user_id or uuid.uuid4().hex,
        **profile_fields(login.profile),
        "account": login.account,
        "created_at": login.now,
        "last_login_at": login.now,
        "logins": 1,
        "born": login.scene_str,
        "recent": [login.scene_str],
        "absorbed": [],
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
        **unionid_owed(key, unionid, login),
    }


def link_document(key: str, of: str, unionid: UnionId | None) -> Document:
    """A further identity of the person whose document is `of`."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": False,
        "of": of,
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
    }


def unionid_document(unionid: UnionId, of: str) -> Document:
    """That the unionid belongs to the identity `of`."""
    return {"_id": unionid_key(unionid), "v": SCHEMA, "home": False, "of": of}


def uncounted(key: str, login: LoginRecord) -> Document:
    """A filter: the primary record at `key`, unless this login is counted there, or is of a banned
    person."""
    return {
        "_id": key,
        "home": True,
        "recent": {"$nin": [login.scene_str]},
        "banned_at": None,
    }


def counting(login: LoginRecord) -> Document:
    """An update: count this login, and note what is newly known of the person."""
    change: Document = {
        "$inc": {"logins": 1},
        "$max": {"last_login_at": login.now},
        "$push": {"recent": {"$each": [login.scene_str], "$slice": -RECENT}},
    }
    if learned := {field: text for field, text in profile_fields(login.profile).items() if text}:
        change["$set"] = learned
    return change


def user_of(primary: Document) -> User:
    return User(
        id=UserId(primary["user_id"]),
        name=primary["name"],
        avatar=primary["avatar"],
        account=primary["account"],
        created_at=primary["created_at"],
        last_login_at=primary["last_login_at"],
        logins=primary["logins"],
        banned=primary.get("banned_at") is not None,
        email=primary["email"],
    )


def user_at(path: Sequence[Document]) -> User:
    """The user to whom a path leads. The ban of an alias counts before it is merged, too."""
    *aliases, primary = path
    absorbed = primary.get("absorbed", ())
    unmerged = (alias for alias in aliases if alias["_id"] not in absorbed)
    user = user_of(primary)
    return user._replace(banned=True) if any("banned_at" in alias for alias in unmerged) else user


def _marked() -> Document:
    return {"mark": uuid.uuid4().hex[:16]}


def _as_found(document: Document) -> Document:
    """A filter: a document that is no primary record, if it is still that one."""
    same = {name: document.get(name) for name in ("of", "mark", "gone")}
    return {"_id": document["_id"], "home": False, **same}


class BatchedCommand(ABC, Generic[Question]):
    """One kind of command about one person each, sent together with those of other callers.

    Each caller gets the document of its own person.

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
        self._batcher: Batcher[Question, Document | None] = Batcher(
            self._send,
            supervisor,
            name=self.name,
            timeout_seconds=timeout_seconds,
            max_batch_size=MOST_IN_A_BATCH,
            max_in_flight=MAX_IN_FLIGHT,
            max_delay_seconds=MAX_DELAY_SECONDS,
        )

    @abstractmethod
    async def _send(self, batch: Sequence[Question]) -> Sequence[Document | Exception | None]:
        """One answer or exception for each; raises nothing."""


class DocumentReader(BatchedCommand[str]):
    """Reads documents by their ``_id``."""

    name = "people"

    def read(self, key: str) -> "asyncio.Future[Document | None]":
        """The document at `key` as it is now or later. Raises what `FOREIGN` names."""
        return self._batcher.submit(key)

    async def _send(self, batch: Sequence[str]) -> list[Document | Exception | None]:
        keys = set(batch)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if len(keys) == 1:
                    return [await self._people.find_one({"_id": batch[0]})] * len(batch)
                found = await self._people.find({"_id": {"$in": list(keys)}}).to_list()
        except FOREIGN as error:
            return [error] * len(batch)
        documents = {document["_id"]: document for document in found}
        return [documents.get(key) for key in batch]


class IdentityLinks:
    """Follows and makes links between identities, and merges users that are one person.

    Raises what `FOREIGN` names, and `StoreUnavailable` where `TRIES` were not enough.
    """

    def __init__(self, people: AsyncCollection[Document], reader: DocumentReader) -> None:
        self._people = people
        self._reader = reader

    async def path(self, key: str) -> list[Document]:
        """The document at `key` and those its links lead to, the primary record last.

        Empty where there is none. Without a primary record at its end, the last document is gone or
        a link that leads to an identity that was never made, or that was removed.
        """
        path: list[Document] = []
        document = await self._reader.read(key)
        while document is not None:
            path.append(document)
            if document["home"] or document.get("gone"):
                break
            document = await self._reader.read(document["of"])
        return path

    async def make_link(self, key: str, of: str, unionid: UnionId | None) -> None:
        # Where another caller has made the identity meanwhile, this one reads that record next.
        with contextlib.suppress(DuplicateKeyError):
            await self._people.insert_one(link_document(key, of, unionid) | _marked())

    async def claim_unionid(self, unionid: UnionId, key: str) -> str:
        """The owner of that unionid: the identity at `key` from now on, unless there is one."""
        for _ in range(TRIES):
            with contextlib.suppress(DuplicateKeyError):
                await self._people.insert_one(unionid_document(unionid, key) | _marked())
                return key
            claimed = await self._reader.read(unionid_key(unionid))
            if claimed is not None and claimed["of"] != key:
                return str(claimed["of"])
            # An earlier try claimed it, or a person before who is removed just now.
            own = {"_id": unionid_key(unionid), "of": key}
            if (await self._people.update_one(own, {"$set": _marked()})).matched_count:
                return key
        raise StoreUnavailable("MongoDB: too many logins of one person at once")

    async def join(self, key: str, unionid: UnionId | None) -> None:
        """Note what was learned of a known identity's unionid: it is owed no more.

        Its user is merged with the unionid's owner.
        """
        settled: Document = {"$unset": {"unionid_owed": ""}}
        if unionid is None:
            await self._people.update_one({"_id": key}, settled)
            return
        path = await self.path(key)
        if not path or not path[-1]["home"]:
            return
        owner = await self.claim_unionid(unionid, key)
        for _ in range(TRIES):
            # Nearly always the identity is the first to claim its unionid: nothing is to merge.
            if owner == key or await self._try_merge(key, owner, unionid):
                # Noted last: what a crash leaves before this is still owed, and so is done again.
                note = {"$set": {"unionid": unionid}, **settled}
                unless_gone = {"_id": key, "gone": {"$exists": False}}
                if not (await self._people.update_one(unless_gone, note)).matched_count:
                    await self._give_up_unionid(unionid, key)
                return
        raise StoreUnavailable("MongoDB: too many users become one at once")

    async def _give_up_unionid(self, unionid: UnionId, key: str) -> None:
        """Take back the claim of an identity that was removed meanwhile."""
        claim = await self._reader.read(unionid_key(unionid))
        # In this order: a person who comes back marks the claim, and then makes the identity.
        identity = await self._reader.read(key)
        if claim is not None and claim["of"] == key and (identity is None or "gone" in identity):
            await self._people.delete_one(_as_found(claim))

    async def all_links(self, keys: Sequence[str]) -> list[Document]:
        """All that leads to these documents, by however many steps; the nearest first."""
        found: list[Document] = []
        known = set(keys)
        while keys:
            links = self._people.find({"of": {"$in": list(keys)}, "home": False})
            nearest = [link for link in await links.to_list() if link["_id"] not in known]
            found += nearest
            keys = [link["_id"] for link in nearest]
            known.update(keys)
        return found

    async def clear(self, end: Document) -> list[Document]:
        """Delete what is left of a removed person: `end`, which is gone or a link that leads
        nowhere, and all that leads to it. The nearest first: `end`, then its links."""
        links = await self.all_links([end["_id"]])
        # Only as they were found: meanwhile another person may be there.
        for link in reversed(links):
            await self._people.delete_one(_as_found(link))
        await self._people.delete_one(_as_found(end))
        return [end, *links]

    async def is_claimed(self, link: Document) -> bool:
        """Whether the identity to which a link leads has claimed their unionid: it is about to be
        made. Else it was removed."""
        if "user_id" in link or not link.get("unionid"):
            return False
        claimed = await self._reader.read(unionid_key(link["unionid"]))
        return claimed is not None and claimed.get("of") == link["of"]

    async def _try_merge(self, one: str, two: str, unionid: UnionId) -> bool:
        """Make one user of those two identities; False when another was quicker: look again."""
        paths = [await self.path(one), await self.path(two)]
        for path in paths:
            if path and not path[-1]["home"]:
                await self.clear(path[-1])
                return False
        if not paths[0]:
            return True  # removed meanwhile: there is nothing to merge
        if not paths[1]:
            # The owner claimed the unionid and has not yet made its primary record.
            await self.make_link(two, one, unionid)
            return False
        older, younger = sorted(
            (path[-1] for path in paths),
            key=lambda record: (record["created_at"], record["user_id"]),
        )
        if older["_id"] == younger["_id"]:
            # Linked already, but perhaps by a caller that ended before all was added.
            return all([await self.finish_merges(path) for path in paths])
        alias = await self._people.find_one_and_update(
            {"_id": younger["_id"], "home": True},
            {"$set": {"home": False, "of": older["_id"], "left": True}},
            return_document=ReturnDocument.AFTER,
        )
        if alias is not None:
            log.info(
                "two users are one person: %s is now an alias of %s",
                younger["user_id"],
                older["user_id"],
            )
            for _ in range(TRIES):
                path = await self.path(alias["_id"])
                if path and not path[-1]["home"]:
                    # The user who was to stay was removed meanwhile, and so is this one.
                    await self.clear(path[-1])
                if not path or not path[-1]["home"]:
                    return False
                if await self.finish_merges(path):
                    return True
        return False

    async def finish_merges(self, path: list[Document]) -> bool:
        """Add to the primary record what users that became its aliases have counted, each once.

        The alias's profile fills what the primary record lacks, and is forgotten there.

        Returns whether all is added. Else the primary record has changed since `path` was read, and
        may itself be an alias: the caller, or the next login, reads the path again.
        """
        primary, finished = path[-1], True
        # The nearest one first: with it comes what it has absorbed, which must not be added again.
        for alias in reversed(path[:-1]):
            if not alias.get("left"):
                continue
            change: Document = {
                "$inc": {"logins": alias["logins"]},
                "$max": {"last_login_at": alias["last_login_at"]},
                "$push": {"absorbed": {"$each": [alias["_id"], *alias["absorbed"]]}},
            }
            learned = {name: alias[name] for name in PROFILE if alias[name] and not primary[name]}
            if "banned_at" in alias and "banned_at" not in primary:
                learned["banned_at"] = alias["banned_at"]
            if learned:
                change["$set"] = learned
            added = await self._people.find_one_and_update(
                {"_id": primary["_id"], "home": True, "absorbed": {"$nin": [alias["_id"]]}},
                change,
                return_document=ReturnDocument.AFTER,
            )
            primary = added or primary
            if alias["_id"] in primary["absorbed"]:
                settled = {"left": False, **profile_fields(NOTHING_KNOWN)}
                await self._people.update_one(
                    {"_id": alias["_id"]}, {"$set": settled, "$unset": {"banned_at": ""}}
                )
            else:
                finished = False
        return finished
