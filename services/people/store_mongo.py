"""Counting the logins of known people in MongoDB, many of them in one command.

People in MongoDB, safe without transactions, so that a single mongod serves as a cluster does.

One collection. A known person logs in with one ``find_one_and_update`` of the person's home (see
services/people/documents.py), or with others who log in at that moment (logins_mongo.py). When two
users turn out to be one, the younger home becomes a link to the older (kinship_mongo.py).

Only what MongoDB documents for a standalone server is used. Writes ask for a majority.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidName,
    InvalidURI,
    OperationFailure,
    WriteConcernError,
    WriteError,
)

from services.errors import SettingsError, StoreUnavailable
from services.ids import SceneStr, UnionId, UserId
from services.people.mongo_identities import (
    FOREIGN,
    LOGIN_FIELDS,
    TRIES,
    Document,
    DocumentReader,
    InCompany,
    Kinship,
    LoginRecord,
    counting,
    home_document,
    key_of,
    profile_fields,
    uncounted,
    unionid_name,
    user_of,
)
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, User
from services.tasks import Supervisor

Outcome = Document | Exception | None


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One login of somebody whose home is probably at `key`."""

    key: str
    wish: LoginRecord


class LoginCounter(InCompany[_Asked]):
    """Counts logins at homes, each once, however often it is asked."""

    name = "logins"

    def count(self, key: str, wish: LoginRecord) -> "asyncio.Future[Document | None]":
        """What of the home at `key` a login reads, this one counted; in company where there is.

        None: no home is there, or the login was counted before; read on. Raises what `FOREIGN`
        names: it is counted or not, and asking again is harmless.
        """
        return self._lane.submit(_Asked(key, wish))

    async def _send(self, batch: Sequence[_Asked]) -> list[Outcome]:
        """Everybody who is here once travels together.

        Afterwards a person is found as one document, which would not tell several logins apart.
        """
        times = Counter(login.key for login in batch)
        groups = [[login] for login in batch if times[login.key] > 1]
        if together := [login for login in batch if times[login.key] == 1]:
            groups.append(together)
        if len(groups) == 1:
            outcomes = await self._count_group(groups[0])
        else:
            done = await asyncio.gather(*(self._count_group(group) for group in groups))
            outcomes = {login: outcome for group in done for login, outcome in group.items()}
        return [outcomes[login] for login in batch]

    async def _count_group(self, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if len(logins) > 1:
                    return await self._count_together(logins)
                return {login: await self._count_alone(login.key, login.wish) for login in logins}
        except FOREIGN as error:
            return dict.fromkeys(logins, error)

    async def _count_alone(self, key: str, wish: LoginRecord) -> Document | None:
        """In one trip, for somebody without company."""
        return await self._people.find_one_and_update(
            uncounted(key, wish),
            counting(wish),
            projection=LOGIN_FIELDS,
            return_document=ReturnDocument.AFTER,
        )

    async def _count_together(self, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
        """Count, then read whom that, or an earlier try, has counted.

        The update waits for a majority even where it changes nothing (MongoDB holds itself to that
        by noop_writes_wait_for_write_concern.js): what an earlier try has written is as safe then.
        """
        changes = [UpdateOne(uncounted(one.key, one.wish), counting(one.wish)) for one in logins]
        outcomes: dict[_Asked, Outcome] = {}
        try:
            matched = (await self._people.bulk_write(changes, ordered=False)).matched_count
        except BulkWriteError as error:
            matched = error.details["nMatched"]
            outcomes = _failures(error, logins)
        rest = [login for login in logins if login not in outcomes]
        homes: dict[str, Document] = {}
        if matched and rest:  # else nobody was counted now: the callers find out why by reading on
            homes = await self._read(rest, all_counted=matched == len(rest))
        return outcomes | {login: homes.get(login.key) for login in rest}

    async def _read(self, logins: Sequence[_Asked], *, all_counted: bool) -> dict[str, Document]:
        """The homes where those logins are counted.

        When all are, no home is asked for the scene: so many others of one person may have come
        meanwhile that the home has forgotten it. Else that person would be counted again, which
        takes `RECENT` logins between two commands and a stranger in the batch.
        """
        scenes = {login.key: login.wish.scene_str for login in logins}
        fields = LOGIN_FIELDS if all_counted else (*LOGIN_FIELDS, "recent")
        found = await self._people.find(
            {"_id": {"$in": list(scenes)}, "home": True}, fields
        ).to_list()
        return {
            home["_id"]: home
            for home in found
            if all_counted or scenes[home["_id"]] in home["recent"]
        }


def _failures(error: BulkWriteError, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
    """Who of the batch was not served; without a majority nobody was.

    The driver's own words are not passed on: they quote the commands, with people's openids.
    """
    for concern in error.details["writeConcernErrors"]:
        return dict.fromkeys(logins, WriteConcernError(concern["errmsg"], concern["code"]))
    return {
        logins[failed["index"]]: WriteError(failed["errmsg"], failed["code"])
        for failed in error.details["writeErrors"]
    }


_AUTHENTICATION_FAILED, _UNAUTHORIZED = 18, 13
"""Error codes of the MongoDB manual, "Error Codes"."""


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
        """Connect and make the index.

        Raises:
            SettingsError: URL, user, password or database name are wrong.
            StoreUnavailable: nobody answers; trying again may help.
        """
        self._supervisor = Supervisor()
        self._client = make_client(self._url, self._timeout_seconds)
        try:
            self._people = self._client[self._database]["people"]
        except InvalidName as error:
            raise SettingsError("mongodb.database", str(error)) from None
        seconds = self._timeout_seconds
        reader = DocumentReader(self._people, self._supervisor, timeout_seconds=seconds)
        self._kinship = Kinship(self._people, reader)
        self._counter = LoginCounter(self._people, self._supervisor, timeout_seconds=seconds)
        try:
            async with self._call():
                await self._people.create_index("user_id", unique=True, sparse=True)
        except StoreUnavailable as error:
            await self.close()
            _raise_if_settings(error.__cause__)
            raise StoreUnavailable(
                f"{error} (look at mongodb.url: the hosts, and tls=true only if they speak TLS)"
            ) from error

    @contextlib.asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """One deadline around a call, and one name for whatever goes wrong in it.

        A primary that steps down (NotWritablePrimary), a majority that is not reached, a cut
        connection, no server in time: the caller may ask again.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except TimeoutError as error:
            raise StoreUnavailable("MongoDB: no answer in time") from error
        except FOREIGN as error:
            brief = f"{type(error).__name__}: {error}"[:200]
            raise StoreUnavailable(f"MongoDB: {brief}") from error

    async def login(
        self,
        identity: Identity,
        scene_str: SceneStr,
        account: str,
        now: float,
        *,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
    ) -> Login:
        wish = LoginRecord(scene_str, account, now, profile, user_id)
        async with self._call():
            for _ in range(TRIES):
                login = await self._try_login(identity, wish)
                if login is not None:
                    return login
        raise StoreUnavailable("MongoDB: too many logins of one person at once")

    async def _try_login(self, identity: Identity, wish: LoginRecord) -> Login | None:
        """None when another was quicker somewhere: look again."""
        key = key_of(identity)
        home = await self._counter.count(key, wish)
        if home is not None and identity.unionid in (None, home["unionid"]):
            return Login(user_of(home), home["born"] == wish.scene_str)
        chain = await self._kinship.chain(key)
        if not chain:
            return await self._register(identity, wish)
        if identity.unionid not in (None, chain[0]["unionid"]):
            await self._kinship.join(key, identity.unionid)
            chain = await self._kinship.chain(key)
        if not chain[-1]["home"]:
            # A unionid was claimed for a home that was never made.
            return await self._make_home(chain[-1]["of"], chain[-1].get("unionid"), wish)
        await self._kinship.absorb_left(chain)
        return await self._log_in_at_end(chain, wish)

    async def _log_in_at_end(self, chain: list[Document], wish: LoginRecord) -> Login | None:
        """Count the login at the home that the chain of links leads to, unless it is counted."""
        is_new = False
        if any(wish.scene_str in document.get("recent", ()) for document in chain):
            is_new = any(document.get("born") == wish.scene_str for document in chain)
            home = await self._people.find_one({"_id": chain[-1]["_id"], "home": True})
        else:
            home = await self._counter.count(chain[-1]["_id"], wish)
        return None if home is None else Login(user_of(home), is_new)

    async def _register(self, identity: Identity, wish: LoginRecord) -> Login | None:
        """Make the home of a new identity, or its link where the unionid belongs to somebody.

        The unionid is claimed first: of several doors that one person enters at once, the one
        named there becomes the home, whoever gets to make it.
        """
        key, unionid = key_of(identity), identity.unionid
        owner = key if unionid is None else await self._kinship.claim(unionid, key)
        if owner == key:
            return await self._make_home(key, unionid, wish)
        await self._kinship.make_link(key, owner, unionid)
        return None

    async def _make_home(
        self, key: str, unionid: UnionId | None, wish: LoginRecord
    ) -> Login | None:
        if wish.user_id is not None:
            known = await self._people.find_one({"user_id": wish.user_id})
            if known is not None:
                await self._kinship.make_link(key, known["_id"], unionid)
                return None
        home = home_document(key, unionid, wish)
        try:
            await self._people.insert_one(home)
        except DuplicateKeyError:
            return None
        return Login(user_of(home), True)

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        async with self._call():
            chain = await self._kinship.chain(key_of(identity))
            if not chain and identity.unionid is not None:
                chain = await self._kinship.chain(unionid_name(identity.unionid))
        if not chain or not chain[-1]["home"]:
            return None
        unionid = chain[0].get("unionid", identity.unionid)
        stored = None if unionid is None else UnionId(unionid)
        return user_of(chain[-1]), Identity(identity.app_id, identity.openid, stored)

    async def get(self, user_id: UserId) -> User | None:
        async with self._call():
            document = await self._people.find_one({"user_id": user_id})
            if document is not None and not document["home"]:
                document = (await self._kinship.chain(document["of"]))[-1]
        return None if document is None else user_of(document)

    async def join(self, identity: Identity) -> None:
        async with self._call():
            await self._kinship.join(key_of(identity), identity.unionid)

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        key = key_of(identity)
        noted: Document = {"following": following, "follow_changed_at": at}
        older = {"_id": key, "follow_changed_at": {"$lt": at}}
        async with self._call():
            if not following and await self._people.find_one(older) is not None:
                # First, so that a crash in between leaves it to be done again.
                names = [document["_id"] for document in await self._kinship.chain(key)]
                await self._people.update_many(
                    {"_id": {"$in": names}, "user_id": {"$exists": True}},
                    {"$set": profile_fields(NOTHING_KNOWN)},
                )
            changed = await self._people.update_one(older, {"$set": noted})
        return changed.matched_count == 1

    async def ping(self) -> None:
        assert self._client is not None
        async with self._call():
            await self._client.admin.command("ping")

    async def close(self) -> None:
        """End what is under way and close all connections. May be called twice."""
        if self._client is not None:
            await self._supervisor.close()
            await self._client.close()


def make_client(url: str, timeout_seconds: float) -> AsyncMongoClient[Document]:
    """A client that has sent nothing yet; `SettingsError` where the URL is none."""
    milliseconds = round(timeout_seconds * 1000)
    selection = round(milliseconds * 0.8)  # earlier, so that its reason is what is reported
    try:
        return AsyncMongoClient(
            url,
            appname="scanpush",
            w="majority",
            retryWrites=True,
            retryReads=True,
            timeoutMS=milliseconds,
            serverSelectionTimeoutMS=selection,
            connectTimeoutMS=selection,
            maxPoolSize=64,
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise SettingsError("mongodb.url", str(error)) from None


def _raise_if_settings(error: BaseException | None) -> None:
    """Some refusals of the first call are mistakes in the settings: say which."""
    code = error.code if isinstance(error, OperationFailure) else None
    if code == _AUTHENTICATION_FAILED:
        raise SettingsError("mongodb.url", "MongoDB refuses the user or the password") from None
    if code == _UNAUTHORIZED:
        raise SettingsError(
            "mongodb.database", "this MongoDB user may not use a database of that name"
        ) from None
    if isinstance(error, InvalidName):
        raise SettingsError("mongodb.database", str(error)) from None
    if isinstance(error, ConfigurationError):
        raise SettingsError("mongodb.url", str(error)) from None
