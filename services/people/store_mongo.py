"""People in MongoDB, safe without transactions, so that a single mongod serves as a cluster does.

One collection. A known person logs in with one ``find_one_and_update`` of the person's home (see
services/people/documents.py), or with others who log in at that moment (logins_mongo.py). When two
users turn out to be one, the younger home becomes a link to the older (kinship_mongo.py).

Only what MongoDB documents for a standalone server is used. Writes ask for a majority.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConfigurationError,
    DuplicateKeyError,
    InvalidName,
    InvalidURI,
    OperationFailure,
)

from services.errors import SettingsError, StoreUnavailable
from services.ids import SceneStr, UnionId, UserId
from services.people.documents import (
    Document,
    Wish,
    home_document,
    key_of,
    profile_fields,
    unionid_name,
    user_of,
)
from services.people.kinship_mongo import TRIES, Kinship
from services.people.lanes_mongo import FOREIGN, DocumentReader
from services.people.logins_mongo import LoginCounter
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, User
from services.supervisor import Supervisor

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
        wish = Wish(scene_str, account, now, profile, user_id)
        async with self._call():
            for _ in range(TRIES):
                login = await self._try_login(identity, wish)
                if login is not None:
                    return login
        raise StoreUnavailable("MongoDB: too many logins of one person at once")

    async def _try_login(self, identity: Identity, wish: Wish) -> Login | None:
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

    async def _log_in_at_end(self, chain: list[Document], wish: Wish) -> Login | None:
        """Count the login at the home that the chain of links leads to, unless it is counted."""
        is_new = False
        if any(wish.scene_str in document.get("recent", ()) for document in chain):
            is_new = any(document.get("born") == wish.scene_str for document in chain)
            home = await self._people.find_one({"_id": chain[-1]["_id"], "home": True})
        else:
            home = await self._counter.count(chain[-1]["_id"], wish)
        return None if home is None else Login(user_of(home), is_new)

    async def _register(self, identity: Identity, wish: Wish) -> Login | None:
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

    async def _make_home(self, key: str, unionid: UnionId | None, wish: Wish) -> Login | None:
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
