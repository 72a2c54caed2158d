"""This node's connections by scene.

The hub never waits: every method is a plain call. It knows one socket per scene (the newest) and
any number of waiters. It knows neither the network (that is `Parking`) nor the store (`Delivery`).
"""

import asyncio
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self

from services.clock import Clock
from services.errors import ApiError
from services.ids import SceneStr, scene_key
from services.metrics import Metrics
from services.push.close_codes import CloseCode
from services.push.parking import KEY_BYTES, Parking, SocketTable
from services.push.protocol import text_frame
from services.push.timers import TimerWheel
from services.scenes.states import FINAL, Scene, State

TIMERS_PER_TICK = 4096
"""How many ends are looked at in one tick; cheap, because the reading itself is in slices."""


class Waiter:
    """One wait for a newer state of one scene, without a socket: a long poll, or an upgrade that
    is not parked yet. A context manager: leaving it takes it out of the hub.

    Enter it first, read the store second, wait third: then no change falls in between.
    """

    __slots__ = ("_future", "_leave", "key", "newest", "released", "scene")

    def __init__(self, key: bytes, leave: Callable[["Waiter"], object]) -> None:
        self.key = key
        self.scene: Scene | None = None
        """The newest state delivered here so far."""
        self.newest = 0
        """The number of the newest socket that another node opened for the scene meanwhile."""
        self.released = False
        self._leave = leave
        self._future: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self)

    def wake(self, scene: Scene) -> None:
        """Deliver a state; one that is older than the last is ignored."""
        if self.scene is None or scene.seq > self.scene.seq:
            self.scene = scene
            self._resolve()

    def release(self) -> None:
        """End the wait without news: the node leaves, the peer is gone, or notices are missing."""
        self.released = True
        self._resolve()

    async def newer(self, seq: int, seconds: float) -> Scene | None:
        """The scene once its `seq` is above `seq`; None after `seconds`, or when released."""
        try:
            async with asyncio.timeout(seconds):
                while not self.released and (self.scene is None or self.scene.seq <= seq):
                    self._future = asyncio.get_running_loop().create_future()
                    await self._future
        except TimeoutError:
            return None
        return None if self.released else self.scene

    def _resolve(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class SceneTimers:
    """Files each socket's scene under the second in which its state ends: one wheel for all.

    A scene may have been extended or have moved on meanwhile; reading it files it again. The
    table's `due` says which filing counts, so superseded ones are skipped.
    """

    def __init__(self, table: SocketTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._wheel = TimerWheel(KEY_BYTES)

    def add(self, fd: int, key: bytes, ends_at: float) -> None:
        """Have the scene read just after `ends_at` (Unix time), or in a second if that has passed:
        then the store's clock is behind this machine's."""
        second = max(int(ends_at), int(self._clock.now())) + 1
        if self._table.due[fd] != second:
            self._table.due[fd] = second
            self._wheel.add(second, key)

    def take(self, descriptor: Callable[[bytes], int | None]) -> list[bytes]:
        """The scenes to read now; to be called several times a second.

        Args:
            descriptor: the scene's socket on this node, if it still has one.
        """
        now = self._clock.now()
        due = []
        for key in self._wheel.take(now, TIMERS_PER_TICK):
            fd = descriptor(key)
            if fd is not None and self._table.due[fd] <= now:
                due.append(key)
        return due


class ConnectionIds:
    """Ids of this process's connections: unique here, and all but certainly elsewhere.

    They stay below 2**53, which Lua and JavaScript still count exactly.
    """

    def __init__(self) -> None:
        self._last = secrets.randbits(52)

    def next(self) -> int:
        self._last += 1
        return self._last


class Hub:
    """The registry of sockets and waiters.

    Args:
        document: renders the status of a scene, with a token signed now.
        max_waiters: long polls at once; over it `ApiError` ``overloaded``.
    """

    def __init__(
        self,
        parking: Parking,
        timers: SceneTimers,
        document: Callable[[Scene], bytes],
        metrics: Metrics,
        max_waiters: int,
    ) -> None:
        self.ids = ConnectionIds()
        self._parking = parking
        self._table = parking.table
        self._timers = timers
        self._document = document
        self._metrics = metrics
        self._max_waiters = max_waiters
        self._sockets: dict[bytes, int] = {}
        self._waiters: dict[bytes, list[Waiter]] = {}
        self.waiting = 0
        """Long polls waiting now."""

    # Sockets.

    def status_frame(self, scene: Scene) -> bytes:
        """The status of a scene as one frame."""
        return text_frame(self._document(scene))

    def attach(
        self,
        key: bytes,
        fd: int,
        number: int,
        scene: Scene,
        greeting: bytes,
        status: bytes,
        *,
        replaced: bool = False,
    ) -> None:
        """Make a parked socket the scene's, and write `greeting` and `status` in one piece.

        An older one is closed with 4409. If this one turns out to be the older (its upgrade took
        longer, or `replaced`: another node has a newer one), it is the one to be closed. Which is
        older, all nodes decide by the store's numbers: so one is left, wherever they are.
        """
        self._metrics.socket_opened()
        self._table.numbers[fd] = number
        older = self._sockets.get(key)
        if older is not None and self._table.numbers[older] > number:
            replaced = True
        if replaced:
            self._parking.close(fd, CloseCode.REPLACED, greeting)
            return
        self._sockets[key] = fd
        if older is not None:
            self._parking.close(older, CloseCode.REPLACED)
        self._write(fd, scene, greeting + status)
        if scene.state not in FINAL:
            self._timers.add(fd, key, scene.ends_at)

    def detach(self, key: bytes, connection: int) -> None:
        """Take out exactly that connection; may be called twice, and after a newer one came."""
        fd = self._sockets.get(key)
        if fd is not None and self._table.holds(fd, connection):
            del self._sockets[key]

    def replaced_elsewhere(self, key: bytes, newest: int) -> None:
        """The scene has a socket of the number `newest`: close the one here, if it is older."""
        for waiter in self._waiters.get(key, ()):
            waiter.newest = max(waiter.newest, newest)
        fd = self._sockets.get(key)
        if fd is not None and self._table.numbers[fd] < newest:
            self._parking.close(fd, CloseCode.REPLACED)

    # Waiters.

    def waiter(self, scene_str: SceneStr) -> Waiter:
        """A wait for news of a scene, counted and capped. Use it in a ``with`` statement."""
        if self.waiting >= self._max_waiters:
            raise ApiError("overloaded", "too many waiting polls", retry_after=2)
        self.waiting += 1
        return self._enter(Waiter(scene_key(scene_str), self._end_wait))

    def arrival(self, key: bytes) -> Waiter:
        """The same for an upgrade that is not parked yet, which the limit of descriptors counts."""
        return self._enter(Waiter(key, self._remove_waiter))

    def release_waiters(self) -> None:
        """End every wait without news: the page asks again, elsewhere or here."""
        for waiters in list(self._waiters.values()):
            for waiter in waiters:
                waiter.release()

    def _enter(self, waiter: Waiter) -> Waiter:
        self._waiters.setdefault(waiter.key, []).append(waiter)
        return waiter

    def _end_wait(self, waiter: Waiter) -> None:
        if self._remove_waiter(waiter):
            self.waiting -= 1

    def _remove_waiter(self, waiter: Waiter) -> bool:
        waiters = self._waiters.get(waiter.key, [])
        if waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.key]
        return True

    # Delivery.

    def watched(self, key: bytes) -> bool:
        """Whether a socket or a waiter here is of that scene."""
        return key in self._sockets or key in self._waiters

    def needs(self, key: bytes, seq: int) -> bool:
        """Whether a socket or a waiter here may not have that `seq` yet."""
        fd = self._sockets.get(key)
        return key in self._waiters or (fd is not None and self._table.seqs[fd] < seq)

    def keys(self) -> list[bytes]:
        """Every scene that is watched here."""
        return [*self._sockets, *(key for key in self._waiters if key not in self._sockets)]

    def descriptor(self, key: bytes) -> int | None:
        """The scene's socket here, if it has one."""
        return self._sockets.get(key)

    def socket(self, key: bytes) -> tuple[int, int] | None:
        """The connection and the number of that socket."""
        fd = self._sockets.get(key)
        return None if fd is None else (self._table.connections[fd], self._table.numbers[fd])

    @property
    def sockets(self) -> int:
        return len(self._sockets)

    def deliver(self, key: bytes, scene: Scene) -> None:
        """Bring a state to the scene's waiters and socket, unless they have it already."""
        for waiter in self._waiters.get(key, ()):
            waiter.wake(scene)
        fd = self._sockets.get(key)
        if fd is None:
            return
        if scene.seq > self._table.seqs[fd]:
            self._write(fd, scene, self.status_frame(scene))
            if scene.state is State.AUTHORIZED:
                self._metrics.login_pushed(scene.changed_at)
        if scene.state not in FINAL:
            self._timers.add(fd, key, scene.ends_at)

    def _write(self, fd: int, scene: Scene, frames: bytes) -> None:
        """Write what ends in the status; after a final state close behind it."""
        self._table.seqs[fd] = scene.seq
        if scene.state in FINAL:
            expired = scene.state is State.EXPIRED
            self._parking.close(fd, CloseCode.EXPIRED if expired else CloseCode.FINISHED, frames)
        else:
            self._parking.send(fd, frames)
        self._metrics.status_written()

    def tell(self, key: bytes, message: bytes) -> None:
        """Write a message that is no status, without a frame yet; long polls are answered at once,
        for the status that they get says it, too."""
        for waiter in list(self._waiters.get(key, ())):
            waiter.release()
        fd = self._sockets.get(key)
        if fd is not None:
            self._parking.send(fd, text_frame(message))

    def fail(self, key: bytes) -> None:
        """The server failed: the page reconnects."""
        self._close(key, CloseCode.SERVER_ERROR)

    def forgotten(self, key: bytes) -> None:
        """The scene is no more: its page begins a new one."""
        self._close(key, CloseCode.EXPIRED)

    def _close(self, key: bytes, code: CloseCode) -> None:
        fd = self._sockets.get(key)
        if fd is not None:
            self._parking.close(fd, code)
