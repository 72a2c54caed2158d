"""A reference server for each test, and the kit as its users call it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[2]
RUN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class KitRun:
    """What one call of the kit left."""

    code: int
    output: str
    errors: str
    stem: Path

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(Path(f"{self.stem}.json").read_text())
        return document


@contextmanager
def started(*command: str) -> Iterator[dict[str, int]]:
    """A process of this tree that prints a ready line; yields its ports."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=TREE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline().removeprefix("ready "))
    finally:
        process.terminate()
        process.wait(RUN_SECONDS)
        process.stdout.close()


@pytest.fixture
def reference() -> Iterator[Callable[..., str]]:
    """Starts a reference server, `reference("lose")`, and returns its URL."""
    with ExitStack() as stack:

        def start(fault: str = "none") -> str:
            ports = stack.enter_context(started("tests.bench.reference", "--fault", fault))
            return f"http://127.0.0.1:{ports['http']}"

        yield start


def kit_command(stem: Path, *arguments: str) -> list[str]:
    """The kit's command line with small defaults."""
    small = ("--sockets", "12", "--hold", "0.5", "--rate", "0", "--timeout", "2",
             "--settle", "0.1")  # fmt: skip
    return [sys.executable, "-m", "bench.kit", *small, "--out", str(stem), *arguments]


@pytest.fixture
def kit_ended(tmp_path: Path) -> Callable[..., KitRun]:
    """Runs the kit and sends it a signal in each of some phases, to all of its processes as a
    terminal and timeout(1) do: `kit_ended([("hold", signal.SIGINT)], "--url", url)`."""

    def run(signals: Sequence[tuple[str, signal.Signals]], *arguments: str) -> KitRun:
        stem = tmp_path / "run"
        with subprocess.Popen(
            kit_command(stem, *arguments),
            cwd=TREE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            try:
                for phase, number in signals:
                    # Off a terminal the kit prints a line whenever a phase begins; "" is its end.
                    for line in iter(process.stderr.readline, ""):
                        if f"{phase:5}  held" in line:
                            break
                    os.killpg(process.pid, number)
                output, errors = process.communicate(timeout=RUN_SECONDS)
            finally:
                process.kill()
        return KitRun(process.returncode, output, errors, stem)

    return run


@pytest.fixture
def kit(tmp_path: Path) -> Callable[..., KitRun]:
    """Runs the kit, `kit("--url", url)`, to its end."""

    def run(*arguments: str) -> KitRun:
        stem = tmp_path / "run"
        done = subprocess.run(
            kit_command(stem, *arguments),
            cwd=TREE,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        return KitRun(done.returncode, done.stdout, done.stderr, stem)

    return run
