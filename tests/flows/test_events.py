"""What happens to people and screens, as the operator's server is told of it."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from services.events.entries import entry
from services.scenes.states import State
from tests.conftest import UnexpectedLogs
from tests.event_server import EventServer
from tests.flows.chatter import Chatter
from tests.flows.test_kiosk import KIOSK, TOKEN, wall
from tests.flows.test_session_words import Shop
from tests.flows.test_sessions import logged_in, refresh, refreshed
from tests.stack import ON_LOOP, Stack, eventually

pytestmark = ON_LOOP

OPERATOR = {"operator": {"token": TOKEN}}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def heard(server: EventServer, *types: str) -> list[str]:
    """The types of what was taken, once all those have been."""

    async def all_are_there() -> bool:
        return len(server.heard) >= len(types)

    await eventually(all_are_there)
    found = [event["type"] for event in server.heard]
    assert found == list(types)
    return found


async def ask(stack: Stack, method: str, path: str, **query: Any) -> httpx.Response:
    address = f"/api/operator/{path}"
    return await stack.http.request(method, address, params=query, headers=BEARER)


async def audit(stack: Stack, **query: Any) -> list[dict[str, Any]]:
    answer = await ask(stack, "GET", "audit", **query)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def test_a_login_is_told(tmp_path: Path) -> None:
    """The first one with a registration before it; each names user, scene and session. The audit
    has the same."""
    async with EventServer() as server:
        sections = {"sessions": {"refresh_ttl_seconds": 9999}, "events": server.settings}
        async with Stack(tmp_path, **OPERATOR, **sections) as stack:
            login = await logged_in(stack)
            await heard(server, "registered", "login")
            registered, told = server.heard
            session = (await stack.http.get("/api/sessions", headers=bearer(login))).json()
            data = told["data"]
            assert data["user"] == login["user"]["id"] == registered["data"]["user"]
            assert data["session"] == session["sessions"][0]["id"]
            assert (data["account"], data["kind"]) == ("default", "official_account")
            kept = await audit(stack, person=data["user"])
            assert [one["id"] for one in kept] == [told["id"], registered["id"]]
            assert kept[0]["scene"] == data["scene"] and kept[0]["person"] == data["person"]
            await logged_in(stack)
            await heard(server, "registered", "login", "login")


def bearer(login: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {login['token']}"}


async def test_what_people_and_the_operator_do_is_told(tmp_path: Path) -> None:
    """A denial, "that was not me", a ban and an unfollowing, each once however often WeChat sends
    it, and in the order in which it happened."""
    async with EventServer() as server:
        login = {"confirm": "always"}
        async with Shop(tmp_path, login=login, events=server.settings, **OPERATOR) as stack:
            alice = Chatter(stack)
            user_id = await stack.user_of(alice)
            page = await stack.begin(lang="en")
            await alice.scans(page)
            no = alice.text("0")
            assert len({await alice.sends(no) for _ in range(3)}) == 1
            second = await stack.begin(lang="en")
            await alice.scans(second)
            no = alice.text("not me")
            assert len({await alice.sends(no) for _ in range(2)}) == 1
            await stack.begin_session(user_id)
            await alice.says("not me")
            assert (await ask(stack, "POST", f"users/{user_id}/ban")).status_code == 204
            leaves = alice.event("unsubscribe")
            for _ in range(2):
                await alice.sends(leaves)
            third = await stack.begin(lang="en")
            await alice.scans(third)
            # Those of WeChat have its time, in whole seconds, so that only their number is sure.
            types = {"denied": 2, "not_me": 2, "banned": 1, "unsubscribed": 1}

            async def all_are_there() -> bool:
                return len(server.heard) >= sum(types.values())

            await eventually(all_are_there)
            assert {type: len(server.of_types(type)) for type in types} == types
            assert {event["data"]["user"] for event in server.heard} == {user_id}
            (failed,) = await audit(stack, outcome="failed")
            assert (failed["detail"], failed["scene"], failed["user"]) == (
                "banned",
                third.scene_str,
                user_id,
            )
            (deed,) = await audit(stack, outcome="users ban")
            assert deed["type"] == "operator" and deed["user"] == user_id
            assert deed["detail"] == f"POST /api/operator/users/{user_id}/ban from 127.0.0.1"


async def test_a_deed_names_whom_it_was_about(tmp_path: Path) -> None:
    """Exactly as the store has the id, also where it looks like a deed or like an escape."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        for user_id in ("ban", "users", "a%41", "a/b", "\n"):
            await ask(stack, "POST", f"users/{quote(user_id, safe='')}/ban")
            deed, *_ = await audit(stack)
            assert (deed["outcome"], deed["user"]) == ("users ban", user_id)
        await ask(stack, "POST", "kiosks/secret/secret")
        deed, *_ = await audit(stack)
        assert (deed["outcome"], deed["screen"]) == ("kiosks secret", "secret")


