"""Pages come and go while others log in: push.md's churn test, with whole logins for scanpush.

So many pages are held; for `seconds` there are 200 pushes (stock Tornado) or whole logins
(scanpush) a second; during the first four fifths 300 further pages a second open, and then all of
those close at once. They belong to a second process at a lower priority, so that its work does not
look like the server's. A page that has logged in is replaced by a new one. Every scene was begun
beforehand. Servers and generator have real-time priority where that is allowed (bench/priority.py).
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.callbacks import Callbacks
from bench.kit.crew import Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.ending import ignore_both
from bench.kit.loop import Loop
from bench.kit.sockets import Page, open_at_rate
from bench.kit.toys import ToyCrew
from bench.measure import common
from bench.measure.common import Options
from bench.priority import step_back, undisturbed
from bench.results import Board, Figure
from bench.servers import Running, peer

FIGURES = (
    Figure("frame_ms_p50", "push p50 ms", 2, ratio=True),
    Figure("frame_ms_p99", "p99", 2, ratio=True),
    Figure("frame_ms_p999", "p99.9", 1, ratio=True),
    Figure("frame_ms_max", "max", 1, ratio=True),
    Figure("due_ms_p99", "p99 from when due", 1, ratio=True),
    Figure("due_ms_p999", "p99.9 from when due", 1, ratio=True),
    Figure("handshake_ms_p99", "handshake p99 ms", 1, ratio=True),
    Figure("pushes", "pushes", 0),
    Figure("visitors", "visitors", 0),
    Figure("memory_after_percent", "memory after, % of before", 1),
    Figure("generator_cpu", "generator CPU", 2),
    Figure("generator_stall_ms", "generator's longest stall ms", 1),
    Figure("realtime", "real-time priority", 0),
    Figure("faults", "lost, misdelivered, after ack", 0),
)
PUSHES_PER_SECOND = 200.0
VISITORS_PER_SECOND = 300.0
OPENING_SHARE = 0.8
VISITOR_NICENESS = 5
VISITOR_BLOCK = 8
"""Of loopback addresses: none that the held pages use."""

LOST_SECONDS = 10.0
PEOPLE = 300


def run(options: Options) -> Board:
    """Interleaved rounds of stock Tornado's toy and scanpush."""
    settings = {"held": options.churn_held, "seconds": options.churn_seconds,
                "rounds": options.rounds}  # fmt: skip
    logins = round(PUSHES_PER_SECOND * options.churn_seconds)
    if logins > options.churn_held:
        raise NotUsable(f"{logins} logins need as many held pages: raise --churn-held")
    board = Board("churn", FIGURES, settings)
    for number in range(options.rounds):
        with peer("tornado") as running:
            with common.toy_crew(running, options.churn_held) as (loop, toys):
                board.add(number, "tornado", toy(running, loop, toys, options))
        with common.scanpush_with_upstream(options.scanpush) as running:
            with common.full_crew(running, options.churn_held) as (loop, crew):
                figures = full(running, loop, crew, options)
                board.add(number, "scanpush", figures)
    return board


@dataclass(frozen=True, slots=True)
class Visit:
    """What the second process does. Without tickets it visits a toy."""

    running: Running
    tickets: Sequence[Ticket]
    seconds: float


def visit(work: Visit, pipe: Connection) -> None:
    """Open at a rate, then close everything at once; sends the handshakes' times.

    Signals are for the first process, which ends this one.
    """
    ignore_both()
    step_back(VISITOR_NICENESS)
    count = round(VISITORS_PER_SECOND * work.seconds)
    if work.tickets:
        with common.full_crew(work.running, count, VISITOR_BLOCK) as (loop, crew):
            waiting = iter(work.tickets)
            come_and_go(loop, crew, count, lambda: crew.open(next(waiting)), pipe)
    else:
        with common.toy_crew(work.running, count, 1, VISITOR_BLOCK) as (loop, toys):
            come_and_go(loop, toys, count, toys.open, pipe)


def come_and_go(
    loop: Loop,
    crew: Crew | ToyCrew,
    count: int,
    begin_one: Callable[[], object],
    pipe: Connection,
) -> None:
    """What `visit` does, for either kind of pages."""
    made = 0

    def next_page() -> bool:
        nonlocal made
        made += 1
        begin_one()
        return made < count

    pipe.send("ready")
    pipe.recv()
    open_at_rate(loop, crew.sockets, VISITORS_PER_SECOND, common.INFLIGHT, next_page)
    for page in list(crew.sockets.open_pages):
        crew.sockets.close(page)
    loop.run_until(lambda: not crew.sockets.open_pages, within=LOST_SECONDS)
    pipe.send((list(crew.sockets.handshake_seconds), dict(crew.sockets.refusals)))


