"""One scanpush for all sites, whose signing key the tests know."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.real_server import TEA_HOUSE, Real


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scanpush")


@pytest.fixture(scope="package")
def real(folder: Path) -> Iterator[Real]:
    """With a kiosk and an operator; its keys are in ``keys.json`` of `folder`."""
    with Real(folder, jwt={"key_file": str(folder / "keys.json")}, **TEA_HOUSE) as running:
        yield running
