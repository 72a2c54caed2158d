"""The measuring programs' parts, at tiny sizes, against the stock peer."""

import argparse

import pytest

from bench.kit import limits
from bench.kit.discover import NotUsable
from bench.kit.limits import Allowance
from bench.measure import churn, common, drain, peers, sockets
from bench.servers import peer


def test_a_stock_socket_is_weighed_and_seen_by_the_collector() -> None:
    """Opening pages of stock Tornado costs memory, and dozens of objects each."""
    with peer("tornado", cpu=None) as running:
        figures = sockets.toy(running, 60)
    assert figures["handshakes_per_s"] > 0
    assert figures["gc_objects_per_socket"] > 40
    assert figures["gc_full_ms"] > 0


def test_every_push_arrives_once() -> None:
    """Paced and burst pushes reach their own page, and nothing is counted twice."""
    with peer("tornado", cpu=None) as running:
        figures = peers.one_peer(running, 50, 10)
    assert figures["faults"] == 0
    assert figures["frame_ms_p50"] > 0 and figures["pushes_per_s"] > 0


def test_a_drain_counts_close_codes() -> None:
    """SIGTERM closes every page with 1001, and the time to the last is known."""
    with peer("tornado", cpu=None) as running, common.toy_crew(running, 20) as (loop, crew):
        common.open_pages(loop, crew, 20, crew.open)
        figures = drain.terminate(running, loop, crew)
    assert (figures["closed_1001"], figures["closed_otherwise"]) == (20, 0)
    assert 0 < figures["first_s"] <= figures["last_s"]


def test_churn_meets_every_visitor() -> None:
    """Visitors of the second process all open and close while pushes go on."""
    options = argparse.Namespace(churn_held=30, churn_seconds=0.5, ordinary_priority=False)
    with peer("tornado", cpu=None) as running, common.toy_crew(running, 30) as (loop, crew):
        figures = churn.toy(running, loop, crew, options)
    assert (figures["pushes"], figures["visitors"], figures["faults"]) == (100, 120, 0)


def test_refused_openings_stop_a_measurement() -> None:
    """A server that refuses sockets is not measured as a fast one."""
    with peer("tornado", cpu=None) as running, common.toy_crew(running, 5) as (loop, crew):
        with pytest.raises(NotUsable, match="HTTP 404"):
            common.open_pages(loop, crew, 2, lambda: crew.sockets.open("k", "/nothing"))


def test_more_sockets_than_files_stop_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count beyond the open-file limit is refused in words, before any socket is opened."""
    monkeypatch.setattr(limits, "allowance", lambda address: Allowance(3, 100, True))
    with peer("tornado", cpu=None) as running, common.toy_crew(running, 4) as (loop, crew):
        with pytest.raises(NotUsable, match="hold 3 sockets, not 4"):
            common.open_pages(loop, crew, 4, crew.open)
    assert crew.sockets.opened == 0


def test_pushes_without_enough_pages_stop_a_measurement() -> None:
    """scanpush's pages log in once each: so many pushes need as many pages."""
    options = argparse.Namespace(sockets=[50], pushes=100, rounds=1)
    with pytest.raises(NotUsable, match="100 pushes need 51 pages"):
        peers.run(options)
