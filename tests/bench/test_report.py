"""The report of a load run: the outcome in words, the figures that decide, and what is drawn."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from bench.kit.arguments import fail_if
from bench.kit.conductor import Moment, Run
from bench.kit.job import Result
from bench.kit.outcome import faults, judged, merged, outcome
from bench.kit.report import duration, headline, report
from services.settings.branding import BASE

AT = "2026-01-02T03:04:05+08:00"


def moment(seconds: float, phase: str = "hold", **counts: Any) -> Moment:
    nothing: dict[str, Any] = dict.fromkeys(Moment.__slots__, 0)
    percentiles = {"p50_ms": 2.0, "p99_ms": 5.0}
    return Moment(**{**nothing, **percentiles, "seconds": seconds, "phase": phase, **counts})


def document(
    seconds: Sequence[float] = (),
    moments: int = 0,
    limits: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    **counts: Any,
) -> dict[str, Any]:
    """Of a run in which scans took so many seconds."""
    result = Result(held_at_most=1_000, scans=len(seconds), delivered=len(seconds), seconds=60.0)
    result.due_to_token.take(seconds)
    for name, value in counts.items():
        setattr(result, name, value)
    row = [moment(n / 2, held=n, delivered=n) for n in range(1, moments + 1)]
    asked = {"url": "https://login.example.com", **(options or {})}
    made = outcome(Run(result, row), 1_000, asked, AT, ["scripts/load --scans 5"])
    made["limits"] = judged([fail_if(limit) for limit in limits], made["figures"])
    made["limits_crossed"] = [one["limit"] for one in made["limits"] if one["crossed"]]
    return made


def text_of(made: dict[str, Any]) -> str:
    """The words of the page, as they are read."""
    over = [f"limit crossed: {limit}" for limit in made["limits_crossed"]]
    page = report(made, ["a note"], [*faults(made), *over])
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S))


MANY = [0.002] * 98 + [0.1, 0.2]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            document(MANY),
            "100 scans, none lost; half had their token within 2 ms, 99 of 100 within 100 ms, with "
            "1,000 pages held at once.",
        ),
        (
            document([0.002, 0.3]),
            "2 scans, none lost; half had their token within 2 ms, the slowest within 300 ms, with "
            "1,000 pages held at once.",
        ),
        (document(), "1,000 pages held at once, and none failed."),
        (document(held_at_most=1), "1 page held at once, and none failed."),
        (document(lost=3, scans=3), "Of 3 scans none brought a token: 3 lost."),
        (
            document([0.002], lost=1, duplicated_after_ack=2, misdelivered=1, scans=2),
            "2 scans: 1 to the wrong page, 1 lost, 2 twice; half had their token within 2 ms, the "
            "slowest within 2 ms, with 1,000 pages held at once.",
        ),
        (
            document([0.002], limits=["lost > 0", "scan_to_token.p50 > 1ms"]),
            "1 of 2 limits crossed. 1 scan, none lost; half had their token within 2 ms, the "
            "slowest within 2 ms, with 1,000 pages held at once.",
        ),
    ],
    ids=["clean", "few", "held", "one", "none", "wrong", "limit"],
)
def test_the_outcome_is_one_sentence(made: dict[str, Any], said: str) -> None:
    """What went wrong comes first; a percentile of too few scans is not told."""
    assert headline(made).replace("\N{NO-BREAK SPACE}", " ") == said


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(0.612, "0.61 ms"), (3.44, "3.4 ms"), (59.4, "59 ms"), (1234, "1.23 s"), (6e5, "600 s")],
)
def test_durations_have_the_digits_that_count(milliseconds: float, said: str) -> None:
    """And a unit that stays on their line."""
    assert duration(milliseconds).replace("\N{NO-BREAK SPACE}", " ") == said


def test_the_verdict_is_a_word() -> None:
    """Also in the title, which a browser's tabs show."""
    for made, word in (
        (document(MANY), "Clean run"),
        (document(MANY, limits=["lost < 1"]), "Limit crossed"),
        (document(MANY, lost=1, lost_in={"scanned": 1}), "Faults found"),
        ({**document(MANY), "ended_early": True}, "Clean run, ended early"),
    ):
        assert f"{word}: scanpush load report" in text_of(made)


