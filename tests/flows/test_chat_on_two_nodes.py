"""A person's chat, its events arriving now at one node and now at another."""

import asyncio

import pytest

from services.scenes.typed_codes import MOST_GUESSES
from services.wechat.replies import text
from tests.flows.chatter import Chatter
from tests.flows.conftest import TwoNodes
from tests.stack import until

pytestmark = [pytest.mark.redis, pytest.mark.mongodb, pytest.mark.gen_test(timeout=60)]

CONFIRM = {"confirm": "always"}


async def test_asked_here_and_answered_there(nodes: TwoNodes) -> None:
    """The page watches a third place: the node it began at."""
    async with nodes.opened(login=CONFIRM) as (one, two):
        page = await one.begin(lang="en")
        async with page.socket() as socket:
            assert "Reply 1" in await Chatter(two).scans(page)
            await until(socket, "confirming")
            allowed = await Chatter(one).says("1")
            assert allowed == text("confirm_allowed", "en", site="127.0.0.1:8888")
            assert "login" in await until(socket, "authorized")


async def test_repeats_at_both_nodes_are_one_answer(nodes: TwoNodes) -> None:
    """Eight deliveries of one yes, at once: one login and one reply."""
    async with nodes.opened(login=CONFIRM) as (one, two):
        page, here, there = await one.begin(), Chatter(one), Chatter(two)
        await here.scans(page)
        yes = here.event("", MsgType="text", Content="1", MsgId=42)
        same = there.event("", MsgType="text", Content="1", MsgId=42)
        replies = await asyncio.gather(
            *(here.sends(yes) for _ in range(4)), *(there.sends(same) for _ in range(4))
        )
        document = (await page.poll()).json()
        assert len(set(replies)) == 1 and replies[0]
        assert (document["state"], document["seq"]) == ("authorized", 4)


async def test_scans_at_both_nodes_leave_at_most_one_question(nodes: TwoNodes) -> None:
    """Two codes scanned at the same moment: `1` never logs in both pages, however they raced."""
    async with nodes.opened(login=CONFIRM) as (one, two):
        for _ in range(10):
            pages = [await one.begin(), await two.begin()]
            here, there = Chatter(one), Chatter(two)
            await asyncio.gather(here.scans(pages[0]), there.scans(pages[1]))
            yes = here.text("1")
            await asyncio.gather(here.sends(yes), here.sends(yes))
            states = [await page.state() for page in pages]
            assert states.count("authorized") <= 1


async def test_guesses_at_both_nodes_are_counted_together(nodes: TwoNodes) -> None:
    """Two nodes are not twice as many guesses."""
    async with nodes.opened(wechat={"accounts": {"default": {"language": "en"}}}) as (one, two):
        page = await one.begin(kind="code")
        wrong = [str((int(page.document["code"]) + n) % 10**6).zfill(6) for n in range(1, 13)]
        people = [Chatter(one, "mallory"), Chatter(two, "mallory")]
        said = await asyncio.gather(*(people[n % 2].says(code) for n, code in enumerate(wrong)))
        unknown = text("code_unknown", "en", site="127.0.0.1:8888")
        assert said.count(unknown) == MOST_GUESSES
        assert await people[0].says(page.document["code"]) == text("code_locked", "en")
        await Chatter(two, "alice").says(page.document["code"])
        assert await page.state() == "authorized"


async def test_unfollowing_there_ends_what_is_asked_here(nodes: TwoNodes) -> None:
    """C28, on any node."""
    async with nodes.opened(login=CONFIRM) as (one, two):
        page, here, there = await one.begin(), Chatter(one), Chatter(two)
        await here.scans(page)
        await there.sends(there.event("unsubscribe"))
        assert await here.says("1") == ""
        assert await page.state() == "cancelled"
