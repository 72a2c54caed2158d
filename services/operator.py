"""What the operator's page shows: this node's figures, the other nodes, the history of one scene.
And what the operator does about people: keep them out, let them in, end their sessions.

Each node answers for itself: for the sockets it holds, and for the scenes whose moves it made.
Nodes that share stores also know of one another (`Nodes`), and the sockets shown are those of all.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services import VERSION
from services.clock import Clock
from services.errors import StoreUnavailable
from services.events.entries import entry
from services.events.service import EventService
from services.ids import (
    SHORT_DIGITS,
    SceneStr,
    UserId,
    is_scene_str,
    scene_prefix,
    short_id,
)
from services.metrics import Metrics
from services.people.store import User, UserStore
from services.scenes.codes_ahead import codes_left
from services.scenes.history import KEPT_SECONDS, MOST_FAILURES, History
from services.scenes.meters import (
    GONE_SECONDS,
    Reports,
    callbacks_of,
    errors_of,
    failures_of,
    hour_of,
    timeline_of,
)
from services.scenes.states import FINAL, Scene, State
from services.scenes.store import SceneStore
from services.sessions.service import SessionService
from services.wechat.accounts import Accounts

log = logging.getLogger("scanpush.operator")

KEY = "nodes"
ANNOUNCE_SECONDS = 5.0
SILENT_SECONDS = 3 * ANNOUNCE_SECONDS


class Nodes:
    """The nodes that share the stores, with a few figures of each.

    Each node writes its own figures into one document of the store every few seconds; one that
    stops doing so is forgotten. Two that write at once may lose those of one, which are back a few
    seconds later: enough to look at, and nothing else relies on it.

    Args:
        figures: this node's ``sockets``, ``waiting_polls`` and ``draining`` now.
        shared: whether there can be others.
    """

    def __init__(
        self,
        node: str,
        store: SceneStore,
        clock: Clock,
        figures: Callable[[], Mapping[str, Any]],
        *,
        shared: bool,
    ) -> None:
        self.node = node
        self._store = store
        self._clock = clock
        self._figures = figures
        self._shared = shared
        self._began = clock.monotonic()

    async def known(self) -> list[dict[str, Any]]:
        """Every node that announced itself lately, this one first and as it is now.

        Only this one while the store is unavailable.
        """
        own = self._figures_now()
        # A failing store is no reason to answer nothing: that is when the operator looks.
        try:
            others = await self._others() if self._shared else {}
        except StoreUnavailable as error:
            log.info("the other nodes are not known now: %s", error)
            others = {}
        return [own, *(others[node] for node in sorted(others))]

    async def announce_forever(self) -> None:
        """Write this node's figures for the others; ends at once where there can be no others."""
        while self._shared:
            try:
                await self.announce()
            except StoreUnavailable as error:
                log.info("the other nodes hear nothing of this one: %s", error)
            await asyncio.sleep(ANNOUNCE_SECONDS)

    async def announce(self) -> None:
        """Write this node's figures once. Raises `StoreUnavailable`."""
        nodes = {**await self._others(), self.node: self._figures_now()}
        await self._store.replace(KEY, json.dumps(nodes), SILENT_SECONDS)

    async def _others(self) -> dict[str, dict[str, Any]]:
        kept = await self._store.recall(KEY)
        nodes: dict[str, dict[str, Any]] = json.loads(kept) if kept else {}
        since = self._clock.now() - SILENT_SECONDS
        return {
            node: figures
            for node, figures in nodes.items()
            if node != self.node and figures["told_at"] >= since
        }

    def _figures_now(self) -> dict[str, Any]:
        return {
            "node_id": self.node,
            **self._figures(),
            "uptime_seconds": int(self._clock.monotonic() - self._began),
            "version": VERSION,
            "told_at": self._clock.now(),
        }