async def test_a_reused_refresh_token_is_told(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """With the session that ended by it."""
    logs.expect("used again")
    async with EventServer() as server:
        sections = {"sessions": {"refresh_ttl_seconds": 9999}, "events": server.settings}
        async with Stack(tmp_path, **sections) as stack:
            first = await logged_in(stack)
            await refreshed(stack, await refreshed(stack, first))
            assert (await refresh(stack, first["refresh_token"])).status_code == 401
            await heard(server, "registered", "login", "reused")
            login, reused = server.heard[1:]
            assert reused["data"]["session"] == login["data"]["session"]
            assert reused["data"]["user"] == first["user"]["id"]


async def test_a_kiosk_is_told_with_its_page(tmp_path: Path) -> None:
    """When it comes, and which screen a login was at."""
    async with EventServer() as server, Stack(tmp_path, events=server.settings, **KIOSK) as stack:
        page = await wall(stack)
        assert stack.container.kiosk_presence is not None
        for _ in range(2):
            await stack.container.kiosk_presence.beat()
        await heard(server, "kiosk.up")
        await stack.scan(page)
        await heard(server, "kiosk.up", "registered", "login")
        assert {event["data"]["kiosk"] for event in server.heard} == {"lobby3"}
        assert [one["type"] for one in await audit(stack, screen="lobby3")] == [
            "login",
            "registered",
            "kiosk.up",
        ]


async def test_dead_letters_are_sent_again(tmp_path: Path) -> None:
    """One, or all; the overview counts them."""
    async with EventServer() as server:
        async with Stack(tmp_path, events=server.settings, **OPERATOR) as stack:
            store = stack.container.backend.events
            assert store is not None
            server.refused[""] = 500
            answer = await ask(stack, "GET", "events/dead")
            assert answer.json() == {"events": [], "cursor": None}
            login = await logged_in(stack)
            await heard(server, "registered", "login")
            one, two = server.heard
            # As after a day of tries in vain.
            kept = (await audit(stack, person=login["user"]["id"]))[::-1]
            assert [entry["id"] for entry in kept] == [one["id"], two["id"]]
            await make_dead(stack)
            letters = (await ask(stack, "GET", "events/dead")).json()["events"]
            assert [letter["id"] for letter in letters] == [two["id"], one["id"]]
            assert letters[0] == {
                "id": two["id"],
                "type": "login",
                "at": kept[1]["at"],
                "tries": 40,
                "error": "HTTP 500",
                "data": two["data"],
            }
            overview = (await ask(stack, "GET", "overview")).json()
            assert overview["events"] == {"pending": 0, "dead": 2, "oldest_seconds": 0.0}
            assert (await ask(stack, "POST", "events/evt_0/send")).status_code == 404
            assert (await ask(stack, "POST", f"events/{two['id']}/send")).status_code == 204
            await heard(server, "registered", "login", "login")
            assert (await ask(stack, "POST", "events/send")).json() == {"sent": 1}
            await heard(server, "registered", "login", "login", "registered")
            assert {event["id"] for event in server.heard[2:]} == {one["id"], two["id"]}
            deeds = [one["outcome"] for one in await audit(stack) if one["type"] == "operator"]
            assert deeds == ["events send", "events send", "events send"]


async def test_what_a_foreign_page_asks_is_no_deed(tmp_path: Path) -> None:
    """It is refused before the audit is written to."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        foreign = {**BEARER, "Origin": "https://evil.example"}
        url = "/api/operator/events/send"
        assert (await stack.http.post(url, headers=foreign)).status_code == 403
        assert await audit(stack) == []


async def make_dead(stack: Stack) -> None:
    """Everything that was told becomes a dead letter."""
    database = stack.container.backend.database
    assert database is not None
    await database.write(
        lambda db: db.execute(
            "UPDATE events SET lane = user, tries = 40, error = 'HTTP 500' WHERE user IS NOT NULL"
        )
        and None
    )


async def test_without_receiver_and_operator_nothing_is_kept(tmp_path: Path) -> None:
    """There is no store of entries, and nothing runs for it."""
    async with Stack(tmp_path) as stack:
        await logged_in(stack)
        container = stack.container
        assert container.backend.events is None and container.event_delivery is None
        assert container.kiosk_presence is None
        database = container.backend.database
        assert database is not None
        assert database.reader.execute("SELECT count(*) FROM events").fetchone() == (0,)


async def test_the_audit_is_searched(tmp_path: Path) -> None:
    """By user id or openid, by the short id of a page, and by time; wrong values are named."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        pages = [await stack.begin() for _ in range(2)]
        for page, person in zip(pages, ("alice", "bob"), strict=True):
            await stack.scan(page, person)
            await page.reaches(State.AUTHORIZED.value)
        alice = Chatter(stack)
        of_alice = await audit(stack, person=alice.openid)
        assert [one["type"] for one in of_alice] == ["login", "registered"]
        assert await audit(stack, person=of_alice[0]["user"]) == of_alice
        assert await audit(stack, person=of_alice[0]["person"]) == of_alice
        assert await audit(stack, person="unknown") == await audit(stack, person="0" * 10) == []
        short = pages[1].scene_str[:8].upper()
        of_bob = await audit(stack, scene=f"{short[:4]}-{short[4:]}")
        assert {one["scene"] for one in of_bob} == {pages[1].scene_str}
        assert await audit(stack, scene=pages[1].scene_str, outcome="authorized") == of_bob
        assert await audit(stack, until=of_bob[-1]["at"]) == of_alice
        for none in ("2100-01-01", "9999-12-31T23:59:59-14:00", "999999999999"):
            assert await audit(stack, since=none) == []
        assert await audit(stack, until="0001-01-01T00:00+14:00") == []
        for name, wrong in (
            ("scene", "xyz"),
            ("since", "soon"),
            ("format", "csv"),
            ("Outcome", "failed"),
            ("人", "alice"),
            ("person", ["alice", "bob"]),
            ("person", "\0"),
            ("outcome", " \t"),
            ("cursor", "x"),
            ("cursor", 9**20),
            ("format", "xml"),
        ):
            answer = await ask(stack, "GET", "audit", **{name: wrong})
            assert answer.status_code == 400 and answer.json()["error"]["field"] == name
        backwards = await ask(stack, "GET", "audit", since="2026-02-01", until="2026-01-31")
        assert backwards.json()["error"]["field"] == "until"
        answer = await stack.http.get("/api/operator/audit")
        assert answer.status_code == 401
        secrets = [TOKEN, alice.openid, pages[0].document["watch_token"]]
        everything = str(await audit(stack))
        assert not [secret for secret in secrets if secret in everything]


async def test_the_audit_is_exported(tmp_path: Path) -> None:
    """As JSON lines, all that fit, however many there are."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        for _ in range(230):
            await stack.container.events.keep(entry("operator", stack.now, outcome="tests"))
        answer = await ask(stack, "GET", "audit", format="jsonl", outcome="tests")
        assert answer.headers["content-type"] == "application/jsonl"
        lines = [httpx.Response(200, content=line).json() for line in answer.text.splitlines()]
        assert len(lines) == 230
        first = await ask(stack, "GET", "audit", outcome="tests")
        assert first.json()["entries"] == lines[:100]
        cursor = first.json()["cursor"]
        assert await audit(stack, outcome="tests", cursor=cursor) == lines[100:200]


async def test_a_deed_that_cannot_be_written_down_is_not_done(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """No person is banned or copied, and no credential handed out, while the audit cannot be
    written."""
    logs.expect("no such table: events")
    async with Shop(tmp_path, **OPERATOR) as stack:
        user_id = await stack.user_of(Chatter(stack))
        database = stack.container.backend.database
        assert database is not None
        await database.write(lambda db: db.execute("DROP TABLE events") and None)
        for method, path in (
            ("POST", f"users/{user_id}/ban"),
            ("GET", f"users/{user_id}/export"),
            ("GET", "access_token"),
        ):
            assert (await ask(stack, method, path)).status_code == 503
        user = await stack.container.backend.users.get(user_id)
        assert user is not None and not user.banned


async def test_an_event_that_was_not_taken_is_told_again(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """Those behind it of the same person wait for it; the id stays the same."""
    logs.expect("does not take an event")
    async with EventServer() as server, Stack(tmp_path, events=server.settings) as stack:
        server.statuses = [500]
        await logged_in(stack)
        await heard(server, "registered", "login")
        assert server.tried == [server.heard[0]["id"]] * 2 + [server.heard[1]["id"]]
