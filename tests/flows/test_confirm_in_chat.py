"""``login.confirm: always``: the person who scans is asked in the chat, and says yes or no
there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.scenes.states import Kind
from services.wechat.replies import beijing_time, text
from simulator.clock import TurnableClock
from tests.flows.chatter import Chatter, planted
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP

ALWAYS = {"confirm": "always"}
WINDOWS_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)


def said(outcome: str, **values: str) -> str:
    return text(outcome, "en", site="Teashop", **values)


class Confirming(Stack):
    """A server that asks in the chat. Its pages are English, and the site is called Teashop."""

    def __init__(self, folder: Path, clock: TurnableClock | None = None, **options: Any) -> None:
        accounts = {"default": {"language": "en"}}
        wechat = {"site_name": "Teashop", "accounts": accounts}
        options["login"] = {**ALWAYS, **options.get("login", {})}
        super().__init__(folder, clock, wechat=wechat, **options)


async def test_a_scan_asks_and_gives_nothing(tmp_path: Path) -> None:
    """The page is told that the person is asked; the question names site, browser and time."""
    async with Confirming(tmp_path) as stack:
        stack.http.headers["User-Agent"] = WINDOWS_CHROME
        page, alice = await stack.begin(), Chatter(stack)
        question = await alice.scans(page)
        document = (await page.poll()).json()
        scene = await stack.scene(page)
        assert scene is not None and scene.user_id is None
        assert (document["state"], "login" in document) == ("confirming", False)
        assert 110 < document["expires_in"] <= 120
        when = beijing_time(scene.created_at)
        assert question == said("confirm_ask", browser="Chrome, Windows", time=when)
        assert "Chrome, Windows" in question and when in question and "Screen" not in question


async def test_the_question_names_the_screen_as_configured(tmp_path: Path) -> None:
    """A kiosk's label comes from the settings; a name that is in none is left out."""
    kiosks = {"lobby": {"label": "Lobby 3", "secret": "k" * 32}}
    async with Confirming(tmp_path, kiosks=kiosks) as stack:
        known = await planted(stack, Kind.OFFICIAL_ACCOUNT, kiosk="lobby")
        made_up = await planted(stack, Kind.OFFICIAL_ACCOUNT, kiosk="Your bank")
        assert "Screen: Lobby 3" in await Chatter(stack, "alice").scans(known)
        assert "Screen" not in await Chatter(stack, "bob").scans(made_up)


@pytest.mark.parametrize(
    "answer",
    ["1", "１", " 1 ", "1。", "1 。", "yes .", "允许", "確認", "同意", "yes", "YES", "Ok!", "はい"],
)
async def test_words_that_allow(tmp_path: Path, answer: str) -> None:
    """The page goes from the question to the login while it watches."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            await alice.scans(page)
            await until(socket, "confirming")
            assert await alice.says(answer) == said("confirm_allowed")
            assert "login" in await until(socket, "authorized")


@pytest.mark.parametrize("answer", ["0", "０", "拒绝", "取消", "no", "N", "拒否"])
async def test_words_that_deny(tmp_path: Path, answer: str) -> None:
    """The page is told, no person is registered, and a later yes comes too late."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert await alice.says(answer) == said("confirm_denied")
        assert await page.state() == "denied"
        assert await alice.says("1") == ""
        assert await page.state() == "denied"


@pytest.mark.parametrize("answer", ["2", "11", "10", "what?", "", "好的吗", "1" * 5000, "\u202e1"])
async def test_anything_else_asks_again(tmp_path: Path, answer: str) -> None:
    """Only a clear answer is one; the question comes back word for word."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        question = await alice.scans(page)
        assert await alice.says(answer) == question
        assert await page.state() == "confirming"


async def test_scanning_again_asks_again(tmp_path: Path) -> None:
    """The same person, the same code: still one question, which can be answered once."""
    clock = TurnableClock(SystemClock())
    async with Confirming(tmp_path, clock) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        question = await alice.scans(page)
        await stack.advance(2)
        assert await alice.scans(page) == question
        assert await alice.says("1") == said("confirm_allowed")
        assert await page.state() == "authorized"


async def test_only_the_one_who_scanned_is_asked(tmp_path: Path) -> None:
    """Another person's `1` is an ordinary message, and their scan of the code changes nothing."""
    async with Confirming(tmp_path) as stack:
        page, alice, bob = await stack.begin(), Chatter(stack), Chatter(stack, "bob")
        await alice.scans(page)
        assert await bob.says("1") == ""
        assert await bob.scans(page) == said("already_used")
        assert await bob.says("1") == ""
        assert await page.state() == "confirming"


async def test_a_relayed_code_gives_nothing_without_a_yes_that_names_the_attacker(
    tmp_path: Path,
) -> None:
    """C3: the attacker shows their own page's code to the victim and waits."""
    async with Confirming(tmp_path) as stack:
        stack.http.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0"
        attacker, victim = await stack.begin(), Chatter(stack, "victim")
        async with attacker.socket() as socket:
            question = await victim.scans(attacker)
            document = await until(socket, "confirming")
            assert "login" not in document
            assert "Firefox, Linux" in question and "Not you? Reply 0." in question
            await victim.says("0")
            assert "login" not in await until(socket, "denied")


