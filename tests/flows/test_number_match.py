"""``login.confirm: number``: the person reads two digits in the chat and types them on the page."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.ids import OpenId, SceneStr
from services.scenes.states import Kind
from services.wechat.replies import beijing_time, text
from simulator.clock import TurnableClock
from tests.flows.chatter import Chatter, planted
from tests.stack import ON_LOOP, Page, Stack, eventually, status, until

pytestmark = ON_LOOP

SENDING = "/cgi-bin/message/custom/send"
LANGUAGES = {"zh-CN": "数字：", "zh-TW": "數字：", "en": "Number: ", "ja": "数字："}


def said(outcome: str, **values: str) -> str:
    return text(outcome, "en", site="Teashop", **values)


class Matching(Stack):
    """A server that asks for numbers. Its pages are English, and the site is called Teashop."""

    def __init__(self, folder: Path, clock: TurnableClock | None = None, **options: Any) -> None:
        accounts = {"default": {"language": "en"}}
        options["wechat"] = {"site_name": "Teashop", "accounts": accounts}
        options["login"] = {"confirm": "number", **options.get("login", {})}
        super().__init__(folder, clock, **options)

    async def may_not_write(self) -> None:
        """The account is not verified: it writes nothing but replies."""
        await self.simulator("faults", path=SENDING, errcode=48001)

    async def type(self, page: Page, number: str, seq: int = 3) -> httpx.Response:
        """Type it on the page, which sends it by a request."""
        path = f"{page.document['status']}/number"
        return await self.http.post(path, json={"seq": seq, "number": number}, headers=page.bearer)


def number_in(question: str) -> str:
    """The number that a question in English names."""
    found = re.search(r"^Number: ([0-9]{2})$", question, re.M)
    assert found is not None, question
    return found[1]


def wrong_for(number: str) -> str:
    return f"{(int(number) + 1) % 100:02}"


async def newest_line(stack: Stack, person: str) -> str:
    """The newest line of that person's chat, on their simulated phone."""
    answer = await stack.http.get(f"{stack.simulation.url}/simulator/chat/{person}")
    return str(answer.json()["lines"][-1]["text"])


async def test_a_scan_brings_a_number_to_the_phone_and_none_to_the_page(tmp_path: Path) -> None:
    """The chat names site, time and number, and offers 0 alone; the page learns how it is asked."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        question = await alice.scans(page)
        answer = await page.poll()
        document, number = answer.json(), number_in(question)
        scene = await stack.scene(page)
        assert scene is not None
        when = beijing_time(scene.created_at)
        assert question == said("number_ask", time=when, number=number)
        assert "1" not in question.replace(when, "").replace(number, "")
        assert (document["state"], document["confirm"]) == ("confirming", "number")
        assert set(document) == {"type", "scene_str", "state", "seq", "expires_in", "confirm"}


async def test_the_question_in_each_language(tmp_path: Path) -> None:
    """The number stands on a line of its own, and 1 is not offered."""
    async with Matching(tmp_path) as stack:
        for lang, before in LANGUAGES.items():
            page, person = await stack.begin(lang=lang), Chatter(stack, f"person-{lang}")
            question = await person.scans(page)
            found = re.search(f"^{before}([0-9]{{2}})$", question, re.M)
            assert found is not None and "1" not in question.splitlines()[-1]
            assert (await stack.type(page, found[1])).status_code == 204
            assert await page.state() == "authorized"


@pytest.mark.parametrize("kind", ["official_account", "code"])
async def test_the_right_number_logs_in_on_any_backend(
    tmp_path: Path, any_scenes: OpenBackend, kind: str
) -> None:
    """By the socket, for a scanned and for a typed code."""
    async with Matching(tmp_path, stores=any_scenes) as stack:
        page, alice = await stack.begin(kind=kind), Chatter(stack)
        async with page.socket() as socket:
            if kind == "code":
                question = await alice.says(page.document["code"])
            else:
                question = await alice.scans(page)
            document = await until(socket, "confirming")
            answer = {"type": "number", "seq": document["seq"], "number": number_in(question)}
            await socket.send(json.dumps(answer))
            assert "login" in await until(socket, "authorized")


async def test_a_wrong_number_ends_it_on_any_backend(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """One try: the answer does not say which it was, the scene is denied, the right one is late."""
    async with Matching(tmp_path, stores=any_scenes) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        assert (await stack.type(page, wrong_for(number))).status_code == 204
        document = (await page.poll()).json()
        assert (document["state"], "login" in document) == ("denied", False)
        late = await stack.type(page, number)
        assert (late.status_code, late.json()["error"]["code"]) == (409, "stale_seq")
        assert await page.state() == "denied"


async def test_the_person_is_told_of_a_wrong_number_at_once(tmp_path: Path) -> None:
    """By a message of the account, where it may write; the next reply does not repeat it."""
    async with Matching(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        await stack.type(page, wrong_for(number_in(await newest_line(stack, "alice"))))

        async def told() -> bool:
            return await newest_line(stack, "alice") == said("number_wrong")

        await eventually(told)
        assert await Chatter(stack).says("hello?") == ""


async def test_an_account_that_may_not_write_tells_it_with_the_next_reply(
    tmp_path: Path, any_scenes: OpenBackend, logs: Any
) -> None:
    """Once; a repeat of that message is told it again."""
    logs.expect("errcode 48001")
    async with Matching(tmp_path, stores=any_scenes) as stack:
        await stack.may_not_write()
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        await stack.type(page, wrong_for(number))
        word = alice.text("hello?")
        assert [await alice.sends(word) for _ in range(2)] == [said("number_wrong")] * 2
        assert await alice.says("hello?") == ""


async def test_no_word_in_the_chat_allows(tmp_path: Path) -> None:
    """The question comes again, with the same number."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        question = await alice.scans(page)
        for word in ("1", "yes", "允许", number_in(question), "what?"):
            assert await alice.says(word) == question
        assert await page.state() == "confirming"


