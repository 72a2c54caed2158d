"""What the operator's other systems ask: people found, copied and removed, and access tokens."""

import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from services.events.entries import DELETION, entry
from services.ids import AppId, OpenId, UnionId, UserId, new_scene_str
from services.logs import short_hash
from services.operator_api import PAGE
from services.people.store import Identity, Profile
from services.sessions.states import BROWSER
from tests.conftest import UnexpectedLogs
from tests.flows.chatter import Chatter
from tests.flows.test_session_words import Shop
from tests.flows.test_sessions import logged_in, me, refresh, refused
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

TOKEN = "a-token-for-the-operator"
OPERATOR: dict[str, Any] = {"operator": {"token": TOKEN}}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def found(stack: Stack, **asked: str) -> dict[str, Any]:
    answer = await stack.http.get("/api/operator/users", params=asked, headers=BEARER)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def exported(stack: Stack, user_id: str) -> dict[str, Any]:
    path = f"/api/operator/users/{quote(user_id, safe='')}/export"
    answer = await stack.http.get(path, headers=BEARER)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def remove(stack: Stack, user_id: str) -> httpx.Response:
    path = f"/api/operator/users/{quote(user_id, safe='')}"
    return await stack.http.delete(path, headers=BEARER)


async def audited(stack: Stack, **asked: str) -> dict[str, Any]:
    answer = await stack.http.get("/api/operator/audit", params=asked, headers=BEARER)
    return dict(answer.json())


async def named(stack: Stack, name: str, openid: str = "") -> UserId:
    identity = Identity(AppId("wx-site"), OpenId(openid or f"o-{name}"), UnionId(f"u-{name}"))
    users = stack.container.backend.users
    profile = Profile(name, phone="13800000000", email="a@b.example")
    scene = new_scene_str()
    return (await users.login(identity, scene, "default", stack.now, profile=profile)).user.id


# Found.


async def test_a_person_is_found_by_each_id(tmp_path: Path) -> None:
    """By the user's id, an openid of a configured app, the unionid, and the name; no other's
    entry is there, and an unknown one finds nothing."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        user_id = await stack.user_of(alice, UserId("customer/47 11?%"))
        await stack.user_of(bob)
        app_id = stack.container.accounts.named(None).app_id
        identity = Identity(app_id, OpenId(alice.openid), UnionId("u-alice"))
        await stack.container.backend.users.join(identity)
        scene = new_scene_str()
        users = stack.container.backend.users
        await users.login(identity, scene, "default", stack.now, profile=Profile("张三"))
        for asked in (
            {"id": user_id},
            {"openid": alice.openid},
            {"unionid": "u-alice"},
            {"name": "张"},
        ):
            answer = await found(stack, **asked)
            assert [user["id"] for user in answer["users"]] == [user_id]
            assert set(answer["users"][0]) == {
                "id", "name", "account", "banned", "created_at", "last_login_at"
            }  # fmt: skip
            assert answer["cursor"] is None
        for by in ("id", "openid", "unionid", "name"):
            assert await found(stack, **{by: "unknown"}) == {"users": [], "cursor": None}


async def test_many_of_one_name_come_page_by_page(tmp_path: Path) -> None:
    """Each once, by a cursor that is one of this answer."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        ids = {await named(stack, f"Ann {n}") for n in range(PAGE + 3)}
        first = await found(stack, name="Ann")
        second = await found(stack, name="Ann", cursor=first["cursor"])
        assert (len(first["users"]), second["cursor"]) == (PAGE, None)
        assert {user["id"] for user in first["users"] + second["users"]} == ids


async def test_a_search_that_is_none_is_400(tmp_path: Path) -> None:
    """None or two of the ways, an empty or overlong one, a cursor that was not made here, or with
    what has none."""
    texts = ("!", "WzFd", "e30", "WyJcdWQ4MDAiLCIiXQ", "W1tb" * 1000)
    cursors = [f"?name=a&cursor={text}" for text in texts]
    async with Stack(tmp_path, **OPERATOR) as stack:
        for query, field in [
            ("", None),
            ("?id=a&name=b", None),
            ("?name=", "name"),
            (f"?id={'x' * 257}", "id"),
            ("?id=a&cursor=b", "cursor"),
            *((query, "cursor") for query in cursors),
        ]:
            answer = await stack.http.get(f"/api/operator/users{query}", headers=BEARER)
            assert (answer.status_code, answer.json()["error"].get("field")) == (400, field)


