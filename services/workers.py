"""Worker processes: several on one port, forked by a parent that only keeps them running.

The kernel spreads connections over all sockets that listen on the port with SO_REUSEPORT
(socket(7)), so there is no process in front of the workers, and one that dies takes only its own
pages with it; they connect again and find their scenes in the store.

A request for /readyz or /metrics reaches any one worker. It asks the others, each at a Unix
socket of its own, and answers for all (`WorkerPeers`).
"""

import asyncio
import contextlib
import gc
import logging
import math
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.errors import SettingsError, StoreUnavailable
from services.metrics import Metrics

log = logging.getLogger("scanpush.processes")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10
"""Before a worker that died is started again; it doubles while they die within
`STABLE_SECONDS`."""

STABLE_SECONDS = 30
"""A worker that ran as long did not die of its start."""

LONGEST_WAIT_SECONDS = 60
"""For select(2), which does not take an infinite time."""

LONGEST_FOLDER_BYTES = 90
"""The path of a Unix socket has at most 107 bytes (unix(7)), on macOS 103."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

GRACE_SECONDS = 5
"""After the drain, until the workers that are left are killed."""


@dataclass(frozen=True)
class WorkerContext:
    """What one worker is given.

    Attributes:
        number: 0 to `count` - 1; the worker that replaces this one has the same.
        folder: the sockets at which the workers answer each other; only this user may enter it.
        started: a pipe to the parent, see `report_started`.
        parent: a pipe that is readable as soon as the parent has ended, see `fileno`.
    """

    number: int
    count: int
    folder: Path
    started: int
    parent: int

    def address(self, number: int) -> Path:
        """The socket at which that worker answers the others."""
        return self.folder / f"{number}.sock"

    def report_started(self) -> None:
        """Tell the parent that this worker serves."""
        os.write(self.started, bytes([self.number]))

    def fileno(self) -> int:
        """For the event loop: readable as soon as the parent has ended, killed included."""
        return self.parent


Work = Callable[[WorkerContext], int]
"""What a worker does; its exit code. It ends soon after SIGTERM."""


class _Worker:
    """What the parent knows of one worker; times are those of the monotonic clock."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        """0 while no process of it runs."""
        self.served = False
        """Whether one of its processes has served, even if it ended since."""
        self.begun_at = 0.0
        self.due_at = 0.0 if number == 0 else math.inf
        """When the next process is to be started."""
        self.pause_seconds = FIRST_PAUSE_SECONDS


class WorkerSupervisor:
    """The parent process: keeps `count` workers running `work`.

    Args:
        on_start: called once, when every worker serves.
    """

    def __init__(
        self, count: int, work: Work, drain_seconds: float, on_start: Callable[[], None]
    ) -> None:
        self._work = work
        self._stop_seconds = drain_seconds + GRACE_SECONDS
        self._on_start = on_start
        self._workers = [_Worker(number) for number in range(count)]
        self._folder = _folder_for_sockets()
        # Each worker writes its number when it serves.
        self._started, self._report_started = os.pipe()
        # Only this process holds the other end, so the kernel closes it when this process ends.
        self._parent, self._parent_lives = os.pipe()
        # A signal writes to it (signal.set_wakeup_fd), so that none is missed before a select.
        self._wakened, self._waken = os.pipe()
        self._handlers_before: dict[signal.Signals, Any] = {}
        """What `run` puts back, and a worker takes on."""
        self._stop_by: float | None = None
        """By the monotonic clock; None: it goes on."""
        self._exit_code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a worker cannot even start. The exit code."""
        os.set_blocking(self._waken, False)
        gc.freeze()  # the workers' collectors do not write to the memory they share
        with self._signals():
            try:
                while any(worker.pid for worker in self._workers) or self._stop_by is None:
                    self._wait()
                    self._reap()
                    if self._stop_by is None:
                        self._start_due()
                    elif time.monotonic() >= self._stop_by:
                        log.error("not all processes left in time: killed")
                        self._signal_all(signal.SIGKILL)
                        self._stop_by = time.monotonic() + GRACE_SECONDS
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)
        return self._exit_code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_signum: int, _frame: object) -> None:
            self._stop()

        self._handlers_before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
            signal.SIGINT: signal.signal(signal.SIGINT, stop),
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda signum, frame: None),
        }
        wakened = signal.set_wakeup_fd(self._waken, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakened)
            for signum, handler in self._handlers_before.items():
                signal.signal(signum, handler)

    def _stop(self) -> None:
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._stop_seconds
            self._signal_all(signal.SIGTERM)

    def _signal_all(self, signum: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                # A signal handler may run between `waitpid` and the note that it has ended.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signum)

    def _start(self, worker: _Worker) -> None:
        worker.begun_at = time.monotonic()
        # A signal that comes now waits until both processes know which one they are.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        if self._stop_by is None:  # else it came before this worker, and ended the others
            worker.pid = os.fork()
        if worker.pid or self._stop_by is not None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            return
        code = 1
        try:
            code = self._run_worker(worker.number)
        finally:
            # Not sys.exit: the cleanup handlers are the parent's.
            os._exit(code)

    def _run_worker(self, number: int) -> int:
        """In the new process: drop the parent's signal handlers and pipes, then work."""
        signal.set_wakeup_fd(-1)
        for signum, handler in self._handlers_before.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        for descriptor in (self._parent_lives, self._started, self._waken, self._wakened):
            os.close(descriptor)
        count = len(self._workers)
        return self._work(
            WorkerContext(number, count, self._folder, self._report_started, self._parent)
        )

    def _wait(self) -> None:
        """Until a signal comes, a worker serves, or a start or a kill is due."""
        times = [worker.due_at for worker in self._workers if not worker.pid]
        if self._stop_by is not None:
            times = [self._stop_by]
        seconds = max(0.0, min(times) - time.monotonic()) if times else math.inf
        readable, _, _ = select.select(
            [self._wakened, self._started], [], [], min(seconds, LONGEST_WAIT_SECONDS)
        )
        if self._wakened in readable:
            os.read(self._wakened, 4096)
        if self._started in readable:
            for number in os.read(self._started, 4096):
                self._on_started(self._workers[number])

    def _on_started(self, worker: _Worker) -> None:
        if worker.served:
            return
        worker.served = True
        if all(other.served for other in self._workers):
            self._on_start()
        for other in self._workers:
            # The first one starts alone, so that a mistake in the settings is printed once.
            other.due_at = min(other.due_at, time.monotonic())

    def _reap(self) -> None:
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                worker.pid = 0
                self._on_end(worker, os.waitstatus_to_exitcode(status))

    def _on_end(self, worker: _Worker, code: int) -> None:
        """A negative code is the number of the signal that ended it."""
        if self._stop_by is not None:
            self._exit_code = self._exit_code or (1 if code else 0)
            return
        if not worker.served and code > 0:
            # It printed what is wrong, and so would all the others.
            self._exit_code = code
            self._stop()
            return
        now = time.monotonic()
        if now - worker.begun_at > STABLE_SECONDS:
            worker.pause_seconds = FIRST_PAUSE_SECONDS
        worker.due_at = now + worker.pause_seconds
        worker.pause_seconds = min(2 * worker.pause_seconds, LONGEST_PAUSE_SECONDS)
        log.error("process %d ended with %d and is started again", worker.number, code)

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and now >= worker.due_at:
                self._start(worker)


def _folder_for_sockets() -> Path:
    """A new folder below TMPDIR; raises `SettingsError` where that cannot hold sockets."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="scanpush-"))
    except OSError as error:
        reason = error.strerror or "cannot be used"
        raise SettingsError("TMPDIR", f"the processes need a temporary folder: {reason}") from None
    if len(os.fsencode(folder)) > LONGEST_FOLDER_BYTES:
        folder.rmdir()
        raise SettingsError("TMPDIR", "is too long a path for the sockets of the processes")
    return folder


ANSWER_SECONDS = 3
"""Above the time that a worker itself waits for its stores."""

PROCESS_UP = "scanpush_process_up"
PROCESS_UP_HELP = "Whether a process answers, where server.processes is above 1."


class WorkerPeers:
    """The other workers of the same parent, seen from one of them."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self._others = {
            number: make_client_at(context.address(number))
            for number in range(context.count)
            if number != context.number
        }

    async def close(self) -> None:
        for client in self._others.values():
            await client.aclose()
        parent_has_ended, _, _ = select.select([self.context], [], [], 0)
        if parent_has_ended:
            # It was killed, or it would still wait for this process; then it removes nothing.
            shutil.rmtree(self.context.folder, ignore_errors=True)

    async def check_ready(self) -> int:
        """How many others are ready.

        One that is being started again is left out: no connection goes to it. One that hangs is
        not, for the kernel goes on to give it connections.

        Raises:
            StoreUnavailable: one is not ready, or does not answer in time.
        """
        statuses = await asyncio.gather(*(self._status(number) for number in self._others))
        if any(status not in (None, 200) for status in statuses):
            raise StoreUnavailable("another process of this server is not ready")
        return sum(status == 200 for status in statuses)

    async def _status(self, number: int) -> int | None:
        """None: it does not listen."""
        try:
            return (await self._others[number].get("/readyz")).status_code
        except httpx.ConnectError:
            return None
        except httpx.HTTPError:
            return 504

    async def exposition(self, own: Metrics) -> tuple[bytes, str]:
        """The metrics of all workers, each series with its process as a label; the content type."""
        # Sums would be wrong: a worker that is started again counts from 0, and the sum of all
        # would look like a reset of all.
        texts = await asyncio.gather(*(self._metrics(number) for number in self._others))
        expositions: dict[int, str | None] = dict(zip(self._others, texts, strict=True))
        expositions[self.context.number] = own.exposition()[0].decode()
        return generate_latest(_Merged(expositions)), CONTENT_TYPE_LATEST

    async def _metrics(self, number: int) -> str | None:
        try:
            answer = await self._others[number].get("/metrics")
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == 200 else None


def make_client_at(address: Path) -> httpx.AsyncClient:
    """A client of the worker that answers at that socket."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(address), verify=False),
        base_url="http://worker",
        timeout=ANSWER_SECONDS,
    )


class _Merged(Collector):
    """Several expositions as one; what `generate_latest` asks for."""

    def __init__(self, expositions: dict[int, str | None]) -> None:
        self._expositions = expositions

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        up = GaugeMetricFamily(PROCESS_UP, PROCESS_UP_HELP, None, ["process"])
        for number, text in sorted(self._expositions.items()):
            up.add_metric([str(number)], 0 if text is None else 1)
            for family in text_string_to_metric_families(text or ""):
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "process": str(number)}
                    metric.add_sample(sample.name, labels, sample.value)
        yield up
        yield from merged.values()
