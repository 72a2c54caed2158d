"""Several real nodes on a real Redis and a MongoDB-protocol server, with a simulated WeChat.

Every part is a process of its own that a test may pause, stop or kill. Pages and WeChat come
through a balancer that knows as little as any TCP balancer: a node that does not accept is passed
over.
"""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from deploy.programs import free_port
from tests.kills.page import PageClient
from tests.processes import ServerProcess, SimulatorProcess
from tests.servers import MongoServer, RedisServer, Server
from tests.wire_proxy import close_server

WITHIN_SECONDS = 20

AnyServer = TypeVar("AnyServer", bound=Server)


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = WITHIN_SECONDS):
    """Poll until `condition` gives something true, which is returned."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
        return found


class Balancer:
    """Copies bytes between clients and nodes, in turn; a node that refuses is passed over."""

    def __init__(self) -> None:
        self.nodes: list[int] = []
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accepted(self, reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            writer.close()

    async def _serve(self, reader: Any, writer: Any) -> None:
        for _ in range(len(self.nodes)):
            self._turn += 1
            port = self.nodes[self._turn % len(self.nodes)]
            try:
                back, to = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            try:
                ways = [
                    asyncio.create_task(_copy(reader, to)),
                    asyncio.create_task(_copy(back, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                to.close()
            return

    async def close(self) -> None:
        await close_server(self._server)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(reader: Any, writer: Any) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@dataclass
class Cluster:
    """What a test breaks, and the ways to use what is left."""

    redis: RedisServer
    mongo: MongoServer | None
    simulator: SimulatorProcess
    balancer: Balancer
    http: httpx.AsyncClient
    nodes: list[ServerProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Any node."""
        return f"http://127.0.0.1:{self.balancer.port}"

    async def begin(self, url: str = "") -> dict[str, Any]:
        answer = await self.http.post(f"{url or self.url}/api/scenes")
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def page(self, document: dict[str, Any], url: str = "", ack_delay: float = 0) -> PageClient:
        return PageClient(url or self.url, document, ack_delay)

    async def scan(self, document: dict[str, Any], person: str, **options: Any) -> dict[str, Any]:
        """What the simulator says of its callbacks."""
        answer = await self.http.post(
            f"{self.simulator.url}/simulator/scan",
            json={"url": document["qr"]["content"], "person": person, "options": options},
            timeout=60,
        )
        return dict(answer.json())

    async def status(self, document: dict[str, Any], url: str = "") -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {document['watch_token']}"}
        answer = await self.http.get((url or self.url) + document["status"], headers=bearer)
        return {"code": answer.status_code, **answer.json()}

    async def code(self, path: str, node: int = 0) -> int:
        """The HTTP status that a node answers with."""
        return (await self.http.get(f"{self.nodes[node].url}{path}")).status_code

    async def is_ready(self, node: int = 0) -> bool:
        return await self.code("/readyz", node) == 200

    async def log_in(self, person: str, url: str = "") -> dict[str, Any]:
        """One whole login through the balancer: the login document."""
        document = await self.begin(url)
        page = self.page(document, url)
        watching = asyncio.ensure_future(page.watch())
        assert (await self.scan(document, person))["outcome"] == "answered"
        async with asyncio.timeout(WITHIN_SECONDS):
            assert await watching == "consumed"
        return page.logins[-1]


@contextlib.asynccontextmanager
async def cluster(
    folder: Path,
    count: int = 2,
    *redis_options: str,
    mongo_url: str = "",
    **sections: Any,
) -> AsyncIterator[Cluster]:
    """`count` nodes, each with keys of its own, started together.

    Args:
        mongo_url: where MongoDB is for the nodes, when it is not the server itself.
        sections: settings that differ from the defaults, by section.
    """
    async with contextlib.AsyncExitStack() as undo:
        redis = _server(RedisServer(_folder(folder, "redis"), *redis_options), undo)
        mongo = None
        if not (url := mongo_url or os.environ.get("TEST_MONGODB_URL", "")):
            mongo = _server(MongoServer(_folder(folder, "mongo")), undo)
            url = mongo.url
        balancer = Balancer()
        await balancer.open()
        undo.push_async_callback(balancer.close)
        callback = f"http://127.0.0.1:{balancer.port}/wechat/callback"
        simulator = await undo.enter_async_context(SimulatorProcess(callback))
        http = await undo.enter_async_context(httpx.AsyncClient(timeout=30, verify=False))
        one = Cluster(redis, mongo, simulator, balancer, http)
        settings = {
            "backend": "distributed",
            "redis": {"url": redis.url},
            "mongodb": {"url": url, "database": f"scanpush_test_{uuid.uuid4().hex[:12]}"},
            "limits": {"scenes_per_minute_per_address": 0},
            "login": {"poll_interval_seconds": 0},
            "jwt": {"issuer": "scanpush"},
            **simulator.settings,
            **sections,
        }
        for number in range(count):
            one.nodes.append(_node(_folder(folder, f"node{number}"), settings, balancer))
        for node in one.nodes:
            undo.push_async_callback(_end, node)
        await asyncio.gather(*(node.start() for node in one.nodes))
        yield one


def _node(folder: Path, settings: dict[str, Any], balancer: Balancer) -> ServerProcess:
    port = free_port()
    balancer.nodes.append(port)
    server = {"port": port, "drain_seconds": 3, **settings.get("server", {})}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({**settings, "server": server}))
    return ServerProcess(config)


async def _end(node: ServerProcess) -> None:
    """A paused node gets the signal that ends it only once it runs again."""
    node.send(signal.SIGCONT)
    await node.kill()


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def _server(server: AnyServer, undo: contextlib.AsyncExitStack) -> AnyServer:
    undo.callback(server.stop)
    server.start()
    return server
