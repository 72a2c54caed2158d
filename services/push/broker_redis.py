"""Notices through Redis: this node listens to one channel of its own.

Redis delivers a message to whoever listens at that moment and keeps none (redis.io, "Pub/Sub":
at-most-once). So after every lost connection the node is told of a gap, once the subscription is
back, and reads its scenes again.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from redis.asyncio.client import PubSub

from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.push.broker import Notice
from services.redis_link import RedisLink, translated
from services.supervisor import Supervisor

log = logging.getLogger("scanpush.broker")

PAUSE_AT_MOST_SECONDS = 0.8
"""Between two tries to subscribe again: a Redis that is back is noticed within two seconds."""


def channel(node: str) -> str:
    """Where advance.lua publishes what concerns `node`."""
    return f"scanpush:node:{node}"


class RedisBroker:
    """`Broker` over one subscription.

    Args:
        node: this node's id, without spaces or slashes.
        heartbeat_seconds: a subscription silent for so long is asked for a sign of life, and
            given up when none comes within the same time.
    """

    def __init__(self, link: RedisLink, node: str, *, heartbeat_seconds: float = 2) -> None:
        self._link = link
        self._channel = channel(node)
        self._heartbeat_seconds = heartbeat_seconds
        self._supervisor = Supervisor()
        self._subscribed = False

    async def listen(self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]) -> None:
        """Returns once subscribed: what is published from now on arrives."""
        client = self._link.single()
        pubsub = client.pubsub()
        try:
            await self._subscribe(pubsub)
        except StoreUnavailable:
            await self._leave(client, pubsub)
            raise
        self._supervisor.spawn(
            self._receive_forever(client, pubsub, on_notice, on_gap), name="broker"
        )

    async def _subscribe(self, pubsub: PubSub) -> None:
        with translated():
            async with asyncio.timeout(self._link.timeout_seconds):
                await pubsub.subscribe(self._channel)
                while (message := await pubsub.get_message(timeout=None)) is None or (
                    message["type"] != "subscribe"
                ):
                    continue
        self._subscribed = True

    async def _receive_forever(
        self,
        client: Any,
        pubsub: PubSub,
        on_notice: Callable[[Notice], None],
        on_gap: Callable[[], None],
    ) -> None:
        while True:
            try:
                await self._receive(pubsub, on_notice)
            except StoreUnavailable as error:
                log.warning("notices interrupted: %s", error)
            finally:
                self._subscribed = False
                await self._leave(client, pubsub)
            client, pubsub = await self._subscribe_again()
            log.info("notices are back")
            on_gap()

    async def _receive(self, pubsub: PubSub, on_notice: Callable[[Notice], None]) -> None:
        asked = False
        with translated():
            while True:
                message = await pubsub.get_message(timeout=self._heartbeat_seconds)
                if message is not None:
                    asked = False
                    if message["type"] == "message":
                        _hand_over(message["data"], on_notice)
                elif asked:
                    raise TimeoutError("the subscription is silent")
                else:
                    asked = True
                    async with asyncio.timeout(self._heartbeat_seconds):
                        await pubsub.ping()

    async def _subscribe_again(self) -> tuple[Any, PubSub]:
        pause = 0.05
        while True:
            client = self._link.single()
            pubsub = client.pubsub()
            try:
                await self._subscribe(pubsub)
                return client, pubsub
            except StoreUnavailable as error:
                log.info("notices still interrupted: %s", error)
                await self._leave(client, pubsub)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, PAUSE_AT_MOST_SECONDS)

    async def _leave(self, client: Any, pubsub: PubSub) -> None:
        with contextlib.suppress(StoreUnavailable):  # what is left is already lost
            with translated():
                await pubsub.aclose()
                await client.aclose()

    async def ping(self) -> None:
        if not self._subscribed:
            raise StoreUnavailable("Redis: notices are interrupted")

    async def close(self) -> None:
        """Stop listening. May be called twice."""
        await self._supervisor.close()


def _hand_over(data: str, on_notice: Callable[[Notice], None]) -> None:
    try:
        scene_str, seq, connection = data.split(" ")
        notice = Notice(SceneStr(scene_str), int(seq), int(connection))
    except ValueError:
        log.warning("a notice was not understood")
        return
    on_notice(notice)
