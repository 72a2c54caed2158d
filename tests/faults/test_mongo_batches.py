"""MongoDB fails while many people log in at once: each is counted once, and only those concerned
are told to come again."""

import asyncio
import random
from collections import Counter

import pytest
from pymongo import MongoClient

from services.errors import StoreUnavailable
from services.ids import AppId, OpenId, SceneStr, UnionId
from services.mongo_client import Document
from services.people.mongo_identities import LoginRecord, key_of, primary_record
from services.people.store import NOTHING_KNOWN, Identity, Login
from services.people.store_mongo import MongoUserStore
from tests.faults.mongo import (
    NO_MAJORITY,
    NOT_PRIMARY,
    a_scene_str,
    always,
    once,
    opened,
    patiently,
    proxied,
)
from tests.servers import MongoServer
from tests.wire_proxy import Fault, Proxy, as_replica_set, name_of, no_fault, one_message

pytestmark = pytest.mark.mongodb

NOW = 1_760_000_000.0
CROWD = [Identity(AppId("wx1"), OpenId(f"person{n}"), UnionId(f"u{n}")) for n in range(12)]

ONE_REFUSED = {
    "ok": 1.0,
    "n": 0,
    "nModified": 0,
    "writeErrors": [{"index": 5, "code": 14031, "errmsg": "out of disk space"}],
}
"""An update of which the sixth failed and the others matched nothing."""

FAULTS = [Fault.CUT, Fault.LOSE, Fault.HANG, NOT_PRIMARY]
NAMES = ["cut", "lost", "hangs", "stepping down"]


async def all_at_once(store: MongoUserStore, scenes: list[SceneStr]) -> list[Login | BaseException]:
    """All people of the crowd, one scene each."""
    calls = (store.login(*who, "default", NOW) for who in zip(CROWD, scenes, strict=True))
    return await asyncio.gather(*calls, return_exceptions=True)


async def each_patiently(store: MongoUserStore, scenes: list[SceneStr]) -> list[Login]:
    """The same, asked again while the store is unavailable."""
    return await asyncio.gather(
        *(
            patiently(lambda who=who: store.login(*who, "default", NOW))
            for who in zip(CROWD, scenes, strict=True)
        )
    )


async def a_known_crowd(store: MongoUserStore) -> list[Login]:
    return await each_patiently(store, scenes_for_all())


def scenes_for_all() -> list[SceneStr]:
    return [a_scene_str() for _ in CROWD]


async def expect_counted(store: MongoUserStore, known: list[Login], logins: int) -> None:
    """No person became another, and no login is missing or counted twice."""
    for identity, before in zip(CROWD, known, strict=True):
        found = await patiently(lambda identity=identity: store.find(identity))
        assert found is not None and (found[0].id, found[0].logins) == (before.user.id, logins)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
@pytest.mark.parametrize("name", ["update", "find"])
async def test_a_batch_that_fails_may_be_asked_again(
    mongo_server: MongoServer, fault: Fault | dict[str, object], name: str
) -> None:
    """Counting or reading breaks, in whatever way: no person twice, nothing lost."""
    async with proxied(mongo_server, 0.5) as (proxy, store):
        known, scenes = await a_known_crowd(store), scenes_for_all()
        proxy.plan = once((name,), fault)
        again = await each_patiently(store, scenes)
        assert not any(login.is_new for login in again)
        await expect_counted(store, known, 2)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("answer", [NOT_PRIMARY, NO_MAJORITY], ids=["not primary", "no majority"])
async def test_a_batch_that_is_not_safe_is_unavailable(
    mongo_server: MongoServer, answer: dict[str, object]
) -> None:
    """No caller is told of a login that a majority does not hold, not even of an earlier try."""
    async with proxied(mongo_server) as (proxy, store):
        known, scenes = await a_known_crowd(store), scenes_for_all()
        for _ in range(2):
            proxy.plan = always(("update",), answer)
            outcomes = await all_at_once(store, scenes)
            assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
            proxy.plan = no_fault
            await each_patiently(store, scenes)
        await expect_counted(store, known, 2)


@pytest.mark.gen_test(timeout=30)
async def test_nothing_is_read_where_no_write_is_safe(mongo_server: MongoServer) -> None:
    """Without a majority no person is left to look up, and MongoDB refuses an empty query."""
    async with proxied(mongo_server) as (proxy, store):
        await a_known_crowd(store)
        refused, asked = always(("update",), NO_MAJORITY), []

        def plan(request: bytes) -> Fault | bytes:
            asked.append(name_of(request))
            return refused(request)

        proxy.plan = plan
        outcomes = await all_at_once(store, scenes_for_all())
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert "update" in asked and "find" not in asked


