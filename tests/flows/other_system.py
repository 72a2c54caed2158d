"""The operator's other system behind ``forward_url``: it keeps what it was sent and answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.testing import bind_unused_port


@dataclass
class OtherSystem:
    """Switches: `status` and `answer` of every answer, `hangs` until it is set."""

    url: str
    status: int = 200
    answer: bytes = b"success"
    content_type: str = "application/xml"
    hangs: asyncio.Event | None = None
    seen: list[HTTPServerRequest] = field(default_factory=list)


class _Handler(web.RequestHandler):
    def initialize(self, system: OtherSystem) -> None:
        self.system = system

    async def post(self) -> None:
        self.system.seen.append(self.request)
        if self.system.hangs is not None:
            await self.system.hangs.wait()
        self.set_status(self.system.status)
        self.set_header("Content-Type", self.system.content_type)
        self.write(self.system.answer)


@asynccontextmanager
async def other_system() -> AsyncIterator[OtherSystem]:
    listener, port = bind_unused_port()
    system = OtherSystem(f"http://127.0.0.1:{port}/wx?tenant=7")
    application = web.Application(
        [(r"/wx", _Handler, {"system": system})], log_function=lambda handler: None
    )
    server = HTTPServer(application)
    server.add_sockets([listener])
    try:
        yield system
    finally:
        if system.hangs is not None:
            system.hangs.set()
        server.stop()
        await server.close_all_connections()
