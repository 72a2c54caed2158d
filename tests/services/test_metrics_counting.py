"""services.counting: the text is what the library's own counters would say."""

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from services.metrics import Counts, Times

disable_created_metrics()  # A second series for each, which scanpush does not publish.

BOUNDS = (0.0005, 0.25, 1, 2.5)
SECONDS = (0, 0.0005, 0.0006, 0.25, 0.7, 1, 2.4999, 2.5, 2.6, 1000)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b")])
def test_counts_are_shown_as_a_counter(names: tuple[str, ...]) -> None:
    """Before the first event and after some."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counts("n_total", "N.", *names)
    library = Counter("n_total", "N.", names, registry=theirs)
    ours.register(mine)
    assert generate_latest(ours) == generate_latest(theirs)
    for values in (("x", "y"), ('"\\\n', "é"), ("x", "y")):
        labels = values[: len(names)]
        mine.add(*labels)
        (library.labels(*labels) if labels else library).inc()
    assert generate_latest(ours) == generate_latest(theirs)


@pytest.mark.parametrize("names", [(), ("endpoint",)])
def test_times_are_shown_as_a_histogram(names: tuple[str, ...]) -> None:
    """Bounds belong to the bucket below them, as the library has it."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Times("t_seconds", "T.", BOUNDS, *names)
    library = Histogram("t_seconds", "T.", names, registry=theirs, buckets=BOUNDS)
    ours.register(mine)
    assert generate_latest(ours) == generate_latest(theirs)
    labels = names and ("/cgi-bin",)
    for seconds in SECONDS:
        mine.observe(seconds, *labels)
        (library.labels(*labels) if labels else library).observe(seconds)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_known_series_is_shown_before_its_first_event() -> None:
    """And knowing it again forgets nothing."""
    counts = Counts("n_total", "N.", "ending")
    counts.know("gone")
    counts.add("gone")
    counts.know("gone")
    assert counts.total == 1 and "gone" in counts and len(counts) == 1
