"""C11: no browser is logged in with another person's login without their knowledge."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from services.ids import SceneStr
from services.scenes.begin import begun_here
from tests.flows.browsers import Walker, asks, title
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP


async def test_only_the_browser_that_began_counts_as_such(tmp_path: Path) -> None:
    """The cookie is the proof; the public scene, another browser's cookie or none are not."""
    async with Stack(tmp_path) as stack:
        page, other = await stack.begin(), await stack.begin()
        scene = await stack.container.backend.scenes.get(SceneStr(page.scene_str))
        assert scene is not None and page.begin_cookie != other.begin_cookie
        assert begun_here(scene, page.begin_cookie)
        for wrong in (None, "", other.begin_cookie, page.scene_str, "x" * 43):
            assert not begun_here(scene, wrong)


async def test_the_token_is_in_no_address(tmp_path: Path) -> None:
    """No address that a page is given to open holds the watch token or a login."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        addresses = [page.document["ws"], page.document["status"], *page.document["qr"].values()]
        for secret in (page.document["watch_token"], page.begin_cookie):
            assert not any(secret in str(address) for address in addresses)


ROUTES = [("wechat", "web"), ("website", "website")]


@pytest.mark.parametrize(("route", "kind"), ROUTES)
async def test_the_attackers_code_and_state_are_refused(
    tmp_path: Path, route: str, kind: str
) -> None:
    """The victim's browser opens a callback that another began: nothing, and nothing is spent."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind=kind, lang="en")
        async with Walker(stack, page) as attacker, Walker(stack) as victim:
            back = await attacker.to_wechat_and_back(page, "mallory", route)
            refused = await victim.http.get(back)
            assert (refused.status_code, title(refused)) == (400, "This link is over")
            assert await page.state() == "waiting"
            await victim.start(page, route)  # a cookie of its own is not that cookie either
            assert (await victim.http.get(back)).status_code == 400
            assert title(await attacker.http.get(back)) == "You are logged in"


@pytest.mark.parametrize(("route", "kind"), ROUTES)
async def test_the_attackers_start_url_asks_the_victim(
    tmp_path: Path, route: str, kind: str
) -> None:
    """Scene fixation: the victim is asked, whatever cookies of other scenes they have."""
    async with Stack(tmp_path) as stack:
        attackers, own = await stack.begin(kind=kind), await stack.begin(kind=kind)
        async with Walker(stack, own) as victim:
            shown = await victim.walk(attackers, "victim", route, next="/")
            assert shown.status_code == 200 and asks(shown)
            assert await attackers.state() == "scanned"
            landed = await victim.answer(shown, allow=False)
            assert landed.status_code == 200 and await attackers.state() == "denied"
            assert await own.state() == "waiting"


async def test_a_code_slipped_under_ones_own_state_is_refused(tmp_path: Path) -> None:
    """Code injection: the state is the victim's, the code the attacker's, after the victim's."""
    async with Stack(tmp_path) as stack:
        page, other = await stack.begin(kind="web"), await stack.begin(kind="web")
        async with Walker(stack, page) as victim, Walker(stack, other) as attacker:
            back = await victim.to_wechat_and_back(page)
            foreign = await attacker.to_wechat_and_back(other, "mallory")
            await victim.http.get(back)
            code = foreign.partition("code=")[2].partition("&")[0]
            state = back.partition("state=")[2]
            query = {"code": code, "state": state}
            mixed = await victim.http.get("/oauth/wechat/callback", params=query)
            assert mixed.status_code == 400


STATES = ["", "1", "x" * 64, "0" * 64, "wechat", "casdoor", "%00", "0" * 5000]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state[:10])
async def test_no_state_is_known_beforehand(tmp_path: Path, state: str) -> None:
    """Constant, empty, guessed or huge ones are refused, and every start has another."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        async with Walker(stack, page) as phone:
            begun = {(await phone.start(page)).headers["Location"] for _ in range(3)}
            assert len(begun) == 3
            query = {"code": "0a1b2c", "state": state}
            answer = await phone.http.get("/oauth/wechat/callback", params=query)
        assert answer.status_code == 400 and await page.state() == "waiting"


async def test_a_state_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    """The answer of a website login is refused by the callback of the web kind."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website")
        async with Walker(stack, page) as popup:
            back = await popup.to_wechat_and_back(page, route="website")
            crossed = back.replace("/oauth/website/", "/oauth/wechat/")
            assert (await popup.http.get(crossed)).status_code == 400
            assert await page.state() == "waiting"


