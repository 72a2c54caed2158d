"""Calls gathered into batches, because a call costs less in company (docs/performance.md).

Calls asked for in one turn of the event loop, or while another batch is on its way, travel
together.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from services.tasks import Supervisor

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Pending(Generic[Question, Answer]):
    """One call on its way."""

    question: Question
    answer: "asyncio.Future[Answer]"
    since: float


class Batcher(Generic[Question, Answer]):
    """Gathers calls; a batch leaves at once when none is under way.

    Else it waits for that one to end, but not once it is full or has waited `patience_seconds`:
    then it leaves beside the others.

    A call that has waited for `timeout_seconds` before it could be sent is not sent and ends with
    `TimeoutError`; what is left when the supervisor closes ends with `ConnectionError`. A call
    whose future was cancelled in time is not sent either.

    Args:
        send: takes a batch and brings one answer or exception for each; ends within a time of its
            own, and raises nothing.
        name: of the background tasks.
        most_under_way: how many batches may travel at a time.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]],
        supervisor: Supervisor,
        *,
        name: str,
        timeout_seconds: float,
        most_in_a_batch: int,
        most_under_way: int = 1,
        patience_seconds: float = math.inf,
    ) -> None:
        self._send = send
        self._supervisor = supervisor
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._most_in_a_batch = most_in_a_batch
        self._most_under_way = most_under_way
        self._patience_seconds = patience_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Pending[Question, Answer]] = []
        self._under_way = 0
        self._starting = False
        self._watching = False

    def ask(self, question: Question) -> "asyncio.Future[Answer]":
        """The answer to come."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append(_Pending(question, answer, self._loop.time()))
        if self._under_way == 0:
            self._start()
        else:
            self._see_to_the_rest()
        return answer

    def _see_to_the_rest(self) -> None:
        """What waits beside a batch under way leaves when it is full, or out of patience."""
        if not self._may_start():
            return
        if len(self._waiting) >= self._most_in_a_batch:
            self._start()
        elif not self._watching:
            self._watch(self._patience_seconds)

    def _may_start(self) -> bool:
        more = bool(self._waiting) and not self._starting
        return more and self._under_way < self._most_under_way

    def _watch(self, seconds: float) -> None:
        if seconds < math.inf:
            self._watching = True
            self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Whoever waits first may have waited long enough for a batch that hangs."""
        self._watching = False
        if not self._may_start():
            return
        left = self._waiting[0].since + self._patience_seconds - self._loop.time()
        if left > 0:
            self._watch(left)
        else:
            self._start()

    def _start(self) -> None:
        self._under_way += 1
        self._starting = True
        batch: list[_Pending[Question, Answer]] = []
        # The task starts in the next turn of the loop: what is asked in this one joins.
        task = self._supervisor.spawn(self._travel(batch), name=self._name)
        task.add_done_callback(partial(self._ended, batch))

    async def _travel(self, batch: list[_Pending[Question, Answer]]) -> None:
        self._starting = False
        while True:
            batch[:] = self._next_batch()
            self._see_to_the_rest()
            if batch:
                _resolve(batch, await self._send([asked.question for asked in batch]))
            full = len(self._waiting) >= self._most_in_a_batch
            if not full and (not self._waiting or self._under_way > 1):
                break  # with others under way, the last of them takes what waits
        self._under_way -= 1
        self._see_to_the_rest()

    def _next_batch(self) -> list[_Pending[Question, Answer]]:
        most = self._most_in_a_batch
        first, self._waiting = self._waiting[:most], self._waiting[most:]
        now = self._loop.time()
        late = [asked for asked in first if asked.since + self._timeout_seconds < now]
        _resolve(late, [TimeoutError()] * len(late))
        # Whoever stopped waiting is not served: nobody would know of it.
        return [asked for asked in first if not asked.answer.done()]

    def _ended(self, batch: list[_Pending[Question, Answer]], task: "asyncio.Task[None]") -> None:
        """Cancelled, perhaps before it began, or failed: nobody may be left waiting."""
        if task.cancelled() or task.exception() is not None:
            self._under_way -= 1
            self._starting = False
            left, self._waiting = batch + self._waiting, []
            _resolve(left, [ConnectionError("closed")] * len(left))


def _resolve(
    batch: Sequence[_Pending[Question, Answer]], answers: Sequence[Answer | Exception]
) -> None:
    for asked, answer in zip(batch, answers, strict=True):
        if asked.answer.done():
            continue
        if isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)
