"""One login, and every order in which its steps may come."""

import asyncio
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from services.clock import SystemClock
from services.scenes.begin import BeginRequest
from services.wechat.replies import text
from simulator.clock import TurnableClock
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP


async def test_a_scan_logs_the_page_in(tmp_path: Path) -> None:
    """The page sees the code, then the login; its token opens /api/me; the ack ends the scene."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            assert (await stack.scan(page))["outcome"] == "answered"
            document = await until(socket, "authorized")
            await socket.send(f'{{"type":"ack","seq":{document["seq"]}}}')
            assert (await until(socket, "consumed"))["seq"] == document["seq"] + 1
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1000
        login = document["login"]
        me = await stack.http.get("/api/me", headers={"Authorization": f"Bearer {login['token']}"})
        assert me.json()["id"] == login["user"]["id"]
        assert login["user"]["is_new"] is True and login["expires_in"] == 7200


async def test_the_status_documents_are_those_of_the_contract(tmp_path: Path) -> None:
    """Exactly the fields of docs/contract.md: nothing of the person or the secrets beside them."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            waiting = await status(socket)
            assert set(waiting) == {"type", "scene_str", "state", "seq", "expires_in"}
            assert (waiting["type"], waiting["seq"]) == ("status", 1)
            assert 170 < waiting["expires_in"] <= 180
            await stack.scan(page)
            authorized = await until(socket, "authorized")
        assert set(authorized) == {*waiting, "login"}
        assert set(authorized["login"]) == {"token", "token_type", "expires_in", "user"}
        assert set(authorized["login"]["user"]) == {"id", "is_new"}
        assert 50 < authorized["expires_in"] <= 60


async def test_a_scan_before_the_socket_opens_is_not_lost(tmp_path: Path) -> None:
    """The first status of the late socket has the login."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        async with page.socket() as socket:
            assert "login" in await status(socket)


async def test_a_second_login_of_the_same_person_is_not_new(tmp_path: Path) -> None:
    """Same user id, is_new only the first time, and another greeting in the chat."""
    async with Stack(tmp_path) as stack:
        first, second = await stack.begin(), await stack.begin()
        welcome = await stack.scan(first)
        again = await stack.scan(second)
        one = (await first.poll()).json()["login"]["user"]
        two = (await second.poll()).json()["login"]["user"]
        assert one["id"] == two["id"]
        assert (one["is_new"], two["is_new"]) == (True, False)
        site = f"127.0.0.1:{stack.port}"
        assert welcome["reply"] == text("registered", "zh-CN", site=site)
        assert again["reply"] == text("logged_in", "zh-CN", site=site)


async def test_a_scan_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """WeChat's code outlives the scene: the person is told to refresh, and no login happens."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, login={"scene_ttl_seconds": 30}) as stack:
        page = await stack.begin()
        await stack.advance(31)
        delivery = await stack.scan(page)
        assert delivery["reply"] == text("expired", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert await page.state() == "expired"


async def test_a_scan_after_everything_is_forgotten_is_told_so(tmp_path: Path) -> None:
    """A scene that the store has forgotten is an expired code, in the account's language."""
    accounts = {"default": {"language": "en"}}
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, wechat={"accounts": accounts}) as stack:
        page = await stack.begin()
        await stack.advance(400)
        request = stack.scan_of(page)
        reply = stack.sender().read(await stack.sender().send(request), "alice")
        assert reply.text == text("expired", "en", site=f"127.0.0.1:{stack.port}")
        assert (await page.poll()).status_code == 401


