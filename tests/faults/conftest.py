"""Servers of each test's own, to be broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import UnexpectedLogs
from tests.servers import MongoServer, RedisServer, any_mongo_server, started


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that this test may stop, pause and spoil."""
    with started(RedisServer(tmp_path)) as server:
        yield server


@pytest.fixture
def mongo_server(tmp_path: Path) -> Iterator[MongoServer]:
    """A MongoDB-protocol server that this test may stop and pause. Its data outlives it."""
    with started(any_mongo_server(tmp_path)) as server:
        yield server


@pytest.fixture(scope="module")
def shared_mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A MongoDB-protocol server for all tests of a module, which leave it as it is."""
    with started(any_mongo_server(tmp_path_factory.mktemp("mongo"))) as server:
        yield server


@pytest.fixture(autouse=True)
def interrupted_indexes(logs: UnexpectedLogs) -> None:
    """A fault may meet an index that is still being made; it is made later."""
    logs.expect("MongoDB: the index of .* is not there yet")
