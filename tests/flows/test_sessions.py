"""Sessions: a login that is renewed, listed and ended, over HTTP."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from services.clock import SystemClock
from services.sessions.states import REPEAT_SECONDS
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP

LIFE = 30 * 86400
SESSIONS: dict[str, Any] = {
    "sessions": {"refresh_ttl_seconds": LIFE, "most_per_user": 3},
    "jwt": {"ttl_seconds": 300},
}
SHOP = "https://shop.example.com"
Login = Mapping[str, Any]


def claims_of(login: Login) -> dict[str, Any]:
    return jwt.decode(login["token"], options={"verify_signature": False})


def bearer(login: Login) -> dict[str, str]:
    return {"Authorization": f"Bearer {login['token']}"}


async def logged_in(
    stack: Stack, person: str = "alice", ack: bool = True, browser: str = ""
) -> dict[str, Any]:
    """A person's login as its page got it."""
    agent = {"User-Agent": browser} if browser else {}
    answer = await stack.http.post("/api/scenes", json={}, headers=agent)
    page = Page(stack, answer.json(), "")
    await stack.scan(page, person)
    document = await page.reaches("authorized")
    if ack:
        assert (await page.ack(document["seq"])).status_code == 204
    return dict(document["login"])


async def refresh(stack: Stack, token: Any, **options: Any) -> httpx.Response:
    return await stack.http.post("/api/token/refresh", json={"refresh_token": token}, **options)


async def refreshed(stack: Stack, login: Login) -> dict[str, Any]:
    answer = await refresh(stack, login["refresh_token"])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def listed(stack: Stack, login: Login) -> list[dict[str, Any]]:
    answer = await stack.http.get("/api/sessions", headers=bearer(login))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["sessions"])


async def me(stack: Stack, login: Login) -> int:
    return (await stack.http.get("/api/me", headers=bearer(login))).status_code


