"""One process of a run: its share of the pages, from the first scene to the last close."""

import gc
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from multiprocessing.connection import Connection

from bench.kit.crew import BEGIN_LINKS, Crew, Durations, SimulatorScanner, Ticket
from bench.kit.ending import ignore_both
from bench.kit.histogram import Histogram
from bench.kit.job import FIGURES, Job, Result, Tick
from bench.kit.loop import Loop
from bench.kit.sockets import Page, Stage, open_at_rate

TICK_SECONDS = 0.25
CLOSE_SECONDS = 10.0
BEGIN_ERRORS_AT_MOST = 20
"""After so many in a row no more scenes are begun: a limit or a quota has been reached."""

HELD, VISITOR, LEAVING = "held", "visitor", "leaving"


def work(job: Job, pipe: Connection) -> None:
    """The body of a worker process: ticks, phases and at last one Result through `pipe`.

    Only the conductor heeds signals: a worker stops on its order, or when the pipe breaks.
    """
    ignore_both()
    # Nothing here makes reference cycles, and a pause for a collection in this process would look
    # like one of the server's.
    gc.collect()
    gc.freeze()
    gc.disable()
    worker = Worker(job, pipe)
    try:
        worker.run()
        pipe.send(worker.result())
    except BrokenPipeError:
        pass  # The conductor is gone: no process is left to read the result.


