"""Generator processes for more pages than one process may have open files.

Each holds the pages of one node: it begins scenes, opens their sockets, answers pings, replaces
pages that leave, and has some of them scanned. `Holders` is the other end, in the measuring
process; orders and ticks go through a pipe for each.
"""

import functools
import gc
import multiprocessing
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bench.callbacks import Callbacks
from bench.kit.crew import Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.ending import ignore_both
from bench.kit.loop import Loop
from bench.kit.server_process import Usage, usage
from bench.kit.sockets import Page, Stage
from bench.kit.wire import Target
from bench.measure import common

TICK_SECONDS = 1.0
LOOK_SECONDS = 0.5
OPEN_SECONDS = 30.0
"""How long one opening may take."""

LOST_SECONDS = 10.0
FAILURES_AT_MOST = 20
"""After so many in a row a holder opens no more pages: a limit of the server has been reached."""

PEOPLE = 4
"""Of each node: few, so that nearly all logins are of people who were there before."""

CALLBACK_LINKS = 4


@dataclass(frozen=True, slots=True)
class Share:
    """What one process is to do. WeChat's callbacks about its pages go to `callbacks`, another
    node; `scannable` of the pages are of the kind that is scanned in WeChat."""

    node: Target
    callbacks: Target
    pages: int
    scannable: int
    inflight: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scans:
    """The order to have pages scanned: at `began`, and every `seconds` after that, `count` times.
    Moments are of the clock that all processes of the machine share."""

    began: float
    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Where a process is now. Counts are since its start."""

    held: int = 0
    opened: int = 0
    pings: int = 0
    delivered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[int] = field(default_factory=Counter)
    filled: bool = False
    """It holds all its pages, or has given up opening more."""
    orders: int = 0
    """It has received."""
    at_rest: bool = False
    """Nothing of them is unfinished."""


@dataclass(slots=True)
class Seen:
    """What one process saw in all of `Scans`; samples are in seconds."""

    frame: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    handshake: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Seen") -> None:
        """Take in what another process saw."""
        self.frame += other.frame
        self.due += other.due
        self.handshake += other.handshake
        self.faults += other.faults


ENOUGH, WARM_UP, END = "enough", "warm up", "end"
"""Orders: open no more pages; the first login of each person, in which WeChat is asked for the
unionid; send what was seen."""


def hold(share: Share, pipe: Connection, parents_end: Connection) -> None:
    """The body of a process. Signals are for the measuring process, which ends this one."""
    # While the other end is open here, too, the death of the measuring process would not be seen.
    parents_end.close()
    ignore_both()
    # Nothing here makes cycles, and a pause for a collection would look like one of the server's.
    gc.collect()
    gc.freeze()
    gc.disable()
    with closing(Loop()) as loop:
        try:
            Holder(share, pipe, loop).run()
        except BrokenPipeError:
            pass  # The measuring process has ended.


class Holder:
    """The pages of one node."""

    def __init__(self, share: Share, pipe: Connection, loop: Loop) -> None:
        self._share = share
        self._pipe = pipe
        self._loop = loop
        self._crew = Crew(loop, share.node, list(share.sources))
        self._crew.after_gone = self._gone
        self._callbacks = Callbacks(loop, share.callbacks, CALLBACK_LINKS, PEOPLE)
        self._wanted = share.pages
        self._official = share.scannable
        self._scannable: deque[Page] = deque()
        self._failures = self._opened_before = 0
        self._refused: Counter[str] = Counter()
        self._dropped: Counter[int] = Counter()
        self._orders = 0
        self._scans_due = self._unscanned = 0
        self._first_sample = 0
        self._ended = False
        loop.add(pipe.fileno(), self)
        loop.every(TICK_SECONDS, self._tick)

    def run(self) -> None:
        """Until the order to end, or until the measuring process has gone."""
        self._loop.run_until(self._fill)

    def on_ready(self, events: int) -> None:
        """The measuring process has sent an order, or has ended."""
        try:
            order = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._loop.stop()
            return
        self._orders += 1
        if isinstance(order, Scans):
            self._scan_all(order)
        elif order == ENOUGH:
            self._wanted = 0
        elif order == WARM_UP:
            self._scan_all(Scans(self._loop.now(), 0.0, PEOPLE))
        else:
            self._pipe.send(self._seen())

    def shut(self) -> None:
        """The pipe is closed with the process."""

    def _fill(self) -> bool:
        """Begin as many pages as are missing and may be on their way; never done by itself."""
        crew = self._crew
        coming = crew.http.busy + crew.sockets.opening
        while (
            coming < self._share.inflight and len(crew.sockets.open_pages) + coming < self._wanted
        ):
            coming += 1
            web = not self._official
            self._official -= not web
            crew.begin(functools.partial(self._begun, web), web=web)
        return False

    def _begun(self, web: bool, ticket: Ticket | None, why: str) -> None:
        if ticket is None:
            self._refused[f"begin: {why}"] += 1
            self._failed()
            return
        page = self._crew.open(ticket)
        if not web:
            self._scannable.append(page)

    def _failed(self) -> None:
        opened = self._crew.sockets.opened
        self._failures = 1 if opened > self._opened_before else self._failures + 1
        self._opened_before = opened
        if self._failures >= FAILURES_AT_MOST:
            self._wanted = 0

    def _gone(self, page: Page, code: int) -> None:
        if not code:
            self._failed()
        elif not (page.seq and code == 1000):
            self._dropped[code] += 1

    def _scan_all(self, order: Scans) -> None:
        self._first_sample = len(self._crew.tally.scan_to_token)
        self._scans_due = order.count
        for index in range(order.count):
            due = order.began + index * order.seconds
            self._loop.at(due, functools.partial(self._scan, due))

    def _scan(self, due: float) -> None:
        self._scans_due -= 1
        while self._scannable:
            page = self._scannable.popleft()
            if page.stage is Stage.OPEN:
                self._crew.scan(page, self._callbacks, due)
                return
        self._unscanned += 1

    def _tick(self) -> None:
        crew, sockets = self._crew, self._crew.sockets
        crew.fresh.clear()
        crew.count_lost(LOST_SECONDS)
        sockets.give_up_older_than(OPEN_SECONDS)
        missing = self._wanted - len(sockets.open_pages)
        tick = Tick(
            len(sockets.open_pages),
            sockets.opened,
            sockets.pings,
            crew.tally.delivered,
            self._refused + sockets.refusals,
            self._dropped,
            filled=missing <= 0 and not sockets.opening,
            orders=self._orders,
            at_rest=not self._scans_due and crew.at_rest,
        )
        self._pipe.send(tick)

    def _seen(self) -> Seen:
        tally, first = self._crew.tally, self._first_sample
        faults = Counter(
            lost=tally.lost,
            misdelivered=tally.misdelivered,
            after_ack=tally.duplicated_after_ack,
            no_page_left=self._unscanned,
            **tally.scan_errors,
        )
        return Seen(
            list(tally.scan_to_token[first:]),
            list(tally.due_to_token[first:]),
            list(self._crew.sockets.handshake_seconds),
            faults,
        )


class Holders:
    """All holders, seen from the measuring process."""

    def __init__(self, processes: dict[Connection, BaseProcess]) -> None:
        self._processes = processes
        self._ticks: dict[Connection, Tick] = {pipe: Tick() for pipe in processes}
        self._seen: list[Seen] = []
        self.orders = 0

    @property
    def pids(self) -> list[int]:
        return [process.pid or 0 for process in self._processes.values()]

    def usage(self) -> Usage:
        """Memory and CPU of all of them."""
        found = usage(self.pids)
        assert found is not None
        return found

    def total(self, name: str) -> Any:
        """One count of all ticks together."""
        values = [getattr(tick, name) for tick in self._ticks.values()]
        return sum(values[1:], values[0])

    @property
    def filled(self) -> bool:
        return all(tick.filled for tick in self._ticks.values())

    def rest(self, within: float) -> int:
        """Listen until every order has been carried out, at most `within` seconds; how many pages
        were held meanwhile, at least."""
        least: int = self.total("held")
        end = time.perf_counter() + within
        while time.perf_counter() < end:
            self.listen(LOOK_SECONDS)
            least = min(least, self.total("held"))
            if all(tick.at_rest and tick.orders == self.orders for tick in self._ticks.values()):
                break
        return least

    def order(self, *orders: Any) -> None:
        """Send one order to all of them, or to each its own."""
        self.orders += 1
        for number, pipe in enumerate(self._processes):
            pipe.send(orders[number % len(orders)])

    def listen(self, seconds: float) -> None:
        """Take in ticks for so long.

        Raises:
            NotUsable: a process has ended.
        """
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            for pipe in wait(list(self._processes), timeout=left):
                assert isinstance(pipe, Connection)
                self._hear(pipe)

    def seen(self, within: float) -> Seen:
        """What all of them saw.

        Raises:
            NotUsable: one does not say it in time.
        """
        self._seen.clear()
        self.order(END)
        end = time.perf_counter() + within
        while len(self._seen) < len(self._processes):
            if time.perf_counter() > end:
                raise NotUsable("a generator process does not answer")
            self.listen(0.1)
        result = Seen()
        for seen in self._seen:
            result.add(seen)
        return result

    def _hear(self, pipe: Connection) -> None:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionResetError):
            raise NotUsable("a generator process has ended") from None
        if isinstance(message, Tick):
            self._ticks[pipe] = message
        else:
            self._seen.append(message)


@contextmanager
def holders(shares: Sequence[Share]) -> Iterator[Holders]:
    """One process for each share, until the block ends."""
    context = multiprocessing.get_context("fork")
    processes: dict[Connection, BaseProcess] = {}
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=hold, args=(share, theirs, ours), daemon=True)
            processes[ours] = process
            process.start()
            theirs.close()
        yield Holders(processes)
    finally:
        for process in processes.values():
            if process.pid is not None:
                process.kill()
        for pipe, process in processes.items():
            if process.pid is not None:
                process.join(common.OPEN_SECONDS)
            pipe.close()
