"""kill -9 at random moments: what was answered 200 is never lost.

The real server process and a simulated WeChat in a process of its own. Each round begins a scene,
has it scanned, kills the server somewhere between its answer to WeChat and the page's ack, starts
it again, and expects the page to get its login by its own reconnecting.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml

from deploy.programs import free_port
from tests.kills.page import PageClient
from tests.processes import ServerProcess, SimulatorProcess

USER_INFO = "/cgi-bin/user/info"

MOST_SECONDS = 0.03
"""Kills and acks come at random within this; a login's way from answer to ack is shorter."""


@dataclass
class World:
    """The two processes, and a client for both."""

    server: ServerProcess
    simulator: SimulatorProcess
    http: httpx.AsyncClient

    async def begin(self) -> dict[str, Any]:
        answer = await self.http.post(f"{self.server.url}/api/scenes")
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def scan(self, document: dict[str, Any], person: str, **options: Any) -> str:
        """Have a person scan; "answered" means that the server has answered 200."""
        answer = await self.http.post(
            f"{self.simulator.url}/simulator/scan",
            json={"url": document["qr"]["content"], "person": person, "options": options},
        )
        return str(answer.json()["outcome"])

    async def own_login_of_the_program(self, person: str) -> dict[str, Any]:
        """The login that the mini program of that person gets for itself."""
        control = f"{self.simulator.url}/simulator/mini_program/login"
        code = (await self.http.post(control, json={"person": person})).json()["code"]
        answer = await self.http.post(
            f"{self.server.url}/api/miniprogram/login", json={"code": code}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["login"])

    async def restart(self) -> None:
        await self.server.kill()
        await self.server.start()

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        answer = await self.http.post(
            f"{self.server.url}/api/token/refresh", json={"refresh_token": refresh_token}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def me(self, token: str) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {token}"}
        answer = await self.http.get(f"{self.server.url}/api/me", headers=bearer)
        assert answer.status_code == 200
        return dict(answer.json())


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    port = free_port()
    callback = f"http://127.0.0.1:{port}/wechat/callback"
    async with SimulatorProcess(callback) as simulator, httpx.AsyncClient(timeout=30) as http:
        config = folder / "config.yaml"
        sections = {
            "server": {"port": port},
            "limits": {"scenes_per_minute_per_address": 0},
            "login": {"poll_interval_seconds": 0},
            "sessions": {"refresh_ttl_seconds": 86400, "most_per_user": 0},
            **simulator.settings,
        }
        config.write_text(yaml.safe_dump(sections))
        async with ServerProcess(config) as server:
            yield World(server, simulator, http)
            assert await server.stop() == 0, server.output
    with contextlib.closing(sqlite3.connect(folder / "data" / "scanpush.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def survive(where: World, number: int) -> None:
    """One round: killed after the 200, before or while the page acknowledges."""
    document = await where.begin()
    page = PageClient(where.server.url, document, ack_delay=random.uniform(0, MOST_SECONDS))
    watching = asyncio.ensure_future(page.watch())
    assert await where.scan(document, f"person{number}") == "answered"
    await asyncio.sleep(random.uniform(0, MOST_SECONDS))
    await where.restart()
    async with asyncio.timeout(30):
        end = await watching
    assert (end, page.states[-1]) == ("consumed", "consumed")
    assert page.logins, "the page never got its login"
    claims = [jwt.decode(one["token"], options={"verify_signature": False}) for one in page.logins]
    assert len({claim["jti"] for claim in claims}) == 1
    (refresh_token,) = {one["refresh_token"] for one in page.logins}
    assert (await where.refresh(refresh_token))["user"]["id"] == page.logins[-1]["user"]["id"]
    me = await where.me(page.logins[-1]["token"])
    assert me["id"] == page.logins[-1]["user"]["id"] and page.logins[-1]["user"]["is_new"]


async def survive_in_the_middle(where: World, number: int) -> None:
    """One round: killed while the callback is at work. WeChat tries again, or the sweeper does."""
    document = await where.begin()
    page = PageClient(where.server.url, document, ack_delay=0)
    watching = asyncio.ensure_future(page.watch())
    # WeChat's three tries are over in ten seconds, in which a busy machine may not start a server.
    patient = {"wait": False, "attempts": 9}
    assert await where.scan(document, f"hurried{number}", **patient) == "queued"
    await asyncio.sleep(random.uniform(0, MOST_SECONDS))
    await where.restart()
    async with asyncio.timeout(45):
        assert await watching == "consumed"
    jtis = [jwt.decode(one["token"], options={"verify_signature": False}) for one in page.logins]
    assert len({claim["jti"] for claim in jtis}) == 1
    assert page.logins[-1]["user"]["is_new"]


async def survive_a_refresh(where: World, refresh_token: str) -> str:
    """Killed while a token is used: the same token again brings its pair. The next token."""
    using = asyncio.ensure_future(where.refresh(refresh_token))
    await asyncio.sleep(random.uniform(0, MOST_SECONDS / 3))
    await where.restart()
    with contextlib.suppress(httpx.HTTPError):
        assert (await using)["refresh_token"]
    again = await where.refresh(refresh_token)
    assert again == {**await where.refresh(refresh_token), "token": again["token"]}
    if using.exception() is None:
        assert using.result()["refresh_token"] == again["refresh_token"]
    return str(again["refresh_token"])


@pytest.mark.gen_test(timeout=95)
async def test_kills_in_the_middle_of_refreshes_end_no_session(tmp_path: Path) -> None:
    """Whether or not the token was used already, its answer is lost and given again."""
    async with world(tmp_path) as where:
        token = (await where.own_login_of_the_program("ann"))["refresh_token"]
        for _ in range(2):
            token = await survive_a_refresh(where, token)


@pytest.mark.gen_test(timeout=95)
async def test_five_kills_lose_no_login(tmp_path: Path) -> None:
    """Between the callback's 200 and the page's ack."""
    async with world(tmp_path) as where:
        for number in range(5):
            await survive(where, number)


@pytest.mark.gen_test(timeout=95)
async def test_a_kill_in_the_middle_of_a_callback_loses_no_login(tmp_path: Path) -> None:
    """Not answered yet: WeChat's next try after five seconds finds the server again."""
    async with world(tmp_path) as where:
        await survive_in_the_middle(where, 0)


@pytest.mark.gen_test(timeout=95)
async def test_a_kill_before_the_unionid_is_known_joins_all_the_same(tmp_path: Path) -> None:
    """The server that comes next asks WeChat; the tokens of both login kinds lead to one user."""
    async with world(tmp_path) as where:
        # Cut before the kill, for a process that is killed a little later has asked already.
        faults = f"{where.simulator.url}/simulator/faults"
        await where.http.post(faults, json={"path": USER_INFO, "drop": True, "times": 0})
        document = await where.begin()
        page = PageClient(where.server.url, document, ack_delay=0)
        watching = asyncio.ensure_future(page.watch())
        assert await where.scan(document, "ann") == "answered"
        assert await watching == "consumed"
        await where.restart()
        own = await where.own_login_of_the_program("ann")
        first = page.logins[-1]
        assert own["user"]["is_new"] and own["user"]["id"] != first["user"]["id"]
        await where.http.delete(faults)
        async with asyncio.timeout(30):
            while (await where.me(own["token"]))["id"] != first["user"]["id"]:
                await asyncio.sleep(0.05)
        assert (await where.me(first["token"]))["id"] == first["user"]["id"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.gen_test(timeout=1800)
async def test_two_hundred_kills_lose_no_login(tmp_path: Path) -> None:
    """The same, until rare moments have been met as well."""
    async with world(tmp_path) as where:
        for number in range(200):
            await survive(where, number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.gen_test(timeout=1800)
async def test_a_hundred_kills_in_the_middle_of_refreshes(tmp_path: Path) -> None:
    """The same, until rare moments have been met as well."""
    async with world(tmp_path) as where:
        token = (await where.own_login_of_the_program("ann"))["refresh_token"]
        for _ in range(100):
            token = await survive_a_refresh(where, token)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.gen_test(timeout=1800)
async def test_thirty_kills_in_the_middle_of_callbacks(tmp_path: Path) -> None:
    """Between any two steps of a login."""
    async with world(tmp_path) as where:
        for number in range(30):
            await survive_in_the_middle(where, number)
