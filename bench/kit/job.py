"""What a run is asked to do, and what its workers tell while they do it."""

from collections import Counter
from dataclasses import dataclass, field

from bench.kit.wire import Target


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to a server. Rates are a second, times in seconds; rate 0: flat out."""

    sockets: int
    rate: float
    hold: float
    churn: float
    visit: float
    together: bool
    scans: float
    person: str
    people: int
    scenes_first: bool
    abort: bool
    timeout: float


@dataclass(frozen=True, slots=True)
class Job(Load):
    """One worker's share of a run."""

    target: Target
    simulator: Target | None
    inflight: int
    worker: int
    sources: tuple[str, ...]


@dataclass(slots=True)
class Tick:
    """Where one worker is now. Counts are since its start, `latencies` since the last tick."""

    phase: str
    begun: int = 0
    opening: int = 0
    held: int = 0
    opened: int = 0
    refused: int = 0
    scans: int = 0
    delivered: int = 0
    lost: int = 0
    pings: int = 0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What one worker saw in all; samples are in seconds."""

    begun: int = 0
    opened: int = 0
    open_seconds: float = 0.0
    opened_in_time: int = 0
    held_at_most: int = 0
    pings: int = 0
    scans: int = 0
    delivered: int = 0
    consumed: int = 0
    lost: int = 0
    lost_in: Counter[str] = field(default_factory=Counter)
    misdelivered: int = 0
    repeated: int = 0
    duplicated_after_ack: int = 0
    expired: int = 0
    begin_errors: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    scan_errors: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    dropped: Counter[int] = field(default_factory=Counter)
    handshake: list[float] = field(default_factory=list)
    scan_to_token: list[float] = field(default_factory=list)
    due_to_token: list[float] = field(default_factory=list)
    scan_to_consumed: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    def add(self, other: "Result") -> None:
        """Take in what another worker saw: counts add up, the longest time counts."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if name in ("seconds", "open_seconds"):
                setattr(self, name, max(mine, theirs))
            else:
                setattr(self, name, mine + theirs)
