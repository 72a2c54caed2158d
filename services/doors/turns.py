"""Doing something once for all who ask for it at the same time, on whichever node they ask.

Phones, prefetching and gateways ask a callback twice, and WeChat gives a code's worth only once.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from services.errors import ApiError, ScanpushError
from services.scenes.store import SceneStore

WAIT_SECONDS = 10.0
"""How long the others wait for the first: as long as its two calls to WeChat may take."""

TURN_SECONDS = 15.0
"""How long a turn is held whose holder neither ends it nor gives it back: its node was killed, or
the store fails. Longer than the work takes."""

PAUSE_SECONDS = 0.05


class Turns:
    """The first caller for a key does the work; the others get its result."""

    def __init__(self, scenes: SceneStore) -> None:
        self._scenes = scenes

    async def once(self, key: str, ttl_seconds: float, work: Callable[[], Awaitable[str]]) -> str:
        """The result of `work` for `key`, which is remembered for `ttl_seconds`.

        Where the first caller's work raises, or its result cannot be kept, its turn is given back:
        the next one tries anew. So `work` may be done twice, and must bear it.

        Raises:
            ApiError: ``overloaded`` where the first caller never ends (its node was killed).
        """
        me = secrets.token_hex(8)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while await self._scenes.remember(f"turn:{key}", me, TURN_SECONDS) != me:
                    if (result := await self._scenes.recall(f"result:{key}")) is not None:
                        return result
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise ApiError("overloaded", "Please try again.", retry_after=1) from None
        if (kept := await self._scenes.recall(f"result:{key}")) is not None:
            return kept  # the turn has ended by itself, long after its result was kept
        try:
            result = await work()
            await self._scenes.replace(f"result:{key}", result, ttl_seconds)
        except ScanpushError:
            # After a long time it may be another's.
            if await self._scenes.recall(f"turn:{key}") == me:
                await self._scenes.take(f"turn:{key}")
            raise
        return result
