"""Redis breaks under running nodes: what pages see, what WeChat sees, what comes back by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nodes import Cluster, cluster, eventually

pytestmark = [
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=90),
]

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def attached(one: Cluster, document: dict[str, Any]) -> Any:
    """A page with an open socket: the client, and its watching."""
    page = one.page(document)
    watching = asyncio.ensure_future(page.watch())

    async def has_first_status() -> bool:
        return bool(page.states)

    await eventually(has_first_status)
    return page, watching


async def not_ready(one: Cluster) -> bool:
    return await one.code("/readyz") == 503


async def both_ready(one: Cluster) -> bool:
    return await one.is_ready(0) and await one.is_ready(1)


AT = """
local at = {}
for _, key in ipairs(redis.call('KEYS', 'scanpush:*:scene:*')) do
  at[#at + 1] = redis.call('HGET', key, 'at') or ''
  if ARGV[1] == 'forget' then redis.call('HDEL', key, 'at') end
end
return table.concat(at, ' ')
"""
"""The attached connections of all scenes; with "forget" they are deleted, too."""


async def test_an_attachment_that_redis_lost_is_made_again(tmp_path: Path) -> None:
    """A snapshot or a replica knows the scene, but not yet who watches it: after the gap the page
    hears of a scan on another node all the same."""
    async with cluster(tmp_path, 2) as one:
        document = await one.begin()
        page = one.page(document, one.nodes[0].url)
        watching = asyncio.ensure_future(page.watch())

        async def is_attached() -> bool:
            return b"/" in one.redis.ask("EVAL", AT, "0", "")

        await eventually(is_attached)
        one.redis.ask("EVAL", AT, "0", "forget")
        assert not await is_attached()
        one.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(is_attached)
        one.balancer.nodes = [one.nodes[1].port]
        assert (await one.scan(document, "alice"))["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"
        assert page.connections == 1


async def test_redis_goes_and_comes_back_with_its_data(tmp_path: Path) -> None:
    """The page stays on its socket; WeChat is told 5xx in time and its next try is answered; the
    node is out of rotation, not out of life."""
    async with cluster(tmp_path, 2, *DURABLE) as one:
        document = await one.begin()
        page, watching = await attached(one, document)
        one.redis.kill()
        await eventually(lambda: not_ready(one))
        assert await one.code("/healthz") == 200
        refused = await one.scan(document, "alice", attempts=1)
        # Without an answer within WeChat's five seconds there would be no status.
        assert refused["outcome"] == "failed" and refused["status"] in (500, 503)
        assert not watching.done() and page.connections == 1
        one.redis.start()
        await eventually(lambda: both_ready(one))
        assert (await one.scan(document, "alice"))["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"
        assert page.connections == 1 and page.logins


async def test_a_callback_that_comes_while_redis_is_away_waits_for_it(tmp_path: Path) -> None:
    """Within the deadline the only effect is a slow answer: WeChat's first try succeeds."""
    async with cluster(tmp_path, 2, *DURABLE) as one:
        document = await one.begin()
        page, watching = await attached(one, document)
        one.redis.pause()
        scanning = asyncio.ensure_future(one.scan(document, "alice"))
        await asyncio.sleep(1)  # the fault itself, not a wait for something
        one.redis.resume()
        assert (await scanning)["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"
        assert page.connections == 1


async def test_a_redis_that_hangs_for_three_seconds_costs_no_login(tmp_path: Path) -> None:
    """Longer than a call may take: some fail, and are asked again."""
    async with cluster(tmp_path, 2) as one:
        document = await one.begin()
        page, watching = await attached(one, document)
        one.redis.pause()
        scanning = asyncio.ensure_future(one.scan(document, "alice"))
        await asyncio.sleep(3)
        one.redis.resume()
        assert (await scanning)["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"
        assert page.connections == 1
        await eventually(lambda: both_ready(one))


async def test_redis_that_comes_back_empty_makes_pages_begin_again(tmp_path: Path) -> None:
    """Their scenes are gone, and they are told at once rather than left with a dead code."""
    async with cluster(tmp_path, 2) as one:
        document = await one.begin()
        page, watching = await attached(one, document)
        one.redis.kill()
        one.redis.start()
        async with asyncio.timeout(20):
            assert await watching in ("expired", "gone")
        assert page.connections == 1
        assert (await one.status(document))["code"] == 401
        await one.log_in("alice")


async def test_no_state_is_missed_when_the_subscription_breaks(tmp_path: Path) -> None:
    """Notices are lost while it is away; the scenes are read again when it is back."""
    async with cluster(tmp_path, 2) as one:
        for number in range(5):
            document = await one.begin()
            page, watching = await attached(one, document)
            one.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
            assert (await one.scan(document, f"person{number}"))["outcome"] == "answered"
            async with asyncio.timeout(20):
                assert await watching == "consumed"
            assert page.connections == 1
