"""One node of the push side on a real port, with scenes that live in a dict."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from services.clock import SystemClock
from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr
from services.push.broker import Notice
from services.push.broker_local import LocalBroker
from services.push.close_codes import Ending
from services.push.counters import NoCounters
from services.push.service import PushService
from services.scenes.states import FINAL, Kind, Scene, State
from services.supervisor import Supervisor

WITHIN_SECONDS = 10
TOKEN = "t" * 43
ORIGIN = "https://shop.example"


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail if it never does."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


class FakeClock:
    """The machine's clock, and a push forward whenever a test wants one."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self.ahead = 0.0

    def now(self) -> float:
        return self._system.now() + self.ahead

    def monotonic(self) -> float:
        return self._system.monotonic() + self.ahead


class FakeScenes:
    """The port `Scenes` on a dict.

    Switches: `down` refuses, `gate` holds every call back, `broken` renders nothing,
    `reads_without_waiting` makes it a store that needs no waiting to be read.
    """

    def __init__(self, clock: FakeClock, publish: Callable[[Notice], None]) -> None:
        self.scenes: dict[SceneStr, Scene] = {}
        self.attached: set[tuple[SceneStr, int]] = set()
        self.calls: list[str] = []
        self.acked: list[int] = []
        self.down = False
        self.broken = False
        self.reads_without_waiting = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock
        self._publish = publish

    def begin(self, state: State = State.WAITING, life: float = 180) -> SceneStr:
        scene_str = SceneStr(str(uuid4()))
        now = self._clock.now()
        self.scenes[scene_str] = Scene(
            scene_str=scene_str,
            state=state,
            seq=1,
            kind=Kind.OFFICIAL_ACCOUNT,
            account="default",
            lang="en",
            created_at=now,
            changed_at=now,
            ends_at=now + life,
            watch_hash=b"",
        )
        return scene_str

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

    async def watch(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        if watch_token != TOKEN or scene_str not in self.scenes:
            return None
        self.attached.add((scene_str, connection))
        scene = self.scenes[scene_str]
        await self._turn("watch")
        return scene

    def watch_at_hand(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        scene = self.at_hand(scene_str, 0) if watch_token == TOKEN else None
        if scene is not None:
            self.attached.add((scene_str, connection))
        return scene

    async def watch_again(self, scene_str: SceneStr, connection: int) -> Scene | None:
        await self._turn("watch_again")
        self.attached.add((scene_str, connection))
        return self._now(scene_str)

    async def unwatch(self, scene_str: SceneStr, connection: int) -> None:
        await self._turn("unwatch")
        self.attached.discard((scene_str, connection))

    async def read(self, scene_str: SceneStr) -> Scene | None:
        await self._turn("read")
        return self._now(scene_str)

    def at_hand(self, scene_str: SceneStr, seq: int) -> Scene | None:
        return self._now(scene_str) if self.reads_without_waiting and not self.down else None

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

    async def cancel(self, scene_str: SceneStr) -> None:
        await self._turn("cancel")
        self.move(scene_str, State.CANCELLED)


class Counters(NoCounters):
    """Keeps what was reported."""

    def __init__(self) -> None:
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

    short_way = True
    """Whether plain upgrades are served by `Reception`, as in the real server."""

    reads_without_waiting = False
    """Whether the scenes can be read without waiting."""

    def __init__(self, *, send_buffer: int = 0, **options: Any) -> None:
        self.clock = FakeClock()
        self.broker = LocalBroker()
        self.scenes = FakeScenes(self.clock, self.broker.publish)
        self.scenes.reads_without_waiting = self.reads_without_waiting
        self.counters = Counters()
        self.supervisor = Supervisor()
        self._send_buffer = send_buffer
        self.push = PushService(
            self.scenes,
            self.broker,
            self.supervisor,
            self.clock,
            lambda origin, headers, scheme: origin in (None, ORIGIN),
            counters=self.counters,
            **{"open_files": 4096, **options},
        )

    async def __aenter__(self) -> Self:
        await self.push.start()
        application = Application([(r"/hello", Hello)])
        self._server = HTTPServer(self.push.router(application))
        sockets = bind_sockets(0, "127.0.0.1", backlog=1024)
        if self._send_buffer:
            # Accepted sockets inherit it: a peer that does not read is noticed soon.
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        self.port = int(sockets[0].getsockname()[1])
        self._reception = self.push.reception(self._server, lambda connection, address, head: False)
        if self.short_way:
            self._reception.listen(sockets)
        else:
            self._server.add_sockets(sockets)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reception.stop()
        self._server.stop()
        await self._server.close_all_connections()
        await self.supervisor.close()
        await self.push.close()

    @property
    def sockets(self) -> int:
        """Descriptors held."""
        return self.push.parking.slots.count

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
