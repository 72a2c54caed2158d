"""What logins do while MongoDB is gone, slow, steps down, answers nonsense or loses connections."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter

import pytest

from deploy.programs import free_port
from services.errors import SettingsError, StoreUnavailable
from services.ids import AppId, OpenId, UnionId
from services.people.store import Identity, Login, Profile
from services.people.store_mongo import MongoUserStore
from tests.faults.mongo import (
    DUPLICATE_KEY,
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
from tests.wire_proxy import Fault, Plan, Proxy, as_replica_set, name_of, no_fault, one_message

pytestmark = pytest.mark.mongodb

NOW = 1_760_000_000.0
ANN = Identity(AppId("wx1"), OpenId("ann"))
WRITES = ("insert", "update", "findAndModify")

# Gone, paused, slow.


@pytest.mark.gen_test(timeout=30)
async def test_a_stopped_server_is_unavailable_and_back(mongo_server: MongoServer) -> None:
    """Every call ends in time; after the restart every person is still known."""
    async with opened(mongo_server.url) as store:
        first = await store.login(ANN, a_scene_str(), "default", NOW)
        mongo_server.stop()
        for call in (
            store.login(ANN, a_scene_str(), "default", NOW),
            store.find(ANN),
            store.ping(),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        mongo_server.start()
        again = await patiently(lambda: store.login(ANN, a_scene_str(), "default", NOW + 1))
        assert (again.user.id, again.is_new, again.user.logins) == (first.user.id, False, 2)


@pytest.mark.gen_test(timeout=30)
async def test_a_paused_server_is_given_up_in_time(mongo_server: MongoServer) -> None:
    """A login whose fate is unknown, asked again for its scene, counts once."""
    async with opened(mongo_server.url, 0.5) as store:
        scene = a_scene_str()
        mongo_server.pause()
        with pytest.raises(StoreUnavailable):
            await store.login(ANN, scene, "default", NOW)
        mongo_server.resume()
        login = await patiently(lambda: store.login(ANN, scene, "default", NOW))
        assert login.is_new and login.user.logins == 1


# It answers, but not as hoped.


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "answer", [NOT_PRIMARY, NO_MAJORITY], ids=["not the primary", "no majority"]
)
async def test_a_write_that_is_not_safe_is_unavailable(
    mongo_server: MongoServer, answer: dict[str, object]
) -> None:
    """Stepping down, or no majority in time: not answered as done; asked again, counted once."""
    async with proxied(mongo_server) as (proxy, store):
        for names in (("findAndModify",), ("insert",)):
            scene = a_scene_str()
            person = Identity(AppId("wx1"), OpenId(names[0]))
            proxy.plan = always(names, answer)
            with pytest.raises(StoreUnavailable):
                await store.login(person, scene, "default", NOW)
            proxy.plan = no_fault
            login = await patiently(lambda: store.login(person, scene, "default", NOW))
            assert login.is_new and login.user.logins == 1


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "fault", [NOT_PRIMARY, Fault.CUT, Fault.LOSE], ids=["stepping down", "cut", "lost"]
)
async def test_on_a_replica_set_a_broken_write_is_retried(
    mongo_server: MongoServer, fault: Fault | dict[str, object]
) -> None:
    """One stepping down or one cut is not even noticed: the driver writes again, by its own."""
    proxy = Proxy(mongo_server.port, message=one_message)
    await proxy.open()
    proxy.rewrite = as_replica_set(proxy.port)
    async with opened(f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0", 3) as store:
        for name in ("insert", "findAndModify"):
            person = Identity(AppId("wx1"), OpenId(name))
            proxy.plan = once((name,), fault)
            login = await store.login(person, a_scene_str(), "default", NOW)
            assert login.is_new and login.user.logins == 1
    await proxy.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_duplicate_key_is_read_again(mongo_server: MongoServer) -> None:
    """Another node seems to have been quicker: read again, and go on with what is really there."""
    async with proxied(mongo_server) as (proxy, store):
        proxy.plan = once(("insert",), DUPLICATE_KEY)
        login = await store.login(ANN, a_scene_str(), "default", NOW)
        assert login.is_new and login.user.logins == 1
        proxy.plan = once(("insert",), DUPLICATE_KEY)
        other = Identity(AppId("wx2"), OpenId("ann"), UnionId("u"))
        assert (await store.login(other, a_scene_str(), "default", NOW)).is_new


@pytest.mark.gen_test(timeout=30)
async def test_duplicate_keys_for_ever_end(mongo_server: MongoServer) -> None:
    """A server that always claims to know the key is given up."""
    async with proxied(mongo_server) as (proxy, store):
        proxy.plan = always(("insert",), DUPLICATE_KEY)
        with pytest.raises(StoreUnavailable):
            await store.login(ANN, a_scene_str(), "default", NOW)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOSE, Fault.HANG])
@pytest.mark.parametrize("name", WRITES)
async def test_a_cut_in_the_middle_makes_no_second_user(
    mongo_server: MongoServer, fault: Fault, name: str
) -> None:
    """At each write of a first login and of a join: done or not, asked again it comes right."""
    async with proxied(mongo_server, 0.5) as (proxy, store):
        first = a_scene_str()
        older = await patiently(lambda: store.login(ANN, first, "default", NOW))
        await patiently(lambda: store.join(Identity(ANN.app_id, ANN.openid, UnionId("u"))))
        known, scene = Identity(AppId("wx2"), OpenId("ann")), a_scene_str()
        proxy.plan = once((name,), fault)
        login = await patiently(lambda: store.login(known, scene, "default", NOW + 1))
        assert login.is_new and login.user.logins == 1
        proxy.plan = once((name,), fault)
        proof = Identity(AppId("wx2"), OpenId("ann"), UnionId("u"))
        later = a_scene_str()
        login = await patiently(lambda: store.login(proof, later, "default", NOW + 2))
        assert (login.user.id, login.is_new) == (older.user.id, False)
        proxy.plan = no_fault
        user = await patiently(lambda: store.get(older.user.id))
        assert user is not None and user.logins == 3


def nth(names: tuple[str, ...], number: int, fault: Fault) -> Plan:
    """From that request of those names on, the server is gone for this node: it has ended."""
    count = itertools.count()

    def plan(request: bytes) -> Fault:
        if name_of(request) not in names or (at := next(count)) < number:
            return Fault.PASS
        return fault if at == number else Fault.CUT

    return plan


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOSE])
async def test_a_node_that_ends_in_the_middle_of_a_join_is_made_up_for(
    mongo_server: MongoServer, fault: Fault
) -> None:
    """Before or after any write: what it left owed is taken up by another node, whose one more join
    makes one user with all logins, each counted once, and the name that the younger one had."""
    async with opened(mongo_server.url, 5) as other, proxied(mongo_server, 2) as (proxy, store):
        for number in itertools.count():
            openid, unionid = OpenId(f"ann{number}"), UnionId(f"u{number}")
            one, two = Identity(AppId("wx1"), openid), Identity(AppId("wx2"), openid)
            named = Profile(name="Ann")
            older = await other.login(one, a_scene_str(), "a", NOW, unionid_wanted=True)
            for seconds in (1, 2):
                younger = await other.login(
                    two, a_scene_str(), "b", NOW + seconds, profile=named, unionid_wanted=True
                )
            await other.join(one._replace(unionid=unionid))
            proxy.plan = nth(WRITES, number, fault)
            try:
                await store.join(two._replace(unionid=unionid))
                ended = False
            except StoreUnavailable:
                ended = True
            proxy.plan = no_fault
            for identity in await other.owed_unionids(AppId("wx2"), NOW + 60, 9):
                await other.join(identity._replace(unionid=unionid))
            user = await other.get(younger.user.id)
            assert user is not None and (user.id, user.name) == (older.user.id, "Ann")
            assert user.logins == 3 and user == await other.get(older.user.id), number
            assert await other.count_owed_unionids(9) == 0
            if not ended:
                break
        # The claim of the unionid, the link, the sum, the end of the alias, and the note.
        assert number == 5


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOSE])
async def test_a_node_that_ends_in_the_middle_of_a_login_loses_no_unionid(
    mongo_server: MongoServer, fault: Fault
) -> None:
    """A person whom the store knows owes it, too; the login that is finished by another node."""
    async with opened(mongo_server.url, 5) as other, proxied(mongo_server, 2) as (proxy, store):
        for number in range(4):
            known = Identity(AppId("wx1"), OpenId(f"known{number}"))
            await other.login(known, a_scene_str(), "a", NOW)
            for person in (known, Identity(AppId("wx1"), OpenId(f"new{number}"))):
                scene = a_scene_str()
                proxy.plan = nth(WRITES, number, fault)
                with contextlib.suppress(StoreUnavailable):
                    await store.login(person, scene, "a", NOW, unionid_wanted=True)
                proxy.plan = no_fault
                login = await other.login(person, scene, "a", NOW + 5, unionid_wanted=True)
                assert login.owes_unionid and login.user.logins == 1 + (person == known)
        assert await other.count_owed_unionids(99) == 8


@pytest.mark.gen_test(timeout=60)
async def test_logins_through_a_breaking_wire_are_all_counted(mongo_server: MongoServer) -> None:
    """80 logins of 10 people on a wire that breaks often: no person twice, nothing lost.

    The driver pauses for half a second after each break, hence not too often.
    """
    chance = random.Random(7)

    def plan(request: bytes) -> Fault:
        if name_of(request) in (*WRITES, "find") and chance.random() < 0.03:
            return chance.choice([Fault.CUT, Fault.LOSE])
        return Fault.PASS

    async with proxied(mongo_server, 2) as (proxy, store):
        proxy.plan = plan
        logins: dict[str, list[Login]] = {f"person{number}": [] for number in range(10)}

        async def log_in(openid: str) -> None:
            scene, person = a_scene_str(), Identity(AppId("wx1"), OpenId(openid))
            logins[openid].append(
                await patiently(lambda: store.login(person, scene, "default", NOW), 30)
            )

        for _ in range(4):
            await asyncio.gather(*(log_in(openid) for openid in logins for _ in range(2)))
        proxy.plan = no_fault
        for openid, given in logins.items():
            assert len({login.user.id for login in given}) == 1, openid
            assert Counter(login.is_new for login in given) == {True: 1, False: 7}, openid
            user = await store.get(given[0].user.id)
            assert user is not None and user.logins == 8


# Mistakes in the settings: one line at the start.


async def complaint(url: str, database: str = "people") -> str:
    store = MongoUserStore(url, database, timeout_seconds=1)
    with pytest.raises((SettingsError, StoreUnavailable)) as raised:
        await store.open()
    await store.close()
    assert "\n" not in str(raised.value) and "s3cret" not in str(raised.value)
    return f"{type(raised.value).__name__} {raised.value}"


@pytest.mark.gen_test(timeout=30)
async def test_refusals_at_the_start_are_named(mongo_server: MongoServer) -> None:
    """A wrong password and a database that this user may not use, as MongoDB words them."""
    proxy = Proxy(mongo_server.port, message=one_message)
    await proxy.open()
    url = f"mongodb://127.0.0.1:{proxy.port}"
    refusals = {18: "mongodb.url: MongoDB refuses the user", 13: "mongodb.database"}
    for code, words in refusals.items():
        answer: dict[str, object] = {"ok": 0.0, "code": code, "errmsg": "no"}
        proxy.plan = always(("createIndexes",), answer)
        assert words in await complaint(url)
    await proxy.close()


@pytest.mark.gen_test(timeout=30)
async def test_other_mistakes_are_named(mongo_server: MongoServer) -> None:
    """No URL, a name no database can have, TLS where none is spoken, no server there."""
    assert "mongodb.url" in await complaint("http://127.0.0.1")
    assert "mongodb.database" in await complaint(mongo_server.url, "a b/c")
    assert "TLS" in await complaint(f"{mongo_server.url}/?tls=true")
    absent = await complaint(f"mongodb://user:s3cret@127.0.0.1:{free_port()}")
    assert absent.startswith("StoreUnavailable")
