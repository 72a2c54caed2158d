"""People in MongoDB, safe without transactions, so that a single mongod serves as a cluster does.

A known person logs in with one ``find_one_and_update`` of the person's primary record
(`mongo_identities`), or with others who log in at that moment (`LoginCounter`). The rest is rare:
a first login, a further identity, two users that turn out to be one.

Only what MongoDB documents for a standalone server is used. Writes ask for a majority.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pymongo
from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    InvalidName,
    WriteConcernError,
    WriteError,
)

from services.errors import SettingsError, StoreUnavailable
from services.ids import AppId, SceneStr, UnionId, UserId
from services.mongo_client import (
    FOREIGN,
    ODD_ANSWERS,
    ODD_AUTHENTICATION,
    Document,
    looked_at_closely,
    make_client,
    problem_of,
)
from services.people.mongo_identities import (
    LOGIN_FIELDS,
    TRIES,
    BatchedCommand,
    DocumentReader,
    IdentityLinks,
    LoginRecord,
    counting,
    identity_of,
    key_of,
    primary_record,
    profile_fields,
    uncounted,
    unionid_key,
    unionid_owed,
    user_at,
    user_of,
)
from services.people.store import (
    LAST_CHARACTER,
    LEASE_SECONDS,
    NOTHING_KNOWN,
    Identity,
    Login,
    Person,
    Profile,
    Record,
    StoredIdentity,
    User,
)
from services.tasks import Supervisor

log = logging.getLogger("scanpush.people")

Outcome = Document | Exception | None

INDEX_SECONDS, INDEX_PAUSE_SECONDS = 3600, 10
"""How long MongoDB may take to build an index, and after what time a failed one is tried again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Count:
    """One login of a person whose primary record is probably at `key`."""

    key: str
    login: LoginRecord


class LoginCounter(BatchedCommand[_Count]):
    """Counts logins at primary records, each once, however often it is asked."""

    name = "logins"

    def count(self, key: str, login: LoginRecord) -> "asyncio.Future[Document | None]":
        """`LOGIN_FIELDS` of the primary record at `key`, this login counted.

        None: no primary record is there, or the login was counted before; read on. Raises what
        `FOREIGN` names: it is counted or not, and asking again is harmless.
        """
        return self._batcher.submit(_Count(key, login))

    async def _send(self, batch: Sequence[_Count]) -> list[Outcome]:
        # Afterwards a person is found as one document, which would not tell several logins apart:
        # all who are in the batch once travel together, the others alone.
        times = Counter(count.key for count in batch)
        groups = [[count] for count in batch if times[count.key] > 1]
        if together := [count for count in batch if times[count.key] == 1]:
            groups.append(together)
        if len(groups) == 1:
            outcomes = await self._count_group(groups[0])
        else:
            done = await asyncio.gather(*(self._count_group(group) for group in groups))
            outcomes = {count: outcome for group in done for count, outcome in group.items()}
        return [outcomes[count] for count in batch]

    async def _count_group(self, group: Sequence[_Count]) -> dict[_Count, Outcome]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if len(group) > 1:
                    return await self._count_together(group)
                alone = group[0]
                primary = await self._people.find_one_and_update(
                    uncounted(alone.key, alone.login),
                    counting(alone.login),
                    projection=LOGIN_FIELDS,
                    return_document=ReturnDocument.AFTER,
                )
                return {alone: primary}
        except FOREIGN as error:
            return dict.fromkeys(group, error)

    async def _count_together(self, group: Sequence[_Count]) -> dict[_Count, Outcome]:
        """Count in one command, then read in another what that, or an earlier try, has counted."""
        changes = [UpdateOne(uncounted(one.key, one.login), counting(one.login)) for one in group]
        outcomes: dict[_Count, Outcome] = {}
        # The update waits for a majority even where it changes nothing (MongoDB holds itself to
        # that by noop_writes_wait_for_write_concern.js): what an earlier try wrote is as safe then.
        try:
            matched = (await self._people.bulk_write(changes, ordered=False)).matched_count
        except BulkWriteError as error:
            matched = error.details["nMatched"]
            # The driver's own words are not passed on: they quote the commands, with openids.
            for concern in error.details["writeConcernErrors"]:
                # Without a majority no login of the batch is safely counted.
                return dict.fromkeys(group, WriteConcernError(concern["errmsg"], concern["code"]))
            outcomes = {
                group[failed["index"]]: WriteError(failed["errmsg"], failed["code"])
                for failed in error.details["writeErrors"]
            }
        rest = [count for count in group if count not in outcomes]
        primaries: dict[str, Document] = {}
        if matched and rest:  # else none was counted now: the callers find out why by reading on
            primaries = await self._read(rest, all_counted=matched == len(rest))
        return outcomes | {count: primaries.get(count.key) for count in rest}

    async def _read(self, counts: Sequence[_Count], *, all_counted: bool) -> dict[str, Document]:
        """The primary records where those logins are counted, by `_id`."""
        # When all are counted, no record is asked for the scene: so many other logins of one person
        # may have come meanwhile that the record has forgotten it. Else that login is counted
        # again, which takes `RECENT` logins between two commands, and an unknown person.
        scenes = {count.key: count.login.scene_str for count in counts}
        fields = LOGIN_FIELDS if all_counted else (*LOGIN_FIELDS, "recent")
        found = await self._people.find(
            {"_id": {"$in": list(scenes)}, "home": True}, fields
        ).to_list()
        return {
            primary["_id"]: primary
            for primary in found
            if all_counted or scenes[primary["_id"]] in primary["recent"]
        }


