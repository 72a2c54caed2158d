"""An event loop in a thread of its own, for what must go on while Playwright waits in the test's
own."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
WITHIN_SECONDS = 20


async def _some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Aside:
    """Use it in ``with``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def run(self, work: Coroutine[Any, Any, Result], within: float = WITHIN_SECONDS) -> Result:
        """What `work` returns, done in that loop."""
        return self.begin(work).result(within)

    def begin(self, work: Coroutine[Any, Any, Result]) -> "concurrent.futures.Future[Result]":
        """Have `work` done in that loop, and go on meanwhile."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @contextlib.contextmanager
    def entered(self, what: AbstractAsyncContextManager[Result]) -> Iterator[Result]:
        """`what`, entered and left in that loop."""
        there = self.run(what.__aenter__())
        try:
            yield there
        finally:
            self.run(what.__aexit__(None, None, None))

    async def _end_tasks(self) -> None:
        """A connection that came at the last moment may still be served.

        Its task must have begun, or it would end without closing anything; and what it closes is
        closed some turns of the loop later.
        """
        await _some_turns()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _some_turns()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_SECONDS)
        self._loop.close()
