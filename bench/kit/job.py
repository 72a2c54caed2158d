"""What a run is asked to do, each process's share of it, and what the processes report."""

from collections import Counter
from dataclasses import dataclass, field

from bench.kit import limits
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


INFLIGHT = 256
"""Openings at a time over all processes; a crowd of browsers waits for nothing, either."""


class TooMany(Exception):
    """This machine cannot open that many sockets; the text says what would help."""


@dataclass(frozen=True, slots=True)
class WholeLoad(Load):
    """The load of all processes together, as the command line asks for it."""

    processes: int

    @property
    def most_at_once(self) -> int:
        """Sockets open at the worst moment; a page that logged in is replaced by a new one."""
        stay = self.hold if self.together else min(self.visit, self.hold)
        return round(self.sockets + self.churn * stay + self.scans * 0.5)


def jobs(whole: WholeLoad, target: Target, simulator: Target | None, address: str) -> list[Job]:
    """The shares of all workers.

    Raises:
        TooMany: towards one remote address there are only so many local ports.
    """
    allowed = limits.allowance(address)
    if not allowed.loopback and whole.most_at_once > allowed.per_source:
        raise TooMany(
            f"{whole.most_at_once:,} sockets towards one address need more than the "
            f"{allowed.per_source:,} local ports of this machine: widen "
            "net.ipv4.ip_local_port_range, or run the kit on several machines"
        )
    needed = max(1, -(-whole.most_at_once // allowed.per_process))
    count = max(needed, whole.processes)
    each = -(-whole.most_at_once // count)
    return [
        Job(
            target=target,
            simulator=simulator,
            # The remainder goes to the first workers, one each.
            sockets=whole.sockets // count + (index < whole.sockets % count),
            rate=whole.rate / count,
            hold=whole.hold,
            churn=whole.churn / count,
            visit=whole.visit,
            together=whole.together,
            scans=whole.scans / count if simulator is not None else 0.0,
            person=whole.person,
            people=max(1, whole.people // count),
            scenes_first=whole.scenes_first,
            abort=whole.abort,
            inflight=max(1, INFLIGHT // count),
            timeout=whole.timeout,
            worker=index,
            sources=tuple(limits.sources(index, each, allowed)),
        )
        for index in range(count)
    ]
