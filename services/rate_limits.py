"""How often one address may do what costs us or WeChat something.

The counting is the sliding window counter of the ``limits`` package: in memory here, by the
package's own scripts on Redis (`services.rate_limits_redis`).
An address is what `client_address` says it is; IPv6 counts by /64, which is what one household has.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import MappingProxyType
from typing import Protocol

from services.errors import ApiError
from services.settings import LimitSettings
from services.settings_fields import Network

IPV6_PREFIX = 64

MOST_HOPS = 32
"""Entries of X-Forwarded-For that are read, from the right. No real chain is longer."""

MINUTE = 60

PER_SCENE = MappingProxyType({"scenes": 1, "mini_program": 2, "pictures": 2})
"""How often an action may be done for each scene that may be begun: a mini program asks twice, to
scan and to confirm; a picture is looked at once, and once more when WeChat failed."""


class Windows(Protocol):
    """Counts in sliding windows: for each key the present window of `expiry` seconds, and the one
    before it, which weighs less and less."""

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        """Add one to `key` if that stays within `limit`, atomically; otherwise change nothing.

        Raises `errors.StoreUnavailable`, and only that.
        """

    async def window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count before and the seconds it still weighs, the present count and the seconds
        until it is forgotten (what is left of its window, and one more).

        Raises `errors.StoreUnavailable`, and only that.
        """


def _untold(action: str) -> None:
    """Nobody counts refusals."""


class RateLimits:
    """Counts actions by address.

    Args:
        settings: the limits; 0 means none.
        windows: where counts are kept; by default in this process.
        refused: is told the action of every refusal.
    """

    def __init__(
        self,
        settings: LimitSettings,
        windows: Windows | None = None,
        refused: Callable[[str], object] = _untold,
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

        What is refused does not count, so that asking on does not keep anybody out.

        Raises:
            StoreUnavailable: the shared counts do not answer.
        """
        amount = PER_SCENE[action] * self._scenes_per_minute
        group = self.group(address)
        if not amount or group is None:
            return None
        key = f"{action}:{group}"
        if await self._windows.acquire(key, amount, MINUTE):
            return None
        return seconds_to_wait(amount, MINUTE, *await self._windows.window(key, MINUTE))

    def group(self, address: str) -> str | None:
        """What `address` counts as: itself, or its IPv6 /64; None when it is exempt."""
        parsed = _parsed(address)
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

    It has while ``previous * previous_seconds / expiry + current`` is below `limit`, where
    `previous_seconds` is what is left of the present window; `current_seconds` is that and one
    window more (limits: "sliding window counter").
    """
    if current < limit:
        free = previous_seconds - (limit - current) * expiry / previous if previous else 0.0
        return max(0.0, free)
    return max(0.0, current_seconds - expiry) + expiry * (1 - limit / current)


class MemoryWindows:
    """The counts of this process.

    The limits package's own memory storage looks through every key it has at every hit: 7 ms a
    hit once 50,000 addresses are known (measured), which is an attack waiting to be made. Here
    all keys share the start of their window, so a whole window is forgotten at once; no timers.

    Args:
        now: unix time.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._windows: dict[int, _Window] = {}

    async def acquire(self, key: str, limit: int, expiry: int) -> bool:
        previous, previous_seconds, current, _ = await self.window(key, expiry)
        if int(previous * previous_seconds / expiry) + current + 1 > limit:
            return False
        # Nothing was waited for that could have let another in between.
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


def client_address(remote_ip: str, x_forwarded_for: str, trusted_proxies: Sequence[Network]) -> str:
    """The address a request came from, as far as it can be believed. Pure.

    A proxy in `trusted_proxies` vouches for the entry it added, the rightmost; that one, if it is
    such a proxy too, for the next. The first that is none is the client: what stands left of it,
    it may have made up. IPv4 addresses written as IPv6 count as IPv4.
    """
    if not trusted_proxies:
        return _one_spelling(remote_ip)
    address = _parsed(remote_ip)
    if address is None:
        return remote_ip
    hops = x_forwarded_for.rsplit(",", MOST_HOPS)
    while hops and any(address in network for network in trusted_proxies):
        hop = _parsed(_without_port(hops.pop().strip()))
        if hop is None:
            break
        address = hop
    return str(address)


def is_listed(remote_ip: str, proxies: Sequence[Network]) -> bool:
    """Whether the peer of a connection is one of the operator's proxies."""
    address = _parsed(remote_ip)
    return address is not None and any(address in network for network in proxies)


def _without_port(hop: str) -> str:
    """Some proxies write ports: ``192.0.2.1:4711``, ``[2001:db8::1]:4711``."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(maxsize=4096)
def _one_spelling(text: str) -> str:
    """The address as the library writes it; what is none stays as it is."""
    address = _parsed(text)
    return text if address is None else str(address)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
