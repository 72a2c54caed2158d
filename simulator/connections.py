"""Connections to the callback URL, one HTTP client each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

KEPT_IDLE = 100


class Connections:
    """Lends clients, each with a connection of its own that is kept alive between pushes.

    One client for all would do, but each request then looks at every connection of its pool:
    with a few hundred pushes at once that costs more than everything else together.
    """

    def __init__(self) -> None:
        self._idle: list[httpx.AsyncClient] = []
        self._context = httpx.create_ssl_context()
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request; limit its time yourself."""
        client = self._idle.pop() if self._idle else self._new()
        try:
            yield client
        finally:
            if self._closed or len(self._idle) >= KEPT_IDLE:
                await client.aclose()
            else:
                self._idle.append(client)

    def _new(self) -> httpx.AsyncClient:
        # No proxy from the environment: callbacks go where the settings say.
        return httpx.AsyncClient(timeout=None, trust_env=False, verify=self._context)

    async def close(self) -> None:
        """Close what is idle; what is lent closes when it comes back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()
