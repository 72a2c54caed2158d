"""A whole scanpush for one test: real server on a real port, the simulator for WeChat, real clients.

async with Stack(tmp_path) as stack:
    page = await stack.begin()
    async with page.socket() as socket:
        ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from tornado.netutil import bind_sockets
from websockets.asyncio.client import ClientConnection, connect

from handlers.server import Server
from services.clock import Clock
from services.container import Container, build_container
from services.settings import Settings

WITHIN_SECONDS = 10
"""How long a test waits for what must happen; generous, because nothing is measured here."""


class Page:
    """What a login page holds: the begun scene, and ways to watch it."""

    def __init__(self, stack: "Stack", document: Mapping[str, Any], begin_cookie: str) -> None:
        self._stack = stack
        self.document = document
        self.begin_cookie = begin_cookie

    @property
    def scene_str(self) -> str:
        return str(self.document["scene_str"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.document['watch_token']}"}

    def socket(self, **options: Any) -> connect:
        return connect(
            f"ws://127.0.0.1:{self._stack.port}{self.document['ws']}",
            subprotocols=["scanpush.v1", f"watch.{self.document['watch_token']}"],
            compression=None,
            open_timeout=WITHIN_SECONDS,
            **options,
        )

    async def poll(self, **query: Any) -> httpx.Response:
        return await self._stack.http.get(
            str(self.document["status"]), params=query, headers=self.bearer
        )

    async def ack(self, seq: int) -> httpx.Response:
        path = f"{self.document['status']}/ack"
        return await self._stack.http.post(path, json={"seq": seq}, headers=self.bearer)

    async def cancel(self) -> httpx.Response:
        return await self._stack.http.delete(str(self.document["status"]), headers=self.bearer)


class Stack:
    """Builds and takes down one server in this process."""

    def __init__(
        self, folder: Path, clock: Clock | None = None, **sections: Mapping[str, Any]
    ) -> None:
        defaults: dict[str, Any] = {
            "server": {"port": 0, "drain_seconds": 1},
            "embedded": {"path": folder / "scanpush.db"},
            "jwt": {"key_file": folder / "keys.json"},
            "login": {"poll_interval_seconds": 0},
            "limits": {"scenes_per_minute_per_address": 0},
        }
        for section, values in sections.items():
            base = defaults.get(section, {})
            defaults[section] = {**base, **values} if isinstance(values, dict) else values
        self.settings = Settings.model_validate(defaults)
        self._clock = clock
        self.container: Container
        self.http: httpx.AsyncClient
        self.port = 0

    async def __aenter__(self) -> Self:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.container = build_container(
            self.settings, host="127.0.0.1", port=self.port, clock=self._clock
        )
        self._server = Server(self.container)
        await self.container.start()
        self._server.listen(sockets)
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", timeout=WITHIN_SECONDS
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()
        await self._server.close()
        await self.container.close()

    async def begin(self, **body: Any) -> Page:
        answer = await self.http.post("/api/scenes", json=body)
        assert answer.status_code == 201, answer.text
        return Page(self, answer.json(), answer.cookies.get("begin", ""))

    async def scan(self, page: Page, person: str = "alice", **options: Any) -> dict[str, Any]:
        """Have a simulated person scan the page's code; what the simulator says of it."""
        simulation = self.container.simulation
        assert simulation is not None
        answer = await self.http.post(
            f"{simulation.url}/simulator/scan",
            json={"url": page.document["qr"]["content"], "person": person, "options": options},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def status(socket: ClientConnection) -> dict[str, Any]:
    """The next status document on a socket."""
    return dict(json.loads(await socket.recv()))


async def until(socket: ClientConnection, state: str) -> dict[str, Any]:
    """The status of that state; earlier ones may be skipped or not."""
    while (document := await status(socket))["state"] != state:
        pass
    return document
