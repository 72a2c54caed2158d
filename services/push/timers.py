"""Deadlines without timers: records filed under the second they are due.

Pings for all parked sockets from one ticker, spread evenly over the interval.

A ping keeps proxies and routers from dropping a quiet connection, and finds peers that vanished
without a word (a half-open connection): who answered nothing for two intervals is dropped.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from services.clock import Clock
from services.push.protocol import EMPTY_PING


class Buckets:
    """Records of a fixed size, filed by second; one bytearray a second, no object a record.

    A record cannot be taken out early: whoever gets one back asks whether it still matters.
    """

    def __init__(self, record_bytes: int) -> None:
        self._size = record_bytes
        self._by_second: dict[int, bytearray] = {}
        self._ready = bytearray()
        """Due records that the last `take` had no room for."""

    def file(self, second: int, record: bytes) -> None:
        """Keep `record` until `second`."""
        bucket = self._by_second.get(second)
        if bucket is None:
            bucket = self._by_second[second] = bytearray()
        bucket += record

    def take(self, now: float, limit: int) -> Iterator[bytes]:
        """Give back at most `limit` records whose second has begun; the rest waits for the next."""
        if not self._ready:
            for second in sorted(second for second in self._by_second if second <= now):
                self._ready += self._by_second.pop(second)
        taken = bytes(self._ready[: limit * self._size])
        del self._ready[: len(taken)]
        for start in range(0, len(taken), self._size):
            yield taken[start : start + self._size]

    def __len__(self) -> int:
        filed = sum(len(bucket) for bucket in self._by_second.values())
        return (filed + len(self._ready)) // self._size


SLICES_PER_SECOND = 4
"""Few enough to cost nothing while idle; at 19,000 sockets and 30 s one slice is 160 pings."""

Job = Callable[[float], None]


class Lot(Protocol):
    """What the ticker needs of `Parking`."""

    def ping(self, fd: int, frame: bytes) -> bool: ...


class PingPlan:
    """Which descriptors are due, as a pure function of time.

    The interval is cut into phases of a slice each; descriptor `n` belongs to phase ``n mod
    phases``. Descriptors are dense numbers, so any crowd that arrived together is spread evenly.
    """

    def __init__(self, interval_seconds: float) -> None:
        self.phases = max(1, round(interval_seconds * SLICES_PER_SECOND))
        self._width = interval_seconds / self.phases
        self._next: int | None = None

    def due(self, now: float) -> Sequence[int]:
        """The phases that have begun since the last call, each at most once.

        The first call only sets the starting point. Phases that are over a second late (the
        process was stopped, say) wait for their next turn: nobody is pinged twice in a row.
        """
        current = int(now / self._width)
        if self._next is None:
            self._next = current + 1
            return []
        first = max(self._next, current - min(SLICES_PER_SECOND, self.phases) + 1)
        self._next = max(self._next, current + 1)
        return [slice_number % self.phases for slice_number in range(first, current + 1)]

    def descriptors(self, phase: int, end: int) -> Iterable[int]:
        """The descriptors below `end` that belong to `phase`."""
        return range(phase, end, self.phases)


class Keepalive:
    """Pings what is due. `interval_seconds` must be over 0; without pings make none of these."""

    def __init__(
        self,
        interval_seconds: float,
        lot: Lot,
        room: Callable[[], int],
        pinged: Callable[[], None],
    ) -> None:
        self._plan = PingPlan(interval_seconds)
        self._lot = lot
        self._room = room
        self._pinged = pinged

    def tick(self, now: float) -> None:
        for phase in self._plan.due(now):
            for fd in self._plan.descriptors(phase, self._room()):
                if self._lot.ping(fd, EMPTY_PING):
                    self._pinged()


async def tick_forever(clock: Clock, jobs: Sequence[Job]) -> None:
    """Call each job `SLICES_PER_SECOND` times a second with the monotonic time, for ever."""
    while True:
        await asyncio.sleep(1 / SLICES_PER_SECOND)
        for job in jobs:
            job(clock.monotonic())
