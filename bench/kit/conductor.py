"""Leads the workers through the phases, and measures the server meanwhile.

A worker is a process of this machine, or another machine (bench/kit/machines.py), where a
conductor of its own leads the processes. Either sends ticks, names the barriers it has reached,
waits there for "go", and ends with one result.
"""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import MappingProxyType
from typing import Protocol

from bench.kit import server_process
from bench.kit.ending import EARLY
from bench.kit.histogram import Histogram
from bench.kit.job import PHASES, Job, Result, Tick
from bench.kit.server_process import Usage
from bench.kit.worker import work

MOMENT_SECONDS = 0.5
STOP_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0
SILENT_SECONDS = 10.0
"""After that long without a tick a machine is given up; a process closes its pipe when it dies."""

GO, STOP, INTERRUPTED = "go", "stop", "interrupted"
"""The last is what a machine says when a signal there asks for the end."""


class Link(Protocol):
    """The way to a worker, or from a machine to the one that conducts. A pipe is one."""

    def fileno(self) -> int: ...

    def recv(self) -> object:
        """A tick, a result or a word. Raises EOFError or OSError when the other side is gone."""

    def send(self, obj: object) -> None:
        """Raises OSError when the other side is gone."""

    def close(self) -> None: ...


NO_MACHINES: Mapping[Link, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of the time line. Rates are a second; the percentiles are those of `scan_to_token`
    since the row before, in milliseconds."""

    seconds: float
    phase: str
    begun: int
    held: int
    opened: int
    refused: int
    opens_per_second: float
    scans: int
    delivered: int
    lost: int
    p50_ms: float
    p99_ms: float
    rss_bytes: int
    server_cpu: float
    kit_cpu: float


@dataclass(slots=True)
class Run:
    """Everything that came out. `memory` is by phase: start, begun, opened, held, closed;
    `stopped_by` is the signal that ended it early, 0: none did; `gone` names the machines that
    gave no result, and why; `ordered`: the machine that conducts has ended it."""

    result: Result = field(default_factory=Result)
    timeline: list[Moment] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    held_at_memory: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    stopped_by: int = 0
    ordered: bool = False


class Conductor:
    """One run, of the processes of this machine, or of other `machines` by their names.

    `show` is called with each moment, and with the sum of the ticks: counts since the start,
    latencies since the last moment. `settle` seconds pass after each phase before memory is read,
    so that pending closings and replies finish. With a `chief` that machine conducts, and this
    one does its share: barriers are passed on its word, and the result goes there as well.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        server_pids: list[int],
        show: Callable[[Moment, Tick], None],
        settle: float,
        machines: Mapping[Link, str] = NO_MACHINES,
        chief: Link | None = None,
        silent: float = SILENT_SECONDS,
    ) -> None:
        self._settle = settle
        self._jobs = jobs
        self._pids = server_pids
        self._show = show
        self._run = Run()
        self._machines = dict(machines)
        self._chief = chief
        self._silent = silent
        self._heard: dict[Link, float] = {}
        self._ticks: dict[Link, Tick] = {}
        self._figures: dict[str, Histogram] = {}
        self._workers: dict[Link, BaseProcess | None] = {}
        self._at_barrier: dict[Link, str] = {}
        self._began = self._last = time.perf_counter()
        self._last_usage: Usage | None = None
        self._kill_at = math.inf
        self._stops = self._stops_told = 0
        self._interrupts_told = self._echoes = self._ordered = 0
        self._kit_cpu = 0.0

    def run(self) -> Run:
        """Until every worker has given its result.

        Ctrl-C and SIGTERM end it early, on all machines, with what there is; a second Ctrl-C
        without waiting for closings.
        """
        self._measure("start")
        # A flag and no exception: a KeyboardInterrupt could be raised between any two steps.
        before = {
            early: signal.signal(early, lambda number, frame: self._interrupted(number))
            for early in EARLY
        }
        try:
            self._start()
            while self._workers:
                self._listen()
            self._rest()
            self._measure("closed")
            if self._chief is not None:
                self._say_to_chief(self._sum())
                self._say_to_chief(self._run.result)
        finally:
            self._kill()  # After an exception some are left, and nothing else ends them.
            for early, handler in before.items():
                signal.signal(early, handler)
        return self._run

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        for job in self._jobs:
            mine, theirs = context.Pipe()
            process = context.Process(target=_work_alone, args=(job, theirs, mine), daemon=True)
            process.start()
            theirs.close()
            self._workers[mine] = process
            if self._run.stopped_by:
                _tell(mine, STOP)  # The signal came before this worker existed.
        self._began = self._last = time.perf_counter()
        for link in self._machines:
            self._workers[link] = None
            self._heard[link] = self._began
            _tell(link, GO)

    def _listen(self) -> None:
        chief = [self._chief] if self._chief is not None else []
        for link in wait([*self._workers, *chief], timeout=MOMENT_SECONDS / 2):
            if link is self._chief:
                self._hear_chief()
            elif link in self._workers:
                self._hear(link)
        self._pass_on_stops()
        now = time.perf_counter()
        if now - self._last >= MOMENT_SECONDS:
            self._note_moment()
        for link, heard in list(self._heard.items()):
            # What was sent while this process was busy has been read by now.
            if link in self._workers and now - heard > self._silent:
                self._give_up(link, f"was silent for {self._silent:.0f} seconds")
        if now > self._kill_at:
            self._kill()

    def _hear(self, link: Link) -> None:
        try:
            message = link.recv()
        except (EOFError, OSError):
            self._give_up(link, "died, or was cut off,")
            return
        except ValueError as error:
            self._give_up(link, f"could not be understood ({error})")
            return
        if link in self._machines:
            self._heard[link] = time.perf_counter()
        if isinstance(message, Tick):
            self._take(link, message)
        elif isinstance(message, Result):
            self._run.result.add(message)
            self._dismiss(link)
        elif message == INTERRUPTED:
            if not self._run.stopped_by:
                self._interrupted(signal.SIGINT)
        else:
            self._at_barrier[link] = str(message)
            self._pass_barrier()

    def _take(self, link: Link, tick: Tick) -> None:
        for name, histogram in tick.figures.items():
            self._figures[name] = self._figures.get(name, Histogram()) + histogram
        tick.figures = {}
        self._ticks[link] = tick

    def _hear_chief(self) -> None:
        assert self._chief is not None
        try:
            order = self._chief.recv()
        except (EOFError, OSError, ValueError):
            self._chief_is_gone()
            return
        if order == GO:
            self._let_go()
        elif order == STOP and self._interrupts_told > self._echoes:
            self._echoes += 1  # What a signal here has caused there.
        elif order == STOP:
            self._ordered += 1
            self._run.ordered = not self._run.stopped_by
            self._interrupted(signal.SIGINT)

    def _chief_is_gone(self) -> None:
        self._chief = None
        self._run.gone.append("the machine that conducts")
        self._interrupted(signal.SIGINT)

    def _say_to_chief(self, message: object) -> None:
        if self._chief is None:
            return
        try:
            self._chief.send(message)
        except OSError:
            self._chief_is_gone()

    def _pass_barrier(self) -> None:
        if not self._workers or self._run.stopped_by:
            return
        if set(self._at_barrier) != set(self._workers):
            return
        name = next(iter(self._at_barrier.values()))
        if self._chief is not None:
            self._say_to_chief(self._sum())
            self._say_to_chief(name)
            return
        self._rest()
        self._measure(name)
        self._let_go()

    def _let_go(self) -> None:
        self._at_barrier.clear()
        for link in self._workers:
            _tell(link, GO)

    def _rest(self) -> None:
        """Let the server settle; an end that is asked for meanwhile cuts it short."""
        end = time.perf_counter() + self._settle
        while not self._run.stopped_by and (left := end - time.perf_counter()) > 0:
            time.sleep(min(left, 0.1))

    def _dismiss(self, link: Link) -> None:
        process = self._workers.pop(link)
        self._at_barrier.pop(link, None)
        link.close()
        if process is not None:
            process.join(STOP_SECONDS)

    def _give_up(self, link: Link, why: str) -> None:
        name = self._machines.get(link)
        if name is None:
            self._run.result.died += 1
        else:
            self._run.gone.append(f"{name} {why} after {self._seconds():.1f} s")
        tick = self._ticks.get(link)
        if tick is not None:
            tick.held = tick.opening = 0
            tick.phase = PHASES[-1]
        self._dismiss(link)
        self._pass_barrier()  # The others may have waited for this one only.

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _kill(self) -> None:
        for link, process in list(self._workers.items()):
            if process is not None:
                process.kill()
            else:
                self._give_up(link, "did not end")

    def _interrupted(self, number: int) -> None:
        if self._run.stopped_by and number == signal.SIGTERM:
            return  # timeout(1) sends it twice.
        # A worker that gets a second "stop" closes no more pages, but still sends its figures.
        patience = AT_ONCE_SECONDS if self._run.stopped_by else STOP_SECONDS
        self._run.stopped_by = self._run.stopped_by or number
        self._kill_at = min(self._kill_at, time.perf_counter() + patience)
        self._stops += 1
        for link, process in self._workers.items():
            if process is not None:
                _tell(link, STOP)

    def _pass_on_stops(self) -> None:
        """To other machines. Not where the signal comes, which may be amid a message to one."""
        while self._stops_told < self._stops:
            self._stops_told += 1
            for link, process in self._workers.items():
                if process is None:
                    _tell(link, STOP)
        while self._interrupts_told < self._stops - self._ordered:
            self._interrupts_told += 1
            self._say_to_chief(INTERRUPTED)

    def _measure(self, name: str) -> None:
        usage = server_process.usage(self._pids)
        if usage is not None:
            self._run.memory[name] = usage.rss_bytes
            self._run.held_at_memory[name] = sum(tick.held for tick in self._ticks.values())

    def _sum(self) -> Tick:
        whole = Tick(PHASES[-1] if self._ticks else PHASES[0])
        for tick in self._ticks.values():
            whole.add(tick)
        whole.figures, self._figures = self._figures, {}
        return whole

    def _note_moment(self) -> None:
        now = time.perf_counter()
        usage, before = server_process.usage(self._pids), self._last_usage
        span = now - self._last
        whole = self._sum()
        earlier = self._run.timeline[-1] if self._run.timeline else None
        tokens = whole.figures.get("scan_to_token", Histogram())
        middle, rare = tokens.quantiles((0.5, 0.99))
        moment = Moment(
            seconds=round(now - self._began, 2),
            phase=whole.phase,
            begun=whole.begun,
            held=whole.held,
            opened=whole.opened,
            refused=whole.refused,
            opens_per_second=round((whole.opened - (earlier.opened if earlier else 0)) / span, 1),
            scans=whole.scans,
            delivered=whole.delivered,
            lost=whole.lost,
            p50_ms=middle,
            p99_ms=rare,
            rss_bytes=usage.rss_bytes if usage else 0,
            server_cpu=(
                round((usage.cpu_seconds - before.cpu_seconds) / span, 3)
                if usage and before
                else 0.0
            ),
            kit_cpu=round((whole.cpu_seconds - self._kit_cpu) / span, 3),
        )
        self._kit_cpu = whole.cpu_seconds
        self._last, self._last_usage = now, usage
        self._run.timeline.append(moment)
        self._show(moment, whole)
        self._say_to_chief(whole)


def _work_alone(job: Job, pipe: Link, parents_end: Link) -> None:
    # The forked child inherits the other end: while it is open, the death of a process would not
    # close the pipe, and so would not be noticed.
    parents_end.close()
    work(job, pipe)


def _tell(link: Link, order: str) -> None:
    try:
        link.send(order)
    except OSError:
        pass  # It has ended; reading its link says so.
