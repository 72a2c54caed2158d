"""Which kiosks have a page now, and what is told when one comes or goes.

A kiosk is seen when its page begins a scene, polls, or has a connection. Each node writes what it
has seen into one document that all share, every few seconds; a kiosk that no node has seen for
`kiosk_down_seconds` is down. That is longer than a page takes to find another node, or to load
again, so that neither tells anything. Two nodes that write at once may lose what one has seen,
which is back with its next beat; what they tell twice has one id.

`services.screens` notes when a screen was seen, too, for the operator's list: once a minute, in the
database of people, and only where there is an operator. Events need neither an operator nor a
screen's record, and have to know what was told last; a source for both would write each screen to
that database six times as often. Both call it down after `kiosk_down_seconds` without a sign of
its page; the list, which hears of signs later, may do so up to a minute and a quarter sooner.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable
from services.events.entries import entry
from services.events.service import EventService
from services.ids import SceneStr
from services.key_values import KeyValues
from services.logs import PacedLog
from services.scenes.states import FINAL, Scene
from services.scenes.store import Attachment, ObservedScenes, SceneStore

log = logging.getLogger("scanpush.kiosks")

KEY = "kiosks_seen"
BEAT_SECONDS = 10.0
MISSED_SECONDS = 3 * BEAT_SECONDS
"""A beat that comes so long after the last one comes after an outage."""
KEPT_SECONDS = 7 * 86_400.0
"""How long a kiosk that is down is remembered."""


class KioskPresence:
    """Tells ``kiosk.up`` and ``kiosk.down``.

    Args:
        watched: whether a connection waits for that scene on this node.
        down_seconds: a kiosk that no node has seen for that long is down.
    """

    def __init__(
        self,
        values: KeyValues,
        events: EventService,
        clock: Clock,
        watched: Callable[[SceneStr], bool],
        *,
        down_seconds: int,
    ) -> None:
        self._values = values
        self._events = events
        self._clock = clock
        self._watched = watched
        self._down_seconds = down_seconds
        self._began = clock.now()
        self._seen: dict[str, tuple[SceneStr, float]] = {}
        """By kiosk: the scene that its page had last on this node, and when."""
        self._beaten_at = self._began
        self._paced_log = PacedLog(log)

    def seen(self, scene: Scene) -> None:
        """The page of that scene asked for something; others than kiosks' do not matter."""
        kiosk = scene.details.get("kiosk")
        if kiosk is not None and scene.state not in FINAL:
            self._seen[kiosk] = (scene.scene_str, self._clock.now())

    async def beat_forever(self) -> None:
        """For a background task on every node."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.beat()
            except StoreUnavailable as error:
                self._paced_log.log(logging.WARNING, "kiosks are not watched now: %s", error)

    async def beat(self) -> None:
        """Write down what was seen since the last beat, and tell what follows.

        Raises:
            StoreUnavailable: the next beat does it again.
        """
        now = self._clock.now()
        if now - self._beaten_at > MISSED_SECONDS:
            # What the other nodes saw meanwhile is not written down yet either.
            self._began = now
        self._seen = {
            kiosk: (scene_str, at)
            for kiosk, (scene_str, at) in self._seen.items()
            if at >= self._beaten_at or self._watched(scene_str)
        }
        kept = await self._values.recall(KEY)
        known: dict[str, dict[str, Any]] = json.loads(kept) if kept else {}
        if not known and not self._seen:
            self._beaten_at = now
            return
        for kiosk in self._seen:
            record = known.get(kiosk)
            if record is None or not record["up"]:
                # What was told is told again under the same id, where this beat is cut off.
                before = str(now if record is None else record["since"])
                await self._events.keep(entry("kiosk.up", now, kiosk, before, screen=kiosk))
                record = known[kiosk] = {"up": True, "since": now}
            record["seen"] = now
        for kiosk, record in list(known.items()):
            # A node that has just begun, or begun again, has seen nothing yet.
            if record["up"] and now - max(record["seen"], self._began) > self._down_seconds:
                since = str(record["since"])
                await self._events.keep(entry("kiosk.down", now, kiosk, since, screen=kiosk))
                known[kiosk] = {"up": False, "since": now}
            elif not record["up"] and now - record["since"] > KEPT_SECONDS:
                del known[kiosk]
        await self._values.replace(KEY, json.dumps(known), KEPT_SECONDS)
        self._beaten_at = now


class WatchedKiosks(ObservedScenes):
    """A `SceneStore` that tells `KioskPresence` of the pages of kiosks."""

    def __init__(self, scenes: SceneStore, presence: KioskPresence) -> None:
        super().__init__(scenes)
        self.advance = scenes.advance
        self._presence = presence

    async def create(self, scene: Scene) -> Scene:
        kept = await self._scenes.create(scene)
        self._presence.seen(kept)
        return kept

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        attachment = await self._scenes.attach(scene_str, node, connection, watch_hash)
        if attachment is not None:
            self._presence.seen(attachment.scene)
        return attachment

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        scene = self._scenes.attach_nowait(scene_str, node, connection, watch_hash)
        if scene is not None:
            self._presence.seen(scene)
        return scene
