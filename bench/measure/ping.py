"""What one ping and its pong cost the server, with every page silent otherwise."""

from bench.kit.crew import Crew
from bench.kit.loop import Loop
from bench.kit.toys import ToyCrew
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running, peer

FIGURES = (
    Figure("ping_us", "server CPU us a ping and pong", 1, ratio=True),
    Figure("idle_percent", "idle CPU %", 2, ratio=True),
    Figure("pings_per_s", "pings/s", 0),
    Figure("still_open", "still open", 0),
)
PING_SECONDS = 30.0
"""Unless another interval is asked for."""


def run(options: Options) -> Board:
    """A window of three intervals, after one in which every page gets its phase."""
    count, interval = options.sockets[0], options.ping_seconds or PING_SECONDS
    settings = {"sockets": count, "ping_seconds": interval, "rounds": options.rounds}
    board = Board("ping", FIGURES, settings)
    for number in range(options.rounds):
        with peer("tornado", arguments=("--ping", str(interval))) as running:
            with common.toy_crew(running, count) as (loop, toys):
                common.open_pages(loop, toys, count, toys.open)
                board.add(number, "tornado", watch(running, loop, toys, interval))
        environment = {**options.scanpush, "SCANPUSH_PUSH__PING_SECONDS": str(interval)}
        with common.rested_scanpush(count, environment) as (running, tickets, _):
            with common.full_crew(running, count) as (loop, crew):
                common.open_tickets(loop, crew, tickets)
                board.add(number, "scanpush", watch(running, loop, crew, interval))
    return board


def watch(running: Running, loop: Loop, crew: ToyCrew | Crew, interval: float) -> dict[str, float]:
    """Answer pings for three intervals."""
    loop.run_for(interval)
    pings = crew.sockets.pings
    with common.costing(running) as cost:
        loop.run_for(3 * interval)
    seen = crew.sockets.pings - pings
    return {
        "ping_us": cost.server_seconds / seen * 1e6 if seen else float("nan"),
        "idle_percent": cost.server_seconds / cost.seconds * 100,
        "pings_per_s": seen / cost.seconds,
        "still_open": len(crew.sockets.open_pages),
    }
