"""The same pages where the store can be read without waiting: no task, the same answers."""

import json

import pytest
from websockets.exceptions import InvalidStatus

from services.push.close_codes import Ending
from services.scenes.states import State
from tests.services.push.kit import Node, closed, eventually, status


@pytest.mark.gen_test
async def test_complete_login():
    """Scanned, authorized, ack, consumed, and the store is never waited for."""
    async with Node() as node:
        node.scenes.nowait = True
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            assert (await status(page))["state"] == "waiting"
            node.scenes.move(scene_str, State.SCANNED)
            assert (await status(page))["state"] == "scanned"
            node.scenes.move(scene_str, State.AUTHORIZED)
            assert (await status(page))["seq"] == 3
            await page.send(json.dumps({"type": "ack", "seq": 3}))
            assert (await status(page))["state"] == "consumed"
            assert await closed(page) == 1000
        assert node.counters.endings == [Ending.FINISHED]
        assert node.scenes.calls == ["ack"]


@pytest.mark.gen_test
async def test_a_wrong_token_is_refused_all_the_same():
    """A scene that is read without waiting is still only for the browser that began it: 403."""
    async with Node() as node:
        node.scenes.nowait = True
        with pytest.raises(InvalidStatus) as refused:
            await node.connect(node.scenes.begin(), token="x" * 43)
        assert refused.value.response.status_code == 403
        assert node.counters.refusals == ["forbidden"]


@pytest.mark.gen_test
async def test_one_socket_too_many_is_refused_all_the_same():
    """The limit of an address counts these sockets, too, and gives the place back."""
    async with Node(sockets_per_address=1) as node:
        node.scenes.nowait = True
        async with node.connect(node.scenes.begin()) as page:
            await status(page)
            with pytest.raises(InvalidStatus) as refused:
                await node.connect(node.scenes.begin())
            assert refused.value.response.status_code == 429
        await eventually(lambda: node.sockets == 0)
        async with node.connect(node.scenes.begin()) as page:
            await status(page)


@pytest.mark.gen_test
async def test_two_notices_in_one_turn_end_in_the_newest():
    """Notices that come before the first is brought: the newest state, once."""
    async with Node() as node:
        node.scenes.nowait = True
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.move(scene_str, State.SCANNED)
            node.scenes.move(scene_str, State.AUTHORIZED)
            assert (await status(page))["seq"] == 3
            await page.send('{"type": "cancel"}')
            assert (await status(page))["seq"] == 4


@pytest.mark.gen_test
async def test_an_internal_failure_is_no_silence(logs):
    """A status that cannot be rendered closes with 1011: the page reconnects."""
    logs.expect("Exception in callback")
    async with Node() as node:
        node.scenes.nowait = True
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.broken = True
            node.scenes.move(scene_str, State.SCANNED)
            assert await closed(page) == 1011
