"""What an idle page costs: user memory, handshakes a second, and what the collector sees of it.

The yardstick is stock Tornado's toy that checks nothing; scanpush checks Origin, token and scene
at every upgrade. Memory is resident memory with the sockets minus without them; scanpush's scenes
exist on both sides and are stated apart.
"""

from collections.abc import Callable

from bench.kit.crew import Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.loop import Loop
from bench.kit.toys import ToyCrew
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running, peer

FIGURES = (
    Figure("socket_kb", "user KB a socket", 3, ratio=True),
    Figure("handshakes_per_s", "handshakes/s", 0, ratio=True),
    Figure("handshake_us", "server CPU us a handshake", 0, ratio=True),
    Figure("handshake_ms_p99", "handshake p99 ms", 1, ratio=True),
    Figure("gc_full_ms", "full gc.collect() ms", 2, ratio=True),
    Figure("gc_objects_per_socket", "objects a socket", 2, ratio=True),
    Figure("gc_automatic_ms", "automatic collections while opening, ms", 0, ratio=True),
    Figure("gc_longest_ms", "longest of them, ms", 1, ratio=True),
    Figure("scene_kb", "KB a scene", 2),
    Figure("scenes_per_s", "scenes begun/s", 0),
)


def run(options: Options) -> Board:
    """At 10,000 sockets and at the most that fit."""
    counts = options.sockets
    board = Board("sockets", FIGURES, {"sockets": counts[0], "rounds": options.rounds})
    for number in range(options.rounds):
        for count in counts:
            suffix = "" if count == counts[0] else f" at {count:,}"
            with peer("tornado") as running:
                board.add(number, "tornado" + suffix, toy(running, count))
            with common.rested_scanpush(count, options.scanpush) as (running, tickets, scenes):
                board.add(number, "scanpush" + suffix, {**full(running, tickets), **scenes})
    return board


def collections(running: Running, before: int, count: int) -> dict[str, float]:
    """What the garbage collector sees of `count` sockets; `before`: objects without them."""
    report = running.collect()
    oldest = report["automatic"]["2"]
    return {
        "gc_full_ms": report["full_ms"],
        "gc_objects_per_socket": (report["objects"] - before) / count,
        "gc_automatic_ms": sum(entry["total_ms"] for entry in report["automatic"].values()),
        "gc_longest_ms": oldest["longest_ms"],
    }


def toy(running: Running, count: int) -> dict[str, float]:
    """The figures of a peer that is a Python server."""
    before = running.collect()["objects"]
    with common.toy_crew(running, count) as (loop, crew):
        figures = opened(running, loop, crew, count, crew.open)
        return {**figures, **collections(running, before, count)}


def full(running: Running, tickets: list[Ticket]) -> dict[str, float]:
    """The figures of scanpush."""
    waiting = iter(tickets)
    before = running.collect()["objects"]
    with common.full_crew(running, len(tickets)) as (loop, crew):
        figures = opened(running, loop, crew, len(tickets), lambda: crew.open(next(waiting)))
        return {**figures, **collections(running, before, len(tickets))}


def opened(
    running: Running,
    loop: Loop,
    crew: ToyCrew | Crew,
    count: int,
    begin_one: Callable[[], object],
) -> dict[str, float]:
    """Open everything as fast as possible, and measure the memory it takes."""
    before = running.usage().rss_bytes
    with common.costing(running) as cost:
        common.open_pages(loop, crew, count, begin_one)
    loop.run_for(common.SETTLE_SECONDS)
    after = running.usage().rss_bytes
    if len(crew.sockets.open_pages) != count:
        raise NotUsable(f"{running.name} dropped sockets: {dict(crew.sockets.codes)}")
    return {
        "socket_kb": (after - before) / 1024 / count,
        "handshakes_per_s": count / cost.seconds,
        "handshake_us": cost.server_seconds / count * 1e6,
        "generator_cpu": cost.generator_cpu,
        **common.latency("handshake_ms", crew.sockets.handshake_seconds),
    }
