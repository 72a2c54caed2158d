"""An operator's hook for tests: a real server with switches, which checks every signature."""

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from services.hooks import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature

SECRET = "a-secret-of-the-operators-hook"


class _Handler(RequestHandler):
    async def post(self) -> None:
        hook: HookServer = self.settings["hook"]
        await hook.receive(self)


class HookServer:
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
        self.answer: Any = {"decision": "approve"}
        self.status = 200
        self.failures = 0
        self.held: asyncio.Event | None = None
        self.secret = SECRET
        self.heard: list[dict[str, Any]] = []
        self.requests = 0
        self.port = 0

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
        return {"hook_url": f"http://127.0.0.1:{self.port}/hook", "hook_secret": SECRET}

    async def __aenter__(self) -> Self:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = Application(
            [("/hook", _Handler)], hook=self, log_function=lambda handler: None
        )
        self._server = HTTPServer(application)
        self._server.add_sockets(sockets)
        return self

    async def go_down(self) -> None:
        """Stop listening, and cut what is open."""
        if self.held is not None:
            self.held.set()
        self._server.stop()
        with contextlib.suppress(TimeoutError):
            await self._server.close_all_connections()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.go_down()
