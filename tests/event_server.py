"""A receiver of events for tests: a real server with switches, which verifies every signature by
the library of Standard Webhooks."""

import asyncio
from collections.abc import Mapping
from typing import Any

from standardwebhooks import Webhook
from tornado.web import RequestHandler

from tests.listeners import Listener

SECRET = "whsec_c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5zLTMyYnk="


class _Handler(RequestHandler):
    async def post(self) -> None:
        server: EventServer = self.settings["listener"]
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


class EventServer(Listener):
    """Use it in ``async with``.

    Attributes:
        statuses: the answers to the next requests; then 200.
        refused: by user, the status that their events are answered with.
        held: while set to an event, requests wait for it.
        tried: the ids of all events that came.
        heard: those that were taken, with their ids.
    """

    def __init__(self) -> None:
        super().__init__("/events", _Handler)
        self.statuses: list[int] = []
        self.refused: dict[str, int] = {}
        self.held: asyncio.Event | None = None
        self.tried: list[str] = []
        self.heard: list[dict[str, Any]] = []

    @property
    def settings(self) -> dict[str, str]:
        """The section `events` that names this server."""
        return {"url": self.url, "secret": SECRET}

    def of_types(self, *types: str) -> list[Mapping[str, Any]]:
        return [event for event in self.heard if event["type"] in types]
