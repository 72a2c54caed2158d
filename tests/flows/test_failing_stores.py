"""Stores that fail while WeChat waits for an answer, and crashes in the middle of a login."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from services.clock import SystemClock
from services.errors import ApiError
from services.scenes.callbacks import MOST_HELD
from services.wechat.replies import text
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, eventually, status, until

pytestmark = ON_LOOP

SHORT = {"callback_deadline_seconds": 0.4}
"""A deadline that a test can wait for."""


@pytest.fixture(autouse=True)
def told(logs: UnexpectedLogs) -> None:
    """The operator is told that a store fails."""
    logs.expect("a store fails, the callback waits")
    logs.expect("scanpush.http WARNING.* 500 POST /wechat/callback|WARNING 500 POST")
    logs.expect("finishing left logins waits")


def registered(stack: Stack) -> str:
    return text("registered", "zh-CN", site=f"127.0.0.1:{stack.port}")


@pytest.mark.parametrize("how", ["refuse", "lose"])
@pytest.mark.parametrize(
    ("store", "operation", "after"),
    [
        ("scenes", "advance", 0),
        ("users", "login", 0),
        ("scenes", "advance", 1),
    ],
    ids=["claim", "login", "authorize"],
)
async def test_each_step_that_fails_for_a_while_is_waited_for(
    tmp_path: Path, how: str, store: str, operation: str, after: int
) -> None:
    """Not done, or done without an answer: 200 in the end, one login, and still a first one."""
    async with Stack(tmp_path, faulty=True) as stack:
        page, sender = await stack.begin(), stack.sender()
        faulty: Any = getattr(stack, store)
        getattr(faulty, how)(operation, after=after, times=2)
        reply = sender.read(await sender.send(stack.scan_of(page)), "alice")
        document = (await page.poll()).json()
        assert reply.text == registered(stack)
        assert (document["seq"], document["login"]["user"]["is_new"]) == (3, True)


async def test_a_store_that_hangs_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    """The callback is held, not refused, while there is time."""
    async with Stack(tmp_path, faulty=True) as stack:
        page, sender = await stack.begin(), stack.sender()
        stack.scenes.hold("advance")
        answer = asyncio.ensure_future(sender.send(stack.scan_of(page)))
        await eventually(_async(lambda: stack.scenes.calls["advance"] == 1))
        stack.scenes.heal()
        assert sender.read(await answer, "alice").text == registered(stack)


@pytest.mark.parametrize("how", ["refuse", "hold", "lose"])
@pytest.mark.parametrize(("store", "operation"), [("scenes", "advance"), ("users", "login")])
async def test_beyond_the_deadline_it_is_500_and_the_retry_no_duplicate(
    tmp_path: Path, how: str, store: str, operation: str
) -> None:
    """A failed attempt leaves no outcome: the retry finishes the login as the first would have."""
    async with Stack(tmp_path, faulty=True, wechat=SHORT) as stack:
        page, sender = await stack.begin(), stack.sender()
        push, faulty = stack.scan_of(page), getattr(stack, store)
        getattr(faulty, how)(operation)
        failed = await sender.send(push)
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal")
        faulty.heal()
        assert sender.read(await sender.send(push), "alice").text == registered(stack)
        document = (await page.poll()).json()
        assert (document["seq"], document["login"]["user"]["is_new"]) == (3, True)


async def test_a_failed_attempt_leaves_no_outcome_row(tmp_path: Path) -> None:
    """Nothing is kept that could make WeChat's next try look like a repeat."""
    async with Stack(tmp_path, faulty=True, wechat=SHORT) as stack:
        page, sender = await stack.begin(), stack.sender()
        stack.users.refuse("login")
        await sender.send(stack.scan_of(page))
        rows = stack.container.backend.database.reader.execute("SELECT key FROM kept").fetchall()
        assert [key for (key,) in rows if key.startswith("outcome:")] == []


async def test_over_a_thousand_held_callbacks_the_next_is_refused_at_once(tmp_path: Path) -> None:
    """And those that were held all end well when the store is back."""
    async with Stack(tmp_path, faulty=True) as stack:
        # A slow machine may take longer for a thousand than WeChat waits for one.
        stack.container.callbacks._deadline_seconds = 30
        page = await stack.begin()
        stack.scenes.refuse("advance")
        push = stack.scan_of(page)
        held = [asyncio.ensure_future(stack.receive(push)) for _ in range(MOST_HELD)]
        await eventually(_async(lambda: stack.scenes.calls["advance"] >= MOST_HELD))
        with pytest.raises(ApiError) as refusal:
            await stack.receive(push)
        assert refusal.value.status == 500 and not any(task.done() for task in held)
        stack.scenes.heal()
        assert all(b"<Encrypt>" in body for body in await asyncio.gather(*held))
        assert (await page.poll()).json()["seq"] == 3


