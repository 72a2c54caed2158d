"""The servers of whole modules of tests."""

from collections.abc import Iterator

import pytest

from tests.handlers.openid import Provider
from tests.handlers.running import Running
from tests.stack import Stack


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(lambda: Stack(tmp_path_factory.mktemp("server")))
    yield running
    running.close()


@pytest.fixture(scope="module", params=["http1", "tornado"])
def either_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """The server, and its twin: the same application over Tornado's own HTTP."""
    tornado = request.param == "tornado"
    running = Running(lambda: Stack(tmp_path_factory.mktemp("server"), tornado=tornado))
    yield running
    running.close()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    running = Provider(tmp_path_factory.mktemp("provider"))
    yield running
    running.close()
