"""Instructions of the server: of a whole login, a handshake, a begun scene and `GET /healthz`.

The server runs under valgrind's callgrind with fixed hashes and gets one request at a time.
Instructions depend neither on the speed of the machine nor on what else runs there: two trees can
be told apart by a percent (in logins by half of one), where CPU times differ by a third from hour
to hour. callgrind counts only after the warm-up and gives its count before and after
each batch; what the idle server takes in the same time is measured first and subtracted.

A handshake ends with the first status, a login with the closed socket; people have logged in
before. The kernel's instructions are not counted, so a system call saved shows too little here,
and one login at a time shares no transaction with others.
"""

import importlib.util
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.callbacks import Callbacks
from bench.kit import wire
from bench.kit.crew import Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.loop import Loop
from bench.kit.sockets import Page
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import (
    NotInstalled,
    Running,
    account_environment,
    scanpush,
    scratch,
    upstream,
)

FIGURES = (
    Figure("login", "instructions a login", 0),
    Figure("handshake", "a handshake", 0),
    Figure("begin", "a scene begun", 0),
    Figure("health", "GET /healthz", 0),
    Figure("idle_per_s", "a second of idleness", 0),
    Figure("faults", "lost, misdelivered, after ack", 0),
)
PEOPLE = 20
BATCH = 50
"""So many that each has about as many runs of Python's garbage collector."""

READY_SECONDS = 180.0
STEP_SECONDS = 60.0
"""Under valgrind everything takes fifty times as long."""

SERVER = """
import asyncio, runpy, sys
slept = asyncio.sleep
asyncio.sleep = lambda delay, result=None: slept(50 * delay, result)
sys.setswitchinterval(0.25)
runpy.run_path("server.py", run_name="__main__")
"""
"""The server with its periodic work and its threads' turns fifty times as seldom, too. Else that
work would be a tenth of what is counted, and more of it the busier the machine is."""

SETTLE_SECONDS = 0.1
"""For what the server does after its last answer."""

IDLE_SECONDS = 1.0
IDLE_WINDOWS = 10
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Counted:
    """Instructions, and the time in which they were executed."""

    instructions: int
    seconds: float


class Callgrind:
    """The count of a server that runs under callgrind."""

    def __init__(self, running: Running, out: Path) -> None:
        self._pid = str(running.process.pid)
        self._out = out
        self._dumps = 0
        self._dumped_at = time.perf_counter()

    def start(self) -> None:
        """Count from now on; before, the server ran several times faster."""
        self._control("--instr=on")
        self.taken()

    def taken(self) -> Counted:
        """What was counted since the last call.

        Raises:
            NotUsable: callgrind does not answer.
        """
        self._control("--dump")
        now = time.perf_counter()
        seconds, self._dumped_at = now - self._dumped_at, now
        self._dumps += 1
        dump = self._out.with_name(f"{self._out.name}.{self._dumps}")
        totals = _TOTALS.search(dump.read_text()) if dump.exists() else None
        if totals is None:
            raise NotUsable("callgrind wrote no count")
        dump.unlink()
        return Counted(int(totals[1]), seconds)

    def _control(self, action: str) -> None:
        command = ("callgrind_control", action, self._pid)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotUsable(
                "the server under callgrind does not answer callgrind_control"
            ) from None
        if "OK." not in done.stdout:
            raise NotUsable(f"callgrind_control {action}: {done.stdout}{done.stderr}")


