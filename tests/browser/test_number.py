"""The field and the keypad for the number: on the login page, in the element, on a kiosk."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .conftest import Fake, eventually, view, wait_for_state
from .fake_server import KIOSK_SECRET
from .look import look
from .walks import TITLE, speak

pytestmark = pytest.mark.browser

FIELD = "scan-login .number input"
ALERT = "scan-login .number [role=alert]"
KEYS = "scan-login .number button"
ASKED = {"confirm": "number", "user": {"name": "王**", "avatar": ""}}


def ask(page: Page, fake: Fake, url: str = "") -> None:
    """A page whose code was scanned, and which is asked for the number."""
    page.goto(url or fake.url)
    wait_for_state(page, "waiting")
    fake.move("scanned", user=ASKED["user"])
    wait_for_state(page, "scanned")
    fake.move("confirming", **ASKED)
    expect(page.locator(FIELD)).to_be_visible()


def test_by_keyboard(page: Page, fake: Fake) -> None:
    """The field has the focus and takes two digits, at full width too; Enter sends them."""
    ask(page, fake)
    expect(page.locator(FIELD)).to_be_focused()
    page.keyboard.insert_text("a４")
    page.keyboard.type("29")
    expect(page.locator(FIELD)).to_have_value("42")
    page.keyboard.press("Enter")
    wait_for_state(page, "authorized")
    assert fake.count("number 42") == 1


def test_by_touch_without_the_keyboard_of_the_phone(phone: BrowserContext, fake: Fake) -> None:
    """Keys of at least 44 pixels; the field is not in focus, so no keyboard covers them. A wrong
    number is told, and a new code is offered."""
    page = phone.new_page()
    page.set_viewport_size({"width": 320, "height": 640})
    ask(page, fake)
    expect(page.locator(FIELD)).not_to_be_focused()
    boxes = [key.bounding_box() for key in page.locator(KEYS).all()]
    assert len(boxes) == 12
    assert all(box and box["width"] >= 44 and box["height"] >= 44 for box in boxes)
    for name in ("4", "9", "删除", "1", "确定"):
        page.get_by_role("button", name=name, exact=True).tap()
    expect(page.locator(TITLE)).to_have_text("数字不对")
    assert fake.count("number 41") == 1
    expect(page.get_by_role("button", name="换一个二维码")).to_be_visible()


def test_mistakes_that_cost_no_try(page: Page, fake: Fake) -> None:
    """One digit is not sent, and said to be too few; what did not arrive may be sent again."""
    ask(page, fake)
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    expect(page.locator(ALERT)).to_have_text("请输入两位数字")
    expect(page.locator(FIELD)).to_have_attribute("aria-invalid", "true")
    expect(page.locator(FIELD)).to_be_focused()
    assert not any(line.startswith("number") for line in fake.seen()["log"])
    page.keyboard.type("2")
    expect(page.locator(ALERT)).to_be_empty()
    fake.set(number_error=[503, "store_unavailable"])
    page.keyboard.press("Enter")
    expect(page.locator(ALERT)).to_have_text("暂时无法提交，请稍后再试。")
    page.keyboard.press("Enter")
    wait_for_state(page, "authorized")


def test_what_assistive_technology_is_told(page: Page, fake: Fake) -> None:
    """The field has its label, and each key a name, in the page's language."""
    ask(page, fake)
    for lang, label, names in (
        ("zh-CN", "对话里的数字", ("删除", "确定")),
        ("en", "Number in the chat", ("Erase", "Confirm")),
        ("ja", "トークの数字", ("削除", "確定")),
        ("zh-TW", "對話中的數字", ("刪除", "確定")),
    ):
        speak(page, lang)
        expect(page.get_by_role("textbox", name=label)).to_be_visible()
        for name in ("0", "9", *names):
            expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()


def test_nothing_moves_and_every_face_is_right(page: Page, fake: Fake) -> None:
    """The plate stays where it is while it is asked; nothing overflows, and axe finds nothing."""
    wrong: list[Any] = []
    for width, height in ((1280, 800), (320, 640)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto(fake.url)
        page.evaluate("sessionStorage.clear(), scan.again()")
        wait_for_state(page, "waiting")
        fake.move("scanned", user=ASKED["user"])
        wait_for_state(page, "scanned")
        expect(page.locator("scan-login [part=title]")).to_contain_text("王**")
        plate = page.locator("scan-login [part=plate]")
        before = plate.bounding_box()
        fake.move("confirming", **ASKED)
        expect(page.locator(FIELD)).to_be_visible()
        after = plate.bounding_box()
        assert before and after and before["height"] == after["height"], width
        wrong += look(page, f"number-{width}")
    page.get_by_role("button", name="确定").click()
    wrong += look(page, "number-too-few")
    assert not wrong, wrong


def test_a_reload_is_asked_again(page: Page, fake: Fake) -> None:
    """The page takes its scene up, with an empty field."""
    ask(page, fake)
    page.keyboard.type("4")
    page.reload()
    expect(page.locator(FIELD)).to_have_value("")
    page.locator(FIELD).fill("42")
    page.keyboard.press("Enter")
    wait_for_state(page, "authorized")


def test_on_a_page_of_another_site(page: Page, fake: Fake) -> None:
    """The element asks its server across origins."""
    ask(page, fake, f"{fake.elsewhere}/static/examples/plain.html?server={fake.url}")
    page.keyboard.type("42")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_have_text("user usr_7Hq2")
    assert view(page)["state"] == "authorized"


def test_a_kiosk_shows_its_keypad_on_the_plate(page: Page, fake: Fake) -> None:
    """For one guest after the other; who leaves gives the scene up, and the code is back."""
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{fake.url}/kiosk?lang=zh-CN#lobby3:{KIOSK_SECRET}")
    code, pad = page.locator("#code"), page.locator("#pad")
    expect(code).to_be_visible()
    for nth, guest in enumerate(("王**", "李**")):
        asked = {"confirm": "number", "user": {"name": guest, "avatar": ""}}
        fake.move("confirming", nth=nth, **asked)
        # The next code and, as people keep coming, a spare one.
        eventually(lambda nth=nth: len(fake.seen()["scenes"]) == nth + 3)
    expect(pad.get_by_role("heading")).to_have_text("王**，请输入手机上的数字")
    expect(code).to_be_hidden()
    expect(page.locator("#heading")).to_have_css("opacity", "0")
    wrong = look(page, "kiosk-number-1080p")
    for name in ("4", "2", "确定"):
        pad.get_by_role("button", name=name, exact=True).click()
    expect(pad.get_by_role("heading")).to_have_text("李**，请输入手机上的数字")
    pad.get_by_role("button", name="取消").click()
    expect(code).to_be_visible()
    expect(pad).to_be_hidden()
    assert fake.count("cancel") == 1
    assert not wrong, wrong
