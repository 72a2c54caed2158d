"""The owner of every background task."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("scanpush.supervisor")


class Supervisor:
    """Keeps a strong reference to each task it starts, and ends them all on `close`.

    The event loop itself holds tasks weakly: without another reference a task can be collected
    while it waits, and then never ends (asyncio documentation, `create_task`). A task that fails is
    logged once, here, and does not take others with it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start `work` now. After `close` began, new work is refused by cancelling it at once."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._closing:
            task.cancel()
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel what still runs and wait until all of it has ended."""
        self._closing = True
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*list(self._tasks), return_exceptions=True)
            # Since Python 3.12 gathering what has ended already gives the loop no turn, and it is
            # in another turn that `_ended` is called.
            await asyncio.sleep(0)
