"""The same person by any two login kinds is one user (WeChat's unionid)."""

import itertools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.flows.browsers import Walker
from tests.flows.test_door_mini_program import Program
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def by_scan(stack: Stack) -> str:
    page = await stack.begin()
    await stack.scan(page)
    return str((await page.reaches("authorized"))["login"]["user"]["id"])


async def by_web(stack: Stack) -> str:
    page = await stack.begin(kind="web")
    async with Walker(stack, page) as phone:
        await phone.walk(page)
    return str((await page.reaches("authorized"))["login"]["user"]["id"])


async def by_website(stack: Stack) -> str:
    page = await stack.begin(kind="website")
    async with Walker(stack, page) as popup:
        await popup.walk(page, door="website")
    return str((await page.reaches("authorized"))["login"]["user"]["id"])


async def by_mini_program(stack: Stack) -> str:
    page, program = await stack.begin(kind="mini_program"), Program(stack)
    await program.scan(page)
    await program.confirm(page)
    return str((await page.reaches("authorized"))["login"]["user"]["id"])


async def by_code(stack: Stack) -> str:
    page = await stack.begin(kind="code")
    await stack.simulator("text", person="alice", text=page.document["code"])
    return str((await page.reaches("authorized"))["login"]["user"]["id"])


async def by_the_programs_own_login(stack: Stack) -> str:
    return str((await Program(stack).post("login")).json()["login"]["user"]["id"])


Door = Callable[[Stack], Awaitable[str]]

DOORS: list[Door] = [
    by_scan,
    by_web,
    by_website,
    by_mini_program,
    by_code,
    by_the_programs_own_login,
]


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.combinations(DOORS, 2)),
    ids=lambda door: door.__name__.removeprefix("by_"),
)
async def test_two_doors_one_user(tmp_path: Path, first: Door, second: Door) -> None:
    """Each pair of the six."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        await stack.simulator("follow", person="alice")
        assert await first(stack) == await second(stack)


async def test_two_users_that_turn_out_to_be_one_are_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A web login told no unionid; when it is learned, the older id stays, and the log says so."""
    caplog.set_level(logging.INFO)
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", status=500, times=0)
        older, younger = await by_web(stack), await by_website(stack)
        assert older != younger
        await stack.no_faults()
        await stack.simulator("follow", person="alice")
        assert await by_scan(stack) == older
        assert await by_website(stack) == older
        assert any("one person" in record.getMessage() for record in caplog.records)
        people = stack.container.backend.users
        assert (await people.get(younger)).id == older  # type: ignore[union-attr,arg-type]
