"""What is measured, all in one place, in the Prometheus text format.

Labels come from closed sets (states, outcomes, endings, routes of WeChat's API), never from
outside. `services.workers` merges the expositions of several processes: prometheus_client's own
multiprocess mode sums them up without the label ``process``, and reads gauges as 0.

The children of a labelled metric are cached, for finding one by `labels` takes twice as long as
counting (12.7 thousand instructions against 5.2).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# The library adds a second series to each counter, with its time of creation, which is no part of
# the contract.
disable_created_metrics()  # type: ignore[no-untyped-call]

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
    UPGRADES_REFUSED = (
        "scanpush_upgrades_refused_total",
        "Sockets refused, by error code or a proxy's mistake.",
    )
    STATUSES_WRITTEN = "scanpush_statuses_written_total", "Status documents written to sockets."
    PINGS_WRITTEN = "scanpush_pings_written_total", "Pings written to idle sockets."
    LONG_POLLS = "scanpush_long_polls", "Long polls waiting now."
    SCENES_BEGUN = "scanpush_scenes_begun_total", "Scenes begun, by kind."
    SCENES_ENDED = (
        "scanpush_scenes_ended_total",
        "Scenes that a move ended, by state; time ends others.",
    )
    LOGINS = "scanpush_logins_total", "Scenes authorized, by whether the person is new."
    REFRESHES = "scanpush_refreshes_total", "Refresh tokens presented, by what came of them."
    UNIONIDS_OWED = (
        "scanpush_unionids_owed",
        "People whose unionid WeChat is still to be asked for, in the store of all nodes.",
    )
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
    CODES_LEFT = (
        "scanpush_wechat_codes_left",
        "Codes that an account may still make on WeChat's day, as counted at its newest code.",
    )
    CODES_AHEAD = "scanpush_codes_ahead", "Codes made ahead that wait for a page now."
    CODES_AHEAD_MADE = "scanpush_codes_ahead_made_total", "Codes made ahead."
    CODES_AHEAD_USED = "scanpush_codes_ahead_used_total", "Codes made ahead that a page got."
    CODES_AHEAD_UNUSED = (
        "scanpush_codes_ahead_unused_total",
        "Codes made ahead that no page got: too old, or left when the server ended.",
    )
    SCREENS = "scanpush_screens", "Screens of the operator, by whether they are up."
    NOTICES = "scanpush_notices_total", "Login notices, by what WeChat reports of them."
    STORE_SECONDS = "scanpush_store_seconds", "Seconds of a check whether a store answers."
    STORE_UP = "scanpush_store_up", "Whether a store answered its newest check: 1 or 0."
    EVENTS = "scanpush_events_total", "Tries to tell events.url of an event, by type and outcome."
    EVENTS_PENDING = (
        "scanpush_events_pending",
        "Events that are not told yet, in the store of all nodes.",
    )
    EVENTS_DEAD = "scanpush_events_dead", "Dead letters, in the store of all nodes."
    EVENTS_OLDEST = (
        "scanpush_events_oldest_seconds",
        "Seconds since the oldest event that is not told yet.",
    )
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
        self._sockets_ended = self._counters(MetricName.SOCKETS_ENDED, "ending")
        self._upgrades_refused = self._counters(MetricName.UPGRADES_REFUSED, "code")
        self._statuses_written = self._counter(MetricName.STATUSES_WRITTEN)
        self._pings_written = self._counter(MetricName.PINGS_WRITTEN)
        self._long_polls = self._gauge(MetricName.LONG_POLLS)
        self._scenes_begun = self._counters(MetricName.SCENES_BEGUN, "kind")
        self._scenes_ended = self._counters(MetricName.SCENES_ENDED, "state")
        self._logins = self._counters(MetricName.LOGINS, "is_new")
        self._refreshes = self._counters(MetricName.REFRESHES, "outcome")
        self._unionids_owed = self._gauge(MetricName.UNIONIDS_OWED)
        self._callbacks = self._counters(MetricName.CALLBACKS, "outcome")
        self._callback_seconds = self._histogram(MetricName.CALLBACK_SECONDS)
        self._push_seconds = self._histogram(MetricName.PUSH_SECONDS)
        self._wechat_calls = self._counters(MetricName.WECHAT_CALLS, "endpoint", "outcome")
        self._wechat_call_seconds = cache(
            self._histogram(MetricName.WECHAT_CALL_SECONDS, "endpoint").labels
        )
        self._errcodes = self._counters(MetricName.WECHAT_ERRCODES, "errcode")
        self._credential = self._gauge(MetricName.CREDENTIAL_SECONDS, "account")
        self._codes_left = self._gauge(MetricName.CODES_LEFT, "account")
        self._codes_ahead = self._gauge(MetricName.CODES_AHEAD, "account")
        self._codes_made = self._counters(MetricName.CODES_AHEAD_MADE, "account")
        self._codes_used = self._counters(MetricName.CODES_AHEAD_USED, "account")
        self._codes_unused = self._counters(MetricName.CODES_AHEAD_UNUSED, "account")
        self._screens = self._gauge(MetricName.SCREENS, "state")
        self._notices = self._counters(MetricName.NOTICES, "result")
        self._store_seconds = self._histogram(MetricName.STORE_SECONDS, "store")
        self._store_up = self._gauge(MetricName.STORE_UP, "store")
        self._events = self._counters(MetricName.EVENTS, "type", "outcome")
        self._events_pending = self._gauge(MetricName.EVENTS_PENDING)
        self._events_dead = self._gauge(MetricName.EVENTS_DEAD)
        self._events_oldest = self._gauge(MetricName.EVENTS_OLDEST)
        self._rate_limited = self._counters(MetricName.RATE_LIMITED, "action")
        self.recent_callbacks: deque[float] = deque(maxlen=RECENT)
        self.recent_pushes: deque[float] = deque(maxlen=RECENT)
        self._open_sockets = 0
        self._sockets.set_function(lambda: self._open_sockets)
        self._known_errcodes: set[str] = set()
        # Series that exist from the start: an alert on the rate of a missing one never fires.
        for ending in endings:
            self._sockets_ended(ending)
        for is_new in ("true", "false"):
            self._logins(is_new)
        for outcome in ("rotated", "repeated", "reused", "refused"):
            self._refreshes(outcome)

    def exposition(self) -> tuple[bytes, str]:
        """The document of ``/metrics`` and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    # Sockets and polls.

    def socket_opened(self) -> None:
        self._sockets_opened.inc()
        self._open_sockets += 1

    def socket_ended(self, ending: str) -> None:
        """Closed, or asked to close. Follows one `socket_opened`."""
        self._sockets_ended(ending).inc()
        self._open_sockets -= 1

    def upgrade_refused(self, code: str) -> None:
        """`code` is the error code of the answer."""
        self._upgrades_refused(code).inc()

    def status_written(self) -> None:
        """A status document was written to a socket."""
        self._statuses_written.inc()

    def ping_written(self) -> None:
        self._pings_written.inc()

    def count_long_polls(self, waiting: Callable[[], int]) -> None:
        """Call `waiting` for the number of long polls whenever the metrics are read."""
        self._long_polls.set_function(waiting)

    # Scenes.

    def scene_begun(self, kind: str) -> None:
        self._scenes_begun(kind).inc()

    def scene_ended(self, state: str) -> None:
        """Count once, where the move to the final state was decided."""
        self._scenes_ended(state).inc()

    def login(self, is_new: bool) -> None:
        self._logins("true" if is_new else "false").inc()

    def refresh(self, outcome: str) -> None:
        """`outcome` is one of `sessions.states.Refreshed`."""
        self._refreshes(outcome).inc()

    def unionids_owed(self, people: int) -> None:
        """So many were counted just now."""
        self._unionids_owed.set(people)

    def login_pushed(self, authorized_at: float) -> None:
        """The frame with a login went out, to a socket that was waiting since before."""
        seconds = max(0.0, self._now() - authorized_at)
        self._push_seconds.observe(seconds)
        self.recent_pushes.append(seconds)

    # WeChat.

    def callback(self, outcome: str, seconds: float) -> None:
        self._callbacks(outcome).inc()
        self._callback_seconds.observe(seconds)
        self.recent_callbacks.append(seconds)

    def wechat_call(self, endpoint: str, outcome: str, seconds: float) -> None:
        """`endpoint` is the API's path without a query; `outcome` is ok or our error code."""
        self._wechat_calls(endpoint, outcome).inc()
        self._wechat_call_seconds(endpoint).observe(seconds)

    def errcode(self, errcode: int) -> None:
        label = str(errcode)
        if len(self._known_errcodes) < MOST_ERRCODES:
            self._known_errcodes.add(label)
        self._errcodes(label if label in self._known_errcodes else "other").inc()

    def credential_ends(self, account: str, at: float) -> None:
        """The account's access_token ends `at` that unix time; the metric counts down by itself."""
        self._credential.labels(account).set_function(lambda: max(0.0, at - self._now()))

    def count_codes_left(self, account: str, left: Callable[[], int]) -> None:
        """Call `left` for the account's codes of the day whenever the metrics are read."""
        self._codes_left.labels(account).set_function(left)

    def count_codes_ahead(self, account: str, ready: Callable[[], int]) -> None:
        """Call `ready` for the number of the account's codes whenever the metrics are read."""
        self._codes_ahead.labels(account).set_function(ready)
        for codes in (self._codes_made, self._codes_used, self._codes_unused):
            codes(account)

    def code_ahead_made(self, account: str) -> None:
        self._codes_made(account).inc()

    def code_ahead_used(self, account: str) -> None:
        self._codes_used(account).inc()

    def codes_ahead_unused(self, account: str, codes: int) -> None:
        """So many codes made ahead are dropped. Each that was made ends as used or unused."""
        self._codes_unused(account).inc(codes)

    # Screens.

    def screens(self, *, up: int, down: int) -> None:
        """So many were seen lately, and so many were not, by any node."""
        for state, count in (("up", up), ("down", down)):
            self._screens.labels(state).set(count)

    def notice(self, result: str) -> None:
        """WeChat's later word on a login notice: delivered or refused."""
        self._notices(result).inc()

    # Stores.

    def store_checked(self, store: str, seconds: float, *, up: bool) -> None:
        """`store` is ``scenes``, ``users`` or ``broker``; it answered, or failed, after so long."""
        self._store_seconds.labels(store).observe(seconds)
        self._store_up.labels(store).set(up)

    # Events.

    def event(self, type: str, outcome: str) -> None:
        """One try to tell of an event of that type: ``told``, ``failed`` or, the last one,
        ``dead``."""
        self._events(type, outcome).inc()

    def events_left(self, pending: int, dead: int, oldest_seconds: float) -> None:
        """So many were counted just now, on the node that tells; all are 0 on the others."""
        self._events_pending.set(pending)
        self._events_dead.set(dead)
        self._events_oldest.set(oldest_seconds)

    # Limits.

    def rate_limited(self, action: str) -> None:
        self._rate_limited(action).inc()

    def _counter(self, name: MetricName) -> Counter:
        return Counter(name, name.help, registry=self._registry)

    def _counters(self, name: MetricName, *labels: str) -> Callable[..., Counter]:
        return cache(Counter(name, name.help, labels, registry=self._registry).labels)

    def _gauge(self, name: MetricName, *labels: str) -> Gauge:
        return Gauge(name, name.help, labels, registry=self._registry)

    def _histogram(self, name: MetricName, *labels: str) -> Histogram:
        return Histogram(name, name.help, labels, registry=self._registry, buckets=FAST_SECONDS)
