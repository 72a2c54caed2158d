"""Redis refuses, hangs, answers late, restarts empty, turns read-only or full: what scenes do."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deploy.programs import free_port
from services.errors import StoreUnavailable
from services.redis_client import RedisLink
from services.scenes.states import Scene, Verdict
from services.scenes.store_redis import RedisSceneStore, keys_of
from tests.contracts.benches import eventually
from tests.contracts.scenes import a_scene, authorize, claim
from tests.servers import RedisServer
from tests.wire_proxy import Fault, Proxy, one_read

pytestmark = pytest.mark.redis


def new_scene() -> Scene:
    return a_scene(time.time())


@contextlib.asynccontextmanager
async def linked(url: str, timeout: float = 0.5) -> AsyncIterator[RedisSceneStore]:
    link = RedisLink(url, timeout_seconds=timeout)
    await link.open()
    try:
        yield RedisSceneStore(link)
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def proxied(server: RedisServer) -> AsyncIterator[tuple[Proxy, RedisSceneStore]]:
    proxy = Proxy(server.port, message=one_read)
    await proxy.open()
    try:
        async with linked(f"redis://127.0.0.1:{proxy.port}/0") as store:
            yield proxy, store
    finally:
        await proxy.close()


async def works_within(seconds: float, call: Callable[[], Awaitable[object]]) -> None:
    """Ask until it works; a missed deadline fails the test."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await call()
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline, f"still unavailable after {seconds} s"
            await asyncio.sleep(0.02)


# Gone, paused, restarted.


@pytest.mark.gen_test(timeout=20)
async def test_a_stopped_redis_is_unavailable_and_back_at_once(redis_server: RedisServer) -> None:
    """Every call says StoreUnavailable while it is gone; all works within 2 s of its return."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.stop()
        for call in (store.get(scene.scene_str), store.ping(), store.count("k", 9)):
            with pytest.raises(StoreUnavailable):
                await call
        redis_server.start()
        await works_within(2, lambda: store.create(new_scene()))


@pytest.mark.gen_test(timeout=20)
async def test_a_paused_redis_is_given_up_in_time(redis_server: RedisServer) -> None:
    """Calls end at their deadline, also those that queued behind; then it goes on as before."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.pause()
        calls = (store.advance(scene.scene_str, claim()) for _ in range(50))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        redis_server.resume()
        await works_within(2, lambda: store.advance(scene.scene_str, claim()))
        step = await store.advance(scene.scene_str, authorize())
        assert step.verdict is Verdict.MOVED and step.scene is not None and step.scene.seq == 3


@pytest.mark.gen_test(timeout=20)
async def test_a_redis_restarted_empty_knows_no_scene(redis_server: RedisServer) -> None:
    """Scenes are gone, not wrong; new ones work, the scripts are loaded again."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.kill()
        redis_server.start()
        await works_within(2, store.ping)
        assert await store.get(scene.scene_str) is None
        assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.UNKNOWN
        fresh = await store.create(new_scene())
        assert (await store.advance(fresh.scene_str, claim())).verdict is Verdict.MOVED


@pytest.mark.gen_test
async def test_forgotten_scripts_are_sent_again(redis_server: RedisServer) -> None:
    """SCRIPT FLUSH costs one more trip and nothing else, also for many calls at once."""
    async with linked(redis_server.url) as store:
        scenes = [await store.create(new_scene()) for _ in range(20)]
        redis_server.ask("SCRIPT", "FLUSH")
        steps = await asyncio.gather(*(store.advance(s.scene_str, claim()) for s in scenes))
        assert {step.verdict for step in steps} == {Verdict.MOVED}


# It answers, but will not do it.


@pytest.mark.gen_test
async def test_a_read_only_replica_is_unavailable(redis_server: RedisServer) -> None:
    """The master became a replica: nothing moves, until it is master again."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        with pytest.raises(StoreUnavailable, match="read only|READONLY|ReadOnly"):
            await store.advance(scene.scene_str, claim())
        with pytest.raises(StoreUnavailable):
            await store.ping()
        redis_server.ask("REPLICAOF", "NO", "ONE")
        await works_within(2, lambda: store.advance(scene.scene_str, claim()))