def refused(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def outcomes(stack: Stack) -> dict[str, int]:
    """What `scanpush_refreshes_total` says."""
    text = stack.container.metrics.exposition()[0].decode()
    lines = [line for line in text.splitlines() if line.startswith("scanpush_refreshes_total{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


# What a login brings.


async def test_without_sessions_nothing_changes(tmp_path: Path) -> None:
    """No refresh_token, no sid, and the routes are 404."""
    async with Stack(tmp_path) as stack:
        login = await logged_in(stack)
        assert "refresh_token" not in login and "sid" not in claims_of(login)
        for method, path in (
            ("POST", "/api/token/refresh"),
            ("POST", "/api/token/revoke"),
            ("GET", "/api/sessions"),
            ("DELETE", "/api/sessions"),
            ("DELETE", "/api/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
        ):
            answer = await stack.http.request(method, path, headers=bearer(login))
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert await me(stack, login) == 200


@pytest.mark.parametrize("faulty", [False, True], ids=["one transaction", "stepped"])
async def test_a_login_brings_one_refresh_token(tmp_path: Path, faulty: bool) -> None:
    """The same at each delivery until the ack, and nothing of it after; the token has the sid."""
    async with Stack(tmp_path, faulty=faulty, **SESSIONS) as stack:
        page = await stack.begin()
        await stack.scan(page)
        first = (await page.reaches("authorized"))["login"]
        second = (await page.poll()).json()
        assert second["login"]["refresh_token"] == first["refresh_token"]
        assert len(first["refresh_token"]) == 71
        sid = claims_of(first)["sid"]
        assert sid == claims_of(second["login"])["sid"] and len(sid) == 22
        await page.ack(second["seq"])
        assert "login" not in (await page.poll()).json()
        assert [one["id"] for one in await listed(stack, first)] == [sid]


async def test_nothing_is_stored_in_clear(tmp_path: Path) -> None:
    """Neither the first refresh token nor its successor is in the file."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        first = await logged_in(stack)
        second = await refreshed(stack, first)
        database = stack.container.backend.database
        assert database is not None
        dump = await database.write(lambda db: "\n".join(db.iterdump()))
        for login in (first, second):
            assert login["refresh_token"] not in dump and login["token"] not in dump


async def test_registration_brings_a_session_too(tmp_path: Path) -> None:
    """A new person who fills in the form."""
    login = {"registration": "ask", "register_fields": ["name"]}
    async with Stack(tmp_path, login=login, **SESSIONS) as stack:
        page = await stack.begin()
        await stack.scan(page)
        token = (await page.reaches("registering"))["registration_token"]
        form = {"registration_token": token, "name": "Alice"}
        assert (await stack.http.post("/api/register", json=form)).status_code == 200
        login = (await page.reaches("authorized"))["login"]
        assert (await refreshed(stack, login))["user"]["id"] == login["user"]["id"]


async def test_a_mini_programs_own_login_brings_a_session(tmp_path: Path) -> None:
    """Of whole length at once, as its answer is its delivery."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        code = (await stack.simulator("mini_program/login", person="alice"))["code"]
        login = (await stack.http.post("/api/miniprogram/login", json={"code": code})).json()[
            "login"
        ]
        (session,) = await listed(stack, login)
        assert (session["label"], session["current"]) == ("WeChat", True)
        await stack.advance(LIFE - 1)
        assert claims_of(await refreshed(stack, login))["sid"] == session["id"]


async def test_a_kiosks_exchange_brings_a_session(tmp_path: Path) -> None:
    """To the operator's server alone; the screen's document has none."""
    clock, token = TurnableClock(SystemClock()), "a-token-for-the-operator"
    kiosk = {
        "kiosks": {"lobby": {"secret": "a-secret-for-the-lobby"}},
        "operator": {"token": token},
    }
    async with Stack(tmp_path, clock, **kiosk, **SESSIONS) as stack:
        begun = await stack.http.post(
            "/api/scenes",
            json={"kiosk": "lobby"},
            headers={"Authorization": "Bearer a-secret-for-the-lobby"},
        )
        page = Page(stack, begun.json(), "")
        await stack.scan(page)
        document = await page.reaches("authorized")
        assert "refresh_token" not in str(document)
        answer = await stack.http.post(
            "/api/exchange",
            json={"exchange_code": document["exchange_code"]},
            headers={"Authorization": f"Bearer {token}"},
        )
        await stack.advance(LIFE - 1)
        await refreshed(stack, answer.json()["login"])


async def test_a_login_that_never_arrived_leaves_no_session(tmp_path: Path) -> None:
    """It ends by itself soon after its scene: only the acknowledged one is there a week later."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        lost = await logged_in(stack, ack=False)
        kept = await logged_in(stack)
        await stack.advance(600)
        assert refused(await refresh(stack, lost["refresh_token"]))
        await stack.advance(7 * 86400)
        renewed = await refreshed(stack, kept)
        assert [one["current"] for one in await listed(stack, renewed)] == [True]


async def test_a_login_that_was_used_needs_no_ack(tmp_path: Path) -> None:
    """The first refresh shows that it arrived."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        login = await refreshed(stack, await logged_in(stack, ack=False))
        await stack.advance(LIFE - 5)
        await refreshed(stack, login)


# Refresh.


@pytest.mark.parametrize("tornado", [False, True], ids=["hot route", "tornado"])
async def test_a_refresh_brings_a_new_pair(tmp_path: Path, tornado: bool) -> None:
    """The login document: the same person and session, another token, not new any more."""
    async with Stack(tmp_path, tornado=tornado, **SESSIONS) as stack:
        first = await logged_in(stack)
        answer = await refresh(stack, first["refresh_token"])
        second = answer.json()
        assert set(second) == {"token", "token_type", "expires_in", "user", "refresh_token"}
        assert first["user"]["is_new"] and second["user"] == {**first["user"], "is_new": False}
        assert second["token_type"] == "Bearer" and 298 <= second["expires_in"] <= 300
        assert answer.headers["Cache-Control"] == "no-store"
        before, after = claims_of(first), claims_of(second)
        for name in ("iss", "sub", "aud", "account", "amr", "sid"):
            assert after[name] == before[name]
        assert after["jti"] != before["jti"]
        assert second["refresh_token"] != first["refresh_token"]
        assert await me(stack, second) == 200
        assert (await refreshed(stack, second))["refresh_token"] != second["refresh_token"]
        assert outcomes(stack)["rotated"] == 2


async def test_a_lost_answer_is_given_again(tmp_path: Path) -> None:
    """The same refresh token, jti and exp, within ten seconds and by another server, too."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        login = await logged_in(stack)
        first = await refreshed(stack, login)
        await stack.advance(REPEAT_SECONDS - 2)
        again = await refreshed(stack, login)
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        restarted = await refreshed(stack, login)
        assert outcomes(stack)["repeated"] == 1
        for other in (again, restarted):
            assert other["refresh_token"] == first["refresh_token"]
            assert claims_of(other) == claims_of(first)


async def test_a_hundred_refreshes_at_once_bring_one_pair(tmp_path: Path) -> None:
    """All of them are answered, with the same refresh token and the same claims."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        login = await logged_in(stack)
        answers = await asyncio.gather(*(refreshed(stack, login) for _ in range(100)))
        assert len({answer["refresh_token"] for answer in answers}) == 1
        assert len({str(claims_of(answer)) for answer in answers}) == 1
        assert outcomes(stack) == {"rotated": 1, "repeated": 99, "reused": 0, "refused": 0}


@pytest.mark.parametrize("how", ["late", "successor used"])
async def test_a_reuse_ends_the_session(tmp_path: Path, how: str, logs: UnexpectedLogs) -> None:
    """For the thief and for the person alike; only the log, the metric and an event say why."""
    logs.expect("used again")
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        first, other = await logged_in(stack), await logged_in(stack)
        second = await refreshed(stack, first)
        if how == "late":
            await stack.advance(REPEAT_SECONDS)
        else:
            second = await refreshed(stack, second)
        answer = await refresh(stack, first["refresh_token"])
        assert refused(answer) and "reuse" not in answer.text
        assert refused(await refresh(stack, second["refresh_token"]))
        assert [await me(stack, one) for one in (first, second, other)] == [401, 401, 200]
        assert outcomes(stack)["reused"] == 1


async def test_what_is_no_token_of_the_server_ends_nothing(tmp_path: Path) -> None:
    """Forged, cut, of another alphabet, of the future: one answer, and the session lives on."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        first = await logged_in(stack)
        login = await refreshed(stack, first)
        token = login["refresh_token"]
        forged = [
            *("", "x", token[:-1], token + "A", token.replace(token[40], "!", 1)),
            *(token[:40] + ("A" if token[40] != "A" else "B") + token[41:], "é" * 71),
            first["refresh_token"][:30] + token[30:],
            stack.container.refresh_tokens.derive(claims_of(login)["sid"], 9),
        ]
        answers = [await refresh(stack, text) for text in forged[1:]]
        assert all(refused(answer) for answer in answers)
        assert (await refresh(stack, forged[0])).status_code == 400
        for body in ({}, {"refresh_token": 5}, {"refresh_token": "x" * 600}):
            answer = await stack.http.post("/api/token/refresh", json=body)
            assert answer.json()["error"]["field"] == "refresh_token"
        assert await me(stack, login) == 200
        await refreshed(stack, login)


async def test_a_session_outlives_a_lost_key(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Its current token works by its hash; the one before ends nothing then."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        first = await logged_in(stack)
        second = await refreshed(stack, first)
        (tmp_path / "keys.json").unlink()
    async with Stack(tmp_path, **SESSIONS) as stack:
        third = await refreshed(stack, second)
        assert claims_of(third)["sid"] == claims_of(first)["sid"]
        assert refused(await refresh(stack, first["refresh_token"]))
        await refreshed(stack, third)


async def test_only_some_unproven_tokens_cost_a_look(tmp_path: Path) -> None:
    """From one address; what a key of the server has signed is never counted."""
    limits = {"scenes_per_minute_per_address": 3}
    async with Stack(tmp_path, faulty=True, limits=limits, **SESSIONS) as stack:
        login = await logged_in(stack)
        token = login["refresh_token"]
        forged = [token[:40] + letter * 31 for letter in "AEIMQUYc"]
        codes = [(await refresh(stack, text)).status_code for text in forged]
        assert codes == [401] * 3 + [429] * 5
        assert stack.sessions.calls["refresh"] == 3
        for text in forged:
            answer = await stack.http.post("/api/token/revoke", json={"refresh_token": text})
            assert answer.status_code == 204
        assert stack.sessions.calls["get"] == 0
        await refreshed(stack, login)


async def test_a_session_ends_with_its_time(tmp_path: Path) -> None:
    """Its whole life, or the time that it may stay unused; tokens end with it."""
    clock = TurnableClock(SystemClock())
    sessions = {"refresh_ttl_seconds": 1000, "idle_seconds": 400}
    async with Stack(tmp_path, clock, **{**SESSIONS, "sessions": sessions}) as stack:
        idle, used = await logged_in(stack), await logged_in(stack)
        for _ in range(2):
            await stack.advance(390)
            used = await refreshed(stack, used)
        assert refused(await refresh(stack, idle["refresh_token"]))
        assert [one["current"] for one in await listed(stack, used)] == [True]
        await stack.advance(100)
        last = await refreshed(stack, used)
        assert last["expires_in"] <= 130 and await me(stack, last) == 200
        await stack.advance(125)
        assert refused(await refresh(stack, last["refresh_token"]))
        assert await me(stack, last) == 401
        assert await stack.container.backend.sessions.expire(stack.now, 9) == 2


# List and end.


async def test_sessions_are_listed(tmp_path: Path) -> None:
    """The person's own, the latest first, with what they know them by."""
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0 Safari/537.36"
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        one = await logged_in(stack, browser=chrome)
        await stack.advance(5)
        two = await logged_in(stack)
        await logged_in(stack, "bob")
        await stack.advance(60)
        one = await refreshed(stack, one)
        mine, others = reversed(await listed(stack, one))
        assert set(mine) == {"id", "current", "account", "label", "begun_at", "used_at"}
        assert (mine["id"], mine["current"]) == (claims_of(one)["sid"], True)
        assert (mine["account"], mine["label"]) == ("default", "Chrome, Windows")
        assert mine["used_at"] - mine["begun_at"] in (65, 66)
        assert (others["id"], others["current"]) == (claims_of(two)["sid"], False)
        assert others["begun_at"] - mine["begun_at"] in (5, 6)


async def test_one_session_is_ended(tmp_path: Path) -> None:
    """The person's own; another's and an unknown one are not found, and a second time neither."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        one, two, bob = [await logged_in(stack, who) for who in ("alice", "alice", "bob")]

        async def end(login: Login, session_id: str) -> int:
            path = f"/api/sessions/{session_id}"
            return (await stack.http.delete(path, headers=bearer(login))).status_code

        sid = claims_of(two)["sid"]
        assert [await end(bob, sid), await end(one, "x" * 22), await end(one, "x")] == [404] * 3
        assert [await end(one, sid), await end(one, sid)] == [204, 404]
        assert [await me(stack, login) for login in (one, two, bob)] == [200, 401, 200]
        assert refused(await refresh(stack, two["refresh_token"]))
        assert await end(one, claims_of(one)["sid"]) == 204
        assert (await stack.http.get("/api/sessions", headers=bearer(one))).status_code == 401


async def test_all_other_sessions_are_ended(tmp_path: Path) -> None:
    """All but the token's own; those of other people stay."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        logins = [await logged_in(stack, who) for who in ("alice", "alice", "alice", "bob")]
        answer = await stack.http.delete("/api/sessions", headers=bearer(logins[1]))
        assert (answer.status_code, answer.content) == (204, b"")
        assert [await me(stack, login) for login in logins] == [401, 200, 401, 200]


async def test_a_refresh_token_is_revoked(tmp_path: Path) -> None:
    """The session ends by its current token, and by one before; the answer is always the same."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        one, two, other = [await logged_in(stack) for _ in range(3)]
        newer = await refreshed(stack, two)
        for token in (one["refresh_token"], two["refresh_token"], "unknown", "", None, 5):
            for _ in range(2):
                answer = await stack.http.post("/api/token/revoke", json={"refresh_token": token})
                assert (answer.status_code, answer.content) == (204, b"")
        assert [await me(stack, login) for login in (one, newer, other)] == [401, 401, 200]


async def test_one_session_too_many_ends_the_longest_unused(tmp_path: Path) -> None:
    """Of the same person, and never the new one."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **SESSIONS) as stack:
        logins = []
        for _ in range(3):
            logins.append(await logged_in(stack))
            await stack.advance(1)
        logins[0] = await refreshed(stack, logins[0])
        logins.append(await logged_in(stack))
        assert [await me(stack, login) for login in logins] == [200, 401, 200, 200]


async def test_two_users_who_are_one_share_their_sessions(tmp_path: Path) -> None:
    """Each session keeps the id it began with, and is listed and ended under both."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        one = await logged_in(stack)
        code = (await stack.simulator("mini_program/login", person="alice"))["code"]
        answer = await stack.http.post("/api/miniprogram/login", json={"code": code})
        two = answer.json()["login"]
        await stack.unionids_are_learned()
        assert len(await listed(stack, one)) == len(await listed(stack, two)) == 2
        assert (await refreshed(stack, one))["user"]["id"] == one["user"]["id"]
        assert (await refreshed(stack, two))["user"]["id"] == two["user"]["id"]
        await stack.http.delete("/api/sessions", headers=bearer(two))
        assert [await me(stack, login) for login in (one, two)] == [401, 200]


async def test_pages_of_other_sites_may_not(tmp_path: Path) -> None:
    """What changes something is refused for its Origin; configured origins share the answer."""
    server = {"allowed_origins": [SHOP]}
    async with Stack(tmp_path, server=server, **SESSIONS) as stack:
        login = await logged_in(stack)
        foreign = {"Origin": "https://evil.example.com", **bearer(login)}
        requests = [
            ("POST", "/api/token/refresh"),
            ("POST", "/api/token/revoke"),
            ("DELETE", "/api/sessions"),
            ("DELETE", f"/api/sessions/{claims_of(login)['sid']}"),
        ]
        body = {"refresh_token": login["refresh_token"]}
        for method, path in requests:
            answer = await stack.http.request(method, path, json=body, headers=foreign)
            assert answer.json()["error"]["code"] == "forbidden_origin"
            preflight = await stack.http.options(path, headers={"Origin": SHOP})
            assert preflight.headers["Access-Control-Allow-Origin"] == SHOP
        allowed = await refresh(stack, login["refresh_token"], headers={"Origin": SHOP})
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize("operation", ["begin", "confirm"])
async def test_a_store_that_fails_loses_no_session(
    tmp_path: Path, operation: str, logs: UnexpectedLogs
) -> None:
    """Refused, or its answer lost, while the login begins its session or is acknowledged: the
    login comes all the same, once, and its session lives on."""
    logs.expect("store|refused|lost|finish|waits")
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, faulty=True, **SESSIONS) as stack:
        for fail in (stack.sessions.refuse, stack.sessions.lose):
            fail(operation, times=1)
            page = await stack.begin()
            async with page.socket() as socket:
                await stack.scan(page)
                document = await page.reaches("authorized")
                await socket.send(f'{{"type":"ack","seq":{document["seq"]}}}')
                await page.reaches("consumed")
            login = document["login"]
            await stack.advance(7 * 86400)
            await refreshed(stack, login)
        await stack.http.delete("/api/sessions", headers=bearer(await refreshed(stack, login)))


async def test_a_refused_refresh_of_the_store_is_503(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """And the same token works afterwards, also where the store had done it."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True, **SESSIONS) as stack:
        login = await logged_in(stack)
        for fail in (stack.sessions.refuse, stack.sessions.lose):
            fail("refresh", times=1)
            answer = await refresh(stack, login["refresh_token"])
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            login = await refreshed(stack, login)


async def test_ends_are_told(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """To those who asked for it, once each: revoked, ended, made room for, used again."""
    logs.expect("used again")
    told: list[str] = []
    async with Stack(tmp_path, **SESSIONS) as stack:
        sessions = stack.container.sessions
        assert sessions is not None
        sessions.on_ended.append(lambda ended: told.extend(one.id for one in ended))
        logins = [await logged_in(stack) for _ in range(4)]
        sids = [claims_of(login)["sid"] for login in logins]
        assert told == sids[:1]
        await stack.http.post(
            "/api/token/revoke", json={"refresh_token": logins[1]["refresh_token"]}
        )
        newer = await refreshed(stack, await refreshed(stack, logins[2]))
        await refresh(stack, logins[2]["refresh_token"])
        await stack.http.delete("/api/sessions", headers=bearer(logins[3]))
        assert told == sids[:3] and newer
