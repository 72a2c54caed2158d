"""The login page through a whole login, and through reloads."""

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import Fake, eventually, view, wait_for_state

pytestmark = pytest.mark.browser


def test_a_login_from_code_to_token(page: Page, fake: Fake) -> None:
    """Scanned, logged in, acknowledged on the socket, and the token on the page."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.move("scanned", user={"name": "王*明"})
    expect(page.locator("scan-login [part=title]")).to_have_text("王*明 已扫码")
    expect(page.locator("scan-login svg[part=qr]")).to_be_hidden()
    fake.move("authorized")
    expect(page.locator("#me-name")).to_have_text("王小明")
    assert page.locator("#token").inner_text() == view(page)["login"]["token"]
    eventually(lambda: fake.seen()["scenes"][0]["state"] == "consumed")
    assert fake.count("ack by socket") == 1


def test_claims_are_shown_as_unverified(page: Page, fake: Fake) -> None:
    """The claims are decoded for reading, labelled so; the snippet names issuer and audience."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("authorized")
    expect(page.locator(".note")).to_contain_text("未验证签名")
    expect(page.locator("#claims")).to_contain_text("usr_7Hq2")
    snippet = page.locator("#snippet").inner_text()
    assert len(snippet.splitlines()) == 4
    assert 'audience="scanpush", issuer="http://fake"' in snippet
    page.get_by_role("tab", name="Node.js").click()
    assert len(page.locator("#snippet").inner_text().splitlines()) == 4


def test_a_reload_takes_up_the_same_scene(page: Page, fake: Fake) -> None:
    """Reloading spends no second code; the QR drawn is the same."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    before = view(page)["scene_str"]
    page.reload()
    wait_for_state(page, "waiting")
    eventually(lambda: fake.seen()["sockets"] == 1)
    assert view(page)["scene_str"] == before
    assert fake.count("begin") == 1


def test_a_reload_after_the_scan_shows_no_code(page: Page, fake: Fake) -> None:
    """A code that was scanned stays hidden, and the masked name comes back with the status."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("scanned", user={"name": "王*明"})
    wait_for_state(page, "scanned")
    page.reload()
    expect(page.locator("scan-login [part=title]")).to_have_text("王*明 已扫码")
    expect(page.locator("scan-login svg[part=qr]")).to_be_hidden()


def test_a_login_during_a_reload_is_not_lost(page: Page, fake: Fake) -> None:
    """Authorized while the page was away: it is delivered to the page that comes back."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    page.goto("about:blank")
    eventually(lambda: fake.seen()["sockets"] == 0)
    fake.move("authorized")
    page.go_back()
    expect(page.locator("#me-name")).to_have_text("王小明")
    eventually(lambda: fake.seen()["scenes"][0]["state"] == "consumed")


def test_a_token_is_kept_nowhere(page: Page, fake: Fake) -> None:
    """Neither storage nor the address holds the token, and a reload has forgotten it."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("authorized")
    expect(page.locator("#me-name")).to_have_text("王小明")
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, location.href])")
    assert "eyJ" not in kept
    page.reload()
    wait_for_state(page, "waiting")
    assert fake.count("begin") == 2


