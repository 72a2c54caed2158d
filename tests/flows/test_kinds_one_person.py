"""The same person by any two login kinds is one user (WeChat's unionid)."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import UnexpectedLogs
from tests.flows.browsers import Walker
from tests.flows.test_mini_program_login import Program
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


Login = dict[str, Any]


async def by_scan(stack: Stack, person: str = "alice") -> Login:
    page = await stack.begin()
    await stack.scan(page, person)
    return dict((await page.reaches("authorized"))["login"])


async def by_web(stack: Stack, person: str = "alice") -> Login:
    page = await stack.begin(kind="web")
    async with Walker(stack, page) as phone:
        await phone.walk(page, person)
    return dict((await page.reaches("authorized"))["login"])


async def by_website(stack: Stack, person: str = "alice") -> Login:
    page = await stack.begin(kind="website")
    async with Walker(stack, page) as popup:
        await popup.walk(page, person, route="website")
    return dict((await page.reaches("authorized"))["login"])


async def by_mini_program(stack: Stack, person: str = "alice") -> Login:
    page, program = await stack.begin(kind="mini_program"), Program(stack, person)
    await program.scan(page)
    await program.confirm(page)
    return dict((await page.reaches("authorized"))["login"])


async def by_code(stack: Stack, person: str = "alice") -> Login:
    page = await stack.begin(kind="code")
    await stack.simulator("text", person=person, text=page.document["code"])
    return dict((await page.reaches("authorized"))["login"])


async def by_the_programs_own_login(stack: Stack, person: str = "alice") -> Login:
    return dict((await Program(stack, person).post("login")).json()["login"])


LogIn = Callable[[Stack, str], Awaitable[Login]]

KINDS: list[LogIn] = [
    by_scan,
    by_web,
    by_website,
    by_mini_program,
    by_code,
    by_the_programs_own_login,
]


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.combinations(KINDS, 2)),
    ids=lambda log_in: log_in.__name__.removeprefix("by_"),
)
async def test_two_kinds_one_user(tmp_path: Path, first: LogIn, second: LogIn) -> None:
    """Each pair of the six, in both orders and at the same moment: the older id stays."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        for person in ("alice", "bob", "carol"):
            await stack.simulator("follow", person=person)
        for person, kinds in (("alice", (first, second)), ("bob", (second, first))):
            logins = [await log_in(stack, person) for log_in in kinds]
            assert logins[0]["user"]["is_new"]
            assert await stack.one_user(logins) == logins[0]["user"]["id"]
        logins = list(await asyncio.gather(first(stack, "carol"), second(stack, "carol")))
        assert await stack.one_user(logins) in {login["user"]["id"] for login in logins}
        await stack.unionids_are_learned()
        known = [await log_in(stack, "carol") for log_in in (first, second)]
        ids = {login["user"]["id"] for login in known}
        assert ids == {await stack.one_user(known)}


async def test_two_users_that_turn_out_to_be_one_are_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, logs: UnexpectedLogs
) -> None:
    """A web login told no unionid; when it is learned, the older id stays, and the log says so."""
    caplog.set_level(logging.INFO)
    # Written by the background task, unless the faults end before it asks.
    logs.expect("unionids are owed")
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", status=500, times=0)
        logins = [await by_web(stack), await by_website(stack)]
        older, younger = (login["user"]["id"] for login in logins)
        assert older != younger
        await stack.no_faults()
        await stack.simulator("follow", person="alice")
        assert (await by_scan(stack))["user"]["id"] == older
        assert await stack.one_user(logins) == older
        assert (await by_website(stack))["user"]["id"] == older
        assert any("one person" in record.getMessage() for record in caplog.records)
        people = stack.container.backend.users
        assert (await people.get(younger)).id == older  # type: ignore[union-attr,arg-type]
