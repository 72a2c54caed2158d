"""The mini program: its own login, and pages that show a mini-program code."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Page, Stack, status, until

pytestmark = ON_LOOP

PICTURE = "/wxa/getwxacodeunlimit"


class Program:
    """The mini program on a person's phone."""

    def __init__(self, stack: Stack, person: str = "alice") -> None:
        self._stack = stack
        self._person = person

    async def code(self) -> str:
        """What wx.login gives."""
        login = await self._stack.simulator("mini_program/login", person=self._person)
        return str(login["code"])

    async def post(self, action: str, **body: Any) -> httpx.Response:
        body = {"code": await self.code(), **body}
        return await self._stack.http.post(f"/api/miniprogram/{action}", json=body)

    async def scan(self, page: Page) -> httpx.Response:
        return await self.post("scan", scene=page.scene_str.replace("-", ""))

    async def confirm(self, page: Page, allow: bool = True) -> httpx.Response:
        return await self.post("confirm", scene=page.scene_str, allow=allow)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_its_own_login_brings_the_login_document(tmp_path: Path) -> None:
    """As in a status, and new only once; nothing of WeChat's session in it."""
    async with Stack(tmp_path) as stack:
        program = Program(stack)
        first, second = (await program.post("login")), (await program.post("login"))
        assert set(first.json()) == {"login"} and "session" not in first.text
        login = first.json()["login"]
        assert set(login) == {"token", "token_type", "expires_in", "user"}
        assert login["user"]["is_new"] and not second.json()["login"]["user"]["is_new"]
        assert login["user"]["id"] == second.json()["login"]["user"]["id"]
        headers = {"Authorization": f"Bearer {login['token']}"}
        me = (await stack.http.get("/api/me", headers=headers)).json()
        assert (me["id"], me["account"]) == (login["user"]["id"], "default")


ERRORS = [
    ({"errcode": 40029}, 400, "bad_request"),
    ({"errcode": 40163}, 400, "bad_request"),
    ({"errcode": 40226}, 400, "bad_request"),
    ({"errcode": 45011}, 503, "wechat_quota"),
    ({"errcode": -1}, 502, "wechat_unavailable"),
    ({"errcode": 40125}, 502, "wechat_credentials"),
    ({"status": 500}, 502, "wechat_unavailable"),
]


@pytest.mark.parametrize(("fault", "http_status", "code"), ERRORS, ids=str)
async def test_each_refusal_of_wechat_has_its_answer(
    tmp_path: Path, fault: dict[str, Any], http_status: int, code: str, logs: UnexpectedLogs
) -> None:
    """A code that is no good names its field; the rest is WeChat's or the operator's matter."""
    logs.expect("wechat_|WeChat refuses|bad_request")
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/sns/jscode2session", times=0, **fault)
        answer = await Program(stack).post("login")
        assert error(answer) == (http_status, code)
        assert answer.json()["error"].get("field") == ("code" if http_status == 400 else None)


async def test_the_picture_is_wechats_and_fetched_when_looked_at(tmp_path: Path) -> None:
    """Beginning calls WeChat for nothing; ten looks at once are one call."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        page = await stack.begin(kind="mini_program")
        assert set(page.document["qr"]) == {"expires_in", "png"}
        assert await stack.wechat_calls(PICTURE) == 0
        looks = await asyncio.gather(
            *(stack.http.get(page.document["qr"]["png"]) for _ in range(10))
        )
        assert {look.status_code for look in looks} == {200}
        assert looks[0].headers["Content-Type"] in ("image/png", "image/jpeg")
        assert looks[0].content[:3] in (b"\x89PN", b"\xff\xd8\xff")
        assert await stack.wechat_calls(PICTURE) == 1
        assert await stack.wechat_calls("/cgi-bin/qrcode/create") == 0
        svg = f"{page.document['status']}/qr.svg"
        assert (await stack.http.get(svg)).status_code == 404


async def test_a_picture_that_failed_is_asked_for_again(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """The page may load it again."""
    logs.expect("wechat_|WeChat refuses")
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="mini_program")
        await stack.simulator("faults", path=PICTURE, errcode=45009)
        assert error(await stack.http.get(page.document["qr"]["png"])) == (503, "wechat_quota")
        await stack.no_faults()
        assert (await stack.http.get(page.document["qr"]["png"])).status_code == 200


async def test_scan_and_confirm_log_the_page_in(tmp_path: Path) -> None:
    """The scene by its 32 characters or by its own; the socket hears both steps."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="mini_program")
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            scanned = await Program(stack).scan(page)
            assert (scanned.status_code, scanned.json()) == (200, {"state": "scanned"})
            await until(socket, "scanned")
            confirmed = await Program(stack).confirm(page)
            assert (confirmed.status_code, confirmed.json()) == (200, {"state": "authorized"})
            assert (await until(socket, "authorized"))["login"]["user"]["is_new"]
        assert (await stack.http.get(page.document["qr"]["png"])).status_code == 404


