"""Kiosks: scenes of a public screen, whose login goes to the operator's server alone."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.wechat.replies import text
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.hook_server import HookServer
from tests.stack import ON_LOOP, Page, Stack, eventually, status, until

pytestmark = ON_LOOP

SECRET = "a-secret-for-the-lobby"
TOKEN = "a-token-for-the-operator"
KIOSK: dict[str, Any] = {
    "kiosks": {"lobby3": {"label": "Lobby 3", "secret": SECRET}},
    "operator": {"token": TOKEN},
}


async def ask(stack: Stack, secret: str | None = SECRET, **body: Any) -> httpx.Response:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return await stack.http.post("/api/scenes", json=body, headers=headers)


async def wall(stack: Stack, **body: Any) -> Page:
    """A scene as the kiosk's page begins it."""
    answer = await ask(stack, kiosk="lobby3", **body)
    assert answer.status_code == 201, answer.text
    return Page(stack, answer.json(), "")


async def scanned(stack: Stack, person: str = "alice") -> tuple[Page, dict[str, Any]]:
    page = await wall(stack)
    await stack.scan(page, person)
    return page, await page.reaches("authorized")


async def exchange(stack: Stack, code: Any, token: str = TOKEN) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {token}"}
    return await stack.http.post("/api/exchange", json={"exchange_code": code}, headers=bearer)


async def test_a_kiosks_scene_lives_as_long_as_configured(tmp_path: Path) -> None:
    """WeChat's code as well; the page is told what people call its screen."""
    async with Stack(tmp_path, kiosk_ttl_seconds=1500, **KIOSK) as stack:
        page = await wall(stack)
        assert page.document["expires_in"] == 1500 and page.document["label"] == "Lobby 3"
        assert page.document["qr"]["expires_in"] == 1470


@pytest.mark.parametrize(
    ("kiosk", "secret"),
    [
        ("lobby3", "wrong-secret-for-the-lobby"),
        ("lobby3", "-"),
        ("lobby3", None),
        ("lobby4", SECRET),
        ("lobby4", "-"),
        ("", SECRET),
        ("lobby3", TOKEN),
    ],
)
async def test_only_the_kiosk_itself_begins(tmp_path: Path, kiosk: str, secret: str | None) -> None:
    """Unknown name and wrong secret are one answer, and no code is made."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}, **KIOSK) as stack:
        answer = await ask(stack, secret, kiosk=kiosk)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert await stack.wechat_calls("/cgi-bin/qrcode/create") == 0


async def test_the_screen_shows_neither_token_nor_name(tmp_path: Path) -> None:
    """By socket and by poll: an exchange code, a masked name; and the label in the chat."""
    login = {"confirm": "always", "registration": "ask"}
    async with Stack(tmp_path, login=login, **KIOSK) as stack:
        page = await wall(stack, lang="en")
        async with page.socket() as socket:
            assert "exchange_code" not in await status(socket)
            delivery = await stack.scan(page, "alice")
            assert "Lobby 3" in delivery["reply"]
            await stack.simulator("text", person="alice", text="1")
            asked = await until(socket, "registering")
            form = {"registration_token": asked["registration_token"], "name": "Alice"}
            assert (await stack.http.post("/api/register", json=form)).status_code == 200
            pushed = await until(socket, "authorized")
        polled = (await page.poll()).json()
        for document in (pushed, polled):
            assert "login" not in document and document["user"] == {"name": "A**", "avatar": ""}
            # Signed by the same key, so in the form of a token: yet it is none.
            bearer = {"Authorization": f"Bearer {document['exchange_code']}"}
            assert (await stack.http.get("/api/me", headers=bearer)).status_code == 401


async def test_the_operators_server_collects_the_login_once(tmp_path: Path) -> None:
    """The login of the contract; the screen sees that it is done; a second time it is gone."""
    async with Stack(tmp_path, **KIOSK) as stack:
        page, authorized = await scanned(stack)
        answer = await exchange(stack, authorized["exchange_code"])
        login = answer.json()["login"]
        assert answer.status_code == 200 and login["token_type"] == "Bearer"
        bearer = {"Authorization": f"Bearer {login['token']}"}
        assert (await stack.http.get("/api/me", headers=bearer)).json()["id"] == login["user"]["id"]
        assert "exchange_code" not in await page.reaches("consumed")
        again = await exchange(stack, authorized["exchange_code"])
        assert (again.status_code, again.json()["error"]["code"]) == (410, "gone")


async def test_of_many_exchanges_at_once_one_gets_the_login(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """Whether with the same code or with others of the same scene."""
    async with Stack(tmp_path, stores=any_scenes, **KIOSK) as stack:
        page, authorized = await scanned(stack)
        other = (await page.poll()).json()["exchange_code"]
        codes = [authorized["exchange_code"], other] * 5
        answers = await asyncio.gather(*(exchange(stack, code) for code in codes))
        assert sorted(answer.status_code for answer in answers) == [200] + [410] * 9


async def test_the_screens_ack_leaves_the_login_to_the_server(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """By HTTP and by socket; another seq is still an error."""
    async with Stack(tmp_path, stores=any_scenes, **KIOSK) as stack:
        page, authorized = await scanned(stack)
        seq = authorized["seq"]
        assert (await page.ack(seq - 1)).status_code == 409
        assert (await page.ack(seq)).status_code == 204
        async with page.socket() as socket:
            await until(socket, "authorized")
            await socket.send(json.dumps({"type": "ack", "seq": seq}))
            await (await socket.ping())
            assert await page.state() == "authorized"
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 200
        assert (await page.ack(seq)).status_code == 204


async def test_an_ordinary_page_still_acks_its_own_login(tmp_path: Path) -> None:
    """Beside kiosks as without them."""
    async with Stack(tmp_path, **KIOSK) as stack:
        page = await stack.begin()
        await stack.scan(page)
        await page.ack((await page.reaches("authorized"))["seq"])
        assert await page.state() == "consumed"


async def test_an_exchange_whose_answer_the_store_lost_is_answered(tmp_path: Path) -> None:
    """It was done, and no other caller can do it: the login must not be lost with the
    connection."""
    async with Stack(tmp_path, faulty=True, **KIOSK) as stack:
        _, authorized = await scanned(stack)
        stack.scenes.lose("advance", times=1)
        answer = await exchange(stack, authorized["exchange_code"])
        assert answer.status_code == 200 and answer.json()["login"]["token"]
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 410


async def test_only_the_operator_exchanges(tmp_path: Path) -> None:
    """With the kiosk's own secret or any other bearer nothing is collected."""
    async with Stack(tmp_path, **KIOSK) as stack:
        _, authorized = await scanned(stack)
        for bearer in (SECRET, "-", "nobody", TOKEN[:-1]):
            assert (await exchange(stack, authorized["exchange_code"], bearer)).status_code == 401
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 200


