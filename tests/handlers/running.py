"""One server for all tests of a module, in a thread of its own, so that clients may be plain."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from tests.stack import WITHIN_SECONDS, Page, Stack


class Running:
    """A stack that runs in a thread. `do` runs a coroutine there and waits for it."""

    def __init__(self, make: Callable[[], Stack]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(WITHIN_SECONDS), "the server did not start"
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.stack.port}", timeout=WITHIN_SECONDS
        )

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._make() as self.stack:
            self._ready.set()
            await self._stopping.wait()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_SECONDS)

    def begin(self) -> Page:
        return self.do(self.stack.begin())

    def raw(self, request: bytes) -> bytes:
        """Everything that comes back on a connection of its own, until the server closes it."""
        address = ("127.0.0.1", self.stack.port)
        with socket.create_connection(address, timeout=WITHIN_SECONDS) as connection:
            answer = b""
            try:
                connection.sendall(request)
                while chunk := connection.recv(65536):
                    answer += chunk
            except ConnectionError:
                return answer
            return answer

    def close(self) -> None:
        self.http.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(WITHIN_SECONDS)
        assert not self._thread.is_alive()
