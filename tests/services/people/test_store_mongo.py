"""What only the store in MongoDB does; its contract is in tests/contracts."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.ids import AppId, OpenId, SceneStr, UnionId
from services.people.mongo_identities import MOST_IN_A_BATCH
from services.people.store import Identity
from services.people.store_mongo import MongoUserStore
from tests.servers import MongoServer
from tests.wire_proxy import Fault, Proxy, name_of, one_message

pytestmark = pytest.mark.mongodb

NOW = 1_760_000_000.0
ANN = Identity(AppId("wx1"), OpenId("ann"))


class Bench:
    """A store and what it asks the server."""

    def __init__(self, server: MongoServer) -> None:
        self.asked: list[str] = []
        self._proxy = Proxy(server.port, message=one_message)

    def _note(self, request: bytes) -> Fault:
        if (name := name_of(request)) in ("find", "insert", "update", "findAndModify"):
            self.asked.append(name)
        return Fault.PASS

    async def open(self) -> None:
        await self._proxy.open()
        self._proxy.plan = self._note
        url = f"mongodb://127.0.0.1:{self._proxy.port}"
        self.store = MongoUserStore(url, "people", timeout_seconds=10)
        await self.store.open()

    async def close(self) -> None:
        await self.store.close()
        await self._proxy.close()

    async def log_in(self, identity: Identity) -> list[str]:
        """What one login asks of the server."""
        return await self.log_in_all([identity])

    async def log_in_all(self, people: list[Identity]) -> list[str]:
        """What logins at once ask of the server."""
        self.asked.clear()
        await asyncio.gather(
            *(self.store.login(one, SceneStr(str(uuid.uuid4())), "default", NOW) for one in people)
        )
        return list(self.asked)

    @contextlib.asynccontextmanager
    async def another(self, unanswered: bytes) -> AsyncIterator[MongoUserStore]:
        """A store whose requests with `unanswered` in them never get an answer."""
        self._proxy.plan = lambda sent: Fault.HANG if unanswered in sent else Fault.PASS
        url = f"mongodb://127.0.0.1:{self._proxy.port}"
        store = MongoUserStore(url, "others", timeout_seconds=10)
        await store.open()
        yield store
        await store.close()


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[Bench]:
    server = MongoServer(tmp_path)
    try:
        server.start()
        bench = Bench(server)
        io_loop.run_sync(bench.open)
        yield bench
        io_loop.run_sync(bench.close)
    finally:
        server.stop()


@pytest.mark.gen_test(timeout=20)
async def test_a_known_person_costs_one_trip(bench: Bench) -> None:
    """One findAndModify, with or without a known unionid."""
    await bench.log_in(ANN)
    assert await bench.log_in(ANN) == ["findAndModify"]
    proof = Identity(ANN.app_id, ANN.openid, UnionId("u"))
    await bench.log_in(proof)
    assert await bench.log_in(proof) == ["findAndModify"]


@pytest.mark.gen_test(timeout=20)
async def test_many_known_people_cost_two_trips(bench: Bench) -> None:
    """One update and one find, while they are no more than fit into a batch."""
    crowd = [Identity(AppId("wx1"), OpenId(f"{n}")) for n in range(MOST_IN_A_BATCH)]
    for person in crowd:
        await bench.log_in(person)
    assert await bench.log_in_all(crowd) == ["update", "find"]
    assert await bench.log_in_all(crowd[:2]) == ["update", "find"]


@pytest.mark.gen_test(timeout=20)
async def test_many_are_found_in_one_trip(bench: Bench) -> None:
    """Known or not, and also when one is looked for twice."""
    crowd = [Identity(AppId("wx1"), OpenId(f"{n}")) for n in range(4)]
    for person in crowd[:3]:
        await bench.log_in(person)
    bench.asked.clear()
    found = await asyncio.gather(*(bench.store.find(one) for one in (*crowd, crowd[0])))
    assert [one is not None and one[1] for one in found] == [*crowd[:3], False, crowd[0]]
    assert bench.asked == ["find"]


@pytest.mark.gen_test(timeout=20)
async def test_who_comes_twice_goes_alone(bench: Bench) -> None:
    """Two logins of one person are two findAndModify, beside the batch of the others."""
    crowd = [Identity(AppId("wx1"), OpenId(f"{n}")) for n in range(4)]
    for person in crowd:
        await bench.log_in(person)
    asked = await bench.log_in_all([crowd[0], *crowd])
    assert sorted(asked) == ["find", "findAndModify", "findAndModify", "update"]


@pytest.mark.gen_test(timeout=20)
async def test_a_second_identity_costs_four_trips(bench: Bench) -> None:
    """A link is followed to the primary record: nothing grows with the number of identities."""
    for number in range(4):
        identity = Identity(AppId(f"wx{number}"), OpenId("ann"), UnionId("u"))
        await bench.log_in(identity)
    assert await bench.log_in(identity) == ["findAndModify", "find", "find", "findAndModify"]


@pytest.mark.gen_test(timeout=20)
async def test_many_second_identities_cost_five_trips(bench: Bench) -> None:
    """However many come: one that finds no primary record, two along the links, two that count."""
    identities = [
        [Identity(AppId(a), OpenId(f"{n}"), UnionId(f"u{n}")) for n in range(4)] for a in "xy"
    ]
    for person in identities[0] + identities[1]:
        await bench.log_in(person)
    asked = ["update", "find", "find", "update", "find"]
    assert await bench.log_in_all(identities[1]) == asked


@pytest.mark.gen_test(timeout=20)
async def test_writes_ask_for_a_majority(bench: Bench) -> None:
    """Every write names w: majority, whatever the URL says."""
    assert bench.store._people.write_concern.document == {"w": "majority"}


@pytest.mark.gen_test(timeout=20)
async def test_an_owed_unionid_costs_the_login_nothing(bench: Bench) -> None:
    """It is noted by the insert that registers the person; a person who owes it already costs one
    trip as any known person does."""
    for commands in (["findAndModify", "find", "insert"], ["findAndModify"]):
        bench.asked.clear()
        login = await bench.store.login(
            ANN, SceneStr(str(uuid.uuid4())), "default", NOW, unionid_wanted=True
        )
        assert login.owes_unionid and bench.asked == commands
    bench.asked.clear()
    await bench.store.join(ANN._replace(unionid=UnionId("u")))
    assert bench.asked == ["find", "insert", "update"]


@pytest.mark.gen_test
async def test_aliases_are_known_before_their_index_is(bench: Bench) -> None:
    """Where it is never made: a person's ids are those of the users who were merged."""
    async with bench.another(b"partialFilterExpression") as store:
        ids = []
        for number in range(3):
            identity = Identity(AppId(f"wx{number}"), OpenId("one"))
            scene_str = SceneStr(str(uuid.uuid4()))
            login = await store.login(identity, scene_str, "default", NOW + number)
            ids.append(login.user.id)
            await store.join(identity._replace(unionid=UnionId("the one person")))
        for user_id in ids:
            person = await store.person(user_id)
            assert person.ids[0] == ids[0] and sorted(person.ids) == sorted(ids)
