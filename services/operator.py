"""What the operator's page shows: figures of this node and of all, the history of one scene.
And what the operator does about people: keep them out, let them in, end their sessions.

Each node answers for itself: for the sockets it holds, and for the scenes whose moves it made.
Nodes that share stores also read one another's `Reports`, and what is of all is summed from those.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping
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
from services.scenes.history import BY_TIME, KEPT_SECONDS, MOST_FAILURES, History
from services.scenes.meters import (
    GONE_SECONDS,
    Reports,
    callbacks_of,
    errors_of,
    failures_of,
    has_ended,
    hour_of,
    nodes_of,
    timeline_of,
)
from services.scenes.states import FINAL, Scene, State
from services.scenes.store import SceneStore
from services.sessions.service import SessionService
from services.wechat.accounts import Accounts

log = logging.getLogger("scanpush.operator")


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
        self._reports = reports
        self._clock = clock
        self._events = events
        self._facts = facts

    async def overview(self) -> dict[str, Any]:
        """The document of ``GET /api/operator/overview``.

        What stands beside ``hour`` is of all nodes, as far as the store can say; of the members
        before it, all but the nodes, sockets and waiting polls are of this node alone.
        """
        # At once: while a store hangs, each of them waits for as long as it may.
        reports, codes, backlog = await asyncio.gather(
            self._reports.all(), self._codes_left(), self._backlog()
        )
        now = self._clock.now()
        nodes = nodes_of(reports, now)
        return {
            "now": now,
            "version": VERSION,
            **self._facts,
            "node_id": self._reports.node,
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
            "gone": has_ended(report) or now - report["told_at"] > GONE_SECONDS,
            "ended": has_ended(report),
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
        own = {"node_id": self._reports.node, "stories": self._history.find({short})}
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
            "node_id": self._reports.node,
            **(_facts(scene) if scene is not None else {}),
            "timeline": [*timeline, *_end_of(timeline, scene, self._reports.node)],
        }

    async def ban(self, user_id: UserId) -> bool:
        """Keep the person out from now on, and end all their sessions; False for an unknown id.

        Doing it again is no error: it ends and tells what a failure has left.
        """
        user = await self._users.ban(user_id, True, self._clock.now())
        record = None if user is None else await self._users.record(user.id)
        if user is None or record is None or record.banned_at is None:
            return False
        # After the ban: a session that begins meanwhile finds the ban, or is found here.
        log.info("user %s is banned, %d sessions ended", user.id, await self._end_all(user))
        # Of the time of the first ban, so that a further one is the same event.
        at = record.banned_at
        await self._events.keep(entry("banned", at, user.id, str(at), user=user.id))
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
        log.info("user %s: the operator ended %d sessions", user.id, await self._end_all(user))
        return True

    async def _end_all(self, user: User) -> int:
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


_UNSEEN_ENDS = {State.EXPIRED: BY_TIME, State.DENIED: "by time or another node"}
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
