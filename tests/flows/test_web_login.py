"""Web login inside WeChat: from the page's code to the login on its socket."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.web_login.texts import OUTCOMES
from services.wechat.reply_texts import LANGUAGES
from tests.conftest import UnexpectedLogs
from tests.flows.browsers import Walker, asks, title, value_of
from tests.stack import ON_LOOP, Page, Stack, status, until

pytestmark = ON_LOOP

EXCHANGE = "/sns/oauth2/access_token"


async def begin(stack: Stack, **body: str) -> Page:
    return await stack.begin(**{"kind": "web", "lang": "en", **body})


async def test_the_document_shows_our_own_address(tmp_path: Path) -> None:
    """`qr.content` begins the web login; no code of WeChat's quota is spent."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        page = await begin(stack)
        own = f"http://127.0.0.1:{stack.port}/oauth/wechat/start?scene={page.scene_str}"
        assert page.document["qr"]["content"] == own and "wechat_image" not in page.document["qr"]
        for kind in ("svg", "png"):
            assert (await stack.http.get(page.document["qr"][kind])).status_code == 200
        assert await stack.wechat_calls("/cgi-bin/qrcode/create") == 0


async def test_the_link_to_wechat_is_exact(tmp_path: Path) -> None:
    """Parameters in WeChat's order, the fragment, and a state that it accepts."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack) as phone:
            off = await phone.start(page)
        parts = urlsplit(off.headers["Location"])
        query = parse_qsl(parts.query)
        names = ["appid", "redirect_uri", "response_type", "scope", "state"]
        assert [name for name, _ in query] == names and parts.fragment == "wechat_redirect"
        values = dict(query)
        assert values["redirect_uri"] == f"http://127.0.0.1:{stack.port}/oauth/wechat/callback"
        assert values["scope"] == "snsapi_base" and values["state"].isalnum()


async def test_who_unfollows_while_asked_is_not_logged_in(tmp_path: Path) -> None:
    """The page learns that it is over, and the button on the phone does nothing any more."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with page.socket() as socket, Walker(stack) as phone:
            shown = await phone.walk(page)
            await until(socket, "scanned")
            await asyncio.sleep(1)  # CreateTime has whole seconds: the unfollow comes after
            await stack.simulator("unfollow", person="alice")
            await until(socket, "cancelled")
            await phone.answer(shown, allow=True)
            assert (await page.poll()).json()["state"] == "cancelled"


async def test_a_pc_page_is_finished_from_the_phone_after_a_question(tmp_path: Path) -> None:
    """The page sees the scan at once and the login after the button."""
    async with Stack(tmp_path, wechat={"site_name": "Tea House"}) as stack:
        page = await begin(stack)
        async with page.socket() as socket, Walker(stack) as phone:
            assert (await status(socket))["state"] == "waiting"
            shown = await phone.walk(page)
            assert shown.status_code == 200 and asks(shown)
            assert title(shown) == "Log in to Tea House?"
            await until(socket, "scanned")
            landed = await phone.answer(shown, allow=True)
            assert title(landed) == "You are logged in"
            assert (await until(socket, "authorized"))["login"]["user"]["is_new"] is True


async def test_the_question_names_browser_and_time(tmp_path: Path) -> None:
    """What the screen's browser claims to be, and since when it shows the code."""
    agent = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
    async with Stack(tmp_path) as stack:
        stack.http.headers["User-Agent"] = agent
        page = await begin(stack)
        async with Walker(stack) as phone:
            shown = await phone.walk(page)
        assert "Chrome, Windows" in shown.text and "(UTC+8)" in shown.text


async def test_refusing_ends_the_scene(tmp_path: Path) -> None:
    """The page is told, the phone names the login; allowing it afterwards is too late."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack) as phone:
            shown = await phone.walk(page)
            refused = await phone.answer(shown, allow=False)
            assert title(refused) == "Refused"
            first = page.scene_str[:8].upper()
            assert f"Reference {first[:4]}-{first[4:]}" in refused.text
            assert await page.state() == "denied"
            assert title(await phone.answer(shown, allow=True)) == "Refused"
            assert await page.state() == "denied"


async def test_a_page_inside_wechat_finishes_silently_and_goes_on(tmp_path: Path) -> None:
    """With its own begin cookie: no question, and `next` with the login to collect there."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack, page) as phone:
            landed = await phone.walk(page, next="/members?tab=1#top")
            assert (landed.status_code, landed.headers["Location"]) == (302, "/members?tab=1#top")
        assert "login" in (await page.poll()).json()


async def test_without_next_the_page_says_so(tmp_path: Path) -> None:
    """Nowhere to go on to."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack, page) as phone:
            assert title(await phone.walk(page)) == "You are logged in"
        assert await page.state() == "authorized"


@pytest.mark.parametrize("route", ["wechat", "website"])
async def test_a_phone_that_asks_twice_exchanges_once(tmp_path: Path, route: str) -> None:
    """Prefetch and reload: at once and again later, one exchange and one and the same page."""
    kind = {"wechat": "web", "website": "website"}[route]
    async with Stack(tmp_path) as stack:
        page = await begin(stack, kind=kind)
        async with Walker(stack) as phone:
            back = await phone.to_wechat_and_back(page, route=route)
            shown = await asyncio.gather(*(phone.http.get(back) for _ in range(4)))
            shown.append(await phone.http.get(back))
            assert len({answer.text for answer in shown}) == 1 and asks(shown[0])
            twice = await asyncio.gather(*(phone.answer(shown[0], True) for _ in range(3)))
            assert {title(answer) for answer in twice} == {"You are logged in"}
        assert await stack.wechat_calls(EXCHANGE) == 1
        assert await page.state() == "authorized"


async def test_name_and_picture_come_where_they_are_granted(tmp_path: Path) -> None:
    """Scope snsapi_userinfo: the person's profile, and their first character on the screen."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        await stack.simulator("people", person="alice", nickname="Alice", avatar="https://x/a.png")
        page = await begin(stack)
        async with Walker(stack) as phone:
            shown = await phone.walk(page)
            assert "Alice" in shown.text
            assert (await page.poll()).json()["user"] == {"name": "A**", "avatar": ""}
            await phone.answer(shown, allow=True)
        user = (await page.poll()).json()["user"]
        assert user == {"name": "Alice", "avatar": "https://x/a.png"}


