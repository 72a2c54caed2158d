"""The load kit when it is asked to end before its time, against the reference server."""

import socket
from collections.abc import Callable
from signal import SIGINT, SIGTERM

import pytest

from bench.kit.wire import Target
from tests.bench.conftest import KitRun

KitEnded = Callable[..., KitRun]
Reference = Callable[..., str]

GROWING = ("--sockets", "1000", "--rate", "50", "--hold", "60")
"""Openings take longer than a test runs."""


def test_ctrl_c_prints_what_there_is(kit_ended: KitEnded, reference: Reference) -> None:
    """SIGINT during the hold ends the run early with figures, files and exit code 130."""
    run = kit_ended([("hold", SIGINT)], "--url", reference(), "--hold", "60")
    assert run.code == 130
    assert "Ended early" in run.output and "Traceback" not in run.errors
    assert run.document["sockets"]["opened"] == 12


def test_a_second_ctrl_c_waits_for_no_closing(kit_ended: KitEnded, reference: Reference) -> None:
    """SIGINT while the kit waits for closings ends it with its figures and exit code 130."""
    signals = [("hold", SIGINT), ("close", SIGINT)]
    run = kit_ended(signals, "--url", reference("never_closes"), "--hold", "60")
    assert run.code == 130
    assert run.document["sockets"]["opened"] == 12
    assert "No faults." in run.output


def test_ctrl_c_before_the_hold_begins_no_scan(kit_ended: KitEnded, reference: Reference) -> None:
    """SIGINT while pages open leaves out the hold: no scan is begun that could be lost."""
    run = kit_ended([("open", SIGINT)], "--url", reference(), *GROWING, "--scans", "20")
    assert run.code == 130
    assert run.document["logins"]["scans"] == 0
    assert "No faults." in run.output


def test_ctrl_c_closes_the_pages_that_were_opening(
    kit_ended: KitEnded, reference: Reference
) -> None:
    """Pages whose upgrade is answered after SIGINT are closed as well."""
    run = kit_ended([("open", SIGINT)], "--url", reference("slow"), *GROWING)
    sockets = run.document["sockets"]
    assert sockets["closed_by_code"] == {"1000": sockets["opened"]}


def test_ctrl_c_counts_the_pages_held_until_then(kit_ended: KitEnded, reference: Reference) -> None:
    """Pages that opened since the last look are among those held."""
    run = kit_ended([("open", SIGINT)], "--url", reference("slow"), *GROWING)
    sockets = run.document["sockets"]
    assert sockets["held_at_most"] == sockets["opened"]


def test_ctrl_c_loses_no_unfinished_login(kit_ended: KitEnded, reference: Reference) -> None:
    """A login that had not come when the run was ended is not called lost."""
    scans = ("--scans", "20", "--hold", "60", "--timeout", "30")
    run = kit_ended([("hold", SIGINT)], "--url", reference("lose"), *scans)
    assert run.document["logins"]["scans"] > 0
    assert run.document["logins"]["lost"] == 0


def test_sigterm_stops_the_server_of_the_run(kit_ended: KitEnded) -> None:
    """SIGTERM ends as Ctrl-C does, with figures, exit code 143 and no server left behind."""
    run = kit_ended([("hold", SIGTERM)], "--serve", "--hold", "60")
    assert run.code == 143
    assert run.document["sockets"]["opened"] == 12 and "No faults." in run.output
    served = Target.parse(run.document["options"]["url"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((served.host, served.port))
