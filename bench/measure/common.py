"""What the measuring programs share."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.kit import limits, wire
from bench.kit.crew import BEGIN_LINKS, Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.loop import Loop
from bench.kit.outcome import milliseconds
from bench.kit.sockets import Page, open_at_rate
from bench.kit.toys import ToyCrew
from bench.servers import (
    NotInstalled,
    Running,
    account_environment,
    peer,
    scanpush,
    scratch,
    upstream,
)

INFLIGHT = 128
SETTLE_SECONDS = 1.5
OPEN_SECONDS = 120.0
PASSING_SOCKETS = 300
LONG_LIFE = {"SCANPUSH_LOGIN__SCENE_TTL_SECONDS": "1800"}
"""Scenes live for the whole of a run."""

NO_DAILY_RESERVE = {"SCANPUSH_LIMITS__DAILY_CODE_RESERVE": "0"}

Options = argparse.Namespace


@dataclass(slots=True)
class Cost:
    """Server CPU, generator share and wall time of one block."""

    seconds: float = 0.0
    server_seconds: float = 0.0
    generator_cpu: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        """Seconds since the block began."""
        return time.perf_counter() - self.began


@contextmanager
def costing(running: Running) -> Iterator[Cost]:
    """Fills in a `Cost` when the block ends."""
    server, own = running.usage().cpu_seconds, time.process_time()
    cost = Cost()
    yield cost
    cost.seconds = cost.elapsed()
    cost.server_seconds = running.usage().cpu_seconds - server
    cost.generator_cpu = round((time.process_time() - own) / cost.seconds, 3)


def sources(count: int, block: int = 0) -> list[str]:
    """Source addresses for `count` sockets; blocks share none."""
    return limits.sources(block, count, limits.allowance("127.0.0.1"))


@contextmanager
def toy_crew(
    running: Running, count: int, links: int = 4, block: int = 0
) -> Iterator[tuple[Loop, ToyCrew]]:
    """A loop and the pages of a peer; all of it is closed at the end."""
    with closing(Loop()) as loop:
        yield loop, ToyCrew(loop, running.ws, running.push, sources(count, block), links)


@contextmanager
def full_crew(running: Running, count: int, block: int = 0) -> Iterator[tuple[Loop, Crew]]:
    """A loop and the pages of scanpush; all of it is closed at the end."""
    with closing(Loop()) as loop:
        yield loop, Crew(loop, running.ws, sources(count, block))


def open_pages(
    loop: Loop, crew: ToyCrew | Crew, count: int, begin_one: Callable[[], object]
) -> None:
    """Open `count` pages as fast as INFLIGHT at a time allow.

    Raises:
        NotUsable: not all of them opened, or this process may not open so many files.
    """
    allowed = limits.allowance("127.0.0.1").per_process
    if count > allowed:
        raise NotUsable(
            f"the open-file limit lets this process hold {allowed:,} sockets, not {count:,}"
        )
    made = 0

    def next_page() -> bool:
        nonlocal made
        if made >= count:
            return False
        made += 1
        begin_one()
        return True

    before = crew.sockets.opened
    open_at_rate(loop, crew.sockets, 0, INFLIGHT, next_page)
    if crew.sockets.opened - before < count:
        raise NotUsable(f"only some of {count} sockets opened: {dict(crew.sockets.refusals)}")


def open_tickets(loop: Loop, crew: Crew, tickets: Sequence[Ticket]) -> list[Page]:
    """Open the sockets of these scenes."""
    waiting = iter(tickets)
    pages: list[Page] = []
    open_pages(loop, crew, len(tickets), lambda: pages.append(crew.open(next(waiting))))
    loop.run_for(0.2)
    return pages


def begin_scenes(loop: Loop, crew: Crew, count: int) -> list[Ticket]:
    """Begin scenes, 16 at a time.

    Raises:
        NotUsable: the server refuses.
    """
    tickets: list[Ticket] = []
    refused: list[str] = []

    def then(ticket: Ticket | None, why: str) -> None:
        if ticket is None:
            refused.append(why)
        else:
            tickets.append(ticket)

    def done() -> bool:
        while len(tickets) + crew.http.busy < count and crew.http.free and not refused:
            crew.begin(then)
        return bool(refused) or len(tickets) >= count

    loop.run_until(done)
    if refused:
        raise NotUsable(f"scenes cannot be begun: {refused[0]}")
    return tickets


@contextmanager
def stock_with_upstream(delay_seconds: float = 0) -> Iterator[Running]:
    """bench/peers/stock_login.py with an account at bench/upstream.py."""
    with upstream(delay_seconds=delay_seconds) as wechat:
        with peer("stock-login", arguments=["--wechat", wechat.origin]) as running:
            yield running


@contextmanager
def scanpush_with_upstream(
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    delay_seconds: float = 0,
) -> Iterator[Running]:
    """scanpush with an account at bench/upstream.py."""
    with upstream(delay_seconds=delay_seconds) as wechat:
        settings = {**account_environment(wechat), **LONG_LIFE, **NO_DAILY_RESERVE}
        with scanpush({**settings, **(environment or {})}, directory=directory) as running:
            yield running


@contextmanager
def rested_scanpush(
    count: int, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Running, list[Ticket], dict[str, float]]]:
    """A scanpush that finds `count` scenes in its database and has served each of them once.

    A first process begins them and is stopped. What a scene costs is read there; sockets are then
    opened on a heap without the free blocks that beginning scenes leaves behind, which would hide
    what sockets take. One poll of each scene and a few passing sockets fill SQLite's page cache
    and whatever else is there only once, so that it is not taken for a cost of sockets.
    """
    with scratch() as directory:
        figures = {}
        with scanpush_with_upstream(environment, directory) as first:
            with full_crew(first, count) as (loop, crew):
                before = first.usage().rss_bytes
                with costing(first) as cost:
                    tickets = begin_scenes(loop, crew, count)
                loop.run_for(SETTLE_SECONDS)
                figures["scene_kb"] = (first.usage().rss_bytes - before) / 1024 / count
                figures["scenes_per_s"] = count / cost.seconds
        with scanpush_with_upstream(environment, directory) as running:
            serve_once(running, tickets)
            yield running, tickets, figures


def serve_once(running: Running, tickets: Sequence[Ticket]) -> None:
    """Poll every scene, then open and close the sockets of the first few."""
    with full_crew(running, len(tickets)) as (loop, crew):
        poll_each(loop, crew, running.ws, tickets)
        open_tickets(loop, crew, tickets[:PASSING_SOCKETS])
        crew.close_all(OPEN_SECONDS)
        loop.run_for(SETTLE_SECONDS)


def poll_each(loop: Loop, crew: Crew, target: wire.Target, tickets: Sequence[Ticket]) -> None:
    """One poll a scene, BEGIN_LINKS at a time.

    Raises:
        NotUsable: a scene is not there.
    """
    waiting = iter(tickets)
    statuses: Counter[int] = Counter()

    def poll_next() -> None:
        ticket = next(waiting, None)
        if ticket is not None:
            path = f"{target.path}/api/scenes/{ticket.scene_str}"
            watch = f"Authorization: Bearer {ticket.watch_token}"
            crew.http.ask(wire.http_request("GET", path, target, b"", [watch]), answered)

    def answered(status: int, body: bytes, now: float) -> None:
        statuses[status] += 1
        poll_next()

    for _ in range(BEGIN_LINKS):
        poll_next()
    loop.run_until(lambda: not crew.http.busy)
    if statuses[200] != len(tickets):
        raise NotUsable(f"scenes are not there after a restart: {dict(statuses)}")


def available(names: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Those peers that this machine can run; the others are noted."""
    found = []
    for name in names:
        try:
            with peer(name):
                found.append(name)
        except NotInstalled as error:
            note(f"{name} is left out: {error} not installed here")
    return found


def latency(prefix: str, seconds: Sequence[float]) -> dict[str, Any]:
    """p50, p99, p99.9 and max in milliseconds, as figures."""
    figures = milliseconds(seconds)
    return {f"{prefix}_{name}": figures.get(name) for name in ("p50", "p99", "p999", "max")}
