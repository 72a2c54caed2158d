"""Runs a Python server with a SIGUSR1 handler for the benchmarks, and changes nothing else in it.

    python -m bench.instrumented REPORT COMMAND ARGS...

COMMAND is a script (`server.py`) or `-m module`. On SIGUSR1 the process runs one full
`gc.collect()` and writes REPORT as JSON: what it took, how many objects there were, and what the
automatic collections since the start, or since the last SIGUSR1, had taken.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any


class Collections:
    """Times automatic collections by generation."""

    def __init__(self) -> None:
        self._began = 0.0
        self.seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}

    def note(self, phase: str, info: dict[str, int]) -> None:
        """A `gc.callbacks` function."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds[info["generation"]].append(time.perf_counter() - self._began)

    def document(self) -> dict[str, Any]:
        """Counts, sums and longest, in milliseconds."""
        return {
            str(generation): {
                "count": len(seconds),
                "total_ms": round(sum(seconds) * 1e3, 3),
                "longest_ms": round(max(seconds, default=0.0) * 1e3, 3),
            }
            for generation, seconds in self.seconds.items()
        }


def answer_signals(report: Path) -> None:
    """Install the SIGUSR1 handler."""
    automatic = Collections()
    gc.callbacks.append(automatic.note)

    def collect(number: int, frame: FrameType | None) -> None:
        before = automatic.document()
        objects = len(gc.get_objects())
        began = time.perf_counter()
        gc.collect()
        took = time.perf_counter() - began
        for seconds in automatic.seconds.values():
            seconds.clear()
        document = {"full_ms": took * 1e3, "objects": objects, "automatic": before}
        # Written aside and renamed: the reader sees all of it or nothing.
        aside = report.with_suffix(".new")
        aside.write_text(json.dumps(document))
        os.replace(aside, report)

    signal.signal(signal.SIGUSR1, collect)


def main() -> None:
    """Hand over to the command as if it had been started itself."""
    report, *command = sys.argv[1:]
    answer_signals(Path(report))
    sys.path.insert(0, os.getcwd())
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
