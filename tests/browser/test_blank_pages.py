"""No page stays blank: what a screen shows whose browser, script or path is not the page's."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from .conftest import SCREENSHOTS, Fake, Servers, wait_for_state
from .real_server import KIOSK_SECRET, TEA_HOUSE, Real
from .test_policies import embed
from .walks import open_page

pytestmark = pytest.mark.browser

PAGES = {"login": "/", "kiosk": f"/kiosk?lang=en#lobby3:{KIOSK_SECRET}", "operator": "/operator"}
CHINESE, ENGLISH = "请换一个较新的", "please use a newer one"


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests."""
    return servers(**TEA_HOUSE)


DOCUMENTS = re.compile(r"/(kiosk.*|operator)?(\?.*)?$")
BEGINNING = '<script>"use strict";'
"""Each script of a page but the last, which only starts them."""


def changed(route: Route, before: str, after: str) -> None:
    """The page with other scripts, under no policy, which would keep them out."""
    answer = route.fetch(max_redirects=0)
    body = answer.text().replace(before, after)
    assert body != answer.text()
    headers = {k: v for k, v in answer.headers.items() if k != "content-security-policy"}
    route.fulfill(response=answer, body=body, headers=headers)


def unknown_syntax(route: Route) -> None:
    """As an engine reads scripts that are newer than itself."""
    changed(route, BEGINNING, f"{BEGINNING} class {{ # }};")


def a_script_that_throws(route: Route) -> None:
    changed(route, "<script>start();", "<script>throw new Error('no such thing here');")


def the_first_script_throws(route: Route) -> None:
    thrown = "throw new Error('no such thing here');"
    changed(route, BEGINNING, f"{BEGINNING} {thrown}")


def no_script(route: Route) -> None:
    """Something between server and browser lets none through."""
    answer = route.fetch(max_redirects=0)
    headers = {**answer.headers, "content-security-policy": "script-src 'none'"}
    route.fulfill(response=answer, headers=headers)


def cut_short(route: Route) -> None:
    """The connection ended in the middle."""
    answer = route.fetch(max_redirects=0)
    route.fulfill(response=answer, body=answer.text().partition("<script>start();")[0])


def another_sites_page(route: Route) -> None:
    """What a site answers for what it does not have."""
    route.fulfill(body="<!doctype html><title>Shop</title>", content_type="text/html")


BREAKAGES: dict[str, Callable[[Route], None]] = {
    "unknown syntax": unknown_syntax,
    "throws": a_script_that_throws,
    "the first throws": the_first_script_throws,
    "no script": no_script,
    "cut short": cut_short,
}


@pytest.mark.parametrize("how", BREAKAGES.values(), ids=BREAKAGES)
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_that_cannot_draw_itself_says_so(
    context: BrowserContext,
    tea: Real,
    path: str,
    how: Callable[[Route], None],
    request: pytest.FixtureRequest,
) -> None:
    """In Chinese and English, with what to do: another browser, or the root of an origin."""
    page = context.new_page()
    page.route(DOCUMENTS, how)
    page.goto(tea.url + path)
    assert_says_so(page, request)


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_below_a_path_of_another_site_says_so(
    context: BrowserContext, tea: Real, path: str, request: pytest.FixtureRequest
) -> None:
    """It draws itself, but the server is not where it asks."""
    page = context.new_page()
    page.route(re.compile("/(static|api)/"), another_sites_page)
    page.route("**/shop/**", lambda route: route.fulfill(response=route.fetch(url=tea.url + path)))
    page.goto(f"{tea.url}/shop{path}")
    assert_says_so(page, request)


def assert_says_so(page: Page, request: pytest.FixtureRequest) -> None:
    plain = page.locator("#plain")
    expect(plain).to_be_visible()
    said = plain.inner_text()
    assert CHINESE in said and ENGLISH in said
    assert "根路径" in said and "root of an origin" in said
    page.screenshot(
        path=SCREENSHOTS / f"blank-{request.node.callspec.id.replace(' ', '_')}.png",
        animations="disabled",
    )


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_that_draws_itself_removes_the_sentence(page: Page, tea: Real, path: str) -> None:
    """As soon as there are words in its place; nothing moves by it."""
    page.goto(tea.url + path)
    expect(page.locator("#plain")).to_have_count(0)
    expect(page.locator("h1").first).not_to_be_empty()


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
def test_the_pages_of_the_web_login_do_without_a_script(
    context: BrowserContext, page: Page, tea: Real, javascript: bool
) -> None:
    """The question can be answered, and the outcome read; a sentence in both languages says so."""
    content = open_page(page, tea.url, "web")["qr"]["content"]
    assert context.browser is not None
    phone = context.browser.new_context(locale="en", java_script_enabled=javascript)
    tab = phone.new_page()
    tab.goto(content)
    tab.locator("button.main[value='1']").click()
    expect(tab.locator("h1")).to_contain_text("示例茶馆")
    assert_plain(tab, javascript)
    tab.locator("button[name=allow][value='1']").click()
    expect(tab.locator("main.good h1")).to_have_text("登录成功")
    assert_plain(tab, javascript)
    wait_for_state(page, "authorized")
    phone.close()


def assert_plain(tab: Page, removed: bool) -> None:
    """The sentence stands in the page until a script removes it."""
    plain = tab.locator("#plain")
    if removed:
        expect(plain).to_have_count(0)
    else:
        expect(plain).to_contain_text("脚本没有运行")
        expect(plain).to_contain_text("script did not run")


@pytest.mark.parametrize("name", ["plain", "react", "vue"])
def test_an_example_opened_from_the_server_says_what_is_missing(
    context: BrowserContext, tea: Real, name: str
) -> None:
    """Its framework is not shipped, and an old browser draws no element: a sentence is there."""
    page = context.new_page()
    missing = re.compile(r"scan-login\.js|example\.com")
    page.route(missing, lambda route: route.fulfill(status=404, body=""))
    page.goto(f"{tea.url}/static/examples/{name}.html")
    said = page.locator("main").inner_text()
    assert re.search("code", said) and re.search("二维码", said)


def test_the_element_without_words_says_so_and_heals(page: Page, fake: Fake) -> None:
    """Its words do not come: one sentence without them; and the code once they are there."""
    words = re.compile(r"/i18n/[^/]+\.js$")
    page.route(words, lambda route: route.abort())
    embed(page, fake.elsewhere, fake.url)
    title = page.locator("scan-login [part=title]")
    expect(title).to_have_text("请刷新页面 · Please reload this page")
    page.unroute(words)
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible(timeout=10_000)


OLD_ENGINE = """(() => {
  globalThis.CSSStyleSheet = class {
    constructor() { throw new TypeError("Illegal constructor"); }
  };
  delete Document.prototype.adoptedStyleSheets;
  delete ShadowRoot.prototype.adoptedStyleSheets;
  delete Array.prototype.at;
  delete String.prototype.at;
})()"""
"""Safari before 16.4 and Firefox before 101, as far as scripts can tell."""


def test_an_engine_without_shared_style_sheets_logs_in(page: Page, servers: Servers) -> None:
    """The element and its form work there, plainly dressed, from the code to the token."""
    real = servers(**{**TEA_HOUSE, "login": {**TEA_HOUSE["login"], "registration": "ask"}})
    page.add_init_script(OLD_ENGINE)
    content = open_page(page, real.url)["qr"]["content"]
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()
    real.do("scan", person="old engine", url=content)
    page.get_by_label("称呼").fill("小明")
    page.get_by_role("button", name="完成注册").click()
    expect(page.locator("#me-name")).to_have_text("小明")
