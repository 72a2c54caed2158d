"""Time without a timer per socket: a wheel of deadlines, and one ticker that pings all sockets."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from services.clock import Clock
from services.push.protocol import EMPTY_PING

SLICES_PER_SECOND = 4
"""Few enough to cost nothing while idle; at 19,000 sockets and 30 s one slice is 160 pings."""

Job = Callable[[float], None]


class TimerWheel:
    """Records of a fixed size, filed by the second they are due; one bytearray a second.

    A record cannot be taken out early: the caller that gets one back checks whether it still
    counts. That makes filing one append, and no object is kept per record.
    """

    def __init__(self, record_bytes: int) -> None:
        self._size = record_bytes
        self._by_second: dict[int, bytearray] = {}
        self._ready = bytearray()
        """Due records that the last `take` had no room for."""

    def add(self, second: int, record: bytes) -> None:
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

        The first call only sets the starting point. Phases over a second late (the process was
        stopped, say) wait for their next turn, so that no peer is pinged twice in a row.
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
    """Pings all parked sockets, spread evenly over the interval.

    A ping keeps proxies and routers from dropping a quiet connection, and finds half-open ones: a
    peer that answers nothing for two intervals is dropped by `Parking.ping`.

    Args:
        interval_seconds: over 0; without pings none of these is made.
        ping: writes a ping to a descriptor, and says whether it did.
        descriptors: one past the highest descriptor that may be parked.
        on_ping: called for each ping written.
    """

    def __init__(
        self,
        interval_seconds: float,
        ping: Callable[[int, bytes], bool],
        descriptors: Callable[[], int],
        on_ping: Callable[[], None],
    ) -> None:
        self._plan = PingPlan(interval_seconds)
        self._ping = ping
        self._descriptors = descriptors
        self._on_ping = on_ping

    def tick(self, now: float) -> None:
        for phase in self._plan.due(now):
            for fd in self._plan.descriptors(phase, self._descriptors()):
                if self._ping(fd, EMPTY_PING):
                    self._on_ping()


async def tick_forever(clock: Clock, jobs: Sequence[Job]) -> None:
    """Call each job `SLICES_PER_SECOND` times a second with the monotonic time, for ever."""
    while True:
        await asyncio.sleep(1 / SLICES_PER_SECOND)
        for job in jobs:
            job(clock.monotonic())
