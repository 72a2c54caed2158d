"""Sentinels put another master in the place of one that dies, or is asked to step back."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.programs import free_port
from services.push.broker import RedisBroker
from services.redis_client import RedisLink
from services.scenes.states import Verdict
from services.scenes.store_redis import RedisSceneStore, keys_of
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually
from tests.contracts.scenes import authorize, claim
from tests.faults.nodes import cluster
from tests.faults.test_redis import new_scene, works_within
from tests.faults.test_redis_cluster import caught_up
from tests.faults.test_redis_start import complaint, log_in
from tests.redis_sentinels import NAME, RedisSentinels
from tests.servers import RedisServer, started
from tests.wire_proxy import Proxy, one_read

pytestmark = [pytest.mark.redis, pytest.mark.gen_test(timeout=60)]


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    """Of this test's own."""
    with started(RedisSentinels(tmp_path)) as sentinels:
        yield sentinels


def replica_of(sentinels: RedisSentinels) -> RedisServer:
    return next(server for server in sentinels.servers if server is not sentinels.master())


async def test_a_dead_master_is_replaced(sentinels: RedisSentinels, logs: UnexpectedLogs) -> None:
    """Scenes go on at the new master, with what the old one had replicated, and so do notices."""
    logs.expect("notices are interrupted")
    link = RedisLink(sentinels.url, timeout_seconds=1)
    await link.open()
    broker, gaps, seqs = RedisBroker(link, "a", heartbeat_seconds=0.2), [], []
    await broker.listen(lambda notice: seqs.append(notice.seq), lambda: gaps.append(1))
    store = RedisSceneStore(link)
    try:
        scene = await store.create(new_scene())
        attached = await store.attach(scene.scene_str, "a", 1, scene.watch_hash)
        assert attached is not None
        await store.advance(scene.scene_str, claim())
        old, new = sentinels.master(), replica_of(sentinels)
        await eventually(lambda: caught_up(old, new))
        old.kill()
        await works_within(20, lambda: store.advance(scene.scene_str, authorize()))
        await eventually(lambda: bool(gaps), 10)
        read = await store.reattach(scene.scene_str, "a", 1, attached.number)
        assert read is not None and (read.scene.state, read.scene.seq) == ("authorized", 3)
        await eventually(lambda: sentinels.master() is new)
        other = await store.create(new_scene())
        await store.attach(other.scene_str, "a", 2, other.watch_hash)
        seqs.clear()
        assert (await store.advance(other.scene_str, claim())).verdict is Verdict.MOVED
        await eventually(lambda: seqs == [2])
        # The old one comes back as a replica of the new one, which makes no difference.
        old.start()
        await eventually(lambda: b"role:slave" in old.ask("INFO", "replication"), 20)
        assert (await store.advance(other.scene_str, authorize())).verdict is Verdict.MOVED
    finally:
        await broker.close()
        await link.close()


async def test_a_master_that_steps_back_is_left(
    sentinels: RedisSentinels, logs: UnexpectedLogs
) -> None:
    """It lives on and would take writes for some seconds more, which would be lost; and notices of
    the new one would not reach it."""
    logs.expect("notices are interrupted")
    link = RedisLink(f"{sentinels.url}?client_name=push", timeout_seconds=1)
    await link.open()
    broker, gaps = RedisBroker(link, "a"), []
    await broker.listen(lambda notice: None, lambda: gaps.append(1))
    store = RedisSceneStore(link)
    try:
        scene = await store.create(new_scene())
        old, new = sentinels.master(), replica_of(sentinels)
        await eventually(lambda: caught_up(old, new))
        assert old.ask("CLIENT", "LIST").count(b"name=push") == 2
        sentinels.hurry(publish_period=10_000)
        assert sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", NAME) == b"+OK\r\n"
        await eventually(lambda: b"name=push" not in old.ask("CLIENT", "LIST"), 20)
        await works_within(5, lambda: store.advance(scene.scene_str, claim()))
        key = keys_of(scene.scene_str)[0]
        assert new.ask("HGET", key, "state") == b"$7\r\nscanned\r\n"
        await eventually(lambda: bool(gaps))
    finally:
        await broker.close()
        await link.close()


async def test_people_log_in_through_a_failover(sentinels: RedisSentinels, tmp_path: Path) -> None:
    """Two whole nodes: a page that waits while the master dies gets its login, and so do others."""
    (tmp_path / "nodes").mkdir()
    async with cluster(tmp_path / "nodes", 2, redis={"url": sentinels.url}) as one:
        await one.log_in("alice")
        document = await one.begin()
        page = one.page(document)
        watching = asyncio.ensure_future(page.watch())
        while not page.states:
            await asyncio.sleep(0.05)
        old = sentinels.master()
        await eventually(lambda: caught_up(old, replica_of(sentinels)))
        old.kill()
        while (await one.scan(document, "bob"))["outcome"] != "answered":
            await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            assert await watching == "consumed"
        assert page.connections == 1 and page.logins
        await one.log_in("carol")


async def test_mistakes_about_sentinels_are_told(
    sentinels: RedisSentinels, redis_server: RedisServer
) -> None:
    """A name that they do not know, a server that is none of them, one that is, credentials."""
    first = sentinels.sentinels[0]
    assert await complaint(f"redis+sentinel://127.0.0.1:{first.port}/other") == (
        "2 redis.url: the Sentinels know no master of that name"
    )
    text = await complaint(f"redis://127.0.0.1:{first.port}/0")
    assert text.startswith("2 redis.url: names a Sentinel")
    text = await complaint(f"redis+sentinel://127.0.0.1:{redis_server.port}/main")
    assert text == f"2 redis.url: 127.0.0.1:{redis_server.port} is not a Sentinel"
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    proxy.plan = lambda request: b"*2\r\n+127.0.0.1\r\n+6379\r\n"  # a place, then no state of it
    text = await complaint(f"redis+sentinel://127.0.0.1:{proxy.port}/main")
    assert text == f"2 redis.url: 127.0.0.1:{proxy.port} is not a Sentinel"
    await proxy.close()
    nowhere = free_port()
    assert await complaint(f"redis+sentinel://127.0.0.1:{nowhere}/main") == (
        f"1 no Sentinel answers (127.0.0.1:{nowhere}: Connection refused; see redis.url)"
    )
    text = await complaint(f"rediss+sentinel://127.0.0.1:{first.port}/main")
    assert text == "2 redis.url: this Redis does not speak TLS: the address begins with redis://"
    first.ask("CONFIG", "SET", "requirepass", "Kranich7")
    first.ask("SENTINEL", "CONFIG", "SET", "sentinel-user", "")
    first.ask("ACL", "SETUSER", "default", "resetpass", ">Kranich7")
    url = f"redis+sentinel://127.0.0.1:{first.port}/main"
    assert "sentinel_username and sentinel_password" in await complaint(url)
    assert "sentinel_password" in await complaint(f"{url}?sentinel_password=wrong")
    await log_in(f"{url}?sentinel_password=Kranich7")


async def test_an_idle_sentinel_costs_no_start(sentinels: RedisSentinels) -> None:
    """One that hangs and one that is gone: the third one is enough."""
    sentinels.sentinels[0].pause()
    sentinels.sentinels[1].stop()
    with contextlib.closing(contextlib.ExitStack()) as undo:
        undo.callback(sentinels.sentinels[0].resume)
        await log_in(sentinels.url)
