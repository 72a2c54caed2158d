"""MongoDB breaks under running nodes: no login that was answered is lost, and no person is two."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.nodes import cluster, eventually
from tests.faults.test_nodes_redis import attached, both_ready, not_ready

pytestmark = [
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=90),
]


async def test_mongodb_goes_and_comes_back(tmp_path: Path) -> None:
    """The scan is kept, WeChat is told 5xx, and its next try or the sweeper finishes the login."""
    async with cluster(tmp_path) as one:
        if one.mongo is None:
            pytest.skip("TEST_MONGODB_URL names a server that is not ours to stop")
        document = await one.begin()
        page, watching = await attached(one, document)
        one.mongo.kill()
        await eventually(lambda: not_ready(one))
        refused = await one.scan(document, "alice", attempts=1)
        assert refused["outcome"] == "failed" and refused["status"] in (500, 503)
        assert (await one.status(document))["state"] == "scanned"
        one.mongo.start()
        await eventually(lambda: both_ready(one))
        async with asyncio.timeout(30):
            assert await watching == "consumed"
        assert page.connections == 1
        again = await one.log_in("alice")
        assert page.logins[-1]["user"]["is_new"] and not again["user"]["is_new"]
        assert again["user"]["id"] == page.logins[-1]["user"]["id"]


async def test_a_slow_mongodb_is_waited_for(tmp_path: Path) -> None:
    """A second and a half within the deadline: WeChat's first try is answered."""
    async with cluster(tmp_path) as one:
        if one.mongo is None:
            pytest.skip("TEST_MONGODB_URL names a server that is not ours to stop")
        document = await one.begin()
        page, watching = await attached(one, document)
        one.mongo.pause()
        scanning = asyncio.ensure_future(one.scan(document, "alice"))
        await asyncio.sleep(1.5)  # the fault itself, not a wait for something
        one.mongo.resume()
        assert (await scanning)["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"
        assert page.logins[-1]["user"]["is_new"]
