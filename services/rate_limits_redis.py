"""The counts of `services.rate_limits` on Redis, where all nodes share them.

The scripts are those of the ``limits`` package; the calls go through our own link, with its
time-outs, its errors and its way with clusters.
"""

from limits.aio.storage.redis.bridge import RedisBridge

from services.redis_link import RedisLink, Script

ACQUIRE = Script(RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode())
WINDOW = Script(RedisBridge.SCRIPT_SLIDING_WINDOW.decode())


class RedisWindows:
    """`services.rate_limits.Windows` on one Redis or Redis Cluster. Keys expire by themselves."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        return bool(await self._link.run(ACQUIRE, _keys(key), limit, expiry, 1))

    async def window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        answer = await self._link.run(WINDOW, _keys(key), expiry)
        previous, previous_ms, current, current_ms = answer
        return (
            int(previous or 0),
            _seconds(previous_ms),
            int(current or 0),
            _seconds(current_ms),
        )


def _keys(key: str) -> tuple[str, str]:
    """The counts of the window before and of the present one, in one slot of a cluster."""
    present = f"{{scanpush:limits:{key}}}"
    return f"{present}/-1", present


def _seconds(milliseconds: int) -> float:
    """PTTL answers below 0 for what does not exist (redis.io, "PTTL")."""
    return max(0, milliseconds) / 1000
