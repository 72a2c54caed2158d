"""One address at WeChat, two systems: what is no login goes on to the other one, as received."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.wechat.callback import CallbackGate
from services.wechat.forwarder import HOPS_HEADER, MAX_ANSWER_BYTES, MOST_HOPS
from services.wechat.messages import TextMessage
from services.wechat.replies import text
from tests.conftest import UnexpectedLogs
from tests.flows.chatter import Chatter
from tests.flows.other_system import OtherSystem, other_system
from tests.stack import ON_LOOP, Stack, eventually

pytestmark = ON_LOOP


def forwarding(tmp_path: Path, system: OtherSystem, **account: Any) -> Stack:
    """A server that passes on to `system`."""
    accounts = {"default": {"forward_url": system.url, **account}}
    return Stack(tmp_path, wechat={"accounts": accounts})


def gate_of(stack: Stack) -> CallbackGate:
    """The other system's own check, made of the same secrets."""
    settings = stack.container.accounts.named(None).settings
    return CallbackGate(
        app_id=settings.app_id,
        callback_token=settings.callback_token.get_secret_value(),
        encoding_aes_key=settings.encoding_aes_key.get_secret_value(),
        mode=settings.mode,
    )


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
async def test_a_message_arrives_as_wechat_sent_it(tmp_path: Path, mode: str) -> None:
    """Query and body byte for byte, so that the other system's own check passes."""
    async with other_system() as system, forwarding(tmp_path, system, mode=mode) as stack:
        alice = Chatter(stack)
        push = alice.text("你好 & <hello> 😀")
        assert await alice.sends(push) == ""
        (request,) = system.seen
        assert request.body == push.body
        assert request.query == f"tenant=7&{urlsplit(push.url).query}"
        assert request.headers["Content-Type"] == push.content_type
        opened = gate_of(stack).open(dict(parse_qsl(request.query)), request.body, stack.now)
        assert isinstance(opened.event, TextMessage)
        assert opened.event.text == "你好 & <hello> 😀"


async def test_its_answer_is_our_answer(tmp_path: Path) -> None:
    """Sealed by the other system, and not changed on the way."""
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        alice = Chatter(stack)
        push = alice.text("hello")
        gate = gate_of(stack)
        opened = gate.open(dict(parse_qsl(urlsplit(push.url).query)), push.body, stack.now)
        system.answer = gate.seal(opened, "We have moved.", stack.now)
        answer = await alice.send(push)
        assert answer.content == system.answer
        assert answer.headers["Content-Type"] == "application/xml"
        assert await alice.sends(push) == "We have moved."


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, b"<html>oops</html>"), (302, b""), (404, b""), (200, b"x" * (MAX_ANSWER_BYTES + 1))],
    ids=["500", "302", "404", "too large"],
)
async def test_an_unusable_answer_is_success(
    tmp_path: Path, status: int, answer: bytes, logs: UnexpectedLogs
) -> None:
    """The person never reads WeChat's complaint because of the other system."""
    logs.expect("the forward address")
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        system.status, system.answer = status, answer
        alice = Chatter(stack)
        assert (await alice.send(alice.text("hello"))).content == b"success"
        assert len(system.seen) == 1


@pytest.mark.parametrize(
    "content_type", ["", "text/xml; charset=\xe4\xb8\xad", "text/xml; charset=\xff", "x" * 5000]
)
async def test_an_odd_content_type_stops_no_answer(tmp_path: Path, content_type: str) -> None:
    """A header that the server could not write is left out; the answer is what counts."""
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        system.content_type = content_type
        alice = Chatter(stack)
        answer = await alice.send(alice.text("hello"))
        assert (answer.content, answer.headers["Content-Type"]) == (b"success", "text/xml")


