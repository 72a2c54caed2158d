"""One node of the push side on a real port, with scenes that live in a dict."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from handlers.http1 import Http1Server
from handlers.listener import Listener
from handlers.routes import AbsoluteTargets
from handlers.sockets import FastUpgrade, SocketRouter
from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr, secret_hash
from services.metrics import Metrics
from services.origins import Origins
from services.push.broker import LocalBroker
from services.push.close_codes import Ending
from services.push.service import PushService
from services.scenes.states import FINAL, Scene, State
from services.scenes.store import Attachment, Notice
from services.tasks import Supervisor
from tests.clocks import TurnedClock
from tests.contracts.scenes import a_scene

WITHIN_SECONDS = 10
TOKEN = "t" * 43
ORIGIN = "https://shop.example"


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail if it never does."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


class FakeScenes:
    """The port `Scenes` on a dict.

    Switches: `down` refuses, `gate` holds every call back, `broken` renders nothing, `nowait`
    makes it a store that needs no waiting to be read.
    """

    def __init__(self, clock: TurnedClock, publish: Callable[[Notice], None]) -> None:
        self.scenes: dict[SceneStr, Scene] = {}
        self.attached: set[tuple[SceneStr, int]] = set()
        self.numbers: dict[SceneStr, int] = {}
        self.calls: list[str] = []
        self.acked: list[int] = []
        self.numbers_typed: list[tuple[int, str]] = []
        self.down = False
        self.broken = False
        self.nowait = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock
        self._publish = publish

    def begin(self, state: State = State.WAITING, life: float = 180) -> SceneStr:
        scene = a_scene(self._clock.now(), life, state=state)
        self.scenes[scene.scene_str] = scene
        return scene.scene_str

    def move(self, scene_str: SceneStr, state: State, *, notice: bool = True) -> None:
        """Save the state, then notice it."""
        scene = self.scenes[scene_str]
        self.scenes[scene_str] = scene._replace(state=state, seq=scene.seq + 1)
        if notice:
            self._publish(Notice(scene_str, scene.seq + 1))

    async def _turn(self, call: str) -> None:
        self.calls.append(call)
        await self.gate.wait()
        if self.down:
            raise StoreUnavailable("down")

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        if watch_hash != secret_hash(TOKEN) or scene_str not in self.scenes:
            return None
        self.attached.add((scene_str, connection))
        number = self.numbers[scene_str] = self.numbers.get(scene_str, 0) + 1
        scene = self.scenes[scene_str]
        await self._turn("attach")
        return Attachment(scene, number)

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        scene = self.get_nowait(scene_str, 0) if watch_hash == secret_hash(TOKEN) else None
        if scene is not None:
            self.attached.add((scene_str, connection))
        return scene

    async def reattach(
        self, scene_str: SceneStr, node: str, connection: int, number: int
    ) -> Attachment | None:
        await self._turn("reattach")
        self.attached.add((scene_str, connection))
        scene = self._now(scene_str)
        newest = self.numbers[scene_str] = max(number, self.numbers.get(scene_str, 0))
        return None if scene is None else Attachment(scene, newest)

    async def detach(self, scene_str: SceneStr, node: str, connection: int) -> None:
        await self._turn("detach")
        self.attached.discard((scene_str, connection))

    async def get(self, scene_str: SceneStr) -> Scene | None:
        await self._turn("get")
        return self._now(scene_str)

    def get_nowait(self, scene_str: SceneStr, seq: int) -> Scene | None:
        return self._now(scene_str) if self.nowait and not self.down else None

    def _now(self, scene_str: SceneStr) -> Scene | None:
        scene = self.scenes.get(scene_str)
        if scene is not None and scene.state not in FINAL and self._clock.now() >= scene.ends_at:
            scene = scene._replace(state=State.EXPIRED, seq=scene.seq + 1)
        return scene

    def document(self, scene: Scene) -> bytes:
        if self.broken:
            raise RuntimeError("broken")
        status = {"type": "status", "scene_str": scene.scene_str, "state": scene.state}
        return json.dumps({**status, "seq": scene.seq}).encode()

    async def ack(self, scene_str: SceneStr, seq: int) -> None:
        await self._turn("ack")
        self.acked.append(seq)
        scene = self.scenes[scene_str]
        if scene.state is not State.AUTHORIZED or seq != scene.seq:
            raise ApiError("stale_seq", "another seq")
        self.move(scene_str, State.CONSUMED)

    async def number(self, scene_str: SceneStr, seq: int, number: str) -> None:
        await self._turn("number")
        self.numbers_typed.append((seq, number))

    async def cancel(self, scene_str: SceneStr) -> None:
        await self._turn("cancel")
        self.move(scene_str, State.CANCELLED)


class Counters(Metrics):
    """Keeps what was reported, besides measuring it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.statuses = 0
        self.pings = 0
        self.endings: list[Ending] = []
        self.refusals: list[str] = []

    def socket_opened(self) -> None:
        self.opened += 1

    def socket_ended(self, ending: Ending) -> None:
        self.endings.append(ending)

    def upgrade_refused(self, code: str) -> None:
        self.refusals.append(code)

    def status_written(self) -> None:
        self.statuses += 1

    def ping_written(self) -> None:
        self.pings += 1


