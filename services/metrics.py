"""What is measured, all in one place, in the Prometheus text format.

All of it is counted on the event loop's thread, so plain numbers do: `Counts` and `Times` are
collectors of prometheus_client, whose own counters are for many threads and take a lock and three
calls for each addition. Labels come from closed sets (states, outcomes, endings, routes of WeChat's
API), never from outside. `services.workers` merges the expositions of several processes.
"""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    generate_latest,
)
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
        """Show a series before its first event."""
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


MOST_ERRCODES = 200
"""WeChat's errcodes come from outside; beyond this many different ones they count as "other"."""

RECENT = 1024
"""Durations kept as they are, the newest, for exact percentiles."""

FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""From half a millisecond to the 5 s after which WeChat gives up."""


class MetricName(StrEnum):
    """The name of each metric, and the sentence Prometheus shows with it."""

    help: str

    def __new__(cls, name: str, sentence: str) -> "MetricName":
        member = str.__new__(cls, name)
        member._value_ = name
        member.help = sentence
        return member

    SOCKETS = "scanpush_sockets", "Sockets held open now."
    SOCKETS_OPENED = "scanpush_sockets_opened_total", "Sockets opened."
    SOCKETS_ENDED = "scanpush_sockets_ended_total", "Sockets that ended, by how."
    UPGRADES_REFUSED = "scanpush_upgrades_refused_total", "Sockets refused, by error code."
    STATUSES_WRITTEN = "scanpush_statuses_written_total", "Status documents written to sockets."
    PINGS_WRITTEN = "scanpush_pings_written_total", "Pings written to idle sockets."
    LONG_POLLS = "scanpush_long_polls", "Long polls waiting now."
    SCENES_BEGUN = "scanpush_scenes_begun_total", "Scenes begun, by kind."
    SCENES_ENDED = (
        "scanpush_scenes_ended_total",
        "Scenes that a move ended, by state; time ends others.",
    )
    LOGINS = "scanpush_logins_total", "Scenes authorized, by whether the person is new."
    CALLBACKS = "scanpush_callbacks_total", "Requests to the WeChat callback, by outcome."
    CALLBACK_SECONDS = "scanpush_callback_seconds", "Seconds from a callback to its answer."
    PUSH_SECONDS = "scanpush_push_seconds", "Seconds from a login in the store to its frame."
    WECHAT_CALLS = "scanpush_wechat_calls_total", "Calls to WeChat, by endpoint and outcome."
    WECHAT_CALL_SECONDS = "scanpush_wechat_call_seconds", "Seconds of a call to WeChat."
    WECHAT_ERRCODES = "scanpush_wechat_errcodes_total", "Refusals by WeChat, by errcode."
    CREDENTIAL_SECONDS = (
        "scanpush_wechat_credential_remaining_seconds",
        "Seconds until an account's access_token ends.",
    )
    NOTICES = "scanpush_notices_total", "Login notices, by what WeChat reports of them."
    RATE_LIMITED = "scanpush_rate_limited_total", "Requests over a limit, by action."


class Metrics:
    """One registry of its own, so that two servers in one process (tests) do not share it.

    Plain calls that neither raise nor wait, each made exactly once for the thing that happened.

    Args:
        now: unix time, for what remains of a credential.
        endings: how sockets can end; these series exist from the start.
    """

    def __init__(self, now: Callable[[], float] = time.time, endings: Iterable[str] = ()) -> None:
        self._now = now
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="scanpush", registry=self._registry)
        self._sockets = self._gauge(MetricName.SOCKETS)
        self._sockets_opened = self._counter(MetricName.SOCKETS_OPENED)
        self._sockets_ended = self._counter(MetricName.SOCKETS_ENDED, "ending")
        self._upgrades_refused = self._counter(MetricName.UPGRADES_REFUSED, "code")
        self._statuses_written = self._counter(MetricName.STATUSES_WRITTEN)
        self._pings_written = self._counter(MetricName.PINGS_WRITTEN)
        self._long_polls = self._gauge(MetricName.LONG_POLLS)
        self._scenes_begun = self._counter(MetricName.SCENES_BEGUN, "kind")
        self._scenes_ended = self._counter(MetricName.SCENES_ENDED, "state")
        self._logins = self._counter(MetricName.LOGINS, "is_new")
        self._callbacks = self._counter(MetricName.CALLBACKS, "outcome")
        self._callback_seconds = self._histogram(MetricName.CALLBACK_SECONDS)
        self._push_seconds = self._histogram(MetricName.PUSH_SECONDS)
        self._wechat_calls = self._counter(MetricName.WECHAT_CALLS, "endpoint", "outcome")
        self._wechat_call_seconds = self._histogram(MetricName.WECHAT_CALL_SECONDS, "endpoint")
        self._errcodes = self._counter(MetricName.WECHAT_ERRCODES, "errcode")
        self._credential = self._gauge(MetricName.CREDENTIAL_SECONDS, "account")
        self._notices = self._counter(MetricName.NOTICES, "result")
        self._rate_limited = self._counter(MetricName.RATE_LIMITED, "action")
        self.recent_callbacks: deque[float] = deque(maxlen=RECENT)
        self.recent_pushes: deque[float] = deque(maxlen=RECENT)
        self._sockets.set_function(lambda: self._sockets_opened.total - self._sockets_ended.total)
        # Series that exist from the start: an alert on the rate of a missing one never fires.
        for ending in endings:
            self._sockets_ended.know(ending)
        for is_new in ("true", "false"):
            self._logins.know(is_new)

    def exposition(self) -> tuple[bytes, str]:
        """The document of ``/metrics`` and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    # Sockets and polls.

    def socket_opened(self) -> None:
        self._sockets_opened.add()

    def socket_ended(self, ending: str) -> None:
        """Closed, or asked to close. Follows one `socket_opened`."""
        self._sockets_ended.add(ending)

    def upgrade_refused(self, code: str) -> None:
        """`code` is the error code of the answer."""
        self._upgrades_refused.add(code)

    def status_written(self) -> None:
        """A status document was written to a socket."""
        self._statuses_written.add()

    def ping_written(self) -> None:
        self._pings_written.add()

    def count_long_polls(self, waiting: Callable[[], int]) -> None:
        """Call `waiting` for the number of long polls whenever the metrics are read."""
        self._long_polls.set_function(waiting)

    # Scenes.

    def scene_begun(self, kind: str) -> None:
        self._scenes_begun.add(kind)

    def scene_ended(self, state: str) -> None:
        """Count once, where the move to the final state was decided."""
        self._scenes_ended.add(state)

    def login(self, is_new: bool) -> None:
        self._logins.add("true" if is_new else "false")

    def login_pushed(self, authorized_at: float) -> None:
        """The frame with a login went out, to a socket that was waiting since before."""
        seconds = max(0.0, self._now() - authorized_at)
        self._push_seconds.observe(seconds)
        self.recent_pushes.append(seconds)

    # WeChat.

    def callback(self, outcome: str, seconds: float) -> None:
        self._callbacks.add(outcome)
        self._callback_seconds.observe(seconds)
        self.recent_callbacks.append(seconds)

    def wechat_call(self, endpoint: str, outcome: str, seconds: float) -> None:
        """`endpoint` is the API's path without a query; `outcome` is ok or our error code."""
        self._wechat_calls.add(endpoint, outcome)
        self._wechat_call_seconds.observe(seconds, endpoint)

    def errcode(self, errcode: int) -> None:
        label = str(errcode)
        known = label in self._errcodes or len(self._errcodes) < MOST_ERRCODES
        self._errcodes.add(label if known else "other")

    def credential_ends(self, account: str, at: float) -> None:
        """The account's access_token ends `at` that unix time; the metric counts down by itself."""
        self._credential.labels(account).set_function(lambda: max(0.0, at - self._now()))

    def notice(self, result: str) -> None:
        """WeChat's later word on a login notice: delivered or refused."""
        self._notices.add(result)

    # Limits.

    def rate_limited(self, action: str) -> None:
        self._rate_limited.add(action)

    def _counter(self, name: MetricName, *labels: str) -> Counts:
        counts = Counts(name, name.help, *labels)
        self._registry.register(counts)
        return counts

    def _gauge(self, name: MetricName, *labels: str) -> Gauge:
        return Gauge(name, name.help, labels, registry=self._registry)

    def _histogram(self, name: MetricName, *labels: str) -> Times:
        times = Times(name, name.help, FAST_SECONDS, *labels)
        self._registry.register(times)
        return times
