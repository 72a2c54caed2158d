"""Who gets a socket: every check of an upgrade, and the moment it is parked.

handlers/sockets.py leads here by two paths, through HTTP and straight from the listening
socket. What is checked, and in which order, is decided in this one place.
"""

import asyncio
import fcntl
import logging
import os
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.errors import ApiError, StoreUnavailable
from services.ids import scene_key, secret_hash
from services.origins import Network, Origins, client_address, is_host, request_scheme
from services.push.handshake import (
    FOREIGN_ORIGIN,
    OTHER_SCHEME,
    Offer,
    UpgradeRequest,
    check_request,
    forbidden,
    read_offer,
    switching_protocols,
)
from services.push.hub import Hub
from services.push.parking import Parking
from services.scenes.states import Scene
from services.scenes.store import Attachment, SceneStore

log = logging.getLogger("scanpush.push")

ATTACH_SECONDS = 5
"""How long the store may take to admit a socket."""

RETRY_SECONDS = 2
"""What a refused page is told to wait, before its own jitter."""

DESCRIPTORS_AT_START = 65_536
"""Descriptors there is room for from the start: half a megabyte of the kernel's memory."""

Take = Callable[[], tuple[int, bytes] | None]
"""Gives the connection as a descriptor of its own, and what the peer has already sent behind its
request; None if the peer is gone. Called once, when nothing can refuse the upgrade any more."""

Gone = Callable[[], bool]
"""Whether the peer has hung up since its request."""


def hung_up(connection: socket.socket) -> bool:
    """`Gone` for a connection that does not block. Browsers never close one side only."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def open_file_limit() -> int:
    """The soft limit of open files of this process; a very large number where there is none."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def make_room(limit: int) -> None:
    """Have the system's table of descriptors grow now, up to `limit` or `DESCRIPTORS_AT_START`.

    Linux doubles it when a number does not fit, and then holds the thread that opens that
    descriptor until no other thread looks at the old table: 20 to 40 ms in which nothing is served
    (measured, at 16,384 sockets). The numbers handed out stay the lowest free ones.
    """
    with open(os.devnull, "rb") as any_file:
        highest = min(limit, DESCRIPTORS_AT_START) - 1
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, highest))


class Capacity:
    """Counts the descriptors of sockets and of upgrades in progress.

    Args:
        limit: the process's open-file limit, read at start.
        reserve: descriptors kept for stores, callbacks, polls and everything else.
    """

    def __init__(self, limit: int, reserve: int) -> None:
        self.sockets = max(1, limit - reserve)
        """How many sockets are admitted."""
        self.descriptors = limit - reserve // 2
        """Below this number descriptors are given to requests of the ordinary kind. Beyond it they
        are for the stores, for WeChat's callbacks and for sockets."""
        self.opening = 0
        """Upgrades in progress."""

    def has_room(self, parked: int) -> bool:
        """Whether one more upgrade may begin while `parked` descriptors are held."""
        return parked + self.opening < self.sockets

    def is_reserved(self, descriptor: int) -> bool:
        """Whether that descriptor is one of the reserve.

        The system gives out the lowest free number, so a high one says how many are in use.
        """
        return descriptor >= self.descriptors


