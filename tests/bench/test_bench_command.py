"""`scripts/bench` from its command line."""

import os
import subprocess
import sys

import pytest

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
