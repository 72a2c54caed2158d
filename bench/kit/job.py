"""What a run is asked to do, each process's share of it, and what the processes report."""

import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bench.kit import limits
from bench.kit.histogram import Histogram, NotAHistogram
from bench.kit.wire import Target

FIGURES = {"begin": "begin", "open": "open", "scan_to_token": "due_to_token", "whole": "whole"}
"""The latencies that may be named, all from when the thing was due, and their fields."""


@dataclass(frozen=True, slots=True)
class Stage:
    """So many seconds, in which the number of pages goes in a straight line to `pages`."""

    seconds: float
    pages: int


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to a server. Rates are a second, times in seconds; rate 0: flat out.

    With `stages` pages come and go by them: `sockets` is then the most, `hold` their length.
    """

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
    stages: tuple[Stage, ...] = field(default=(), kw_only=True)

    def part(self, index: int, count: int) -> "Load":
        """The share of one of `count` that do it together; the first ones take what is left."""

        def of(pages: int) -> int:
            return pages // count + (index < pages % count)

        return replace(
            self,
            sockets=of(self.sockets),
            rate=self.rate / count,
            churn=self.churn / count,
            scans=self.scans / count,
            people=max(1, self.people // count),
            stages=tuple(Stage(stage.seconds, of(stage.pages)) for stage in self.stages),
        )

    def steps(self) -> Iterator[tuple[float, int]]:
        """When each page comes (1) or goes (-1) by the stages, in seconds from their start."""
        began, pages = 0.0, 0
        for stage in self.stages:
            change = stage.pages - pages
            for number in range(1, abs(change) + 1):
                yield began + stage.seconds * number / abs(change), 1 if change > 0 else -1
            began, pages = began + stage.seconds, stage.pages


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
    """Where one worker is now. Counts are since its start, the latencies of `figures`, which are
    those of `FIGURES`, since the last tick."""

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
    figures: dict[str, Histogram] = field(default_factory=dict)

    def add(self, other: "Tick") -> None:
        """Take in where another worker is; the one that is less far gives the phase."""
        self.phase = min(self.phase, other.phase, key=PHASES.index)
        for name, value in other.figures.items():
            self.figures[name] = self.figures.get(name, Histogram()) + value
        for name in self.__slots__:
            if name not in ("phase", "figures"):
                setattr(self, name, getattr(self, name) + getattr(other, name))


PHASES = ("begin", "open", "hold", "stages", "close")


@dataclass(slots=True)
class Result:
    """What one worker saw in all. `spans` has for each of `FIGURES` the seconds from when the
    first was due to when the last ended; `died` counts the processes that gave no result."""

    begun: int = 0
    opened: int = 0
    open_seconds: float = 0.0
    opened_in_time: int = 0
    held_at_most: int = 0
    pings: int = 0
    scans: int = 0
    scans_left_out: int = 0
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
    handshake: Histogram = field(default_factory=Histogram)
    begin: Histogram = field(default_factory=Histogram)
    open: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)
    scan_to_token: Histogram = field(default_factory=Histogram)
    due_to_token: Histogram = field(default_factory=Histogram)
    scan_to_consumed: Histogram = field(default_factory=Histogram)
    spans: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    died: int = 0

    def add(self, other: "Result") -> None:
        """Take in what another worker saw: counts add up, the longest time counts."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if name in ("seconds", "open_seconds"):
                setattr(self, name, max(mine, theirs))
            elif name == "spans":
                for figure, seconds in theirs.items():
                    mine[figure] = max(mine.get(figure, 0.0), seconds)
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


def jobs(
    whole: WholeLoad, target: Target, simulator: Target | None, address: str, first: int = 0
) -> list[Job]:
    """The shares of all workers of this machine; they are numbered from `first`.

    Raises:
        TooMany: towards one remote address there are only so many local ports.
    """
    allowed = limits.allowance(address)
    if not allowed.loopback and whole.most_at_once > allowed.per_source:
        raise TooMany(
            f"{whole.most_at_once:,} sockets towards one address need more than the "
            f"{allowed.per_source:,} local ports of this machine: widen "
            "net.ipv4.ip_local_port_range, or use several machines (--conduct)"
        )
    needed = max(1, -(-whole.most_at_once // allowed.per_process))
    count = max(needed, whole.processes)
    each = -(-whole.most_at_once // count)
    shares = [whole.part(index, count) for index in range(count)]
    return [
        Job(
            **{name.name: getattr(share, name.name) for name in fields(Load)},
            target=target,
            simulator=simulator,
            inflight=max(1, INFLIGHT // count),
            worker=first + index,
            sources=tuple(limits.sources(first + index, each, allowed)),
        )
        for index, share in enumerate(shares)
    ]


def _version() -> str:
    """Of the kit's files and of its words between machines: it changes with what they hold."""
    names = [
        f"{kind.__name__}.{f.name}" for kind in (WholeLoad, Tick, Result) for f in fields(kind)
    ]
    return f"1-{zlib.crc32(' '.join(names).encode()):08x}"


VERSION = _version()


def to_json(value: Tick | Result | WholeLoad) -> dict[str, Any]:
    """Plain values, for a file or another machine; histograms are encoded."""

    def plain(value: Any) -> Any:
        if isinstance(value, Histogram):
            return value.encoded()
        if isinstance(value, dict):
            return {str(key): plain(inner) for key, inner in value.items()}
        if isinstance(value, tuple):
            return [[stage.seconds, stage.pages] for stage in value]
        return value

    return {name.name: plain(getattr(value, name.name)) for name in fields(value)}


def result_from(document: dict[str, Any]) -> Result:
    """What `to_json` made of a result. Raises Unreadable."""
    result = Result()
    return _filled(result, document, {"codes": int, "dropped": int})


def tick_from(document: dict[str, Any]) -> Tick:
    """What `to_json` made of a tick. Raises Unreadable."""
    tick = _filled(Tick("begin"), {**document, "figures": {}}, {})
    if tick.phase not in PHASES:
        raise Unreadable("an unknown phase")
    for name in FIGURES:
        if name in document["figures"]:
            tick.figures[name] = _like(Histogram(), document["figures"][name], str)
    return tick


def whole_load_from(document: dict[str, Any]) -> WholeLoad:
    """What `to_json` made of a load. Raises Unreadable."""
    try:
        stages = tuple(Stage(float(seconds), int(pages)) for seconds, pages in document["stages"])
        return WholeLoad(**{**document, "stages": stages})
    except (KeyError, TypeError, ValueError):
        raise Unreadable("not a load") from None


class Unreadable(ValueError):
    """Something else than what `to_json` makes."""


def _filled(empty: Any, document: dict[str, Any], keys: dict[str, type]) -> Any:
    """`empty` with the values of `document`, each of the type that it has there."""
    for name in empty.__slots__:
        if name not in document:
            raise Unreadable(f"{name} is missing")
        value = _like(getattr(empty, name), document[name], keys.get(name, str))
        setattr(empty, name, value)
    return empty


def _like(empty: Any, value: Any, key: type) -> Any:
    if isinstance(empty, Histogram) and isinstance(value, str):
        try:
            return Histogram.decoded(value)
        except NotAHistogram as error:
            raise Unreadable(str(error)) from None
    if isinstance(empty, Counter | dict) and isinstance(value, dict):
        try:
            return type(empty)({key(name): _like(0.0, n, str) for name, n in value.items()})
        except ValueError:
            raise Unreadable("a count with a wrong name") from None
    if isinstance(empty, str) and isinstance(value, str):
        return value
    kinds = (int, float) if isinstance(empty, float) else (int,)
    if isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise Unreadable("a value of another kind")
