"""Both ways to accept a socket must behave alike."""

import pytest

from tests.services.push.kit import Node


@pytest.fixture(params=[True, False], ids=["short way", "through Tornado"])
def accepting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test twice: upgrades served by `Reception`, and by `SocketRouter`."""
    monkeypatch.setattr(Node, "short_way", request.param)
