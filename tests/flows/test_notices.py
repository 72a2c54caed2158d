"""The login notice by template message: after the login, once, and without delaying it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.wechat.notices import notice_time
from simulator.config import NOTICE_TEMPLATE
from tests.conftest import UnexpectedLogs
from tests.flows.chatter import Chatter
from tests.stack import ON_LOOP, Stack, eventually

pytestmark = ON_LOOP

SEND = "/cgi-bin/message/template/send"
ACCOUNT = {
    "notice_template_id": NOTICE_TEMPLATE.template_id,
    "notice_fields": {"thing1": "{site}", "time2": "{time}", "thing3": "{name}"},
}


def noticing(tmp_path: Path, **options: Any) -> Stack:
    wechat = {"site_name": "Teashop", "accounts": {"default": ACCOUNT}}
    return Stack(tmp_path, wechat=wechat, **options)


async def notices_of(stack: Stack, person: str) -> list[str]:
    """The notices in the person's simulated chat."""
    answer = await stack.http.get(f"{stack.simulation.url}/simulator/chat/{person}")
    return [line["text"] for line in answer.json()["lines"] if line["kind"] == "notice"]


async def metric(stack: Stack, line: str) -> bool:
    return line in (await stack.http.get("/metrics")).text


async def test_a_login_is_followed_by_its_notice(tmp_path: Path) -> None:
    """It names the site and the time, and WeChat's report of it is counted."""
    async with noticing(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)

        async def noticed() -> bool:
            return len(await notices_of(stack, "alice")) == 1

        async def counted() -> bool:
            return await metric(stack, 'scanpush_notices_total{result="delivered"} 1.0')

        await eventually(noticed)
        await eventually(counted)
        (notice,) = await notices_of(stack, "alice")
        assert "Teashop" in notice and notice_time(stack.now)[:5] in notice


async def test_repeats_and_refusals_send_none(tmp_path: Path) -> None:
    """Five deliveries of the scan, another scan of the same code, and a stranger's: one notice."""
    async with noticing(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page, duplicate=4)
        await stack.scan(page)
        await stack.scan(page, "bob")
        last = await stack.begin()
        await stack.scan(last, "carol")

        async def all_sent() -> bool:
            return await stack.wechat_calls(SEND) >= 2

        await eventually(all_sent)
        assert [len(await notices_of(stack, name)) for name in ("alice", "bob", "carol")] == [
            1,
            0,
            1,
        ]
        assert await stack.wechat_calls(SEND) == 2


async def test_without_a_template_nothing_is_sent(tmp_path: Path) -> None:
    """The person logs in, and WeChat is asked for no message."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        await page.reaches("authorized")
        assert await stack.wechat_calls(SEND) == 0


async def test_no_notice_before_the_person_allowed_it(tmp_path: Path) -> None:
    """Asked in the chat, denied: there is no login, and no notice of one."""
    async with noticing(tmp_path, login={"confirm": "always"}) as stack:
        denied, allowed, alice = await stack.begin(), await stack.begin(), Chatter(stack)
        await stack.scan(denied)
        await alice.says("0")
        await stack.scan(allowed)
        assert await stack.wechat_calls(SEND) == 0
        await alice.says("1")

        async def sent() -> bool:
            return await stack.wechat_calls(SEND) == 1

        await eventually(sent)


@pytest.mark.parametrize(
    "fault",
    [{"errcode": 43116}, {"errcode": 45009}, {"errcode": 40037}, {"status": 500}, {"delay": 30}],
    ids=lambda fault: str(next(iter(fault.items()))),
)
async def test_a_failed_notice_is_the_operators_matter(
    tmp_path: Path, fault: dict[str, Any], logs: UnexpectedLogs
) -> None:
    """The person is logged in as ever, at once; the log says what WeChat said."""
    logs.expect("login notice not accepted|WeChat refuses|background task")
    async with noticing(tmp_path) as stack:
        await stack.simulator("faults", path=SEND, times=0, **fault)
        page = await stack.begin()
        delivery = await stack.scan(page)
        assert delivery["outcome"] == "answered" and "Teashop" in delivery["reply"]
        assert await page.state() == "authorized"
        assert await notices_of(stack, "alice") == []


async def test_what_wechat_could_not_deliver_is_counted(tmp_path: Path) -> None:
    """TEMPLATESENDJOBFINISH with a failure: a metric, no reply."""
    async with noticing(tmp_path) as stack:
        alice = Chatter(stack)
        fields = {"MsgID": "200228332", "Status": "failed:user block"}
        assert await alice.sends(alice.event("TEMPLATESENDJOBFINISH", **fields)) == ""
        assert await metric(stack, 'scanpush_notices_total{result="refused"} 1.0')


async def test_many_logins_at_once_each_have_theirs(tmp_path: Path) -> None:
    """Twenty people, twenty notices."""
    async with noticing(tmp_path) as stack:
        pages = [await stack.begin() for _ in range(20)]
        people = [f"person{number}" for number in range(20)]
        await asyncio.gather(*(stack.scan(p, who) for p, who in zip(pages, people, strict=True)))

        async def all_noticed() -> bool:
            return await stack.wechat_calls(SEND) == 20

        await eventually(all_noticed)
        assert {len(await notices_of(stack, who)) for who in people} == {1}
