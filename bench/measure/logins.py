"""Whole logins: callback -> scanned -> user -> authorized -> JWT -> frame -> ack -> consumed.

Callbacks are signed and encrypted in safe mode before the clock starts; people have logged in
before, so that WeChat is not asked for their unionids. The yardstick is bench/peers/stock_login.py.
Both servers live side by side and take turns. With `--held` scanpush does it once more while that
many further pages are open.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

from bench.callbacks import Callbacks
from bench.kit.crew import Crew, Ticket
from bench.kit.loop import Loop
from bench.kit.sockets import Page
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running

FIGURES = (
    Figure("logins_per_s", "logins/s, 32 in flight", 0, ratio=True),
    Figure("login_us", "server CPU us a login", 0, ratio=True),
    Figure("frame_ms_p50", "callback to frame at 100/s: p50 ms", 2, ratio=True),
    Figure("frame_ms_p99", "p99", 2, ratio=True),
    Figure("frame_ms_p999", "p99.9", 2, ratio=True),
    Figure("consumed_ms_p99", "callback to consumed p99", 2, ratio=True),
    Figure("scenes_per_s", "scenes begun/s", 0),
    Figure("opens_per_s", "sockets opened/s", 0, ratio=True),
    Figure("generator_cpu", "generator CPU", 2),
    Figure("faults", "lost, misdelivered, after ack", 0),
)
IN_FLIGHT = 32
PEOPLE = 300
PACE_PER_SECOND = 100.0
LOST_SECONDS = 10.0


class Driver:
    """Runs logins against one server, `in_flight` at a time where it is to be saturated."""

    def __init__(self, running: Running, count: int, in_flight: int = IN_FLIGHT) -> None:
        self.running = running
        self.in_flight = in_flight
        self.loop = Loop()
        self.crew = Crew(self.loop, running.ws, common.sources(count))
        self.callbacks = Callbacks(self.loop, running.push, in_flight, PEOPLE)
        self.scenes_per_s = self.opens_per_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def begin(self, count: int) -> list[Ticket]:
        """Begin scenes, outside of what is measured as a login."""
        with common.costing(self.running) as cost:
            tickets = common.begin_scenes(self.loop, self.crew, count)
        self.scenes_per_s = count / cost.seconds
        return tickets

    def open(self, tickets: Sequence[Ticket]) -> list[Page]:
        """Open their sockets and encrypt their callbacks."""
        with common.costing(self.running) as cost:
            pages = common.open_tickets(self.loop, self.crew, tickets)
        self.opens_per_s = len(tickets) / max(cost.seconds - 0.2, 1e-9)
        self.callbacks.prepare([ticket.scene_str for ticket in tickets])
        return pages

    def warm_up(self) -> None:
        """The first login of each person, after which scanpush asks WeChat for the unionid."""
        self.saturate(self.open(self.begin(PEOPLE)))
        self.loop.run_for(common.SETTLE_SECONDS)

    def saturate(self, pages: Sequence[Page]) -> dict[str, Any]:
        """`in_flight` logins at a time until all pages have had theirs."""
        waiting = deque(pages)
        tally = self.crew.tally
        ended = tally.consumed + tally.lost

        def next_one(page: Page | None = None, code: int = 0) -> None:
            if waiting:
                self.crew.scan(waiting.popleft(), self.callbacks)

        def done() -> bool:
            self.crew.count_lost(LOST_SECONDS)
            return tally.consumed + tally.lost - ended >= len(pages)

        self.crew.after_gone = next_one
        with common.costing(self.running) as cost:
            for _ in range(min(self.in_flight, len(pages))):
                next_one()
            self.loop.run_until(done, within=common.OPEN_SECONDS)
        self.crew.after_gone = lambda page, code: None
        return {
            "logins_per_s": len(pages) / cost.seconds,
            "login_us": cost.server_seconds / len(pages) * 1e6,
            "generator_cpu": cost.generator_cpu,
        }

    def pace(self, pages: Sequence[Page], rate: float = PACE_PER_SECOND) -> dict[str, Any]:
        """`rate` logins a second, however long each takes."""
        tally = self.crew.tally
        first = len(tally.scan_to_token)
        waiting = deque(pages)
        began = self.loop.now()

        def done() -> bool:
            while waiting:
                due = began + (len(pages) - len(waiting)) / rate
                if due > self.loop.now():
                    break
                self.crew.scan(waiting.popleft(), self.callbacks, due)
            self.crew.count_lost(LOST_SECONDS)
            return not waiting and self.crew.at_rest

        with self.loop.turning_every(0.001):
            self.loop.run_until(done, within=len(pages) / rate + 2 * LOST_SECONDS)
        return {
            **common.latency("frame_ms", tally.scan_to_token[first:]),
            **common.latency("consumed_ms", tally.scan_to_consumed[first:]),
        }

    def faults(self) -> int:
        """Everything that must be 0."""
        tally = self.crew.tally
        wrong = tally.lost + tally.misdelivered + tally.duplicated_after_ack
        return wrong + sum(tally.scan_errors.values())


def run(options: Options) -> Board:
    """Interleaved rounds of both servers."""
    settings = {"logins": options.logins, "paced": options.paced, "rounds": options.rounds,
                "held": options.held}  # fmt: skip
    board = Board("logins", FIGURES, settings, yardstick="stock-login")
    environment = options.scanpush
    with ExitStack() as stack:
        servers = {
            "stock-login": stack.enter_context(common.stock_with_upstream()),
            "scanpush": stack.enter_context(common.scanpush_with_upstream(environment)),
        }
        drivers = {
            name: stack.enter_context(Driver(running, options.logins))
            for name, running in servers.items()
        }
        for driver in drivers.values():
            driver.warm_up()
        for number in range(options.rounds):
            for name, driver in drivers.items():
                board.add(number, name, one_round(driver, options))
    if options.held:
        held_rounds(board, options)
    return board


def one_round(driver: Driver, options: Options) -> dict[str, Any]:
    """Saturation, then the paced logins."""
    tickets = driver.begin(options.logins + options.paced)
    pages = driver.open(tickets[: options.logins])
    figures = {"scenes_per_s": driver.scenes_per_s, "opens_per_s": driver.opens_per_s}
    figures |= driver.saturate(pages)
    figures |= driver.pace(driver.open(tickets[options.logins :]))
    return {**figures, "faults": driver.faults()}


def held_rounds(board: Board, options: Options) -> None:
    """The same logins by pages that are among `held` open ones; there is no yardstick for these."""
    with ExitStack() as stack:
        rested = common.rested_scanpush(options.held, options.scanpush)
        running, tickets, _ = stack.enter_context(rested)
        driver = stack.enter_context(Driver(running, options.held))
        driver.warm_up()
        pages = driver.open(tickets)
        each = min(options.logins, len(pages) // options.rounds)
        for number in range(options.rounds):
            batch = pages[number * each : (number + 1) * each]
            figures = driver.saturate(batch)
            # New pages replace those that left, so that every round has as many.
            pages += driver.open(driver.begin(len(batch)))
            name = f"scanpush, {options.held:,} held"
            board.add(number, name, {**figures, "faults": driver.faults()})