async def test_silence_and_absence_are_success(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """A system that hangs is given up within the deadline, as is one that is not there."""
    logs.expect("the forward address")
    async with other_system() as system:
        accounts = {"default": {"forward_url": system.url}}
        wechat = {"accounts": accounts, "callback_deadline_seconds": 1}
        async with Stack(tmp_path, wechat=wechat) as stack:
            system.hangs = asyncio.Event()
            alice = Chatter(stack)
            assert (await alice.send(alice.text("hello"))).content == b"success"
    accounts = {"default": {"forward_url": "http://127.0.0.1:9/"}}
    async with Stack(tmp_path / "again", wechat={"accounts": accounts}) as stack:
        alice = Chatter(stack)
        assert (await alice.send(alice.text("hello"))).content == b"success"


async def test_logins_stay_here(tmp_path: Path) -> None:
    """Scans, follows by a code, and typed codes: the other system never hears of them."""
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        page, typed, alice = await stack.begin(), await stack.begin(kind="code"), Chatter(stack)
        assert await alice.scans(page) == text(
            "registered", "zh-CN", site=f"127.0.0.1:{stack.port}"
        )
        assert await alice.scans(page) != ""
        await alice.says(typed.document["code"])
        assert await typed.state() == "authorized" and system.seen == []


async def test_copies_of_logins_delay_nothing(tmp_path: Path) -> None:
    """With ``forward_logins`` the other system gets the push too; its answer is ignored."""
    async with (
        other_system() as system,
        forwarding(tmp_path, system, forward_logins=True) as stack,
    ):
        system.hangs, system.answer = asyncio.Event(), b"<xml>another reply</xml>"
        page, alice = await stack.begin(), Chatter(stack)
        push = alice.scan(page)
        assert await alice.sends(push) == text(
            "registered", "zh-CN", site=f"127.0.0.1:{stack.port}"
        )

        async def copied() -> bool:
            return len(system.seen) == 1

        await eventually(copied)
        assert system.seen[0].body == push.body
        system.hangs.set()


async def test_what_goes_on_besides_logins(tmp_path: Path) -> None:
    """Follows without a code, unfollows, menus, places, foreign codes, pictures, other numbers."""
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        alice = Chatter(stack)
        pushes = [
            alice.event("subscribe"),
            alice.event("subscribe", EventKey="qrscene_123"),
            alice.event("SCAN", EventKey="another-systems-scene"),
            alice.event("unsubscribe"),
            alice.event("CLICK", EventKey="MENU"),
            alice.event("LOCATION", Latitude="1", Longitude="2", Precision="3"),
            alice.event("TEMPLATESENDJOBFINISH", MsgID="1", Status="success"),
            alice.text("123456"),
            alice.text("1"),
        ]
        for push in pushes:
            assert await alice.sends(push) == ""
        assert [request.body for request in system.seen] == [push.body for push in pushes]


async def test_an_answer_in_the_chat_stays_here_and_the_rest_goes_on(tmp_path: Path) -> None:
    """With ``confirm: always`` only the person who is asked has their messages read."""
    async with other_system() as system:
        accounts = {"default": {"forward_url": system.url}}
        login = {"confirm": "always"}
        async with Stack(tmp_path, wechat={"accounts": accounts}, login=login) as stack:
            page, alice, bob = await stack.begin(), Chatter(stack), Chatter(stack, "bob")
            await alice.scans(page)
            yes = alice.text("1")
            for push in (alice.text("what?"), yes, yes):
                assert await alice.sends(push) != ""
            assert system.seen == []
            await bob.says("1")
            await alice.says("1")
            assert len(system.seen) == 2


async def test_a_ring_of_servers_ends(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Each server adds a hop, and the last one answers for itself."""
    logs.expect("not forwarded: hops")
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        alice = Chatter(stack)
        for hops, sent in ((0, 1), (MOST_HOPS - 1, 1), (MOST_HOPS, 0), (999, 0)):
            system.seen.clear()
            push = alice.text("hello")
            headers = {"Content-Type": push.content_type, HOPS_HEADER: str(hops)}
            answer = await stack.http.post(push.url, content=push.body, headers=headers)
            assert (answer.content, len(system.seen)) == (b"success", sent)
            if sent:
                assert system.seen[0].headers[HOPS_HEADER] == str(hops + 1)


async def test_a_server_behind_another_logs_people_in(tmp_path: Path) -> None:
    """What another scanpush passes on is taken like WeChat's own, and the reply goes back."""
    async with Stack(tmp_path / "behind") as behind:
        settings = behind.container.accounts.named(None).settings
        account = {
            "app_id": settings.app_id,
            "app_secret": "a" * 32,
            "callback_token": settings.callback_token.get_secret_value(),
            "encoding_aes_key": settings.encoding_aes_key.get_secret_value(),
            "forward_url": f"http://127.0.0.1:{behind.port}/wechat/callback",
        }
        wechat = {"accounts": {"default": account}, "codes_ahead": 0}
        async with Stack(tmp_path / "front", wechat=wechat) as front:
            page = await behind.begin(kind="code")
            code = page.document["code"]
            alice = Chatter(behind)
            push = alice.text(code)
            url = f"http://127.0.0.1:{front.port}/wechat/callback?{urlsplit(push.url).query}"
            answer = await front.http.post(url, content=push.body)
            assert answer.status_code == 200
            site = f"127.0.0.1:{behind.port}"
            reply = behind.sender().read(answer, "alice").text
            assert reply == text("registered", "zh-CN", site=site)
            assert await page.state() == "authorized"


async def test_a_forgery_goes_nowhere(tmp_path: Path) -> None:
    """Only what is verified is passed on."""
    async with other_system() as system, forwarding(tmp_path, system) as stack:
        alice = Chatter(stack)
        push = alice.text("hello")
        answer = await stack.http.post(push.url, content=push.body.replace(b"Encrypt>", b"Enc>"))
        forged = await stack.http.post(f"{push.url}0", content=push.body[:-9] + b"</xml>")
        assert {answer.status_code, forged.status_code} <= {400, 403} and system.seen == []
