"""The time as the shared store has it, so that a node whose clock is wrong still counts right.

Moves and ends are decided by Redis's clock alone. What a node counts itself (when to read a scene
again, the seconds a page is shown, whether a token has begun) must agree with it.
"""

import asyncio
import logging

from services.clock import Clock
from services.errors import StoreUnavailable
from services.redis_link import RedisLink, Script

log = logging.getLogger("scanpush.clock")

LEARN_SECONDS = 10
"""How often the store is asked; a machine's clock is not set more often than that."""

SMALLEST_STEP_SECONDS = 0.1
"""What is less is not followed: the way to the store and back takes about as long."""

WORTH_A_WARNING_SECONDS = 5

_TIME = Script("return redis.call('TIME')")


class StoreClock:
    """`Clock` that runs with `base` and is set by Redis (redis.io, "TIME")."""

    def __init__(self, base: Clock, link: RedisLink) -> None:
        self._base = base
        self._link = link
        self._ahead = 0.0

    def now(self) -> float:
        return self._base.now() + self._ahead

    def monotonic(self) -> float:
        return self._base.monotonic()

    async def learn(self) -> None:
        """Set this clock by the store's.

        Raises:
            StoreUnavailable: the store did not answer; the clock runs on as it was.
        """
        asked = self._base.monotonic()
        # As a script with a key, because a cluster must know which server is meant.
        seconds, micros = await self._link.run(_TIME, ["scanpush:clock"])
        way = self._base.monotonic() - asked
        ahead = int(seconds) + int(micros) / 1_000_000 + way / 2 - self._base.now()
        if abs(ahead - self._ahead) <= max(SMALLEST_STEP_SECONDS, way):
            return
        self._ahead = ahead
        if abs(ahead) > WORTH_A_WARNING_SECONDS:
            log.warning("this machine's clock is %+.1f s off the store's", -ahead)

    async def learn_forever(self) -> None:
        """For a background task. A store that is away is others' to report."""
        while True:
            await asyncio.sleep(LEARN_SECONDS)
            try:
                await self.learn()
            except StoreUnavailable as error:
                log.debug("the store's time is unknown: %s", error)