class Hello(RequestHandler):
    """Something besides sockets."""

    def get(self) -> None:
        self.write("hello")


class Node:
    """A push service behind a real HTTP server, for one test."""

    way = "plain"
    """``plain``: plain upgrades are served by `FastUpgrade`, as in the real server; ``http``: all
    through `Http1Server`; ``tornado``: all through Tornado's own HTTP."""

    nowait = False
    """Whether the scenes can be read without waiting."""

    def __init__(self, *, send_buffer: int = 0, **options: Any) -> None:
        self.clock = TurnedClock()
        self.broker = LocalBroker()
        self.scenes = FakeScenes(self.clock, self.broker.publish)
        self.scenes.nowait = self.nowait
        self.counters = Counters()
        self.supervisor = Supervisor()
        self._send_buffer = send_buffer
        self.push = PushService(
            self.scenes,
            self.scenes,
            self.scenes.number,
            "node",
            self.broker,
            self.supervisor,
            self.clock,
            self.counters,
            Origins("", [ORIGIN]),
            **{"open_files": 4096, **options},
        )

    async def __aenter__(self) -> Self:
        await self.push.start()
        router = SocketRouter(self.push.admission, self.counters)
        application = Application([(r"/hello", Hello), (r"/ws/.*", router)])
        AbsoluteTargets(application)
        self._server = HTTPServer(application)
        self.http = Http1Server(application, [], self.push.capacity, self.supervisor, 60)
        sockets = bind_sockets(0, "127.0.0.1", backlog=1024)
        if self._send_buffer:
            # Accepted sockets inherit it: a peer that does not read is noticed soon.
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        self.port = int(sockets[0].getsockname()[1])
        take = FastUpgrade(self.push.admission, self.supervisor, self.counters).take
        self._listener = Listener(self.http, take if self.way == "plain" else lambda *_: False)
        if self.way == "tornado":
            self._server.add_sockets(sockets)
        else:
            self._listener.listen(sockets)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.stop()
        self.http.close()
        self._server.stop()
        await self._server.close_all_connections()
        await self.supervisor.close()
        await self.push.close()

    @property
    def sockets(self) -> int:
        """Descriptors held."""
        return self.push.parking.table.count

    def connect(self, scene_str: SceneStr, token: str = TOKEN, **options: Any) -> connect:
        """An ordinary client, `websockets`."""
        return connect(
            f"ws://127.0.0.1:{self.port}/ws/{scene_str}",
            subprotocols=["scanpush.v1", f"watch.{token}"],
            **{"open_timeout": WITHIN_SECONDS, **options},
        )


async def status(client: ClientConnection) -> dict[str, Any]:
    """The next status document."""
    async with asyncio.timeout(WITHIN_SECONDS):
        return dict(json.loads(await client.recv()))


async def closed(client: ClientConnection) -> int | None:
    """The close code, once the connection is closed; what still came is thrown away."""
    async with asyncio.timeout(WITHIN_SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
        await client.wait_closed()
    return client.close_code
