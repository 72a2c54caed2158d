"""A Redis Cluster loses a master, or moves a slot, while scenes live on it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.errors import StoreUnavailable
from services.scenes.states import Scene, Verdict
from services.scenes.store_redis import RedisSceneStore, keys_of
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually
from tests.contracts.scenes import authorize, claim
from tests.faults.test_redis import linked, new_scene, works_within
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer, started

pytestmark = pytest.mark.redis


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of this test's own."""
    with started(RedisCluster(tmp_path)) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def told(logs: UnexpectedLogs) -> None:
    """The operator is told while no node knows which master holds which slot; that takes a moment
    to heal."""
    logs.expect("the layout of the Redis Cluster is unknown")


def caught_up(master: RedisServer, replica: RedisServer) -> bool:
    """Whether the replica has all that its master wrote."""
    (written,) = re.findall(rb"master_repl_offset:(\d+)", master.ask("INFO", "replication"))
    (received,) = re.findall(rb"slave_repl_offset:(\d+)", replica.ask("INFO", "replication"))
    return int(received) >= int(written)


async def scene_on_each(cluster: RedisCluster, store: RedisSceneStore) -> list[Scene]:
    """One scene on each of the three masters, in their order."""
    found: dict[int, Scene] = {}
    while len(found) < len(cluster.masters):
        scene = await store.create(new_scene())
        holder = cluster.holder(keys_of(scene.scene_str)[0])
        found.setdefault(cluster.masters.index(holder), scene)
    return [found[number] for number in sorted(found)]


@pytest.mark.gen_test(timeout=30)
async def test_a_paused_master_holds_up_only_its_own(cluster: RedisCluster) -> None:
    """Scenes of the others go on at once while calls to it end at their deadline."""
    async with linked(cluster.url, 1) as store:
        scenes = await scene_on_each(cluster, store)
        cluster.masters[2].pause()
        stuck = [
            asyncio.ensure_future(store.advance(scenes[2].scene_str, claim())) for _ in range(3)
        ]
        answered = 0
        while not all(call.done() for call in stuck):
            for scene in scenes[:2]:
                step = await store.advance(scene.scene_str, claim())
                assert step.verdict in (Verdict.MOVED, Verdict.REPEATED)
                answered += 1
            await asyncio.sleep(0.01)
        assert answered > 20
        assert all(isinstance(call.exception(), StoreUnavailable) for call in stuck)
        cluster.masters[2].resume()
        await works_within(5, lambda: store.advance(scenes[2].scene_str, claim()))
        await works_within(5, store.ping)


@pytest.mark.slow
@pytest.mark.gen_test(timeout=60)
async def test_a_replica_takes_over(cluster: RedisCluster, tmp_path: Path) -> None:
    """Its master killed, a replica has the scenes, and the link finds it."""
    replica = cluster.add_replica(cluster.masters[2], tmp_path / "replica")
    async with linked(cluster.url, 1) as store:
        scenes = await scene_on_each(cluster, store)
        await store.advance(scenes[2].scene_str, claim())
        await eventually(lambda: caught_up(cluster.masters[2], replica))
        cluster.masters[2].kill()
        await works_within(20, lambda: store.advance(scenes[2].scene_str, authorize()))
        read = await store.get(scenes[2].scene_str)
        assert read is not None and (read.state, read.seq) == ("authorized", 3)


@pytest.mark.gen_test(timeout=30)
async def test_a_moved_slot_is_followed(cluster: RedisCluster) -> None:
    """A scene whose slot went to another master is found there, and the script learned there."""
    async with linked(cluster.url, 2) as store:
        scenes = await scene_on_each(cluster, store)
        for scene in scenes:
            await store.advance(scene.scene_str, claim())
            cluster.move_slot(keys_of(scene.scene_str)[0])
            step = await store.advance(scene.scene_str, authorize())
            assert step.verdict is Verdict.MOVED and step.scene is not None and step.scene.seq == 3
