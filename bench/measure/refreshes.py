"""What a renewed login costs the server: `POST /api/token/refresh` in a session of its own.

People log in once, before the clock starts, and their pages are never opened: each session then
uses its refresh token again and again, one at a time, 16 sessions side by side.
"""

import json
from collections.abc import Callable
from typing import Any

from bench.callbacks import Callbacks
from bench.kit import wire
from bench.kit.crew import Crew, Ticket
from bench.kit.discover import NotUsable
from bench.kit.loop import Loop
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running

FIGURES = (
    Figure("refreshes_per_s", "refreshes/s, 16 in flight", 0),
    Figure("refresh_us", "server CPU us a refresh", 0),
    Figure("generator_cpu", "generator CPU", 2),
    Figure("faults", "refused", 0),
)
IN_FLIGHT = 16
"""As many as a crew's connections for plain requests."""

PEOPLE = 64
SESSIONS = {
    "SCANPUSH_SESSIONS__REFRESH_TTL_SECONDS": "2592000",
    "SCANPUSH_SESSIONS__MOST_PER_USER": "0",
}


def run(options: Options) -> Board:
    """Rounds of one server."""
    board = Board("refreshes", FIGURES, {"refreshes": options.logins, "rounds": options.rounds})
    with common.scanpush_with_upstream({**SESSIONS, **options.scanpush}) as running:
        with common.full_crew(running, PEOPLE) as (loop, crew):
            tokens = refresh_tokens(loop, crew, running)
            use(loop, crew, running, tokens, options.logins // 4 or 1)  # to warm up
            for number in range(options.rounds):
                figures = use(loop, crew, running, tokens, options.logins)
                board.add(number, "scanpush", figures)
    return board


def refresh_tokens(loop: Loop, crew: Crew, running: Running) -> list[str]:
    """One of each person's login.

    Raises:
        NotUsable: not every scene was authorized.
    """
    tickets = common.begin_scenes(loop, crew, PEOPLE)
    callbacks = Callbacks(loop, running.push, IN_FLIGHT, PEOPLE)
    callbacks.prepare([ticket.scene_str for ticket in tickets])
    tokens: list[str] = []
    refused: list[str] = []
    for ticket in tickets:
        callbacks.scan(ticket.scene_str, refused.append)
    loop.run_for(common.SETTLE_SECONDS)

    def keep(status: int, body: bytes, now: float) -> None:
        login = json.loads(body).get("login") if status == 200 else None
        if login is None:
            refused.append(f"status {status}")
        else:
            tokens.append(login["refresh_token"])

    waiting = iter(tickets)
    ask_each(loop, crew, lambda: _poll(crew, running.ws, next(waiting, None), keep))
    if refused:
        raise NotUsable(f"people cannot log in: {refused[0]}")
    return tokens


def _poll(crew: Crew, target: wire.Target, ticket: Ticket | None, done: Any) -> bool:
    if ticket is None:
        return False
    watch = f"Authorization: Bearer {ticket.watch_token}"
    path = f"{target.path}/api/scenes/{ticket.scene_str}"
    crew.http.ask(wire.http_request("GET", path, target, b"", [watch]), done)
    return True


def ask_each(loop: Loop, crew: Crew, ask_next: Callable[[], bool]) -> None:
    """Ask as long as `ask_next` does, as many at once as there are connections."""

    def done() -> bool:
        while crew.http.free and ask_next():
            pass
        return not crew.http.busy

    loop.run_until(done, within=common.OPEN_SECONDS)


def use(loop: Loop, crew: Crew, running: Running, tokens: list[str], count: int) -> dict[str, Any]:
    """`count` refreshes; `tokens` then holds the successors."""
    asked = refused = 0
    target = running.ws
    path = f"{target.path}/api/token/refresh"

    def ask_next() -> bool:
        nonlocal asked
        if asked >= count or not tokens:
            return False
        asked += 1
        body = json.dumps({"refresh_token": tokens.pop(0)}).encode()
        headers = ["Content-Type: application/json"]
        crew.http.ask(wire.http_request("POST", path, target, body, headers), keep)
        return True

    def keep(status: int, body: bytes, now: float) -> None:
        nonlocal refused
        if status == 200:
            tokens.append(json.loads(body)["refresh_token"])
        else:
            refused += 1

    with common.costing(running) as cost:
        ask_each(loop, crew, ask_next)
    return {
        "refreshes_per_s": asked / cost.seconds,
        "refresh_us": cost.server_seconds / max(asked, 1) * 1e6,
        "generator_cpu": cost.generator_cpu,
        "faults": refused + count - asked,
    }