async def test_a_scan_after_cancel_changes_nothing(tmp_path: Path) -> None:
    """The person is told that the page gave up."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(lang="en")
        assert (await page.cancel()).status_code == 204
        delivery = await stack.scan(page)
        assert delivery["reply"] == text("cancelled", "en", site=f"127.0.0.1:{stack.port}")
        assert await page.state() == "cancelled"


async def test_scanning_twice_is_one_login(tmp_path: Path) -> None:
    """The second scan, another event, is told that all is done; the token stays the same one."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        await stack.scan(page)
        before = (await page.poll()).json()
        await stack.advance(5)
        delivery = await stack.scan(page)
        after = (await page.poll()).json()
        assert delivery["reply"] == text("repeated", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert before["seq"] == after["seq"]
        claims = [
            stack.container.issuer.verify(d["login"]["token"], stack.now).jti
            for d in (before, after)
        ]
        assert claims[0] == claims[1]


async def test_the_first_to_scan_has_the_scene(tmp_path: Path) -> None:
    """A second person is told so in the chat and changes nothing on the page."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page, "alice")
        before = (await page.poll()).json()
        delivery = await stack.scan(page, "bob")
        after = (await page.poll()).json()
        assert delivery["reply"] == text("already_used", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert before["login"]["user"] == after["login"]["user"]
        assert before["seq"] == after["seq"]


async def test_two_people_at_the_same_moment_make_one_login(tmp_path: Path) -> None:
    """Whichever wins, exactly one of them is logged in."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        people = ("alice", "bob")
        answers = [
            sender.read(answer, person).text
            for person, answer in zip(
                people,
                await asyncio.gather(*(sender.send(stack.scan_of(page, p)) for p in people)),
                strict=True,
            )
        ]
        site = f"127.0.0.1:{stack.port}"
        assert sorted(answers) == sorted(
            [text("registered", "zh-CN", site=site), text("already_used", "zh-CN", site=site)]
        )
        assert (await page.poll()).json()["seq"] == 3


async def test_following_by_the_code_logs_in(tmp_path: Path) -> None:
    """A newcomer causes `subscribe` with qrscene_, and the SCAN after it is one and the same."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        follow = stack.scan_of(page, Event="subscribe", EventKey=f"qrscene_{page.scene_str}")
        scan = stack.scan_of(page)
        replies = [sender.read(await sender.send(push), "alice").text for push in (follow, scan)]
        site = f"127.0.0.1:{stack.port}"
        assert replies == [text(o, "zh-CN", site=site) for o in ("registered", "repeated")]


@pytest.mark.parametrize("spelling", ["SCAN", "scan", "Scan", "sCaN"])
async def test_scan_in_any_spelling_logs_in(tmp_path: Path, spelling: str) -> None:
    """The documents say SCAN; lower case has been seen."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        await sender.send(stack.scan_of(page, Event=spelling))
        assert await page.state() == "authorized"


@pytest.mark.parametrize("lang", ["zh-CN", "zh-TW", "en", "ja"])
async def test_the_reply_is_in_the_language_of_the_page(tmp_path: Path, lang: str) -> None:
    """Encrypted in safe mode, and naming the site as configured."""
    async with Stack(tmp_path, wechat={"site_name": "Teashop"}) as stack:
        page, sender = await stack.begin(lang=lang), stack.sender()
        reply = sender.read(await sender.send(stack.scan_of(page)), "alice")
        assert reply.encrypted and reply.text == text("registered", lang, site="Teashop")


async def test_an_unknown_language_falls_back_to_the_accounts(tmp_path: Path) -> None:
    """The page may name any language; the account's own is the answer to strange ones."""
    accounts = {"default": {"language": "en"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        page, sender = await stack.begin(lang="tlh"), stack.sender()
        reply = sender.read(await sender.send(stack.scan_of(page)), "alice")
        assert reply.text == text("registered", "en", site=f"127.0.0.1:{stack.port}")


async def test_five_hundred_first_logins_of_one_person_make_one_user(tmp_path: Path) -> None:
    """A hundred at once, each on a scene of its own: one user id, and is_new exactly once."""
    async with Stack(tmp_path) as stack:
        begin, sender = stack.container.begin.begin, stack.sender()
        begun = [await begin(BeginRequest(address="127.0.0.1")) for _ in range(500)]
        now = int(stack.now)
        events = [sender.event("SCAN", "alice", now, EventKey=b.scene.scene_str) for b in begun]
        pushes = [sender.sealed(event, now) for event in events]
        for first in range(0, 500, 100):  # all of them in WeChat's five seconds is a benchmark
            await asyncio.gather(*(stack.receive(push) for push in pushes[first : first + 100]))
        scenes = [await stack.container.scenes.get(b.scene.scene_str) for b in begun]
        assert len({scene.user_id for scene in scenes}) == 1
        assert sum(scene.claims.is_new for scene in scenes) == 1