async def test_a_zero_in_the_chat_denies(tmp_path: Path) -> None:
    """And then the right number comes too late."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        assert await alice.says("0") == said("confirm_denied")
        assert (await stack.type(page, number)).status_code == 409
        assert await page.state() == "denied"


async def test_repeats_get_the_same_number(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Of one push four times at once, of another scan, and of the push after the answer."""
    clock = TurnableClock(SystemClock())
    async with Matching(tmp_path, clock, stores=any_scenes) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        scan = alice.scan(page)
        questions = {*await asyncio.gather(*(alice.sends(scan) for _ in range(4)))}
        await stack.advance(2)
        questions.add(await alice.scans(page))
        await stack.type(page, number_in(questions.copy().pop()))
        questions.add(await alice.sends(scan))
        assert len(questions) == 1


async def test_a_typed_code_again_gets_the_same_number(tmp_path: Path) -> None:
    """The message that carried the code may be delivered several times, too."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(kind="code"), Chatter(stack)
        message = alice.text(page.document["code"])
        questions = [await alice.sends(message) for _ in range(3)]
        assert len(set(questions)) == 1
        assert (await stack.type(page, number_in(questions[0]))).status_code == 204


async def test_a_repeat_long_after_has_no_number(tmp_path: Path) -> None:
    """The reply is kept longer than the scene, and without the number it is of no use."""
    clock = TurnableClock(SystemClock())
    async with Matching(tmp_path, clock) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        scan = alice.scan(page)
        await alice.sends(scan)
        await stack.advance(200)
        assert await alice.sends(scan) == said("expired")


async def test_a_new_person_gets_the_form_behind_the_number(tmp_path: Path) -> None:
    """With ``registration: ask`` the right number leads to the fields that the site wants."""
    async with Matching(tmp_path, login={"registration": "ask"}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await stack.type(page, number_in(await alice.scans(page)))
        document = (await page.poll()).json()
        assert (document["state"], document["register_fields"]) == ("registering", ["name"])
        form = {"registration_token": document["registration_token"], "name": "Alice"}
        assert (await stack.http.post("/api/register", json=form)).status_code == 200
        assert await page.state() == "authorized"


async def test_where_only_known_people_may_log_in_the_right_number_is_not_enough(
    tmp_path: Path,
) -> None:
    """``registration: deny`` holds behind the number as without it."""
    async with Matching(tmp_path, login={"registration": "deny"}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await stack.type(page, number_in(await alice.scans(page)))
        document = (await page.poll()).json()
        assert (document["state"], document["error"]["code"]) == ("failed", "not_registered")


async def test_a_kiosk_asks_for_numbers_where_it_has_a_keypad(tmp_path: Path) -> None:
    """A screen that cannot be touched asks in the chat alone, where 1 then allows."""
    kiosks = {"touch": {"secret": "k" * 32, "keypad": True}, "wall": {"secret": "w" * 32}}
    async with Matching(tmp_path, kiosks=kiosks) as stack:
        touch, wall = [await planted(stack, Kind.OFFICIAL_ACCOUNT, kiosk=kiosk) for kiosk in kiosks]
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        number = number_in(await alice.scans(touch))
        assert "Reply 1" in await bob.scans(wall)
        asked = [(await page.poll()).json()["confirm"] for page in (touch, wall)]
        assert asked == ["number", "chat"]
        assert (await stack.type(wall, "42")).status_code == 409
        await bob.says("1")
        await stack.type(touch, number)
        for page in (touch, wall):
            assert "exchange_code" in (await page.poll()).json()


MALFORMED: tuple[Any, ...] = (
    {"seq": 3},
    {"seq": 3, "number": 42},
    {"seq": 3, "number": "4"},
    {"seq": 3, "number": "042"},
    {"seq": 3, "number": " 4"},
    {"seq": 3, "number": "４２"},
    {"seq": 3, "number": "4\n"},
    {"seq": 3, "number": ["4", "2"]},
    {"seq": "3", "number": "42"},
    {"seq": True, "number": "42"},
    {"number": "42"},
    [],
)


async def test_what_is_malformed_spends_no_try(tmp_path: Path) -> None:
    """400, and the right number still logs in."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        for body in MALFORMED:
            path = f"{page.document['status']}/number"
            answer = await stack.http.post(path, json=body, headers=page.bearer)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
        assert (await stack.type(page, number)).status_code == 204
        assert await page.state() == "authorized"