def test_tiles_tell_what_decides() -> None:
    """Pages, scans, latency, what went wrong, and the limits."""
    text = text_of(document(MANY, limits=["lost > 0"], scans_left_out=7))
    for tile in (
        "pages held at once 1,000 1,000 asked for",
        "scans 100 100 logged in, 7 left out",
        "scan to token, p50 2",
        "scan to token, p99 100",
        "lost 0 no token",
        "duplicates 0",
        "failed 0",
        "limits kept 1 of 1",
    ):
        assert tile in text, tile


def test_percentiles_of_too_few_samples_are_dashes() -> None:
    """Of a hundred scans p99.9 would be the slowest one, which stands beside it."""
    assert "scan to token 2.00 2.00 100.03 &ndash; 200.06 100" in text_of(document(MANY))


def test_limits_are_listed_with_what_was_measured() -> None:
    """Kept or crossed; one that could not be measured is crossed."""
    made = document([0.002], limits=["scan_to_token.p50 > 1ms", "begin.p50 > 1ms", "lost > 0"])
    text = text_of(made)
    assert "scan_to_token.p50 &gt; 1ms it was 2 ms crossed" in text
    assert "there was not one begin to measure crossed" in text
    assert "lost &gt; 0 it was 0 kept" in text


def test_a_run_of_two_seconds_has_no_charts() -> None:
    """Two points make no curve, and three scans no distribution."""
    assert "<figure>" not in report(document([0.002] * 3, moments=4), [], [])


def test_a_longer_run_is_drawn() -> None:
    """Pages, logins, latency over time, and how latencies lie, each with the units of its axes."""
    drawn = report(document(MANY, moments=60), [], [])
    assert drawn.count("<figure>") == 4
    for words in ("Pages held", "a second", "seconds since the start", "milliseconds, logarithmic"):
        assert words in drawn


def test_a_long_run_is_drawn_with_few_points() -> None:
    """An hour of half seconds make no file of megabytes."""
    assert len(report(document(MANY, moments=7_200), [], [])) < 60_000


def test_stages_are_marked_by_what_they_lead_to() -> None:
    """From when they began, which is after the kit has begun."""
    made = document(MANY, options={"stages": ["10s:300", "15s:1000"]})
    made["timeline"] = [{**row, "phase": "stages"} for row in document(moments=50)["timeline"]]
    drawn = report(made, [], [])
    assert "to 300" in drawn and "to 1,000" in drawn


def test_options_are_told_by_their_flags() -> None:
    """The command, and what was in force with its unit."""
    text = text_of(document(options={"sockets": 500, "as_you_go": True, "churn": 0.0, "visit": 20}))
    assert "scripts/load --scans 5" in text
    assert "--sockets 500 pages" in text and "--as-you-go yes" in text
    assert "--churn" not in text and "--visit" not in text


def test_where_when_and_which_version() -> None:
    """In one line below the outcome."""
    text = text_of(document(options={"conduct": ["192.0.2.1", 7000], "machines": 3}))
    line = (
        "https://login.example.com · from 3 machines · 2026-01-02 03:04 UTC+08:00 · 60 s · load kit"
    )
    assert line in text


def test_a_sum_of_runs_keeps_its_commands() -> None:
    """And says of how many runs it is."""
    one = document(MANY, moments=20)
    text = text_of({**merged([one, one, one], AT), "limits_crossed": []})
    assert "sum of 3 runs" in text and text.count("scripts/load --scans 5") == 3
    assert "300 scans, none lost" in text


def test_runs_of_different_lengths_are_added_up_by_their_seconds() -> None:
    """A run that is over keeps its counts, and has no latency any more."""
    short, long = document(moments=2), document(moments=4)
    short["timeline"][-1]["p99_ms"] = 900.0
    rows = merged([short, long], AT)["timeline"]
    assert [row["seconds"] for row in rows] == [0.5, 1.0, 1.5, 2.0]
    assert [row["delivered"] for row in rows] == [2, 4, 5, 6]
    assert [row["p99_ms"] for row in rows] == [5.0, 900.0, 5.0, 5.0]


def test_the_colours_are_those_of_the_pages() -> None:
    """Light and dark, as static/base.css has them."""
    page = report(document(), [], [])
    for name in ("paper", "ink", "jade", "warn"):
        for found in re.findall(rf"--{name}: #\w+;", BASE.read_text()):
            assert found in page
    assert "prefers-color-scheme: dark" in page
