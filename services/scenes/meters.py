"""The last hour by the minute, of this node and of all: what the operator's page draws.

`Meters` stands on no login's path. Every few seconds it reads what the parts count for themselves;
what the counts grew by goes into the present minute. `Reports` writes that down for the other
nodes, and reads theirs. A report outlives its node by an hour, so that the sum over all nodes
survives the restart of any of them; that of a server without other nodes, too, which writes it for
its next start alone.
"""

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from services import VERSION
from services.clock import Clock
from services.errors import StoreUnavailable
from services.ids import SHORT_DIGITS
from services.key_values import KeyValues
from services.scenes.history import BY_TIME, KEPT_SECONDS, MINUTES, History, PerMinute
from services.wechat.accounts import Accounts
from services.wechat.errcodes import look_up

log = logging.getLogger("scanpush.operator")

REPORT_SECONDS = 5.0
GONE_SECONDS = 3 * REPORT_SECONDS
"""A node that has not reported for so long is gone."""

ALONE_SECONDS = 60.0
"""Between two reports of a server without other nodes."""

MOST_STARTS = 20
"""So many earlier starts of such a server are told of, however often it was restarted."""

ASKED_SECONDS = 60.0
"""How long the other nodes tell what they know of a scene that the operator has asked for."""

MOST_ASKED = 20

INDEX = "operator:nodes"
ASKED = "operator:asked"

REFUSALS = ("signature", "decryption", "downgrade", "stale", "body", "query")
"""Outcomes of callbacks that were not WeChat's, or that no setting here fits; a test holds them to
`services.wechat.callback`. The first is what a wrong Token makes of every callback."""

FAILED = "failed"
"""A callback that the stores did not let finish: WeChat was answered 500."""

SLOWEST = "store_ms"
"""Of this series the minute of all nodes is that of the slowest; the others are added up."""

SERIES = (
    *("shown", "scanned", "authorized", "consumed", "failed", "denied"),
    *("callbacks", "refused", "errors", "sockets", SLOWEST),
)


