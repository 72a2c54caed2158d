"""Events of two nodes that share Redis and MongoDB: one of them tells."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import UnexpectedLogs
from tests.event_server import EventServer
from tests.flows.test_events import OPERATOR, audit
from tests.flows.test_sessions import SESSIONS, logged_in, refresh, refreshed
from tests.servers import MongoServer, RedisServer
from tests.stack import Stack, eventually

pytestmark = [pytest.mark.redis, pytest.mark.mongodb, pytest.mark.gen_test(timeout=60)]


async def test_one_node_tells_what_happens_at_both(
    tmp_path: Path, redis_server: RedisServer, mongo_server: MongoServer, logs: UnexpectedLogs
) -> None:
    """In order, each once, also when the node that tells has left; each node's audit has all of
    it."""
    logs.expect("used again|store_unavailable")
    redis_server.ask("FLUSHALL")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with EventServer() as server:
        shared: dict[str, Any] = {
            "backend": "distributed",
            "redis": {"url": redis_server.url},
            "mongodb": {"url": mongo_server.url, "database": tmp_path.name[-40:]},
            "server": {"public_url": "http://127.0.0.1:8888", "drain_seconds": 1},
            "events": server.settings,
            **OPERATOR,
            **SESSIONS,
        }
        expected = ["registered", "login", "login", "reused"]

        async def all_are_there() -> bool:
            return len(server.heard) >= len(expected)

        async with Stack(tmp_path / "two", **shared) as two:
            async with Stack(tmp_path / "one", **shared) as one:
                first = await logged_in(one)
                await logged_in(two)
                await refreshed(two, await refreshed(one, first))
                assert (await refresh(one, first["refresh_token"])).status_code == 401
                await eventually(all_are_there)
            expected.append("login")
            await logged_in(two)
            await eventually(all_are_there)
            assert [event["type"] for event in server.heard] == expected
            assert len({event["id"] for event in server.heard}) == len(expected)
            entries = await audit(two, person=first["user"]["id"])
            assert [one["type"] for one in entries][::-1] == expected
            assert len(await audit(two, person=first["user"]["id"], outcome="ended")) == 1
