"""The push half of the job, on every peer this machine has: memory, handshakes, pushes.

Peers check nothing and get their push by POST. `websockets` and picows have no HTTP server of
their own and take it on a toy parser, which is most of what they gain there. scanpush's row is the
whole login: Origin, token and scene checked at every upgrade, a signed and encrypted callback, a
user, a JWT, and an ack.
"""

from collections import deque
from typing import Any

from bench.kit.crew import Ticket
from bench.kit.discover import NotUsable
from bench.kit.loop import Loop
from bench.kit.sockets import Page
from bench.kit.toys import ToyCrew
from bench.measure import common, sockets
from bench.measure.common import Options
from bench.measure.logins import Driver
from bench.results import Board, Figure
from bench.servers import PUSH_PEERS, Running, peer

FIGURES = (
    Figure("socket_kb", "user KB a socket", 3, ratio=True),
    Figure("handshakes_per_s", "handshakes/s", 0, ratio=True),
    Figure("frame_ms_p50", "push p50 ms", 3, ratio=True),
    Figure("frame_ms_p99", "p99", 2, ratio=True),
    Figure("frame_ms_p999", "p99.9", 2, ratio=True),
    Figure("pushes_per_s", "pushes/s in a burst", 0, ratio=True),
    Figure("push_us", "server CPU us a push", 0, ratio=True),
    Figure("generator_cpu", "generator CPU", 2),
    Figure("faults", "lost or misdelivered", 0),
)
PACE_PER_SECOND = 200.0
BURST_LINKS = 32


def run(options: Options) -> Board:
    """Interleaved rounds of all peers and scanpush."""
    count = options.sockets[0]
    # A page gets one push at a time, and one of scanpush logs in only once, half of them paced.
    least = max(BURST_LINKS, options.pushes // 2) + 1
    if count < least:
        raise NotUsable(
            f"{options.pushes} pushes need {least} pages: raise --sockets or lower --pushes"
        )
    settings = {"sockets": count, "pushes": options.pushes, "rounds": options.rounds}
    board = Board("peers", FIGURES, settings)
    names = common.available(PUSH_PEERS, board.note)
    for number in range(options.rounds):
        for name in names:
            with peer(name) as running:
                board.add(number, name, one_peer(running, count, options.pushes))
        with common.rested_scanpush(count, options.scanpush) as (running, tickets, _):
            board.add(number, "scanpush", full(running, tickets, options.pushes))
    return board


def one_peer(running: Running, count: int, pushes: int) -> dict[str, Any]:
    """All figures of one peer. `count` must be more than BURST_LINKS."""
    with common.toy_crew(running, count, BURST_LINKS) as (loop, crew):
        figures: dict[str, Any] = sockets.opened(running, loop, crew, count, crew.open)
        targets = deque(crew.sockets.open_pages)
        figures |= pace(loop, crew, targets, pushes)
        figures |= burst(running, loop, crew, targets, pushes * 4)
    figures["faults"] = len(crew.waiting) + crew.misdelivered + crew.http_errors
    figures["generator_cpu"] = max(figures["generator_cpu"], figures.pop("burst_cpu"))
    return figures


def pace(loop: Loop, crew: ToyCrew, targets: deque[Page], pushes: int) -> dict[str, Any]:
    """Pushes at a fixed rate, each to another page."""
    began, made = loop.now(), 0

    def done() -> bool:
        nonlocal made
        while made < pushes and began + made / PACE_PER_SECOND <= loop.now():
            targets.rotate(-1)
            crew.push(targets[0], began + made / PACE_PER_SECOND)
            made += 1
        return made >= pushes and not crew.waiting

    with loop.turning_every(0.001):
        loop.run_until(done, within=pushes / PACE_PER_SECOND + 10)
    return common.latency("frame_ms", crew.seconds)


def burst(
    running: Running, loop: Loop, crew: ToyCrew, targets: deque[Page], pushes: int
) -> dict[str, Any]:
    """BURST_LINKS pushes in flight until all are through."""
    goal, left = crew.delivered + pushes, pushes

    def next_one() -> None:
        nonlocal left
        if left:
            left -= 1
            targets.rotate(-1)
            crew.push(targets[0])

    crew.on_delivered = next_one
    with common.costing(running) as cost:
        for _ in range(min(BURST_LINKS, pushes)):
            next_one()
        loop.run_until(lambda: crew.delivered >= goal, within=60)
    return {
        "pushes_per_s": pushes / cost.seconds,
        "push_us": cost.server_seconds / pushes * 1e6,
        "burst_cpu": cost.generator_cpu,
    }


def full(running: Running, tickets: list[Ticket], pushes: int) -> dict[str, Any]:
    """scanpush with whole logins in the place of pushes."""
    with Driver(running, len(tickets)) as driver:
        crew, waiting = driver.crew, iter(tickets)
        figures: dict[str, Any] = sockets.opened(
            running, driver.loop, crew, len(tickets), lambda: crew.open(next(waiting))
        )
        pages = list(crew.sockets.open_pages)
        driver.warm_up()
        figures |= driver.pace(pages[: pushes // 2], PACE_PER_SECOND)
        login = driver.saturate(pages[pushes // 2 : pushes * 2])
        figures["pushes_per_s"], figures["push_us"] = login["logins_per_s"], login["login_us"]
        return {**figures, "faults": driver.faults()}
