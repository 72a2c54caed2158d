"""Flows that must be the same wherever the scenes are kept."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.backends import Backend, OpenBackend, open_embedded
from services.clock import Clock
from services.push.broker import RedisBroker
from services.redis_client import RedisLink
from services.scenes.local_echo import LocalEcho
from services.scenes.store_redis import RedisSceneStore
from services.settings.models import Settings
from tests.flows.oidc import provider
from tests.handlers.running import Running
from tests.servers import MongoServer, RedisServer, started
from tests.stack import Stack


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all flows."""
    with started(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """One MongoDB-protocol server for all flows, each with a database of its own."""
    with started(MongoServer(tmp_path_factory.mktemp("mongo"))) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An OpenID Provider with the clients of tests/flows/oidc.py, for the tests of a module that
    want no other server."""
    folder = tmp_path_factory.mktemp("server")
    running = Running(lambda: Stack(folder, **provider()))
    yield running
    running.close()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def any_scenes(request: pytest.FixtureRequest) -> OpenBackend:
    """Opens stores whose scenes lie in SQLite, or in Redis; the people are in SQLite."""
    if request.param == "sqlite":
        return open_embedded
    scenes: OpenBackend = request.getfixturevalue("scenes_in_redis")
    return scenes


@pytest.fixture
def scenes_in_redis(redis_server: RedisServer) -> OpenBackend:
    """Opens stores whose scenes lie in Redis; the people are in SQLite."""
    redis_server.ask("FLUSHALL")

    async def open_scenes_in_redis(settings: Settings, clock: Clock, node: str) -> Backend:
        backend = await open_embedded(settings, clock, node)
        await backend.broker.close()
        link = RedisLink(redis_server.url)
        await link.open()
        echo = LocalEcho()
        backend.scenes = RedisSceneStore(link, echo)
        backend.broker = RedisBroker(link, node, echo)
        backend.logins = None
        backend.connections = (link,)
        return backend

    return open_scenes_in_redis


class TwoNodes:
    """Opens two nodes on the same Redis and MongoDB. Each has its own simulated WeChat, in which
    people and accounts have the same names."""

    def __init__(self, folder: Path, redis: RedisServer, mongo: MongoServer) -> None:
        redis.ask("FLUSHALL")
        self._folder = folder
        self._shared = {
            "backend": "distributed",
            "redis": {"url": redis.url},
            "mongodb": {"url": mongo.url, "database": folder.name[-40:]},
            "server": {"public_url": "http://127.0.0.1:8888", "drain_seconds": 1},
        }

    @asynccontextmanager
    async def opened(self, **sections: Any) -> AsyncIterator[tuple[Stack, Stack]]:
        one, two = (
            Stack(self._folder / name, **self._shared, **sections) for name in ("one", "two")
        )
        async with one, two:
            yield one, two


@pytest.fixture
def nodes(tmp_path: Path, redis_server: RedisServer, mongo_server: MongoServer) -> TwoNodes:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return TwoNodes(tmp_path, redis_server, mongo_server)
