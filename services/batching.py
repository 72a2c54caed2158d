"""Calls gathered into batches, because a call costs less when others share its batch.

Calls submitted in one turn of the event loop, or while another batch is in flight, are sent
together. The commands of a node to Redis and to MongoDB go this way; docs/performance.md has what
it saves.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from services.tasks import Supervisor

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Pending(Generic[Request, Result]):
    """A call and the future its caller waits for. `since` is the loop's time."""

    request: Request
    result: "asyncio.Future[Result]"
    since: float


class Batcher(Generic[Request, Result]):
    """Gathers calls; a batch is sent at once when none is in flight.

    Otherwise it waits for that one to end, unless it is full or has waited `max_delay_seconds`:
    then it is sent beside the others, up to `max_in_flight` of them.

    A call that has waited for `timeout_seconds` before it could be sent is not sent and ends with
    `TimeoutError`; what is left when the supervisor closes ends with `ConnectionError`. A call
    whose future was cancelled in time is not sent either.

    Args:
        send: sends a batch and returns a result or an exception for each request; it has a
            time limit of its own, and raises nothing.
        name: of the background tasks.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        supervisor: Supervisor,
        *,
        name: str,
        timeout_seconds: float,
        max_batch_size: int,
        max_in_flight: int = 1,
        max_delay_seconds: float = math.inf,
    ) -> None:
        self._send = send
        self._supervisor = supervisor
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._max_batch_size = max_batch_size
        self._max_in_flight = max_in_flight
        self._max_delay_seconds = max_delay_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Pending[Request, Result]] = []
        self._in_flight = 0
        self._starting = False
        """A task was started and has not taken its batch yet."""
        self._timer_runs = False

    def submit(self, request: Request) -> "asyncio.Future[Result]":
        """Send `request` with the next batch. Cancel the future to give the call up."""
        result: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append(_Pending(request, result, self._loop.time()))
        if self._in_flight == 0:
            self._start()
        else:
            self._start_another()
        return result

    def _start_another(self) -> None:
        """Start a full batch beside those in flight; for one that is not full, start the timer."""
        if not self._may_start():
            return
        if len(self._waiting) >= self._max_batch_size:
            self._start()
        elif not self._timer_runs:
            self._start_timer(self._max_delay_seconds)

    def _may_start(self) -> bool:
        more = bool(self._waiting) and not self._starting
        return more and self._in_flight < self._max_in_flight

    def _start_timer(self, seconds: float) -> None:
        if seconds < math.inf:
            self._timer_runs = True
            self._loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        """The batch in flight may hang: the oldest call does not wait for it any longer."""
        self._timer_runs = False
        if not self._may_start():
            return
        left = self._waiting[0].since + self._max_delay_seconds - self._loop.time()
        if left > 0:
            self._start_timer(left)
        else:
            self._start()

    def _start(self) -> None:
        self._in_flight += 1
        self._starting = True
        batch: list[_Pending[Request, Result]] = []
        # The task starts in the next turn of the loop: calls submitted in this one join the batch.
        task = self._supervisor.spawn(self._send_batches(batch), name=self._name)
        task.add_done_callback(partial(self._on_end, batch))

    async def _send_batches(self, batch: list[_Pending[Request, Result]]) -> None:
        self._starting = False
        while True:
            batch[:] = self._take_batch()
            self._start_another()
            if batch:
                _resolve(batch, await self._send([pending.request for pending in batch]))
            full = len(self._waiting) >= self._max_batch_size
            if not full and (not self._waiting or self._in_flight > 1):
                break  # with others in flight, the last of them takes what waits
        self._in_flight -= 1
        self._start_another()

    def _take_batch(self) -> list[_Pending[Request, Result]]:
        """The next batch without the calls that are too late or were given up."""
        size = self._max_batch_size
        first, self._waiting = self._waiting[:size], self._waiting[size:]
        now = self._loop.time()
        late = [pending for pending in first if pending.since + self._timeout_seconds < now]
        _resolve(late, [TimeoutError()] * len(late))
        return [pending for pending in first if not pending.result.done()]

    def _on_end(self, batch: list[_Pending[Request, Result]], task: "asyncio.Task[None]") -> None:
        # Cancelled, perhaps before it began, or failed by a bug: no caller may wait forever.
        if task.cancelled() or task.exception() is not None:
            self._in_flight -= 1
            self._starting = False
            left, self._waiting = batch + self._waiting, []
            _resolve(left, [ConnectionError("closed")] * len(left))


def _resolve(
    batch: Sequence[_Pending[Request, Result]], results: Sequence[Result | Exception]
) -> None:
    for pending, result in zip(batch, results, strict=True):
        if pending.result.done():
            continue
        if isinstance(result, Exception):
            pending.result.set_exception(result)
        else:
            pending.result.set_result(result)
