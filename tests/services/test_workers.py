"""services.workers: what it needs of the machine before the first process is started."""

import tempfile
from pathlib import Path

import pytest

from services.errors import SettingsError
from services.workers import WorkerSupervisor


@pytest.mark.parametrize("problem", ["missing", "too long"])
def test_a_temporary_folder_that_cannot_hold_sockets_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """The processes answer each other at Unix sockets, whose paths are short."""
    folder = tmp_path / ("x" * 100)
    if problem == "too long":
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(SettingsError, match="^TMPDIR: "):
        WorkerSupervisor(2, lambda worker: 0, 0, lambda: None)
    assert not folder.exists() or not list(folder.iterdir())
