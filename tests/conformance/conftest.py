"""All ways to accept a socket must behave alike."""

import pytest

from tests.services.push.kit import Node


@pytest.fixture(params=["plain", "http", "tornado"])
def accepting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with upgrades served by `FastUpgrade`, and by `SocketRouter` over both HTTPs."""
    monkeypatch.setattr(Node, "way", request.param)
