"""What a login costs Redis: counted by Redis itself, not timed."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.push.broker import RedisBroker
from services.redis_client import RedisLink
from services.scenes.states import Move, State, Verdict
from services.scenes.store import Notice
from services.scenes.store_redis import RedisSceneStore
from tests.contracts.benches import eventually
from tests.contracts.scenes import authorize, claim
from tests.faults.test_redis import linked, new_scene
from tests.servers import RedisServer

pytestmark = pytest.mark.redis


def calls(server: RedisServer) -> dict[str, int]:
    """How often each command was called, also from within scripts."""
    info = server.ask("INFO", "commandstats").decode()
    found = re.findall(r"cmdstat_([^:]+):calls=(\d+)", info)
    return {name: int(number) for name, number in found if name not in ("info", "ping")}


def note(seqs: list[int], notice: Notice) -> None:
    seqs.append(notice.seq)


async def log_in(store: RedisSceneStore, node: str, connection: int) -> None:
    scene = await store.create(new_scene())
    await store.attach(scene.scene_str, node, connection, scene.watch_hash)
    assert (await store.advance(scene.scene_str, claim())).verdict is Verdict.MOVED
    assert (await store.advance(scene.scene_str, authorize())).verdict is Verdict.MOVED
    await store.advance(scene.scene_str, Move(State.CONSUMED, frozenset({State.AUTHORIZED}), seq=3))
    await store.detach(scene.scene_str, node, connection)


@contextlib.asynccontextmanager
async def town(server: RedisServer, nodes: int) -> AsyncIterator[dict[str, list[int]]]:
    """So many listening nodes; what each heard."""
    link = RedisLink(server.url, timeout_seconds=2)
    await link.open()
    heard: dict[str, list[int]] = {f"node{number}": [] for number in range(nodes)}
    brokers = [RedisBroker(link, node) for node in heard]
    for broker, seqs in zip(brokers, heard.values(), strict=True):
        await broker.listen(partial(note, seqs), lambda: None)
    try:
        yield heard
    finally:
        for broker in brokers:
            await broker.close()
        await link.close()


@pytest.mark.gen_test(timeout=20)
async def test_a_login_costs_the_same_with_eight_nodes(redis_server: RedisServer) -> None:
    """Commands and messages of a login do not grow with the number of nodes."""
    costs = []
    for nodes in (2, 8):
        async with town(redis_server, nodes) as heard, linked(redis_server.url) as store:
            await log_in(store, "node1", 5)
            redis_server.ask("CONFIG", "RESETSTAT")
            for _ in range(10):
                await log_in(store, "node1", 5)
            costs.append(calls(redis_server))
            await eventually(lambda seen=heard: len(seen["node1"]) == 33)  # type: ignore[misc]
            assert all(not seqs for node, seqs in heard.items() if node != "node1")
    assert costs[0] == costs[1]
    assert costs[0]["evalsha"] == 60 and costs[0]["publish"] == 30


@pytest.mark.gen_test(timeout=20)
async def test_calls_of_one_turn_travel_together(redis_server: RedisServer) -> None:
    """Two hundred calls at once reach Redis in a handful of reads."""
    async with linked(redis_server.url, 5) as store:
        await store.ping()
        before = reads(redis_server)
        await asyncio.gather(*(store.count("together", 60) for _ in range(200)))
        assert reads(redis_server) - before < 20


def reads(server: RedisServer) -> int:
    found = re.search(r"total_reads_processed:(\d+)", server.ask("INFO", "stats").decode())
    assert found is not None
    return int(found[1])


@pytest.mark.gen_test
async def test_everything_expires_by_itself(redis_server: RedisServer) -> None:
    """After all that can be done, no key is left without an end."""
    async with linked(redis_server.url) as store:
        await log_in(store, "a", 1)
        left = await store.create(new_scene())
        await store.advance(left.scene_str, claim(key="event"))
        await store.advance(left.scene_str, authorize(key="event", reply="hello"))
        owed = await store.create(new_scene())
        await store.advance(owed.scene_str, claim())
        await store.remember("nonce", "x", 60)
        await store.replace("latest", "y", 60)
        await store.count("many", 60)
        await store.ping()
    names = re.findall(rb"\r\n(scanpush:[^\r]+)", redis_server.ask("KEYS", "*"))
    assert len(names) >= 8
    for name in names:
        life = int(redis_server.ask("PTTL", name.decode())[1:])
        assert 0 < life <= 7_200_000, name
