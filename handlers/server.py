"""The HTTP server: the application, the listener in front of it, and leaving in good order."""

import asyncio
import contextlib
import logging
import socket

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

from handlers import callbacks, oidc, scenes, sessions
from handlers.http1 import Http1Server
from handlers.listener import Listener
from handlers.routes import make_application, routes, routes_for_worker_peers
from handlers.sockets import FastUpgrade
from services.container import Container

log = logging.getLogger("scanpush.server")

IDLE_SECONDS = 75
"""How long a kept-alive connection may be idle; above the usual 60 s of proxies."""

DRAIN_TURN_SECONDS = 0.01


class Server:
    """Accepts connections for one container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        push, supervisor = container.push, container.supervisor
        self.application = make_application(container, routes(container))
        hot_routes = [route.hot_route(container) for route in (callbacks, scenes, sessions)]
        if container.settings.oidc.clients:
            hot_routes.append(oidc.hot_route(container))
        self._http = Http1Server(
            self.application,
            hot_routes,
            push.capacity,
            supervisor,
            IDLE_SECONDS,
        )
        upgrade = FastUpgrade(push.admission, supervisor, container.metrics)
        self._listener = Listener(self._http, upgrade.take)
        self._for_worker_peers = HTTPServer(
            make_application(container, routes_for_worker_peers(container))
        )

    def listen(self, sockets: list[socket.socket]) -> None:
        self._listener.listen(sockets)
        if (peers := self._container.worker_peers) is not None:
            address = peers.context.address(peers.context.number)
            self._for_worker_peers.add_socket(bind_unix_socket(str(address), mode=0o600))
            peers.context.report_started()

    async def drain(self) -> None:
        """Accept no more, finish the requests in progress, close every socket with 1001.

        A callback that is cut off would not come again: WeChat documents its retries for time-outs
        only.
        """
        seconds = self._container.settings.server.drain_seconds
        log.info("leaving: draining for at most %s s", seconds)
        self._listener.stop()
        self._http.leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._container.push.drain(seconds)
                while self._http.requests:
                    await asyncio.sleep(DRAIN_TURN_SECONDS)

    async def close(self) -> None:
        """End what is left."""
        self._listener.stop()
        self._for_worker_peers.stop()
        self._http.close()
        await asyncio.wait_for(self._for_worker_peers.close_all_connections(), 1)
