"""C22: a code of WeChat is good once, for one app, and for a real person."""

from pathlib import Path
from typing import Any

import pytest

from simulator.config import MINI_PROGRAM_APP_ID
from tests.conftest import UnexpectedLogs
from tests.flows.browsers import Walker, title
from tests.flows.test_mini_program_login import Program, error
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_a_replayed_mini_program_code_is_refused(tmp_path: Path) -> None:
    """By each route of the mini program."""
    async with Stack(tmp_path) as stack:
        page, program = await stack.begin(kind="mini_program"), Program(stack)
        code = await program.code()
        assert (await program.post("login", code=code)).status_code == 200
        assert error(await program.post("login", code=code)) == (400, "bad_request")
        for action in ("scan", "confirm"):
            body = {"scene": page.scene_str, "allow": True, "code": code}
            assert error(await program.post(action, **body)) == (400, "bad_request")
        assert await page.state() == "waiting"


async def test_codes_of_other_apps_are_refused(tmp_path: Path) -> None:
    """A web code by the mini program's routes, a mini program's code and a website's by the web
    callback."""
    async with Stack(tmp_path) as stack:
        web, site = await stack.begin(kind="web"), await stack.begin(kind="website")
        async with Walker(stack) as phone, Walker(stack, site) as popup:
            back = await phone.to_wechat_and_back(web)
            code = back.partition("code=")[2].partition("&")[0]
            assert error(await Program(stack).post("login", code=code)) == (400, "bad_request")
            websites = await popup.to_wechat_and_back(site, route="website")
            for foreign in (
                await Program(stack).code(),
                websites.partition("code=")[2].partition("&")[0],
            ):
                query = {"code": foreign, "state": (await _state(phone, web))}
                answer = await phone.http.get("/oauth/wechat/callback", params=query)
                assert answer.status_code == 400
        assert (await web.state(), await site.state()) == ("waiting", "waiting")


async def _state(phone: Walker, page: Any) -> str:
    location = (await phone.start(page)).headers["Location"]
    return location.partition("state=")[2].partition("#")[0].partition("&")[0]


@pytest.mark.parametrize("same_browser", [True, False])
async def test_a_replayed_web_code_is_refused(tmp_path: Path, same_browser: bool) -> None:
    """The code of one login under another state: refused, by the server and by WeChat."""
    async with Stack(tmp_path) as stack:
        first, second = await stack.begin(kind="web"), await stack.begin(kind="web", lang="en")
        async with Walker(stack) as phone, Walker(stack) as thief:
            back = await phone.to_wechat_and_back(first)
            await phone.http.get(back)
            code = back.partition("code=")[2].partition("&")[0]
            replayer = phone if same_browser else thief
            query = {"code": code, "state": await _state(replayer, second)}
            refused = await replayer.http.get("/oauth/wechat/callback", params=query)
            assert (refused.status_code, title(refused)) == (400, "WeChat did not confirm")
        assert await second.state() == "waiting"


@pytest.mark.parametrize("own", [True, False])
async def test_a_snapshot_user_is_never_logged_in(tmp_path: Path, own: bool) -> None:
    """WeChat made the person up: no claim, no account, a hint what to do."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        page = await stack.begin(kind="web", lang="en")
        async with Walker(stack, page if own else None) as phone:
            url = (await phone.start(page)).headers["Location"]
            shown = await phone.http.get(await phone.decide_at_wechat(url, snapshot=True))
        assert (shown.status_code, title(shown)) == (403, "Use the full service")
        assert await page.state() == "waiting"
        people = stack.container.backend.database.reader.execute("SELECT count(*) FROM users")
        assert people.fetchone() == (0,)


@pytest.mark.parametrize("known", [True, False])
async def test_the_log_tells_whether_a_snapshot_user_is_known(
    tmp_path: Path, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """WeChat has flagged real people: they are refused too, but the operator can see it."""
    caplog.set_level("INFO", "scanpush.web_login")
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        if known:
            first = await stack.begin(kind="web", lang="en")
            async with Walker(stack, first) as phone:
                await phone.walk(first, "alice (snapshot)")
            assert await first.state() == "authorized"
        page = await stack.begin(kind="web", lang="en")
        async with Walker(stack, page) as phone:
            url = (await phone.start(page)).headers["Location"]
            shown = await phone.http.get(await phone.decide_at_wechat(url, snapshot=True))
        assert (shown.status_code, title(shown)) == (403, "Use the full service")
        assert await page.state() == "waiting"
    assert ("snapshot flag on a known person" in caplog.text) is known


async def test_the_wrong_openid_confirms_nothing(tmp_path: Path) -> None:
    """Mini program: only the person who scanned decides."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="mini_program")
        await Program(stack, "alice").scan(page)
        assert error(await Program(stack, "mallory").confirm(page)) == (409, "already_claimed")
        assert await page.state() == "scanned"


WRONG_KINDS = ["official_account", "web", "website", "code"]


@pytest.mark.parametrize("kind", WRONG_KINDS)
async def test_other_kinds_are_no_business_of_the_mini_program(tmp_path: Path, kind: str) -> None:
    """409 for every other kind of scene."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind=kind)
        for answer in (await Program(stack).scan(page), await Program(stack).confirm(page)):
            assert error(answer) == (409, "wrong_door")
        assert await page.state() == "waiting"


@pytest.mark.parametrize("kind", ["official_account", "mini_program", "code"])
async def test_other_kinds_are_no_business_of_the_web_routes(tmp_path: Path, kind: str) -> None:
    """A page for people, with 409; and each of the two refuses the other's."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind=kind, lang="en")
        async with Walker(stack, page) as phone:
            for route in ("wechat", "website"):
                answer = await phone.start(page, route)
                assert (answer.status_code, title(answer)) == (409, "Not this way")
            for other, route in (("web", "website"), ("website", "wechat")):
                assert (await phone.start(await stack.begin(kind=other), route)).status_code == 409


@pytest.mark.parametrize("kind", ["web", "website", "mini_program", "code"])
async def test_a_scan_in_the_chat_finishes_no_other_kind(tmp_path: Path, kind: str) -> None:
    """A genuine scan event with that scene: 200, and nothing changes."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind=kind)
        push = stack.scan_of(page)
        assert (await stack.http.post(push.url, content=push.body)).status_code == 200
        assert await page.state() == "waiting"


async def test_the_session_key_is_nowhere(
    tmp_path: Path, logs: UnexpectedLogs, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in an answer, not in the log at DEBUG, not on the disk."""
    caplog.set_level("DEBUG")
    async with Stack(tmp_path) as stack:
        world = stack.simulation._simulated.world
        programs, alice = world.mini_programs, world.people.named("alice")
        key = programs.session_key(alice, programs.app(MINI_PROGRAM_APP_ID))
        page, program = await stack.begin(kind="mini_program"), Program(stack)
        answers = [await program.post("login"), await program.scan(page)]
        answers.append(await program.confirm(page))
        for answer in answers:
            assert answer.status_code == 200
            assert key not in answer.text and "session" not in answer.text
        assert key not in caplog.text
        for file in tmp_path.iterdir():
            assert key.encode() not in file.read_bytes()
