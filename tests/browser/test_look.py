"""Every state as a picture to look at, and free of what axe-core finds.

The pictures go to artifacts/screenshots/, which git ignores.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import SCREENSHOTS, Fake, eventually, wait_for_state

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map(({ id, nodes }) => [id, nodes.map((node) => `${node.target}: ${node.failureSummary}`)])"""
LONG = "爱新觉罗·弗拉基米尔娜·伊万诺芙娜·长名字的人"

STATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("waiting", {}, {}),
    ("scanned", {}, {"user": {"name": "王**"}}),
    ("confirming", {}, {"user": {"name": LONG}}),
    ("registering", {}, {"user": {"name": "王**"}}),
    ("denied", {}, {}),
    ("cancelled", {}, {}),
    ("failed", {}, {"error": "not_registered"}),
    ("consumed", {}, {}),
    ("authorized", {"simulated": True}, {}),
]


def violations(page: Page) -> list[Any]:
    """What axe-core has against the page as it is now."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in tests/browser")
    # Evaluated rather than added as a script, which the page's policy forbids.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[Any] = page.evaluate(RUN_AXE)
    return found


def look(page: Page, name: str) -> list[Any]:
    """Take the picture, check that nothing is wider than the window, and ask axe-core."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    return [(name, *violation) for violation in violations(page)]


@pytest.mark.parametrize(
    ("lang", "theme", "width", "height"),
    [
        ("zh-CN", "light", 320, 640),
        ("zh-CN", "dark", 1280, 800),
        ("en", "light", 1280, 800),
        ("en", "dark", 320, 640),
        ("ja", "light", 320, 640),
        ("zh-TW", "dark", 768, 1024),
    ],
)
def test_every_state_looks_right(
    browser: Browser, fake: Fake, width: int, height: int, theme: str, lang: str
) -> None:
    """Nothing overflows and axe-core finds nothing, whatever state, size, theme and language."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale=lang,
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    wrong = []
    for state, switches, extra in STATES:
        fake.set(reset=True, **switches)
        page.goto(fake.url)
        wait_for_state(page, "waiting")
        eventually(lambda: fake.seen()["sockets"] > 0)
        if state != "waiting":
            fake.move(state, **extra)
            wait_for_state(page, "failed" if state == "consumed" else state)
        if state == "authorized":
            expect(page.locator("#me-sub")).to_contain_text("·")
        wrong += look(page, f"login-{state}-{lang}-{theme}-{width}")
        page.evaluate("sessionStorage.clear()")
        page.goto("about:blank")
    context.close()
    assert not wrong, wrong


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(320, 640), (1280, 800)])
def test_every_trouble_looks_right(
    browser: Browser, fake: Fake, width: int, height: int, theme: str
) -> None:
    """The same for what comes between: degraded, limited, offline, paused, expired, other doors."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale="zh-CN",
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    wrong = []
    every = "official_account code mini_program website"
    for name, switches, title in [
        ("degraded", {"begin": [502, "wechat_unavailable"]}, "微信暂时没有响应"),
        ("limited", {"begin": [429, "rate_limited"], "retry_after": 30}, "操作太频繁"),
        ("forbidden", {"begin": [403, "forbidden_origin"]}, "此网站不能使用该登录"),
        ("paused", {"qr_seconds": 0.1}, "二维码已暂停"),
        ("code", {"kinds": every}, "把这串数字发给公众号"),
    ]:
        fake.set(reset=True, simulated=True, **switches)
        page.goto(fake.url)
        if name == "code":
            page.get_by_role("button", name="发送数字").click()
        expect(page.locator("scan-login [part=title]")).to_have_text(title)
        wrong += look(page, f"login-{name}-zh-CN-{theme}-{width}")
        page.evaluate("sessionStorage.clear()")
        page.goto("about:blank")
    context.set_offline(False)
    fake.set(reset=True)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    context.set_offline(True)
    expect(page.locator("scan-login [part=title]")).to_have_text("网络断开了")
    wrong += look(page, f"login-offline-zh-CN-{theme}-{width}")
    context.close()
    assert not wrong, wrong


def test_a_4k_screen_is_filled(browser: Browser, fake: Fake) -> None:
    """On 3840 pixels the type and the code grow with the screen."""
    context = browser.new_context(viewport={"width": 3840, "height": 2160}, locale="ja")
    page = context.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()
    wrong = look(page, "login-waiting-ja-light-3840")
    box = page.locator("scan-login [part=plate]").bounding_box()
    context.close()
    assert box is not None and box["width"] > 600
    assert not wrong, wrong
