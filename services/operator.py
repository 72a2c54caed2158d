"""What the operator's page shows: how this node does, and the story of one scene.

Each node answers for itself: for the sockets it holds, and for the scenes whose moves it made.
With shared stores the nodes also know of one another (`services.nodes`), and the sockets shown are
those of all.
"""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.metrics import Metrics
from services.nodes import Nodes
from services.scenes.codes import WECHAT_DAILY_CODES, codes_key
from services.scenes.states import FINAL, Scene, State
from services.scenes.store import SceneStore
from services.timeline import KEPT_SECONDS, Event, Timeline
from services.version import VERSION
from services.wechat.accounts import Account, Accounts

log = logging.getLogger("scanpush.operator")


class OperatorService:
    """Answers the operator's questions.

    Args:
        facts: what never changes: ``backend`` and ``simulated``.
    """

    def __init__(
        self,
        scenes: SceneStore,
        accounts: Accounts,
        metrics: Metrics,
        timeline: Timeline,
        nodes: Nodes,
        clock: Clock,
        facts: Mapping[str, Any],
    ) -> None:
        self._scenes = scenes
        self._accounts = accounts
        self._metrics = metrics
        self._timeline = timeline
        self._nodes = nodes
        self._clock = clock
        self._facts = facts

    async def overview(self) -> dict[str, Any]:
        """The document of ``GET /api/operator/overview``."""
        nodes = await self._nodes.known()
        return {
            "now": self._clock.now(),
            "version": VERSION,
            **self._facts,
            "node_id": self._nodes.node,
            "sockets": sum(node["sockets"] for node in nodes),
            "waiting_polls": sum(node["waiting_polls"] for node in nodes),
            "scenes": {state.value: n for state, n in self._timeline.states().items()},
            "logins_per_minute": self._timeline.logins_per_minute(),
            "funnel": {
                "window_seconds": int(KEPT_SECONDS),
                **dict(self._timeline.funnel_of_the_hour()),
            },
            "latency": {
                "callback": percentiles(self._metrics.recent_callbacks),
                "push": percentiles(self._metrics.recent_pushes),
            },
            "wechat": [await self._account(account) for account in self._accounts],
            "nodes": nodes,
        }

    async def _account(self, account: Account) -> dict[str, Any]:
        return {
            "account": account.name,
            "credential_expires_in": account.watch.credential_expires_in,
            "codes_left": await self._codes_left(account),
            "errors": {str(code): times for code, times in account.watch.errors().items()},
        }

    async def _codes_left(self, account: Account) -> int | None:
        """Of today's codes of that account; None while the store does not say."""
        try:
            made = await self._scenes.recall(codes_key(account.name, self._clock.now()))
        except StoreUnavailable as error:
            log.info("today's codes are not known now: %s", error)
            return None
        return max(0, WECHAT_DAILY_CODES - int(made or 0))

    async def story(self, scene_str: SceneStr) -> dict[str, Any] | None:
        """The document of ``GET /api/operator/scenes/<scene_str>``; None: nothing is known.

        A scene that the store has forgotten still has its story here for an hour.
        """
        scene = await self._scenes.get(scene_str)
        story = self._timeline.story(scene_str)
        if scene is None and not story:
            return None
        return {
            "scene_str": scene_str,
            "node_id": self._nodes.node,
            **(_facts(scene) if scene is not None else {}),
            "timeline": [
                {**asdict(event), "node": self._nodes.node} for event in _ended(story, scene)
            ],
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
    """An allow-list: nothing of the person, and no secret."""
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
"""Who brought an end that this node did not; whatever is not here, another node did."""


def _ended(story: list[Event], scene: Scene | None) -> list[Event]:
    """The story with the end that no move of this node announced: time brought it, or another."""
    if scene is None or scene.state not in FINAL:
        return story
    if any(event.event == scene.state.value for event in story):
        return story
    note = scene.error or _UNSEEN_ENDS.get(scene.state, "by another node")
    return [*story, Event(scene.changed_at, scene.state.value, note)]
