"""The push side put together: sockets, waiters, notices, pings and deadlines of this process."""

import asyncio
import logging
import math
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr, scene_key, scene_str_of
from services.logs import PacedLog
from services.metrics import Metrics
from services.origins import Network, Origins
from services.push.admission import AddressLimit, Admission, Capacity, open_file_limit
from services.push.broker import Broker
from services.push.close_codes import CloseCode, Ending
from services.push.delivery import Delivery
from services.push.hub import Hub, SceneTimers
from services.push.parking import Parking, SocketState
from services.push.protocol import Ack, ClientMessage, Number
from services.push.timers import Keepalive, tick_forever
from services.scenes.login import LoginService
from services.scenes.store import SceneStore
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
"""Endings without a fault: logged at DEBUG, counted always."""

STORE_SECONDS = 2
NUMBER_SECONDS = 8
"""How long a number may take, after which a person who is new may be asked for at WeChat."""

PAUSES_SECONDS = (0.1, 0.4, 1.5)
"""Between the tries of one message."""

DETACH_A_TURN = 8

DRAIN_TURN_SECONDS = 0.01

DRAIN_A_TURN = 50
"""Sockets told in one turn of a drain: at most 5,000 a second, so that the pages' reconnecting
(with their own jitter) is spread as well."""

_DETACHED = struct.Struct("=16sQ")
"""A scene's key and the connection that left it."""


