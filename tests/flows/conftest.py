"""Flows that must be the same wherever the scenes are kept."""

from collections.abc import Iterator

import pytest

from services.backends import Backend, OpenBackend, open_embedded
from services.clock import Clock
from services.push.broker import RedisBroker
from services.redis_client import RedisLink
from services.scenes.local_echo import LocalEcho
from services.scenes.store_redis import RedisSceneStore
from services.settings.models import Settings
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all flows."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


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