class MongoUserStore:
    """`UserStore` for any number of nodes.

    Args:
        url: ``mongodb://`` or ``mongodb+srv://``, with user, password, replica set and TLS.
        timeout_seconds: for a whole call of this store, the driver's own retries included.
    """

    def __init__(self, url: str, database: str, *, timeout_seconds: float = 2.5) -> None:
        self._url = url
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._client: AsyncMongoClient[Document] | None = None

    async def open(self) -> None:
        """Connect, make the index, and try each command that a login sends.

        Raises:
            SettingsError: what only the operator can mend: URL, user, rights, certificates, the
                replica set's name, or a server that does not do what a login needs.
            StoreUnavailable: what may end by itself; trying again may help.
        """
        self._supervisor = Supervisor()
        self._one_index = asyncio.Lock()
        self._client = make_client(self._url, self._timeout_seconds)
        try:
            try:
                self._people = self._client[self._database]["people"]
                async with self.call("ping"):
                    await self._client.admin.command("ping")
            except InvalidName:
                raise SettingsError("mongodb.database", "is no name of a database") from None
            except ODD_ANSWERS:
                raise SettingsError(ODD_AUTHENTICATION.key, ODD_AUTHENTICATION.words) from None
            seconds = self._timeout_seconds
            reader = DocumentReader(self._people, self._supervisor, timeout_seconds=seconds)
            self._links = IdentityLinks(self._people, reader)
            self._counter = LoginCounter(self._people, self._supervisor, timeout_seconds=seconds)
            async with self.call("createIndexes"):
                await self._people.create_index("user_id", unique=True, sparse=True)
            await self._try_commands()
        except (SettingsError, StoreUnavailable, asyncio.CancelledError):
            await self.close()
            raise
        self._indexing = self._supervisor.spawn(
            self._make_index(
                "owed unionids",
                [("unionid_owed.app_id", 1), ("unionid_owed.due", 1)],
                sparse=True,
            ),
            name="index of owed unionids",
        )
        self._indexing_links = self._supervisor.spawn(
            self._make_index(
                "links", [("of", 1), ("home", 1)], partialFilterExpression={"home": False}
            ),
            name="index of links",
        )
        # Of all people only those whose name is known.
        self._indexing_names = self._supervisor.spawn(
            self._make_index(
                "names",
                [("name", 1), ("user_id", 1)],
                partialFilterExpression={"name": {"$gt": ""}},
            ),
            name="index of names",
        )
        # Of all links only those that once were a user: a few.
        once_a_user = {"user_id": {"$exists": True}}
        self._indexing_aliases = self._supervisor.spawn(
            self._make_index("aliases", [("of", 1)], partialFilterExpression=once_a_user),
            name="index of aliases",
        )

    async def _try_commands(self) -> None:
        """Each command of a login, on a document that is removed again.

        So a right that is missing, an option that the server does not take, or a server that only
        seems to do what it is asked, stops the start and not the first login.
        """
        name = f"start:{uuid.uuid4().hex}"
        key, scenes = name, [SceneStr(f"{name}:{number}") for number in range(7)]
        records = [LoginRecord(scene, "", 0.0, NOTHING_KNOWN, UserId(name)) for scene in scenes]
        first, *at_once = records[:-2]
        document = primary_record(key, None, first)
        async with self.call("insert"):
            await self._people.insert_one(document)
        try:
            for double in (document, {**document, "_id": f"{name}:double"}):
                async with self.call("insert"):
                    with contextlib.suppress(DuplicateKeyError):
                        await self._people.insert_one(double)
                        raise _unfit("it takes two documents of one unique key")
            async with self.call("findAndModify"):
                await asyncio.gather(*(self._counter.count(key, login) for login in at_once))
            async with self.call("update"):
                changes = [UpdateOne(uncounted(key, one), counting(one)) for one in records[-2:]]
                await self._people.bulk_write(changes, ordered=False)
                await self._people.update_one({"_id": key}, {"$set": {"home": False}})
            async with self.call("find"):
                found = await self._people.find({"_id": {"$in": [key]}}).to_list()
            if [(one["logins"], one["recent"][:1]) for one in found] != [
                (len(records), scenes[:1])
            ]:
                raise _unfit("of several changes of one document at once it loses some")
        finally:
            async with self.call("delete"):
                await self._people.delete_many({"_id": {"$in": [key, f"{name}:double"]}})

    async def _make_index(self, of: str, keys: list[tuple[str, int]], **options: Any) -> None:
        # Not within the start: in a collection that is large already, it may take minutes.
        assert self._client is not None
        while True:
            try:
                # One after the other, on the connection that is there: each more that is still
                # being opened when the store closes is a socket that the driver leaves open.
                async with self._one_index:
                    with pymongo.timeout(INDEX_SECONDS):
                        await self._people.create_index(keys, **options)
                return
            except FOREIGN as error:
                words = problem_of(error, self._client, "createIndexes").words
                log.warning("MongoDB: the index of %s is not there yet: %s", of, words)
                await asyncio.sleep(INDEX_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def call(self, starting: str = "") -> AsyncIterator[None]:
        """One deadline around a call, and one name for all that goes wrong in it; also for what is
        kept in other collections (`collection`).

        A primary that steps down (NotWritablePrimary), a majority that is not reached, a cut
        connection, no server in time: the caller may ask again.

        Args:
            starting: at the start, the command; what only the operator can mend is then a
                `SettingsError`.
        """
        assert self._client is not None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except FOREIGN as error:
            # Not chained: the texts of pymongo and of the server hold openids.
            problem = problem_of(error, self._client, starting or "a command")
            if not starting:
                raise StoreUnavailable(f"MongoDB: {problem.words}") from None
            problem = await looked_at_closely(problem, self._url, self._client)
            if problem.key:
                raise SettingsError(problem.key, problem.words) from None
            raise StoreUnavailable(
                f"MongoDB: {problem.words} (look at mongodb.url: the hosts, and tls=true only if"
                " they speak TLS)"
            ) from None

    async def login(
        self,
        identity: Identity,
        scene_str: SceneStr,
        account: str,
        now: float,
        *,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
        unionid_wanted: bool = False,
    ) -> Login:
        record = LoginRecord(scene_str, account, now, profile, user_id, unionid_wanted)
        async with self.call():
            for _ in range(TRIES):
                login = await self._try_login(identity, record)
                if login is not None:
                    return login
        raise StoreUnavailable("MongoDB: too many logins of one person at once")

    async def _try_login(self, identity: Identity, record: LoginRecord) -> Login | None:
        """None when another was quicker somewhere: look again."""
        key = key_of(identity)
        primary = await self._counter.count(key, record)
        if primary is not None and identity.unionid in (None, primary["unionid"]):
            owes = record.unionid_wanted and await self._owes_unionid(key, primary, record)
            return Login(user_of(primary), primary["born"] == record.scene_str, owes)
        path = await self._links.path(key)
        if not path:
            return await self._register(identity, record)
        if identity.unionid not in (None, path[0]["unionid"]):
            await self._links.join(key, identity.unionid)
            path = await self._links.path(key)
            if not path:
                return None
        if not path[-1]["home"]:
            if path[-1].get("gone") or not await self._links.is_claimed(path[-1]):
                await self._links.clear(path[-1])
                return None
            # A unionid was claimed for an identity that is not made yet.
            other = replace(record, unionid_wanted=False)
            return await self._make_primary(path[-1]["of"], path[-1].get("unionid"), other)
        await self._links.finish_merges(path)
        user = user_at(path)
        if user.banned:
            owes = record.unionid_wanted and await self._owes_unionid(key, path[0], record)
            return Login(user, False, owes)
        if any(record.scene_str in document.get("recent", ()) for document in path):
            # Counted before, perhaps under an identity whose user has become an alias since.
            is_new = any(document.get("born") == record.scene_str for document in path)
            primary = await self._people.find_one({"_id": path[-1]["_id"], "home": True})
        else:
            is_new = False
            primary = await self._counter.count(path[-1]["_id"], record)
        if primary is None:
            return None
        owes = record.unionid_wanted and await self._owes_unionid(key, path[0], record)
        return Login(user_of(primary), is_new, owes)

    async def _owes_unionid(self, key: str, known: Document, record: LoginRecord) -> bool:
        """Whether the identity at `key`, stored as `known`, owes its unionid; noted if it does."""
        if known["unionid"] is not None:
            return False
        if "unionid_owed" not in known:
            unknown = {"_id": key, "unionid": None, "unionid_owed": {"$exists": False}}
            await self._people.update_one(unknown, {"$set": unionid_owed(key, None, record)})
        return True

    async def _register(self, identity: Identity, record: LoginRecord) -> Login | None:
        """Make the primary record of a new identity, or its link where the unionid has an owner."""
        key, unionid = key_of(identity), identity.unionid
        # The unionid is claimed first: of several identities by which one person logs in at once,
        # its owner becomes the primary record, whichever caller gets to make it.
        owner = key if unionid is None else await self._links.claim_unionid(unionid, key)
        if owner == key:
            return await self._make_primary(key, unionid, record)
        await self._links.make_link(key, owner, unionid)
        return None

    async def _make_primary(
        self, key: str, unionid: UnionId | None, record: LoginRecord
    ) -> Login | None:
        if record.user_id is not None:
            known = await self._people.find_one({"user_id": record.user_id})
            if known is not None:
                # The operator knows this person already, by another identity.
                await self._links.make_link(key, known["_id"], unionid)
                return None
        primary = primary_record(key, unionid, record)
        try:
            await self._people.insert_one(primary)
        except DuplicateKeyError:
            return None  # another was quicker, with this identity or with the operator's id
        return Login(user_of(primary), True, "unionid_owed" in primary)

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        async with self.call():
            path = await self._links.path(key_of(identity))
            if not path and identity.unionid is not None:
                path = await self._links.path(unionid_key(identity.unionid))
        if not path or not path[-1]["home"]:
            return None
        unionid = path[0].get("unionid", identity.unionid)
        stored = None if unionid is None else UnionId(unionid)
        return user_at(path), Identity(identity.app_id, identity.openid, stored)

    async def get(self, user_id: UserId) -> User | None:
        async with self.call():
            path = await self._path_of(user_id)
        return user_at(path) if path and path[-1]["home"] else None

    async def _path_of(self, user_id: UserId) -> list[Document]:
        """As `IdentityLinks.path`, from the record of that user."""
        document = await self._people.find_one({"user_id": user_id})
        if document is None or document["home"] or document.get("gone"):
            return [] if document is None else [document]
        return [document, *await self._links.path(document["of"])]

    async def ban(self, user_id: UserId, banned: bool, now: float) -> User | None:
        async with self.call():
            for _ in range(TRIES):
                path = await self._path_of(user_id)
                if not path or not path[-1]["home"]:
                    return None
                # A ban that an alias brings after this would undo what is asked for now.
                if not await self._links.finish_merges(path):
                    continue
                primary = {"_id": path[-1]["_id"], "home": True}
                # The first ban's time stays.
                change = {"$min": {"banned_at": now}} if banned else {"$unset": {"banned_at": ""}}
                changed = await self._people.find_one_and_update(
                    primary, change, return_document=ReturnDocument.AFTER
                )
                if changed is not None:
                    return user_of(changed)
        raise StoreUnavailable("MongoDB: too many users become one at once")

    async def named(
        self, prefix: str, after: tuple[str, UserId] | None, limit: int
    ) -> Sequence[User]:
        within: Document = {"name": {"$gte": prefix, "$lt": prefix + LAST_CHARACTER}, "home": True}
        if after is not None:
            name, user_id = after
            within["name"]["$gte"] = max(prefix, name)
            within["$or"] = [{"name": {"$gt": name}}, {"name": name, "user_id": {"$gt": user_id}}]
        async with self.call():
            await asyncio.shield(self._indexing_names)
            found = self._people.find(within, LOGIN_FIELDS).sort([("name", 1), ("user_id", 1)])
            return [user_of(primary) for primary in await found.limit(limit).to_list()]

    async def record(self, user_id: UserId) -> Record | None:
        async with self.call():
            path = await self._path_of(user_id)
            if not path or not path[-1]["home"]:
                return None
            await asyncio.shield(self._indexing_links)
            primary = path[-1]
            documents = [primary, *await self._links.all_links([primary["_id"]])]
        identities = [
            StoredIdentity(
                *identity_of(one["_id"])[:2],
                one["unionid"],
                one["following"],
                one["follow_changed_at"],
            )
            for one in documents
            if one["_id"].startswith("openid:")
        ]
        aliases = tuple(UserId(one["user_id"]) for one in documents[1:] if "user_id" in one)
        user, banned_at = user_at(path), primary.get("banned_at")
        return Record(user, primary["phone"], banned_at, aliases, tuple(sorted(identities)))

    async def remove(self, user_id: UserId) -> Sequence[UserId]:
        async with self.call():
            await asyncio.shield(self._indexing_links)
            for _ in range(TRIES):
                path = await self._path_of(user_id)
                if not path:
                    return ()
                end: Document | None = path[-1]
                if path[-1]["home"]:
                    end = await self._people.find_one_and_update(
                        {"_id": path[-1]["_id"], "home": True},
                        {"$set": {"home": False, "gone": True}},
                        return_document=ReturnDocument.AFTER,
                    )
                # Else another caller left it half removed.
                if end is not None:
                    removed = await self._links.clear(end)
                    return [UserId(one["user_id"]) for one in removed if "user_id" in one]
        raise StoreUnavailable("MongoDB: too many users become one at once")

    async def person(self, user_id: UserId) -> Person:
        async with self.call():
            path = await self._path_of(user_id)
            if not path or not path[-1]["home"]:
                return Person((user_id,), known=False)
            user = user_at(path)
            ids, keys = [user.id], [path[-1]["_id"]]
            if not self._indexing_aliases.done():
                # Without the index the search would read all people. This list lacks only users
                # whose merge was cut off, until their next login.
                known = {"_id": {"$in": path[-1].get("absorbed", [])}}
                found = await self._people.find(known, ["user_id"]).to_list()
                return Person((user.id, *(UserId(one["user_id"]) for one in found)), user.banned)
            while keys:
                aliases = {"of": {"$in": keys}, "user_id": {"$exists": True}}
                found = await self._people.find(aliases, ["user_id"]).to_list()
                ids += [UserId(alias["user_id"]) for alias in found]
                keys = [alias["_id"] for alias in found]
        return Person(tuple(ids), user.banned)

    def collection(self, name: str) -> AsyncCollection[Document]:
        """Another collection of the same database, for a store that uses this one's connections."""
        assert self._client is not None
        return self._client[self._database][name]

    async def join(self, identity: Identity) -> None:
        async with self.call():
            await self._links.join(key_of(identity), identity.unionid)

    async def owed_unionids(self, app_id: AppId, now: float, limit: int) -> Sequence[Identity]:
        due = {"unionid_owed.app_id": app_id, "unionid_owed.due": {"$lte": now}}
        # By a mark of its own this call finds what it took: two callers may find the same first.
        mark = uuid.uuid4().hex
        lease = {"unionid_owed.due": now + LEASE_SECONDS, "unionid_owed.taken": mark}
        async with self.call():
            # Without the index this would read all people.
            await asyncio.shield(self._indexing)
            found = self._people.find(due, ["_id"]).sort("unionid_owed.due").limit(limit)
            keys = {"_id": {"$in": [document["_id"] for document in await found.to_list()]}}
            if not keys["_id"]["$in"]:
                return []
            await self._people.update_many({**keys, **due}, {"$set": lease})
            taken = self._people.find({**keys, "unionid_owed.taken": mark}, ["_id"])
            return [identity_of(document["_id"]) for document in await taken.to_list()]

    async def count_owed_unionids(self, limit: int) -> int:
        async with self.call():
            await asyncio.shield(self._indexing)
            owed = {"unionid_owed.app_id": {"$gt": ""}}
            return await self._people.count_documents(owed, limit=limit)

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        key = key_of(identity)
        noted: Document = {"following": following, "follow_changed_at": at}
        older = {"_id": key, "$or": [{"follow_changed_at": {"$lt": at}}, noted]}
        async with self.call():
            if not following and await self._people.find_one(older) is not None:
                # Forgotten first, so that a repeat after a crash in between does it again.
                names = [document["_id"] for document in await self._links.path(key)]
                await self._people.update_many(
                    {"_id": {"$in": names}, "user_id": {"$exists": True}},
                    {"$set": profile_fields(NOTHING_KNOWN)},
                )
            changed = await self._people.update_one(older, {"$set": noted})
        return changed.matched_count == 1

    async def ping(self) -> None:
        assert self._client is not None
        async with self.call():
            await self._client.admin.command("ping")

    async def close(self) -> None:
        """End the commands in flight and close all connections. May be called twice."""
        if self._client is not None:
            await self._supervisor.close()
            await self._client.close()


def _unfit(problem: str) -> SettingsError:
    return SettingsError("mongodb.url", f"this server cannot keep people: {problem}")
