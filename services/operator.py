"""What the operator's page shows: this node's figures, the other nodes, the history of one scene.
And what the operator does about people: keep them out, let them in, end their sessions.

Each node answers for itself: for the sockets it holds, and for the scenes whose moves it made.
Nodes that share stores also know of one another (`Nodes`), and the sockets shown are those of all.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from services import VERSION
from services.clock import Clock
from services.errors import StoreUnavailable
from services.events.entries import entry
from services.events.service import EventService
from services.ids import SceneStr, UserId
from services.metrics import Metrics
from services.people.store import User, UserStore
from services.scenes.codes_ahead import codes_left
from services.scenes.history import KEPT_SECONDS, History, HistoryEvent
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
        self._clock = clock
        self._events = events
        self._facts = facts

    async def overview(self) -> dict[str, Any]:
        """The document of ``GET /api/operator/overview``."""
        nodes = await self._nodes.known()
        try:
            backlog = await self._events.backlog()
        except StoreUnavailable as error:
            log.info("what is not told is not known now: %s", error)
            backlog = None
        return {
            "now": self._clock.now(),
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
            "latency": {
                "callback": percentiles(self._metrics.recent_callbacks),
                "push": percentiles(self._metrics.recent_pushes),
            },
            "wechat": [
                {
                    "account": account.name,
                    "credential_expires_in": account.watch.credential_expires_in,
                    "codes_left": await codes_left(self._scenes, account.name, self._clock.now()),
                    "errors": {str(code): times for code, times in account.watch.errors().items()},
                }
                for account in self._accounts
            ],
            "nodes": nodes,
            "events": backlog,
        }

    async def story(self, scene_str: SceneStr) -> dict[str, Any] | None:
        """The document of ``GET /api/operator/scenes/<scene_str>``; None for an unknown scene.

        The history of a scene is kept for an hour, also when the store no longer has the scene.
        """
        scene = await self._scenes.get(scene_str)
        story = self._history.story(scene_str)
        if scene is None and not story:
            return None
        return {
            "scene_str": scene_str,
            "node_id": self._nodes.node,
            **(_facts(scene) if scene is not None else {}),
            "timeline": [
                {**asdict(event), "node": self._nodes.node} for event in _with_end(story, scene)
            ],
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


def _with_end(story: list[HistoryEvent], scene: Scene | None) -> list[HistoryEvent]:
    """The history with the end that no move of this node made: it came by time or another node."""
    if scene is None or scene.state not in FINAL:
        return story
    if any(event.event == scene.state.value for event in story):
        return story
    note = scene.error or _UNSEEN_ENDS.get(scene.state, "by another node")
    return [*story, HistoryEvent(scene.changed_at, scene.state.value, note)]
