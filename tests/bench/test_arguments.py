"""Values on the load kit's command line."""

import argparse

import pytest

from bench.kit.arguments import address, fail_if, origin, port, stages
from bench.kit.job import Result, Stage, WholeLoad
from bench.kit.outcome import figures, judged


def load(text: str, scans: float = 0) -> WholeLoad:
    return WholeLoad(
        10, 0, 9, 0, 5, False, scans, "load", 10, False, False, 10, 1, stages=stages(text)
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2m:1000,5m:20000,1m:0", [(120, 1000), (300, 20000), (60, 0)]),
        ("1m30s:5", [(90, 5)]),
        ("500ms:3, 0:9,1h:9", [(0.5, 3), (0, 9), (3600, 9)]),
    ],
)
def test_stages_are_written_as_for_k6(text: str, wanted: list[tuple[float, int]]) -> None:
    """A time and the pages at its end."""
    assert stages(text) == tuple(Stage(seconds, pages) for seconds, pages in wanted)


@pytest.mark.parametrize("text", ["", "5m", "5:5", "m:5", "5m:-1", "5m:x", "1m:0", "2m:5;1m:0"])
def test_other_stages_are_refused_with_an_example(text: str) -> None:
    """What cannot be meant is not guessed."""
    with pytest.raises(argparse.ArgumentTypeError, match="must"):
        stages(text)


def test_pages_come_and_go_evenly_within_a_stage() -> None:
    """The last of a stage at its end."""
    assert list(load("2s:4,1s:4,2s:2").steps()) == [
        *((0.5, 1), (1.0, 1), (1.5, 1), (2.0, 1)),
        *((4.0, -1), (5.0, -1)),
    ]


def test_shares_of_a_load_are_the_whole_load() -> None:
    """Three machines open and close as many pages, and scan as often, as one."""
    whole = load("2s:10,3s:1", scans=30)
    parts = [whole.part(index, 3) for index in range(3)]
    assert [part.sockets for part in parts] == [4, 3, 3]
    assert sum(part.scans for part in parts) == 30
    for number in range(2):
        assert sum(part.stages[number].pages for part in parts) == whole.stages[number].pages


def result() -> Result:
    seen = Result(lost=2, duplicated_after_ack=1, spans={"begin": 4.0})
    seen.begin.take([0.010] * 99 + [0.060])
    seen.refusals.update({"HTTP 503": 3})
    seen.scan_errors.update({"HTTP 400": 1})
    return seen


@pytest.mark.parametrize(
    ("limit", "comes_true"),
    [
        ("begin.p50 > 10.1ms", False),
        ("begin.p50>=10ms", True),
        ("begin.p99 > 0.05s", False),
        ("begin.p999 > 50ms", True),
        ("begin.max > 59000us", True),
        ("begin.rate < 25", False),
        ("begin.rate < 25.1/s", True),
        ("lost > 1", True),
        ("duplicates >= 2", False),
        ("failed > 3", True),
        ("scan_to_token.p99 > 50ms", True),  # no sample keeps to no limit
        ("whole.rate < 1", True),
    ],
)
def test_limits(limit: str, comes_true: bool) -> None:
    """Every figure with every statistic, unit and sign."""
    assert judged([fail_if(limit)], figures(result()))[0]["crossed"] is comes_true


def test_a_limit_is_told_with_what_was_measured() -> None:
    """In the unit of the figure."""
    limits = [fail_if("begin.max > 50ms"), fail_if("begin.rate < 30"), fail_if("lost > 0")]
    measured = [one["measured"] for one in judged(limits, figures(result()))]
    assert measured == ["it was 60.031 ms", "it was 25/s", "it was 2"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "begin", "begin > 5ms", "begin.p95 > 5ms", "begin.p99 > 5", "begin.p99 = 5ms"),
        *("login.p99 > 5ms", "lost.p99 > 5", "lost > 5ms", "begin.rate > 5ms", "lost > -1"),
    ],
)
def test_other_limits_are_refused_with_the_figures(text: str) -> None:
    """The line lists what may be named."""
    with pytest.raises(argparse.ArgumentTypeError, match="scan_to_token"):
        fail_if(text)


def test_an_origin_is_scheme_and_host() -> None:
    """As browsers send it: no path, no user, no more."""
    assert origin("https://www.example.com:8443") == "https://www.example.com:8443"
    for other in ("www.example.com", "https://a/b", "https://a/", "ftp://a", "https://a:x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            origin(other)


def test_addresses() -> None:
    """Host and port; a port alone is one of this machine."""
    assert address("[::1]:7000") == ("::1", 7000)
    assert port("9100") == ("127.0.0.1", 9100)
    assert port("0.0.0.0:9100") == ("0.0.0.0", 9100)
    for other in ("host", ":7000", "host:", "host:70000"):
        with pytest.raises(argparse.ArgumentTypeError):
            address(other)
