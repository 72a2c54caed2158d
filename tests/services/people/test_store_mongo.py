"""What only the store in MongoDB does; its contract is in tests/contracts."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.ids import AppId, OpenId, SceneStr, UnionId
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
        self.asked.clear()
        await self.store.login(identity, SceneStr(str(uuid.uuid4())), "default", NOW)
        return list(self.asked)


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
async def test_a_second_door_costs_four_trips(bench: Bench) -> None:
    """A link is followed to the home: nothing grows with the number of doors."""
    for number in range(4):
        door = Identity(AppId(f"wx{number}"), OpenId("ann"), UnionId("u"))
        await bench.log_in(door)
    assert await bench.log_in(door) == ["findAndModify", "find", "find", "findAndModify"]


@pytest.mark.gen_test(timeout=20)
async def test_writes_ask_for_a_majority(bench: Bench) -> None:
    """Every write names w: majority, whatever the URL says."""
    assert bench.store._people.write_concern.document == {"w": "majority"}