@contextmanager
def visitors(running: Running, tickets: Sequence[Ticket], seconds: float) -> Iterator[Connection]:
    """The second process; send it anything to let it start."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=visit, args=(Visit(running, tickets, seconds), theirs))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours
        process.join(LOST_SECONDS)
    finally:
        process.kill()


def toy(running: Running, loop: Loop, crew: ToyCrew, options: Options) -> dict[str, Any]:
    """Stock Tornado: pushes to held pages, which stay."""
    common.open_pages(loop, crew, options.churn_held, crew.open)
    targets = deque(crew.sockets.open_pages)
    loop.run_for(common.SETTLE_SECONDS)
    before = running.usage().rss_bytes

    def push(due: float) -> None:
        page = targets.popleft()
        targets.append(page)
        crew.push(page, due)

    handshakes, cost, realtime = paced(loop, running, (), options, push, lambda: not crew.waiting)
    loop.run_for(common.SETTLE_SECONDS)
    return {
        **common.latency("frame_ms", crew.seconds),
        **common.latency("due_ms", crew.seconds_due),
        **common.latency("handshake_ms", handshakes),
        "pushes": crew.delivered,
        "visitors": len(handshakes),
        "memory_after_percent": running.usage().rss_bytes / before * 100,
        "generator_cpu": cost.generator_cpu,
        "generator_stall_ms": loop.longest_stall * 1e3,
        "realtime": int(realtime),
        "faults": len(crew.waiting) + crew.misdelivered + crew.http_errors,
    }


def full(running: Running, loop: Loop, crew: Crew, options: Options) -> dict[str, Any]:
    """scanpush: whole logins by held pages, each replaced when it has gone."""
    coming = round(VISITORS_PER_SECOND * options.churn_seconds * OPENING_SHARE)
    logins = round(PUSHES_PER_SECOND * options.churn_seconds)
    callbacks = Callbacks(loop, running.push, 8, PEOPLE)
    warm_up(loop, crew, callbacks)
    tickets = common.begin_scenes(loop, crew, options.churn_held + coming + logins)
    for_visitors = tickets[:coming]
    reserve = deque(tickets[coming : coming + logins])
    targets = deque(common.open_tickets(loop, crew, tickets[coming + logins :]))
    callbacks.prepare([page.key for page in list(targets)[:logins]])
    loop.run_for(common.SETTLE_SECONDS)
    tally = crew.tally
    first = len(tally.scan_to_token)
    handshakes_before = len(crew.sockets.handshake_seconds)
    before = running.usage().rss_bytes

    def push(due: float) -> None:
        crew.scan(targets.popleft(), callbacks, due)

    def replace(page: Page, code: int) -> None:
        if reserve:
            crew.open(reserve.popleft())

    crew.after_gone = replace
    handshakes, cost, realtime = paced(
        loop, running, for_visitors, options, push, lambda: crew.at_rest
    )
    crew.count_lost(0)
    loop.run_for(common.SETTLE_SECONDS)
    return {
        **common.latency("frame_ms", tally.scan_to_token[first:]),
        **common.latency("due_ms", tally.due_to_token[first:]),
        **common.latency(
            "handshake_ms", [*handshakes, *crew.sockets.handshake_seconds[handshakes_before:]]
        ),
        "pushes": tally.delivered - first,
        "visitors": len(handshakes),
        "memory_after_percent": running.usage().rss_bytes / before * 100,
        "generator_cpu": cost.generator_cpu,
        "generator_stall_ms": loop.longest_stall * 1e3,
        "realtime": int(realtime),
        "slowest": slowest(tally.token_at[first:], tally.scan_to_token[first:]),
        "faults": tally.lost
        + tally.misdelivered
        + tally.duplicated_after_ack
        + sum(tally.scan_errors.values()),
    }


def slowest(moments: Sequence[float], seconds: Sequence[float]) -> list[tuple[float, float]]:
    """The ten slowest: seconds since the first login, and milliseconds. To see what they met."""
    ranked = sorted(zip(seconds, moments), reverse=True)[:10]
    began = min(moments, default=0.0)
    return [(round(moment - began, 2), round(took * 1e3, 1)) for took, moment in ranked]


def warm_up(loop: Loop, crew: Crew, callbacks: Callbacks) -> None:
    """The first login of each person, after which scanpush asks WeChat for the unionid."""
    for page in common.open_tickets(loop, crew, common.begin_scenes(loop, crew, PEOPLE)):
        crew.scan(page, callbacks)
        loop.run_until(lambda: callbacks.http.free > 0, within=LOST_SECONDS)
    loop.run_until(lambda: crew.at_rest, within=LOST_SECONDS)
    loop.run_for(common.SETTLE_SECONDS)


def paced(
    loop: Loop,
    running: Running,
    tickets: Sequence[Ticket],
    options: Options,
    push: Callable[[float], None],
    at_rest: Callable[[], bool],
) -> tuple[list[float], common.Cost, bool]:
    """Push at PUSHES_PER_SECOND while visitors come; their handshake times, what it cost, and
    whether that was at real-time priority."""
    seconds = options.churn_seconds
    with (
        undisturbed(running, wanted=not options.ordinary_priority) as realtime,
        visitors(running, tickets, seconds * OPENING_SHARE) as pipe,
    ):
        loop.run_for(0.1)
        loop.longest_stall = 0.0
        began = loop.now()
        pipe.send("go")
        made, total = 0, round(PUSHES_PER_SECOND * seconds)

        def done() -> bool:
            nonlocal made
            while made < total and began + made / PUSHES_PER_SECOND <= loop.now():
                push(began + made / PUSHES_PER_SECOND)
                made += 1
            return made >= total

        with common.costing(running) as cost, loop.turning_every(0.001):
            loop.run_until(done)
        loop.run_until(at_rest, within=LOST_SECONDS)
        handshakes, refusals = pipe.recv()
    if refusals:
        raise NotUsable(f"visitors were refused: {refusals}")
    return handshakes, cost, realtime