@pytest.mark.gen_test
async def test_a_replica_without_its_master_is_unavailable(redis_server: RedisServer) -> None:
    """MASTERDOWN: not even reading is trusted."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
        redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        with pytest.raises(StoreUnavailable, match="MASTERDOWN|MasterDown"):
            await store.get(scene.scene_str)


@pytest.mark.gen_test
async def test_a_full_redis_changes_nothing(redis_server: RedisServer) -> None:
    """Out of memory: moves are unavailable and leave no half; reading still works."""
    async with linked(redis_server.url) as store:
        scene = await store.create(new_scene())
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        for call in (store.advance(scene.scene_str, claim()), store.create(new_scene())):
            with pytest.raises(StoreUnavailable, match="OOM|OutOfMemory|maxmemory"):
                await call
        with pytest.raises(StoreUnavailable):
            await store.ping()
        read = await store.get(scene.scene_str)
        assert read is not None and (read.state, read.seq, read.openid) == ("waiting", 1, None)
        redis_server.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.MOVED


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "line",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-ERR what now\r\n",
        b"rubbish that is no RESP at all\r\n",
        b"*3\r\n$7\r\nunknown\r\n",
    ],
    ids=["loading", "noauth", "error", "rubbish", "half an answer"],
)
async def test_any_refusal_is_unavailable(redis_server: RedisServer, line: bytes) -> None:
    """Whatever comes instead of an answer has one name, and does not last."""
    async with proxied(redis_server) as (proxy, store):
        scene = await store.create(new_scene())
        proxy.plan = lambda request: line if b"EVALSHA" in request else Fault.PASS
        with pytest.raises(StoreUnavailable):
            await store.advance(scene.scene_str, claim())
        proxy.plan = lambda request: Fault.PASS
        await works_within(2, lambda: store.advance(scene.scene_str, claim()))


# The connection breaks.


@pytest.mark.gen_test
async def test_a_connection_cut_between_calls_is_not_noticed(redis_server: RedisServer) -> None:
    """The next call travels on a new connection."""
    async with proxied(redis_server) as (proxy, store):
        scene = await store.create(new_scene())
        proxy.cut()
        assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.MOVED


@pytest.mark.gen_test
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.LOSE, Fault.HANG])
async def test_a_move_whose_answer_is_lost_can_be_asked_again(
    redis_server: RedisServer, fault: Fault
) -> None:
    """Done or not, asking again ends in the same scene, moved once."""
    async with proxied(redis_server) as (proxy, store):
        scene = await store.create(new_scene())
        for move in (claim(), authorize()):
            proxy.plan = lambda request: fault if b"EVALSHA" in request else Fault.PASS
            with pytest.raises(StoreUnavailable):
                await store.advance(scene.scene_str, move)
            proxy.plan = lambda request: Fault.PASS
            again = await store.advance(scene.scene_str, move)
            assert again.verdict in (Verdict.MOVED, Verdict.REPEATED)
        read = await store.get(scene.scene_str)
        assert read is not None and (read.state, read.seq) == ("authorized", 3)


@pytest.mark.gen_test(timeout=20)
async def test_a_failover_is_followed(redis_server: RedisServer) -> None:
    """The name leads to the promoted replica: calls go there within 2 s, the scene as it was."""
    folder = redis_server.folder / "replica"
    folder.mkdir()
    replica = RedisServer(folder, "--repl-diskless-sync-delay", "0")
    try:
        replica.start()
        redis_server.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        replica.ask("REPLICAOF", "127.0.0.1", str(redis_server.port))
        async with proxied(redis_server) as (proxy, store):
            scene = await store.create(new_scene())
            await store.advance(scene.scene_str, claim())
            key = keys_of(scene.scene_str)[0]
            await eventually(lambda: b"scanned" in replica.ask("HGET", key, "state"))
            redis_server.ask("REPLICAOF", "127.0.0.1", str(replica.port))
            replica.ask("REPLICAOF", "NO", "ONE")
            proxy.target = replica.port
            await works_within(2, lambda: store.advance(scene.scene_str, authorize()))
            read = await store.get(scene.scene_str)
            assert read is not None and (read.state, read.seq) == ("authorized", 3)
    finally:
        replica.stop()
