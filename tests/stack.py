"""A whole scanpush for one test: a real server, the simulator for WeChat, and real clients.

async with Stack(tmp_path) as stack:
    page = await stack.begin()
    async with page.socket() as socket:
        ...
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from websockets.asyncio.client import ClientConnection, connect

from handlers.server import Server
from services.backends import OpenBackend, open_backend
from services.clock import Clock, SystemClock
from services.container import Container, build_container
from services.ids import SceneStr
from services.scenes.callbacks import CallbackRequest
from services.scenes.history import RecordedScenes
from services.scenes.states import Scene
from services.scenes.traces import OpenTraces, open_traces
from services.settings.models import Settings
from simulator.builtin import Simulation, simulate
from simulator.clock import TurnableClock
from simulator.codes import Code
from simulator.messages import PushOptions, PushRequest
from tests.faulty import FaultyStore, open_faulty
from tests.pushes import Sender, query_of

WITHIN_SECONDS = 10
"""How long a test waits for what must happen; generous, because nothing is measured here."""

ON_LOOP = pytest.mark.gen_test(timeout=60)
"""For `pytestmark` of modules whose tests use a stack: slow machines are no failures."""


class Page:
    """What a login page holds: the begun scene, and ways to watch it."""

    def __init__(self, stack: "Stack", document: Mapping[str, Any], begin_cookie: str) -> None:
        self._stack = stack
        self.document = document
        self.begin_cookie = begin_cookie

    def move_to(self, stack: "Stack") -> None:
        """Talk to another server from now on, as after a deploy."""
        self._stack = stack

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

    async def state(self) -> str:
        """The state by a poll, which the page would be allowed to make."""
        answer = await self.poll()
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    async def reaches(self, state: str) -> dict[str, Any]:
        """Its status document once it is in that state."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while (document := (await self.poll()).json())["state"] != state:
                await asyncio.sleep(0.02)
        return dict(document)


