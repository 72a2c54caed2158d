"""Notices between nodes: small hints that a scene has changed.

One protocol and its two implementations: within a process, and through Redis.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.redis_client import RedisLink
from services.scenes.local_echo import LocalEcho
from services.scenes.store import Notice
from services.tasks import Supervisor

log = logging.getLogger("scanpush.broker")

SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.8
"""Between two tries to subscribe again: a Redis that is back is noticed within two seconds."""


class Broker(Protocol):
    """Brings notices to this node. Stores publish; see `SceneStore.advance`.

    `listen` gives two callbacks, both plain functions called on the event loop: `on_notice` for
    each notice, and `on_gap` after the broker's connection was lost and is back, when notices may
    be missing and every attached scene must be read again.
    """

    async def listen(
        self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]
    ) -> None: ...

    def listen_for_screens(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called when another node tells of its screens; to be called before
        `listen`."""

    async def tell_of_screens(self) -> None:
        """Have the other nodes read the screens again. A hint: one that cannot be given is not
        given, for they read them now and then anyway."""

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raise `errors.StoreUnavailable` unless notices can arrive now."""


class LocalBroker:
    """A `Broker` for one node: publishing is a call, and a gap cannot happen."""

    def __init__(self) -> None:
        self._on_notice: Callable[[Notice], None] | None = None

    def publish(self, notice: Notice) -> None:
        """Hand the notice to the listener; to be called on the event loop."""
        if self._on_notice is not None:
            self._on_notice(notice)

    async def listen(self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]) -> None:
        self._on_notice = on_notice

    def listen_for_screens(self, on_change: Callable[[], None]) -> None:
        return None  # There is no other node.

    async def tell_of_screens(self) -> None:
        return None

    async def close(self) -> None:
        self._on_notice = None

    async def ping(self) -> None:
        return None


SCREENS = "scanpush:screens"
"""The channel of the nodes that have screens. What is published there means nothing but itself."""


def channel(node: str) -> str:
    """Where advance.lua publishes what concerns `node`."""
    return f"scanpush:node:{node}"


class RedisBroker:
    """`Broker` over one subscription: this node listens to a channel of its own, and to the one of
    the screens where it has any.

    Redis delivers a message to the subscribers of that moment and keeps none (redis.io, "Pub/Sub":
    at-most-once). So after every lost connection the node is told of a gap, once the subscription
    is back, and reads its scenes again.

    Args:
        node: this node's id, without spaces or slashes.
        echo: this node's own moves, which are delivered without their notice.
        heartbeat_seconds: how often the subscription is asked for a sign of life; it is given up
            when none came until the next time.
    """

    def __init__(
        self,
        link: RedisLink,
        node: str,
        echo: LocalEcho | None = None,
        *,
        heartbeat_seconds: float = 2,
    ) -> None:
        self._link = link
        self._echo = echo or LocalEcho()
        self._channels = [channel(node)]
        self._on_screens: Callable[[], None] | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._supervisor = Supervisor()
        self._subscribed = False
        self._alive = False

    async def listen(self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]) -> None:
        """Returns once subscribed: what is published from now on arrives."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisor.spawn(self._listen_forever(first, on_notice, on_gap), name="broker")
        await first
        self._echo.listen(on_notice)

    def listen_for_screens(self, on_change: Callable[[], None]) -> None:
        self._on_screens = on_change
        self._channels = [*self._channels, SCREENS]

    async def tell_of_screens(self) -> None:
        try:
            await self._link.call(SCREENS, "PUBLISH", SCREENS, "")
        except StoreUnavailable as error:
            log.info("the other nodes hear of the screens later: %s", error)

    async def _listen_forever(
        self,
        first: asyncio.Future[None],
        on_notice: Callable[[Notice], None],
        on_gap: Callable[[], None],
    ) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            try:
                async with self._subscription() as connection:
                    pause = SHORTEST_PAUSE_SECONDS
                    if first.done():
                        log.info("notices are back")
                        on_gap()
                        if self._on_screens is not None:
                            self._on_screens()
                    else:
                        first.set_result(None)
                    await self._receive(connection, on_notice)
            except StoreUnavailable as error:
                if not first.done():
                    first.set_exception(error)
                    return
                log.warning("notices are interrupted: %s", error)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _subscription(self) -> AsyncIterator[Any]:
        """A connection of its own, on which Redis has confirmed the subscription.

        Not redis-py's `PubSub`: that one subscribes again without a sign, so the gap would go
        unnoticed, and it takes longer over each notice.
        """
        connection = await self._link.subscribe(*self._channels)
        try:
            self._subscribed = True
            yield connection
        finally:
            self._subscribed = False
            # The connection is given up in any case: a failure to say so changes nothing.
            with contextlib.suppress(StoreUnavailable), self._link.errors:
                await connection.disconnect()

    async def _receive(self, connection: Any, on_notice: Callable[[Notice], None]) -> None:
        """Hand over notices until the connection is lost, then raise `StoreUnavailable`.

        One heartbeat task beside the reading, instead of a time-out for each notice, which would
        cost more than the notice.
        """
        with self._link.errors:
            async with asyncio.timeout(None) as silence:
                heartbeat = self._supervisor.spawn(
                    self._heartbeat(connection, silence), name="heartbeat"
                )
                try:
                    while True:
                        message = await connection.read_response()
                        self._alive = True
                        if message[0] != "message":
                            continue
                        if message[1] == SCREENS and self._on_screens is not None:
                            self._on_screens()
                        else:
                            self._hand_over(message[2], on_notice)
                finally:
                    heartbeat.cancel()

    def _hand_over(self, data: str, on_notice: Callable[[Notice], None]) -> None:
        try:
            scene_str, seq, newest = data.split(" ")
            notice = Notice(SceneStr(scene_str), int(seq), int(newest))
        except ValueError:
            log.warning("a notice was not understood")
            return
        # A move that this node makes itself is delivered from its answer, not from its notice.
        if not self._echo.expects(notice):
            on_notice(notice)

    async def _heartbeat(self, connection: Any, silence: asyncio.Timeout) -> None:
        """Ask for a sign of life; when none comes within the same time, end the reading."""
        self._alive = True
        while self._alive:
            self._alive = False
            # A connection that cannot be written to cannot be read either: `_receive` says so.
            with contextlib.suppress(StoreUnavailable), self._link.errors:
                async with asyncio.timeout(self._heartbeat_seconds):
                    await connection.send_command("PING")
            await asyncio.sleep(self._heartbeat_seconds)
        silence.reschedule(asyncio.get_running_loop().time())

    async def ping(self) -> None:
        if not self._subscribed:
            raise StoreUnavailable("Redis: notices are interrupted")

    async def close(self) -> None:
        """Stop listening. May be called twice."""
        await self._supervisor.close()