class PushService:
    """Build it, `start` it on the running loop, admit sockets through `admission`; at the end
    `drain`, then `close`.

    Args:
        scenes: where connections are attached, and scenes are read.
        login: carries out acks and cancels, and renders the status of a scene.
        answer_number: carries out a number: of a scene, for a `seq`.
        node: this node's id, under which connections are attached.
        broker: brings notices; `start` listens to it, `close` leaves it to its owner.
        supervisor: owns every task started here.
        origins: decides which pages may open a socket.
        trusted_proxies: whose X-Forwarded-* headers are believed.
        ping_seconds: interval of pings; 0: none.
        reserve_descriptors: kept for everything that is not a socket.
        messages_per_second: what one socket may send; 0: no limit.
        sockets_per_address: 0: no limit.
        address_group: the group an address counts in; None from it: exempt.
        max_waiters: long polls at once.
        open_files: the open-file limit; None: read from the system.
    """

    def __init__(
        self,
        scenes: SceneStore,
        login: LoginService,
        answer_number: Callable[[SceneStr, int, str], Awaitable[None]],
        node: str,
        broker: Broker,
        supervisor: Supervisor,
        clock: Clock,
        metrics: Metrics,
        origins: Origins,
        *,
        trusted_proxies: Sequence[Network] = (),
        ping_seconds: float = 30,
        reserve_descriptors: int = 512,
        messages_per_second: int = 5,
        sockets_per_address: int = 0,
        address_group: Callable[[str], str | None] = str,
        max_waiters: int = 2000,
        open_files: int | None = None,
    ) -> None:
        self.draining = False
        self._scenes = scenes
        self._login = login
        self._answer_number = answer_number
        self._node = node
        self._broker = broker
        self._supervisor = supervisor
        self._clock = clock
        self._metrics = metrics
        self._paced_log = PacedLog(log)
        self._detached = bytearray()
        self._detaching: asyncio.Task[None] | None = None
        self.capacity = Capacity(
            open_file_limit() if open_files is None else open_files, reserve_descriptors
        )
        self._addresses = AddressLimit(sockets_per_address, address_group)
        self.parking = Parking(self._on_messages, self._on_close, clock, messages_per_second)
        timers = SceneTimers(self.parking.table, clock)
        self.hub = Hub(self.parking, timers, login.document, metrics, max_waiters)
        self.delivery = Delivery(scenes, node, self.hub, timers, supervisor)
        self.admission = Admission(
            scenes=scenes,
            node=node,
            hub=self.hub,
            parking=self.parking,
            capacity=self.capacity,
            addresses=self._addresses,
            origins=origins,
            trusted_proxies=trusted_proxies,
            draining=lambda: self.draining,
            detach_later=self.detach_later,
        )
        self._jobs: list[Callable[[float], None]] = [self.parking.tick, self.delivery.tick]
        if ping_seconds:
            descriptors = self.parking.table.__len__
            keepalive = Keepalive(
                ping_seconds, self.parking.ping, descriptors, metrics.ping_written
            )
            self._jobs.append(keepalive.tick)

    async def start(self) -> None:
        """Begin to serve on the running loop."""
        self.parking.open()
        await self._broker.listen(self.delivery.on_notice, self.delivery.on_gap)
        self._supervisor.spawn(tick_forever(self._clock, self._jobs), name="push ticker")

    def tell(self, scene_str: SceneStr, message: Mapping[str, Any]) -> None:
        """For `screens.directory.Pages`."""
        self.hub.tell(scene_key(scene_str), to_json(message))

    # What sockets send.

    def _on_messages(
        self, fd: int, connection: int, key: bytes, messages: Sequence[ClientMessage]
    ) -> None:
        self._supervisor.spawn(
            self._carry_out_all(fd, connection, key, messages), name="push messages"
        )

    async def _carry_out_all(
        self, fd: int, connection: int, key: bytes, messages: Sequence[ClientMessage]
    ) -> None:
        """One socket's messages in their order; it is read on when the last one is stored."""
        stored = False
        try:
            for message in messages:
                if not await self._carry_out(key, message):
                    return
            stored = True
        finally:
            if not stored and self.parking.table.holds(fd, connection):
                self.parking.close(fd, CloseCode.SERVER_ERROR)
            self.parking.resume(fd, connection)

    async def _carry_out(self, key: bytes, message: ClientMessage) -> bool:
        """Whether the message is stored, or is one that the scene does not allow."""
        scene_str = scene_str_of(key)
        for pause in (*PAUSES_SECONDS, None):
            try:
                async with asyncio.timeout(
                    NUMBER_SECONDS if isinstance(message, Number) else STORE_SECONDS
                ):
                    if isinstance(message, Ack):
                        await self._login.ack(scene_str, message.seq)
                    elif isinstance(message, Number):
                        await self._answer_number(scene_str, message.seq, message.number)
                    else:
                        await self._login.cancel(scene_str)
                return True
            except ApiError:
                # Another seq, or too late: ignored on a socket (docs/contract.md).
                return True
            except (StoreUnavailable, TimeoutError):
                if pause is not None:
                    await asyncio.sleep(pause)
        self._paced_log.log(
            logging.WARNING, "a message of a page could not be stored", scene_str=scene_str
        )
        return False

    # How sockets end.

    def _on_close(self, key: bytes, connection: int, ending: Ending) -> None:
        level = logging.DEBUG if ending in _ORDINARY else logging.INFO
        if log.isEnabledFor(level):
            where = {"scene_str": scene_str_of(key), "connection": connection}
            log.log(level, "socket ended: %s", ending, extra=where)
        self.hub.detach(key, connection)
        self._addresses.leave(connection)
        self._metrics.socket_ended(ending)
        # An ended scene loses its attachments by itself, and so does everything at the end of
        # this node: 19,000 writes would only hold the drain up.
        if ending not in (Ending.FINISHED, Ending.EXPIRED, Ending.LEAVING):
            self.detach_later(key, connection)

    def detach_later(self, key: bytes, connection: int) -> None:
        """Have that connection detached in the store, some time soon.

        One worker detaches one connection after the other, so that 6,000 pages leaving at once are
        no burst of writes. Attachments expire with their scenes, so what fails is not tried again.
        """
        self._detached += _DETACHED.pack(key, connection)
        if self._detaching is None:
            self._detaching = self._supervisor.spawn(self._detach(), name="push detach")

    async def _detach(self) -> None:
        try:
            while self._detached:
                batch = bytes(self._detached[: DETACH_A_TURN * _DETACHED.size])
                del self._detached[: len(batch)]
                try:
                    async with asyncio.timeout(STORE_SECONDS):
                        for key, connection in _DETACHED.iter_unpack(batch):
                            await self._scenes.detach(scene_str_of(key), self._node, connection)
                except (StoreUnavailable, TimeoutError):
                    log.debug("some connections stay attached until their scenes end")
                await asyncio.sleep(0)
        finally:
            self._detaching = None

    # The end.

    async def drain(self, seconds: float) -> None:
        """Refuse upgrades, end every wait, and close every socket with 1001, in slices.

        Returns when all have answered, or after `seconds`; what is left then is closed by `close`.
        """
        self.draining = True
        self.hub.release_waiters()
        try:
            async with asyncio.timeout(seconds):
                while self.parking.table.count or self.capacity.opening:
                    # Again each turn: an upgrade that was in progress may have been parked since.
                    if self.hub.sockets:
                        await self._close_in_slices(seconds)
                    await asyncio.sleep(DRAIN_TURN_SECONDS)
        except TimeoutError:
            return

    async def _close_in_slices(self, seconds: float) -> None:
        table = self.parking.table
        turns = max(1, seconds / 2 / DRAIN_TURN_SECONDS)
        a_turn = max(DRAIN_A_TURN, math.ceil(table.count / turns))
        closed = 0
        for fd in range(len(table)):
            if table.state(fd) == SocketState.OPEN:
                self.parking.close(fd, CloseCode.LEAVING)
                closed += 1
                if closed % a_turn == 0:
                    await asyncio.sleep(DRAIN_TURN_SECONDS)

    async def close(self) -> None:
        """Close whatever is still open, at once."""
        self.draining = True
        self.hub.release_waiters()
        self.parking.close_all()
