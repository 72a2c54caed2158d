"""The push side put together: what the container builds and the handlers use."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence

from services.clock import Clock
from services.ids import SceneStr, scene_str_of
from services.push.admission import (
    AddressLimit,
    Admission,
    AllowedOrigin,
    Capacity,
    Client,
    direct_client,
    open_file_limit,
)
from services.push.broker import Broker
from services.push.close_codes import CloseCode, Ending
from services.push.delivery import Delivery, Errands, Scenes
from services.push.hub import Expiry, Hub, NoCounters, PushCounters, Waiter
from services.push.parking import Parking, SlotState
from services.push.protocol import Said
from services.push.timers import Keepalive, tick_forever
from services.tasks import Supervisor

log = logging.getLogger("scanpush.push")

_ORDINARY = frozenset(
    {
        Ending.FINISHED,
        Ending.LEAVING,
        Ending.EXPIRED,
        Ending.REPLACED,
        Ending.CLOSED_BY_PEER,
        Ending.GONE,
    }
)
"""Endings that are nobody's fault: logged at DEBUG, counted always."""

DRAIN_TURN_SECONDS = 0.01

DRAIN_A_TURN = 50
"""Sockets told in one turn of a drain: at most 5,000 a second, so that the pages' reconnecting
(with their own jitter) is spread as well."""


def _by_address(address: str) -> str | None:
    return address


class PushService:
    """Sockets, waiters, notices, pings and deadlines of this process.

    Build it, `start` it on the running loop, admit sockets through `admission`; at the end `drain`,
    then `close`.

    Args:
        scenes: the login service's side (see `delivery.Scenes`).
        broker: brings notices; `start` listens to it, `close` leaves it to its owner.
        supervisor: owns every task begun here.
        allowed_origin: whether a page of that Origin may open a socket.
        client: the browser's address and scheme, as far as proxies are believed.
        ping_seconds: interval of pings; 0: none.
        reserve_descriptors: kept for everything that is not a socket.
        messages_per_second: what one socket may say; 0: no limit.
        sockets_per_address: 0: no limit.
        address_group: the group an address counts in; None from it: exempt.
        max_waiters: long polls at once.
        open_files: the open-file limit; None: read from the system.
    """

    def __init__(
        self,
        scenes: Scenes,
        broker: Broker,
        supervisor: Supervisor,
        clock: Clock,
        allowed_origin: AllowedOrigin,
        *,
        client: Client = direct_client,
        counters: PushCounters | None = None,
        ping_seconds: float = 30,
        reserve_descriptors: int = 512,
        messages_per_second: int = 5,
        sockets_per_address: int = 0,
        address_group: Callable[[str], str | None] = _by_address,
        max_waiters: int = 2000,
        open_files: int | None = None,
    ) -> None:
        self.draining = False
        self._broker = broker
        self._supervisor = supervisor
        self._clock = clock
        self._counters = counters if counters is not None else NoCounters()
        self._capacity = Capacity(
            open_file_limit() if open_files is None else open_files, reserve_descriptors
        )
        self._addresses = AddressLimit(sockets_per_address, address_group)
        self._errands = Errands(scenes, supervisor)
        self.parking = Parking(self, clock, messages_per_second)
        expiry = Expiry(self.parking.slots, clock)
        self.hub = Hub(self.parking, expiry, scenes.document, self._counters, max_waiters)
        self.delivery = Delivery(scenes, self.hub, expiry, supervisor)
        self.admission = Admission(
            scenes=scenes,
            hub=self.hub,
            parking=self.parking,
            errands=self._errands,
            capacity=self._capacity,
            addresses=self._addresses,
            counters=self._counters,
            allowed_origin=allowed_origin,
            client=client,
            draining=lambda: self.draining,
        )
        self._jobs: list[Callable[[float], None]] = [self.parking.tick, self.delivery.tick]
        if ping_seconds:
            room = self.parking.slots.__len__
            keepalive = Keepalive(ping_seconds, self.parking, room, self._counters.ping_written)
            self._jobs.append(keepalive.tick)

    async def start(self) -> None:
        """Begin to serve on the running loop."""
        self.parking.open()
        await self._broker.listen(self.delivery.on_notice, self.delivery.on_gap)
        self._supervisor.spawn(tick_forever(self._clock, self._jobs), name="push ticker")

    def waiter(self, scene_str: SceneStr) -> Waiter:
        """A long poll's wait for news; see `Hub.waiter`."""
        return self.hub.waiter(scene_str)

    # Ears of the parking.

    def heard(self, fd: int, connection: int, key: bytes, said: Sequence[Said]) -> None:
        def done(stored: bool) -> None:
            if not stored and self.parking.slots.holds(fd, connection):
                self.parking.close(fd, CloseCode.SERVER_ERROR)
            self.parking.resume(fd, connection)

        self._errands.obey(key, said, done)

    def left(self, key: bytes, connection: int, ending: Ending) -> None:
        level = logging.DEBUG if ending in _ORDINARY else logging.INFO
        if log.isEnabledFor(level):
            where = {"scene_str": scene_str_of(key), "connection": connection}
            log.log(level, "socket ended: %s", ending, extra=where)
        self.hub.unregister(key, connection)
        self._addresses.leave(connection)
        self._counters.socket_ended(ending)
        # An ended scene forgets its attachments by itself, and so does everything at the end of
        # this node: 19,000 writes would only hold the drain up.
        if ending not in (Ending.FINISHED, Ending.EXPIRED, Ending.LEAVING):
            self._errands.unwatch(key, connection)

    # The end.

    async def drain(self, seconds: float) -> None:
        """Refuse upgrades, end every wait, and ask every socket to leave with 1001, in slices.

        Returns when all have answered, or after `seconds`; what is left then is closed by `close`.
        """
        self.draining = True
        self.hub.release_waiters()
        try:
            async with asyncio.timeout(seconds):
                while self.parking.slots.count or self._capacity.opening:
                    # Again each turn: an upgrade that was under way may have been parked since.
                    if self.hub.sockets:
                        await self._tell_everybody(seconds)
                    await asyncio.sleep(DRAIN_TURN_SECONDS)
        except TimeoutError:
            return

    async def _tell_everybody(self, seconds: float) -> None:
        slots = self.parking.slots
        turns = max(1, seconds / 2 / DRAIN_TURN_SECONDS)
        a_turn = max(DRAIN_A_TURN, math.ceil(slots.count / turns))
        told = 0
        for fd in range(len(slots)):
            if slots.state(fd) == SlotState.OPEN:
                self.parking.close(fd, CloseCode.LEAVING)
                told += 1
                if told % a_turn == 0:
                    await asyncio.sleep(DRAIN_TURN_SECONDS)

    async def close(self) -> None:
        """Close whatever is still open, at once."""
        self.draining = True
        self.hub.release_waiters()
        self.parking.shut()
