"""What parked sockets make this node do in the store: acks and cancels, and detaching."""

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence

from services.errors import ApiError, StoreUnavailable
from services.push.conversation import Ack, Said
from services.push.delivery import Scenes
from services.push.keys import scene_str_of
from services.supervisor import Supervisor

log = logging.getLogger("scanpush.push.errands")

STORE_SECONDS = 2
PAUSES_SECONDS = (0.1, 0.4, 1.5)
"""Between the tries of one ack or cancel."""

UNWATCH_A_TURN = 8

_LEFT = struct.Struct("=16sQ")
"""A scene and the connection that left it."""


class Errands:
    """Carries out what sockets said, each socket's messages one at a time and in order.

    Sockets that left are detached in the store by one worker, one after the other, so that six
    thousand pages leaving at once are no burst of writes. Detaching is a courtesy: attachments
    expire with their scenes, so what fails is not tried again.
    """

    def __init__(self, scenes: Scenes, supervisor: Supervisor) -> None:
        self._scenes = scenes
        self._supervisor = supervisor
        self._left = bytearray()
        self._worker: asyncio.Task[None] | None = None

    def obey(self, key: bytes, said: Sequence[Said], done: Callable[[bool], None]) -> None:
        """Carry out `said`, then call `done` with whether all of it is stored."""
        self._supervisor.spawn(self._obey(key, said, done), name="push errand")

    def unwatch(self, key: bytes, connection: int) -> None:
        """Have that connection detached, some time soon."""
        self._left += _LEFT.pack(key, connection)
        if self._worker is None:
            self._worker = self._supervisor.spawn(self._unwatch(), name="push unwatch")

    async def _obey(self, key: bytes, said: Sequence[Said], done: Callable[[bool], None]) -> None:
        stored = False
        try:
            for message in said:
                if not await self._carry_out(key, message):
                    return
            stored = True
        finally:
            done(stored)

    async def _carry_out(self, key: bytes, message: Said) -> bool:
        scene_str = scene_str_of(key)
        for pause in (*PAUSES_SECONDS, None):
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    if isinstance(message, Ack):
                        await self._scenes.ack(scene_str, message.seq)
                    else:
                        await self._scenes.cancel(scene_str)
                return True
            except ApiError:
                return True  # Another seq, or too late: ignored on a socket (design 4.4).
            except (StoreUnavailable, TimeoutError):
                if pause is not None:
                    await asyncio.sleep(pause)
        log.warning("a message of a page could not be stored", extra={"scene_str": scene_str})
        return False

    async def _unwatch(self) -> None:
        try:
            while self._left:
                batch = bytes(self._left[: UNWATCH_A_TURN * _LEFT.size])
                del self._left[: len(batch)]
                await self._detach(batch)
                await asyncio.sleep(0)
        finally:
            self._worker = None

    async def _detach(self, batch: bytes) -> None:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                for key, connection in _LEFT.iter_unpack(batch):
                    await self._scenes.unwatch(scene_str_of(key), connection)
        except (StoreUnavailable, TimeoutError):
            log.debug("some connections stay attached until their scenes end")
