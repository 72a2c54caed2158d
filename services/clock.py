"""The source of time, which tests replace by one that they advance."""

import time
from typing import Protocol


class Clock(Protocol):
    """The two times a server needs. Pure modules take a number instead."""

    def now(self) -> float:
        """Unix time in seconds: for what is stored or shown."""

    def monotonic(self) -> float:
        """Seconds that never go backwards: for durations within this process."""


class SystemClock:
    """The machine's clock: the library's own functions, which are called several times a login."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
