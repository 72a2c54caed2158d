"""The operator's section of screens, in Chromium against the server: pair, care, revoke."""

import json
import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, WebSocket, expect

from .conftest import Servers, eventually
from .look import look
from .real_server import OPERATOR_TOKEN, TEA_HOUSE, Real

pytestmark = pytest.mark.browser


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests, which is left without paired screens."""
    return servers(**TEA_HOUSE)


class Wall:
    """A screen: what its page asks for, and what it is told on its socket."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._url = url
        self.told: list[dict[str, Any]] = []
        self.page = context.new_page()
        self.page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda data: self.told.append(json.loads(data)))

    def ask(self) -> str:
        """Ask for a code, as the page does: the code."""
        asked = httpx.post(f"{self._url}/api/kiosks/pair", headers={"User-Agent": "Chrome/47"})
        self._token = asked.json()["pair_token"]
        return str(asked.json()["code"])

    def fetch(self) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {self._token}"}
        return dict(httpx.get(f"{self._url}/api/kiosks/pair", headers=bearer).json())

    def open(self, address: str) -> None:
        """Show codes at that address of a kiosk."""
        self.page.goto(address)
        expect(self.page.locator("#plate")).not_to_have_class(re.compile("empty"))

    def was_told(self, member: str, value: Any = None) -> bool:
        """Whether a message about the screen had this."""
        said = [
            message[member]
            for message in self.told
            if message.get("type") == "screen" and member in message
        ]
        return bool(said) if value is None else value in said


def enter(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("运维令牌").fill(OPERATOR_TOKEN)
    page.get_by_role("button", name="查看").click()


def press(screen: Locator, name: str) -> None:
    screen.get_by_role("button", name=name, exact=True).click()


def test_a_screen_is_paired_cared_for_and_revoked(
    context: BrowserContext, page: Page, tea: Real
) -> None:
    """From the code on the wall to the revocation, by the operator's section alone."""
    wall = Wall(context, tea.url)
    code = wall.ask()
    enter(page, f"{tea.url}/operator#pair={code}")
    asker = page.locator(".screen-asker")
    expect(asker).to_contain_text("127.0.0.1")
    expect(asker).to_contain_text(f"{code[:4]}-{code[4:]}")
    asker.get_by_label("名称").fill("hall")
    asker.get_by_label("显示标题").fill("一层大厅")
    press(asker, "配对")
    screen = page.locator('[data-screen="hall"]')
    expect(screen).to_contain_text("从未连接")
    assert page.evaluate("location.hash") == ""
    secret = wall.fetch()["secret"]
    wall.open(f"{tea.url}/kiosk#hall:{secret}")
    expect(screen.locator(".up")).to_have_text("在线", timeout=15000)
    expect(screen).to_contain_text("长连接", timeout=15000)

    press(screen, "通知")
    screen.get_by_role("textbox").fill("今天下午三点闭馆")
    press(screen, "保存")
    expect(screen).to_contain_text("通知: 今天下午三点闭馆")
    eventually(lambda: wall.page.title() and wall.was_told("notice", "今天下午三点闭馆"))

    press(screen, "刷新")
    eventually(lambda: wall.page.title() and wall.was_told("reload"))

    press(screen, "改名")
    screen.get_by_label("显示标题").fill("二层大厅")
    press(screen, "保存")
    expect(screen.locator("h3")).to_contain_text("二层大厅")
    eventually(lambda: wall.page.title() and wall.was_told("label", "二层大厅"))

    press(screen, "新密钥")
    address = screen.locator(".screen-address").input_value()
    assert address.startswith(f"{tea.url}/kiosk#hall:") and secret not in address
    expect(screen.locator(".screen-qr path")).to_have_attribute("d", re.compile("M"))
    press(screen, "关闭")
    expect(screen.locator(".screen-address")).to_have_count(0)
    newer = Wall(context, tea.url)
    newer.open(address)

    press(screen, "吊销")
    expect(screen.locator(".screen-form")).to_contain_text("立即失效")
    press(screen.locator(".screen-form"), "吊销")
    expect(screen).to_have_count(0)
    for one in (wall, newer):
        eventually(lambda one=one: one.page.title() and one.was_told("revoked", True))
        one.page.close()
    bearer = {"Authorization": f"Bearer {address.rpartition(':')[2]}"}
    begun = httpx.post(f"{tea.url}/api/scenes", json={"kiosk": "hall"}, headers=bearer)
    assert begun.status_code == 401


def test_what_cannot_be_paired_is_said(page: Page, tea: Real, context: BrowserContext) -> None:
    """A code that no screen shows, a name that is taken, a name that is none."""
    enter(page, f"{tea.url}/operator#pair=BCDFGHJK")
    section = page.locator("#screens")
    expect(section).to_contain_text("现在没有屏幕显示这个配对码")
    wall = Wall(context, tea.url)
    section.get_by_label("屏幕上的配对码").fill(wall.ask().lower())
    press(section, "核对")
    asker = section.locator(".screen-asker")
    for name, said in (("lobby3", "这个名称已被占用"), ("Hall", "名称为 1 到 32 个字符")):
        asker.get_by_label("名称").fill(name)
        press(asker, "配对")
        expect(section).to_contain_text(said)
    expect(asker).to_be_visible()
    wall.page.close()


def test_a_screen_of_the_settings_is_not_changed_here(page: Page, tea: Real) -> None:
    """It can be told something and loaded again; the rest stands in config.yaml."""
    enter(page, f"{tea.url}/operator")
    screen = page.locator('[data-screen="lobby3"]')
    expect(screen).to_contain_text("config.yaml")
    expect(screen.get_by_role("button")).to_have_text(["通知", "刷新"])


def test_the_section_follows_the_language(page: Page, tea: Real) -> None:
    """Words and buttons; a code that was typed stays. Nothing is wider than a phone."""
    page.set_viewport_size({"width": 390, "height": 844})
    enter(page, f"{tea.url}/operator")
    page.get_by_label("屏幕上的配对码").fill("BCDF")
    titles = {"en": "Screens", "ja": "スクリーン", "zh-TW": "大螢幕", "zh-CN": "大屏"}
    for lang, title in titles.items():
        page.locator("#lang").select_option(lang)
        expect(page.locator("#h-screens")).to_have_text(title)
        expect(page.locator('[data-screen="lobby3"] button')).to_have_count(2)
    assert page.locator(".screen-pair input").input_value() == "BCDF"
    wrong = look(page, "operator-screens-390")
    assert not wrong, wrong
