"""Waiting polls on the hub: woken, released, capped, counted."""

import asyncio

import pytest

from services.errors import ApiError
from services.push.broker import LocalBroker
from services.scenes.states import State
from services.scenes.store import Notice
from tests.services.push.kit import Node, eventually


@pytest.mark.gen_test
async def test_time_runs_out():
    """Without news the wait ends with None."""
    async with Node() as node:
        with node.push.hub.waiter(node.scenes.begin()) as waiter:
            assert await waiter.newer(1, 0.01) is None


@pytest.mark.gen_test
async def test_old_news_is_no_news():
    """A state that the poll already has does not end the wait, a newer one does."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        scene = node.scenes.scenes[scene_str]
        with node.push.hub.waiter(scene_str) as waiter:
            waiter.wake(scene)
            assert await waiter.newer(1, 0.01) is None
            waiter.wake(scene._replace(seq=5))
            waiter.wake(scene._replace(seq=4))
            newest = await waiter.newer(1, 10)
            assert newest is not None and newest.seq == 5


@pytest.mark.gen_test
async def test_many_waiters_and_a_socket():
    """Every waiter for the scene gets it; polls replace no connection."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await page.recv()
            with node.push.hub.waiter(scene_str) as one, node.push.hub.waiter(scene_str) as two:
                waits = [asyncio.ensure_future(waiter.newer(1, 10)) for waiter in (one, two)]
                node.scenes.move(scene_str, State.SCANNED)
                assert [scene.seq for scene in await asyncio.gather(*waits)] == [2, 2]
                assert '"scanned"' in await page.recv()
        assert node.scenes.calls.count("get") == 1


@pytest.mark.gen_test
async def test_waiters_are_capped():
    """Over the cap a poll is refused, and welcome again once another left."""
    async with Node(max_waiters=1) as node:
        scene_str = node.scenes.begin()
        with node.push.hub.waiter(scene_str) as waiter:
            with pytest.raises(ApiError) as refused:
                node.push.hub.waiter(scene_str)
            assert refused.value.code == "overloaded" and refused.value.retry_after
        waiter.__exit__(None, None, None)
        assert node.push.hub.waiting == 0
        with node.push.hub.waiter(scene_str):
            assert node.push.hub.waiting == 1


@pytest.mark.gen_test
async def test_drain_releases_waiters():
    """A node that leaves ends its waits at once."""
    async with Node() as node:
        with node.push.hub.waiter(node.scenes.begin()) as waiter:
            waiting = asyncio.ensure_future(waiter.newer(1, 60))
            await asyncio.sleep(0)
            await node.push.drain(1)
            assert await waiting is None


@pytest.mark.gen_test
async def test_sockets_do_not_count_as_waiters():
    """Unfinished upgrades listen without using up the places of polls."""
    async with Node(max_waiters=1) as node:
        node.scenes.gate.clear()
        opening = asyncio.ensure_future(node.connect(node.scenes.begin()).__aenter__())
        await eventually(lambda: "attach" in node.scenes.calls)
        assert node.push.hub.waiting == 0
        node.scenes.gate.set()
        await (await opening).close()


@pytest.mark.gen_test
async def test_local_broker():
    """Notices go to the listener, and to none after the close."""
    broker, heard = LocalBroker(), []
    notice = Notice("3f2504e0-4f89-41d3-9a0c-0305e82c3301", 1)
    broker.publish(notice)
    await broker.listen(heard.append, lambda: heard.append("gap"))
    broker.publish(notice)
    await broker.ping()
    await broker.close()
    broker.publish(notice)
    assert heard == [notice]
