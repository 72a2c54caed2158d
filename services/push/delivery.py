"""From a notice to a frame: read the scene again, and deliver it to its socket and waiters.

The store is authoritative, and a notice only makes this node read it (docs/essays/truth.md).
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Iterable

from services.errors import StoreUnavailable
from services.ids import scene_key, scene_str_of
from services.push.hub import Hub, SceneTimers
from services.scenes.states import Scene
from services.scenes.store import Notice, SceneStore
from services.tasks import Supervisor

log = logging.getLogger("scanpush.push.delivery")

READ_SECONDS = 2
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2

SLICE = 8
"""Scenes read again at once, after a gap or at the end of their time."""


class Delivery:
    """Turns notices into deliveries.

    At most one read per scene is in flight. A notice that comes meanwhile marks the scene dirty,
    and it is read once more: so the newest state is always the last one written, and a burst of
    notices costs two reads. While the store is unavailable the read is repeated with growing
    pauses, as long as the scene is watched here: no change is lost.
    """

    def __init__(
        self,
        scenes: SceneStore,
        node: str,
        hub: Hub,
        timers: SceneTimers,
        supervisor: Supervisor,
    ) -> None:
        self._scenes = scenes
        self._node = node
        self._hub = hub
        self._timers = timers
        self._supervisor = supervisor
        self._reads: dict[bytes, asyncio.Task[None]] = {}
        """Scenes being read."""
        self._dirty: set[bytes] = set()
        """Those of them that changed since their read began."""
        self._unsure: set[bytes] = set()
        """Scenes whose attachment here the store may have lost."""
        self._queue: dict[bytes, None] = {}
        """Scenes to read again without a notice, in this order."""
        self._worker: asyncio.Task[None] | None = None

    def on_notice(self, notice: Notice) -> None:
        """For `Broker.listen`."""
        key = scene_key(notice.scene_str)
        if not self._hub.watched(key):
            return
        if notice.newest:
            self._hub.replaced_elsewhere(key, notice.newest)
        if key in self._reads:
            self._dirty.add(key)
        elif self._hub.needs(key, notice.seq):
            # Not now: the store that publishes must not see an exception of the delivery.
            asyncio.get_running_loop().call_soon(self._deliver_nowait, key, notice.seq)

    def on_gap(self) -> None:
        """For `Broker.listen`: notices may be missing, so every scene watched here is read.

        Attachments may be missing, too, after whatever broke the connection to the broker. Sockets
        are attached again; long polls are answered, for their next one attaches anyway.
        """
        keys = self._hub.keys()
        self._unsure = set(keys)
        self._hub.release_waiters()
        log.info("reading every watched scene again", extra={"scenes": len(keys)})
        self._read_again(keys)

    def tick(self, _now: float) -> None:
        """Read the scenes whose time may be up; to be called several times a second."""
        self._read_again(self._timers.take(self._hub.descriptor))

    def request(self, key: bytes) -> asyncio.Task[None]:
        """Have the scene read and delivered; the task ends when that is done."""
        reading = self._reads.get(key)
        if reading is not None:
            self._dirty.add(key)
            return reading
        reading = self._supervisor.spawn(self._deliver(key), name="push delivery")
        self._reads[key] = reading
        return reading

    def _deliver_nowait(self, key: bytes, seq: int) -> None:
        """Deliver at once where the store can answer without waiting; else as always.

        A fast path: it saves a task for each state, 5 % of a login's instructions.
        tests/services/push/test_nowait.py holds it to `_deliver`.
        """
        scene = None
        if key not in self._reads:
            scene = self._scenes.get_nowait(scene_str_of(key), seq)
        if scene is None:
            self.request(key)
            return
        delivered = False
        try:
            self._hub.deliver(key, scene)
            delivered = True
        finally:
            if not delivered:
                # A bug, logged by the event loop: the page reconnects instead of waiting.
                self._hub.fail(key)

    async def _deliver(self, key: bytes) -> None:
        pause = FIRST_PAUSE_SECONDS
        done = False
        try:
            while self._hub.watched(key):
                self._dirty.discard(key)
                try:
                    async with asyncio.timeout(READ_SECONDS):
                        scene = await self._read(key)
                except (StoreUnavailable, TimeoutError):
                    await asyncio.sleep(pause * random.uniform(0.5, 1))
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    continue
                if scene is None:
                    self._hub.forgotten(key)
                else:
                    self._hub.deliver(key, scene)
                if key not in self._dirty:
                    break
            done = True
        finally:
            del self._reads[key]
            self._dirty.discard(key)
            if not self._hub.watched(key):
                self._unsure.discard(key)
            if not done:
                # A bug, logged by the supervisor: the page reconnects instead of waiting.
                self._hub.fail(key)

    async def _read(self, key: bytes) -> Scene | None:
        scene_str = scene_str_of(key)
        socket = self._hub.socket(key) if key in self._unsure else None
        if socket is None:
            return await self._scenes.get(scene_str)
        # Before the store is asked: the next gap may come meanwhile.
        self._unsure.discard(key)
        answered = False
        try:
            attachment = await self._scenes.reattach(scene_str, self._node, *socket)
            answered = True
        finally:
            if not answered:
                self._unsure.add(key)
        if attachment is None:
            return None
        # The notice of a newer socket may be among those that are missing.
        self._hub.replaced_elsewhere(key, attachment.number)
        return attachment.scene

    def _read_again(self, keys: Iterable[bytes]) -> None:
        # Scenes that still wait for their turn are read late enough for this time as well.
        self._queue.update(dict.fromkeys(keys))
        if self._queue and self._worker is None:
            self._worker = self._supervisor.spawn(self._work_off(), name="push read again")

    async def _work_off(self) -> None:
        """Read what is queued a slice at a time, so that other reads do not wait for long."""
        try:
            while self._queue:
                keys = list(itertools.islice(self._queue, SLICE))
                for key in keys:
                    del self._queue[key]
                await asyncio.wait([self.request(key) for key in keys])
        finally:
            self._worker = None
