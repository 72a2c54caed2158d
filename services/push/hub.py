"""What the push side reports to whoever counts; services/metrics.py implements it.

Somebody who waits for news of a scene without a socket: a long poll, or an upgrade under way.

When to read a scene again because its time may be up: no timer a scene, a bucket a second.

This node's connections by scene.

The hub never waits: every method is a plain call. It knows one socket a scene (the newest) and
any number of waiters; it does not know the network (that is `Parking`) nor the store (`Delivery`).
"""

import asyncio
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from services.clock import Clock
from services.errors import ApiError
from services.ids import SceneStr, scene_key
from services.push.close_codes import CloseCode, Ending
from services.push.parking import KEY_BYTES, Slots
from services.push.protocol import text_frame
from services.push.timers import Buckets
from services.scenes.states import FINAL, Scene, State


class PushCounters(Protocol):
    """Plain calls, made exactly once for each thing that happened. They must not raise or wait."""

    def socket_opened(self) -> None: ...

    def socket_ended(self, ending: Ending) -> None:
        """A socket left the hub: closed, or asked to close. Follows one `socket_opened`."""

    def upgrade_refused(self, code: str) -> None:
        """`code` is the error code of the answer."""

    def status_written(self) -> None:
        """A status document was written to a socket."""

    def ping_written(self) -> None: ...

    def delivered(self, scene: Scene) -> None:
        """A change of `scene` was written to its socket, which was there already."""


class NoCounters:
    """Counts nothing."""

    def socket_opened(self) -> None:
        return None

    def socket_ended(self, ending: Ending) -> None:
        return None

    def upgrade_refused(self, code: str) -> None:
        return None

    def status_written(self) -> None:
        return None

    def ping_written(self) -> None:
        return None

    def delivered(self, scene: Scene) -> None:
        return None