async def test_what_no_route_knows_is_refused_by_its_name(tmp_path: Path) -> None:
    """In the query of any route of the operator; a deed is then not done, and not written down."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        user_id = await named(stack, "Ann")
        for method, path in [
            *(("GET", path) for path in ("overview", "audit", "users", "kiosks", "access_token")),
            ("POST", f"users/{user_id}/ban"),
        ]:
            url = f"/api/operator/{path}?nonsense=1"
            answer = await stack.http.request(method, url, headers=BEARER)
            assert answer.status_code == 400 and answer.json()["error"]["field"] == "nonsense", path
        assert (await audited(stack, person=user_id))["entries"] == []


# Copied.


async def test_a_copy_holds_all_and_no_secret(tmp_path: Path) -> None:
    """The user with what they typed, aliases, identities and every session; no hash."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        user_id = await named(stack, "Ann")
        alias = await stack.user_of(Chatter(stack))
        app_id = stack.container.accounts.named(None).app_id
        openid = OpenId(Chatter(stack).openid)
        await stack.container.backend.users.join(Identity(app_id, openid, UnionId("u-Ann")))
        stayed, gone = (await found(stack, id=alias))["users"][0]["id"], {user_id, alias}
        gone.remove(stayed)
        browser = await stack.begin_session(alias, client=BROWSER)
        client = await stack.begin_session(user_id, client="grafana", parent=browser)
        document = await exported(stack, alias)
        assert document["user"]["id"] == stayed and document["aliases"] == list(gone)
        assert (document["user"]["name"], document["user"]["phone"]) == ("Ann", "13800000000")
        assert {(one["app_id"], one["openid"]) for one in document["identities"]} == {
            ("wx-site", "o-Ann"), (app_id, openid)
        }  # fmt: skip
        sessions = {one["id"]: one for one in document["sessions"]}
        assert set(sessions) == {browser, client} and sessions[client]["parent"] == browser
        assert sessions[browser]["browser"] and sessions[client]["client"] == "grafana"
        assert not any("hash" in name or "token" in name for name in sessions[client])


async def test_a_copy_holds_the_audit_and_a_removal_leaves_no_name_in_it(tmp_path: Path) -> None:
    """The entries under every id of the person, and those that know only the openid; afterwards
    none of them names the person, but for the deed of the removal."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        alice, page = Chatter(stack), await stack.begin()
        # Denied by a person who is no user yet.
        events = stack.container.events
        await events.keep(entry("denied", stack.now, openid=alice.openid, account="default"))
        await alice.scans(page)
        user_id = await stack.user_of(alice)
        await logged_in(stack, "bob")
        deed = f"/api/operator/users/{user_id}"
        assert (await stack.http.post(f"{deed}/ban", headers=BEARER)).status_code == 204
        audit = (await exported(stack, user_id))["audit"]
        about = ["get users export", "banned", "users ban", "authorized", "authorized", "denied"]
        assert [one["outcome"] for one in audit] == about
        assert len((await audited(stack, person=user_id))["entries"]) == len(about)
        assert (await remove(stack, user_id)).status_code == 204
        left = (await audited(stack))["entries"]
        assert len(left) == len(about) + 3 and json.dumps(left).count(user_id) == 2
        assert (left[0]["outcome"], left[0]["user"]) == (DELETION, user_id)
        assert short_hash(alice.openid) not in json.dumps(left)
        assert {one["user"] for one in left[1:]} > {None}


# Removed.


async def test_a_removed_person_is_gone_at_once(tmp_path: Path) -> None:
    """Their tokens, refresh tokens, sessions, browsers and clients; nothing that is kept names
    them; others go on. A second removal finds no user."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        login, other = await logged_in(stack), await logged_in(stack, "bob")
        user_id = UserId(login["user"]["id"])
        browser = await stack.begin_session(user_id, client=BROWSER)
        below = await stack.begin_session(user_id, client="grafana", parent=browser)
        assert (await remove(stack, user_id)).status_code == 204
        assert await me(stack, login) == 401 and await me(stack, other) == 200
        assert refused(await refresh(stack, login["refresh_token"]))
        for session in (browser, below):
            assert await stack.container.backend.sessions.get(session, stack.now) is None
        assert (await found(stack, openid=Chatter(stack).openid))["users"] == []
        assert (await remove(stack, user_id)).status_code == 404


async def test_their_next_login_is_of_a_new_person(tmp_path: Path) -> None:
    """The same WeChat person: another id, and the token from before stays refused."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        before = await logged_in(stack)
        await remove(stack, before["user"]["id"])
        after = await logged_in(stack)
        assert after["user"]["is_new"] and after["user"]["id"] != before["user"]["id"]
        assert (await me(stack, after), await me(stack, before)) == (200, 401)


async def test_a_login_that_was_not_collected_brings_nothing(tmp_path: Path) -> None:
    """It was authorized before the removal: its token and its session are over."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert (await remove(stack, await stack.user_of(alice))).status_code == 204
        login = (await page.poll()).json()["login"]
        assert await me(stack, login) == 401
        assert refused(await refresh(stack, login["refresh_token"]))


