"""The load kit from its command line, against the reference server."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.conftest import KitRun

Kit = Callable[..., KitRun]
Reference = Callable[..., str]


def test_opens_holds_and_closes_every_socket(kit: Kit, reference: Reference) -> None:
    """A clean run opens what was asked for, says so, and closes everything with 1000."""
    run = kit("--url", reference())
    sockets = run.document["sockets"]
    assert (run.code, sockets["opened"], sockets["held_at_most"]) == (0, 12, 12)
    assert sockets["closed_by_code"] == {"1000": 12}
    assert "No faults." in run.output


def test_counts_scans_as_delivered_and_consumed(kit: Kit, reference: Reference) -> None:
    """Every scan becomes a login that is acknowledged, and new pages take the old ones' place."""
    run = kit("--url", reference(), "--scans", "20", "--hold", "1")
    logins = run.document["logins"]
    assert run.code == 0
    assert logins["scans"] == logins["delivered"] == logins["consumed"] > 10
    assert logins["scan_to_token_ms"]["n"] == logins["scans"]
    assert run.document["sockets"]["opened"] == 12 + logins["consumed"]


def test_counts_lost_logins(kit: Kit, reference: Reference) -> None:
    """A scan without a login within the timeout is lost, and the run is not clean."""
    run = kit("--url", reference("lose"), "--scans", "10", "--timeout", "0.5")
    assert run.code == 1
    assert run.document["logins"]["lost"] == run.document["logins"]["scans"] > 0
    assert "logins lost, by the page's last state (waiting:" in run.output


@pytest.mark.parametrize(
    ("state", "told", "setting"),
    [
        ("registering", "registering", "SCANPUSH_LOGIN__REGISTRATION=auto"),
        ("confirming", "confirming", "SCANPUSH_LOGIN__CONFIRM=never"),
        ("failed", "failed not_registered", "SCANPUSH_LOGIN__REGISTRATION=auto"),
    ],
    ids=["form", "consent", "denied"],
)
def test_tells_logins_that_settings_hold_back(
    kit: Kit, reference: Reference, state: str, told: str, setting: str
) -> None:
    """Pages that were told to wait name that state, and the setting that makes them wait."""
    run = kit("--url", reference(state), "--scans", "10", "--timeout", "0.5")
    logins = run.document["logins"]
    assert logins["lost_in"] == {told: logins["lost"]} and logins["lost"] > 0
    assert setting in run.output


def test_a_visitor_waits_for_the_login(kit: Kit, reference: Reference) -> None:
    """Visitors who have scanned do not leave before their login has come or is lost."""
    visits = ("--sockets", "1", "--churn", "30", "--visit", "0.2", "--hold", "1")
    run = kit("--url", reference("lose"), *visits, "--scans", "20", "--timeout", "1")
    assert run.document["logins"]["lost"] == run.document["logins"]["scans"] > 1


def test_counts_misdelivered_logins(kit: Kit, reference: Reference) -> None:
    """A login for another scene is never taken for one's own."""
    run = kit("--url", reference("misdeliver"), "--scans", "10", "--timeout", "0.5")
    assert run.document["logins"]["misdelivered"] > 0
    assert run.document["logins"]["delivered"] == 0


def test_counts_duplicates_after_the_ack(kit: Kit, reference: Reference) -> None:
    """A login that comes again after `consumed` is a fault of the server."""
    run = kit("--url", reference("again"), "--scans", "10")
    assert run.document["logins"]["duplicated_after_ack"] == run.document["logins"]["scans"] > 0
    assert run.code == 1


def test_tells_refused_scans_from_lost_ones(kit: Kit, reference: Reference) -> None:
    """A simulator that refuses to scan is reported with its answer."""
    run = kit(
        "--url", reference(), "--simulator", reference("refuse"), "--scans", "5", "--timeout", "1"
    )
    assert run.document["logins"]["scan_errors"] == {"HTTP 400": run.document["logins"]["scans"]}


def test_counts_dropped_sockets_by_code(kit: Kit, reference: Reference) -> None:
    """Sockets that the server closes by itself are a fault, told by their close code."""
    run = kit("--url", reference("drop"))
    assert run.document["sockets"]["dropped_by_code"] == {"1011": 12}
    assert run.code == 1


def test_stops_asking_for_scenes_at_a_limit(kit: Kit, reference: Reference) -> None:
    """At a rate limit the kit begins no more scenes, and names the setting."""
    run = kit("--url", reference("limit"))
    assert run.document["sockets"]["opened"] < 12
    assert "429 rate_limited" in run.output
    assert "SCENES_PER_MINUTE_PER_ADDRESS" in run.output


def test_visitors_come_and_leave_together(kit: Kit, reference: Reference) -> None:
    """Churn opens further sockets; with --together all of them leave at the end of the hold."""
    run = kit("--url", reference(), "--churn", "20", "--together", "--hold", "1")
    sockets = run.document["sockets"]
    assert sockets["opened"] > 12 + 10
    assert sockets["held_at_most"] > 12 + 10
    assert run.code == 0


def test_shares_the_work_among_processes(kit: Kit, reference: Reference) -> None:
    """Several processes open exactly what was asked for, together."""
    run = kit("--url", reference(), "--processes", "3", "--sockets", "10", "--scans", "10")
    assert run.document["sockets"]["held_at_most"] == 10
    assert run.document["logins"]["lost"] == 0
    assert run.code == 0


def test_writes_one_report_that_needs_nothing_else(kit: Kit, reference: Reference) -> None:
    """The HTML report has charts and figures, and no address that a browser would load."""
    run = kit("--url", reference(), "--scans", "20", "--hold", "1.5")
    text = Path(f"{run.stem}.html").read_text()
    assert text.count("<figure") >= 1 and "scripts/load --url http://127.0.0.1:" in text
    assert "scan to token" in text.lower()
    for outside in ("src=", "<script", "<link", "@import", "url("):
        assert outside not in text


def test_a_real_account_is_only_held_and_only_when_told(kit: Kit, reference: Reference) -> None:
    """Against a real account the kit stops before it spends codes, and with --yes never scans."""
    url = reference("real")
    refused = kit("--url", url)
    assert refused.code == 2 and "12 of the account's 100,000 QR codes" in refused.errors
    run = kit("--url", url, "--yes", "--scans", "5")
    assert run.code == 0 and run.document["logins"]["scans"] == 0
    assert "pages are only held" in run.output


def test_says_when_there_is_no_answer(kit: Kit) -> None:
    """No server: one line that says what to do, exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    run = kit("--url", f"http://127.0.0.1:{port}")
    assert run.code == 2
    assert "Is scanpush running there?" in run.errors
    assert "Traceback" not in run.errors


def test_help_names_every_group_of_options(kit: Kit) -> None:
    """--help explains itself and gives examples."""
    run = kit("--help")
    assert run.code == 0
    assert "examples:" in run.output and "--churn" in run.output


@pytest.mark.parametrize(
    ("option", "wanted"),
    [("--rate", "a number from 0 to"), ("--sockets", "a whole number from 1 to")],
)
def test_says_what_kind_of_number_is_wanted(kit: Kit, option: str, wanted: str) -> None:
    """A word in a number's place is refused in plain words."""
    run = kit(option, "x")
    assert run.code == 2
    assert f"argument {option}: must be {wanted}" in run.errors
