"""A receiver of events for tests: a real server with switches, which verifies every signature by
the library of Standard Webhooks."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

SECRET = "whsec_c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5zLTMyYnk="


class _Handler(RequestHandler):
    async def post(self) -> None:
        server: EventServer = self.settings["server"]
        if server.held is not None:
            await server.held.wait()
        told = Webhook(SECRET).verify(self.request.body, dict(self.request.headers))
        event_id = self.request.headers["webhook-id"]
        server.tried.append(event_id)
        if server.statuses:
            self.set_status(server.statuses.pop(0))
        elif refused := server.refused.get(str(told["data"]["user"])):
            self.set_status(refused)
        else:
            server.heard.append({"id": event_id, **told})
        self.finish()


class EventServer:
    """Use it in ``async with``.

    Attributes:
        statuses: the answers to the next requests; then 200.
        refused: by user, the status that their events are answered with.
        held: while set to an event, requests wait for it.
        tried: the ids of all events that came.
        heard: those that were taken, with their ids.
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.refused: dict[str, int] = {}
        self.held: asyncio.Event | None = None
        self.tried: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.port = 0

    @property
    def settings(self) -> dict[str, str]:
        """The section `events` that names this server."""
        return {"url": f"http://127.0.0.1:{self.port}/events", "secret": SECRET}

    def of_types(self, *types: str) -> list[Mapping[str, Any]]:
        return [event for event in self.heard if event["type"] in types]

    async def __aenter__(self) -> Self:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = Application(
            [("/events", _Handler)], server=self, log_function=lambda handler: None
        )
        self._server = HTTPServer(application)
        self._server.add_sockets(sockets)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        await self._server.close_all_connections()
