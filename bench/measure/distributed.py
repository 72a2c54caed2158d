"""Whole logins on the distributed backend: a node's rate, and what a second node adds to latency.

The node has CPU 0; Redis, the MongoDB-protocol server and the generator share CPU 1, so the rate
with a MongoDB server written in Python (nx-27017) is mostly that server's: CPU a login is the
node's own. More logins are in flight than on the embedded backend, for each waits longer in
servers than it keeps the node busy. The second row is the same node with people in its memory. In
the third, callbacks go to another node than the one that holds the sockets; its ratio of "callback
to frame" compares it to the first row in the same round.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bench.measure import common, logins
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running, account_environment, scanpush, upstream
from bench.stores import mongodb_name, shared_stores

IN_FLIGHT = 96
FIGURES = (
    Figure("logins_per_s", f"logins/s, {IN_FLIGHT} in flight", 0, ratio=True),
    *logins.FIGURES[1:],
)

ONE, ALONE, TWO = "one node", "one node, no MongoDB", "two nodes"


def run(options: Options) -> Board:
    """Interleaved rounds of the three."""
    settings = {
        "logins": options.logins,
        "paced": options.paced,
        "rounds": options.rounds,
        "mongodb": mongodb_name(),
    }
    board = Board("distributed", FIGURES, settings, yardstick=ONE)
    with ExitStack() as stack:
        drivers = {
            name: stack.enter_context(logins.Driver(running, options.logins, IN_FLIGHT))
            for name, running in stack.enter_context(nodes(options.scanpush)).items()
        }
        for driver in drivers.values():
            driver.warm_up()
        for number in range(options.rounds):
            for name, driver in drivers.items():
                figures = logins.one_round(driver, options)
                if name == TWO:
                    # Of the node with the sockets only, while the other does most of the work.
                    del figures["login_us"]
                board.add(number, name, figures)
    return board


@contextmanager
def nodes(extra: Mapping[str, str]) -> Iterator[dict[str, Running]]:
    """Two nodes on shared stores, and one more on stores of its own without MongoDB."""
    with ExitStack() as stack:
        wechat = stack.enter_context(upstream())
        account = {
            **account_environment(wechat),
            **common.LONG_LIFE,
            **common.NO_DAILY_RESERVE,
            "SCANPUSH_JWT__ISSUER": "bench",
        }
        shared = {**account, **stack.enter_context(shared_stores()), **extra}
        first = stack.enter_context(scanpush(shared))
        second = stack.enter_context(scanpush(shared))
        own = {**account, **stack.enter_context(shared_stores()), **extra}
        command = (sys.executable, "-m", "bench.without_mongodb")
        alone = stack.enter_context(scanpush(own, command=command))
        yield {ONE: first, ALONE: alone, TWO: replace(first, push=second.push)}
