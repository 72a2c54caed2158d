"""Counters and histograms for one thread, shown by prometheus_client.

The library's own are for many threads: each addition takes a lock and three calls, and a login
makes a dozen. Everything here is counted on the event loop, so plain numbers do; the library's
families, made only when somebody reads, keep the text what it was.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Counts(Collector):
    """How often things happened, by their labels; without labels just how often."""

    def __init__(self, name: str, sentence: str, *labels: str) -> None:
        self._name = name
        self._sentence = sentence
        self._names = labels
        self._counts: dict[Labels, int] = {}
        if not labels:
            self.know()

    def know(self, *labels: str) -> None:
        """Show a series before its first event: a rate over a missing series alarms nobody."""
        self._counts.setdefault(labels, 0)

    def add(self, *labels: str) -> None:
        """It happened once more."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    @property
    def total(self) -> int:
        """Under all labels."""
        return sum(self._counts.values())

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, label: str) -> bool:
        return (label,) in self._counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._sentence, labels=self._names)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Times(Collector):
    """How long things took, in buckets.

    Args:
        bounds: the upper bounds in seconds, rising; what takes longer has a bucket as well.
    """

    def __init__(self, name: str, sentence: str, bounds: Sequence[float], *labels: str) -> None:
        self._name = name
        self._sentence = sentence
        self._names = labels
        self._bounds = bounds
        self._bound_names = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._know(())

    def _know(self, labels: Labels) -> None:
        self._buckets[labels] = [0] * len(self._bound_names)
        self._sums[labels] = 0.0

    def observe(self, seconds: float, *labels: str) -> None:
        """It took that long."""
        if labels not in self._sums:
            self._know(labels)
        self._buckets[labels][bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._sentence, labels=self._names)
        for labels, buckets in self._buckets.items():
            up_to = zip(self._bound_names, accumulate(buckets), strict=True)
            family.add_metric(labels, list(up_to), self._sums[labels])
        yield family
