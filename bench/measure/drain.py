"""SIGTERM with many sockets: does every page get 1001, and how long does it take?"""

import signal
import time

from bench.kit.crew import Crew
from bench.kit.loop import Loop
from bench.kit.toys import ToyCrew
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import LEAVE_SECONDS, Running, peer

FIGURES = (
    Figure("closed_1001", "closed with 1001", 0),
    Figure("closed_otherwise", "closed otherwise", 0),
    Figure("first_s", "first after s", 3),
    Figure("last_s", "last after s", 3, ratio=True),
    Figure("exit_s", "exit after s", 3),
)


def run(options: Options) -> Board:
    """At the most sockets that fit."""
    count = options.sockets[-1]
    board = Board("drain", FIGURES, {"sockets": count, "rounds": options.rounds})
    for number in range(options.rounds):
        with peer("tornado") as running, common.toy_crew(running, count) as (loop, toys):
            common.open_pages(loop, toys, count, toys.open)
            board.add(number, "tornado", terminate(running, loop, toys))
        with common.rested_scanpush(count, options.scanpush) as (running, tickets, _):
            with common.full_crew(running, count) as (loop, crew):
                common.open_tickets(loop, crew, tickets)
                board.add(number, "scanpush", terminate(running, loop, crew))
    return board


def terminate(running: Running, loop: Loop, crew: ToyCrew | Crew) -> dict[str, float]:
    """Send SIGTERM and wait until every page is closed."""
    sockets = crew.sockets
    began_wall, began = time.perf_counter(), loop.now()
    sockets.first_gone = 0.0
    running.process.send_signal(signal.SIGTERM)
    loop.run_until(lambda: not sockets.open_pages, within=LEAVE_SECONDS)
    running.process.wait(LEAVE_SECONDS)
    return {
        "closed_1001": sockets.codes[1001],
        "closed_otherwise": sockets.codes.total() - sockets.codes[1001] + len(sockets.open_pages),
        "first_s": sockets.first_gone - began,
        "last_s": sockets.last_gone - began,
        "exit_s": time.perf_counter() - began_wall,
    }
