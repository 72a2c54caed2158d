"""Other people's load tools speak the protocol, with the scripts of bench/scenarios.

They come with `scripts/test --all`, which builds k6 with Go.
"""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import scanpush_for_load
from tests.bench.conftest import TREE

SCENARIOS = TREE / "bench" / "scenarios"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A scanpush with its simulator."""
    with scanpush_for_load() as running:
        yield running.url


def run(*command: str, **environment: str) -> None:
    """A tool that has to succeed, and says nothing to its makers."""
    done = subprocess.run(
        command, cwd=TREE, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=300, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_locust(url: str, tmp_path: Path) -> None:
    """Begins, opens and logs in, without one failure."""
    locust = TREE / ".venv-locust" / "bin" / "locust"
    if not locust.exists():
        pytest.skip("Locust is not installed; scripts/test --all installs it")
    run(
        *(str(locust), "-f", str(SCENARIOS / "locustfile.py"), "--headless", "--host", url),
        *("--users", "3", "--spawn-rate", "3", "--run-time", "8s", "--stop-timeout", "10"),
        *("--only-summary", "--csv", str(tmp_path / "locust")),
    )
    rows = {
        row["Name"]: (int(row["Request Count"]), int(row["Failure Count"]))
        for row in csv.DictReader((tmp_path / "locust_stats.csv").read_text().splitlines())
    }
    for name in ("begin", "open", "scan_to_token"):
        assert rows[name][0] > 0 and rows[name][1] == 0, rows


def test_artillery(url: str, tmp_path: Path) -> None:
    """Every visit ends in a login that was acknowledged."""
    artillery = SCENARIOS / "node_modules" / ".bin" / "artillery"
    if shutil.which("node") is None or not artillery.exists():
        pytest.skip("node or Artillery is not installed; scripts/test --all installs it with npm")
    report = tmp_path / "report.json"
    run(
        *(str(artillery), "run", "--target", url, "--output", str(report)),
        str(SCENARIOS / "artillery.yml"),
        ARTILLERY_DISABLE_TELEMETRY="true",
    )
    counters = json.loads(report.read_text())["aggregate"]["counters"]
    assert counters["visits.consumed"] == counters["vusers.completed"] == 50


def test_k6(url: str) -> None:
    """Every check of every visit holds."""
    k6 = shutil.which("k6")
    if k6 is None:
        pytest.skip("k6 is not installed; scripts/test --all builds it with Go")
    script = str(SCENARIOS / "k6.js")
    run(k6, "run", "--quiet", "--vus", "3", "--iterations", "30", "-e", f"URL={url}", script)
