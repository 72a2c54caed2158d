"""The backends every contract suite runs on: name a new one here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from services.redis_client import RedisLink
from services.wechat.access_token import (
    AccessTokenStore,
    MemoryAccessTokenStore,
    RedisAccessTokenStore,
)
from tests.contracts.benches import (
    BrokerBench,
    LocalBrokerBench,
    SceneBench,
    SqliteSceneBench,
    SqliteUserBench,
    UserBench,
)
from tests.contracts.mongo_bench import MongoUserBench
from tests.contracts.redis_bench import RedisBrokerBench, RedisSceneBench
from tests.redis_cluster import RedisCluster
from tests.servers import MongoServer, RedisServer, SecantusServer, started

Request = pytest.FixtureRequest


def sqlite_scenes(request: Request) -> SceneBench:
    return SqliteSceneBench(_folder(request))


def redis_scenes(request: Request) -> SceneBench:
    server = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    return RedisSceneBench(server.url)


def cluster_scenes(request: Request) -> SceneBench:
    cluster = request.getfixturevalue("redis_cluster")
    cluster.ask_all("FLUSHALL")
    return RedisSceneBench(cluster.url)


def cluster_broker(request: Request) -> BrokerBench:
    return RedisBrokerBench(request.getfixturevalue("redis_cluster").url)


def redis_broker(request: Request) -> BrokerBench:
    return RedisBrokerBench(request.getfixturevalue("redis_server").url)


def sqlite_people(request: Request) -> UserBench:
    return SqliteUserBench(_folder(request))


def mongo_people(request: Request) -> UserBench:
    return MongoUserBench(request.getfixturevalue("mongo_url"))


def secantus_people(request: Request) -> UserBench:
    return MongoUserBench(request.getfixturevalue("secantus_url"))


SHARED_SCENE_BENCHES: list[Any] = [
    pytest.param(redis_scenes, id="redis", marks=pytest.mark.redis),
    pytest.param(cluster_scenes, id="cluster", marks=pytest.mark.redis),
]
SCENE_BENCHES: list[Any] = [pytest.param(sqlite_scenes, id="sqlite"), *SHARED_SCENE_BENCHES]
BROKER_BENCHES: list[Any] = [
    pytest.param(lambda request: LocalBrokerBench(), id="local"),
    pytest.param(redis_broker, id="redis", marks=pytest.mark.redis),
    pytest.param(cluster_broker, id="cluster", marks=pytest.mark.redis),
]
USER_BENCHES: list[Any] = [
    pytest.param(sqlite_people, id="sqlite"),
    pytest.param(mongo_people, id="mongo", marks=pytest.mark.mongodb),
    pytest.param(secantus_people, id="secantus", marks=pytest.mark.mongodb),
]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all contract tests."""
    with started(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """One Redis Cluster of three masters for all contract tests."""
    with started(RedisCluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that TEST_MONGODB_URL names, a mongod for example, else nx-27017."""
    if url := os.environ.get("TEST_MONGODB_URL"):
        yield url
        return
    with started(MongoServer(tmp_path_factory.mktemp("mongo"))) as server:
        yield server.url


@pytest.fixture(scope="session")
def secantus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One SecantusDB for all contract tests: the error codes of a mongod, and retryable writes."""
    with started(SecantusServer(tmp_path_factory.mktemp("secantus"))) as server:
        yield server.url


@pytest.fixture(params=SCENE_BENCHES)
def scenes(request: Request, io_loop: IOLoop) -> Iterator[SceneBench]:
    """One backend of `SceneStore`."""
    yield from _opened(request.param(request), io_loop)


@pytest.fixture(params=SHARED_SCENE_BENCHES)
def shared_scenes(request: Request, io_loop: IOLoop) -> Iterator[SceneBench]:
    """One backend of `SceneStore` that several nodes use at once."""
    yield from _opened(request.param(request), io_loop)


@pytest.fixture(params=USER_BENCHES)
def people(request: Request, io_loop: IOLoop) -> Iterator[UserBench]:
    """One backend of `UserStore`."""
    yield from _opened(request.param(request), io_loop)


@pytest.fixture(params=BROKER_BENCHES)
def broker(request: Request, io_loop: IOLoop) -> Iterator[BrokerBench]:
    """One backend of `Broker`."""
    yield from _opened(request.param(request), io_loop)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def access_token_stores(request: Request, io_loop: IOLoop) -> Iterator[list[AccessTokenStore]]:
    """The `AccessTokenStore` as two nodes use it."""
    if request.param == "memory":
        yield [MemoryAccessTokenStore()] * 2
        return
    server = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    links = [RedisLink(server.url, timeout_seconds=5) for _ in range(2)]
    for link in links:
        io_loop.run_sync(link.open)
    yield [RedisAccessTokenStore(link) for link in links]
    for link in links:
        io_loop.run_sync(link.close)


def _folder(request: Request) -> Path:
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return factory.mktemp("bench")


def _opened(bench: Any, io_loop: IOLoop) -> Iterator[Any]:
    io_loop.run_sync(bench.open)
    yield bench
    io_loop.run_sync(bench.close)
