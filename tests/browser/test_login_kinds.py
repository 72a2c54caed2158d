"""The login kinds in a real browser, on the real server: a popup, a phone, a page inside WeChat."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import eventually, view, wait_for_state
from .look import look
from .real_server import Real

pytestmark = pytest.mark.browser

IN_WECHAT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) MicroMessenger/8.0.50"


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    server = Real(tmp_path, wechat={"site_name": "Tea House"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=[("zh-CN", "light"), ("en", "dark"), ("ja", "light")], ids=lambda p: p[0])
def phone(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """Another device: WeChat's browser, without the page's cookies."""
    lang, scheme = request.param
    opened = browser.new_context(
        locale=lang,
        color_scheme=scheme,
        viewport={"width": 360, "height": 640},
        user_agent=IN_WECHAT,
    )
    yield opened
    opened.close()


def show(page: Page, real: Real, kind: str, lang: str = "zh-CN") -> None:
    """The login page with that login kind."""
    page.goto(real.url)
    wait_for_state(page, "waiting")
    script = "([kind, lang]) => { const e = document.querySelector('scan-login');"
    script += " e.setAttribute('lang', lang); e.setAttribute('kind', kind); }"
    page.evaluate(script, [kind, lang])
    eventually(lambda: view(page).get("kind") == kind and view(page)["state"] == "waiting")


def allow_at_wechat(page: Page) -> None:
    """Press the button of the simulated WeChat's page."""
    page.locator("button.main[value='1']").click()


def test_the_phone_is_asked_and_the_page_logs_in(
    page: Page, phone: BrowserContext, real: Real, request: pytest.FixtureRequest
) -> None:
    """From the code's address over WeChat's page to the question; the form carries the server's
    Origin."""
    lang = request.node.callspec.id
    show(page, real, "web", lang)
    tab = phone.new_page()
    tab.goto(view(page)["qr"]["content"])
    allow_at_wechat(tab)
    expect(tab.locator("h1")).to_contain_text("Tea House")
    wait_for_state(page, "scanned")
    wrong = look(tab, f"kind-ask-{lang}")
    tab.locator("button[name=allow][value='1']").click()
    wait_for_state(page, "authorized")
    expect(tab.locator("main.good")).to_be_visible()
    wrong += look(tab, f"kind-done-{lang}")
    assert not wrong, wrong


def test_a_phone_that_refuses(page: Page, browser: Browser, real: Real) -> None:
    """The page is told of it."""
    show(page, real, "web")
    tab = browser.new_page(user_agent=IN_WECHAT)
    tab.goto(view(page)["qr"]["content"])
    allow_at_wechat(tab)
    tab.locator("button[name=allow][value='0']").click()
    wait_for_state(page, "denied")
    tab.close()


def test_the_popup_closes_itself(context: BrowserContext, page: Page, real: Real) -> None:
    """Website login: a click, WeChat's window, and the result on the page's own socket."""
    show(page, real, "website")
    with context.expect_page() as opened:
        page.locator("scan-login [part=button]").click()
    popup = opened.value
    code = popup.locator("img[src*='qrcode/']").first.get_attribute("src")
    assert code is not None
    popup.wait_for_load_state("load")
    real.do("website", uuid=code.rpartition("/")[2], person="alice")
    expect(page.locator("#me-sub")).to_be_visible()
    if not popup.is_closed():
        popup.wait_for_event("close")


def test_a_page_inside_wechat_comes_back_logged_in(browser: Browser, real: Real) -> None:
    """The page goes to WeChat and comes back, without a question by the server."""
    context = browser.new_context(locale="zh-CN", user_agent=IN_WECHAT)
    page = context.new_page()
    page.goto(real.url)
    wait_for_state(page, "waiting")
    assert view(page)["kind"] == "web"
    expect(page.locator("scan-login [part=title]")).to_have_text("用微信登录")
    page.locator("scan-login [part=button]").click()
    allow_at_wechat(page)
    expect(page.locator("#me-sub")).to_be_visible()
    assert page.evaluate("location.pathname + location.hash") == "/"
    context.close()


def test_the_simulated_phone_opens_the_mini_program(
    context: BrowserContext, page: Page, real: Real
) -> None:
    """A laptop has no camera for the code: the link below it opens what the code would."""
    show(page, real, "mini_program")
    with context.expect_page() as opened:
        page.get_by_role("link", name="打开模拟手机扫这个码").click()
    phone = opened.value
    phone.get_by_role("button", name="打开").click()
    wait_for_state(page, "scanned")
    phone.get_by_role("button", name="允许").click()
    expect(page.locator("#me-sub")).to_be_visible()


def test_the_simulated_phone_sends_the_number(
    context: BrowserContext, page: Page, real: Real
) -> None:
    """The chat of the account is one click away, too."""
    show(page, real, "code")
    number = page.locator("scan-login [part=code]").inner_text()
    with context.expect_page() as opened:
        page.get_by_role("link", name="打开模拟手机发送这串数字").click()
    phone = opened.value
    phone.get_by_role("button", name="小明").click()
    phone.locator("#main").click()
    phone.locator("#text").fill(number)
    phone.locator("#text").press("Enter")
    expect(page.locator("#me-sub")).to_be_visible()