class Worker:
    """The phases of one run, as one process sees them."""

    def __init__(self, job: Job, pipe: Connection) -> None:
        self._job = job
        self._pipe = pipe
        self._loop = Loop()
        # Where pages come when they are due, a slow server must not slow their coming.
        links = job.inflight if job.stages else BEGIN_LINKS
        self._crew = Crew(self._loop, job.target, list(job.sources), links)
        self._crew.after_gone = self._gone
        self._phase = "begin"
        self._orders: list[str] = []
        self._tickets: deque[Ticket] = deque()
        self._visitors: deque[tuple[float, Page]] = deque()
        self._candidates: deque[Page] = deque()
        self._here = 0
        """Pages to be held that were begun and have not gone."""
        self._wanted = job.sockets
        """Pages to be held at this moment, and so replaced when they go."""
        self._result = Result()
        self._sent: Counter[str] = Counter()
        self._failures_in_a_row = 0
        self._leaving = False
        self._started = self._loop.now()
        self._loop.add(pipe.fileno(), self)
        self._loop.every(TICK_SECONDS, self._tick)

    def on_ready(self, events: int) -> None:
        """The conductor has sent an order, or has ended."""
        try:
            order = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            order = "stop"
            self._loop.remove(self._pipe.fileno())
        if order == "stop":
            self._loop.stop()
        self._orders.append(order)

    def shut(self) -> None:
        """The pipe belongs to the conductor, which closes it."""

    def run(self) -> None:
        """All phases. Between two of them every worker waits for the others."""
        if self._job.stages:
            self._wanted = 0
            self._phase = "stages"
            self._hold()
        else:
            self._fill()
            self._phase = "hold"
            self._hold()
        self._leave_visitors()
        self._enter("held")
        self._phase = "close"
        self._close()

    def _fill(self) -> None:
        if self._job.scenes_first:
            self._begin_all()
            self._enter("begun")
        self._phase = "open"
        self._open_all()
        self._enter("opened")

    def _enter(self, barrier: str) -> None:
        if self._loop.stopped:
            return
        self._tick()
        self._pipe.send(barrier)
        self._loop.run_until(lambda: "go" in self._orders)
        self._orders.clear()

    def _begin_all(self) -> None:
        self._phase = "begin"
        wanted, http = self._job.sockets, self._crew.http

        def then(ticket: Ticket | None, why: str) -> None:
            if ticket is not None:
                self._tickets.append(ticket)

        def done() -> bool:
            while not self._refused and len(self._tickets) + http.busy < wanted and http.free:
                self._begin(then)
            return (self._refused or len(self._tickets) >= wanted) and not http.busy

        self._loop.run_until(done)

    def _begin(self, then: Callable[[Ticket | None, str], None], due: float | None = None) -> None:
        def counted(ticket: Ticket | None, why: str) -> None:
            self._failures_in_a_row = 0 if ticket is not None else self._failures_in_a_row + 1
            then(ticket, why)

        self._crew.begin(counted, due)

    @property
    def _refused(self) -> bool:
        """The server refuses to begin more scenes: asking again would only burden it."""
        return self._failures_in_a_row >= BEGIN_ERRORS_AT_MOST

    def _open_all(self) -> None:
        wanted = len(self._tickets) if self._job.scenes_first else self._job.sockets
        state = {"made": 0}
        rate, began = self._job.rate, self._loop.now()

        def next_page() -> bool:
            if state["made"] >= wanted or (self._refused and not self._tickets):
                return False
            # Flat out there is no schedule: each is due when its turn comes.
            due = began + state["made"] / rate if rate else None
            state["made"] += 1
            if self._tickets:
                self._here += 1
                self._crew.open(self._tickets.popleft(), HELD, due)
            else:
                self._begin_and_open(HELD, due)
            return True

        before = self._crew.sockets.opened
        open_at_rate(self._loop, self._crew.sockets, rate, self._job.inflight, next_page)
        self._loop.run_until(lambda: not self._crew.http.busy and not self._crew.sockets.opening)
        self._result.open_seconds = self._loop.now() - began
        self._result.opened_in_time = self._crew.sockets.opened - before

    def _begin_and_open(self, role: str, due: float | None = None) -> None:
        self._here += role == HELD

        def then(ticket: Ticket | None, why: str) -> None:
            if ticket is not None and not self._leaving:
                self._crew.open(ticket, role)
            else:
                self._here -= role == HELD

        self._begin(then, due)

    def _hold(self) -> None:
        job, loop = self._job, self._loop
        self._candidates.extend(self._crew.sockets.open_pages)
        random.shuffle(self._candidates)
        scanner = None
        if job.simulator is not None and job.scans:
            scanner = SimulatorScanner(
                loop, job.simulator, f"{job.person}{job.worker}", job.people, job.timeout
            )
        began = loop.now()
        steps = job.steps()
        step = next(steps, None)
        made: Counter[str] = Counter()

        def act() -> bool:
            nonlocal step
            elapsed = min(loop.now() - began, job.hold)
            while step is not None and (step[0] <= elapsed or elapsed == job.hold):
                self._wanted += step[1]
                if self._here < self._wanted and not self._refused:
                    self._begin_and_open(HELD, began + step[0])
                step = next(steps, None)
            if job.stages:
                self._send_away()
            while made["visits"] < elapsed * job.churn and not self._refused:
                self._begin_and_open(VISITOR, began + made["visits"] / job.churn)
                made["visits"] += 1
            while scanner is not None and made["scans"] < elapsed * job.scans:
                page = self._candidate()
                if page is None and job.stages:
                    # Before the first pages come, a person has no code to scan.
                    self._result.scans_left_out += 1
                    made["scans"] += 1
                    continue
                if page is None:
                    break
                self._crew.scan(page, scanner, began + made["scans"] / job.scans)
                made["scans"] += 1
            if not job.together:
                self._close_visitors(loop.now() - job.visit)
            return elapsed >= job.hold

        # Finer than the loop's own turns, so that rates are kept within a few milliseconds.
        with loop.turning_every(min(0.01, 1 / max(job.churn, job.scans, 10))):
            loop.run_until(act)
        loop.run_until(lambda: self._crew.at_rest, within=job.timeout + 1)

    def _candidate(self) -> Page | None:
        while self._candidates:
            page = self._candidates.popleft()
            if page in self._crew.watching and page.stage is Stage.OPEN:
                return page
        return None

    def _send_away(self) -> None:
        """Close the oldest pages beyond those wanted; one that awaits its login ends by itself."""
        crew = self._crew
        free = (
            page
            for page in crew.sockets.open_pages
            if page.role == HELD and page not in crew.waiting and page not in crew.finishing
        )
        for page in list(islice(free, max(0, self._here - self._wanted))):
            page.role = LEAVING
            self._here -= 1
            self._end(page)

    def _close_visitors(self, opened_before: float) -> None:
        while self._visitors and self._visitors[0][0] <= opened_before:
            page = self._visitors.popleft()[1]
            # A visitor who has just scanned stays for the login; without one it leaves at the end.
            if page not in self._crew.waiting:
                self._end(page)

    def _end(self, page: Page) -> None:
        if self._job.abort:
            self._crew.sockets.abort(page)
        else:
            self._crew.sockets.close(page)

    def _leave_visitors(self) -> None:
        self._leaving = True
        self._close_visitors(float("inf"))
        self._loop.run_until(
            lambda: not any(page.stage is Stage.CLOSING for page in self._crew.sockets.open_pages),
            within=CLOSE_SECONDS,
        )

    def _gone(self, page: Page, code: int) -> None:
        self._here -= page.role == HELD
        if page.left or self._phase == "close" or not code:
            return
        if page.seq or code == 4408:
            # Done or out of time: the page begins another scene, as the login page does.
            wanted = page.role == HELD and self._here < self._wanted
            if wanted and not self._leaving and not self._loop.stopped:
                self._begin_and_open(HELD)
        else:
            self._result.dropped[code] += 1

    def _close(self) -> None:
        if self._loop.stopped:
            self._loop.resume()
            # A page that opens after the others were closed would never be closed.
            self._loop.run_until(lambda: not self._crew.sockets.opening, within=CLOSE_SECONDS)
            self._tick()
        if self._job.abort:
            for page in list(self._crew.sockets.open_pages):
                self._crew.sockets.abort(page)
        self._crew.close_all(CLOSE_SECONDS)

    def _tick(self) -> None:
        crew, sockets = self._crew, self._crew.sockets
        crew.count_lost(self._job.timeout)
        sockets.give_up_older_than(self._job.timeout)
        for page in crew.fresh:
            self._candidates.append(page)
            if page.role == VISITOR:
                self._visitors.append((self._loop.now(), page))
        crew.fresh.clear()
        self._result.held_at_most = max(self._result.held_at_most, len(sockets.open_pages))
        self._pipe.send(
            Tick(
                self._phase,
                crew.tally.begun,
                sockets.opening,
                len(sockets.open_pages),
                sockets.opened,
                sockets.refusals.total(),
                crew.tally.scans,
                crew.tally.delivered,
                crew.tally.lost,
                sockets.pings,
                time.process_time(),
                {figure: self._news(name) for figure, name in FIGURES.items()},
            )
        )

    def _news(self, name: str) -> Histogram:
        """The samples since the last tick."""
        samples = getattr(self._crew.tally, name)
        sent, self._sent[name] = self._sent[name], len(samples)
        return Histogram(samples[sent:])

    def result(self) -> Result:
        """Everything this worker saw."""
        tally, sockets, result = self._crew.tally, self._crew.sockets, self._result
        for name in ("begun", "scans", "delivered", "consumed", "lost", "lost_in", "misdelivered",
                     "repeated", "duplicated_after_ack", "expired", "begin_errors",
                     "scan_errors"):  # fmt: skip
            setattr(result, name, getattr(tally, name))
        result.opened, result.pings = sockets.opened, sockets.pings
        result.refusals, result.codes = sockets.refusals, sockets.codes
        result.handshake = Histogram(sockets.handshake_seconds)
        result.scan_to_token = Histogram(tally.scan_to_token)
        result.scan_to_consumed = Histogram(tally.scan_to_consumed)
        for figure, name in FIGURES.items():
            samples: Durations = getattr(tally, name)
            setattr(result, name, Histogram(samples))
            if samples:
                result.spans[figure] = samples.last - samples.first
        result.cpu_seconds = time.process_time()
        result.seconds = self._loop.now() - self._started
        return result
