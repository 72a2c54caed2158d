"""A stopping server finishes the requests that it serves, within its time."""

import asyncio
from pathlib import Path

import httpx
import pytest

from services.wechat.replies import text
from tests.conftest import UnexpectedLogs
from tests.processes import ServerProcess, write_config
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def leave(stack: Stack) -> None:
    """What the entry point does at SIGTERM."""
    await stack.server.drain()
    await stack.server.close()


async def test_an_unfinished_callback_is_answered(tmp_path: Path) -> None:
    """The store takes its time; WeChat still hears 200 and the reply."""
    async with Stack(tmp_path, faulty=True, server={"drain_seconds": 10}) as stack:
        page, sender = await stack.begin(), stack.sender()
        stack.users.hold("login")
        answer = asyncio.ensure_future(sender.send(stack.scan_of(page)))
        while not stack.users.calls["login"]:
            await asyncio.sleep(0.01)
        leaving = asyncio.ensure_future(leave(stack))
        await asyncio.sleep(0.05)
        assert not answer.done() and not leaving.done()
        stack.users.heal()
        reply = sender.read(await answer, "alice")
        assert reply.text == text("registered", "zh-CN", site=f"127.0.0.1:{stack.port}")
        await leaving


async def test_long_polls_are_answered_at_once(tmp_path: Path) -> None:
    """They do not hold the server up, and the page need not guess."""
    async with Stack(tmp_path, server={"drain_seconds": 10}) as stack:
        page = await stack.begin()
        waiting = [asyncio.ensure_future(page.poll(wait=25)) for _ in range(20)]
        while stack.container.push.hub.waiting < 20:
            await asyncio.sleep(0.01)
        await leave(stack)
        answers = await asyncio.gather(*waiting)
        assert {answer.json()["state"] for answer in answers} == {"waiting"}


async def test_what_does_not_end_is_ended(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """A store that hangs holds the stop up for drain_seconds, no longer."""
    logs.expect("a store fails")
    async with Stack(tmp_path, faulty=True, server={"drain_seconds": 0.3}) as stack:
        page, sender = await stack.begin(), stack.sender()
        stack.users.hold("login")
        answer = asyncio.ensure_future(sender.send(stack.scan_of(page)))
        while not stack.users.calls["login"]:
            await asyncio.sleep(0.01)
        await leave(stack)
        with pytest.raises(httpx.HTTPError):
            await answer
        stack.users.heal()


async def test_kept_connections_are_told_to_close(tmp_path: Path) -> None:
    """A proxy must not send its next request over them."""
    async with Stack(tmp_path) as stack:
        assert "Connection" not in (await stack.http.get("/healthz")).headers
        await stack.server.drain()
        assert (await stack.http.get("/healthz")).headers["Connection"] == "close"


async def test_the_process_answers_its_long_polls_before_it_ends(tmp_path: Path) -> None:
    """The same with the real program and SIGTERM."""
    async with ServerProcess(write_config(tmp_path)) as server, httpx.AsyncClient() as http:
        begun = (await http.post(f"{server.url}/api/scenes")).json()
        bearer = {"Authorization": f"Bearer {begun['watch_token']}"}
        url = f"{server.url}{begun['status']}"
        await http.get(url, headers=bearer)
        waiting = [
            asyncio.ensure_future(http.get(f"{url}?wait=25", headers=bearer, timeout=20))
            for _ in range(5)
        ]
        while "scanpush_long_polls 5.0" not in (await http.get(f"{server.url}/metrics")).text:
            await asyncio.sleep(0.02)
        assert await server.stop() == 0
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