async def test_refusing_ends_in_denied(tmp_path: Path) -> None:
    """And stays so; the same answer again is no error."""
    async with Stack(tmp_path) as stack:
        page, program = await stack.begin(kind="mini_program"), Program(stack)
        await program.scan(page)
        for _ in range(2):
            assert (await program.confirm(page, allow=False)).json() == {"state": "denied"}
        assert error(await program.confirm(page, allow=True)) == (410, "gone")
        assert await page.state() == "denied"


async def test_everything_may_be_sent_again(tmp_path: Path) -> None:
    """A phone on a bad line: the state as it is, never an error."""
    async with Stack(tmp_path) as stack:
        page, program = await stack.begin(kind="mini_program"), Program(stack)
        for _ in range(2):
            assert (await program.scan(page)).json() == {"state": "scanned"}
        for _ in range(2):
            assert (await program.confirm(page)).json() == {"state": "authorized"}
        assert (await program.scan(page)).json() == {"state": "authorized"}


async def test_a_second_person_is_told(tmp_path: Path) -> None:
    """409, at the scan as at the confirmation, and nothing changes."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="mini_program")
        await Program(stack, "alice").scan(page)
        thief = Program(stack, "mallory")
        assert error(await thief.scan(page)) == (409, "already_claimed")
        for allow in (True, False):
            assert error(await thief.confirm(page, allow)) == (409, "already_claimed")
        assert await page.state() == "scanned"


async def test_scenes_that_cannot_be_scanned(tmp_path: Path) -> None:
    """Unknown, ended, or of another kind; the code is not even asked about."""
    async with Stack(tmp_path) as stack:
        ended, other = await stack.begin(kind="mini_program"), await stack.begin(kind="web")
        await ended.cancel()
        program = Program(stack)
        assert error(await program.scan(other)) == (409, "wrong_door")
        for scene in ("nonsense", "0" * 32, "00000000-0000-4000-8000-000000000000"):
            assert error(await program.post("scan", scene=scene)) == (404, "not_found")
        assert await stack.wechat_calls("/sns/jscode2session") == 0
        assert error(await program.scan(ended)) == (410, "gone")


BODIES: list[dict[str, Any]] = [
    {"code": None},
    {"code": ""},
    {"code": 7},
    {"code": {"$ne": None}},
    {"code": "x" * 513},
    {"scene": None},
    {"scene": ["a"]},
    {"allow": "true"},
    {"allow": None},
    {"allow": 1},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:30])
async def test_bad_fields_are_named(tmp_path: Path, body: dict[str, Any]) -> None:
    """400 with the field; `allow` must be said, and said as a boolean."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="mini_program")
        whole = {"scene": page.scene_str, "allow": True, **body}
        answer = await Program(stack).post("confirm", **whole)
        assert error(answer) == (400, "bad_request")
        assert answer.json()["error"]["field"] == next(iter(body))


@pytest.mark.parametrize("registration", ["ask", "deny"])
async def test_strangers_meet_the_policy(tmp_path: Path, registration: str) -> None:
    """A page's scene goes where the policy sends it; without a page there is nowhere to ask."""
    async with Stack(tmp_path, login={"registration": registration}) as stack:
        program, page = Program(stack), await stack.begin(kind="mini_program")
        assert error(await program.post("login")) == (403, "forbidden")
        await program.scan(page)
        state = {"ask": "registering", "deny": "failed"}[registration]
        assert (await program.confirm(page)).json() == {"state": state}
