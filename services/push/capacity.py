"""How many sockets this process may hold, and how many one address."""

import fcntl
import os
import resource
from collections.abc import Callable

MOST_AT_START = 65_536
"""Descriptors there is room for from the start: half a megabyte of the kernel's memory."""


def open_file_limit() -> int:
    """The soft limit of open files of this process; a very large number where there is none."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def make_room(limit: int) -> None:
    """Have the system's table of descriptors grow now, up to `limit` or `MOST_AT_START`.

    Linux doubles it when a number does not fit, and then holds whoever opens that descriptor until
    no thread looks at the old table: 20 to 40 ms in which nobody is served (measured, at 16,384
    sockets). The numbers handed out stay the lowest free ones.
    """
    with open(os.devnull, "rb") as any_file:
        highest = min(limit, MOST_AT_START) - 1
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, highest))


class Capacity:
    """Counts the descriptors of sockets and of upgrades under way.

    Args:
        limit: the process's open-file limit, read at start.
        reserve: descriptors kept for stores, callbacks, polls and everything else.
    """

    def __init__(self, limit: int, reserve: int) -> None:
        self.sockets = max(1, limit - reserve)
        """How many sockets are let in."""
        self.descriptors = limit - reserve // 2
        """Below this number descriptors are given to requests of the ordinary kind. Beyond it they
        are for the stores, for WeChat's callbacks and for sockets."""
        self.opening = 0
        """Upgrades under way."""

    def has_room(self, parked: int) -> bool:
        """Whether one more upgrade may begin while `parked` descriptors are held."""
        return parked + self.opening < self.sockets


class AddressLimit:
    """Sockets by client address.

    Args:
        limit: sockets one address may hold; 0: no limit, and nothing is remembered.
        group: the group an address counts in (an IPv6 /64, say); None: it is exempt.
    """

    def __init__(self, limit: int, group: Callable[[str], str | None]) -> None:
        self._limit = limit
        self._group = group
        self._held: dict[str, int] = {}
        self._groups: dict[int, str] = {}

    def enter(self, connection: int, address: str) -> bool:
        """Count a connection; False, and nothing counted, if its address has too many."""
        if not self._limit:
            return True
        group = self._group(address)
        if group is None:
            return True
        if self._held.get(group, 0) >= self._limit:
            return False
        self._held[group] = self._held.get(group, 0) + 1
        self._groups[connection] = group
        return True

    def leave(self, connection: int) -> None:
        """Give the place back; may be called twice."""
        group = self._groups.pop(connection, None)
        if group is None:
            return
        self._held[group] -= 1
        if not self._held[group]:
            del self._held[group]