class Meters:
    """This node's last hour.

    Args:
        stores: whether each store answers, and how fast (`backends.StoreWatch.seen`).
        slowest: the slowest check of each minute, in milliseconds.
        figures: this node's ``sockets``, ``waiting_polls`` and ``draining`` now.
        latency: the newest percentiles, by name.
    """

    def __init__(
        self,
        history: History,
        accounts: Accounts,
        clock: Clock,
        stores: Callable[[], list[dict[str, Any]]],
        slowest: Callable[[float], list[float]],
        figures: Callable[[], Mapping[str, Any]],
        latency: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._history = history
        self._accounts = accounts
        self._clock = clock
        self._stores = stores
        self._slowest = slowest
        self._figures = figures
        self._latency = latency
        self._began = clock.monotonic()
        self._counted: dict[tuple[str, str], int] = {}
        self._callbacks: defaultdict[tuple[str, str], PerMinute] = defaultdict(PerMinute)
        self._sockets = PerMinute()

    def sample(self) -> None:
        """Note what came since the last call: at most some seconds may lie between two."""
        now = self._clock.now()
        self._sockets.raise_to(now, self._figures()["sockets"])
        for account in self._accounts:
            for outcome, last in account.watch.callbacks.items():
                key = (account.name, outcome)
                if grown := last.times - self._counted.get(key, 0):
                    self._callbacks[key].add(now, grown)
                    self._counted[key] = last.times

    def report(self, wanted: Collection[str] = ()) -> dict[str, Any]:
        """What this node tells the others and its page.

        Args:
            wanted: short ids of scenes whose events are told, besides those of the logins that
                failed here.
        """
        self.sample()
        now = self._clock.now()
        failures = [failure._asdict() for failure in self._history.failures()]
        wanted = {*wanted, *(failure["scene_str"][:SHORT_DIGITS] for failure in failures)}
        return {
            "told_at": now,
            "minute": int(now // 60),
            "figures": {
                **self._figures(),
                "uptime_seconds": int(self._clock.monotonic() - self._began),
                "version": VERSION,
            },
            "series": self._series(now),
            "scenes": {state.value: n for state, n in self._history.states().items()},
            "callbacks": self._callbacks_of_the_hour(now),
            "errors": self._errors(),
            "credentials": {
                account.name: account.watch.credential_expires_in for account in self._accounts
            },
            "latency": self._latency(),
            "stores": self._stores(),
            "failures": failures,
            "stories": self._history.stories(wanted),
        }

    def _series(self, now: float) -> dict[str, Sequence[float]]:
        refused, callbacks = [0] * MINUTES, [0] * MINUTES
        for (_, outcome), minutes in self._callbacks.items():
            counts = minutes.counts(now)
            callbacks = [a + b for a, b in zip(callbacks, counts, strict=True)]
            if outcome in REFUSALS or outcome == FAILED:
                refused = [a + b for a, b in zip(refused, counts, strict=True)]
        errors = PerMinute()
        for at in sorted(at for account in self._accounts for at, _ in account.watch.refusals()):
            errors.add(at)
        return {
            **{name: counts.counts(now) for name, counts in self._history.funnel.items()},
            **{name: counts.counts(now) for name, counts in self._history.unlucky.items()},
            "callbacks": callbacks,
            "refused": refused,
            "errors": errors.counts(now),
            "sockets": self._sockets.counts(now),
            SLOWEST: self._slowest(now),
        }

    def _callbacks_of_the_hour(self, now: float) -> list[dict[str, Any]]:
        return [
            {"account": name, "outcome": outcome, "count": count, "last_at": last.at}
            for (name, outcome), minutes in self._callbacks.items()
            if (count := sum(minutes.counts(now)))
            and (last := self._accounts.named(name).watch.callbacks.get(outcome)) is not None
        ]

    def _errors(self) -> list[dict[str, Any]]:
        counted: dict[tuple[str, int], dict[str, Any]] = {}
        for account in self._accounts:
            for at, errcode in account.watch.refusals():
                entry = counted.setdefault(
                    (account.name, errcode),
                    {"account": account.name, "errcode": errcode, "count": 0, "last_at": at},
                )
                entry["count"] += 1
                entry["last_at"] = max(entry["last_at"], at)
        return [*counted.values()]


class Reports:
    """The reports of all nodes of the last hour. This node's own is always fresh.

    Two nodes that begin at once may lose one's name from the index, which is back seconds later.

    Args:
        own: makes this node's report; it is told which scenes are asked for.
        look: notes what time has done, before a report; raises `StoreUnavailable`.
        shared: whether there can be other nodes. Else all other reports are of earlier starts.
    """

    def __init__(
        self,
        node: str,
        store: KeyValues,
        clock: Clock,
        own: Callable[[Collection[str]], dict[str, Any]],
        look: Callable[[], Awaitable[None]],
        *,
        shared: bool,
    ) -> None:
        self.node = node
        self._store = store
        self._clock = clock
        self._own = own
        self._look = look
        self._shared = shared
        self._wanted: Collection[str] = ()
        """The scenes that this node's last report tells of."""
        self._write_at = clock.monotonic() + (0.0 if shared else ALONE_SECONDS)

    async def all(self) -> list[dict[str, Any]]:
        """This node's first; it alone while the store is unavailable."""
        others: list[dict[str, Any]] = []
        try:
            others = await self._others()
        except StoreUnavailable as error:
            log.info("the reports of the other nodes are not known now: %s", error)
        return [{"node_id": self.node, **self._own(_failed_in(others))}, *others]

    async def write_forever(self) -> None:
        """Keep the minutes, and write this node's report where others may read it."""
        try:
            while True:
                try:
                    await self.write()
                except StoreUnavailable as error:
                    log.info("the other nodes hear no figures of this one: %s", error)
                await asyncio.sleep(REPORT_SECONDS)
        except asyncio.CancelledError:
            # The whole hour, up to its end. A node that says so is not missed; one whose reports
            # end by a mistake runs on, and says nothing.
            with contextlib.suppress(StoreUnavailable):
                await self._tell({**self._own(self._wanted), "ended": True}, await self._others())
            raise

    async def write(self) -> None:
        """Write this node's report once. Raises `StoreUnavailable`.

        Where there are no others it is made all the same, for what is counted is sampled by that,
        but written once a minute.
        """
        try:
            await self._look()
            others, asked = await asyncio.gather(self._others(), self._asked())
        except StoreUnavailable:
            self._own(self._wanted)
            raise
        self._wanted = _failed_in(others) | asked.keys()
        report = self._own(self._wanted)
        if self._clock.monotonic() >= self._write_at:
            await self._tell(report, others)

    async def _tell(self, report: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
        index = {other["node_id"]: other["told_at"] for other in others}
        await self._store.replace(f"{INDEX}:{self.node}", json.dumps(report), KEPT_SECONDS)
        index[self.node] = report["told_at"]
        await self._store.replace(INDEX, json.dumps(index), KEPT_SECONDS)
        self._write_at = self._clock.monotonic() + (0.0 if self._shared else ALONE_SECONDS)

    async def ask(self, short: str) -> list[dict[str, Any]]:
        """The other nodes' reports, which will tell of that scene from the next ones on.

        Raises `StoreUnavailable`.
        """
        asked = await self._asked()
        if self._shared and short not in asked:
            asked = {**dict([*asked.items()][1 - MOST_ASKED :]), short: self._clock.now()}
            await self._store.replace(ASKED, json.dumps(asked), ASKED_SECONDS)
        return await self._others()

    async def _asked(self) -> dict[str, float]:
        """Short ids, and when each was asked for."""
        kept: dict[str, float] = json.loads(await self._store.recall(ASKED) or "{}")
        since = self._clock.now() - ASKED_SECONDS
        return {short: at for short, at in kept.items() if at >= since}

    async def _others(self) -> list[dict[str, Any]]:
        index: dict[str, float] = json.loads(await self._store.recall(INDEX) or "{}")
        since = self._clock.now() - KEPT_SECONDS
        newest = sorted((at, name) for name, at in index.items() if at >= since)
        if not self._shared:
            newest = newest[-MOST_STARTS:]
        names = sorted(name for _, name in newest if name != self.node)
        kept = await asyncio.gather(*(self._store.recall(f"{INDEX}:{name}") for name in names))
        return [
            {"node_id": name, "ended": not self._shared, **json.loads(report)}
            for name, report in zip(names, kept, strict=True)
            if report is not None
        ]


def _failed_in(reports: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        failure["scene_str"][:SHORT_DIGITS] for report in reports for failure in report["failures"]
    }


# Summed over reports: pure functions, of which the page's document is made.


def nodes_of(reports: Iterable[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    """The nodes that have reported lately, and have not ended, with their figures."""
    return [
        {"node_id": report["node_id"], **report["figures"], "told_at": report["told_at"]}
        for report in reports
        if now - report["told_at"] <= GONE_SECONDS and not has_ended(report)
    ]


def has_ended(report: Mapping[str, Any]) -> bool:
    """Whether that node was ended, and did not just fall silent."""
    return bool(report.get("ended"))


def hour_of(reports: Iterable[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """The minutes of all reports together: ``from``, the unix time at which the oldest begins, and
    a list of sixty for each of `SERIES`, of which the last minute has not ended yet."""
    newest = int(now // 60)
    series: dict[str, list[float]] = {name: [0] * MINUTES for name in SERIES}
    for report in reports:
        passed = newest - int(report["minute"])
        for name, total in series.items():
            for at, value in enumerate(report["series"].get(name, ()), -passed):
                if 0 <= at < MINUTES:
                    total[at] = max(total[at], value) if name == SLOWEST else total[at] + value
    return {"from": 60 * (newest - MINUTES + 1), "series": series}


def callbacks_of(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of WeChat's callbacks in this hour; refused ones first, then by number."""

    def order(entry: Mapping[str, Any]) -> tuple[int, int]:
        ranks = (*REFUSALS, FAILED)
        outcome = entry["outcome"]
        return ranks.index(outcome) if outcome in ranks else len(ranks), -entry["count"]

    found = _together(reports, "callbacks", "account", "outcome")
    for entry in found:
        entry["refused"] = entry["outcome"] in REFUSALS or entry["outcome"] == FAILED
    return sorted(found, key=order)


def errors_of(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """WeChat's errcodes of this hour, the newest first, with what each means."""
    found = _together(reports, "errors", "account", "errcode")
    for entry in found:
        known = look_up(entry["errcode"])
        entry.update(meaning=known.meaning, action=known.action.value, alarming=known.alarming)
    return sorted(found, key=lambda entry: -entry["last_at"])


def _together(reports: Iterable[Mapping[str, Any]], name: str, *keys: str) -> list[dict[str, Any]]:
    """Entries of the same keys as one, with all their ``count`` and the newest ``last_at``."""
    since = max((report["told_at"] for report in reports), default=0) - KEPT_SECONDS
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for report in reports:
        for entry in report[name]:
            key = tuple(entry[part] for part in keys)
            known = found.get(key)
            if entry["last_at"] < since:
                continue
            if known is None:
                found[key] = dict(entry)
            else:
                known["count"] += entry["count"]
                known["last_at"] = max(known["last_at"], entry["last_at"])
    return [*found.values()]


def timeline_of(reports: Iterable[Mapping[str, Any]], scene_str: str) -> list[dict[str, Any]]:
    """What all nodes tell of one scene, oldest first, each event with the node that saw it."""
    events = [
        {"at": at, "event": event, "note": note, "node": report["node_id"]}
        for report in reports
        for at, event, note in report["stories"].get(scene_str, ())
    ]
    events.sort(key=lambda event: event["at"])
    # Several nodes may have seen that time ended it.
    by_time = [event for event in events if event["note"] == BY_TIME]
    return [event for event in events if event not in by_time[1:]]


def failures_of(reports: Collection[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """The newest logins that failed, on any node, each with its timeline."""
    failed = [{**entry, "node": r["node_id"]} for r in reports for entry in r["failures"]]
    newest = {entry["scene_str"]: entry for entry in sorted(failed, key=lambda entry: entry["at"])}
    return [
        {**entry, "timeline": timeline_of(reports, scene_str)}
        for scene_str, entry in [*reversed(newest.items())][:most]
    ]