async def test_a_login_left_in_the_middle_is_finished_by_the_sweeper(tmp_path: Path) -> None:
    """As after a crash between `scanned` and `authorized`, and WeChat never came again."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, faulty=True, wechat=SHORT) as stack:
        page, sender = await stack.begin(), stack.sender()
        async with page.socket() as socket:
            stack.users.refuse("login")
            assert (await sender.send(stack.scan_of(page))).status_code == 500
            assert (await until(socket, "scanned"))["seq"] == 2
            stack.users.heal()
            await stack.advance(2)
            document = await until(socket, "authorized")
        assert document["login"]["user"]["is_new"] is True


async def test_what_the_sweeper_finished_is_not_done_again_by_the_retry(tmp_path: Path) -> None:
    """WeChat's late retry is told that all is done."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, faulty=True, wechat=SHORT) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        stack.users.refuse("login")
        await sender.send(push)
        stack.users.heal()
        await stack.advance(2)
        await page.reaches("authorized")
        reply = sender.read(await sender.send(push), "alice")
        assert reply.text == text("repeated", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert (await page.poll()).json()["seq"] == 3


async def test_a_login_that_cannot_be_finished_fails_after_thirty_seconds(tmp_path: Path) -> None:
    """The page is told `failed` with `try_again`, the socket closes, a retry is told so too."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, faulty=True, wechat=SHORT) as stack:
        page, sender = await stack.begin(lang="en"), stack.sender()
        push = stack.scan_of(page)
        stack.users.refuse("login")
        await sender.send(push)
        async with page.socket() as socket:
            assert (await status(socket))["expires_in"] <= 30
            await stack.advance(31)
            document = await until(socket, "failed")
            await socket.wait_closed()
        assert document["error"]["code"] == "try_again" and socket.close_code == 1000
        stack.users.heal()
        reply = sender.read(await sender.send(push), "alice")
        assert reply.text == text("failed", "en", site=f"127.0.0.1:{stack.port}")


async def test_a_login_written_after_the_deadline_is_told(tmp_path: Path) -> None:
    """The disk stands still until no caller waits for the write any more; the page gets the login
    all the same, before WeChat has asked again."""
    async with Stack(tmp_path, wechat=SHORT) as stack:
        await stack.scan(await stack.begin())
        page, sender = await stack.begin(), stack.sender()
        async with page.socket() as socket:
            await until(socket, "waiting")
            with contextlib.closing(sqlite3.connect(tmp_path / "scanpush.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                assert (await sender.send(stack.scan_of(page))).status_code == 500
                other.rollback()
            await until(socket, "authorized")


async def test_harmless_events_do_not_need_the_store(tmp_path: Path) -> None:
    """Menus and messages are answered also while nothing can be stored."""
    async with Stack(tmp_path, faulty=True) as stack:
        stack.scenes.refuse("advance", "get", "remember", "recall")
        stack.users.refuse("login", "find")
        sender = stack.sender()
        event = sender.event("CLICK", "alice", stack.now, EventKey="MENU")
        answer = await sender.send(sender.sealed(event, stack.now))
        assert (answer.status_code, answer.content) == (200, b"success")


@pytest.mark.parametrize(
    "fault",
    [{"delay": 3.0}, {"errcode": 48001}, {"status": 500}, {"garbage": True}, {"drop": True}],
    ids=lambda fault: next(iter(fault)),
)
async def test_no_answer_of_user_info_spoils_a_login(
    tmp_path: Path, fault: dict[str, Any], logs: UnexpectedLogs
) -> None:
    """The unionid is asked for afterwards; what becomes of that is no matter of the login."""
    logs.expect("WeChat refuses")
    logs.expect("unionids are owed")
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        await stack.simulator("faults", path="/cgi-bin/user/info", times=0, **fault)
        assert sender.read(await sender.send(stack.scan_of(page)), "alice").text == registered(
            stack
        )
        assert await page.state() == "authorized"
        info = "/cgi-bin/user/info"
        await eventually(lambda: _is(1, stack.wechat_calls(info)))


async def test_a_unionid_that_comes_late_is_joined_later(tmp_path: Path) -> None:
    """The login did not wait for it; the answer still makes one person of two identities."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {}, "second": {}}}) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", delay=1.5, times=0)
        first = await stack.begin(account="second")
        await stack.scan(first, "alice")
        second = await stack.begin()
        await stack.scan(second, "alice")
        login = (await second.poll()).json()["login"]
        bearer = {"Authorization": f"Bearer {login['token']}"}
        older = (await first.poll()).json()["login"]["user"]["id"]

        async def joined() -> bool:
            return (await stack.http.get("/api/me", headers=bearer)).json()["id"] == older

        assert login["user"]["id"] != older
        await eventually(joined)


async def test_cancelling_in_the_middle_of_a_callback_wins(tmp_path: Path) -> None:
    """The page gave up while the person was looked up: no token, and the chat says so."""
    async with Stack(tmp_path, faulty=True) as stack:
        page, sender = await stack.begin(lang="en"), stack.sender()
        stack.users.hold("login")
        answer = asyncio.ensure_future(sender.send(stack.scan_of(page)))
        await eventually(_async(lambda: stack.users.calls["login"] == 1))
        assert (await page.cancel()).status_code == 204
        stack.users.heal()
        reply = sender.read(await answer, "alice")
        assert reply.text == text("cancelled", "en", site=f"127.0.0.1:{stack.port}")
        assert await page.state() == "cancelled"


async def _is(expected: int, asked: Awaitable[int]) -> bool:
    return await asked == expected


def _async(condition: Any) -> Any:
    async def asked() -> bool:
        return bool(condition())

    return asked
