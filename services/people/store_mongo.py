"""People in MongoDB, safe without transactions, so that a single mongod serves as a cluster does.

One collection. A known person logs in with one ``find_one_and_update`` of the person's home (see
services/people/documents.py). When two users turn out to be one, the younger home becomes a link
to the older. Links are never changed again and lead from younger to older, so following them
ends; what a crash interrupts is finished by the next login that comes by.

Only what MongoDB documents for a standalone server is used. Writes ask for a majority.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    ConfigurationError,
    DuplicateKeyError,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from services.errors import SettingsError, StoreUnavailable
from services.ids import SceneStr, UnionId, UserId
from services.people.documents import (
    PROFILE,
    Document,
    Wish,
    claim_document,
    home_document,
    key_of,
    link_document,
    profile_fields,
    unionid_name,
    user_of,
)
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, User

log = logging.getLogger("scanpush.people")

RECENT = 32
"""Logins remembered by their scene. A repeat comes within half a minute of the first."""

TRIES = 20
"""Lost races in a row before we give up. Each means that another made a step."""

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
        milliseconds = round(self._timeout_seconds * 1000)
        selection = round(milliseconds * 0.8)  # earlier, so that its reason is what is reported
        try:
            self._client = AsyncMongoClient(
                self._url,
                appname="scanpush",
                w="majority",
                retryWrites=True,
                retryReads=True,
                timeoutMS=milliseconds,
                serverSelectionTimeoutMS=selection,
                connectTimeoutMS=selection,
                maxPoolSize=64,
            )
            self._people: AsyncCollection[Document] = self._client[self._database]["people"]
        except InvalidName as error:
            raise SettingsError("mongodb.database", str(error)) from None
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise SettingsError("mongodb.url", str(error)) from None
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
        except (PyMongoError, OSError) as error:
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
        home = await self._count_login(key, wish)
        if home is not None and identity.unionid in (None, home["unionid"]):
            return Login(user_of(home), home["born"] == wish.scene_str)
        chain = await self._chain(key)
        if not chain:
            return await self._register(identity, wish)
        if identity.unionid not in (None, chain[0]["unionid"]):
            await self._join(key, identity.unionid)
            chain = await self._chain(key)
        if not chain[-1]["home"]:
            # A unionid was claimed for a home that was never made.
            return await self._make_home(chain[-1]["of"], chain[-1].get("unionid"), wish)
        await self._absorb_left(chain)
        return await self._log_in_at_end(chain, wish)

    async def _log_in_at_end(self, chain: list[Document], wish: Wish) -> Login | None:
        """Count the login at the home that the chain of links leads to, unless it is counted."""
        is_new = False
        if any(wish.scene_str in document.get("recent", ()) for document in chain):
            is_new = any(document.get("born") == wish.scene_str for document in chain)
            home = await self._people.find_one({"_id": chain[-1]["_id"], "home": True})
        else:
            home = await self._count_login(chain[-1]["_id"], wish)
        return None if home is None else Login(user_of(home), is_new)

    async def _count_login(self, key: str, wish: Wish) -> Document | None:
        """The home at `key` with this login counted; None: no home there, or counted before."""
        change: Document = {
            "$inc": {"logins": 1},
            "$max": {"last_login_at": wish.now},
            "$push": {"recent": {"$each": [wish.scene_str], "$slice": -RECENT}},
        }
        if learned := {field: text for field, text in profile_fields(wish.profile).items() if text}:
            change["$set"] = learned
        return await self._people.find_one_and_update(
            {"_id": key, "home": True, "recent": {"$nin": [wish.scene_str]}},
            change,
            return_document=ReturnDocument.AFTER,
        )

    async def _register(self, identity: Identity, wish: Wish) -> Login | None:
        """Make the home of a new identity, or its link where the unionid belongs to somebody.

        The unionid is claimed first: of several doors that one person enters at once, the one
        named there becomes the home, whoever gets to make it.
        """
        key, unionid = key_of(identity), identity.unionid
        owner = key if unionid is None else await self._claim(unionid, key)
        if owner == key:
            return await self._make_home(key, unionid, wish)
        await self._make_link(key, owner, unionid)
        return None

    async def _make_home(self, key: str, unionid: UnionId | None, wish: Wish) -> Login | None:
        if wish.user_id is not None:
            known = await self._people.find_one({"user_id": wish.user_id})
            if known is not None:
                await self._make_link(key, known["_id"], unionid)
                return None
        home = home_document(key, unionid, wish)
        try:
            await self._people.insert_one(home)
        except DuplicateKeyError:
            return None
        return Login(user_of(home), True)

    async def _make_link(self, key: str, of: str, unionid: UnionId | None) -> None:
        with contextlib.suppress(DuplicateKeyError):  # whoever was quicker is read again
            await self._people.insert_one(link_document(key, of, unionid))

    async def _claim(self, unionid: UnionId, key: str) -> str:
        """Who has that unionid: the identity at `key` from now on, unless there is one."""
        name = unionid_name(unionid)
        try:
            await self._people.insert_one(claim_document(name, key))
        except DuplicateKeyError:
            claimed = await self._people.find_one({"_id": name})
            return str(claimed["of"]) if claimed is not None else key
        return key

    async def _chain(self, key: str) -> list[Document]:
        """The document at `key` and where its links lead, the last one being the home."""
        chain: list[Document] = []
        document = await self._people.find_one({"_id": key})
        while document is not None:
            chain.append(document)
            if document["home"]:
                break
            document = await self._people.find_one({"_id": document["of"]})
        return chain

    async def _join(self, key: str, unionid: UnionId | None) -> None:
        """Note the unionid of a known identity; noted last, so that a crash leaves it to do."""
        if unionid is None or not await self._chain(key):
            return
        owner = await self._claim(unionid, key)
        for _ in range(TRIES):
            if await self._try_unite(key, owner, unionid):
                await self._people.update_one({"_id": key}, {"$set": {"unionid": unionid}})
                return
        raise StoreUnavailable("MongoDB: too many users become one at once")

    async def _try_unite(self, one: str, two: str, unionid: UnionId) -> bool:
        """Make one user of those two identities; False when another was quicker: look again."""
        chains = [await self._chain(one), await self._chain(two)]
        if not chains[1]:
            # Somebody claimed the unionid and has not come to making a home of it.
            await self._make_link(two, one, unionid)
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
            await self._absorb_left([turned, *await self._chain(older["_id"])])
        return turned is not None

    async def _absorb_left(self, chain: list[Document]) -> None:
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

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        async with self._call():
            chain = await self._chain(key_of(identity))
            if not chain and identity.unionid is not None:
                chain = await self._chain(unionid_name(identity.unionid))
        if not chain or not chain[-1]["home"]:
            return None
        unionid = chain[0].get("unionid", identity.unionid)
        stored = None if unionid is None else UnionId(unionid)
        return user_of(chain[-1]), Identity(identity.app_id, identity.openid, stored)

    async def get(self, user_id: UserId) -> User | None:
        async with self._call():
            document = await self._people.find_one({"user_id": user_id})
            if document is not None and not document["home"]:
                document = (await self._chain(document["of"]))[-1]
        return None if document is None else user_of(document)

    async def join(self, identity: Identity) -> None:
        async with self._call():
            await self._join(key_of(identity), identity.unionid)

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        key = key_of(identity)
        noted: Document = {"following": following, "follow_changed_at": at}
        older = {"_id": key, "follow_changed_at": {"$lt": at}}
        async with self._call():
            if not following and await self._people.find_one(older) is not None:
                # First, so that a crash in between leaves it to be done again.
                names = [document["_id"] for document in await self._chain(key)]
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
        """Close all connections. May be called twice."""
        if self._client is not None:
            await self._client.close()


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
