"""`scripts/bench` from its command line."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench import run
from bench.measure import instructions, time_to_code
from bench.results import Board
from bench.servers import NotInstalled
from tests.bench.conftest import RUN_SECONDS, TREE

HOLDS_A_SERVER = """
import sys, time
from bench import run
from bench.servers import peer

def hold(options):
    with peer("tornado", cpu=None) as running:
        print("serves", running.process.pid, flush=True)
        time.sleep(60)

run.MEASURES = {"hold": hold}
sys.exit(run.main(["hold"]))
"""


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--set", "FOO"), "--set: must be NAME=VALUE, not 'FOO'"),
        (("--set", "=x"), "--set: must be NAME=VALUE, not '=x'"),
        (("--rounds", "0"), "--rounds: must be a whole number from 1 to"),
        (("--rounds", "many"), "--rounds: must be a whole number from 1 to"),
        (("--sockets", "500", "0"), "--sockets: must be a whole number from 1 to"),
        (("--held", "-1"), "--held: must be a whole number from 0 to"),
        (("--churn-seconds", "0"), "--churn-seconds: must be a number from 1 to"),
        (("--tree", "tests"), "--tree: must be a checkout of scanpush, not 'tests'"),
    ],
    ids=["no equals", "no name", "none", "a word", "one of two", "less than none", "no time",
         "no server.py"],  # fmt: skip
)
def test_mistakes_are_told_before_anything_starts(
    arguments: tuple[str, ...], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that cannot be used is refused with what is wanted instead."""
    with pytest.raises(SystemExit, match="2"):
        run.parser().parse_args(arguments)
    assert wanted in capsys.readouterr().err


def test_settings_are_taken_by_name() -> None:
    """--set may come several times, and a value may hold an equals sign."""
    options = run.parser().parse_args(["--set", "A=1", "--set", "B=x=y"])
    assert options.settings == [("A", "1"), ("B", "x=y")]


def test_all_is_without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They compare two checkouts, and valgrind is not everywhere."""
    measured: list[str] = []

    def note(name: str) -> Callable[[argparse.Namespace], Board]:
        def measure(options: argparse.Namespace) -> Board:
            measured.append(name)
            raise NotInstalled("nothing")

        return measure

    monkeypatch.setattr(run, "MEASURES", {name: note(name) for name in ("ping", "instructions")})
    monkeypatch.setattr(run, "prepare", lambda: None)
    assert run.main([]) == run.main(["instructions"]) == 1
    assert measured == ["ping", "instructions"]


def test_without_valgrind_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package is named, and nothing is started."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(run, "prepare", lambda: None)
    assert run.main(["instructions"]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("callgrind_control") is None, reason="valgrind is missing")
def test_instructions_are_counted() -> None:
    """Every figure is there, a login takes more than a handshake, and nothing is lost."""
    options = run.parser().parse_args(["instructions", "--rounds", "1", "--batches", "1"])
    options.scanpush = {}
    figures = instructions.run(options).rounds[0]["scanpush"]
    assert figures["faults"] == 0
    assert figures["login"] > figures["handshake"] > 50_000


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not any(map(shutil.which, time_to_code.CHROMIUMS)), reason="no Chromium")
def test_the_time_to_a_code_is_measured() -> None:
    """Of every page, with nothing that moves, beside the server of another checkout."""
    options = run.parser().parse_args(["time-to-code", "--rounds", "1"])
    vars(options).update(quick=True, scanpush={}, tree=TREE / "tests" / "..")
    board = time_to_code.run(options)
    assert len(board.servers()) == 2 * len(time_to_code.PAGES)
    for figures in board.rounds[0].values():
        assert figures["cold_ms"] > 0 and figures["requests"] >= 2 and figures["shift"] < 0.02
    assert [note for note in board.notes if note.endswith("of before")]


def test_sigterm_stops_the_servers() -> None:
    """SIGTERM during a measurement ends it with exit code 143 and leaves no server behind."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_SERVER], cwd=TREE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        server = next(int(line.split()[1]) for line in process.stdout if "serves" in line)
        process.terminate()
        assert process.wait(RUN_SECONDS) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
