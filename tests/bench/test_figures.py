"""Percentiles, tables and charts."""

import math

from bench.kit.charts import Line, chart, nice_ticks
from bench.kit.figures import spread_text, summary
from bench.results import Board, Figure


def test_percentiles_are_nearest_rank() -> None:
    """Of 1 to 1000 each percentile is a value that occurred."""
    figures = summary(range(1, 1001))
    assert (figures["p50"], figures["p99"], figures["p999"], figures["max"]) == (
        500,
        990,
        999,
        1000,
    )


def test_no_samples_have_no_percentiles() -> None:
    """Nothing measured is not zero milliseconds."""
    assert summary([]) == {"n": 0}


def test_ratios_are_taken_within_each_round() -> None:
    """A round in which everything was slow does not distort the comparison."""
    board = Board("test", [Figure("rate", "rate", 0, ratio=True)], {})
    for number, (stock, ours) in enumerate([(100, 300), (10, 30), (50, 200)]):
        board.add(number, "tornado", {"rate": stock})
        board.add(number, "scanpush", {"rate": ours})
    assert board.ratio("scanpush", "rate") == 3
    assert "| scanpush | 200 [30-300] (x3) |" in board.markdown()


def test_a_busy_generator_is_noted() -> None:
    """A rate that the generator may have limited is marked as a lower bound."""
    board = Board("test", [], {})
    board.add(0, "picows", {"generator_cpu": 0.9})
    assert "lower bound" in board.notes[0]


def test_one_value_has_no_spread() -> None:
    """A single round shows its value alone."""
    assert spread_text([1234.5], 1) == "1,234.5"
    assert spread_text([3, 1, 2], 0) == "2 [1-3]"


def test_axis_ticks_are_round_and_cover_the_data() -> None:
    """Ticks are multiples of 1, 2 or 5."""
    assert nice_ticks(0, 97) == [0, 20, 40, 60, 80, 100]
    assert nice_ticks(0, 0)[0] == 0


def test_gaps_in_a_curve_stay_gaps() -> None:
    """An interval without a login interrupts the line instead of touching zero."""
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 1.0), (4.0, 1.0)]
    drawn = chart("t", [Line("p50", points)], "s", "ms")
    assert drawn.count("M") == 2 and "nan" not in drawn


def test_an_empty_chart_is_left_out() -> None:
    """One point is no curve."""
    assert chart("t", [Line("p50", [(0.0, 1.0)])], "s", "ms") == ""
