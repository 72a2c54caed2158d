"""Several processes on one port: forked by a parent that does nothing but keep them going.

The kernel spreads connections over all sockets that listen on the port with SO_REUSEPORT
(socket(7)), so no process stands before the others, and one that dies takes only its own pages
with it; they come back and find their scenes in the store.

What one of several processes says for all of them: whether they are ready, what they count.

Whoever asks the port reaches any one process. It asks the others, each at a socket in a folder of
their own, and answers for all.
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

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.errors import StoreUnavailable
from services.metrics import Metrics

log = logging.getLogger("scanpush.processes")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10
"""Before a process that died is started again; it doubles while they die young."""

GROWN_UP_SECONDS = 30
"""A process that lived as long did not die of its start."""

LONGEST_WAIT_SECONDS = 60

_STOPPING = (signal.SIGTERM, signal.SIGINT)

GRACE_SECONDS = 5
"""After the drain, until what is left of the processes is killed."""


@dataclass(frozen=True)
class Place:
    """Where one of several processes stands.

    Attributes:
        number: 0 to `count` - 1, kept by its successor.
        folder: the processes' own sockets towards each other, readable by nobody else.
    """

    number: int
    count: int
    folder: Path
    started: int
    parent: int

    def address(self, number: int) -> Path:
        """The socket at which that process answers the others."""
        return self.folder / f"{number}.sock"

    def tell_started(self) -> None:
        """Tell the parent that this process serves."""
        os.write(self.started, bytes([self.number]))

    def fileno(self) -> int:
        """Readable as soon as the parent is gone, however that came about."""
        return self.parent


Work = Callable[[Place], int]
"""What a process does; its exit code. It ends soon after SIGTERM."""


class _Child:
    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.served = False
        self.begun_at = 0.0
        self.due_at = 0.0 if number == 0 else math.inf
        self.pause = FIRST_PAUSE_SECONDS


class Parent:
    """Keeps `count` processes at `work`.

    Args:
        on_start: called once, when every process serves.
    """

    def __init__(
        self, count: int, work: Work, drain_seconds: float, on_start: Callable[[], None]
    ) -> None:
        self._work = work
        self._patience = drain_seconds + GRACE_SECONDS
        self._on_start = on_start
        self._children = [_Child(number) for number in range(count)]
        self._folder = Path(tempfile.mkdtemp(prefix="scanpush-"))
        # Written to by every process that serves, and at its end by the kernel, through nobody.
        self._started, self._tell_started = os.pipe()
        self._alive, self._life = os.pipe()
        self._wakened, self._waken = os.pipe()
        self._stop_by: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a process cannot even start. The exit code."""
        os.set_blocking(self._waken, False)
        gc.freeze()  # what all processes share is not written to by their collectors
        with self._signals():
            try:
                while any(child.pid for child in self._children) or self._stop_by is None:
                    self._wait()
                    self._bury()
                    self._look_after()
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)
        return self._exit_code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_signum: int, _frame: object) -> None:
            self._stop()

        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
            signal.SIGINT: signal.signal(signal.SIGINT, stop),
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda signum, frame: None),
        }
        self._handlers = before
        wakened = signal.set_wakeup_fd(self._waken, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakened)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _stop(self) -> None:
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._patience
            self._signal_all(signal.SIGTERM)

    def _signal_all(self, signum: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                # The handler may run between its burial and the note of it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signum)

    def _begin(self, child: _Child) -> None:
        child.begun_at = time.monotonic()
        # A signal that comes now waits until it is clear whose it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        if self._stop_by is None:  # else it came between two of them, and told those there were
            child.pid = os.fork()
        if child.pid or self._stop_by is not None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            return
        code = 1
        try:
            code = self._be(child.number)
        finally:
            # Not sys.exit: nothing of the parent's is to be tidied up here.
            os._exit(code)

    def _be(self, number: int) -> int:
        """In the new process: forget what is the parent's, then work."""
        signal.set_wakeup_fd(-1)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        for descriptor in (self._life, self._started, self._waken, self._wakened):
            os.close(descriptor)
        count = len(self._children)
        return self._work(Place(number, count, self._folder, self._tell_started, self._alive))

    def _wait(self) -> None:
        """Until something happens: a signal, a process that serves, or a time that has come."""
        times = [child.due_at for child in self._children if not child.pid]
        if self._stop_by is not None:
            times = [self._stop_by]
        patience = max(0.0, min(times) - time.monotonic()) if times else math.inf
        readable, _, _ = select.select(
            [self._wakened, self._started], [], [], min(patience, LONGEST_WAIT_SECONDS)
        )
        if self._wakened in readable:
            os.read(self._wakened, 4096)
        if self._started in readable:
            for number in os.read(self._started, 4096):
                self._serves(self._children[number])

    def _serves(self, child: _Child) -> None:
        if child.served:
            return
        child.served = True
        if all(other.served for other in self._children):
            self._on_start()
        for other in self._children:
            # The first one went ahead: what is wrong with the settings is told once.
            other.due_at = min(other.due_at, time.monotonic())

    def _bury(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.pid = 0
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        """A negative code is a signal's."""
        if self._stop_by is not None:
            self._exit_code = self._exit_code or (1 if code else 0)
            return
        if not child.served and code > 0:
            # It said itself what is wrong, and so would all the others.
            self._exit_code = code
            self._stop()
            return
        now = time.monotonic()
        if now - child.begun_at > GROWN_UP_SECONDS:
            child.pause = FIRST_PAUSE_SECONDS
        child.due_at = now + child.pause
        child.pause = min(2 * child.pause, LONGEST_PAUSE_SECONDS)
        log.error("process %d ended with %d and is started again", child.number, code)

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._stop_by is not None:
            if now >= self._stop_by:
                log.error("not all processes left in time: killed")
                self._signal_all(signal.SIGKILL)
                self._stop_by = now + GRACE_SECONDS
            return
        for child in self._children:
            if not child.pid and now >= child.due_at:
                self._begin(child)


ANSWER_SECONDS = 3
"""Above the time that a process itself waits for its stores."""

PROCESS_UP = "scanpush_process_up"
PROCESS_UP_HELP = "Whether a process answers, where server.processes is above 1."


class Siblings:
    """The processes of one parent, seen from one of them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._others = {
            number: make_client_at(place.address(number))
            for number in range(place.count)
            if number != place.number
        }

    async def close(self) -> None:
        for client in self._others.values():
            await client.aclose()

    async def check_ready(self) -> int:
        """How many others are ready.

        One that is being started again does not count: no connection goes to it. One that hangs
        does, for the kernel goes on to give it connections.

        Raises:
            StoreUnavailable: one is not ready, or does not answer in time.
        """
        statuses = await asyncio.gather(*(self._status(number) for number in self._others))
        if any(status not in (None, 200) for status in statuses):
            raise StoreUnavailable("another process of this server is not ready")
        return sum(status == 200 for status in statuses)

    async def _status(self, number: int) -> int | None:
        """None: nobody listens."""
        try:
            return (await self._others[number].get("/readyz")).status_code
        except httpx.ConnectError:
            return None
        except httpx.HTTPError:
            return 504

    async def exposition(self, own: Metrics) -> tuple[bytes, str]:
        """All that the processes count, each series with its process as a label.

        Sums would be wrong: a process that is started again counts from 0, and the sum of all
        would look like a reset of all.
        """
        texts = await asyncio.gather(*(self._metrics(number) for number in self._others))
        expositions: dict[int, str | None] = dict(zip(self._others, texts, strict=True))
        expositions[self.place.number] = own.exposition()[0].decode()
        return generate_latest(_Merged(expositions)), CONTENT_TYPE_LATEST

    async def _metrics(self, number: int) -> str | None:
        try:
            answer = await self._others[number].get("/metrics")
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == 200 else None


def make_client_at(address: Path) -> httpx.AsyncClient:
    """For the process that answers at that socket."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(address), verify=False),
        base_url="http://sibling",
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
