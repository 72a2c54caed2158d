"""`scripts/bench` from its command line."""

import os
import subprocess
import sys

import pytest

from bench import run
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
    ],
    ids=["no equals", "no name", "none", "a word", "one of two", "less than none", "no time"],
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
