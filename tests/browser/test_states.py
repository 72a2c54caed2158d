"""Every state of the login page, reached by people and WeChat as simulated, and looked at.

Each state is walked to once, and then seen in Chinese and English, light and dark, at 320 pixels
and on a desk; the states with most on the page also in the other languages and on a 4K
screen. Nothing here is faked: server.py runs, and each fault is really caused.
"""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .conftest import Servers, eventually, view, wait_for_state
from .faces import FACES, MORE_FACES, in_many_faces
from .look import look
from .real_server import TEA_HOUSE, Real, tea_house
from .walks import QR, TITLE, Twin, break_wechat, open_page, scan, scan_and_answer, speak

pytestmark = pytest.mark.browser

CHAT = tea_house(confirm="always")
FORM = tea_house(registration="ask", register_fields=["name", "phone"])
BRIEF_FORM = tea_house(registration="ask", register_ttl_seconds=4)
CLOSED = tea_house(registration="deny")
BRIEF_CODES = tea_house(scene_ttl_seconds=2)
LIMITED = {**TEA_HOUSE, "limits": {"scenes_per_minute_per_address": 1}}

LONG = "爱新觉罗·弗拉基米尔娜·伊万诺芙娜·" * 3 + "长名字的人"
NAMES = {
    "long": LONG + "好" * (64 - len(LONG)),
    "latin": "Wolfeschlegelsteinhausenbergerdorff" + "welchevoraltern" + "waren" * 2,
    "emoji": "👩‍👩‍👧‍👦🇨🇳🎉 小红 🐉🐉🐉",
    "rtl": "محمد بن عبد الرحمن الخوارزمي (alice)",
}


# The ways to each state.


def waiting(page: Page, real: Real) -> None:
    open_page(page, real.url)


def scanned(page: Page, real: Real) -> None:
    scan_and_answer(page, real, "王小明")
    expect(page.locator("scan-login bdi").first).to_have_text("王**")


def scanned_by_a_stranger_script(page: Page, real: Real) -> None:
    scan_and_answer(page, real, NAMES["rtl"])
    expect(page.locator("scan-login bdi").first).to_have_text("م**")


def confirming(page: Page, real: Real) -> None:
    scan(page, real, "asked")


def registering(page: Page, real: Real) -> None:
    scan_and_answer(page, real, NAMES["emoji"], allow=True)
    page.get_by_role("button", name="完成注册").wait_for()


def authorized(page: Page, real: Real) -> None:
    scan_and_answer(page, real, "王小明", allow=True)
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")


def expired(page: Page, real: Real) -> None:
    scan(page, real, "slow to type")
    wait_for_state(page, "registering")


def denied(page: Page, real: Real) -> None:
    scan(page, real, "refuses")
    real.do("text", person="refuses", text="0")


def denied_on_the_phone(page: Page, real: Real) -> None:
    scan_and_answer(page, real, "李雷", allow=False)


def cancelled(page: Page, real: Real) -> None:
    """The person unfollows the account that asks."""
    scan(page, real, "goes away")
    wait_for_state(page, "confirming")
    real.do("unfollow", person="goes away")


def not_registered(page: Page, real: Real) -> None:
    scan(page, real, "stranger")


def already_used(page: Page, real: Real) -> None:
    """The same scene's login is collected by another page while this one is away."""
    content = open_page(page, real.url)["qr"]["content"]
    with Twin(page, real) as other:
        page.goto("about:blank")
        real.do("scan", person="hasty", url=content)
        other.collect()
    page.go_back()


def paused(page: Page, real: Real) -> None:
    open_page(page, real.url)


def replaced(page: Page, real: Real) -> None:
    """A duplicated tab takes the login over."""
    open_page(page, real.url)
    eventually(lambda: view(page)["transport"] == "socket")
    kept = page.evaluate("JSON.stringify({...sessionStorage})")
    copy = page.context.new_page()
    copy.goto(f"{real.url}/static/icon.svg")
    copy.evaluate("(kept) => Object.assign(sessionStorage, JSON.parse(kept))", kept)
    copy.goto(real.url)
    wait_for_state(copy, "waiting")


def offline(page: Page, real: Real) -> None:
    """The network goes away, after each language was heard once."""
    open_page(page, real.url)
    for lang in ("en", "zh-CN"):
        speak(page, lang)
    page.context.set_offline(True)


def degraded(page: Page, real: Real) -> None:
    break_wechat(page, real, status=500)


def quota(page: Page, real: Real) -> None:
    break_wechat(page, real, errcode=45009)
    wait_for_state(page, "starting")


def refused(page: Page, real: Real) -> None:
    break_wechat(page, real, errcode=48001)


def limited(page: Page, real: Real) -> None:
    open_page(page, real.url)

    def once_more() -> bool:
        page.evaluate("scan.again()")
        return view(page).get("trouble") == "limited"

    eventually(once_more)


