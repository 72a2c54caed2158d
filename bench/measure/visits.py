"""A whole visit: begin a scene, open its socket, log in; what each step costs the server.

New people are those whose unionid WeChat has to be asked for. The yardstick is the same visit in
bench/peers/stock_login.py; both servers live side by side and take turns. `visits` has a WeChat
that answers at once, `visits-far` one that takes 200 ms.
"""

import functools
from contextlib import ExitStack
from typing import Any

from bench.callbacks import Callbacks
from bench.measure import common
from bench.measure.common import Options
from bench.measure.logins import Driver
from bench.results import Board, Figure

FIGURES = (
    Figure("new_us", "whole visit of a new person, CPU us", 0, ratio=True),
    Figure("known_us", "of a known one", 0, ratio=True),
    Figure("begin_us", "begin", 0, ratio=True),
    Figure("socket_us", "socket", 0, ratio=True),
    Figure("first_login_us", "first login", 0, ratio=True),
    Figure("login_us", "known login", 0, ratio=True),
    Figure("begins_per_s", "begins/s, 16 in flight", 0, ratio=True),
    Figure("faults", "lost, misdelivered, after ack", 0),
)
FAR_SECONDS = 0.2
AFTER_SECONDS = 1.0
"""What a step leaves to be done behind it counts as well."""


def run(options: Options, *, delay_seconds: float = 0.0) -> Board:
    """Interleaved rounds of both servers."""
    settings = {
        "visits": options.visits,
        "rounds": options.rounds,
        "wechat_ms": delay_seconds * 1e3,
    }
    name = "visits-far" if delay_seconds else "visits"
    board = Board(name, FIGURES, settings, yardstick="stock-login")
    with ExitStack() as stack:
        servers = {
            "stock-login": stack.enter_context(common.stock_with_upstream(delay_seconds)),
            "scanpush": stack.enter_context(
                common.scanpush_with_upstream(options.scanpush, delay_seconds=delay_seconds)
            ),
        }
        drivers = {
            name: stack.enter_context(Driver(running, 2 * options.visits))
            for name, running in servers.items()
        }
        for driver in drivers.values():
            driver.warm_up()
        for number in range(options.rounds):
            for name, driver in drivers.items():
                board.add(number, name, one_round(driver, options.visits, number))
    return board


run_far = functools.partial(run, delay_seconds=FAR_SECONDS)


def one_round(driver: Driver, visits: int, number: int) -> dict[str, Any]:
    """As many first logins as logins of people who were here before."""
    running, loop, crew = driver.running, driver.loop, driver.crew
    with common.costing(running) as begins:
        tickets = common.begin_scenes(loop, crew, 2 * visits)
        seconds = begins.elapsed()
        loop.run_for(AFTER_SECONDS)
    with common.costing(running) as sockets:
        pages = common.open_tickets(loop, crew, tickets)
    known = driver.callbacks
    strangers = Callbacks(loop, running.push, driver.in_flight, visits, first=visits * (number + 1))
    strangers.prepare([ticket.scene_str for ticket in tickets[:visits]])
    known.prepare([ticket.scene_str for ticket in tickets[visits:]])
    driver.callbacks = strangers
    with common.costing(running) as first:
        driver.saturate(pages[:visits])
        loop.run_for(AFTER_SECONDS)
    driver.callbacks = known
    with common.costing(running) as again:
        driver.saturate(pages[visits:])
    figures = {
        "begin_us": begins.server_seconds / (2 * visits) * 1e6,
        "socket_us": sockets.server_seconds / (2 * visits) * 1e6,
        "first_login_us": first.server_seconds / visits * 1e6,
        "login_us": again.server_seconds / visits * 1e6,
        "begins_per_s": 2 * visits / seconds,
        "generator_cpu": again.generator_cpu,
        "faults": driver.faults(),
    }
    both = figures["begin_us"] + figures["socket_us"]
    return {
        "new_us": both + figures["first_login_us"],
        "known_us": both + figures["login_us"],
        **figures,
    }
