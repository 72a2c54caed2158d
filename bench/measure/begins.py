"""A steady pace of begins while WeChat takes 250 ms, then while it does not answer for ten seconds.

Times count from when a begin was due. WeChat is bench/upstream.py, which stops answering by
SIGSTOP: connections stay open and silent. The yardstick is bench/peers/stock_login.py, which asks
WeChat while each page waits. Server and generator have real-time priority where that is allowed
(bench/priority.py). A first stretch at the same pace is not counted: codes made ahead
follow the demand.
"""

import json
import signal
from contextlib import ExitStack, closing
from typing import Any

from bench.kit import wire
from bench.kit.crew import BROWSER
from bench.kit.http import HttpPool
from bench.kit.loop import Loop
from bench.kit.outcome import milliseconds
from bench.measure import common
from bench.measure.common import Options
from bench.priority import undisturbed
from bench.results import Board, Figure
from bench.servers import Running, account_environment, peer, scanpush, upstream_process

FIGURES = (
    Figure("begin_ms_p50", "begin p50 ms", 2, ratio=True),
    Figure("begin_ms_p99", "p99 ms", 2, ratio=True),
    Figure("failed", "failed", 0),
    Figure("away_ms_p50", "WeChat away: p50 ms", 2, ratio=True),
    Figure("away_ms_p99", "p99 ms", 2, ratio=True),
    Figure("away_failed", "failed", 0),
    Figure("after_failed", "failed after it", 0),
    Figure("begins", "begins", 0),
    Figure("twice", "codes twice", 0),
    Figure("realtime", "real-time priority", 0),
)
PER_SECOND = 20
WECHAT_SECONDS = 0.25
LINKS = 256
"""More than wait at once where every begin hangs."""

TIMEOUT_SECONDS = 15.0


class Pace:
    """Begins scenes at their due times, whatever becomes of those before."""

    def __init__(self, loop: Loop, running: Running) -> None:
        self._loop = loop
        self._http = HttpPool(loop, running.ws, LINKS, TIMEOUT_SECONDS)
        path = f"{running.ws.path}/api/scenes"
        self._request = wire.http_request("POST", path, running.ws, b"{}", BROWSER)
        self.scenes: list[str] = []

    def run(self, seconds: float) -> tuple[list[float], int]:
        """Seconds of each begin that succeeded, and how many failed, all answers awaited."""
        took: list[float] = []
        failed = 0

        def begin(due: float) -> None:
            def answered(status: int, body: bytes, now: float) -> None:
                nonlocal failed
                if status == 201:
                    took.append(now - due)
                    self.scenes.append(json.loads(body)["scene_str"])
                else:
                    failed += 1

            self._http.ask(self._request, answered)

        began = self._loop.now()
        for number in range(int(seconds * PER_SECOND)):
            due = began + number / PER_SECOND
            self._loop.at(due, lambda due=due: begin(due))  # type: ignore[misc]
        self._loop.run_for(seconds)
        self._loop.run_until(lambda: not self._http.busy)
        return took, failed


def run(options: Options) -> Board:
    """Interleaved rounds of both servers, each with a WeChat of its own."""
    seconds = options.begin_seconds
    settings = {
        "per_second": PER_SECOND,
        "wechat_ms": WECHAT_SECONDS * 1e3,
        "seconds": seconds,
        "rounds": options.rounds,
    }
    board = Board("begins", FIGURES, settings, yardstick="stock-login")
    for number in range(options.rounds):
        for name in ("stock-login", "scanpush"):
            board.add(number, name, one_server(name, options, seconds))
    return board


def one_server(name: str, options: Options, seconds: float) -> dict[str, Any]:
    """A third of the time to warm up, all of it at WeChat's pace, a third away, a third after."""
    with ExitStack() as stack:
        wechat, process = stack.enter_context(upstream_process(delay_seconds=WECHAT_SECONDS))
        if name == "scanpush":
            environment = {**account_environment(wechat), **options.scanpush}
            running = stack.enter_context(scanpush(environment))
        else:
            running = stack.enter_context(peer(name, arguments=["--wechat", wechat.origin]))
        wanted = not options.ordinary_priority
        realtime = stack.enter_context(undisturbed(running, wanted=wanted))
        pace = Pace(stack.enter_context(closing(Loop())), running)
        pace.run(seconds / 3)
        with common.costing(running) as cost:
            took, failed = pace.run(seconds)
        process.send_signal(signal.SIGSTOP)
        try:
            away, away_failed = pace.run(seconds / 3)
        finally:
            process.send_signal(signal.SIGCONT)
        _, after_failed = pace.run(seconds / 3)
        figures = {
            "failed": failed,
            "away_failed": away_failed,
            "after_failed": after_failed,
            "begins": len(pace.scenes),
            "twice": len(pace.scenes) - len(set(pace.scenes)),
            "realtime": int(realtime),
            "generator_cpu": cost.generator_cpu,
        }
        for prefix, durations in (("begin", took), ("away", away)):
            spread = milliseconds(durations) if durations else {}
            for percentile in ("p50", "p99"):
                figures[f"{prefix}_ms_{percentile}"] = spread.get(percentile)
        return figures
