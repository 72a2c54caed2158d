"""Nodes that are killed, paused, sent away or wrong about the time; and their keys."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.faults.nodes import cluster, eventually
from tests.faults.test_nodes_redis import attached
from tests.servers import MongoServer, RedisServer
from tests.stack import Stack, until

pytestmark = [
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=90),
]


def socket_at(url: str, document: dict[str, Any]) -> connect:
    subprotocols = ["scanpush.v1", f"watch.{document['watch_token']}"]
    return connect(url.replace("http", "ws", 1) + document["ws"], subprotocols=subprotocols)


def upgrade_of(document: dict[str, Any], port: int, header: str) -> bytes:
    """The request for the page's socket, with one header more, if any."""
    lines = [
        f"GET {document['ws']} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: scanpush.v1, watch.{document['watch_token']}",
        *filter(None, [header]),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def rest_of(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """All that still comes, and the close code."""
    documents = []
    try:
        while True:
            documents.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return documents, socket.close_code


async def test_a_killed_node_leaves_its_pages_to_the_others(tmp_path: Path) -> None:
    """Its pages reconnect to another node and find their scene as it was, scanned or not."""
    async with cluster(tmp_path) as one:
        documents = [await one.begin() for _ in range(6)]
        pages = [await attached(one, document) for document in documents]
        await one.nodes[0].kill()
        for number, document in enumerate(documents):
            assert (await one.scan(document, f"person{number}"))["outcome"] == "answered"
        async with asyncio.timeout(30):
            assert {await watching for _, watching in pages} == {"consumed"}
        assert all(page.logins for page, _ in pages)
        assert any(page.connections > 1 for page, _ in pages)


@pytest.mark.parametrize("seconds", [4, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_node_that_slept_delivers_nothing_late(tmp_path: Path, seconds: int) -> None:
    """Its page has long had its login from another node; the old socket is only closed."""
    async with cluster(tmp_path) as one:
        sleeper, other = one.nodes
        document = await one.begin(other.url)
        async with socket_at(sleeper.url, document) as old:
            await until(old, "waiting")
            sleeper.send(signal.SIGSTOP)
            one.balancer.nodes = [other.port]
            page = one.page(document, other.url)
            watching = asyncio.ensure_future(page.watch())
            assert (await one.scan(document, "alice"))["outcome"] == "answered"
            async with asyncio.timeout(20):
                assert await watching == "consumed"
            await asyncio.sleep(seconds)  # the fault itself, not a wait for something
            sleeper.send(signal.SIGCONT)
            async with asyncio.timeout(20):
                documents, _ = await rest_of(old)
        assert not [late for late in documents if "login" in late]
        await eventually(lambda: one.is_ready(0))


@pytest.mark.parametrize("extra", ["", "X: " + "x" * 5000], ids=["plain", "long"])
async def test_an_abandoned_upgrade_replaces_no_socket(tmp_path: Path, extra: str) -> None:
    """A page gives up on a node that sleeps and opens on the other: when the first one wakes up,
    the page keeps its socket there."""
    async with cluster(tmp_path, 2) as running:
        asleep, awake = running.nodes
        document = await running.begin(awake.url)
        asleep.send(signal.SIGSTOP)
        _, abandoned = await asyncio.open_connection("127.0.0.1", asleep.port)
        abandoned.write(upgrade_of(document, asleep.port, extra))
        await abandoned.drain()
        abandoned.close()
        await abandoned.wait_closed()
        async with socket_at(awake.url, document) as socket:
            assert (await until(socket, "waiting"))["seq"] == 1
            asleep.send(signal.SIGCONT)
            await eventually(lambda: running.is_ready(0))
            assert (await running.scan(document, "alice"))["outcome"] == "answered"
            await until(socket, "authorized")


async def test_sigterm_leaves_in_order(tmp_path: Path) -> None:
    """No new connections, 503 on old ones, the unfinished callback is answered, pages are sent
    away with 1001, and the exit code is 0."""
    async with cluster(tmp_path, 1, server={"drain_seconds": 8}) as one:
        (node,) = one.nodes
        watched, scanned = await one.begin(), await one.begin()
        async with httpx.AsyncClient(base_url=node.url, timeout=10, verify=False) as kept:
            assert (await kept.get("/readyz")).status_code == 200
            async with socket_at(node.url, watched) as socket:
                await until(socket, "waiting")
                one.redis.pause()
                scanning = asyncio.ensure_future(one.scan(scanned, "alice", attempts=1))
                await asyncio.sleep(0.5)  # the callback has been read
                node.send(signal.SIGTERM)
                _, code = await rest_of(socket)
                assert code == 1001
                assert (await kept.get("/readyz")).status_code == 503
            with pytest.raises(httpx.TransportError):
                async with httpx.AsyncClient(verify=False) as late:
                    await late.get(f"{node.url}/healthz")
            one.redis.resume()
            assert (await scanning)["outcome"] == "answered"
        # It ends by itself; a second SIGTERM could come after its handlers are gone, and kill it.
        assert await node.end(signal.SIGCONT) == 0, node.output


class ShiftedClock:
    """A machine's clock that was set wrong."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("ahead", [30, pytest.param(-30, marks=pytest.mark.slow)])
async def test_a_wrong_clock_changes_nothing(
    redis_server: RedisServer, mongo_server: MongoServer, tmp_path: Path, ahead: float, logs: Any
) -> None:
    """The store's clock decides, for the node's own counting as well; the operator is told."""
    logs.expect("clock is .* off the store's")
    stack = Stack(
        tmp_path,
        ShiftedClock(ahead),
        backend="distributed",
        redis={"url": redis_server.url},
        mongodb={"url": mongo_server.url},
        login={"scene_ttl_seconds": 3},
    )
    async with stack:
        page = await stack.begin()
        assert 0 < page.document["expires_in"] <= 3
        async with page.socket() as socket:
            await stack.scan(page)
            login = (await until(socket, "authorized"))["login"]
        claims = jwt.decode(login["token"], options={"verify_signature": False})
        assert abs(claims["iat"] - time.time()) < 15
        bearer = {"Authorization": f"Bearer {login['token']}"}
        assert (await stack.http.get("/api/me", headers=bearer)).status_code == 200
        forgotten = await stack.begin()
        async with forgotten.socket() as socket:
            async with asyncio.timeout(15):
                assert await until(socket, "expired")
    assert logs.lines


async def test_every_node_knows_every_nodes_keys(tmp_path: Path) -> None:
    """Each has a key file of its own; tokens of one are good on the other at once, although both
    started together, and also after its end."""
    async with cluster(tmp_path) as one:
        first, second = one.nodes
        login = await one.log_in("alice", first.url)
        bearer = {"Authorization": f"Bearer {login['token']}"}

        async def accepted() -> bool:
            answer = await one.http.get(f"{second.url}/api/me", headers=bearer)
            return answer.status_code == 200

        assert await accepted()
        documents = [
            (await one.http.get(f"{node.url}/.well-known/jwks.json")).json() for node in one.nodes
        ]
        kids = [{key["kid"] for key in document["keys"]} for document in documents]
        assert kids[0] == kids[1] and len(kids[0]) == 2
        await first.kill()
        await asyncio.sleep(3)  # more than one exchange without it
        assert await accepted()


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_sigterm_ends_a_node_whose_redis_is_away(tmp_path: Path, fault: str) -> None:
    """Nothing waits for a store that will not answer: exit code 0 within drain_seconds."""
    async with cluster(tmp_path, 1) as one:
        (node,) = one.nodes
        document = await one.begin()
        async with socket_at(node.url, document) as socket:
            await until(socket, "waiting")
            getattr(one.redis, fault)()
            node.send(signal.SIGTERM)
            _, code = await rest_of(socket)
        assert code == 1001
        assert await node.stop() == 0, node.output
        assert "Traceback" not in node.output


async def test_one_node_asks_for_a_credential_and_the_others_read_it(tmp_path: Path) -> None:
    """WeChat counts how often its token is asked for; three nodes ask once."""
    async with cluster(tmp_path, 3) as one:
        await asyncio.gather(*(one.begin(node.url) for node in one.nodes for _ in range(3)))
        calls = (await one.http.get(f"{one.simulator.url}/simulator/calls")).json()
        assert calls["/cgi-bin/stable_token"] == 1
