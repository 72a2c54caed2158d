"""How often one address may do what costs this server or WeChat something.

`RateLimits` counts in sliding windows, which are kept in this process (`MemoryWindows`), or on
Redis where nodes share their counts (`RedisWindows`). The address is that of `client_address`; IPv6
counts by /64, which is what one household has.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Network
from types import MappingProxyType
from typing import Protocol

from services.errors import ApiError
from services.origins import parse_address
from services.redis_client import RedisLink, Script
from services.settings.models import LimitSettings

IPV6_PREFIX = 64

MINUTE = 60

PER_SCENE = MappingProxyType(
    {
        "scenes": (1, MINUTE),
        "mini_program": (2, MINUTE),
        "pictures": (2, MINUTE),
        "refreshes": (1, MINUTE),
        "authorize": (2, MINUTE),
        "pairings": (1, 10 * MINUTE),
        "pair_codes": (2, MINUTE),
    }
)
"""How often an action may be done for each scene that may be begun in a minute, and within how many
seconds: a mini program asks twice, to scan and to confirm; a picture is looked at once, and once
more when WeChat failed; a client's request is kept, and kept again when its page is reloaded. Of
refresh tokens only those are counted that no key of this server has signed. The code of a screen
that pairs is looked at, then named; all screens share what may wait for the operator, so that an
address gets its part for about the life of a code."""


class Windows(Protocol):
    """Counts in sliding windows: for each key the present window of `expiry` seconds, and the one
    before it, whose weight shrinks as the present one passes."""

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        """Add one to `key` if that stays within `limit`, atomically; otherwise change nothing.

        Raises:
            StoreUnavailable: and nothing else.
        """

    async def window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count before and the seconds it still weighs, the present count and the seconds
        until it is forgotten (what is left of its window, and one more).

        Raises:
            StoreUnavailable: and nothing else.
        """


class RateLimits:
    """Counts actions by address.

    Args:
        settings: the limits; 0 means none.
        windows: where counts are kept; by default in this process.
        refused: called with the action of every refusal.
    """

    def __init__(
        self,
        settings: LimitSettings,
        windows: Windows | None = None,
        refused: Callable[[str], object] = lambda action: None,
    ) -> None:
        self._windows = windows if windows is not None else MemoryWindows()
        self._exempt = settings.exempt
        self._refused = refused
        self._scenes_per_minute = settings.scenes_per_minute_per_address

    async def spend(self, action: str, address: str) -> None:
        """Count `action` by `address`.

        Raises:
            ApiError: ``rate_limited``, with the seconds to wait.
            StoreUnavailable: the shared counts do not answer.
        """
        wait = await self.allow(action, address)
        if wait is not None:
            self._refused(action)
            raise ApiError(
                "rate_limited", "Too many requests from this address.", retry_after=int(wait) + 1
            )

    async def allow(self, action: str, address: str) -> float | None:
        """Count `action` by `address`: None when it may be done, else the seconds to wait.

        What is refused does not count, so that further tries do not prolong the wait.

        Raises:
            StoreUnavailable: the shared counts do not answer.
        """
        times, seconds = PER_SCENE[action]
        amount = times * self._scenes_per_minute
        group = self.group(address)
        if not amount or group is None:
            return None
        key = f"{action}:{group}"
        if await self._windows.acquire(key, amount, seconds):
            return None
        return seconds_to_wait(amount, seconds, *await self._windows.window(key, seconds))

    def group(self, address: str) -> str | None:
        """The key `address` counts under: itself, or its IPv6 /64; None when it is exempt."""
        parsed = parse_address(address)
        if parsed is None:
            return address
        if any(parsed in network for network in self._exempt):
            return None
        if isinstance(parsed, IPv4Address):
            return str(parsed)
        return str(IPv6Network((parsed, IPV6_PREFIX), strict=False))


def seconds_to_wait(
    limit: int,
    expiry: int,
    previous: int,
    previous_seconds: float,
    current: int,
    current_seconds: float,
) -> float:
    """When a sliding window has room again.

    It has room while ``previous * previous_seconds / expiry + current`` is below `limit`, where
    `previous_seconds` is what is left of the present window; `current_seconds` is that and one
    window more.
    """
    if current < limit:
        # Within the present window: the count before must lose enough of its weight.
        free = previous_seconds - (limit - current) * expiry / previous if previous else 0.0
        return max(0.0, free)
    # In the next window, where the present count is the one before.
    return max(0.0, current_seconds - expiry) + expiry * (1 - limit / current)


class MemoryWindows:
    """The counts of this process.

    Args:
        now: unix time.
    """

    # Not the limits package: its memory storage looks through every key it has at every hit, which
    # takes 6.6 ms once 50,000 addresses are known and invites an attack; a hit takes 5 us here
    # (measured). All keys share the start of their window, so a whole window is forgotten at once,
    # without timers.

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._windows: dict[int, _Window] = {}

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        previous, previous_seconds, current, _ = await self.window(key, expiry)
        if int(previous * previous_seconds / expiry) + current + 1 > limit:
            return False
        # No other call came in between: `window` awaits nothing.
        self._window(expiry).current[key] = current + 1
        return True

    async def window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        window = self._window(expiry)
        left = expiry - self._now() % expiry
        return window.previous.get(key, 0), left, window.current.get(key, 0), left + expiry

    def _window(self, expiry: int) -> "_Window":
        number = int(self._now() // expiry)
        window = self._windows.setdefault(expiry, _Window(number))
        window.roll_to(number)
        return window


class _Window:
    def __init__(self, number: int) -> None:
        self.number = number
        self.previous: dict[str, int] = {}
        self.current: dict[str, int] = {}

    def roll_to(self, number: int) -> None:
        if number != self.number:
            self.previous = self.current if number == self.number + 1 else {}
            self.current = {}
            self.number = number


_COUNT = Script("""
-- KEYS[1]: the counts. ARGV: the limit (0: only look), the length of a window in milliseconds.
local limit, length = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number, left = math.floor(now / length), length - now % length
local kept = redis.call('HMGET', KEYS[1], 'number', 'previous', 'current')
local age = number - (tonumber(kept[1]) or 0)
local previous, current = tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
if age ~= 0 then
  previous, current = age == 1 and current or 0, 0
end
local allowed = math.floor(previous * left / length) + current < limit
if allowed then
  current = current + 1
  redis.call('HSET', KEYS[1], 'number', number, 'previous', previous, 'current', current)
  redis.call('PEXPIRE', KEYS[1], left + length)
end
return {allowed and 1 or 0, previous, left, current}
""")


class RedisWindows:
    """`Windows` on one Redis or Redis Cluster, shared by all nodes. Keys expire by themselves.

    Redis's clock says which window it is, as the clocks of nodes differ.
    """

    # Not the limits package's storage, which has a Redis client of its own: `RedisLink` has the
    # time-outs, the errors and the batches, and knows clusters. One hash for each address, so that
    # a cluster has all of it in one slot.

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        allowed, *_ = await self._count(key, limit, expiry)
        return bool(allowed)

    async def window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        _, previous, left, current = await self._count(key, 0, expiry)
        return previous, left / 1000, current, left / 1000 + expiry

    def _count(self, key: str, limit: int, expiry: int) -> Awaitable[Sequence[int]]:
        return self._link.run(_COUNT, [f"scanpush:counts:{key}"], limit, expiry * 1000)
