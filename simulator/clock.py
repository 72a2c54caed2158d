"""A clock that tests and demonstrations can turn forward."""

from services.clock import Clock


class TurnableClock:
    """Another clock plus what it was advanced by."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._ahead = 0.0
        self.skew = 0.0
        """By how many seconds its time of day is wrong, either way; waiting is not longer or
        shorter for it."""

    @property
    def is_turned(self) -> bool:
        return self._ahead > 0 or self.skew != 0

    def now(self) -> float:
        return self._base.now() + self._ahead + self.skew

    def monotonic(self) -> float:
        return self._base.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once. Time never goes back."""
        if seconds < 0:
            raise ValueError("time never goes back")
        self._ahead += seconds
