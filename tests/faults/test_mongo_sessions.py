"""A process that ends between any two writes of a change of sessions, on MongoDB: it loses no
session and leaves none half ended."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo.asynchronous.collection import AsyncCollection

from services.ids import AppId, OpenId, new_scene_str
from services.people.store import Identity
from services.people.store_mongo import MongoUserStore
from services.sessions.states import (
    BROWSER,
    REPEAT_SECONDS,
    Refresh,
    Refreshed,
    Session,
    SessionId,
)
from services.sessions.store_mongo import MongoSessionStore
from tests.contracts.sessions import a_session
from tests.faults.mongo import opened
from tests.servers import MongoServer

pytestmark = pytest.mark.mongodb

NOW = 1_760_000_000.0
ON_LOOP = pytest.mark.gen_test(timeout=60)
WHEN = pytest.mark.parametrize("done", [False, True], ids=["before the write", "after it"])


class Killed(Exception):
    """The process ended here."""


class MortalUsers(MongoUserStore):
    """The connections of a process that ends at its `ends_at`-th write to the sessions: before the
    server sees it, or when it is done and not answered yet."""

    ends_at = -1
    does_the_last = False

    def collection(self, name: str) -> Any:
        return _Writes(self, super().collection(name))


class _Writes:
    def __init__(self, users: MortalUsers, collection: AsyncCollection[Any]) -> None:
        self._users = users
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        carry_out = getattr(self._collection, name)
        if not name.startswith(("insert", "update", "delete", "find_one_and")):
            return carry_out

        async def write(*args: Any, **options: Any) -> Any:
            users = self._users
            users.ends_at -= 1
            if users.ends_at >= 0:
                return await carry_out(*args, **options)
            if users.ends_at == -1 and users.does_the_last:
                await carry_out(*args, **options)
            raise Killed

        return write


def session(user_id: str, client: str = "", parent: SessionId | None = None) -> Session:
    named = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return a_session(
        user_id,
        NOW,
        id=SessionId(named),
        client=client,
        parent=parent,
        ends_at=NOW + 1000,
        token_hash=named.encode(),
    )


def use(one: Session) -> Refresh:
    """The first refresh token of that session."""
    hashed = one.id.encode()
    return Refresh(one.id, one.client, 1, hashed, hashed + b"2", is_genuine=True, idle_seconds=0)


class World:
    """The store of a process that is killed, and that of another one, which goes on."""

    def __init__(self, users: MortalUsers, lasting_users: MongoUserStore) -> None:
        self._users = users
        self._lasting_users = lasting_users
        self.mortal = MongoSessionStore(users)
        self.lasting = MongoSessionStore(lasting_users)

    async def begin(self) -> None:
        """A browser session and those of two clients, of a new person."""
        self.browser = session(f"user-{uuid.uuid4()}", BROWSER)
        user_id, parent = self.browser.user_id, self.browser.id
        identity = Identity(AppId("wx"), OpenId(user_id))
        await self._lasting_users.login(identity, new_scene_str(), "default", NOW, user_id=user_id)
        self.clients = [session(user_id, name, parent) for name in ("one", "two")]
        self.all = [self.browser, *self.clients]
        for one in self.all:
            await self.lasting.begin(one, most_per_user=0, now=NOW)

    async def killed(self, write: int, done: bool, change: Awaitable[object]) -> None:
        """Have the process carry out `change` and end at that write."""
        self._users.ends_at, self._users.does_the_last = write, done
        with pytest.raises(Killed):
            await change

    async def alive(self) -> int:
        found = [await self.lasting.get(one.id, NOW) for one in self.all]
        return sum(one is not None for one in found)

    async def left(self) -> int:
        """Documents that are still there."""
        ids = [one.id for one in self.all]
        return await self.lasting._sessions.count_documents({"_id": {"$in": ids}})


@asynccontextmanager
async def made_world(server: MongoServer) -> AsyncIterator[World]:
    async with opened(server.url, 10) as lasting_users:
        users = MortalUsers(server.url, "people", timeout_seconds=10)
        await users.open()
        world = World(users, lasting_users)
        await world.lasting.open()
        await world.mortal.open()
        yield world
        await users.close()


@WHEN
@ON_LOOP
async def test_an_end_is_whole_or_nothing(shared_mongo_server: MongoServer, done: bool) -> None:
    """At every write: either all three sessions are alive, or none; and ended again, all are."""
    async with made_world(shared_mongo_server) as world:
        for write in range(3):
            await world.begin()
            await world.killed(write, done, world.mortal.end(world.browser.id))
            assert await world.alive() == (3 if (write, done) == (0, False) else 0)
            await world.lasting.end(world.browser.id)
            assert await world.left() == 0


@WHEN
@ON_LOOP
async def test_a_theft_that_was_noticed_ends_all(
    shared_mongo_server: MongoServer, done: bool
) -> None:
    """A client's token used again: what was cut off is made up for by the next use of it."""
    async with made_world(shared_mongo_server) as world:
        for write in range(3):
            await world.begin()
            stolen = use(world.clients[0])
            rotated = await world.lasting.refresh(stolen, NOW)
            assert rotated.outcome is Refreshed.ROTATED
            change = world.mortal.refresh(stolen, NOW + REPEAT_SECONDS)
            await world.killed(write, done, change)
            assert await world.alive() in (0, 3)
            await world.lasting.refresh(stolen, NOW + REPEAT_SECONDS)
            assert await world.alive() == 0