@pytest.mark.gen_test(timeout=30)
async def test_one_failing_write_fails_alone(mongo_server: MongoServer) -> None:
    """The others log in, and the error does not quote whose login it was."""
    async with proxied(mongo_server, 5) as (proxy, store):
        known, scenes = await a_known_crowd(store), scenes_for_all()
        proxy.plan = once(("update",), ONE_REFUSED)
        outcomes = await all_at_once(store, scenes)
        failed = [number for number, it in enumerate(outcomes) if not isinstance(it, Login)]
        assert failed == [5] and isinstance(outcomes[5], StoreUnavailable)
        assert "out of disk space" in str(outcomes[5]) and "person" not in str(outcomes[5])
        await each_patiently(store, scenes)
        await expect_counted(store, known, 2)


@pytest.mark.gen_test(timeout=30)
async def test_a_record_made_meanwhile_is_no_counted_login(mongo_server: MongoServer) -> None:
    """Another node registers a stranger between the two commands of a batch: both logins count."""
    stranger = Identity(AppId("wx1"), OpenId("stranger"))
    elsewhere = LoginRecord(a_scene_str(), "default", NOW, NOTHING_KNOWN, None)

    def plan(request: bytes) -> Fault:
        if name_of(request) == "find" and not homes.count_documents({"_id": key_of(stranger)}):
            homes.insert_one(primary_record(key_of(stranger), None, elsewhere))
        return Fault.PASS

    async with proxied(mongo_server, 5) as (proxy, store):
        await a_known_crowd(store)
        people = [*CROWD[:2], stranger]
        with MongoClient[Document](mongo_server.url) as client:
            homes = client[store._database]["people"]
            proxy.plan = plan
            logins = await asyncio.gather(
                *(store.login(one, a_scene_str(), "default", NOW) for one in people)
            )
        assert [(login.user.logins, login.is_new) for login in logins] == [(2, False)] * 3


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("name", ["update", "find"])
@pytest.mark.parametrize(
    "fault", [NOT_PRIMARY, Fault.CUT, Fault.LOSE], ids=["stepping down", "cut", "lost"]
)
async def test_on_a_replica_set_a_broken_batch_is_retried(
    mongo_server: MongoServer, fault: Fault | dict[str, object], name: str
) -> None:
    """One stepping down or one cut is noticed by no caller of the batch."""
    proxy = Proxy(mongo_server.port, message=one_message)
    await proxy.open()
    proxy.rewrite = as_replica_set(proxy.port)
    async with opened(f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0", 5) as store:
        known = await a_known_crowd(store)
        proxy.plan = once((name,), fault)
        outcomes = await all_at_once(store, scenes_for_all())
        assert all(isinstance(outcome, Login) for outcome in outcomes)
        await expect_counted(store, known, 2)
    await proxy.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_batch_that_hangs_holds_up_no_other(mongo_server: MongoServer) -> None:
    """Later people log in while the batch before still waits for its answer."""
    reached = asyncio.Event()

    def plan(request: bytes) -> Fault:
        if name_of(request) != "update" or reached.is_set():
            return Fault.PASS
        reached.set()
        return Fault.HANG

    async with proxied(mongo_server, 20) as (proxy, store):
        known = await a_known_crowd(store)
        proxy.plan = plan
        hanging = asyncio.ensure_future(all_at_once(store, scenes_for_all()))
        await reached.wait()
        outcomes = await all_at_once(store, scenes_for_all())
        assert not hanging.done()
        assert all(isinstance(outcome, Login) for outcome in outcomes)
        hanging.cancel()
        await expect_counted(store, known, 2)
        await asyncio.gather(hanging, return_exceptions=True)


@pytest.mark.gen_test(timeout=30)
async def test_a_paused_server_keeps_no_batch_waiting(mongo_server: MongoServer) -> None:
    """Sent or waiting behind the sent ones, every login ends; asked again, each counts once."""
    async with opened(mongo_server.url, 0.5) as store:
        known, scenes = await a_known_crowd(store), scenes_for_all()
        mongo_server.pause()
        first = asyncio.ensure_future(all_at_once(store, scenes))
        await asyncio.sleep(0)
        outcomes = [*await all_at_once(store, scenes), *await first]
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        mongo_server.resume()
        await each_patiently(store, scenes)
        await expect_counted(store, known, 2)


@pytest.mark.slow
@pytest.mark.gen_test(timeout=60)
async def test_crowds_through_a_breaking_wire_are_all_counted(mongo_server: MongoServer) -> None:
    """Eight times the crowd on a wire that breaks often: no person twice, nothing lost."""
    chance = random.Random(11)

    def plan(request: bytes) -> Fault:
        if name_of(request) in ("update", "find", "insert", "findAndModify"):
            if chance.random() < 0.1:
                return chance.choice([Fault.CUT, Fault.LOSE])
        return Fault.PASS

    async with proxied(mongo_server, 2) as (proxy, store):
        proxy.plan = plan
        logins = [await each_patiently(store, scenes_for_all()) for _ in range(8)]
        proxy.plan = no_fault
        for person in zip(*logins, strict=True):
            assert Counter(login.is_new for login in person) == {True: 1, False: 7}
        await expect_counted(store, logins[0], 8)
