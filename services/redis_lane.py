"""Calls to one Redis server, gathered into batches; and what Redis's failures are called.

Calls asked for in one turn of the event loop, or while another batch is on its way, travel
together: a call costs a third then (docs/performance.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import exceptions

from services.errors import StoreUnavailable
from services.supervisor import Supervisor

Command = tuple[str | bytes | int | float, ...]

Send = Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]]
"""Sends a batch to the server of that name: one answer or exception for each command."""

MOST_IN_A_BATCH = 512

FOREIGN = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    OSError,  # refused, reset, unresolved; and TimeoutError, which asyncio raises
    asyncio.IncompleteReadError,
)
LOST = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterError, OSError)


class translated:
    """Turn whatever redis-py raises into `StoreUnavailable`.

    That covers a server that is gone, hangs, loads its data (LOADING), lost its master
    (MASTERDOWN), became a replica (READONLY), is full (OOM) or no longer lets us in (NOAUTH): in
    each case the caller may ask again, and what was asked may or may not have happened.

    A class, like contextlib's: around every call, a generator's context manager would cost.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FOREIGN):
            raise StoreUnavailable(f"Redis: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200]


@dataclass(slots=True)
class _Asked:
    """One call on its way."""

    command: Command | bytes
    answer: "asyncio.Future[Any]"
    until: float


class Lane:
    """Gathers the calls to one server; one batch is on its way at a time.

    A call waits at most for the batch before it and for its own, each of which has
    `timeout_seconds`; one that has waited that long before it could be sent is not sent.
    """

    def __init__(
        self, send: Send, server: str, timeout_seconds: float, supervisor: Supervisor
    ) -> None:
        self._send = send
        self._server = server
        self._timeout_seconds = timeout_seconds
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Asked] = []
        self._batch: list[_Asked] = []
        self._sending = False

    def ask(self, command: Command | bytes) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append(_Asked(command, future, self._loop.time() + self._timeout_seconds))
        if not self._sending:
            self._sending = True
            # The task starts in the next turn of the loop: what is asked in this one joins.
            task = self._supervisor.spawn(self._send_all(), name="redis")
            task.add_done_callback(self._ended)
        return future

    async def _send_all(self) -> None:
        while self._asked:
            self._batch = self._next_batch()
            if self._batch:
                commands = [asked.command for asked in self._batch]
                _resolve(self._batch, await self._send(self._server, commands))
        self._sending = False

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Cancelled, perhaps before it began: nobody may be left waiting."""
        if task.cancelled():
            left, self._asked, self._sending = self._batch + self._asked, [], False
            _resolve(left, [exceptions.ConnectionError("closed")] * len(left))

    def _next_batch(self) -> list[_Asked]:
        first, self._asked = self._asked[:MOST_IN_A_BATCH], self._asked[MOST_IN_A_BATCH:]
        now = self._loop.time()
        late = [asked for asked in first if asked.until < now]
        _resolve(late, [TimeoutError()] * len(late))
        # Whoever stopped waiting is not served: nobody would know of it.
        return [asked for asked in first if not asked.answer.done()]


def _resolve(batch: Sequence[_Asked], answers: Sequence[Any]) -> None:
    for asked, answer in zip(batch, answers, strict=True):
        if asked.answer.done():
            continue
        if isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)
