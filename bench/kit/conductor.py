"""Starts the workers, leads them through the phases, and measures the server meanwhile."""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench.kit import server_process
from bench.kit.ending import EARLY
from bench.kit.figures import quantile
from bench.kit.job import Job, Result, Tick
from bench.kit.server_process import Usage
from bench.kit.worker import work

MOMENT_SECONDS = 0.5
STOP_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of the time line. Rates are a second, latencies in milliseconds."""

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
    `stopped_by` is the signal that ended it early, 0: none did."""

    result: Result = field(default_factory=Result)
    timeline: list[Moment] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    held_at_memory: dict[str, int] = field(default_factory=dict)
    died: int = 0
    stopped_by: int = 0


class Conductor:
    """One run. `show` is called with each moment, for the progress line.

    `settle` seconds pass after each phase before memory is read, so that pending closings and
    replies finish.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        server_pids: list[int],
        show: Callable[[Moment], None],
        settle: float,
    ) -> None:
        self._settle = settle
        self._jobs = jobs
        self._pids = server_pids
        self._show = show
        self._run = Run()
        self._ticks: dict[Connection, Tick] = {}
        self._latencies: list[float] = []
        self._workers: dict[Connection, BaseProcess] = {}
        self._at_barrier: set[Connection] = set()
        self._began = self._last = time.perf_counter()
        self._last_usage: Usage | None = None
        self._kill_at = math.inf
        self._kit_cpu = 0.0

    def run(self) -> Run:
        """Until every worker has given its result.

        Ctrl-C and SIGTERM end it early, with what there is; a second Ctrl-C without waiting for
        closings.
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
            time.sleep(0 if self._run.stopped_by else self._settle)
            self._measure("closed")
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
                _tell(mine, "stop")  # The signal came before this worker existed.
        self._began = self._last = time.perf_counter()

    def _listen(self) -> None:
        for pipe in wait(list(self._workers), timeout=MOMENT_SECONDS / 2):
            assert isinstance(pipe, Connection)
            self._hear(pipe)
        if time.perf_counter() - self._last >= MOMENT_SECONDS:
            self._note_moment()
        if time.perf_counter() > self._kill_at:
            self._kill()

    def _hear(self, pipe: Connection) -> None:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionResetError):
            self._run.died += 1
            self._dismiss(pipe)
            return
        if isinstance(message, Tick):
            self._latencies += message.latencies
            self._ticks[pipe] = message
        elif isinstance(message, Result):
            self._run.result.add(message)
            self._dismiss(pipe)
        else:
            self._at_barrier.add(pipe)
            self._pass_barrier(message)

    def _pass_barrier(self, name: str) -> None:
        if self._at_barrier != set(self._workers) or self._run.stopped_by:
            return
        time.sleep(self._settle)
        self._measure(name)
        self._at_barrier.clear()
        for pipe in self._workers:
            _tell(pipe, "go")

    def _dismiss(self, pipe: Connection) -> None:
        process = self._workers.pop(pipe)
        self._at_barrier.discard(pipe)
        pipe.close()
        process.join(STOP_SECONDS)

    def _kill(self) -> None:
        for process in self._workers.values():
            process.kill()

    def _interrupted(self, number: int) -> None:
        if self._run.stopped_by and number == signal.SIGTERM:
            return  # timeout(1) sends it twice.
        # A worker that gets a second "stop" closes no more pages, but still sends its figures.
        patience = AT_ONCE_SECONDS if self._run.stopped_by else STOP_SECONDS
        self._run.stopped_by = self._run.stopped_by or number
        self._kill_at = min(self._kill_at, time.perf_counter() + patience)
        for pipe in self._workers:
            _tell(pipe, "stop")

    def _measure(self, name: str) -> None:
        usage = server_process.usage(self._pids)
        if usage is not None:
            self._run.memory[name] = usage.rss_bytes
            self._run.held_at_memory[name] = sum(tick.held for tick in self._ticks.values())

    def _note_moment(self) -> None:
        now = time.perf_counter()
        usage, before = server_process.usage(self._pids), self._last_usage
        span = now - self._last
        ticks = list(self._ticks.values())
        earlier = self._run.timeline[-1] if self._run.timeline else None
        opened = sum(tick.opened for tick in ticks)
        cpu = sum(tick.cpu_seconds for tick in ticks)
        ordered = sorted(self._latencies)
        moment = Moment(
            seconds=round(now - self._began, 2),
            phase=min((tick.phase for tick in ticks), key=PHASES.index, default="begin"),
            begun=sum(tick.begun for tick in ticks),
            held=sum(tick.held for tick in ticks),
            opened=opened,
            refused=sum(tick.refused for tick in ticks),
            opens_per_second=round((opened - (earlier.opened if earlier else 0)) / span, 1),
            scans=sum(tick.scans for tick in ticks),
            delivered=sum(tick.delivered for tick in ticks),
            lost=sum(tick.lost for tick in ticks),
            p50_ms=round(quantile(ordered, 0.5) * 1e3, 3),
            p99_ms=round(quantile(ordered, 0.99) * 1e3, 3),
            rss_bytes=usage.rss_bytes if usage else 0,
            server_cpu=(
                round((usage.cpu_seconds - before.cpu_seconds) / span, 3)
                if usage and before
                else 0.0
            ),
            kit_cpu=round((cpu - self._kit_cpu) / span, 3),
        )
        self._kit_cpu = cpu
        self._last, self._last_usage, self._latencies = now, usage, []
        self._run.timeline.append(moment)
        self._show(moment)


PHASES = ("begin", "open", "hold", "close")


def _work_alone(job: Job, pipe: Connection, parents_end: Connection) -> None:
    # The forked child inherits the other end: while it is open, the death of a process would not
    # close the pipe, and so would not be noticed.
    parents_end.close()
    work(job, pipe)


def _tell(pipe: Connection, order: str) -> None:
    try:
        pipe.send(order)
    except BrokenPipeError:
        pass  # It has ended; reading its pipe says so.