async def test_no_answer_is_a_no(tmp_path: Path) -> None:
    """After confirm_ttl_seconds the scene is denied, and a late yes is an ordinary message."""
    clock = TurnableClock(SystemClock())
    async with Confirming(tmp_path, clock, login={"confirm_ttl_seconds": 20}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        await stack.advance(21)
        assert await page.state() == "denied"
        assert await alice.says("1") == ""
        assert await page.state() == "denied"


async def test_the_newest_scene_is_asked_about(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """A newer scan ends the older question with a no, so that `1` means one thing."""
    async with Confirming(tmp_path, stores=any_scenes) as stack:
        older, newer, alice = await stack.begin(), await stack.begin(), Chatter(stack)
        await alice.scans(older)
        await alice.scans(newer)
        assert [await older.state(), await newer.state()] == ["denied", "confirming"]
        assert await alice.says("1") == said("confirm_allowed")
        assert [await older.state(), await newer.state()] == ["denied", "authorized"]


async def test_repeats_of_an_answer_get_one_reply(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Four deliveries at once, and one later, when the login has been collected."""
    async with Confirming(tmp_path, stores=any_scenes) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        yes = alice.text("1")
        replies = await asyncio.gather(*(alice.sends(yes) for _ in range(4)))
        seq = (await page.poll()).json()["seq"]
        assert (await page.ack(seq)).status_code == 204
        replies.append(await alice.sends(yes))
        assert set(replies) == {said("confirm_allowed")}
        assert (seq, await page.state()) == (4, "consumed")


async def test_a_repeat_answers_no_second_question(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """The yes to one scene, delivered again after the next scan, is not a yes to that one."""
    async with Confirming(tmp_path, stores=any_scenes) as stack:
        first, second, alice = await stack.begin(), await stack.begin(), Chatter(stack)
        await alice.scans(first)
        yes = alice.text("1")
        await alice.sends(yes)
        await alice.scans(second)
        assert await alice.sends(yes) == said("confirm_allowed")
        assert [await first.state(), await second.state()] == ["authorized", "confirming"]


async def test_an_answer_from_before_the_question_answers_nothing(tmp_path: Path) -> None:
    """Pushes overtake each other: what was written before the scan is about something else."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert await alice.sends(alice.text("1", at=stack.now - 5)) == ""
        assert await page.state() == "confirming"


async def test_repeats_of_the_scan_get_the_question(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """Also after the answer: the reply belongs to the event."""
    async with Confirming(tmp_path, stores=any_scenes) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        scan = alice.scan(page)
        questions = {*await asyncio.gather(*(alice.sends(scan) for _ in range(4)))}
        await alice.says("1")
        questions.add(await alice.sends(scan))
        assert len(questions) == 1 and "Reply 1" in questions.pop()
        assert await page.state() == "authorized"


async def test_yes_and_no_at_once_are_one_of_them(tmp_path: Path) -> None:
    """Whichever comes first stands, and the page agrees with the chat."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        replies = await asyncio.gather(alice.says("1"), alice.says("0"))
        state = await page.state()
        word = {"authorized": "confirm_allowed", "denied": "confirm_denied"}[state]
        assert said(word) in replies


@pytest.mark.parametrize("operation", ["advance", "replace", "recall", "remember"])
async def test_a_store_that_fails_in_between_changes_nothing_of_the_promise(
    tmp_path: Path, operation: str, logs: Any
) -> None:
    """Each step that fails or loses its answer once is repeated, and ends where it should."""
    logs.expect("a store fails")
    async with Confirming(tmp_path, faulty=True) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        stack.scenes.lose(operation, times=1)
        question = await alice.scans(page)
        assert "Reply 1" in question and await page.state() == "confirming"
        stack.scenes.lose(operation, times=1)
        assert await alice.says("1") == said("confirm_allowed")
        assert await page.state() == "authorized"


async def test_a_question_left_by_a_crash_is_asked_by_the_sweeper(
    tmp_path: Path, logs: Any
) -> None:
    """The claim stood, the question did not: the page goes on, and the person's answer counts."""
    logs.expect("a store fails|internal|500")
    slow = {"login": ALWAYS, "wechat": {"callback_deadline_seconds": 1}}
    async with Stack(tmp_path, faulty=True, **slow) as stack:
        page, alice = await stack.begin(lang="en"), Chatter(stack)
        stack.scenes.refuse("replace")
        assert (await alice.send(alice.scan(page))).status_code == 500
        assert await page.state() == "scanned"
        stack.scenes.heal()
        await page.reaches("confirming")
        await alice.says("1")
        assert await page.state() == "authorized"


async def test_unfollowing_while_asked_ends_it(tmp_path: Path) -> None:
    """C28: a person who unfollows is not logged in by anything that comes later."""
    async with Confirming(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert await alice.sends(alice.event("unsubscribe")) == ""
        assert await page.state() == "cancelled"
        assert await alice.says("1") == ""
        assert await page.state() == "cancelled"


async def test_without_confirmation_numbers_are_ordinary_messages(tmp_path: Path) -> None:
    """With ``confirm: never`` no person is asked, and `1` is an ordinary message."""
    async with Stack(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert await page.state() == "authorized"
        assert await alice.says("1") == ""