def test_logging_out_shows_a_fresh_code(page: Page, fake: Fake) -> None:
    """Log out forgets the token on the page and begins anew."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("authorized")
    page.get_by_role("button", name="退出").click()
    wait_for_state(page, "waiting")
    expect(page.locator("#me")).to_be_hidden()
    assert page.locator("#token").text_content() == ""


def test_copy_puts_the_token_on_the_clipboard(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    """The copy button copies, and says so."""
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=fake.url)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("authorized")
    page.get_by_role("button", name="复制令牌").click()
    expect(page.locator("#copied")).to_have_text("已复制")
    assert page.evaluate("navigator.clipboard.readText()") == view(page)["login"]["token"]


def test_a_hostile_nickname_is_inert(page: Page, fake: Fake) -> None:
    """Markup, direction marks and ten thousand letters are text of bounded width."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("scanned", user={"name": "\u202e<img src=x onerror=alert(1)>" + "长" * 10000})
    wait_for_state(page, "scanned")
    name = page.locator("scan-login bdi").first
    expect(name).to_contain_text("<img")
    assert len(name.inner_text()) <= 64
    assert page.locator("scan-login bdi img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_simulation_is_named(page: Page, fake: Fake) -> None:
    """In simulated mode the page says so and offers the simulated phone."""
    fake.set(simulated=True)
    page.goto(fake.url)
    expect(page.locator("#simulated")).to_be_visible()
    link = page.get_by_role("link", name="打开模拟手机扫这个码")
    expect(link).to_have_attribute("href", view(page)["qr"]["content"])
    assert link.get_attribute("rel") == "noopener"


def test_without_simulation_nothing_is_said(page: Page, fake: Fake) -> None:
    """With a real account neither notice nor phone appears."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.locator("#simulated")).to_be_hidden()
    expect(page.locator("#phone")).to_be_hidden()


@pytest.mark.parametrize(
    ("lang", "heading"),
    [("zh-TW", "登入"), ("en", "Scan with WeChat"), ("ja", "スキャン"), ("zh-CN", "登录")],
)
def test_languages(page: Page, fake: Fake, lang: str, heading: str) -> None:
    """Each language reaches the page, the element and the document; it survives a reload."""
    page.goto(fake.url)
    page.locator("#lang").select_option(lang)
    expect(page.locator("#talk h1")).to_contain_text(heading)
    page.reload()
    expect(page.locator("#talk h1")).to_contain_text(heading)
    assert page.evaluate("document.documentElement.lang") == lang
    expect(page.locator("scan-login [part=title]")).not_to_be_empty()


def test_a_phone_is_offered_a_number_to_type(browser: Browser, fake: Fake) -> None:
    """A phone cannot scan its own screen: the typed code comes first, no other is spent."""
    phone = browser.new_context(
        locale="zh-CN", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = phone.new_page()
    page.goto(fake.url)
    expect(page.locator("scan-login [part=code]")).to_have_text("402917")
    assert fake.count("begin") == 1
    page.get_by_role("button", name="扫码").click()
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()
    phone.close()


def test_inside_wechat_a_button_leads_to_its_own_login(browser: Browser, fake: Fake) -> None:
    """In WeChat nothing is scanned: one tap goes to OAuth, and comes back to this page."""
    fake.set(kinds="official_account web")
    phone = browser.new_context(
        locale="zh-CN",
        viewport={"width": 390, "height": 844},
        user_agent="Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 MicroMessenger/8.0.50",
    )
    page = phone.new_page()
    page.goto(fake.url)
    page.get_by_role("button", name="在微信中继续").click()
    page.wait_for_url("**/oauth/wechat/start?**")
    assert page.url.endswith("&next=%2F")
    fake.move("authorized")
    page.goto(fake.url)
    expect(page.locator("#me-name")).to_have_text("王小明")
    assert fake.count("begin") == 1
    phone.close()


def test_the_keyboard_reaches_everything(page: Page, fake: Fake) -> None:
    """Tab goes from the skip link through language and appearance to the doors, visibly."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.innerText")
        )
    assert reached == ["跳到主要内容", "lang", "theme", "扫码", "发送数字"]
    page.keyboard.press("Enter")
    expect(page.locator("scan-login [part=code]")).to_have_text("402917")
    assert page.evaluate("document.activeElement.innerText") == "发送数字"


def test_changes_are_announced_and_the_countdown_is_not(page: Page, fake: Fake) -> None:
    """State and hint live in one polite region; the seconds are outside it."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    region = page.locator("scan-login [role=status]")
    expect(region).to_contain_text("打开微信，扫一扫")
    expect(page.locator("scan-login [role=timer]")).to_contain_text("后自动换新")
    assert "自动换新" not in region.inner_text()


def test_doors_follow_the_configuration(page: Page, fake: Fake) -> None:
    """With only one door configured nothing else is offered."""
    fake.set(kinds="official_account")
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.locator("#doors")).to_be_hidden()