class Single:
    """Does one thing at a time, and waits for its end before the next.

    What was begun is opened, and what was opened logs in, in the same order.
    """

    def __init__(self, running: Running, loop: Loop) -> None:
        self._loop = loop
        self._tickets: deque[Ticket] = deque()
        self._pages: deque[Page] = deque()
        self.crew = Crew(loop, running.ws, common.sources(1))
        self._callbacks = Callbacks(loop, running.push, 1, PEOPLE)
        self._health = wire.http_request("GET", "/healthz", running.ws)

    def begin(self) -> None:
        """One `POST /api/scenes`."""
        self._tickets += common.begin_scenes(self._loop, self.crew, 1)

    def open(self) -> None:
        """One handshake, until the first status is there."""
        page = self.crew.open(self._tickets.popleft())
        self._until(lambda: bool(page.state), "a socket was not opened")
        self._callbacks.prepare([page.key])
        self._pages.append(page)

    def log_in(self) -> None:
        """One login, from the callback until the socket is closed."""
        consumed = self.crew.tally.consumed
        self.crew.scan(self._pages.popleft(), self._callbacks)
        self._until(lambda: self.crew.tally.consumed > consumed, "a login was not consumed")

    def health(self) -> None:
        """One `GET /healthz`, over a connection that stays."""
        statuses: list[int] = []
        self.crew.http.ask(self._health, lambda status, body, now: statuses.append(status))
        self._until(lambda: bool(statuses), "no answer from /healthz")

    def rest(self, seconds: float) -> None:
        """Ask for nothing."""
        self._loop.run_for(seconds)

    def faults(self) -> int:
        """Everything that must be 0."""
        tally = self.crew.tally
        wrong = tally.lost + tally.misdelivered + tally.duplicated_after_ack
        return wrong + sum(tally.scan_errors.values())

    def _until(self, done: Callable[[], bool], problem: str) -> None:
        if not self._loop.run_until(done, within=STEP_SECONDS):
            raise NotUsable(problem)


def run(options: Options) -> Board:
    """All rounds in one server, after everybody has logged in once."""
    event_loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    settings = {"rounds": options.rounds, "batches": options.batches, "batch": BATCH,
                "event_loop": event_loop, "tree": options.tree.name}  # fmt: skip
    board = Board("instructions", FIGURES, settings)
    with counted_scanpush(options) as (running, callgrind), closing(Loop()) as loop:
        single = Single(running, loop)
        for step in (single.begin, single.open, single.log_in):
            repeat(step, PEOPLE)
        # For the unionids, which WeChat is asked for after the first logins.
        single.rest(common.SETTLE_SECONDS)
        callgrind.start()
        idle_per_s = idle_rate(single, callgrind)
        for number in range(options.rounds):
            figures = one_round(single, callgrind, options.batches, idle_per_s)
            board.add(number, "scanpush", figures)
    return board


def repeat(step: Callable[[], None], count: int) -> None:
    """Call `step` so many times."""
    for _ in range(count):
        step()


def idle_rate(single: Single, callgrind: Callgrind) -> float:
    """Instructions a second of the server that is idle."""
    rates = []
    callgrind.taken()
    for _ in range(IDLE_WINDOWS):
        single.rest(IDLE_SECONDS)
        counted = callgrind.taken()
        rates.append(counted.instructions / counted.seconds)
    return statistics.median(rates)


def one_round(
    single: Single, callgrind: Callgrind, batches: int, idle_per_s: float
) -> dict[str, float]:
    """The median of so many batches of each thing.

    What comes now and then only, such as a checkpoint of SQLite, is in few batches, and so it is
    not in the median.
    """
    steps = {
        "begin": single.begin,
        "handshake": single.open,
        "login": single.log_in,
        "health": single.health,
    }
    each: dict[str, list[float]] = {name: [] for name in steps}
    callgrind.taken()
    for _ in range(batches):
        for name, step in steps.items():
            repeat(step, BATCH)
            single.rest(SETTLE_SECONDS)
            counted = callgrind.taken()
            each[name].append((counted.instructions - idle_per_s * counted.seconds) / BATCH)
    figures = {name: statistics.median(values) for name, values in each.items()}
    return {**figures, "idle_per_s": idle_per_s, "faults": single.faults()}


@contextmanager
def counted_scanpush(options: Options) -> Iterator[tuple[Running, Callgrind]]:
    """scanpush of `options.tree` under callgrind, which does not count yet.

    Raises:
        NotInstalled: valgrind is missing.
    """
    if not shutil.which("valgrind") or not shutil.which("callgrind_control"):
        raise NotInstalled("valgrind (on Debian: apt-get install valgrind)")
    with scratch() as directory, upstream() as wechat:
        out = directory / "callgrind"
        command = ("valgrind", "--tool=callgrind", "--instr-atstart=no",
                   f"--callgrind-out-file={out}", sys.executable, "-c", SERVER)  # fmt: skip
        settings = {
            **account_environment(wechat),
            **common.LONG_LIFE,
            **common.NO_DAILY_RESERVE,
            **options.scanpush,
            "PYTHONHASHSEED": "0",
        }
        with scanpush(
            settings, command=command, tree=options.tree, ready_seconds=READY_SECONDS
        ) as running:
            yield running, Callgrind(running, out)