class Stack:
    """Builds and takes down one server in this process.

    Args:
        clock: a `TurnableClock` lets hours pass (`advance`); None: the machine's.
        faulty: put `scenes` and `users`, stores that fail on command, into the server.
        stores: opens the stores; by default those that the settings name.
        traces: opens the traces; by default those that the settings name, which is none.
        tornado: serve by Tornado's own HTTP server, the twin of handlers/http1.py.
        sections: settings that differ from the defaults, by section, as in config.yaml.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        *,
        faulty: bool = False,
        stores: OpenBackend = open_backend,
        traces: OpenTraces = open_traces,
        tornado: bool = False,
        **sections: Mapping[str, Any],
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
        self._twin: HTTPServer | None = None
        self._tornado = tornado
        self._open_traces = traces
        self._make_backend: OpenBackend = open_faulty if faulty else stores
        self.container: Container
        self.server: Server
        self._simulation: Simulation | None = None
        self.http: httpx.AsyncClient
        self.port = 0

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as undo:
            sockets = bind_sockets(0, "127.0.0.1")
            for listening in sockets:
                undo.callback(listening.close)
            self.port = sockets[0].getsockname()[1]
            settings, phone = self.settings, ""
            self._simulation = simulate(settings, "127.0.0.1", self.port)
            if self._simulation is not None:
                undo.push_async_callback(self._simulation.stop)
                settings, phone = self._simulation.settings, self._simulation.phone_base
            self.container = await build_container(
                settings,
                host="127.0.0.1",
                port=self.port,
                clock=self._clock,
                make_backend=self._make_backend,
                make_traces=self._open_traces,
                simulated_phone=phone,
            )
            undo.push_async_callback(self.container.close)
            self.server = Server(self.container)
            await self.container.start()
            undo.pop_all()
        if self._tornado:
            self._twin = HTTPServer(self.server.application)
            self._twin.add_sockets(sockets)
        else:
            self.server.listen(sockets)
        # Certificates are not needed here, and reading them takes as long as all the rest.
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", timeout=WITHIN_SECONDS, verify=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()
        if self._twin is not None:
            self._twin.stop()
            await self._twin.close_all_connections()
        await self.server.close()
        await self.container.close()
        if self._simulation is not None:
            await self._simulation.stop()

    # Time and stores.

    @property
    def now(self) -> float:
        return self.container.clock.now()

    async def advance(self, seconds: float) -> None:
        """Let time pass at once, for the server and for the simulated WeChat."""
        assert isinstance(self._clock, TurnableClock)
        self._clock.advance(seconds)
        await self.simulator("clock", advance=seconds)

    @property
    def scenes(self) -> FaultyStore:
        """The scene store's switches, with ``faulty=True``."""
        store = self.container.backend.scenes
        if isinstance(store, RecordedScenes):
            store = store._scenes
        assert isinstance(store, FaultyStore)
        return store

    @property
    def users(self) -> FaultyStore:
        """The user store's switches, with ``faulty=True``."""
        store = self.container.backend.users
        assert isinstance(store, FaultyStore)
        return store

    @property
    def sessions(self) -> FaultyStore:
        """The session store's switches, with ``faulty=True``."""
        store = self.container.backend.sessions
        assert isinstance(store, FaultyStore)
        return store

    @property
    def screens(self) -> FaultyStore:
        """The screen store's switches, with ``faulty=True``."""
        store = self.container.backend.screens
        assert isinstance(store, FaultyStore)
        return store

    async def scene(self, page: Page) -> Scene | None:
        """What the store knows of the page's scene."""
        return await self.container.backend.scenes.get(SceneStr(page.scene_str))

    # The page's side.

    async def begin(self, **body: Any) -> Page:
        """A page in a browser of its own."""
        self.http.cookies.clear()
        answer = await self.http.post("/api/scenes", json=body)
        assert answer.status_code == 201, answer.text
        return Page(self, answer.json(), answer.cookies.get("begin", ""))

    # WeChat's side.

    @property
    def simulation(self) -> Simulation:
        """The simulated WeChat of this server; there is one while no account is configured."""
        assert self._simulation is not None
        return self._simulation

    async def simulator(self, control: str, **body: Any) -> dict[str, Any]:
        """Use one of the simulator's controls (``POST /simulator/...``)."""
        answer = await self.http.post(f"{self.simulation.url}/simulator/{control}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()) if answer.content else {}

    async def no_faults(self) -> None:
        """Have the simulated WeChat behave again."""
        await self.http.delete(f"{self.simulation.url}/simulator/faults")

    def code_of(self, page: Page) -> Code:
        """The page's code as WeChat made it."""
        code = self.simulation._simulated.phones.find_code(scene_str=page.scene_str)
        assert code is not None
        return code

    async def scan(self, page: Page, person: str = "alice", **options: Any) -> dict[str, Any]:
        """Have a simulated person scan the page's code; what the simulator says of it."""
        url = page.document["qr"]["content"]
        return await self.simulator("scan", url=url, person=person, options=options)

    async def unionids_are_learned(self) -> None:
        """Return once WeChat has been asked for all that are owed."""

        async def none_is_owed() -> bool:
            return await self.container.backend.users.count_owed_unionids(1) == 0

        await eventually(none_is_owed)

    async def one_user(self, logins: Sequence[Mapping[str, Any]]) -> str:
        """The id of the one user that the tokens of all those logins lead to, once they do."""
        ids: set[str] = set()

        async def joined() -> bool:
            ids.clear()
            for login in logins:
                bearer = {"Authorization": f"Bearer {login['token']}"}
                ids.add((await self.http.get("/api/me", headers=bearer)).json()["id"])
            return len(ids) == 1

        await eventually(joined)
        return ids.pop()

    async def wechat_calls(self, path: str) -> int:
        """How often this server called that path of WeChat."""
        answer = await self.http.get(f"{self.simulation.url}/simulator/calls")
        return int(answer.json().get(path, 0))

    def sender(self, account: str | None = None, **changes: str) -> Sender:
        """A client that sends this server pushes with that account's secrets."""
        settings = self.container.accounts.named(account).settings
        path = f"/wechat/callback/{account}" if account else "/wechat/callback"
        url = f"http://127.0.0.1:{self.port}{path}"
        return Sender(self.http, url, settings, **changes)

    async def receive(self, push: PushRequest) -> bytes:
        """Hand a push to the service itself: for more at once than connections allow."""
        account = self.container.accounts.named(None)
        reply = await self.container.callbacks.receive(
            account,
            CallbackRequest(query_of(push), urlsplit(push.url).query, push.body, "text/xml"),
        )
        return reply.body

    def scan_of(
        self,
        page: Page,
        person: str = "alice",
        sender: Sender | None = None,
        options: PushOptions = PushOptions(),
        **fields: str | int,
    ) -> PushRequest:
        """A follower's scan of the page's code, sealed now and not yet sent."""
        sender = sender or self.sender()
        event = {"EventKey": page.scene_str, "Ticket": "gQ", **fields}
        name = str(event.pop("Event", "SCAN"))
        return sender.sealed(sender.event(name, person, self.now, **event), self.now, options)


def early_in_a_minute() -> TurnableClock:
    """A clock for tests of limits per minute, which must not fall into two minutes."""
    clock = TurnableClock(SystemClock())
    clock.advance(61 - clock.now() % 60)
    return clock


def early_in_a_day() -> TurnableClock:
    """A clock for tests of what is counted by WeChat's day, which begins at midnight in Beijing."""
    clock = TurnableClock(SystemClock())
    clock.advance(86_401 - (clock.now() + 8 * 3600) % 86_400)
    return clock


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition` holds; fail if it never does."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


async def status(socket: ClientConnection) -> dict[str, Any]:
    """The next status document on a socket."""
    return dict(json.loads(await socket.recv()))


async def until(socket: ClientConnection, state: str) -> dict[str, Any]:
    """The status of that state; earlier ones may be skipped or not."""
    while (document := await status(socket))["state"] != state:
        pass
    return document