@pytest.mark.parametrize("origin", [None, "null", "https://evil.test", "http://127.0.0.1"], ids=str)
async def test_only_our_own_page_may_answer_the_question(
    tmp_path: Path, origin: str | None
) -> None:
    """A form on another site, even with the value, is 403; so is a request of no page at all."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        async with Walker(stack) as phone:
            shown = await phone.walk(page)
            assert (await phone.answer(shown, True, origin)).status_code == 403
        assert await page.state() == "scanned"


async def test_the_questions_value_is_worth_nothing_elsewhere(tmp_path: Path) -> None:
    """Another browser, also one that was asked something itself, cannot answer for it."""
    async with Stack(tmp_path) as stack:
        page, other = await stack.begin(kind="web"), await stack.begin(kind="web")
        async with Walker(stack) as victim, Walker(stack) as attacker:
            shown = await victim.walk(page)
            await attacker.walk(other, "mallory")
            assert (await attacker.answer(shown, allow=True)).status_code == 400
        assert await page.state() == "scanned"


async def test_the_oauth_cookie_is_the_servers_alone(tmp_path: Path) -> None:
    """HttpOnly, Lax, for the OAuth routes only; a value of another form is replaced."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        url = f"/oauth/wechat/start?scene={page.scene_str}"
        answer = await stack.http.get(url, headers={"Cookie": "oauth=fixed"})
        header = answer.headers["Set-Cookie"]
        assert "HttpOnly" in header and "SameSite=Lax" in header and "Path=/oauth" in header
        assert "oauth=fixed" not in header


HTTPS = {"X-Forwarded-Proto": "https", "Host": "login.example"}


async def _walk(stack: Stack, page: Page, begin: str, over_tls: bool) -> httpx.Response:
    """The victim follows the attacker's start address; her browser sends `begin` as cookies."""
    headers = HTTPS if over_tls else {}
    path = f"/oauth/wechat/start?scene={page.scene_str}"
    stack.http.cookies.clear()
    # Some browsers send the bytes of a cookie's name as they came.
    encoding = "utf-8" if max(begin, default="") > "\xff" else "latin-1"
    off = await stack.http.get(path, headers=_bytes({**headers, "Cookie": begin}, encoding))
    assert off.status_code == 302, off.text
    own = off.headers["Set-Cookie"].partition(";")[0]
    back = await stack.simulator("authorize", url=off.headers["Location"], person="victim")
    returned = urlsplit(back["redirect"])
    stack.http.cookies.clear()
    cookies = {"Cookie": f"{begin}; {own}" if begin else own}
    return await stack.http.get(
        f"{returned.path}?{returned.query}", headers=_bytes({**headers, **cookies}, encoding)
    )


def _bytes(headers: dict[str, str], encoding: str) -> dict[bytes, bytes]:
    return {name.encode(): value.encode(encoding) for name, value in headers.items()}


TOSSED = [
    "begin={}",
    "begin={}; __Host-begin=mine",
    "__Host-begin=mine; begin={}",
    "__Host-begin={}; __Host-begin=mine",
    "__Host-begin=mine; __Host-begin={}",
    "__Host-begin={0}; __Host-begin={0}",
    "__host-begin={}",
    "x__Host-begin={}",
    "__Host-begin ={}",
    "\xa0__Host-begin={}",
    "\x85__Host-begin={}",
    "a=b;\xa0\x85__Host-begin={}",
    "\u2000__Host-begin={}",
    "",
]


@pytest.mark.parametrize("tossed", TOSSED)
async def test_a_cookie_of_a_sibling_domain_asks(tmp_path: Path, tossed: str) -> None:
    """Over TLS the browser's own cookie has a prefix that no other host can set; and two of one
    name count as none, wherever the foreign one stands."""
    async with Stack(tmp_path, server={"trusted_proxies": ["127.0.0.1"]}) as stack:
        page = await stack.begin(kind="web")
        shown = await _walk(stack, page, tossed.format(page.begin_cookie), over_tls=True)
        assert asks(shown) and await page.state() == "scanned"


@pytest.mark.parametrize("tossed", ["begin={}; begin=mine", "begin=mine; begin={}"])
async def test_two_cookies_of_one_name_ask_without_tls_too(tmp_path: Path, tossed: str) -> None:
    """There the prefix does not exist: a foreign cookie beside the browser's own is noticed."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        assert asks(await _walk(stack, page, tossed.format(page.begin_cookie), over_tls=False))


@pytest.mark.parametrize(("over_tls", "name"), [(True, "__Host-begin"), (False, "begin")])
async def test_the_browser_that_began_is_not_asked(
    tmp_path: Path, over_tls: bool, name: str
) -> None:
    """With the cookie that it was given."""
    async with Stack(tmp_path, server={"trusted_proxies": ["127.0.0.1"]}) as stack:
        headers = HTTPS if over_tls else {}
        begun = await stack.http.post("/api/scenes", json={"kind": "web"}, headers=headers)
        page = Page(stack, begun.json(), "")
        cookie, _, attributes = begun.headers["Set-Cookie"].partition(";")
        assert cookie.startswith(f"{name}=") and ("Secure" in attributes) is over_tls
        assert "Path=/" in attributes.split("; ") and "Domain" not in attributes
        shown = await _walk(stack, page, cookie, over_tls)
        assert not asks(shown) and await page.state() == "authorized"


async def test_two_oauth_cookies_are_none(tmp_path: Path) -> None:
    """A state is bound to one browser: with a foreign cookie beside its own it is refused."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        off = await stack.http.get(f"/oauth/wechat/start?scene={page.scene_str}")
        own = off.headers["Set-Cookie"].partition(";")[0]
        back = await stack.simulator("authorize", url=off.headers["Location"], person="victim")
        for cookies, status in ((f"{own}; oauth={'x' * 43}", 400), (own, 200)):
            stack.http.cookies.clear()
            answer = await stack.http.get(back["redirect"], headers={"Cookie": cookies})
            assert answer.status_code == status