@WHEN
@ON_LOOP
async def test_a_persons_end_is_whole_for_each_session(
    shared_mongo_server: MongoServer, done: bool
) -> None:
    """What is ended is so with all below it, and asked again nothing is left."""
    async with made_world(shared_mongo_server) as world:
        for write in range(4):
            await world.begin()
            user_id = world.browser.user_id
            plain = session(user_id)
            await world.lasting.begin(plain, most_per_user=0, now=NOW)
            await world.killed(write, done, world.mortal.end_of_user(user_id))
            assert await world.alive() in (0, 3)
            await world.lasting.end_of_user(user_id)
            assert await world.lasting.get(plain.id, NOW) is None
            assert await world.alive() == 0


@WHEN
@ON_LOOP
async def test_a_login_that_begins_again_has_its_session(
    shared_mongo_server: MongoServer, done: bool
) -> None:
    """Killed while it begins, or while another one makes room: begun again it is there, once, and
    the limit holds."""
    async with made_world(shared_mongo_server) as world:
        for write in range(4):
            await world.begin()
            new = session(world.browser.user_id)._replace(used_at=NOW + 1)
            change = world.mortal.begin(new, most_per_user=1, now=NOW)
            await world.killed(write, done, change)
            await world.lasting.begin(new, most_per_user=1, now=NOW)
            assert await world.lasting.of_user(new.user_id, NOW) == [new]
            assert await world.alive() == 0


@WHEN
@ON_LOOP
async def test_nothing_is_alive_below_what_ended_in_between(
    shared_mongo_server: MongoServer, done: bool
) -> None:
    """Begun below a session that is over, by a process that ends before it has looked."""
    async with made_world(shared_mongo_server) as world:
        for write in range(2):
            await world.begin()
            await world.lasting.end(world.browser.id)
            late = session(world.browser.user_id, "three", world.browser.id)
            await world.killed(write, done, world.mortal.begin(late, most_per_user=0, now=NOW))
            assert await world.lasting.get(late.id, NOW) is None
            assert (await world.lasting.refresh(use(late), NOW)).outcome is Refreshed.REFUSED


@WHEN
@ON_LOOP
async def test_a_refresh_is_done_or_not(shared_mongo_server: MongoServer, done: bool) -> None:
    """The same token again brings the one successor."""
    async with made_world(shared_mongo_server) as world:
        await world.begin()
        one = use(world.clients[0])
        await world.killed(0, done, world.mortal.refresh(one, NOW))
        again = await asyncio.gather(*(world.lasting.refresh(one, NOW) for _ in range(3)))
        outcomes = [each.outcome for each in again]
        assert outcomes.count(Refreshed.ROTATED) == (0 if done else 1)
        assert len({each.session for each in again}) == 1
