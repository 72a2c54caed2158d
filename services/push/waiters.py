"""Somebody who waits for news of a scene without a socket: a long poll, or an upgrade under way."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from services.scenes.states import Scene


class Waiter:
    """One wait for a newer state of one scene. A context manager: leaving it takes it out.

    Enter it first, read the store second, wait third: then no change falls in between.
    """

    __slots__ = ("_future", "_leave", "key", "released", "replaced", "scene")

    def __init__(self, key: bytes, leave: Callable[["Waiter"], object]) -> None:
        self.key = key
        self.scene: Scene | None = None
        """The newest state brought here so far."""
        self.replaced = False
        """A newer socket of the same scene was opened on another node meanwhile."""
        self.released = False
        self._leave = leave
        self._future: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self)

    def wake(self, scene: Scene) -> None:
        """Bring a state; older ones than the last are no news."""
        if self.scene is None or scene.seq > self.scene.seq:
            self.scene = scene
            self._call()

    def release(self) -> None:
        """End the wait without news: the node leaves, the peer is gone, or notices are missing."""
        self.released = True
        self._call()

    async def newer(self, seq: int, seconds: float) -> Scene | None:
        """The scene once its `seq` is above `seq`; None after `seconds`, or when released."""
        try:
            async with asyncio.timeout(seconds):
                while not self.released and (self.scene is None or self.scene.seq <= seq):
                    self._future = asyncio.get_running_loop().create_future()
                    await self._future
        except TimeoutError:
            return None
        return None if self.released else self.scene

    def _call(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
