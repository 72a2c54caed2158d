"""The operator's page where two nodes share their stores: whichever is asked, it tells of both."""

from typing import Any

import pytest

from tests.flows.chatter import Chatter
from tests.flows.conftest import TwoNodes
from tests.flows.test_operator import OPERATOR, ask, overview
from tests.stack import Stack

pytestmark = [pytest.mark.redis, pytest.mark.mongodb, pytest.mark.gen_test(timeout=60)]


async def reported(*nodes: Stack) -> None:
    """Each node has written its report once, as it does every few seconds."""
    for node in nodes:
        assert node.container.reports is not None
        await node.container.reports.write()


def sums(seen: dict[str, Any]) -> dict[str, float]:
    return {name: sum(values) for name, values in seen["hour"]["series"].items()}


async def test_each_node_shows_the_hour_of_both(nodes: TwoNodes) -> None:
    """Sums, each node by itself, and the logins that failed at the other with what both saw; what
    stood in the overview before is still of the node that answers."""
    async with nodes.opened(wechat={"codes_ahead": 0}, **OPERATOR) as (one, two):
        page = await one.begin()
        await Chatter(two).scans(page)
        scene = await one.scene(page)
        assert scene is not None and scene.user_id is not None
        await one.container.backend.users.ban(scene.user_id, True, one.now)
        banned = await one.begin()
        await Chatter(two).scans(banned)
        await reported(two, one, two)
        for node, other in ((one, two), (two, one)):
            seen = await overview(node)
            assert (sums(seen)["shown"], sums(seen)["authorized"], sums(seen)["failed"]) == (
                2,
                1,
                1,
            )
            ids = [report["node_id"] for report in seen["reports"]]
            assert ids == [node.container.node, other.container.node]
            engines = {store["engine"] for store in seen["reports"][0]["stores"]}
            assert engines == {"Redis", "MongoDB"}
            (failure,) = seen["failures"]
            assert failure["scene_str"] == banned.scene_str
            assert [(event["event"], event["node"]) for event in failure["timeline"]] == [
                ("made", one.container.node),
                ("scanned", two.container.node),
                ("failed", two.container.node),
            ]
        assert (await overview(one))["funnel"]["authorized"] == 0


async def test_a_short_id_is_looked_for_at_both(nodes: TwoNodes) -> None:
    """The other node tells of it with its next report."""
    async with nodes.opened(**OPERATOR) as (one, two):
        page = await two.begin()
        short = page.scene_str[:8]
        assert (await ask(one, f"scenes/{short}")).status_code == 404
        await reported(two)
        document = (await ask(one, f"scenes/{short}")).json()
        assert document["scene_str"] == page.scene_str and document["state"] == "waiting"
        assert [event["node"] for event in document["timeline"]] == [two.container.node]
