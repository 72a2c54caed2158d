"""The HTTP server: the application, the sockets below it, and leaving in good order."""

import asyncio
import contextlib
import functools
import logging
import socket

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

from handlers.base import UNDER_WAY
from handlers.callback_desk import CallbackDesk
from handlers.callback_door import CallbackDoor
from handlers.front import MAX_BODY_BYTES, Front
from handlers.plain_callbacks import PlainCallbacks
from handlers.routes import make_application, routes, routes_for_siblings
from services.container import Container
from services.push.reception import hand_to

log = logging.getLogger("scanpush.server")

MAX_HEADER_BYTES = 64 * 1024
"""Twice what nginx passes on. To more Tornado closes the connection without an answer, and a proxy
takes that for a node's failure and asks it no more for a while."""

IDLE_SECONDS = 75
"""How long a kept-alive connection may be idle; above the usual 60 s of proxies."""

DRAIN_TURN_SECONDS = 0.01

BODY_SECONDS = 10
"""How long a client may take to send its body."""


class Server:
    """Accepts connections for one container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        application = make_application(container, routes(container))
        self._under_way = application.settings[UNDER_WAY]
        callbacks = (CallbackDesk(container), container.supervisor, self._under_way)
        self._http = HTTPServer(
            container.push.router(Front(application, lambda conn: CallbackDoor(*callbacks, conn))),
            max_header_size=MAX_HEADER_BYTES,
            max_body_size=2 * MAX_BODY_BYTES,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
        )
        self._plain = PlainCallbacks(
            *callbacks, functools.partial(hand_to, self._http), IDLE_SECONDS
        )
        self._reception = container.push.reception(self._http, self._plain.take)
        self._for_siblings = HTTPServer(make_application(container, routes_for_siblings(container)))

    def listen(self, sockets: list[socket.socket]) -> None:
        self._reception.listen(sockets)
        if (siblings := self._container.siblings) is not None:
            address = siblings.place.address(siblings.place.number)
            self._for_siblings.add_socket(bind_unix_socket(str(address), mode=0o600))
            siblings.place.tell_started()

    async def drain(self) -> None:
        """Accept no more, finish what is under way, send every socket away with 1001.

        A callback that was cut off would not come again: WeChat documents its retries for
        time-outs only.
        """
        seconds = self._container.settings.server.drain_seconds
        log.info("leaving: draining for at most %s s", seconds)
        self._reception.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._container.push.drain(seconds)
                while self._under_way:
                    await asyncio.sleep(DRAIN_TURN_SECONDS)

    async def close(self) -> None:
        """End what is left."""
        self._reception.stop()
        self._for_siblings.stop()
        self._plain.close()
        await asyncio.wait_for(self._http.close_all_connections(), 1)
        await asyncio.wait_for(self._for_siblings.close_all_connections(), 1)
