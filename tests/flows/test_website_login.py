"""Website login by qrconnect: popup or embedded, the result on the page's own socket."""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.flows.browsers import Walker, asks, title
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP


async def test_the_document_has_an_address_and_no_code(tmp_path: Path) -> None:
    """`start` is for the popup; WeChat shows the code there."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website")
        assert page.document["start"] == f"/oauth/website/start?scene={page.scene_str}"
        assert "qr" not in page.document and "code" not in page.document
        assert (await stack.http.get(f"{page.document['status']}/qr.png")).status_code == 404


async def test_the_result_arrives_on_the_openers_socket(tmp_path: Path) -> None:
    """The popup has the page's cookies: no question, and it closes itself."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website", lang="en")
        async with page.socket() as socket, Walker(stack, page) as popup:
            assert (await status(socket))["state"] == "waiting"
            landed = await popup.walk(page, route="website")
            assert title(landed) == "You are logged in" and "data-closes" in landed.text
            document = await until(socket, "authorized")
        # qrconnect grants the profile, too.
        assert document["user"]["name"] == "alice"


@pytest.mark.parametrize(("lang", "shown"), [("zh-TW", "cn"), ("ja", "en")])
async def test_the_link_has_the_website_scope_and_language(
    tmp_path: Path, lang: str, shown: str
) -> None:
    """snsapi_login, the website's own app_id, WeChat's page in the nearest language it has."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website", lang=lang)
        async with Walker(stack, page) as popup:
            off = await popup.start(page, "website")
        parts = urlsplit(off.headers["Location"])
        values = dict(parse_qsl(parts.query))
        assert parts.path.endswith("/connect/qrconnect") and parts.fragment == "wechat_redirect"
        assert (values["scope"], values["lang"]) == ("snsapi_login", shown)
        assert values["appid"] == stack.container.settings.wechat.website.app_id


async def test_an_embedding_page_gets_what_wxlogin_js_wants(tmp_path: Path) -> None:
    """`format=json`: the values of ``new WxLogin``, with the cookie; then it comes back on top."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website")
        async with Walker(stack, page) as browser:
            values = (await browser.start(page, "website", format="json", next="/in")).json()
            assert set(values) == {"appid", "scope", "redirect_uri", "state"}
            base = stack.container.settings.wechat.open_base
            query = {**values, "login_type": "jssdk", "self_redirect": "false"}
            link = f"{base}/connect/qrconnect?{urlencode(query)}"
            landed = await browser.http.get(await browser.decide_at_wechat(link))
        assert (landed.status_code, landed.headers["Location"]) == (302, "/in#")
        assert await page.state() == "authorized"


async def test_refused_without_a_redirect_simply_expires(tmp_path: Path) -> None:
    """WeChat's newer page reports no refusal."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website")
        async with Walker(stack, page) as popup:
            off = await popup.start(page, "website")
            url = off.headers["Location"]
            assert await popup.decide_at_wechat(url, allow=False) == ""
        assert await page.state() == "waiting"


async def test_refused_with_a_redirect_ends_the_scene(tmp_path: Path) -> None:
    """WeChat's older page comes back with the state alone; only the own browser counts."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website", lang="en")
        for who, state in ((None, "waiting"), (page, "cancelled")):
            async with Walker(stack, who) as popup:
                back = await popup.to_wechat_and_back(page, route="website")
                without = f"{back.partition('?')[0]}?state={back.rpartition('state=')[2]}"
                assert title(await popup.http.get(without)) == "Refused"
            assert await page.state() == state


async def test_another_browser_is_asked(tmp_path: Path) -> None:
    """The start URL, opened by another person, logs no one in silently."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="website", lang="en")
        async with Walker(stack) as victim:
            shown = await victim.walk(page, route="website")
            assert asks(shown) and await page.state() == "scanned"
            await victim.answer(shown, allow=False)
        assert await page.state() == "denied"