async def test_a_profile_that_does_not_come_costs_no_login(tmp_path: Path) -> None:
    """sns/userinfo fails: logged in without a name."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        await stack.simulator("faults", path="/sns/userinfo", errcode=42001, times=0)
        page = await begin(stack)
        async with Walker(stack, page) as phone:
            await phone.walk(page)
        document = (await page.poll()).json()
        assert document["state"] == "authorized" and "user" not in document


async def test_a_second_person_changes_nothing(tmp_path: Path) -> None:
    """The first who comes back from WeChat has the scene."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack) as first, Walker(stack) as second:
            shown = await first.walk(page, "alice")
            late = await second.walk(page, "bob")
            assert (late.status_code, title(late)) == (409, "Already used")
            await first.answer(shown, allow=True)
        assert await page.state() == "authorized"


@pytest.mark.parametrize("registration", ["ask", "deny"])
async def test_strangers_meet_the_policy(tmp_path: Path, registration: str) -> None:
    """The same as with every login kind."""
    async with Stack(tmp_path, login={"registration": registration}) as stack:
        page = await begin(stack)
        async with Walker(stack, page) as phone:
            landed = await phone.walk(page)
        titles = {"ask": "One more step", "deny": "No account"}
        states = {"ask": "registering", "deny": "failed"}
        assert title(landed) == titles[registration]
        assert await page.state() == states[registration]


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_pages_speak_the_language_of_the_scene(tmp_path: Path, lang: str) -> None:
    """As the login page was read, not as the phone is set."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack, lang=lang)
        async with Walker(stack, page) as phone:
            landed = await phone.walk(page)
        assert title(landed) == OUTCOMES["done_here"][lang][0]
        assert f'<html lang="{lang}">' in landed.text


async def test_an_unknown_scene_and_an_ended_one_look_the_same(tmp_path: Path) -> None:
    """410 and a small page for people."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        await page.cancel()
        async with Walker(stack) as phone:
            ended = await phone.start(page)
            unknown = await phone.http.get("/oauth/wechat/start?scene=nonsense")
        assert ended.status_code == unknown.status_code == 410
        assert ended.headers["Content-Type"].startswith("text/html")
        assert title(ended) == title(unknown)


async def test_wechat_that_does_not_answer_is_told_and_may_be_tried_again(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """502 as a page; the same address works once WeChat is back."""
    logs.expect("wechat_unavailable")
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack, page) as phone:
            back = await phone.to_wechat_and_back(page)
            await stack.simulator("faults", path=EXCHANGE, status=500, times=0)
            failed = await phone.http.get(back)
            assert failed.status_code == 502 and "<h1>" in failed.text
            await stack.no_faults()
            assert title(await phone.http.get(back)) == "You are logged in"


async def test_a_failing_store_is_a_page_too(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """503 with Retry-After, in the browser's language."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True) as stack:
        page = await begin(stack)
        async with Walker(stack) as phone:
            stack.scenes.refuse("remember")
            answer = await phone.start(page)
            stack.scenes.heal()
        assert answer.status_code == 503 and "Retry-After" in answer.headers
        assert "<h1>" in answer.text


async def test_head_spends_nothing(tmp_path: Path) -> None:
    """Link checkers ask so: 405."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack) as phone:
            back = await phone.to_wechat_and_back(page)
            assert (await phone.http.head(back)).status_code == 405
            assert asks(await phone.http.get(back))


async def test_a_flood_of_starts_is_limited(tmp_path: Path) -> None:
    """One scene is opened by a person or two."""
    async with Stack(tmp_path) as stack:
        page = await begin(stack)
        async with Walker(stack) as phone:
            for _ in range(20):
                assert (await phone.start(page)).status_code == 302
            assert (await phone.start(page)).status_code == 429


async def test_the_log_holds_no_secret_of_a_walk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG: no code, state, cookie, one-time value, openid or name."""
    caplog.set_level("DEBUG")
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        await stack.simulator("people", person="alice", nickname="Nightingale")
        page = await begin(stack)
        async with Walker(stack) as phone:
            back = await phone.to_wechat_and_back(page)
            shown = await phone.http.get(back)
            await phone.answer(shown, allow=True)
            secrets = [value for _, value in parse_qsl(urlsplit(back).query)]
            secrets += [value_of(shown), *phone.http.cookies.values(), page.begin_cookie]
        secrets += [stack.sender().openid("alice"), "Nightingale"]
        ours = [r.getMessage() for r in caplog.records if r.name.startswith("scanpush")]
        assert len(secrets) == 7 and any(page.scene_str in line for line in ours)
        for secret in secrets:
            assert not any(secret in line for line in ours)