async def test_an_id_given_again_is_not_the_person_before(tmp_path: Path) -> None:
    """The operator's own id, for the next user: the token of the removed one does not become
    theirs. Without sessions, too."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        login = await logged_in(stack)
        user_id = UserId(login["user"]["id"])
        await remove(stack, user_id)
        identity = Identity(AppId("wx"), OpenId("o-next"))
        users, later = stack.container.backend.users, stack.now + 3600
        await users.login(identity, new_scene_str(), "default", later, user_id=user_id)
        assert await me(stack, login) == 401


async def test_a_removal_that_a_store_interrupts_is_done_again(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """503; what it left is done by the next try, also where the person was removed already."""
    logs.expect("store_unavailable")
    async with Shop(tmp_path, faulty=True, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        session_id = await stack.begin_session(user_id)
        stack.users.refuse("remove", times=1)
        assert (await remove(stack, user_id)).status_code == 503
        stack.users.lose("remove", times=1)
        assert (await remove(stack, user_id)).status_code == 503
        assert await stack.alive(user_id) == []
        await stack.begin_session(user_id)
        assert await stack.alive(user_id) == []
        assert await stack.container.backend.sessions.get(session_id, stack.now) is None
        assert (await remove(stack, user_id)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "users?id=a"), ("GET", "users/{}/export"), ("DELETE", "users/{}"),
     ("GET", "access_token")],
)  # fmt: skip
async def test_only_the_operator_is_answered(tmp_path: Path, method: str, path: str) -> None:
    """401 without the token; a foreign page removes no user; 404 where there is no operator."""
    async with Shop(tmp_path, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        url = f"/api/operator/{path.format(user_id)}"
        assert (await stack.http.request(method, url)).status_code == 401
        if method == "DELETE":
            foreign = {**BEARER, "Origin": "https://evil.example"}
            assert (await stack.http.delete(url, headers=foreign)).status_code == 403
        for unknown in ("unknown", "名", "%00"):
            answer = await stack.http.request(
                method, f"/api/operator/{path.format(quote(unknown))}", headers=BEARER
            )
            assert answer.status_code == (404 if "{}" in path else 200)
        assert await stack.container.backend.users.get(user_id) is not None
    async with Stack(tmp_path / "none") as plain:
        assert (await plain.http.request(method, url, headers=BEARER)).status_code == 404


# Consent that is taken back.


async def test_the_operator_is_told_whose_consent_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with the user's id, by which they can be removed; also where the consent was given
    to another app of the same owner, for the unionid says who it is."""
    caplog.set_level(logging.INFO, logger="scanpush.chat")
    async with Stack(tmp_path, **OPERATOR) as stack:
        user_id, service = await named(stack, "Ann"), Chatter(stack, "service")
        fields = {"OpenID": "o-elsewhere", "AppID": "wx00000000deadbeef", "UnionID": "u-Ann"}
        await service.sends(service.event("user_authorization_revoke", RevokeInfo="1", **fields))
        told = [record for record in caplog.records if "consent" in record.getMessage()]
        assert [record.getMessage().count(user_id) for record in told] == [1]
        assert (await found(stack, id=user_id))["users"][0]["name"] == "Ann"


# Access tokens.


async def test_the_one_access_token_is_handed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That of the server's own calls, however often it is asked for, with the time it has left;
    never kept by a cache; and the log says so without it."""
    caplog.set_level(logging.INFO, logger="scanpush.operator")
    async with Stack(tmp_path, **OPERATOR) as stack:
        url = "/api/operator/access_token"
        answers = [await stack.http.get(url, headers=BEARER) for _ in range(3)]
        answers.append(await stack.http.get(f"{url}?account=default", headers=BEARER))
        tokens = {answer.json()["access_token"] for answer in answers}
        cache = stack.container.accounts.named(None).tokens
        assert cache is not None and tokens == {await cache.get()}
        token = await cache.current()
        for answer in answers:
            assert answer.headers["Cache-Control"] == "no-store"
            assert 7100 < answer.json()["expires_in"] <= token.expires_at - stack.now + 60
        assert "its credential" in caplog.text and tokens.pop() not in caplog.text
        deeds = (await audited(stack, account="default"))["entries"]
        assert [one["outcome"] for one in deeds] == ["get access_token"] * 4
        unknown = await stack.http.get(f"{url}?account=other", headers=BEARER)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
        assert json.loads(answers[0].content).keys() == {"access_token", "expires_in"}


async def test_of_several_accounts_one_has_to_be_named(tmp_path: Path) -> None:
    """For its access_token: no system is given another account's by mistake."""
    async with Stack(
        tmp_path, wechat={"accounts": {"default": {}, "second": {}}}, **OPERATOR
    ) as stack:
        url = "/api/operator/access_token"
        for query in ("", "?account="):
            answer = await stack.http.get(url + query, headers=BEARER)
            assert (answer.status_code, answer.json()["error"]["field"]) == (400, "account")
        answer = await stack.http.get(f"{url}?account=second", headers=BEARER)
        assert answer.status_code == 200