async def test_a_stale_seq_spends_no_try(tmp_path: Path) -> None:
    """409 by request, ignored on a socket; the right number still logs in."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        early = await stack.type(page, "42", seq=1)
        number = number_in(await alice.scans(page))
        late = await stack.type(page, wrong_for(number), seq=2)
        assert [early.status_code, late.status_code] == [409, 409]
        async with page.socket() as socket:
            await until(socket, "confirming")
            for seq in (1, 2, 4, 2**40):
                wrong = {"type": "number", "seq": seq, "number": wrong_for(number)}
                await socket.send(json.dumps(wrong))
            assert (await stack.type(page, number)).status_code == 204
            assert "login" in await until(socket, "authorized")


async def test_a_malformed_number_on_a_socket_closes_it(tmp_path: Path) -> None:
    """4400, as for every message that is not of the contract; the try is not spent."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        async with page.socket() as socket:
            await status(socket)
            await socket.send(json.dumps({"type": "number", "seq": 3, "number": 42}))
            await socket.wait_closed()
            assert socket.close_code == 4400
        assert (await stack.type(page, number)).status_code == 204


async def test_a_server_that_asks_for_none_takes_none(tmp_path: Path) -> None:
    """With ``confirm: always`` the page is told so, and its number is stale."""
    async with Matching(tmp_path, login={"confirm": "always"}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        assert "Reply 1" in await alice.scans(page)
        assert (await page.poll()).json()["confirm"] == "chat"
        assert (await stack.type(page, "42")).status_code == 409


async def test_a_store_that_fails_in_between_costs_no_try(tmp_path: Path, logs: Any) -> None:
    """The number is carried out again, whichever step lost its answer."""
    logs.expect("a store fails")
    async with Matching(tmp_path, faulty=True) as stack:
        for operation in ("get", "remember", "advance"):
            page, alice = await stack.begin(), Chatter(stack)
            number = number_in(await alice.scans(page))
            async with page.socket() as socket:
                await until(socket, "confirming")
                stack.scenes.lose(operation, times=1)
                await socket.send(json.dumps({"type": "number", "seq": 3, "number": number}))
                assert "login" in await until(socket, "authorized")


async def test_a_question_left_by_a_crash_has_a_number_all_the_same(tmp_path: Path) -> None:
    """The sweeper asks; WeChat's next delivery of the scan brings the number to the person."""
    async with Matching(tmp_path) as stack:
        page, alice, container = await stack.begin(), Chatter(stack), stack.container
        step = await container.login.claim(
            SceneStr(page.scene_str),
            account="default",
            kind=Kind.OFFICIAL_ACCOUNT,
            openid=OpenId(alice.openid),
        )
        assert step.scene is not None
        await container.chat.finish_owed(container.accounts.named(None), step.scene)
        assert (await stack.type(page, number_in(await alice.scans(page)))).status_code == 204
        assert await page.state() == "authorized"


async def test_all_numbers_at_once_are_one_try(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """A hundred requests of one page with all hundred numbers: the first counts, right or wrong."""
    async with Matching(tmp_path, stores=any_scenes) as stack:
        page, victim = await stack.begin(), Chatter(stack, "victim")
        number = number_in(await victim.scans(page))
        guesses = [f"{n:02}" for n in range(100)]
        answers = await asyncio.gather(*(stack.type(page, guess) for guess in guesses))
        taken = [
            guess
            for guess, answer in zip(guesses, answers, strict=True)
            if answer.status_code == 204
        ]
        assert len(taken) == 1 and {answer.status_code for answer in answers} == {204, 409}
        assert await page.state() == ("authorized" if taken == [number] else "denied")
