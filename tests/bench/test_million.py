"""`scripts/bench million`, at a few hundred pages."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import run
from bench.kit import limits
from bench.kit.discover import NotUsable
from bench.measure import million
from bench.measure.million import GIB, KEPT_BYTES, Headroom
from tests.bench.conftest import RUN_SECONDS, TREE

QUIET = ("--ordinary-priority", "--ping-seconds", "1", "--scan-seconds", "1")


def options(*arguments: str) -> argparse.Namespace:
    """The command line's, with tests' small values."""
    made = run.parser().parse_args(["million", *QUIET, *arguments])
    made.scanpush = dict(made.settings)
    return made


def measured(made: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The figures of one run, and its notes."""
    board = million.run(made)
    (figures,) = board.rounds[0].values()
    return figures, board.notes


@pytest.mark.slow
def test_pages_of_several_nodes_are_held_pinged_and_scanned() -> None:
    """Every page opens, each scan reaches its page through another node, and nothing is lost."""
    figures, notes = measured(options("--pages", "240", "--pages-per-process", "120"))
    assert (figures["held"], figures["nodes"], figures["scans"]) == (240, 2, 100)
    assert (figures["faults"], figures["dropped"], notes) == (0, 0, [])
    assert figures["pings_per_s"] > 0
    assert min(figures["kernel_kb"], figures["redis_kb"], figures["frame_ms_p99"]) > 0


@pytest.mark.slow
def test_what_stops_it_short_is_named() -> None:
    """Nodes that have no room for all pages end the opening, and the figures are of those held."""
    reserve = limits.raise_open_files() - 210
    figures, notes = measured(
        options("--pages", "260", "--set", f"SCANPUSH_PUSH__RESERVE_DESCRIPTORS={reserve}")
    )
    assert (figures["scans"], figures["faults"]) == (100, 0)
    # Upgrades that come in one turn of the node's loop are let in together.
    held = figures["held"]
    assert 210 <= held < 260
    (note,) = notes
    assert note.startswith(f"{held} of 260 pages were opened: nodes refuse more, {{'HTTP 503': ")


@pytest.mark.parametrize(
    ("room", "wanted"),
    [
        (Headroom(KEPT_BYTES + GIB, 10**7, None), r"GiB of memory, .* can hold --pages 5\d{4}$"),
        (Headroom(10**12, 30_000, None), r"2,000,000 open files, and fs.file-max leaves 30,000"),
        (Headroom(10**12, 10**7, 262_144), r"nf_conntrack_max leaves 262,144: .* --pages 262144$"),
    ],
    ids=["memory", "open files", "a firewall's table"],
)
def test_too_many_pages_are_refused_with_the_number_that_fits(room: Headroom, wanted: str) -> None:
    """Before anything starts, one line says what is short and how many pages this machine holds."""
    with pytest.raises(NotUsable, match=wanted):
        million.nodes_for(1_000_000, 19_424, room)


def test_a_million_pages_take_52_nodes() -> None:
    """20,000 open files a process, less those kept for stores and callbacks, are 19,424 pages."""
    assert million.nodes_for(1_000_000, 19_424, Headroom(10**12, 10**7, None)) == 52


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--pages", "199"), "100 scans need at least twice as many pages: lower --scan-seconds"),
        (("--pages", "100000", "--ping-seconds", "500"), "scenes live 1,800 s, .*--ping-seconds"),
    ],
    ids=["few pages", "long pings"],
)
def test_a_plan_that_cannot_be_is_refused(arguments: tuple[str, ...], wanted: str) -> None:
    """What does not fit into the life of the scenes, or into the pages, names what to lower."""
    with pytest.raises(NotUsable, match=wanted):
        million.run(options(*arguments))


@pytest.mark.slow
def test_sigterm_leaves_no_process_behind() -> None:
    """SIGTERM while pages are open ends it with exit code 143, and every process it started."""
    command = [sys.executable, "-m", "bench.run", "million", *QUIET, "--pages", "200"]
    with subprocess.Popen(
        [*command, "--ping-seconds", "60"], cwd=TREE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("pages are open" in line for line in process.stdout)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.terminate()
        assert process.wait(RUN_SECONDS) == 143
    assert len(children) == 4  # WeChat, Redis, a node and a generator
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_pages() -> None:
    """A tenth of a million, pinged as proxies need it: all stay open, and no scan is lost."""
    arguments = ["million", "--pages", "100000", "--scan-seconds", "60"]
    made = run.parser().parse_args(arguments)
    made.scanpush = {}
    figures, notes = measured(made)
    assert (figures["held"], notes) == (100_000, [])
    assert (figures["dropped"], figures["faults"]) == (0, 0)
    assert figures["scans"] >= 6_000