class OperatorService:
    """The documents of the operator's page, and the operator's deeds.

    Args:
        facts: what never changes: ``backend`` and ``simulated``.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        sessions: SessionService | None,
        accounts: Accounts,
        metrics: Metrics,
        history: History,
        nodes: Nodes,
        reports: Reports,
        clock: Clock,
        events: EventService,
        facts: Mapping[str, Any],
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._sessions = sessions
        self._accounts = accounts
        self._metrics = metrics
        self._history = history
        self._nodes = nodes
        self._reports = reports
        self._clock = clock
        self._events = events
        self._facts = facts

    async def overview(self) -> dict[str, Any]:
        """The document of ``GET /api/operator/overview``.

        What stands beside ``hour`` is of all nodes, as far as the store can say; of the members
        before it, those that `Nodes` does not add up are of this node alone.
        """
        # At once: while a store hangs, each of them waits for as long as it may.
        nodes, reports, codes, backlog = await asyncio.gather(
            self._nodes.known(), self._reports.all(), self._codes_left(), self._backlog()
        )
        now = self._clock.now()
        return {
            "now": now,
            "version": VERSION,
            **self._facts,
            "node_id": self._nodes.node,
            "sockets": sum(node["sockets"] for node in nodes),
            "waiting_polls": sum(node["waiting_polls"] for node in nodes),
            "scenes": {state.value: n for state, n in self._history.states().items()},
            "logins_per_minute": self._history.logins_per_minute(),
            "funnel": {
                "window_seconds": int(KEPT_SECONDS),
                **dict(self._history.funnel_of_the_hour()),
            },
            "latency": latency_of(self._metrics),
            "wechat": [
                {
                    "account": account.name,
                    "credential_expires_in": account.watch.credential_expires_in,
                    "codes_left": codes[account.name],
                    "errors": {str(code): times for code, times in account.watch.errors().items()},
                }
                for account in self._accounts
            ],
            "nodes": nodes,
            "hour": hour_of(reports, now),
            "callbacks": callbacks_of(reports),
            "errors": errors_of(reports),
            "failures": failures_of(reports, MOST_FAILURES),
            "reports": [self._in_brief(report, now) for report in reports],
            "events": backlog,
        }

    async def _backlog(self) -> Mapping[str, Any] | None:
        try:
            return await self._events.backlog()
        except StoreUnavailable as error:
            log.info("what is not told is not known now: %s", error)
            return None

    async def _codes_left(self) -> dict[str, int | None]:
        now = self._clock.now()
        return {
            account.name: await codes_left(self._scenes, account.name, now)
            for account in self._accounts
        }

    def _in_brief(self, report: Mapping[str, Any], now: float) -> dict[str, Any]:
        """One node's hour, without its minutes."""
        own = hour_of([report], now)["series"]
        return {
            "node_id": report["node_id"],
            "told_at": report["told_at"],
            "gone": now - report["told_at"] > GONE_SECONDS,
            "hour": {
                name: sum(own[name])
                for name in ("shown", "authorized", "failed", "callbacks", "refused", "errors")
            },
            "scenes": report["scenes"],
            "credentials": report["credentials"],
            "latency": report["latency"],
            "stores": report["stores"],
        }

    async def story(self, text: str) -> dict[str, Any] | None:
        """The document of ``GET /api/operator/scenes/<scene_str>``; None for an unknown scene.

        The history of a scene is kept for an hour, also when the store no longer has the scene.
        What the other nodes know of a scene that did not fail comes with their next reports, which
        this asks for: it is in an answer some seconds later.

        Args:
            text: a scene_str, its short id, or any beginning that is longer than that.
        """
        named = scene_prefix(text.strip()) or ""
        short = named[:SHORT_DIGITS]
        if len(short) < SHORT_DIGITS:
            return None
        own = {"node_id": self._nodes.node, "stories": self._history.find({short})}
        reports = [own, *await self._reports.ask(short)]
        timelines = {
            scene_str: timeline_of(reports, scene_str)
            for report in reports
            for scene_str in report["stories"]
            if scene_str.startswith(named)
        }
        # Two scenes with one short id are rare; the one that something happened to last is meant.
        scene_str = max(timelines, key=lambda key: timelines[key][-1]["at"], default=named)
        scene = await self._scenes.get(SceneStr(scene_str)) if is_scene_str(scene_str) else None
        if scene is None and not timelines:
            return None
        timeline = timelines.get(scene_str, [])
        return {
            "scene_str": scene_str,
            "short": short_id(short),
            "node_id": self._nodes.node,
            **(_facts(scene) if scene is not None else {}),
            "timeline": [*timeline, *_end_of(timeline, scene, self._nodes.node)],
        }

    async def ban(self, user_id: UserId) -> bool:
        """Keep the person out from now on, and end all their sessions; False for an unknown id.

        Doing it again is no error: it ends what a failure has left.
        """
        user = await self._users.ban(user_id, True, self._clock.now())
        if user is None:
            return False
        # After the ban: a session that begins meanwhile finds the ban, or is found here.
        log.info("user %s is banned, %d sessions ended", user.id, await self._end_of(user))
        await self._events.keep(entry("banned", self._clock.now(), user=user.id))
        return True

    async def unban(self, user_id: UserId) -> bool:
        """Let the person in again; False for an unknown id."""
        user = await self._users.ban(user_id, False, self._clock.now())
        if user is not None:
            log.info("user %s is no longer banned", user.id)
        return user is not None

    async def end_sessions(self, user_id: UserId) -> bool:
        """End all sessions of the person; False for an unknown id."""
        user = await self._users.get(user_id)
        if user is None:
            return False
        log.info("user %s: the operator ended %d sessions", user.id, await self._end_of(user))
        return True

    async def _end_of(self, user: User) -> int:
        """End all sessions of the person; how many, 0 where none are kept."""
        return 0 if self._sessions is None else len(await self._sessions.end_of_user(user.id))


def latency_of(metrics: Metrics) -> dict[str, Any]:
    """Of a node's newest callbacks and pushes."""
    return {
        "callback": percentiles(metrics.recent_callbacks),
        "push": percentiles(metrics.recent_pushes),
    }


def percentiles(seconds: deque[float]) -> dict[str, float | int | None]:
    """Of the newest durations, in milliseconds; exact, by nearest rank."""
    ordered = sorted(seconds)

    def at(percent: int) -> float | None:
        if not ordered:
            return None
        return round(1000 * ordered[-(-len(ordered) * percent // 100) - 1], 3)

    return {"p50_ms": at(50), "p90_ms": at(90), "p99_ms": at(99), "count": len(ordered)}


def _facts(scene: Scene) -> dict[str, Any]:
    """What is shown of a scene: an allow-list, with nothing of the person and no secret."""
    return {
        "state": scene.state.value,
        "seq": scene.seq,
        "kind": scene.kind.value,
        "account": scene.account,
        "kiosk": scene.details.get("kiosk", ""),
        "created_at": scene.created_at,
        "error": scene.error,
    }


_UNSEEN_ENDS = {State.EXPIRED: "by time", State.DENIED: "by time or another node"}
"""How a scene ended that this node did not end; any other end was made by another node."""


def _end_of(
    timeline: list[dict[str, Any]], scene: Scene | None, node: str
) -> Iterator[dict[str, Any]]:
    """The end that no move of a known node made: it came by time or another node."""
    if scene is None or scene.state not in FINAL:
        return
    if all(event["event"] != scene.state.value for event in timeline):
        note = scene.error or _UNSEEN_ENDS.get(scene.state, "by another node")
        yield {"at": scene.changed_at, "event": scene.state.value, "note": note, "node": node}
