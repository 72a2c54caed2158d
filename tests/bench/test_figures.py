"""Percentiles, tables and charts."""

import math

from bench.kit.charts import Line, Mark, distribution, log_ticks, nice_ticks, over_time
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


def test_ticks_of_a_logarithmic_axis_cover_the_data() -> None:
    """1, 2 and 5 times powers of ten, from the last below the least to the first above the most."""
    assert log_ticks(0.3, 12) == [0.2, 0.5, 1, 2, 5, 10, 20]
    assert log_ticks(1, 5) == [1, 2, 5]


def curve(*values: float) -> Line:
    return Line("p50", [(float(second), value) for second, value in enumerate(values)])


def test_gaps_in_a_curve_stay_gaps() -> None:
    """An interval without a login interrupts the line instead of touching zero."""
    drawn = over_time("t", [curve(1, 2, math.nan, 1, 4, 5)], "ms")
    # Each chart is drawn for wide and for narrow screens.
    assert drawn.count("h0") == 2 * 2 and "nan" not in drawn


def test_a_chart_of_too_few_points_is_left_out() -> None:
    """What the table says as well is not drawn."""
    assert over_time("t", [curve(1, 2, math.nan, 3, 4)], "ms") == ""
    assert distribution("t", [(1.0, 2.0, 19)], []) == ""


def test_latencies_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    """One bad second does not press all others onto the axis; and the axis says what it is."""
    assert "ms, logarithmic" in over_time("t", [curve(1, 2, 1, 2, 900)], "ms")
    assert "logarithmic" not in over_time("t", [curve(1, 2, 1, 2, 9)], "ms")


def test_axes_have_units() -> None:
    """Seconds for short runs, minutes and hours for longer ones."""
    for length, unit in ((10, "seconds"), (1_000, "minutes"), (40_000, "hours")):
        points = [(length * n / 9, 1.0) for n in range(10)]
        assert f"{unit} since the start" in over_time("t", [Line("held", points)], "pages")


def test_marks_do_not_run_into_each_other() -> None:
    """The line of each is drawn, a name only where there is room."""
    marks = [Mark(1.0, "to 1,000"), Mark(1.01, "to 2,000"), Mark(4.0, "<b>")]
    drawn = over_time("t", [curve(*range(9))], "pages", marks)
    assert drawn.count('class="mark"') == 2 * 3
    assert "to 1,000" in drawn and "to 2,000" not in drawn and "&lt;b&gt;" in drawn