def code(page: Page, real: Real) -> None:
    open_page(page, real.url, "code")


def website(page: Page, real: Real) -> None:
    open_page(page, real.url, "website")


def mini_program(page: Page, real: Real) -> None:
    open_page(page, real.url, "mini_program")
    expect(page.locator("scan-login img[part=qr]")).to_be_visible()


Walk = Callable[[Page, Real], None]
STATES: list[tuple[Walk, dict[str, Any], str]] = [
    (waiting, TEA_HOUSE, "打开微信，扫一扫"),
    (code, TEA_HOUSE, "把这串数字发给公众号"),
    (website, TEA_HOUSE, "用微信登录"),
    (mini_program, TEA_HOUSE, "打开微信，扫小程序码"),
    (scanned, TEA_HOUSE, "王** 已扫码"),
    (scanned_by_a_stranger_script, TEA_HOUSE, "م** 已扫码"),
    (confirming, CHAT, "等待 微信用户 确认"),
    (registering, FORM, "欢迎，👩**"),
    (authorized, TEA_HOUSE, "王小明，已登录"),
    (expired, BRIEF_FORM, "二维码已过期"),
    (denied, CHAT, "已在手机上拒绝"),
    (denied_on_the_phone, TEA_HOUSE, "已在手机上拒绝"),
    (cancelled, CHAT, "已取消"),
    (not_registered, CLOSED, "还没有账号"),
    (already_used, TEA_HOUSE, "这个二维码已用过"),
    (paused, BRIEF_CODES, "二维码已暂停"),
    (replaced, TEA_HOUSE, "已在另一个标签页继续"),
    (offline, TEA_HOUSE, "网络断开了"),
    (degraded, TEA_HOUSE, "微信暂时没有响应"),
    (quota, TEA_HOUSE, "二维码暂时用完了"),
    (refused, TEA_HOUSE, "登录尚未配置好"),
    (limited, LIMITED, "操作太频繁"),
]


RICH = (waiting, scanned, registering, authorized)


@pytest.mark.parametrize(("walk", "settings", "title"), STATES, ids=lambda value: _named(value))
def test_a_state_is_reached_and_looks_right(
    page: Page, servers: Servers, walk: Walk, settings: dict[str, Any], title: str
) -> None:
    """The state says what it is; nothing overflows, and axe-core finds nothing, in any face."""
    real = servers(**settings)
    try:
        walk(page, real)
        # A login has moved to the left of the page, and its title with it on small screens.
        expect(page.locator(TITLE)).to_have_text(title, timeout=15000)
        faces = FACES + MORE_FACES if walk in RICH else FACES
        wrong = in_many_faces(page, f"login-{walk.__name__}", faces)
    finally:
        page.context.set_offline(False)
        real.no_faults()
    assert not wrong, wrong


def _named(value: object) -> str:
    return value.__name__ if callable(value) else ""


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_of_any_kind_fits(page: Page, servers: Servers, name: str) -> None:
    """64 characters, one word without a break, emoji, and a script from right to left."""
    real = servers(**TEA_HOUSE)
    scan_and_answer(page, real, name, allow=True)
    expect(page.locator("#me-name")).to_have_text(name)
    kind = next(key for key, value in NAMES.items() if value == name)
    wrong = []
    for width, height in ((320, 640), (1280, 800)):
        page.set_viewport_size({"width": width, "height": height})
        wrong += look(page, f"name-{kind}-{width}")
    assert not wrong, wrong


def test_an_ending_leads_to_a_new_code(page: Page, servers: Servers) -> None:
    """From a refusal the button goes on to a fresh code, by the keyboard, too."""
    real = servers(**CHAT)
    denied(page, real)
    wait_for_state(page, "denied")
    page.get_by_role("button", name="换一个二维码").press("Enter")
    wait_for_state(page, "waiting")
    expect(page.locator(QR)).to_be_visible()


def test_a_fault_of_wechat_heals_by_itself(page: Page, servers: Servers) -> None:
    """Once WeChat gives codes again, the page has one without being touched."""
    real = servers(**TEA_HOUSE)
    try:
        degraded(page, real)
        expect(page.locator(TITLE)).to_have_text("微信暂时没有响应")
    finally:
        real.no_faults()
    wait_for_state(page, "waiting")


def test_a_phone_offers_what_it_can_do(servers: Servers, phone: BrowserContext) -> None:
    """A phone is offered the number to type first; its own screen it cannot scan."""
    real, page = servers(**TEA_HOUSE), phone.new_page()
    page.goto(real.url)
    number = page.locator("scan-login [part=code]")
    expect(number).not_to_be_empty()
    wrong = look(page, "phone-number-390")
    real.do("follow", person="on the phone")
    real.do("text", person="on the phone", text=number.inner_text())
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    assert not wrong, wrong
