"""The device flow over the wire: a television asks, a person allows it in their browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from services.backends import OpenBackend
from services.oidc.device import MOST_GUESSES, MOST_OPENED
from tests.conftest import UnexpectedLogs
from tests.flows.browsers import title
from tests.flows.oidc import ISSUER, BrowserOfOne, provider, visiting
from tests.handlers.running import Running
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

TV = {"public": True, "name": "Tea TV", "kinds": ["official_account", "web"]}
BOX_SECRET = "a-secret-of-the-box-alone"
OWN = {"Origin": ISSUER}
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
BOX = {"secret": BOX_SECRET, "name": "Tea Box"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for all tests that want no other."""
    folder = tmp_path_factory.mktemp("server")
    running = Running(lambda: with_devices(folder))
    yield running
    running.close()


def with_devices(folder: Path, **options: Any) -> Stack:
    """A server whose clients are devices, besides those of browsers; sessions can be renewed."""
    sessions = {"refresh_ttl_seconds": 86_400}
    return Stack(folder, **{**provider(tv=TV, box=BOX), "sessions": sessions, **options})


async def asks_for_codes(stack: Stack, **form: str) -> httpx.Response:
    """What the television sends."""
    stack.http.cookies.clear()
    form = {"client_id": "tv", "scope": "openid profile", **form}
    return await stack.http.post("/oauth/device_authorization", data=form)


async def codes_of(stack: Stack) -> dict[str, Any]:
    answer = await asks_for_codes(stack)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def poll(stack: Stack, codes: dict[str, Any], **form: str) -> dict[str, Any]:
    """What the token endpoint answers to the television's next poll."""
    form = {"client_id": "tv", "grant_type": GRANT, "device_code": codes["device_code"], **form}
    stack.http.cookies.clear()
    return dict((await stack.http.post("/oauth/token", data=form)).json())


async def is_allowed(stack: Stack, codes: dict[str, Any]) -> bool:
    """Whether the television's next poll brings its tokens."""
    return "access_token" in await poll(stack, codes)


def path_of(address: str) -> str:
    assert address.startswith(ISSUER), address
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


async def log_in(browser: BrowserOfOne, user_code: str, person: str = "alice") -> httpx.Response:
    """From the code to what a person sees after a scan."""
    off = await browser.send("GET", "/device", params={"user_code": user_code})
    assert off.status_code == 302, off.text
    shown = await browser.send("GET", off.headers["Location"])
    page = await browser.begin(shown)
    await browser.stack.scan(page, person)
    back = await browser.post(shown, ticket=await browser.ticket(page))
    assert back.status_code == 303
    return await browser.send("GET", back.headers["Location"])


async def press(
    browser: BrowserOfOne, shown: httpx.Response, allow: bool, origin: str | None = ISSUER
) -> httpx.Response:
    """A button of the page that asks."""
    fields = dict(re.findall(r'name="(user_code|sid)" value="([^"]+)"', shown.text))
    assert set(fields) == {"user_code", "sid"}, shown.text
    headers = {} if origin is None else {"Origin": origin}
    data = {**fields, "allow": "1" if allow else "0"}
    return await browser.send("POST", "/device", data=data, headers=headers)


async def test_the_answer_has_the_fields_of_the_rfc(running: Running) -> None:
    """RFC 8628, section 3.2: all of them, with addresses that people can open."""
    async with visiting(running) as stack:
        answer = await asks_for_codes(stack)
        codes = answer.json()
        assert set(codes) == {
            "device_code", "user_code", "verification_uri", "verification_uri_complete",
            "expires_in", "interval",
        }  # fmt: skip
        assert codes["verification_uri"] == f"{ISSUER}/device"
        complete = f"{ISSUER}/device?user_code={codes['user_code']}"
        assert codes["verification_uri_complete"] == complete
        assert (codes["expires_in"], codes["interval"]) == (600, 5)
        assert answer.headers["Cache-Control"] == "no-store"


REFUSED = [
    ({"client_id": "stranger"}, 401, "invalid_client"),
    ({"client_id": ""}, 401, "invalid_client"),
    ({"client_id": "box"}, 401, "invalid_client"),
    ({"client_id": "box", "client_secret": "wrong"}, 401, "invalid_client"),
    ({"client_secret": "x"}, 401, "invalid_client"),
    ({"scope": "profile"}, 400, "invalid_scope"),
    ({"scope": ""}, 400, "invalid_scope"),
]


