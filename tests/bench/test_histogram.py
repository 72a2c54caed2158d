"""Latencies by value, against HdrHistogram's own Python library."""

import random

import pytest

from bench.kit.figures import summary
from bench.kit.histogram import Histogram, NotAHistogram

RECORDED = (
    *((0, 1), (1, 2), (999, 3), (2047, 1), (2048, 1), (5000, 40)),
    *((123_456, 7), (59_000_000, 2), (3_600_000_000, 1)),
)
"""Microseconds, and how often."""
ENCODED = "HISTFAAAADd4nJNpmSzMwMAgxgABzFCaEURcm7yEwf4DRICJ5SQ/21oBJqaDwgGnvfh+9zKyXI1jAgD+OAtL"
"""What hdrhistogram 0.10.8 (PyPI) makes of them, for 1 us to 1 h at three digits."""


def recorded() -> Histogram:
    return Histogram(us / 1e6 for us, n in RECORDED for _ in range(n))


def samples(seed: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.lognormvariate(-5, 1.5) for _ in range(2000)]


def test_writes_what_the_library_writes() -> None:
    """The compressed V2 form, byte for byte."""
    assert recorded().encoded() == ENCODED


def test_reads_what_the_library_writes() -> None:
    """Every count comes back."""
    assert Histogram.decoded(ENCODED) == recorded()


def test_percentiles_are_right_to_three_digits() -> None:
    """Against the nearest rank of the samples themselves."""
    values = samples(1)
    exact = summary([value * 1e3 for value in values])
    for name, value in Histogram(values).summary().items():
        assert value == pytest.approx(exact[name], rel=1e-3), name


def test_added_histograms_are_one_of_all_samples() -> None:
    """As if one process had seen everything."""
    assert Histogram(samples(1)) + Histogram(samples(2)) == Histogram(samples(1) + samples(2))


def test_no_samples_have_no_percentiles() -> None:
    """Nothing measured is not zero milliseconds, also after a file."""
    assert Histogram.decoded(Histogram().encoded()).summary() == {"n": 0}
    assert Histogram().quantile(0.5) != Histogram().quantile(0.5)


def test_the_distribution_ends_with_everything() -> None:
    """The library's last lines: the greatest value, mean, deviation and total."""
    *_, last, mean, highest, buckets = recorded().distribution().splitlines()
    assert last == " 3600809.983 1.000000000000         58"
    assert mean == "#[Mean    =    64117.768, StdDeviation   =   468431.000]"
    assert highest == "#[Max     =  3600809.983, Total count    =           58]"
    assert buckets == "#[Buckets =           22, SubBuckets     =         2048]"


@pytest.mark.parametrize("text", ["", "no base64!", "HISTFAAA", ENCODED[:-24], "QUJD" * 20])
def test_refuses_what_is_no_histogram_of_the_kit(text: str) -> None:
    """One error for all of it, whatever it is that does not fit."""
    with pytest.raises(NotAHistogram):
        Histogram.decoded(text)


def test_bars_count_every_duration_once() -> None:
    """Ten to a power of ten, without a gap, between bounds that hold what they count."""
    bars = Histogram([0.0, 0.0011, 0.0012, 0.00126, 0.5]).bars()
    assert sum(count for _, _, count in bars) == 5
    assert all(one[1] == pytest.approx(other[0]) for one, other in zip(bars, bars[1:]))
    assert next(count for low, high, count in bars if low <= 1.15 < high) == 2
    assert Histogram().bars() == []