async def test_without_an_operators_token_there_is_no_exchange(tmp_path: Path) -> None:
    """The route does not exist, whatever the bearer."""
    async with Stack(tmp_path) as stack:
        for token in ("-", TOKEN):
            assert (await exchange(stack, "code", token)).status_code == 404


@pytest.mark.parametrize("code", [None, "", 7, "nonsense", "x" * 5000])
async def test_what_is_no_exchange_code_is_told_so(tmp_path: Path, code: Any) -> None:
    """With the field at fault."""
    async with Stack(tmp_path, **KIOSK) as stack:
        answer = await exchange(stack, code)
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "exchange_code"


async def test_a_login_token_is_no_exchange_code(tmp_path: Path) -> None:
    """Type and audience keep them apart."""
    async with Stack(tmp_path, **KIOSK) as stack:
        page = await stack.begin()
        await stack.scan(page)
        token = (await page.reaches("authorized"))["login"]["token"]
        assert (await exchange(stack, token)).status_code == 400


async def test_a_late_exchange_is_gone(tmp_path: Path) -> None:
    """After collect_ttl_seconds no caller gets the login any more."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **KIOSK) as stack:
        page, authorized = await scanned(stack)
        await stack.advance(61)
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 410
        await stack.advance(600)
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 410
        assert (await page.poll()).status_code == 401


async def test_the_hook_is_told_of_each_kiosk_login(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Signed, and again until it listens; with the code, so that its server can collect at once."""
    logs.expect("the hook was not told of a login")
    async with HookServer() as hook, Stack(tmp_path, login=hook.login, **KIOSK) as stack:
        hook.failures = 1
        page, authorized = await scanned(stack)

        async def told() -> bool:
            return bool(hook.heard)

        await eventually(told)
        (heard,) = hook.heard
        assert hook.requests == 2
        assert heard["type"] == "kiosk_login" and heard["kiosk"] == "lobby3"
        assert heard["scene_str"] == page.scene_str and heard["user"]["is_new"] is True
        assert (await exchange(stack, heard["exchange_code"])).status_code == 200
        assert (await exchange(stack, authorized["exchange_code"])).status_code == 410


async def test_the_hook_hears_nothing_of_other_pages(tmp_path: Path) -> None:
    """It is called for kiosks only."""
    async with HookServer() as hook, Stack(tmp_path, login=hook.login, **KIOSK) as stack:
        page = await stack.begin()
        await stack.scan(page)
        await page.reaches("authorized")
        assert stack.container.supervisor.running and hook.requests == 0


async def test_the_kiosks_page_is_served(tmp_path: Path) -> None:
    """With a policy that lets nothing foreign in."""
    async with Stack(tmp_path, **KIOSK) as stack:
        answer = await stack.http.get("/kiosk")
        assert answer.status_code == 200 and "/api/scenes" in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_confirmed_kiosk_login_names_the_screen(tmp_path: Path) -> None:
    """The question in the chat is the one of a labelled screen."""
    async with Stack(tmp_path, login={"confirm": "always"}, **KIOSK) as stack:
        page = await wall(stack, lang="en")
        reply = (await stack.scan(page))["reply"]
        assert "Lobby 3" in reply
        assert reply != text("confirm_ask", "en", site=f"127.0.0.1:{stack.port}")