class Waiter:
    """One wait for a newer state of one scene. A context manager: leaving it takes it out.

    Enter it first, read the store second, wait third: then no change falls in between.
    """

    __slots__ = ("_future", "_leave", "key", "released", "replaced", "scene")

    def __init__(self, key: bytes, leave: Callable[["Waiter"], object]) -> None:
        self.key = key
        self.scene: Scene | None = None
        """The newest state brought here so far."""
        self.replaced = False
        """A newer socket of the same scene was opened on another node meanwhile."""
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
        """Bring a state; older ones than the last are no news."""
        if self.scene is None or scene.seq > self.scene.seq:
            self.scene = scene
            self._call()

    def release(self) -> None:
        """End the wait without news: the node leaves, the peer is gone, or notices are missing."""
        self.released = True
        self._call()

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

    def _call(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


SCENES_A_TICK = 4096
"""How many ends are looked at in one tick; cheap, because the reading itself is in slices."""


class Expiry:
    """Files each socket's scene under the second its state ends, and asks for it then.

    A scene may have been extended or have moved on meanwhile; whoever reads it files it again.
    The record in `Slots.due` says which filing counts, so superseded ones are skipped.
    """

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._buckets = Buckets(KEY_BYTES)

    def file(self, fd: int, key: bytes, ends_at: float) -> None:
        """Ask again just after `ends_at` (Unix time), or in a second if that has passed: then the
        store's clock is behind ours."""
        second = max(int(ends_at), int(self._clock.now())) + 1
        if self._slots.due[fd] != second:
            self._slots.due[fd] = second
            self._buckets.file(second, key)

    def take(self, descriptor: Callable[[bytes], int | None]) -> list[bytes]:
        """The scenes to read now; call it several times a second.

        Args:
            descriptor: the scene's socket on this node, if it still has one.
        """
        now = self._clock.now()
        due = []
        for key in self._buckets.take(now, SCENES_A_TICK):
            fd = descriptor(key)
            if fd is not None and self._slots.due[fd] <= now:
                due.append(key)
        return due


class ConnectionIds:
    """Ids of this process's connections: unique here, and all but certainly elsewhere.

    They stay below 2**53, which Lua and JavaScript still count exactly.
    """

    def __init__(self) -> None:
        self._first = secrets.randbits(52) + 1
        self._last = self._first - 1

    def next(self) -> int:
        self._last += 1
        return self._last

    def __contains__(self, connection: int) -> bool:
        """Whether this process gave that id out."""
        return self._first <= connection <= self._last


class Lot(Protocol):
    """What the hub needs of `Parking`."""

    slots: Slots

    def send(self, fd: int, data: bytes) -> bool: ...

    def close(self, fd: int, code: CloseCode, last: bytes = b"") -> None: ...


class Hub:
    """The registry of sockets and waiters.

    Args:
        document: renders the status of a scene, with a token minted now.
        max_waiters: long polls at once; over it `ApiError` ``overloaded``.
    """

    def __init__(
        self,
        lot: Lot,
        expiry: Expiry,
        document: Callable[[Scene], bytes],
        counters: PushCounters,
        max_waiters: int,
    ) -> None:
        self.ids = ConnectionIds()
        self._lot = lot
        self._expiry = expiry
        self._document = document
        self._counters = counters
        self._max_waiters = max_waiters
        self._sockets: dict[bytes, int] = {}
        self._waiters: dict[bytes, list[Waiter]] = {}
        self.waiting = 0
        """Long polls waiting now."""

    # Sockets.

    def status_frame(self, scene: Scene) -> bytes:
        """The status of a scene as one frame."""
        return text_frame(self._document(scene))

    def register(
        self,
        key: bytes,
        connection: int,
        fd: int,
        scene: Scene,
        greeting: bytes,
        status: bytes,
        replaced: bool = False,
    ) -> None:
        """Make a parked socket the scene's, and write `greeting` and `status` in one piece.

        An older one is asked to leave with 4409. If this one turns out to be the older (its
        upgrade took longer, or `replaced`: another node has a newer one), it is the one to leave.
        """
        self._counters.socket_opened()
        older = self._sockets.get(key)
        if older is not None and self._lot.slots.connections[older] > connection:
            replaced = True
        if replaced:
            self._lot.close(fd, CloseCode.REPLACED, greeting)
            return
        self._sockets[key] = fd
        if older is not None:
            self._lot.close(older, CloseCode.REPLACED)
        self._write(fd, scene, greeting + status)
        if scene.state not in FINAL:
            self._expiry.file(fd, key, scene.ends_at)

    def unregister(self, key: bytes, connection: int) -> None:
        """Take out exactly that connection; may be called twice, and after a newer one came."""
        fd = self._sockets.get(key)
        if fd is not None and self._lot.slots.holds(fd, connection):
            del self._sockets[key]

    def replaced_elsewhere(self, key: bytes, connection: int) -> None:
        """Another node opened `connection` for this scene: what is here is the older."""
        if connection in self.ids:
            return  # Our own, come back through the broker: `register` has seen to it.
        for waiter in self._waiters.get(key, ()):
            waiter.replaced = True
        self._close(key, CloseCode.REPLACED)

    # Waiters.

    def waiter(self, scene_str: SceneStr) -> Waiter:
        """A wait for news of a scene, counted and capped. Use it in a ``with`` statement."""
        if self.waiting >= self._max_waiters:
            raise ApiError("overloaded", "too many waiting polls", retry_after=2)
        self.waiting += 1
        return self._enter(Waiter(scene_key(scene_str), self._end_wait))

    def arrival(self, key: bytes) -> Waiter:
        """The same for an upgrade under way, which the limit of descriptors already counts."""
        return self._enter(Waiter(key, self._forget_waiter))

    def release_waiters(self) -> None:
        """End every wait without news: the page asks again, elsewhere or here."""
        for waiters in list(self._waiters.values()):
            for waiter in waiters:
                waiter.release()

    def _enter(self, waiter: Waiter) -> Waiter:
        self._waiters.setdefault(waiter.key, []).append(waiter)
        return waiter

    def _end_wait(self, waiter: Waiter) -> None:
        if self._forget_waiter(waiter):
            self.waiting -= 1

    def _forget_waiter(self, waiter: Waiter) -> bool:
        waiters = self._waiters.get(waiter.key, [])
        if waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.key]
        return True

    # News.

    def watched(self, key: bytes) -> bool:
        """Whether anybody here wants to hear of that scene."""
        return key in self._sockets or key in self._waiters

    def needs(self, key: bytes, seq: int) -> bool:
        """Whether anybody here may not have that `seq` yet."""
        fd = self._sockets.get(key)
        return key in self._waiters or (fd is not None and self._lot.slots.seqs[fd] < seq)

    def keys(self) -> list[bytes]:
        """Every scene somebody here wants to hear of."""
        return [*self._sockets, *(key for key in self._waiters if key not in self._sockets)]

    def descriptor(self, key: bytes) -> int | None:
        """The scene's socket here, if it has one."""
        return self._sockets.get(key)

    def connection(self, key: bytes) -> int | None:
        """The id of that socket."""
        fd = self._sockets.get(key)
        return None if fd is None else self._lot.slots.connections[fd]

    @property
    def sockets(self) -> int:
        return len(self._sockets)

    def deliver(self, key: bytes, scene: Scene) -> None:
        """Bring a state to everybody who wants it. What is no news to somebody is left out."""
        for waiter in self._waiters.get(key, ()):
            waiter.wake(scene)
        fd = self._sockets.get(key)
        if fd is None:
            return
        if scene.seq > self._lot.slots.seqs[fd]:
            self._write(fd, scene, self.status_frame(scene))
            self._counters.delivered(scene)
        if scene.state not in FINAL:
            self._expiry.file(fd, key, scene.ends_at)

    def _write(self, fd: int, scene: Scene, frames: bytes) -> None:
        """Write what ends in the status; after a final state close behind it."""
        self._lot.slots.seqs[fd] = scene.seq
        self._counters.status_written()
        if scene.state in FINAL:
            expired = scene.state is State.EXPIRED
            self._lot.close(fd, CloseCode.EXPIRED if expired else CloseCode.FINISHED, frames)
        else:
            self._lot.send(fd, frames)

    def fail(self, key: bytes) -> None:
        """Something went wrong here: the page reconnects."""
        self._close(key, CloseCode.SERVER_ERROR)

    def forgotten(self, key: bytes) -> None:
        """The scene is no more: its page begins anew."""
        self._close(key, CloseCode.EXPIRED)

    def _close(self, key: bytes, code: CloseCode) -> None:
        fd = self._sockets.get(key)
        if fd is not None:
            self._lot.close(fd, code)
