"""Servers of an operator's own for tests: real ones, on a port of their own."""

import contextlib
import threading
from collections.abc import Iterator
from socketserver import BaseServer
from types import TracebackType
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler


@contextlib.contextmanager
def served_in_thread(server: BaseServer) -> Iterator[None]:
    """Serve until the end of the ``with``, for clients that block."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener:
    """Use it in ``async with``. Its handler finds it as ``self.settings["listener"]``.

    Args:
        path: where it listens.
        handler: what answers there.
    """

    def __init__(self, path: str, handler: type[RequestHandler]) -> None:
        self._route: Any = (path, handler)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._route[0]}"

    async def __aenter__(self) -> Self:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = Application([self._route], listener=self, log_function=lambda handler: None)
        self._server = HTTPServer(application)
        self._server.add_sockets(sockets)
        return self

    async def go_down(self) -> None:
        """Stop listening, and cut what is open."""
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
