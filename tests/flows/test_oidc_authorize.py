"""``/oauth/authorize`` and ``/oauth/par``: from a client's request to its answer, by a scan."""

import asyncio
import html
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.oidc.texts import CAUSES, PAGES
from services.sessions.states import SessionId
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.flows.browsers import Walker
from tests.flows.chatter import Chatter
from tests.flows.oidc import (
    CALLBACK,
    CHALLENGE,
    ISSUER,
    SECRET,
    BrowserOfOne,
    asking,
    meta,
    provider,
    sent_to,
    visiting,
)
from tests.handlers.running import Running
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP


SHOP_CALLBACK = "https://shop.example.test/cb"


async def test_a_scan_brings_the_client_its_code(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Live over the socket: the ticket, its form, and the redirect with code, state and issuer."""
    async with (
        Stack(tmp_path, stores=any_scenes, **provider()) as stack,
        BrowserOfOne(stack) as browser,
    ):
        shown = await browser.ask(nonce="n-7")
        page = await browser.begin(shown)
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            await stack.scan(page)
            authorized = await until(socket, "authorized")
        assert "login" not in authorized and "authorize" not in authorized
        address, fields = sent_to(await browser.post(shown, ticket=authorized["ticket"]))
        assert address == CALLBACK and fields.keys() == {"code", "state", "iss"}
        assert (fields["state"], fields["iss"]) == ("a state & more", ISSUER)
        code = await stack.container.provider.codes.look(fields["code"])
        assert code is not None and not code.is_used
        grant = code.grant
        assert (grant.client, grant.redirect_uri, grant.scope) == ("wiki", CALLBACK, "openid")
        assert (grant.nonce, grant.code_challenge, grant.amr) == ("n-7", CHALLENGE, "simulated")
        assert grant.session == await browser.sid() and grant.kind == "official_account"
        session = await stack.container.backend.sessions.get(grant.session, stack.now)
        assert session is not None and session.user_id == grant.user_id
        assert browser.jar["__Host-op_session"] not in repr(session)


async def test_a_browser_that_is_logged_in_goes_straight_back(running: Running) -> None:
    """To the same client and to others, silently if they want, and never for another browser."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        refused = sent_to(await browser.ask(prompt="none"))[1]
        assert (refused["error"], refused["iss"]) == ("login_required", ISSUER)
        await browser.log_in()
        address, fields = sent_to(await browser.ask("shop"))
        assert address == SHOP_CALLBACK and "code" in fields
        assert "code" in sent_to(await browser.ask("shop", prompt="none"))[1]
        async with BrowserOfOne(stack) as other:
            assert "code" not in sent_to(await other.ask("shop", prompt="none"))[1]
            other.jar["__Host-op_session"] = f"{await browser.sid()}.{'A' * 43}"
            assert "code" not in sent_to(await other.ask("shop", prompt="none"))[1]


async def test_a_client_may_have_the_person_asked_again(tmp_path: Path) -> None:
    """By prompt or by age: the session keeps its id, and has the time of the last scan."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **provider()) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in()
        sid = await browser.sid()
        await stack.advance(100)
        for again in ({"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "0"}):
            assert (await browser.ask(**again)).status_code == 200
        assert (await browser.ask(max_age="99")).status_code == 200
        assert "code" in sent_to(await browser.ask(max_age="200"))[1]
        silent = sent_to(await browser.ask(max_age="99", prompt="none"))[1]
        assert silent["error"] == "login_required"
        fields = sent_to(await browser.log_in(prompt="login"))[1]
        code = await stack.container.provider.codes.look(fields["code"])
        assert code is not None and code.grant.session == sid == await browser.sid()
        assert code.grant.auth_at > stack.now - 50
        assert "code" in sent_to(await browser.ask(max_age="99"))[1]


async def test_a_browser_session_has_a_fixed_end(tmp_path: Path) -> None:
    """However often it is used, and however long refresh tokens live."""
    clock = TurnableClock(SystemClock())
    sections = provider()
    sections["oidc"]["session_ttl_seconds"] = 600
    sections["sessions"] = {"refresh_ttl_seconds": 86400}
    async with Stack(tmp_path, clock, **sections) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in()
        for _ in range(2):
            await stack.advance(290)
            assert "code" in sent_to(await browser.ask())[1]
        await stack.advance(30)
        assert (await browser.ask()).status_code == 200
        assert sent_to(await browser.ask(prompt="none"))[1]["error"] == "login_required"


async def test_another_person_gets_a_session_of_another_id(tmp_path: Path) -> None:
    """And the first one's ends, whose cookie this browser has lost."""
    async with Stack(tmp_path, **provider()) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in("alice")
        before = dict(browser.jar)
        await browser.log_in("bob", prompt="login")
        sessions = stack.container.backend.sessions
        assert browser.jar["__Host-op_session"] != before["__Host-op_session"]
        old = SessionId(before["__Host-op_session"].partition(".")[0])
        assert await sessions.get(old, stack.now) is None
        browser.jar = before
        assert (await browser.ask()).status_code == 200


async def test_a_cookie_that_was_planted_logs_nobody_in(running: Running) -> None:
    """No id or secret that a browser brings is taken over (session fixation)."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        planted = f"{'a' * 22}.{'B' * 43}"
        browser.jar["__Host-op_session"] = planted
        await browser.log_in()
        assert browser.jar["__Host-op_session"] != planted
        assert await browser.sid() != "a" * 22


async def test_what_names_no_client_is_a_page(running: Running, logs: UnexpectedLogs) -> None:
    """400 in the visitor's language, without a link or redirect; so it is for a pushed request."""
    logs.expect("scanpush.oidc WARNING")
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        wrong: list[dict[str, str | None]] = [
            {"client_id": "nobody"},
            {"redirect_uri": CALLBACK + "/"},
            {"redirect_uri": "https://evil.example.test/"},
            {"request_uri": "urn:ietf:params:oauth:request_uri:never-made"},
        ]
        for changes in wrong:
            for lang in ("ja", "en"):
                answer = await browser.send(
                    "GET",
                    "/oauth/authorize",
                    params=asking(**changes),
                    headers={"Accept-Language": lang},
                )
                assert answer.status_code == 400 and "Location" not in answer.headers
                assert PAGES["bad_request"][lang][0] in answer.text
                assert "evil" not in answer.text and "frame-ancestors 'none'" in (
                    answer.headers["Content-Security-Policy"]
                )
        posted = await browser.send("POST", "/oauth/authorize", data=asking(client_id="nobody"))
        assert posted.status_code == 400


async def test_an_administrator_is_told_what_is_wrong(
    tmp_path: Path, logs: UnexpectedLogs, caplog: pytest.LogCaptureFixture
) -> None:
    """On the page and in the log, once a minute, without values of a query; never that a request
    was used before where none was."""
    logs.expect("scanpush.oidc WARNING")
    sent: list[tuple[dict[str, str | None], str, str]] = [
        ({"client_id": "nobody"}, "client", "no client of that id in oidc.clients"),
        ({"redirect_uri": None}, "no_redirect_uri", "client wiki named no redirect_uri"),
        (
            {"redirect_uri": f"{CALLBACK}/?x=hidden&{'y' * 400}"},
            "redirect_uri",
            "client wiki asked for a redirect_uri that is not registered",
        ),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:never-made"}, "over", ""),
    ]
    async with Stack(tmp_path, **provider()) as stack, BrowserOfOne(stack) as browser:
        for changes, cause, line in sent:
            for lang in ("zh-CN", "zh-TW", "ja", "en"):
                answer = await browser.send(
                    "GET",
                    "/oauth/authorize",
                    params=asking(**changes),
                    headers={"Accept-Language": lang},
                )
                assert html.escape(CAUSES[cause][lang]) in answer.text
                assert ("was used before" in answer.text) is (cause == "over" and lang == "en")
            assert [record.message for record in caplog.records].count(line) == bool(line)
    (record,) = (record for record in caplog.records if hasattr(record, "redirect_uri"))
    shown = record.redirect_uri
    assert shown.startswith(f"{CALLBACK}/?x=***") and len(shown) <= 200 and "hidden" not in shown


async def test_other_mistakes_go_back_to_the_client(running: Running) -> None:
    """By the response mode that was asked for."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        address, fields = sent_to(await browser.ask(scope="profile"))
        assert address == CALLBACK and fields["error"] == "invalid_scope"
        assert (fields["state"], fields["iss"]) == ("a state & more", ISSUER)
        twice = [*asking().items(), ("nonce", "another")]
        answer = await browser.send("GET", "/oauth/authorize", params=twice)
        assert sent_to(answer)[1]["error"] == "invalid_request"
        query = "https://wiki.example.test/cb?tenant=1"
        address, fields = sent_to(await browser.ask(redirect_uri=query, request="x"))
        assert fields.pop("tenant") == "1" and fields["error"] == "request_not_supported"
        posted = await browser.ask(prompt="none", response_mode="form_post")
        assert posted.status_code == 200 and 'name="error" value="login_required"' in posted.text


async def test_a_form_carries_the_answer_where_the_client_wants_it(running: Running) -> None:
    """form_post: the fields as hidden inputs, and a policy that lets the form go nowhere else."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        answer = await browser.log_in(response_mode="form_post", state='"><script>&')
        assert answer.status_code == 200 and f'action="{CALLBACK}"' in answer.text
        inputs = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
        assert inputs.keys() == {"code", "state", "iss"}
        assert html.unescape(inputs["state"]) == '"><script>&' and "<script>&" not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert f"form-action {CALLBACK};" in policy and "frame-ancestors 'none'" in policy


async def test_the_page_names_the_client_and_offers_its_login_kinds(tmp_path: Path) -> None:
    """No other kind; its forms go to this server alone."""
    sections = provider(wiki={"kinds": ["web", "code"]})
    async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask(ui_locales="xx ja en")
        assert '<html lang="ja">' in shown.text and "Tea Wiki にログイン" in shown.text
        assert meta(shown, "kinds") == "web code" and meta(shown, "client") == "Tea Wiki"
        policy = shown.headers["Content-Security-Policy"]
        assert "form-action 'self';" in policy and "frame-ancestors 'none'" in policy
        assert shown.headers["X-Frame-Options"] == "DENY" and "unsafe" not in policy
        assert shown.headers["Cache-Control"] == "no-store"
        assert (await browser.send("HEAD", "/oauth/authorize", params=asking())).status_code == 405
        refused = await browser.send(
            "POST", "/api/scenes", json={"authorize": meta(shown, "authorize")}
        )
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "unknown_kind"
        page = await browser.begin(shown, kind="code")
        assert page.document["code"]


async def test_a_reloaded_page_goes_on_with_its_scene(running: Running) -> None:
    """The same request of the same browser has the same id, and so the tab finds its scene."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        page = await browser.begin(shown)
        again = await browser.ask()
        assert meta(again, "authorize") == meta(shown, "authorize")
        await stack.scan(page)
        ticket = await browser.ticket(page)
        assert await browser.ticket(page) and (await page.ack(3)).status_code == 204
        assert "code" in sent_to(await browser.post(again, ticket=ticket))[1]
        async with BrowserOfOne(stack) as other:
            assert meta(await other.ask(), "authorize") != meta(shown, "authorize")


async def test_a_scene_belongs_to_the_browser_that_was_shown_the_page(running: Running) -> None:
    """Another browser's pending login, an invented one and a kiosk's are 400."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        known = meta(shown, "authorize")
        async with BrowserOfOne(stack) as other:
            await other.ask()
            for authorize in (known, "x" * 43, "", "short"):
                answer = await other.send("POST", "/api/scenes", json={"authorize": authorize})
                assert answer.status_code == 400, authorize
                assert answer.json()["error"]["field"] == "authorize"
        kiosk = {"authorize": known, "kiosk": "lobby"}
        assert (await browser.send("POST", "/api/scenes", json=kiosk)).status_code == 400


async def test_a_ticket_works_in_the_browser_of_its_scene_alone(running: Running) -> None:
    """Login CSRF: with another's begin cookie, or from another site, nothing happens."""
    async with visiting(running) as stack, BrowserOfOne(stack) as attacker:
        shown = await attacker.ask()
        page = await attacker.begin(shown)
        await stack.scan(page, "mallory")
        ticket = await attacker.ticket(page)
        async with BrowserOfOne(stack) as victim:
            theirs = await victim.ask()
            for shown_to_victim in (theirs, shown):
                answer = await victim.post(shown_to_victim, ticket=ticket)
                assert answer.status_code == 400 and "__Host-op_session" not in victim.jar
        for origin in ("https://evil.example.test", "null", None):
            assert (await attacker.post(shown, origin, ticket=ticket)).status_code == 403
            assert (await attacker.post(shown, origin, refuse="1")).status_code == 403
        assert "code" in sent_to(await attacker.post(shown, ticket=ticket))[1]


async def test_a_ticket_works_once(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Of posts at once one gets a code; the others, and later ones, come to the page again."""
    async with (
        Stack(tmp_path, stores=any_scenes, **provider()) as stack,
        BrowserOfOne(stack) as browser,
    ):
        shown = await browser.ask(prompt="login")
        page = await browser.begin(shown)
        await stack.scan(page)
        ticket = await browser.ticket(page)
        answers = await asyncio.gather(*(browser.post(shown, ticket=ticket) for _ in range(4)))
        answers.append(await browser.post(shown, ticket=ticket))
        assert sum(answer.status_code == 200 for answer in answers) == 1
        again = [a.headers["Location"] for a in answers if a.status_code == 303]
        assert (
            len(again) == 4
            and len(set(again)) == 1
            and again[0].startswith("/oauth/authorize?client_id=wiki&")
        )
        assert (await browser.send("GET", again[0])).status_code == 200


async def test_what_is_no_ticket_begins_once_more(running: Running) -> None:
    """Nothing is said of it."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        for ticket in ("", "nonsense", "a.b.c", "x" * 5000):
            answer = await browser.post(shown, ticket=ticket)
            assert answer.status_code == 303
            assert answer.headers["Location"].startswith("/oauth/authorize?")


async def test_tokens_of_other_scenes_are_no_tickets(running: Running) -> None:
    """Neither a login token nor an exchange code; and a ticket is neither."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        plain = await browser.begin(shown)
        answer = await browser.send("POST", "/api/scenes", json={})
        own = answer.json()
        await stack.simulator("scan", url=own["qr"]["content"], person="alice")
        bearer = {"Authorization": f"Bearer {own['watch_token']}"}
        login = (await browser.send("GET", own["status"], headers=bearer)).json()["login"]
        again = await browser.post(shown, ticket=login["token"])
        assert again.headers["Location"].startswith("/oauth/authorize?")
        await stack.scan(plain)
        ticket = await browser.ticket(plain)
        bearer = {"Authorization": f"Bearer {ticket}"}
        assert (await browser.send("GET", "/api/me", headers=bearer)).status_code == 401


async def test_a_client_may_post_its_request(running: Running) -> None:
    """From another site, so without cookies: it comes once more by GET, with them."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in()
        answer = await stack.http.post(
            "/oauth/authorize", data=asking("shop"), headers={"Origin": "https://shop.example.test"}
        )
        assert answer.status_code == 303 and answer.headers["Location"].startswith("/oauth/")
        address, fields = sent_to(await browser.send("GET", answer.headers["Location"]))
        assert address == SHOP_CALLBACK and "code" in fields
        mistaken = await stack.http.post("/oauth/authorize", data=asking(scope="x"))
        assert sent_to(mistaken)[1]["error"] == "invalid_scope"


async def test_a_person_who_does_not_log_in_is_told_to_the_client(running: Running) -> None:
    """access_denied by the page's button; also once the login was denied on the phone."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        address, fields = sent_to(await browser.post(shown, refuse="1"))
        assert address == CALLBACK and fields["error"] == "access_denied"
        assert (fields["state"], fields["iss"]) == ("a state & more", ISSUER)
        assert fields["error_description"] == "the person did not log in"
        fields = sent_to(await browser.post(shown, refuse="barred"))[1]
        assert fields["error"] == "access_denied"
        assert fields["error_description"] == "the person may not log in"
        async with BrowserOfOne(stack) as other:
            await other.ask()
            assert (await other.post(shown, refuse="1")).status_code == 400


async def push(
    stack: Stack, parameters: dict[str, str], auth: tuple[str, str] | None = ("wiki", SECRET)
) -> httpx.Response:
    return await stack.http.post(
        "/oauth/par", data=parameters, auth=auth or httpx.USE_CLIENT_DEFAULT
    )


async def test_a_pushed_request_is_spent_with_its_code(running: Running) -> None:
    """Until then it can be loaded again; afterwards, and for another client, it is a page."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        pushed = await push(stack, asking())
        assert pushed.status_code == 201 and pushed.headers["Cache-Control"] == "no-store"
        document = pushed.json()
        assert document["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
        assert 5 <= document["expires_in"] <= 600
        query = {"client_id": "wiki", "request_uri": document["request_uri"]}
        stranger = await browser.send(
            "GET", "/oauth/authorize", params=query | {"client_id": "shop"}
        )
        assert stranger.status_code == 400
        await browser.send("GET", "/oauth/authorize", params=query)
        # What stands beside the reference does not count.
        shown = await browser.send("GET", "/oauth/authorize", params=query | {"state": "other"})
        page = await browser.begin(shown)
        await stack.scan(page)
        fields = sent_to(await browser.post(shown, ticket=await browser.ticket(page)))[1]
        assert "code" in fields and fields["state"] == "a state & more"
        replayed = await browser.send("GET", "/oauth/authorize", params=query)
        assert replayed.status_code == 400 and "Location" not in replayed.headers


async def test_a_request_is_checked_when_it_is_pushed(
    running: Running, logs: UnexpectedLogs
) -> None:
    """The client proves itself, and hears of its mistakes at once."""
    logs.expect("scanpush.oidc WARNING")
    async with visiting(running) as stack:
        wrong: list[tuple[int, str, dict[str, str], tuple[str, str] | None]] = [
            (401, "invalid_client", asking(), ("wiki", "wrong")),
            (401, "invalid_client", asking(), None),
            (400, "invalid_request", asking(redirect_uri=CALLBACK + "/"), ("wiki", SECRET)),
            (400, "invalid_request", asking("shop"), ("wiki", SECRET)),
            (400, "invalid_request", asking(request_uri="urn:x"), ("wiki", SECRET)),
            (400, "invalid_scope", asking(scope="profile"), ("wiki", SECRET)),
        ]
        for status_code, error, parameters, auth in wrong:
            answer = await push(stack, parameters, auth)
            assert (answer.status_code, answer.json()["error"]) == (status_code, error)
        named = await push(stack, asking(client_id=None))
        public = await push(stack, asking("shop"), None)
        assert named.status_code == public.status_code == 201


async def test_a_login_inside_wechat_comes_back_to_the_page(tmp_path: Path) -> None:
    """Kind web: WeChat's browser leaves the page, and finds its pending login again."""
    async with Stack(tmp_path, **provider(wiki={"kinds": ["web"]})) as stack:
        async with BrowserOfOne(stack) as browser, Walker(stack) as phone:
            shown = await browser.ask()
            page = await browser.begin(shown, kind="web")
            onward = f"/oauth/authorize?pending={meta(shown, 'authorize')}"
            off = await browser.send(
                "GET", "/oauth/wechat/start", params={"scene": page.scene_str, "next": onward}
            )
            back = await phone.decide_at_wechat(off.headers["Location"])
            landed = await browser.send("GET", back.removeprefix(ISSUER))
            assert landed.headers["Location"] == f"{onward}#"
            again = await browser.send("GET", onward)
            assert meta(again, "authorize") == meta(shown, "authorize")
            answer = await browser.post(again, ticket=await browser.ticket(page))
            assert "code" in sent_to(answer)[1]
        async with BrowserOfOne(stack) as other:
            assert (await other.send("GET", onward)).status_code == 400


async def test_a_client_chooses_how_people_prove_themselves(tmp_path: Path) -> None:
    """A browser that logged in by another kind than a client's is asked again there."""
    sections = provider(shop={"kinds": ["website"]})
    async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in()
        assert (await browser.ask("shop")).status_code == 200
        assert sent_to(await browser.ask("shop", prompt="none"))[1]["error"] == "login_required"


async def test_a_banned_person_is_kept_out(tmp_path: Path) -> None:
    """Also where the ban comes between the scan and the ticket: access_denied, and no session."""
    async with Stack(tmp_path, **provider()) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        page = await browser.begin(shown)
        await stack.scan(page)
        ticket = await browser.ticket(page)
        scene = await stack.scene(page)
        assert scene is not None and scene.user_id is not None
        await stack.container.backend.users.ban(scene.user_id, True, stack.now)
        address, fields = sent_to(await browser.post(shown, ticket=ticket))
        assert (address, fields["error"]) == (CALLBACK, "access_denied")
        assert fields["error_description"] == "the person may not log in"
        assert "__Host-op_session" not in browser.jar
        page = await browser.begin(await browser.ask())
        await stack.scan(page)
        assert (await page.reaches("failed"))["error"]["code"] == "banned"


async def test_a_question_in_the_chat_names_the_client(tmp_path: Path) -> None:
    """confirm: always; and the login goes on when it is allowed."""
    sections = provider() | {"login": {"confirm": "always"}}
    async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        page, alice = await browser.begin(shown, lang="en"), Chatter(stack)
        assert "Tea Wiki" in await alice.scans(page)
        await alice.says("1")
        assert "code" in sent_to(await browser.post(shown, ticket=await browser.ticket(page)))[1]


async def test_a_newcomer_registers_on_the_page(tmp_path: Path) -> None:
    """registration: ask; the form's answer is followed by the ticket."""
    sections = provider() | {"login": {"registration": "ask"}}
    async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask()
        page = await browser.begin(shown)
        await stack.scan(page)
        asked = await page.reaches("registering")
        form = {"registration_token": asked["registration_token"], "name": "Alice"}
        assert (await browser.send("POST", "/api/register", json=form)).status_code == 200
        assert "code" in sent_to(await browser.post(shown, ticket=await browser.ticket(page)))[1]


async def test_a_client_may_expect_a_person(tmp_path: Path) -> None:
    """id_token_hint: for another one than the browser's, the person is asked, and must be them."""
    async with Stack(tmp_path, **provider()) as stack, BrowserOfOne(stack) as browser:
        await browser.log_in("alice")
        users = {}
        for person in ("alice", "bob"):
            async with BrowserOfOne(stack) as other:
                fields = sent_to(await other.log_in(person))[1]
                code = await stack.container.provider.codes.look(fields["code"])
                assert code is not None
                users[person] = code.grant.user_id

        def hint(person: str, **claims: Any) -> str:
            said = {"iss": ISSUER, "sub": users[person], "aud": "wiki", "sid": "x" * 22, "exp": 1}
            issuer = stack.container.issuer
            return issuer.sign(said | claims, typ="JWT", algorithm="RS256")

        assert "code" in sent_to(await browser.ask(id_token_hint=hint("alice")))[1]
        foreign = (hint("bob"), hint("alice", aud="shop"), hint("alice", iss="x"), "nonsense")
        for other_hint in foreign:
            assert (await browser.ask(id_token_hint=other_hint)).status_code == 200
            silent = sent_to(await browser.ask(id_token_hint=other_hint, prompt="none"))[1]
            assert silent["error"] == "login_required"
        answer = await browser.log_in("alice", id_token_hint=hint("bob"))
        assert sent_to(answer)[1]["error"] == "login_required"
        assert "code" in sent_to(await browser.log_in("bob", id_token_hint=hint("bob")))[1]


async def test_a_store_that_fails_costs_another_scan_at_most(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """503 as a page; where the ticket was spent already, the page comes with a new code."""
    logs.expect("store_unavailable")
    async with (
        Stack(tmp_path, faulty=True, **provider()) as stack,
        BrowserOfOne(stack) as browser,
    ):
        shown = await browser.ask()
        page = await browser.begin(shown)
        await stack.scan(page)
        ticket = await browser.ticket(page)
        stack.scenes.refuse("remember")
        failed = await browser.post(shown, ticket=ticket)
        assert failed.status_code == 503 and PAGES["unavailable"]["en"][0] in failed.text
        stack.scenes.heal()
        again = await browser.post(shown, ticket=ticket)
        shown = await browser.send("GET", again.headers["Location"])
        assert shown.status_code == 200
        page = await browser.begin(shown)
        await stack.scan(page)
        assert "code" in sent_to(await browser.post(shown, ticket=await browser.ticket(page)))[1]


async def test_pages_that_are_kept_are_limited(tmp_path: Path) -> None:
    """By address, as scenes are; who is logged in already is not counted."""
    sections = provider() | {"limits": {"scenes_per_minute_per_address": 1}}
    async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
        answers = [(await browser.ask()).status_code for _ in range(3)]
        assert answers == [200, 200, 429]


async def test_without_clients_there_is_no_provider(tmp_path: Path) -> None:
    """404 in the form of the contract."""
    async with Stack(tmp_path) as stack:
        for method, path in (("GET", "authorize"), ("POST", "authorize"), ("GET", "logout")):
            answer = await stack.http.request(method, f"/oauth/{path}")
            assert answer.status_code == 404, path
        assert (await stack.http.post("/oauth/par")).status_code == 404
        answer = await stack.http.post("/api/scenes", json={"authorize": "x" * 43})
        assert answer.status_code == 400


async def test_the_log_holds_no_secret_of_a_login(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG: no state, nonce, code, ticket or cookie."""
    caplog.set_level("DEBUG")
    async with Stack(tmp_path, **provider()) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.ask(state="st-8f1c", nonce="no-77aa")
        page = await browser.begin(shown)
        await stack.scan(page)
        ticket = await browser.ticket(page)
        fields = sent_to(await browser.post(shown, ticket=ticket))[1]
        secrets = ["st-8f1c", "no-77aa", fields["code"], ticket, *browser.jar.values()]
        ours = json.dumps([r.getMessage() for r in caplog.records if r.name.startswith("scanpush")])
        assert len(secrets) == 6 and page.scene_str in ours
        for secret in secrets:
            assert secret not in ours