class AddressLimit:
    """Connections by client address.

    Args:
        limit: connections one address may hold; 0: no limit, and nothing is remembered.
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
        """Stop counting a connection; may be called twice."""
        group = self._groups.pop(connection, None)
        if group is None:
            return
        self._held[group] -= 1
        if not self._held[group]:
            del self._held[group]


@dataclass(frozen=True, slots=True)
class Admission:
    """The checks, in this order: a WebSocket request, its Host, room on this node, Origin, path,
    token's form (`check`, which never waits), sockets of the address, token and scene (`admit`)."""

    scenes: SceneStore
    node: str
    hub: Hub
    parking: Parking
    capacity: Capacity
    addresses: AddressLimit
    origins: Origins
    trusted_proxies: Sequence[Network]
    draining: Callable[[], bool]
    detach_later: Callable[[bytes, int], None]

    def check(self, request: UpgradeRequest) -> Offer:
        """Everything that can be decided without the store. Raises `ApiError`."""
        check_request(request)
        host = request.headers.get("Host", "")
        if not is_host(host):
            raise ApiError("bad_request", "not a host", field="Host")
        if self.draining() or not self.capacity.has_room(self.parking.table.count):
            raise ApiError("overloaded", "no room for a socket", retry_after=RETRY_SECONDS)
        headers, proxies = request.headers, self.trusted_proxies
        scheme = request_scheme(request.remote_ip, headers.get("X-Forwarded-Proto", ""), proxies)
        origin = headers.get("Origin")
        if self.origins.is_foreign(origin, scheme, host):
            misread = self.origins.differs_in_scheme(origin, scheme, host)
            raise forbidden(OTHER_SCHEME if misread else FOREIGN_ORIGIN)
        address = client_address(request.remote_ip, headers.get("X-Forwarded-For", ""), proxies)
        return read_offer(request, address)

    def admit_nowait(self, offer: Offer, take: Take) -> bool:
        """Park now, where the store can answer without waiting. False: nothing was done, and
        `admit` is to decide.

        A fast path: it saves a task, and so a quarter of a handshake's instructions. The suite in
        tests/conformance runs on both.
        """
        connection = self.hub.ids.next()
        if not self.addresses.enter(connection, offer.address):
            return False
        parked = False
        try:
            scene = self.scenes.attach_nowait(
                offer.scene_str, self.node, connection, secret_hash(offer.watch_token)
            )
            if scene is None:
                return False
            parked = self._park(offer, scene_key(offer.scene_str), connection, scene, take)
            return True
        finally:
            if not parked:
                self.addresses.leave(connection)

    async def admit(self, offer: Offer, take: Take, gone: Gone) -> None:
        """Ask the store, answer 101 with the first status, and park. Raises `ApiError`.

        Not for a page that has given up: it may have a socket on another node by now, and this
        attachment would take the place of that one.
        """
        if gone():
            raise ApiError("overloaded", "the peer has hung up", retry_after=RETRY_SECONDS)
        connection = self.hub.ids.next()
        if not self.addresses.enter(connection, offer.address):
            raise ApiError("rate_limited", "too many sockets", retry_after=RETRY_SECONDS)
        self.capacity.opening += 1
        parked = False
        try:
            key = scene_key(offer.scene_str)
            # Waiting begins before the store is read, so that no change falls in between.
            with self.hub.arrival(key) as arrival:
                scene, number = await self._attach(offer, key, connection)
                if arrival.scene is not None and arrival.scene.seq > scene.seq:
                    scene = arrival.scene
                replaced = arrival.newest > number
                parked = self._park(offer, key, connection, scene, take, number, replaced=replaced)
        finally:
            self.capacity.opening -= 1
            if not parked:
                self.addresses.leave(connection)

    async def _attach(self, offer: Offer, key: bytes, connection: int) -> Attachment:
        try:
            async with asyncio.timeout(ATTACH_SECONDS):
                attachment = await self.scenes.attach(
                    offer.scene_str, self.node, connection, secret_hash(offer.watch_token)
                )
        except (StoreUnavailable, TimeoutError) as error:
            # It may have been attached all the same.
            self.detach_later(key, connection)
            raise ApiError(
                "store_unavailable", "please try again", retry_after=RETRY_SECONDS
            ) from error
        if attachment is None:
            raise forbidden()
        return attachment

    def _park(
        self,
        offer: Offer,
        key: bytes,
        connection: int,
        scene: Scene,
        take: Take,
        number: int = 0,
        *,
        replaced: bool = False,
    ) -> bool:
        greeting = switching_protocols(offer.key)
        # Rendered first: a failure here must leave the connection to the caller, to be refused.
        status = self.hub.status_frame(scene)
        taken = take()
        if taken is None:
            self.detach_later(key, connection)
            return False
        fd, early = taken
        self.parking.park(fd, key, connection)
        self.hub.attach(key, fd, number, scene, greeting, status, replaced=replaced)
        log.debug("socket opened", extra={"scene_str": offer.scene_str, "connection": connection})
        if early:
            self.parking.receive(fd, connection, early)
        return True
