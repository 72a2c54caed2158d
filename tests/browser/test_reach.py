"""The login page by the keyboard, with text at twice and four times its size, in forced colours and
by its accessibility tree, in every state; the account and the reference that people can copy."""

from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import Fake, view, wait_for_state
from .faces import PERSON, STATES
from .look import look, violations
from .sheets import ACCOUNT, PHONE
from .test_first_paint import AGAIN
from .walks import speak

pytestmark = pytest.mark.browser

FOCUS = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  if (at === document.body) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(at);
  const { top, bottom, left, right, height } = at.getBoundingClientRect();
  const seen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2
    && top > -1 && left > -1 && right < innerWidth + 1
    && (bottom < innerHeight + 1 || height > innerHeight);
  return [at.getAttribute("part") || at.id || at.name || at.textContent, seen];
}"""
"""What has the focus, and whether it can be seen."""

KINDS = ["Scan", "Number"]
KEYPAD = [*"123456789", "⌫", "0", "✓"]
CLAIMED: dict[str, list[str]] = {
    "scanned": [],
    "confirming": [],
    "number": ["number", *KEYPAD],
    "registering": ["name", "phone", "email", "Create account"],
    "authorized": ["token", "copy", "logout", "verify-panel", "verify-python"],
}
WITHOUT_BUTTON = ("waiting", "degraded", "limited", "offline")


def stops(state: str) -> list[str]:
    """What Tab reaches, in order."""
    head = ["Skip to content", "lang", "theme"]
    button = [] if state in WITHOUT_BUTTON else ["button"]
    return head + CLAIMED.get(state, button + KINDS)


def tabbed(page: Page) -> list[tuple[str, bool]]:
    """What Tab reaches from the top of the page until it leaves it."""
    reached: list[tuple[str, bool]] = []
    page.locator(".skip").focus()
    while found := page.evaluate(FOCUS):
        reached.append((found[0], found[1]))
        assert len(reached) < 30, reached
        page.keyboard.press("Tab")
    return reached


ZOOMED = {"200 %": (640, 400), "400 %": (320, 256)}
"""A window of 1280 by 800 (1024) as the page sees it at that zoom (WCAG 2.2, 1.4.4 and 1.4.10)."""


def test_every_state_is_reached_by_everybody(browser: Browser, fake: Fake) -> None:
    """At 200 and 400 % nothing is cut off or needs a second scroll bar, Tab reaches what there is
    in the order of the page and shows where it is; in forced colours axe-core finds nothing."""
    context = browser.new_context(locale="en", reduced_motion="reduce", color_scheme="light")
    page = context.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    wrong: list[Any] = []
    for state, show in STATES.items():
        show(page, fake)
        for zoom, (width, height) in ZOOMED.items():
            page.set_viewport_size({"width": width, "height": height})
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                wrong.append((state, zoom, "is wider than the window"))
        reached = tabbed(page)
        if reached != [(stop, True) for stop in stops(state)]:
            wrong.append((state, "Tab", reached))
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(forced_colors="active")
        wrong += [(state, "forced colours", *found) for found in violations(page)]
        page.emulate_media(forced_colors="none")
        context.set_offline(False)
        page.evaluate(AGAIN)
        wait_for_state(page, "waiting")
    context.close()
    assert not wrong, "\n".join(map(str, wrong))


def test_the_focus_is_not_lost_with_what_had_it(page: Page, fake: Fake) -> None:
    """A login kind that was chosen, the button of an ending and the keypad go away; the focus is
    then where the code is, and Tab goes on from there. Elsewhere it is left alone."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    stage = page.locator("#stage")
    page.get_by_role("button", name="扫码").focus()
    fake.move("scanned", **PERSON)
    expect(stage).to_be_focused()
    fake.move("confirming", **PERSON, confirm="number")
    field = page.locator("scan-login form input")
    expect(field).to_be_focused()
    fake.move("denied")
    expect(stage).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for_state(page, "waiting")
    expect(stage).to_be_focused()
    page.locator("#lang").focus()
    fake.move("scanned", **PERSON)
    wait_for_state(page, "scanned")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))")
    expect(page.locator("#lang")).to_be_focused()