async def test_refusals_have_the_form_of_oauth(running: Running, logs: UnexpectedLogs) -> None:
    """Who the client is comes first, then what it wants; what is no form is told so."""
    logs.expect("scanpush.oidc WARNING")
    async with visiting(running) as stack:
        for form, status, error in REFUSED:
            answer = await asks_for_codes(stack, **form)
            assert (answer.status_code, answer.json()["error"]) == (status, error), form
        for content in (b"{}", b"client_id=tv&client_id=tv&scope=openid"):
            answer = await stack.http.post(
                "/oauth/device_authorization",
                content=content,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code in (400, 401) and "error_description" in answer.json()


async def test_a_client_with_a_secret_proves_itself(running: Running) -> None:
    """By HTTP Basic or in the form, as at the token endpoint."""
    async with visiting(running) as stack:
        posted = await asks_for_codes(stack, client_id="box", client_secret=BOX_SECRET)
        basic = await stack.http.post(
            "/oauth/device_authorization", data={"scope": "openid"}, auth=("box", BOX_SECRET)
        )
        assert (posted.status_code, basic.status_code) == (200, 200)


async def test_codes_are_limited_by_address(tmp_path: Path) -> None:
    """A public client proves nothing, and yet cannot fill the store."""
    limits = {"scenes_per_minute_per_address": 2}
    async with with_devices(tmp_path, limits=limits) as stack:
        seen = [await asks_for_codes(stack) for _ in range(12)]
        last = seen[-1]
        assert last.status_code == 429 and "Retry-After" in last.headers
        assert last.json()["error"] == "slow_down"


async def test_without_clients_there_is_nothing(tmp_path: Path) -> None:
    """Both addresses are 404."""
    async with Stack(tmp_path) as stack:
        assert (await asks_for_codes(stack)).status_code == 404
        assert (await stack.http.get("/device")).status_code == 404


async def test_a_television_is_allowed(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """The link, a scan that is pushed live, the question with client and code, the button."""
    async with (
        with_devices(tmp_path, stores=any_scenes) as stack,
        BrowserOfOne(stack) as browser,
    ):
        codes = await codes_of(stack)
        off = await browser.send("GET", path_of(codes["verification_uri_complete"]))
        shown = await browser.send("GET", off.headers["Location"])
        assert "Tea TV" in shown.text
        page = await browser.begin(shown)
        await stack.scan(page)
        back = await browser.post(shown, ticket=await browser.ticket(page))
        question = await browser.send("GET", back.headers["Location"])
        assert title(question) == "Allow this device?"
        assert "Tea TV" in question.text and codes["user_code"] in question.text
        assert not await is_allowed(stack, codes)
        assert title(await press(browser, question, True)) == "The device is logged in"
        assert await is_allowed(stack, codes)


async def test_the_television_has_a_session_of_its_own(
    running: Running, logs: UnexpectedLogs
) -> None:
    """It waits, it is too fast, it gets tokens once; the browser's log-out does not end them."""
    logs.expect("scanpush.oidc WARNING")
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        codes = dict((await asks_for_codes(stack, scope="openid offline_access")).json())
        assert (await poll(stack, codes))["error"] == "authorization_pending"
        assert (await poll(stack, codes))["error"] == "slow_down"
        await press(browser, await log_in(browser, codes["user_code"]), True)
        assert (await poll(stack, codes, client_id="stranger"))["error"] == "invalid_client"
        tokens = await poll(stack, codes)
        assert {"access_token", "id_token", "refresh_token"} <= set(tokens)
        assert (await poll(stack, codes))["error"] == "invalid_grant"
        await browser.send("POST", "/oauth/logout", data={"answer": "yes"}, headers=OWN)
        refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert "access_token" in await poll(stack, codes, **refresh)


async def test_a_logged_in_browser_is_only_asked(running: Running) -> None:
    """Its second device needs no second scan, but its own yes."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        await log_in(browser, (await codes_of(stack))["user_code"])
        second = await codes_of(stack)
        typed = {"user_code": second["user_code"].lower().replace("-", " ")}
        question = await browser.send("GET", "/device", params=typed)
        assert question.status_code == 200 and title(question) == "Allow this device?"
        assert not await is_allowed(stack, second)
        await press(browser, question, True)
        assert await is_allowed(stack, second)


async def test_a_client_of_other_kinds_needs_its_own_login(tmp_path: Path) -> None:
    """Who is logged in by a scan is not for a client that takes typed codes only."""
    async with (
        with_devices(tmp_path, **provider(tv=TV, box={**BOX, "kinds": ["code"]})) as stack,
        BrowserOfOne(stack) as browser,
    ):
        await log_in(browser, (await codes_of(stack))["user_code"])
        answer = await asks_for_codes(stack, client_id="box", client_secret=BOX_SECRET)
        code = answer.json()["user_code"]
        off = await browser.send("GET", "/device", params={"user_code": code})
        assert off.status_code == 302 and off.headers["Location"].startswith("/oauth/authorize?")


async def test_refusing_is_final(running: Running) -> None:
    """The television is told, and a later yes changes nothing."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        codes = await codes_of(stack)
        question = await log_in(browser, codes["user_code"])
        assert title(await press(browser, question, False)) == "Refused"
        assert title(await press(browser, question, True)) == "Refused"
        assert (await poll(stack, codes))["error"] == "access_denied"


async def test_who_does_not_log_in_is_not_sent_there_again(running: Running) -> None:
    """The login page's own Cancel ends at a page that says so, and offers the code once more."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        codes = await codes_of(stack)
        off = await browser.send("GET", "/device", params={"user_code": codes["user_code"]})
        shown = await browser.send("GET", off.headers["Location"])
        back = await browser.post(shown, refuse="1")
        told = await browser.send("GET", back.headers["Location"])
        assert title(told) == "You are not logged in" and codes["user_code"] in told.text


@pytest.mark.parametrize("origin", [None, "null", "https://evil.test"], ids=str)
async def test_only_the_servers_own_page_may_answer(running: Running, origin: str | None) -> None:
    """A form of another site, or of none, allows nothing."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        codes = await codes_of(stack)
        question = await log_in(browser, codes["user_code"])
        assert (await press(browser, question, True, origin)).status_code == 403
        assert not await is_allowed(stack, codes)


async def test_another_person_is_asked_again(running: Running) -> None:
    """The answer to a question that the browser's former session was asked does not count."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        codes = await codes_of(stack)
        question = await log_in(browser, codes["user_code"])
        browser.jar.pop("__Host-op_session")
        again = await log_in(browser, codes["user_code"], "bob")
        stale = await press(browser, question, True)
        assert title(stale) == title(again) == "Allow this device?"
        assert not await is_allowed(stack, codes)
        await press(browser, stale, True)
        assert await is_allowed(stack, codes)


async def test_the_first_of_two_people_has_the_device(running: Running) -> None:
    """The other is told that it is another's."""
    async with (
        visiting(running) as stack,
        BrowserOfOne(stack) as ann,
        BrowserOfOne(stack) as bob,
    ):
        codes = await codes_of(stack)
        asked = [await log_in(ann, codes["user_code"]), await log_in(bob, codes["user_code"], "b")]
        assert title(await press(ann, asked[0], True)) == "The device is logged in"
        told = await press(bob, asked[1], True)
        assert (told.status_code, title(told)) == (409, "Already used")
        assert title(await press(ann, asked[0], True)) == "The device is logged in"
        assert await is_allowed(stack, codes)


async def test_a_mistyped_code_is_shown_again(running: Running) -> None:
    """As text, whatever it is."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        for typed in ("BBBB-BBBB", "<b>", '"><script>x</script>', "x" * 500):
            told = await browser.send("GET", "/device", params={"user_code": typed})
            assert told.status_code == 404 and title(told) == "That is not the code"
            assert "<script>x" not in told.text and "<b>" not in told.text


async def test_guesses_are_limited_by_address(tmp_path: Path) -> None:
    """Also where the address is exempt from other limits; the page says to wait."""
    async with (
        with_devices(tmp_path, limits={"exempt": ["127.0.0.1"]}) as stack,
        BrowserOfOne(stack) as browser,
    ):
        codes = await codes_of(stack)
        for _ in range(MOST_GUESSES):
            await browser.send("GET", "/device", params={"user_code": "BBBB-BBBB"})
        right = {"user_code": codes["user_code"]}
        refused = await browser.send("GET", "/device", params=right)
        assert refused.status_code == 429 and "Retry-After" in refused.headers
        assert "html" in refused.headers["Content-Type"]


async def test_a_link_sent_to_many_is_soon_over(running: Running) -> None:
    """Whatever addresses open it."""
    async with visiting(running) as stack:
        codes = await codes_of(stack)
        right = {"user_code": codes["user_code"]}
        for _ in range(MOST_OPENED):
            assert (await stack.http.get("/device", params=right)).status_code == 302
        assert (await stack.http.get("/device", params=right)).status_code == 429


async def test_the_page_may_not_be_framed(running: Running) -> None:
    """Its buttons are not pressed by a click that was meant for another page."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await browser.send("GET", "/device")
        assert title(shown) == "Enter the code on your device"
        policy = shown.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert shown.headers["X-Frame-Options"] == "DENY"
        assert "unsafe" not in policy


async def test_inside_wechat_the_person_only_taps(running: Running) -> None:
    """A phone that scans the television's code with WeChat: logged in by web authorization, in the
    same browser, then asked."""
    async with visiting(running) as stack, BrowserOfOne(stack) as phone:
        codes = await codes_of(stack)
        off = await phone.send("GET", path_of(codes["verification_uri_complete"]))
        shown = await phone.send("GET", off.headers["Location"])
        page = await phone.begin(shown, kind="web")
        pending = off.headers["Location"]
        away = await phone.send(
            "GET", "/oauth/wechat/start", params={"scene": page.scene_str, "next": pending}
        )
        done = await stack.simulator("authorize", url=away.headers["Location"], person="alice")
        returned = urlsplit(done["redirect"])
        landed = await phone.send("GET", f"{returned.path}?{returned.query}")
        assert landed.headers["Location"].startswith(pending)
        again = await phone.send("GET", pending)
        back = await phone.post(again, ticket=await phone.ticket(page))
        question = await phone.send("GET", back.headers["Location"])
        assert not await is_allowed(stack, codes)
        assert title(await press(phone, question, True)) == "The device is logged in"
        assert await is_allowed(stack, codes)
