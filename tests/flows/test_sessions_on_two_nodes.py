"""Sessions on two nodes that share Redis and MongoDB, each with signing keys of its own."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.conftest import UnexpectedLogs
from tests.flows.test_sessions import (
    SESSIONS,
    Login,
    bearer,
    claims_of,
    logged_in,
    refresh,
    refreshed,
)
from tests.servers import MongoServer, RedisServer
from tests.stack import Stack

pytestmark = [pytest.mark.redis, pytest.mark.mongodb, pytest.mark.gen_test(timeout=60)]


@asynccontextmanager
async def two_nodes(folder: Path, redis: RedisServer, mongo: MongoServer) -> Any:
    redis.ask("FLUSHALL")
    shared: dict[str, Any] = {
        "backend": "distributed",
        "redis": {"url": redis.url},
        "mongodb": {"url": mongo.url, "database": folder.name[-40:]},
        "server": {"public_url": "http://127.0.0.1:8888", "drain_seconds": 1},
        **SESSIONS,
    }
    for name in ("one", "two"):
        (folder / name).mkdir()
    async with Stack(folder / "one", **shared) as one, Stack(folder / "two", **shared) as two:
        yield one, two


async def patiently(node: Stack, login: Login) -> dict[str, Any]:
    """As a client does: after a 503, which slow machines bring, the same token once more."""
    while (answer := await refresh(node, login["refresh_token"])).status_code == 503:
        await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_session_is_everywhere(
    tmp_path: Path,
    redis_server: RedisServer,
    mongo_server: MongoServer,
    logs: UnexpectedLogs,
) -> None:
    """Begun at one node, renewed at the other, a hundred times at once at both, listed, and ended
    at the one by a reuse at the other."""
    logs.expect("used again|store_unavailable")
    async with two_nodes(tmp_path, redis_server, mongo_server) as (one, two):
        first = await logged_in(one)
        second = await refreshed(two, first)
        assert claims_of(second)["sid"] == claims_of(first)["sid"]
        kids = {jwt.get_unverified_header(login["token"])["kid"] for login in (first, second)}
        assert len(kids) == 2
        answers = await asyncio.gather(
            *(patiently((one, two)[number % 2], second) for number in range(100))
        )
        assert len({answer["refresh_token"] for answer in answers}) == 1
        assert len({str(claims_of(answer)) for answer in answers}) == 1
        listed = await two.http.get("/api/sessions", headers=bearer(answers[0]))
        assert [each["current"] for each in listed.json()["sessions"]] == [True]
        third = await refreshed(one, answers[0])
        assert (await refresh(two, first["refresh_token"])).status_code == 401
        ended: list[httpx.Response] = [
            await one.http.get("/api/me", headers=bearer(third)),
            await refresh(one, third["refresh_token"]),
        ]
        assert [answer.status_code for answer in ended] == [401, 401]
