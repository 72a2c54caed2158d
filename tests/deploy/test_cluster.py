"""``scripts/cluster``: two nodes behind nginx with the deploy/nginx.conf that is shipped."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.kills.page import PageClient
from tests.processes import Program
from tests.servers import need
from tests.stack import until

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=90),
]

READY = (
    r"nodes behind nginx: (http://\S+)  (?:.*)\nThe simulated phone: (http://[^/]+)/phone\n"
    r"Try kill -9 while a page is open: node0 (\d+), node1 (\d+)\nOutput of each part: (\S+)\n"
)


class Running(Program):
    """The command, and what it said of itself."""

    def __init__(self) -> None:
        super().__init__(sys.executable, "-m", "deploy.cluster", "--port", "0", ready=READY)
        self.http = httpx.AsyncClient(timeout=20, verify=False)

    async def start(self) -> re.Match[str]:
        said = await super().start()
        self.url, self.simulator, self.folder = said[1], said[2], Path(said[5])
        self.pids = [int(said[3]), int(said[4])]
        return said

    async def begin(self) -> dict[str, Any]:
        answer = await self.http.post(f"{self.url}/api/scenes", headers={"Origin": self.url})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def scan(self, document: dict[str, Any], person: str) -> str:
        body = {"url": document["qr"]["content"], "person": person}
        answer = await self.http.post(f"{self.simulator}/simulator/scan", json=body)
        return str(answer.json()["outcome"])


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    for program in ("nginx", "redis-server", "nx-27017"):
        need(program, hint="scripts/test installs it")
    cluster = Running()
    try:
        await cluster.start()
        yield cluster
        # Before the check: what is left of the parts is stopped by the command itself.
        assert await cluster.end(signal.SIGINT) == 0, cluster.output
        assert not cluster.folder.exists()
    finally:
        await cluster.http.aclose()
        await cluster.stop()


async def test_a_login_works_through_nginx_by_socket_and_by_long_poll() -> None:
    """As a browser does it, with its Origin; WebSocket upgrade and waiting requests go through."""
    async with running() as cluster:
        index = await cluster.http.get(cluster.url)
        assert index.status_code == 200 and "text/html" in index.headers["Content-Type"]
        document = await cluster.begin()
        subprotocols = ["scanpush.v1", f"watch.{document['watch_token']}"]
        url = cluster.url.replace("http", "ws") + document["ws"]
        async with connect(url, origin=cluster.url, subprotocols=subprotocols) as socket:
            await until(socket, "waiting")
            bearer = {"Authorization": f"Bearer {document['watch_token']}"}
            waiting = asyncio.ensure_future(
                cluster.http.get(f"{cluster.url}{document['status']}?wait=15&seq=1", headers=bearer)
            )
            assert await cluster.scan(document, "alice") == "answered"
            login = (await until(socket, "authorized"))["login"]
            assert (await waiting).json()["state"] in ("scanned", "authorized")
        bearer = {"Authorization": f"Bearer {login['token']}"}
        for _ in range(4):  # either node knows the other's key
            answer = await cluster.http.get(f"{cluster.url}/api/me", headers=bearer)
            assert answer.json()["id"] == login["user"]["id"]
        await check_edges(cluster)


async def check_edges(cluster: Running) -> None:
    """What is the operator's is closed, WeChat is sent nowhere else, foreign pages are refused."""
    for path in ("/metrics", "/readyz"):
        assert (await cluster.http.get(cluster.url + path)).status_code == 403
    callback = await cluster.http.post(
        f"{cluster.url}/wechat/callback?signature=x", content=b"<xml/>"
    )
    assert callback.status_code in (400, 403)
    foreign = {"Origin": "https://evil.example"}
    answer = await cluster.http.post(f"{cluster.url}/api/scenes", headers=foreign)
    assert answer.status_code == 403
    assert "signature" not in (cluster.folder / "access.log").read_text()


async def test_a_killed_node_is_not_missed() -> None:
    """Its page comes back through nginx to the other one, and gets its login."""
    async with running() as cluster:
        for victim in cluster.pids:
            document = await cluster.begin()
            page = PageClient(cluster.url, document, ack_delay=0)
            watching = asyncio.ensure_future(page.watch())
            signal_process(victim)
            assert await cluster.scan(document, "bob") == "answered"
            async with asyncio.timeout(20):
                assert await watching == "consumed"


def signal_process(pid: int) -> None:
    """SIGKILL, without a chance to clean up; the command starts the node again."""
    os.kill(pid, signal.SIGKILL)


def test_the_unit_names_what_exists() -> None:
    """deploy/scanpush.service runs this entry point, and leaves it time to drain."""
    unit = (Path(__file__).parents[2] / "deploy" / "scanpush.service").read_text()
    settings = dict(
        line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#"
    )
    assert "server.py --config" in settings["ExecStart"]
    assert int(settings["TimeoutStopSec"]) >= 15 and int(settings["LimitNOFILE"]) > 100_000
    assert settings["RestartPreventExitStatus"] == "2"
