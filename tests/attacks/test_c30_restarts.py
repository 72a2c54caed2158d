"""C30: a deploy in any state leaves the page with its login or with a clear answer."""

import json
from pathlib import Path

import pytest

from services.clock import SystemClock
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP


@pytest.mark.parametrize("state", ["waiting", "scanned", "authorized", "consumed", "cancelled"])
async def test_a_restart_in_each_state(tmp_path: Path, state: str, logs: UnexpectedLogs) -> None:
    """The state before the restart is the state after it, and the login goes on from there."""
    logs.expect("a store fails|500 POST")
    wechat = {"callback_deadline_seconds": 0.2}
    async with Stack(tmp_path, faulty=True, wechat=wechat) as stack:
        page = await stack.begin()
        if state == "scanned":
            stack.users.refuse("login")
        if state in ("scanned", "authorized", "consumed"):
            await stack.sender().send(stack.scan_of(page))
        if state == "consumed":
            await page.ack(3)
        if state == "cancelled":
            await page.cancel()
        assert await page.state() == state
        await stack.server.drain()
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, wechat=wechat) as successor:
        page.move_to(successor)
        async with page.socket() as socket:
            assert (await status(socket))["state"] == state
            if state == "waiting":
                await successor.sender().send(successor.scan_of(page))
            if state == "scanned":
                await successor.advance(2)
            if state in ("waiting", "scanned"):
                await until(socket, "authorized")
            if state not in ("consumed", "cancelled"):
                await socket.send(json.dumps({"type": "ack", "seq": 3}))
                await until(socket, "consumed")


async def test_the_token_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """Claims were fixed at `authorized`; another process signs the very same ones."""
    tokens = []
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        tokens.append((await page.poll()).json()["login"]["token"])
    async with Stack(tmp_path) as successor:
        page.move_to(successor)
        tokens.append((await page.poll()).json()["login"]["token"])
        first, second = (successor.container.issuer.verify(t, successor.now) for t in tokens)
        assert first == second


async def test_a_leaving_node_is_not_ready(tmp_path: Path) -> None:
    """The load balancer sends no more requests there."""
    async with Stack(tmp_path) as stack:
        assert (await stack.http.get("/readyz")).status_code == 200
        connection = await stack.http.get("/healthz")
        assert connection.json() == {"status": "ok"}
        stack.container.push.draining = True
        answer = await stack.http.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")


async def test_the_scenes_life_does_not_follow_the_browsers_clock(tmp_path: Path) -> None:
    """The page is told seconds that remain, by the store's clock, in every document."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        before = (await page.poll()).json()["expires_in"]
        await stack.advance(100)
        assert before - 101 <= (await page.poll()).json()["expires_in"] <= before - 99
