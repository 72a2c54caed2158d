"""Clocks that a test turns (`services.clock.Clock`)."""

import time

START = 1_700_000_000.0


class StandingClock:
    """Stands still but for what a test adds to `seconds`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return START + self.seconds

    def monotonic(self) -> float:
        return self.seconds


class TurnedClock:
    """The real time, plus what a test has turned it ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead
