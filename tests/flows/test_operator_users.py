"""What the operator does about people: ban, unban, end their sessions."""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from services.events.store import Search
from services.ids import AppId, OpenId, UnionId, UserId, new_scene_str
from services.people.store import Identity
from services.sessions.states import BROWSER
from services.wechat.replies import text
from tests.conftest import UnexpectedLogs
from tests.flows.chatter import Chatter
from tests.flows.test_session_words import SESSIONS, Shop, told
from tests.flows.test_sessions import logged_in, me, refresh, refused
from tests.stack import ON_LOOP

pytestmark = ON_LOOP

TOKEN = "a-token-for-the-operator"
OPERATOR: dict[str, Any] = {"operator": {"token": TOKEN}}
DEEDS = [("POST", "ban"), ("POST", "unban"), ("DELETE", "sessions")]


async def do(
    stack: Shop, deed: str, user_id: str, token: str = TOKEN, **headers: str
) -> httpx.Response:
    method = {name: method for method, name in DEEDS}[deed]
    path = f"/api/operator/users/{quote(user_id, safe='')}/{deed}"
    headers = {"Authorization": f"Bearer {token}", **headers}
    return await stack.http.request(method, path, headers=headers)


async def test_a_ban_ends_all_sessions_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of browsers and of clients too, and one event tells of it; others' go on."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    async with Shop(tmp_path, **OPERATOR) as stack:
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        ids = [await stack.user_of(alice), await stack.user_of(bob)]
        for user_id in ids:
            await stack.begin_session(user_id)
            browser = await stack.begin_session(user_id, client=BROWSER)
            below = await stack.begin_session(user_id, client="grafana", parent=browser)
        assert (await do(stack, "ban", ids[0])).status_code == 204
        assert [len(await stack.alive(user_id)) for user_id in ids] == [0, 2]
        assert await stack.container.backend.sessions.get(below, stack.now) is not None
        assert told(caplog) == [{"event": "banned", "user": ids[0]}]
        page = await stack.begin(lang="en")
        assert await alice.scans(page) == text("banned", "en", site="Teashop")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        answer = await stack.http.get(f"/api/operator/scenes/{page.scene_str}", headers=bearer)
        timeline = answer.json()["timeline"]
        assert [(event["event"], event["note"]) for event in timeline[-2:]] == [
            ("scanned", ""),
            ("failed", "banned"),
        ]
        assert (await do(stack, "unban", ids[0])).status_code == 204
        page = await stack.begin(lang="en")
        assert await alice.scans(page) == text("logged_in", "en", site="Teashop")


async def test_no_session_begins_after_a_ban(tmp_path: Path) -> None:
    """Not even that of a login which was on its way."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        assert (await do(stack, "ban", user_id)).status_code == 204
        await stack.begin_session(user_id)
        assert await stack.alive(user_id) == []


async def test_ending_sessions_bans_no_person(tmp_path: Path) -> None:
    """They can log in again."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        await stack.begin_session(user_id)
        assert (await do(stack, "sessions", user_id)).status_code == 204
        assert await stack.alive(user_id) == []
        page = await stack.begin(lang="en")
        assert await alice.scans(page) == text("logged_in", "en", site="Teashop")


@pytest.mark.parametrize("sessions", [{}, SESSIONS], ids=["sessions off", "on"])
async def test_doing_it_again_is_no_error(tmp_path: Path, sessions: dict[str, Any]) -> None:
    """Nor is it without sessions, or for an id of the operator's own system. A person who is banned
    already is not told of again, until the ban was lifted."""
    async with Shop(tmp_path, sessions=sessions, **OPERATOR) as stack:
        odd = await stack.user_of(Chatter(stack, "carol"), UserId("customer/47 11?%"))
        for user_id in (await stack.user_of(Chatter(stack)), odd):
            for deed in ("ban", "ban", "unban", "unban", "sessions", "sessions", "ban"):
                assert (await do(stack, deed, user_id)).status_code == 204
            banned = await stack.container.backend.users.get(user_id)
            assert banned is not None and banned.banned
            told = await stack.container.events.search(
                Search(users=[user_id], outcome="banned"), None
            )
            assert len(told["entries"]) == 2


@pytest.mark.parametrize(("method", "deed"), DEEDS)
async def test_unknown_people_and_strangers_are_refused(
    tmp_path: Path, method: str, deed: str
) -> None:
    """404 for an unknown id; 401 without the token; 403 for a foreign page; 405 for other verbs;
    404 for everything where there is no operator."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        for unknown in ("nobody", "x" * 128, "名", "%00"):
            answer = await do(stack, deed, unknown)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert (await do(stack, deed, user_id, token="x")).status_code == 401
        foreign = await do(stack, deed, user_id, Origin="https://evil.example")
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "forbidden_origin")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        path = f"/api/operator/users/{user_id}/{deed}"
        assert (await stack.http.get(path, headers=bearer)).status_code == 405
        user = await stack.container.backend.users.get(user_id)
        assert user is not None and not user.banned
    async with Shop(tmp_path / "none") as stack:
        assert (await do(stack, deed, user_id)).status_code == 404


async def test_a_ban_that_a_store_interrupts_is_done_again(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """The operator is told 503, and the next try ends what was left."""
    logs.expect("store_unavailable")
    async with Shop(tmp_path, faulty=True, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        session_id = await stack.begin_session(user_id)
        stack.users.lose("ban", times=1)
        assert (await do(stack, "ban", user_id)).status_code == 503
        assert await stack.alive(user_id) == [session_id]
        assert (await do(stack, "ban", user_id)).status_code == 204
        assert await stack.alive(user_id) == []


async def test_a_banned_persons_login_is_renewed_by_nothing(tmp_path: Path) -> None:
    """A real login: its refresh token and its token are refused from the ban on, and stay so when
    the ban is lifted; one that was not collected yet brings a session that is over."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        logins = [await logged_in(stack), await logged_in(stack, ack=False)]
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        user_id = logins[0]["user"]["id"]
        assert (await do(stack, "ban", user_id)).status_code == 204
        logins.append((await page.poll()).json()["login"])
        for deed in ("ban", "unban"):
            assert (await do(stack, deed, user_id)).status_code == 204
            for login in logins:
                assert refused(await refresh(stack, login["refresh_token"]))
                assert await me(stack, login) == 401


async def test_a_person_who_turns_out_to_be_banned_is_kept_out(tmp_path: Path) -> None:
    """Two users become one, of whom one was banned: the other's sessions are over as well."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        login = await logged_in(stack)
        users = stack.container.backend.users
        site = Identity(AppId("wx-site"), OpenId("alice-there"), UnionId("u-alice"))
        other = await users.login(site, new_scene_str(), "default", stack.now)
        assert (await do(stack, "ban", other.user.id)).status_code == 204
        assert await me(stack, login) == 200
        app_id = AppId(stack.container.accounts.named(None).app_id)
        await users.join(Identity(app_id, OpenId(Chatter(stack).openid), UnionId("u-alice")))
        assert await me(stack, login) == 401
        assert refused(await refresh(stack, login["refresh_token"]))
        assert await stack.alive(UserId(login["user"]["id"])) == []
