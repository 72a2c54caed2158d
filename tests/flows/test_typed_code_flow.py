"""Logging in with a code that is typed into the chat."""

import asyncio
from pathlib import Path

import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.scenes.typed_codes import GUESS_SECONDS, MOST_GUESSES
from services.wechat.replies import text
from simulator.clock import TurnableClock
from tests.flows.chatter import Chatter
from tests.stack import ON_LOOP, Page, Stack, until

pytestmark = ON_LOOP


def said(stack: Stack, outcome: str, lang: str = "zh-CN") -> str:
    return text(outcome, lang, site=f"127.0.0.1:{stack.port}")


def code_of(page: Page) -> str:
    return str(page.document["code"])


def wrong(page: Page, by: int = 1) -> str:
    """A code that is not this page's."""
    return str((int(code_of(page)) + by) % 10**6).zfill(6)


async def test_the_code_logs_the_page_in(tmp_path: Path) -> None:
    """The page shows six digits and no picture; the person who sends them is logged in there."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="code", lang="en")
        assert len(code_of(page)) == 6 and "qr" not in page.document
        async with page.socket() as socket:
            assert await Chatter(stack).says(code_of(page)) == said(stack, "registered", "en")
            assert "login" in await until(socket, "authorized")


async def test_a_phone_types_it_in_the_simulated_chat(tmp_path: Path) -> None:
    """As a person does it: follow without a code, then write."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="code")
        await stack.simulator("follow", person="alice")
        delivery = await stack.simulator("text", person="alice", text=f" {code_of(page)} ")
        assert delivery["reply"] == said(stack, "registered")
        assert await page.state() == "authorized"


async def test_full_width_digits_are_digits(tmp_path: Path) -> None:
    """Chinese keyboards write them."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="code")
        wide = "".join(chr(ord(digit) + 0xFEE0) for digit in code_of(page))
        await Chatter(stack).says(wide)
        assert await page.state() == "authorized"


async def test_eight_letters(tmp_path: Path) -> None:
    """As configured; small letters in two groups are understood."""
    login = {"code_length": 8, "code_alphabet": "letters"}
    async with Stack(tmp_path, login=login) as stack:
        page = await stack.begin(kind="code")
        code = code_of(page)
        assert len(code) == 8 and code.isalpha()
        await Chatter(stack).says(f"{code[:4]} {code[4:]}".lower())
        assert await page.state() == "authorized"


async def test_a_code_is_used_once(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """A second person is told so; its owner is told that all is done; nothing moves."""
    async with Stack(tmp_path, stores=any_scenes) as stack:
        page = await stack.begin(kind="code")
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        await alice.says(code_of(page))
        seq = (await page.poll()).json()["seq"]
        assert await bob.says(code_of(page)) == said(stack, "already_used")
        assert await alice.says(code_of(page)) == said(stack, "repeated")
        assert (await page.poll()).json()["seq"] == seq


async def test_two_people_at_once_are_one_login(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """One of them has it, the other is told."""
    async with Stack(tmp_path, stores=any_scenes) as stack:
        page = await stack.begin(kind="code")
        people = [Chatter(stack, name) for name in ("alice", "bob")]
        replies = await asyncio.gather(*(person.says(code_of(page)) for person in people))
        assert set(replies) == {said(stack, "registered"), said(stack, "already_used")}
        assert (await page.poll()).json()["seq"] == 3


async def test_repeats_of_the_message_get_one_reply(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """At once and later, for a right code and for a wrong one, which counts once."""
    async with Stack(tmp_path, stores=any_scenes) as stack:
        page, alice = await stack.begin(kind="code"), Chatter(stack)
        slip = alice.text(wrong(page))
        slips = {*await asyncio.gather(*(alice.sends(slip) for _ in range(MOST_GUESSES + 3)))}
        right = alice.text(code_of(page))
        replies = {*await asyncio.gather(*(alice.sends(right) for _ in range(4)))}
        replies.add(await alice.sends(right))
        assert slips == {said(stack, "code_unknown")}
        assert replies == {said(stack, "registered")}


async def test_five_guesses_then_the_right_one_is_refused_too(tmp_path: Path) -> None:
    """C19: the author waits; the page does not notice, and another person may still log in."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, login={"scene_ttl_seconds": 1800}) as stack:
        page, mallory = await stack.begin(kind="code"), Chatter(stack, "mallory")
        for number in range(1, MOST_GUESSES + 1):
            assert await mallory.says(wrong(page, number)) == said(stack, "code_unknown")
        assert await mallory.says(code_of(page)) == said(stack, "code_locked")
        assert await page.state() == "waiting"
        await Chatter(stack, "alice").says(code_of(page))
        assert await page.state() == "authorized"
        await stack.advance(GUESS_SECONDS + 1)
        assert await mallory.says(wrong(page)) == said(stack, "code_unknown")


async def test_an_expired_code_is_unknown(tmp_path: Path) -> None:
    """The page says the same."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, login={"scene_ttl_seconds": 30}) as stack:
        page = await stack.begin(kind="code")
        await stack.advance(31)
        assert await Chatter(stack).says(code_of(page)) == said(stack, "code_unknown")
        assert await page.state() == "expired"


@pytest.mark.parametrize("message", ["123456", "000000"])
async def test_numbers_are_ordinary_while_no_codes_are_shown(tmp_path: Path, message: str) -> None:
    """An account without typed codes does not answer people who write numbers."""
    async with Stack(tmp_path) as stack:
        await stack.begin()
        assert await Chatter(stack).says(message) == ""


async def test_a_code_belongs_to_its_account(tmp_path: Path) -> None:
    """Sent to another account of this server it is an ordinary message."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {}, "second": {}}}) as stack:
        page = await stack.begin(kind="code", account="second")
        assert await Chatter(stack).says(code_of(page)) == ""
        assert await page.state() == "waiting"
        await Chatter(stack, account="second").says(code_of(page))
        assert await page.state() == "authorized"


async def test_a_scan_never_finishes_a_code_scene(tmp_path: Path) -> None:
    """The scene's name is public: an event that names it came by another login kind."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="code")
        assert await Chatter(stack).scans(page) == ""
        assert await page.state() == "waiting"


async def test_a_typed_code_is_asked_about_where_scans_are(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """With ``confirm: always``; a repeat of the code is no answer, and gets the question again."""
    async with Stack(tmp_path, login={"confirm": "always"}, stores=any_scenes) as stack:
        page, alice = await stack.begin(kind="code", lang="en"), Chatter(stack)
        typed = alice.text(code_of(page))
        question = await alice.sends(typed)
        assert "Reply 1 to allow" in question and await alice.sends(typed) == question
        assert await page.state() == "confirming"
        await alice.says("1")
        assert await page.state() == "authorized"
