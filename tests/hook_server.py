"""An operator's hook for tests: a real server with switches, which checks every signature."""

import asyncio
import json
from typing import Any

from tornado.web import RequestHandler

from services.hooks import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from tests.listeners import Listener

SECRET = "a-secret-of-the-operators-hook"


class _Handler(RequestHandler):
    async def post(self) -> None:
        hook: HookServer = self.settings["listener"]
        await hook.receive(self)


class HookServer(Listener):
    """Use it in ``async with``.

    Attributes:
        answer: what it says, as JSON; or bytes, sent as they are.
        status: the status it says it with.
        failures: so many requests are answered 500 first.
        held: while set to an event, requests wait for it.
        secret: what it checks signatures with; others are answered 401.
        heard: the bodies of the requests whose signature was right.
    """

    def __init__(self) -> None:
        super().__init__("/hook", _Handler)
        self.answer: Any = {"decision": "approve"}
        self.status = 200
        self.failures = 0
        self.held: asyncio.Event | None = None
        self.secret = SECRET
        self.heard: list[dict[str, Any]] = []
        self.requests = 0

    async def receive(self, request: RequestHandler) -> None:
        self.requests += 1
        headers, body = request.request.headers, request.request.body
        expected = signature(self.secret, headers[TIMESTAMP_HEADER], body)
        if headers[SIGNATURE_HEADER] != expected:
            request.set_status(401)
            return
        if self.held is not None:
            await self.held.wait()
        if self.failures:
            self.failures -= 1
            request.set_status(500)
            return
        self.heard.append(json.loads(body))
        request.set_status(self.status)
        request.finish(self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer))

    @property
    def login(self) -> dict[str, Any]:
        """The settings of section `login` that name this hook."""
        return {"hook_url": self.url, "hook_secret": SECRET}

    async def go_down(self) -> None:
        """Stop listening, and cut what is open."""
        if self.held is not None:
            self.held.set()
        await super().go_down()
