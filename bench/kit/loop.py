"""A loop for one thread: descriptors in a poller, timers in a heap, nothing per idle client.

The poller is epoll where there is one and `selectors` elsewhere, behind epoll's own methods.
"""

import heapq
import itertools
import select
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

IN = 0x001
OUT = 0x004
GONE = 0x008 | 0x010
"""epoll's EPOLLERR and EPOLLHUP; always reported, never asked for."""


class Poller(Protocol):
    """The part of `select.epoll` that the kit uses."""

    def register(self, fd: int, eventmask: int = ...) -> None: ...

    def modify(self, fd: int, eventmask: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def poll(self, timeout: float = ...) -> list[tuple[int, int]]: ...

    def close(self) -> None: ...


class SelectorPoller:
    """The same on macOS's kqueue, and wherever else `selectors` works."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @staticmethod
    def _events(mask: int) -> int:
        wanted = selectors.EVENT_READ if mask & IN else 0
        return wanted | (selectors.EVENT_WRITE if mask & OUT else 0)

    def register(self, fd: int, eventmask: int = IN) -> None:
        self._selector.register(fd, self._events(eventmask))

    def modify(self, fd: int, eventmask: int) -> None:
        self._selector.modify(fd, self._events(eventmask))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float = -1) -> list[tuple[int, int]]:
        ready = self._selector.select(None if timeout < 0 else timeout)
        return [
            (
                key.fd,
                (IN if got & selectors.EVENT_READ else 0)
                | (OUT if got & selectors.EVENT_WRITE else 0),
            )
            for key, got in ready
        ]

    def close(self) -> None:
        self._selector.close()


def best_poller() -> Poller:
    """The cheapest poller of this system."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()


LONGEST_WAIT_SECONDS = 0.1


class Ready(Protocol):
    """The owner of a descriptor."""

    def on_ready(self, events: int) -> None:
        """Called with epoll's events; must read or write until it would block, or give up."""

    def shut(self) -> None:
        """Called when the loop is closed: close the descriptor without further messages."""


class Loop:
    """Runs until `stop` is called, or until a given moment or condition."""

    def __init__(self) -> None:
        self._poller = best_poller()
        self._owners: dict[int, Ready] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopped = False
        self._longest_wait: float = LONGEST_WAIT_SECONDS
        self._turned = self.now()
        self.longest_stall = 0.0

    now = staticmethod(time.perf_counter)
    """Seconds on the clock that every time of the kit is measured by."""

    def add(self, fd: int, owner: Ready, *, write: bool = False) -> None:
        """Watch `fd` for reading, and for writing too when asked."""
        self._owners[fd] = owner
        self._poller.register(fd, IN | OUT if write else IN)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Start or end watching `fd` for writing."""
        self._poller.modify(fd, IN | OUT if wanted else IN)

    def remove(self, fd: int) -> None:
        """Forget `fd`. Call it before the descriptor is closed, so that its number is free."""
        del self._owners[fd]
        self._poller.unregister(fd)

    def at(self, moment: float, call: Callable[[], None]) -> None:
        """Call `call` once, at `moment` or soon after. Cannot be taken back."""
        heapq.heappush(self._timers, (moment, next(self._order), call))

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` again and again, `seconds` after it returned."""

        def again() -> None:
            call()
            self.at(self.now() + seconds, again)

        self.at(self.now() + seconds, again)

    def stop(self) -> None:
        """End every `run_until` at once, now and later."""
        self._stopped = True

    def resume(self) -> None:
        """Take back `stop`, to tidy up."""
        self._stopped = False

    def close(self) -> None:
        """Close every descriptor that is still watched, and the poller. The loop is over."""
        owners, self._owners = self._owners, {}
        for owner in owners.values():
            owner.shut()
        self._timers.clear()
        self._poller.close()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    @contextmanager
    def turning_every(self, seconds: float) -> Iterator[None]:
        """Within this block conditions are looked at that often, even if nothing happens."""
        before, self._longest_wait = self._longest_wait, min(seconds, self._longest_wait)
        try:
            yield
        finally:
            self._longest_wait = before

    def run_for(self, seconds: float) -> None:
        """Run for that long, or until stopped."""
        end = self.now() + seconds
        self.run_until(lambda: self.now() >= end)

    def run_until(self, done: Callable[[], bool], *, within: float | None = None) -> bool:
        """Run until `done()`, at most `within` seconds. Returns whether it became true.

        A stopped loop does not call `done()` again: the kit's conditions also start due work.
        """
        end = None if within is None else self.now() + within
        while not self._stopped:
            if done():
                return True
            if end is not None and self.now() >= end:
                return False
            self._turn()
        return False

    def _turn(self) -> None:
        timers = self._timers
        wait = self._longest_wait
        if timers:
            wait = min(wait, max(0.0, timers[0][0] - self.now()))
        owners = self._owners
        asked = self.now()
        ready = self._poller.poll(wait)
        # The time of a turn beyond the wait it asked for is a stall of this process, which would
        # look like one of the server's.
        self.longest_stall = max(self.longest_stall, asked - self._turned)
        self._turned = self.now()
        if not ready:
            self.longest_stall = max(self.longest_stall, self._turned - asked - wait)
        for fd, events in ready:
            # A descriptor of this very batch may have been closed by another's callback.
            owner = owners.get(fd)
            if owner is not None:
                owner.on_ready(events)
        now = self.now()
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()
