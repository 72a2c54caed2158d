"""What the operator's page, the audit and events cost a server that holds many pages.

The same scanpush four times, side by side, each with a fifth of `--held` pages: without the
operator's token; with it, but without an audit; with both, which is the default; and with events as
well, whose receiver is down. They take turns, another one first in each round; the yardstick is the
first.
"""

import base64
from contextlib import ExitStack
from typing import Any

from bench.measure import common
from bench.measure.common import Options
from bench.measure.logins import Driver
from bench.results import Board, Figure
from deploy.programs import free_port

FIGURES = (
    Figure("logins_per_s", "logins/s, 32 in flight", 0, ratio=True),
    Figure("login_us", "server CPU us a login", 0, ratio=True),
    Figure("idle_us", "server CPU us in a second of idleness", 0),
    Figure("rss_mb", "MB", 1),
    Figure("faults", "lost, misdelivered, after ack", 0),
)
IDLE_SECONDS = 10.0
SHARE = 5
"""Of the four and of the pages that log in, which one process holds."""

TOKEN = {"SCANPUSH_OPERATOR__TOKEN": "token-of-a-benchmark"}


def run(options: Options) -> Board:
    """Interleaved rounds of the four."""
    held = options.held // SHARE
    settings = {"logins": options.logins, "rounds": options.rounds, "held by each": held}
    board = Board("operator", FIGURES, settings, yardstick="off")
    events = {
        "SCANPUSH_EVENTS__URL": f"http://127.0.0.1:{free_port()}/events",
        "SCANPUSH_EVENTS__SECRET": "whsec_" + base64.b64encode(bytes(32)).decode(),
    }
    rows = {
        "off": {},
        "page": {**TOKEN, "SCANPUSH_AUDIT__DAYS": "0"},
        "audit": TOKEN,
        "audit and events": {**TOKEN, **events},
    }
    with ExitStack() as stack:
        drivers = {}
        for name, environment in rows.items():
            scanpush = common.scanpush_with_upstream({**environment, **options.scanpush})
            running = stack.enter_context(scanpush)
            driver = stack.enter_context(Driver(running, held))
            driver.warm_up()
            driver.open(driver.begin(held))
            drivers[name] = driver
        for number in range(options.rounds):
            order = [*drivers] * 2
            for name in order[number % len(drivers) :][: len(drivers)]:
                board.add(number, name, one_round(drivers[name], options))
    return board


def one_round(driver: Driver, options: Options) -> dict[str, Any]:
    """Idleness, then logins beside the pages that are held."""
    with common.costing(driver.running) as cost:
        driver.loop.run_for(IDLE_SECONDS)
    idle_us = cost.server_seconds / cost.seconds * 1e6
    figures = driver.saturate(driver.open(driver.begin(options.logins)))
    del figures["generator_cpu"]
    rss_mb = driver.running.usage().rss_bytes / 1024**2
    return {**figures, "idle_us": idle_us, "rss_mb": rss_mb, "faults": driver.faults()}
