"""The backends every contract suite runs on: name a new one here."""

from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.contracts.benches import SceneBench, SqliteSceneBench, SqliteUserBench, UserBench

SCENE_BENCHES: list[Any] = [pytest.param(SqliteSceneBench, id="sqlite")]
SHARED_SCENE_BENCHES: list[Any] = []
USER_BENCHES: list[Any] = [pytest.param(SqliteUserBench, id="sqlite")]


@pytest.fixture(params=SCENE_BENCHES)
def scenes(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SceneBench]:
    """One backend of `SceneStore`."""
    yield from _opened(request.param(tmp_path_factory.mktemp("scenes")), io_loop)


@pytest.fixture(params=SHARED_SCENE_BENCHES)
def shared_scenes(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SceneBench]:
    """One backend of `SceneStore` that several nodes use at once."""
    yield from _opened(request.param(tmp_path_factory.mktemp("scenes")), io_loop)


@pytest.fixture(params=USER_BENCHES)
def people(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserBench]:
    """One backend of `UserStore`."""
    yield from _opened(request.param(tmp_path_factory.mktemp("people")), io_loop)


def _opened(bench: Any, io_loop: IOLoop) -> Iterator[Any]:
    io_loop.run_sync(bench.open)
    yield bench
    io_loop.run_sync(bench.close)
