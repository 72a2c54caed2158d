"""From a hint to a frame: read the scene again, and bring it to whoever wants it.

The store is the truth, a notice is a hint (design: one login). So a notice carries nothing that
is delivered; it only makes this node read.

What parked sockets make this node do in the store: acks and cancels, and detaching.
"""

import asyncio
import itertools
import logging
import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr, scene_key, scene_str_of
from services.push.hub import Expiry, Hub
from services.push.protocol import Ack, Said
from services.scenes.states import Scene
from services.scenes.store import Notice
from services.tasks import Supervisor

log = logging.getLogger("scanpush.push.delivery")

READ_SECONDS = 2
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2

SLICE = 8
"""Scenes read again at once, after a gap or at the end of their time."""


class Scenes(Protocol):
    """What the push side asks of the login service.

    Everything raises `StoreUnavailable` when the store does not do its part. `ack` and `cancel`
    may also raise `ApiError` for what the scene does not allow; on a socket that is ignored.
    """

    async def watch(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        """Check the token, attach this node's `connection` in the store, and return the scene.

        None for an unknown scene and for a wrong token alike: one answer.
        """

    def watch_at_hand(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        """`watch` where the store needs no waiting for it. None says nothing, and then nothing was
        attached: ask `watch`."""

    async def watch_again(self, scene_str: SceneStr, connection: int) -> Scene | None:
        """The scene now, with this node's `connection` attached again should the store have lost
        it."""

    async def unwatch(self, scene_str: SceneStr, connection: int) -> None:
        """Detach exactly that connection."""

    async def read(self, scene_str: SceneStr) -> Scene | None:
        """The scene now; None when unknown or forgotten."""

    def at_hand(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The scene now, at `seq` or newer, where the store can tell without waiting. None says
        nothing at all."""

    def document(self, scene: Scene) -> bytes:
        """The status document (design 4.3), its token minted now."""

    async def ack(self, scene_str: SceneStr, seq: int) -> None:
        """The page has that status: if it is `authorized`'s, the scene is consumed."""

    async def cancel(self, scene_str: SceneStr) -> None:
        """The page gives up."""


class Delivery:
    """Turns notices into deliveries.

    At most one read a scene is under way. A notice that comes meanwhile marks the scene dirty,
    and it is read once more: so the newest state is always the last one written, and a burst of
    notices costs two reads. While the store is unavailable the read is tried again with growing
    pauses, as long as somebody here wants the scene: nothing is lost.
    """

    def __init__(self, scenes: Scenes, hub: Hub, expiry: Expiry, supervisor: Supervisor) -> None:
        self._scenes = scenes
        self._hub = hub
        self._expiry = expiry
        self._supervisor = supervisor
        self._flights: dict[bytes, asyncio.Task[None]] = {}
        """Scenes being read."""
        self._dirty: set[bytes] = set()
        """Those of them that changed since their read began."""
        self._unsure: set[bytes] = set()
        """Scenes whose attachment here the store may have lost."""
        self._agenda: dict[bytes, None] = {}
        """Scenes to read again without a notice, in this order."""
        self._worker: asyncio.Task[None] | None = None

    def on_notice(self, notice: Notice) -> None:
        """For `Broker.listen`."""
        key = scene_key(notice.scene_str)
        if not self._hub.watched(key):
            return
        if notice.connection:
            self._hub.replaced_elsewhere(key, notice.connection)
        if key in self._flights:
            self._dirty.add(key)
        elif self._hub.needs(key, notice.seq):
            # Not now: whoever publishes must not hear of what goes wrong here.
            asyncio.get_running_loop().call_soon(self._bring_at_hand, key, notice.seq)

    def on_gap(self) -> None:
        """For `Broker.listen`: notices may be missing, so every scene watched here is read.

        Attachments may be missing, too, after whatever broke the way here. Sockets are attached
        again; long polls are answered, for their next one attaches anyway.
        """
        keys = self._hub.keys()
        self._unsure = set(keys)
        self._hub.release_waiters()
        log.info("reading every watched scene again", extra={"scenes": len(keys)})
        self._read_again(keys)

    def tick(self, _now: float) -> None:
        """Read the scenes whose time may be up; to be called several times a second."""
        self._read_again(self._expiry.take(self._hub.descriptor))

    def request(self, key: bytes) -> asyncio.Task[None]:
        """Have the scene read and delivered; the task ends when that is done."""
        flight = self._flights.get(key)
        if flight is not None:
            self._dirty.add(key)
            return flight
        flight = self._supervisor.spawn(self._bring(key), name="push delivery")
        self._flights[key] = flight
        return flight

    def _bring_at_hand(self, key: bytes, seq: int) -> None:
        """Deliver at once where the store needs no waiting, which spares a task; else as ever."""
        in_flight = key in self._flights
        scene = None if in_flight else self._scenes.at_hand(scene_str_of(key), seq)
        if scene is None:
            self.request(key)
            return
        delivered = False
        try:
            self._hub.deliver(key, scene)
            delivered = True
        finally:
            if not delivered:
                # A bug of ours, logged by the event loop: the page must not wait for nothing.
                self._hub.fail(key)

    async def _bring(self, key: bytes) -> None:
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
                self._hand_over(key, scene)
                if key not in self._dirty:
                    break
            done = True
        finally:
            del self._flights[key]
            self._dirty.discard(key)
            if not self._hub.watched(key):
                self._unsure.discard(key)
            if not done:
                # A bug of ours, logged by the supervisor: the page must not wait for nothing.
                self._hub.fail(key)

    async def _read(self, key: bytes) -> Scene | None:
        scene_str = scene_str_of(key)
        connection = self._hub.connection(key) if key in self._unsure else None
        if connection is None:
            return await self._scenes.read(scene_str)
        # Before it is asked for: the next gap may come meanwhile.
        self._unsure.discard(key)
        attached = False
        try:
            scene = await self._scenes.watch_again(scene_str, connection)
            attached = True
        finally:
            if not attached:
                self._unsure.add(key)
        return scene

    def _hand_over(self, key: bytes, scene: Scene | None) -> None:
        if scene is None:
            self._hub.forgotten(key)
        else:
            self._hub.deliver(key, scene)

    def _read_again(self, keys: Iterable[bytes]) -> None:
        # Scenes that still wait for their turn are read late enough for this time as well.
        self._agenda.update(dict.fromkeys(keys))
        if self._agenda and self._worker is None:
            self._worker = self._supervisor.spawn(self._work_off(), name="push agenda")

    async def _work_off(self) -> None:
        """Read what is on the agenda a slice at a time, so that nobody else waits for long."""
        try:
            while self._agenda:
                keys = list(itertools.islice(self._agenda, SLICE))
                for key in keys:
                    del self._agenda[key]
                await asyncio.wait([self.request(key) for key in keys])
        finally:
            self._worker = None


STORE_SECONDS = 2
PAUSES_SECONDS = (0.1, 0.4, 1.5)
"""Between the tries of one ack or cancel."""

UNWATCH_A_TURN = 8

_LEFT = struct.Struct("=16sQ")
"""A scene and the connection that left it."""


class Errands:
    """Carries out what sockets said, each socket's messages one at a time and in order.

    Sockets that left are detached in the store by one worker, one after the other, so that six
    thousand pages leaving at once are no burst of writes. Detaching is a courtesy: attachments
    expire with their scenes, so what fails is not tried again.
    """

    def __init__(self, scenes: Scenes, supervisor: Supervisor) -> None:
        self._scenes = scenes
        self._supervisor = supervisor
        self._left = bytearray()
        self._worker: asyncio.Task[None] | None = None

    def obey(self, key: bytes, said: Sequence[Said], done: Callable[[bool], None]) -> None:
        """Carry out `said`, then call `done` with whether all of it is stored."""
        self._supervisor.spawn(self._obey(key, said, done), name="push errand")

    def unwatch(self, key: bytes, connection: int) -> None:
        """Have that connection detached, some time soon."""
        self._left += _LEFT.pack(key, connection)
        if self._worker is None:
            self._worker = self._supervisor.spawn(self._unwatch(), name="push unwatch")

    async def _obey(self, key: bytes, said: Sequence[Said], done: Callable[[bool], None]) -> None:
        stored = False
        try:
            for message in said:
                if not await self._carry_out(key, message):
                    return
            stored = True
        finally:
            done(stored)

    async def _carry_out(self, key: bytes, message: Said) -> bool:
        scene_str = scene_str_of(key)
        for pause in (*PAUSES_SECONDS, None):
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    if isinstance(message, Ack):
                        await self._scenes.ack(scene_str, message.seq)
                    else:
                        await self._scenes.cancel(scene_str)
                return True
            except ApiError:
                return True  # Another seq, or too late: ignored on a socket (design 4.4).
            except (StoreUnavailable, TimeoutError):
                if pause is not None:
                    await asyncio.sleep(pause)
        log.warning("a message of a page could not be stored", extra={"scene_str": scene_str})
        return False

    async def _unwatch(self) -> None:
        try:
            while self._left:
                batch = bytes(self._left[: UNWATCH_A_TURN * _LEFT.size])
                del self._left[: len(batch)]
                await self._detach(batch)
                await asyncio.sleep(0)
        finally:
            self._worker = None

    async def _detach(self, batch: bytes) -> None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                for key, connection in _LEFT.iter_unpack(batch):
                    await self._scenes.unwatch(scene_str_of(key), connection)
        except (StoreUnavailable, TimeoutError):
            log.debug("some connections stay attached until their scenes end")