def test_a_screen_reader_finds_the_code_in_the_main_part(page: Page, fake: Fake) -> None:
    """Heading, steps, the code as an image with a name, and the live region, in that order."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.get_by_role("main")).to_match_aria_snapshot("""
        - heading "用微信扫一扫，即可登录" [level=1]
        - list
        - paragraph: /扫码后，登录的是/
        - region "二维码":
          - img "微信登录二维码"
          - status:
            - paragraph: 打开微信，扫一扫
        """)


# What can be told to the operator.

REFERENCES = {
    ("denied", "zh-CN"): "编号 ",
    ("failed", "zh-TW"): "編號 ",
    ("used", "en"): "Reference ",
    ("expired", "ja"): "お問い合わせ番号 ",
}


def test_an_ending_has_a_reference(page: Page, fake: Fake) -> None:
    """What failed, was refused or expired names the login: the first eight digits of its scene,
    selected as a whole, in each language. A code that waits names none."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    line = page.locator("#reference")
    for (state, lang), word in REFERENCES.items():
        expect(line).to_be_hidden()
        speak(page, lang)
        scene = view(page)["scene_str"].upper()
        STATES[state](page, fake)
        expect(line).to_have_text(f"{word}{scene[:4]}-{scene[4:8]}")
        line.click()
        assert page.evaluate("String(getSelection()).trim()") == line.inner_text()
        page.evaluate(AGAIN)
        wait_for_state(page, "waiting")


def test_a_trouble_refers_to_the_code_that_is_there(page: Page, fake: Fake) -> None:
    """Where the next code cannot be had, the one before can be named; without one there is
    nothing to name."""
    fake.set(qr_seconds=1)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.set(begin=[503, "wechat_unavailable"])
    line = page.locator("#reference")
    expect(line).to_be_visible()
    assert line.inner_text().endswith(view(page)["scene_str"][4:8].upper())
    page.evaluate("() => { scan.again(); }")
    expect(line).to_be_hidden()


# The account that a number is sent to.


def with_account(page: Page, fake: Fake) -> None:
    fake.set(kinds="code official_account", **ACCOUNT)
    page.goto(fake.url)
    wait_for_state(page, "waiting")


def test_a_phone_names_the_account(browser: Browser, fake: Fake) -> None:
    """Its name where the number is, to be copied; its code as a picture to be saved; WeChat by a
    button."""
    context = browser.new_context(
        locale="zh-CN",
        viewport={"width": 390, "height": 844},
        user_agent=PHONE,
        is_mobile=True,
        has_touch=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    with_account(page, fake)
    expect(page.locator("#to-account-title")).to_have_text("把这串数字发给“示例茶馆服务号”")
    expect(page.get_by_role("button", name="打开微信")).to_be_visible()
    page.get_by_role("button", name="复制", exact=True).click()
    assert page.evaluate("navigator.clipboard.readText()") == "402917"
    page.get_by_role("button", name="复制名称").click()
    expect(page.locator("#copied-account")).to_have_text("已复制")
    assert page.evaluate("navigator.clipboard.readText()") == ACCOUNT["account_name"]
    code = page.get_by_role("img", name="公众号二维码")
    assert code.evaluate("(code) => code.tagName === 'IMG' && code.naturalWidth > 200")
    expect(page.locator("#account-hint")).to_contain_text("相册")
    assert look(page, "phone-account-390") == []
    context.close()


def test_the_account_is_shown_where_a_number_is_typed(context: BrowserContext, fake: Fake) -> None:
    """And not beside another kind of code, nor where the settings name none."""
    page = context.new_page()
    with_account(page, fake)
    account = page.locator("#account")
    expect(account).to_be_hidden()
    page.get_by_role("button", name="发送数字").click()
    expect(account).to_be_visible()
    expect(page.locator("#account-hint")).to_have_text("用微信扫一扫，打开公众号")
    page.locator("#lang").select_option("en")
    expect(page.get_by_role("img", name="QR code of the account")).to_be_visible()
    expect(page.get_by_text("Send this number to “示例茶馆服务号”")).to_be_visible()
    fake.move("scanned", **PERSON)
    expect(page.locator("#to-account")).to_be_hidden()
    fake.set(account_name="", account_qr="")
    page.goto(fake.url)
    expect(page.locator("#stage")).to_be_visible()
    expect(page.locator("#account")).to_have_count(0)
