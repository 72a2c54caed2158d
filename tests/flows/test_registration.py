"""Policy ``ask``: from a stranger's scan over the form and the operator's hook to the login."""

import asyncio
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
from tests.stack import ON_LOOP, Page, Stack, status, until

pytestmark = ON_LOOP

ASK: dict[str, Any] = {"registration": "ask"}


async def stranger(stack: Stack, person: str = "alice") -> tuple[Page, dict[str, Any]]:
    """A page whose code a stranger has scanned, and its status document."""
    page = await stack.begin(lang="en")
    await stack.scan(page, person)
    return page, await page.reaches("registering")


async def register(stack: Stack, document: dict[str, Any], **fields: Any) -> httpx.Response:
    token = document["registration_token"]
    return await stack.http.post("/api/register", json={"registration_token": token, **fields})


async def me(stack: Stack, login: dict[str, Any]) -> dict[str, Any]:
    bearer = {"Authorization": f"Bearer {login['token']}"}
    return dict((await stack.http.get("/api/me", headers=bearer)).json())


async def test_a_stranger_is_asked_and_then_logged_in(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """Over the socket: registering with the fields wanted, the form, then the login."""
    async with Stack(tmp_path, stores=any_scenes, login=ASK) as stack:
        page = await stack.begin(lang="en")
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            delivery = await stack.scan(page)
            asked = await until(socket, "registering")
            assert asked["register_fields"] == ["name"] and "login" not in asked
            answer = await register(stack, asked, name="  Alice   Liddell ")
            assert (answer.status_code, answer.json()) == (200, {"state": "authorized"})
            login = (await until(socket, "authorized"))["login"]
        site = f"127.0.0.1:{stack.port}"
        assert delivery["reply"] == text("register_ask", "en", site=site)
        assert login["user"]["is_new"] is True
        assert (await me(stack, login))["name"] == "Alice Liddell"


async def test_the_known_are_not_asked_again(tmp_path: Path) -> None:
    """The second login of the same person goes straight through."""
    async with Stack(tmp_path, login=ASK) as stack:
        _, asked = await stranger(stack)
        await register(stack, asked, name="Alice")
        page = await stack.begin()
        await stack.scan(page)
        assert (await page.reaches("authorized"))["login"]["user"]["is_new"] is False


async def test_every_configured_field_is_needed(tmp_path: Path) -> None:
    """The first at fault is named, and nothing has changed; with all of them it goes through."""
    login = {**ASK, "register_fields": ["name", "phone", "email"]}
    async with Stack(tmp_path, login=login) as stack:
        page, asked = await stranger(stack)
        assert asked["register_fields"] == ["name", "phone", "email"]
        typed = {"name": "Al", "phone": "+86 138-0013 8000", "email": "al@example.org"}
        for field in typed:
            for wrong in (None, 7, "", "x" * 400, "\u202e\x00"):
                answer = await register(stack, asked, **{**typed, field: wrong})
                assert answer.status_code == 400 and answer.json()["error"]["field"] == field
        assert await page.state() == "registering"
        assert (await register(stack, asked, **typed)).json() == {"state": "authorized"}


async def test_sending_the_form_twice_is_one_registration(tmp_path: Path) -> None:
    """At the same time or later: the same answer, and what was typed first stays."""
    async with Stack(tmp_path, login=ASK) as stack:
        page, asked = await stranger(stack)
        answers = await asyncio.gather(*(register(stack, asked, name="Alice") for _ in range(5)))
        assert {answer.json()["state"] for answer in answers} == {"authorized"}
        authorized = await page.reaches("authorized")
        assert (await register(stack, asked, name="Mallory")).json() == {"state": "authorized"}
        assert (await me(stack, authorized["login"]))["name"] == "Alice"
        await page.ack(authorized["seq"])
        assert (await register(stack, asked, name="Mallory")).json() == {"state": "consumed"}


async def test_the_same_phone_makes_no_two_people_one(tmp_path: Path) -> None:
    """The number is not verified: two strangers who type the same number stay two users."""
    login = {**ASK, "register_fields": ["name", "phone", "email"]}
    typed = {"name": "Al", "phone": "13800138000", "email": "al@example.org"}
    users = []
    async with Stack(tmp_path, login=login) as stack:
        for person in ("alice", "bob"):
            page, asked = await stranger(stack, person)
            await register(stack, asked, **typed)
            users.append((await page.reaches("authorized"))["login"]["user"])
    assert users[0]["id"] != users[1]["id"] and users[1]["is_new"] is True


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", None, 7, "x" * 5000])
async def test_tokens_of_others_register_no_person(tmp_path: Path, token: Any) -> None:
    """Missing, malformed or much too long."""
    async with Stack(tmp_path, login=ASK) as stack:
        page, asked = await stranger(stack)
        answer = await register(stack, {"registration_token": token}, name="Alice")
        assert answer.json()["error"]["code"] in ("bad_request", "unauthorized")
        login = {"registration_token": page.document["watch_token"]}
        assert (await register(stack, login, name="Alice")).status_code == 401
        assert await page.state() == "registering"


async def test_a_registration_token_opens_nothing_else(tmp_path: Path) -> None:
    """It is no login token, and a login token is none."""
    async with Stack(tmp_path, login=ASK) as stack:
        page, asked = await stranger(stack)
        bearer = {"Authorization": f"Bearer {asked['registration_token']}"}
        assert (await stack.http.get("/api/me", headers=bearer)).status_code == 401
        await register(stack, asked, name="Alice")
        token = (await page.reaches("authorized"))["login"]["token"]
        answer = await register(stack, {"registration_token": token}, name="Alice")
        assert answer.status_code == 401


async def test_a_late_form_is_gone(tmp_path: Path) -> None:
    """After the time for it, and when the page has given up."""
    clock = TurnableClock(SystemClock())
    login = {**ASK, "register_ttl_seconds": 60}
    async with Stack(tmp_path, clock, login=login) as stack:
        page, asked = await stranger(stack)
        await page.cancel()
        assert (await register(stack, asked, name="Alice")).status_code == 410
        _, asked = await stranger(stack, "bob")
        await stack.advance(61)
        assert (await register(stack, asked, name="Bob")).status_code == 410
        await stack.advance(600)
        answer = await register(stack, asked, name="Bob")
        assert answer.status_code == 410 and answer.json()["error"]["code"] == "gone"


async def test_foreign_pages_may_not_send_the_form(tmp_path: Path) -> None:
    """A foreign Origin is refused before anything is looked at."""
    async with Stack(tmp_path, login=ASK) as stack:
        _, asked = await stranger(stack)
        answer = await stack.http.post(
            "/api/register",
            json={"registration_token": asked["registration_token"], "name": "Alice"},
            headers={"Origin": "https://evil.example"},
        )
        assert answer.json()["error"]["code"] == "forbidden_origin"


async def test_strangers_are_refused_where_registration_is_denied(tmp_path: Path) -> None:
    """Policy deny: a clear end, in the chat as well."""
    async with Stack(tmp_path, login={"registration": "deny"}) as stack:
        page = await stack.begin(lang="en")
        delivery = await stack.scan(page)
        failed = await page.reaches("failed")
        assert failed["error"]["code"] == "not_registered"
        site = f"127.0.0.1:{stack.port}"
        assert delivery["reply"] == text("not_registered", "en", site=site)


# The operator's hook.


async def test_the_hook_is_asked_with_a_signature(tmp_path: Path) -> None:
    """It hears who asks to be admitted, and approves."""
    async with HookServer() as hook, Stack(tmp_path, login={**ASK, **hook.login}) as stack:
        page, asked = await stranger(stack)
        assert (await register(stack, asked, name="Alice")).json() == {"state": "authorized"}
        (heard,) = hook.heard
        scene = await stack.scene(page)
        assert scene is not None and heard["openid"] == scene.openid
        assert heard["type"] == "registration" and heard["scene_str"] == page.scene_str
        assert heard["fields"] == {"name": "Alice"} and heard["account"] == "default"


async def test_the_hook_denies(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """The scene fails with a reason, no person is registered, and asking again changes nothing."""
    async with (
        HookServer() as hook,
        Stack(tmp_path, stores=any_scenes, login={**ASK, **hook.login}) as stack,
    ):
        hook.answer = {"decision": "deny"}
        page, asked = await stranger(stack)
        for _ in range(2):
            assert (await register(stack, asked, name="Alice")).json() == {"state": "failed"}
        assert (await page.reaches("failed"))["error"]["code"] == "hook_refused"
        assert len(hook.heard) == 1
        await stranger(stack)


async def test_the_hook_names_people_by_its_own_ids(tmp_path: Path) -> None:
    """The token's subject is the operator's id; a second identity of the same id is theirs too."""
    async with HookServer() as hook, Stack(tmp_path, login={**ASK, **hook.login}) as stack:
        hook.answer = {"user_id": "customer-4711"}
        news = []
        for person in ("alice", "bob"):
            page, asked = await stranger(stack, person)
            await register(stack, asked, name=person)
            user = (await page.reaches("authorized"))["login"]["user"]
            assert user["id"] == "customer-4711"
            news.append(user["is_new"])
        assert news == [True, False]


@pytest.mark.parametrize(
    "trouble", ["down", "slow", "status", "nonsense", "undecided", "odd id", "other secret", "long"]
)
async def test_without_the_hooks_word_no_person_is_admitted(
    tmp_path: Path, logs: UnexpectedLogs, trouble: str
) -> None:
    """503 and the scene stays; once the hook is well again, the same form goes through."""
    logs.expect("hook does not answer")
    async with HookServer() as hook, Stack(tmp_path, login={**ASK, **hook.login}) as stack:
        page, asked = await stranger(stack)
        match trouble:
            case "down":
                await hook.go_down()
            case "slow":
                hook.held = asyncio.Event()
            case "status":
                hook.status = 302
            case "nonsense":
                hook.answer = b"<html>"
            case "undecided":
                hook.answer = {"decision": "perhaps", "user_id": "1"}
            case "odd id":
                hook.answer = {"user_id": "two words"}
            case "other secret":
                hook.secret = "another-secret-altogether"
            case "long":
                hook.answer = {"decision": "approve", "more": "x" * 20_000}
        answer = await register(stack, asked, name="Alice")
        assert answer.status_code == 503 and "Retry-After" in answer.headers
        assert await page.state() == "registering"
        if trouble != "down":
            if hook.held is not None:
                hook.held.set()
            hook.held, hook.status, hook.secret = None, 200, HookServer().secret
            hook.answer = {"decision": "approve"}
            assert (await register(stack, asked, name="Alice")).json() == {"state": "authorized"}
