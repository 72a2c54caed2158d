"""A small client that behaves like the login page: watch, come back, fall back, acknowledge."""

import asyncio
import json
import random
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

FINAL = ("consumed", "expired", "denied", "cancelled", "failed")


class PageClient:
    """Watches one scene until it ends, through any number of restarts.

    Args:
        ack_delay: how long it takes from the login to its ack, in seconds.
    """

    def __init__(self, url: str, document: dict[str, Any], ack_delay: float) -> None:
        self._url = url
        self._document = document
        self._ack_delay = ack_delay
        self.logins: list[dict[str, Any]] = []
        """Each login document that was delivered."""
        self.states: list[str] = []
        self.connections = 0

    async def watch(self) -> str:
        """Until the final state, which is returned; ``gone`` when the scene is unknown."""
        while True:
            try:
                await self._by_socket()
            except (OSError, WebSocketException, InvalidHandshake, TimeoutError):
                state = await self._by_poll()
                if state is not None:
                    return state
            if self.states and self.states[-1] in FINAL:
                return self.states[-1]
            await asyncio.sleep(random.uniform(0, 0.1))

    async def _by_socket(self) -> None:
        subprotocols = ["scanpush.v1", f"watch.{self._document['watch_token']}"]
        url = self._url.replace("http", "ws", 1) + self._document["ws"]
        async with connect(url, subprotocols=subprotocols, open_timeout=5) as socket:
            self.connections += 1
            async for message in socket:
                document = json.loads(message)
                self.states.append(document["state"])
                if "login" in document:
                    self.logins.append(document["login"])
                    await asyncio.sleep(self._ack_delay)
                    await socket.send(json.dumps({"type": "ack", "seq": document["seq"]}))

    async def _by_poll(self) -> str | None:
        """After a lost connection: 401 means that the scene is unknown."""
        bearer = {"Authorization": f"Bearer {self._document['watch_token']}"}
        try:
            async with httpx.AsyncClient(timeout=5) as http:
                answer = await http.get(self._url + self._document["status"], headers=bearer)
        except httpx.HTTPError:
            return None
        return "gone" if answer.status_code == 401 else None
