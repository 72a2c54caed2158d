"""The login page through a whole login, and through reloads, on a real server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.processes import environment

from .conftest import Fake, Servers, eventually, view, wait_for_state
from .faces import FACES, in_many_faces
from .real_server import TEA_HOUSE, Phone, Real
from .walks import CODES, KEPT, QR, TITLE, Twin, open_on_socket, open_page, scan, scan_and_answer

pytestmark = pytest.mark.browser

MODULES = Path(__file__).parent / "node_modules"


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests."""
    return servers(**TEA_HOUSE)


def test_a_login_from_code_to_token(page: Page, tea: Real) -> None:
    """Scanned, allowed, logged in, acknowledged, and the token on the page."""
    content = open_page(page, tea.url, "web")["qr"]["content"]
    with Twin(page, tea) as twin, Phone(tea, "wang", "王小明") as phone:
        phone.scan(content)
        expect(page.locator(TITLE)).to_have_text("王** 已扫码")
        expect(page.locator(QR)).to_be_hidden()
        phone.answer(True)
        expect(page.locator("#me-name")).to_have_text("王小明")
        assert page.locator("#token").inner_text() == view(page)["login"]["token"]
        eventually(lambda: twin.state() == "consumed")


def test_claims_are_shown_as_unverified(page: Page, tea: Real) -> None:
    """The claims are decoded for reading, labelled so; the snippet names issuer and audience."""
    scan(page, tea, "reads claims")
    expect(page.locator(".note")).to_contain_text("未验证签名")
    expect(page.locator("#claims")).to_contain_text(view(page)["login"]["user"]["id"])
    assert 'audience="scanpush", issuer="scanpush"' in page.locator("#snippet").inner_text()


SECRET = "a-secret-of-thirty-two-bytes-or-more"
ALGORITHMS: list[dict[str, Any]] = [
    TEA_HOUSE,
    {**TEA_HOUSE, "jwt": {"algorithm": "HS256", "secret": SECRET}},
]
VERIFIERS = {
    "Python": ([sys.executable, "-c"], "token = {token}\n{lines}\nprint(user['sub'])"),
    "Node.js": (
        ["node", "--input-type=module", "-e"],
        "const token = {token};\n{lines}\nconsole.log(user.sub);",
    ),
}


@pytest.mark.parametrize("settings", ALGORITHMS, ids=["ES256", "HS256"])
@pytest.mark.parametrize("language", VERIFIERS)
def test_the_lines_shown_verify_the_token(
    page: Page, servers: Servers, settings: dict[str, Any], language: str
) -> None:
    """Four lines, copied as they stand to a server that knows the secret, name the person."""
    scan(page, servers(**settings), "is verified")
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    page.get_by_role("tab", name=language).click()
    lines = page.locator("#snippet").inner_text()
    assert len(lines.splitlines()) == 4
    login = view(page)["login"]
    assert verified(language, lines, login["token"]) == login["user"]["id"]
    name = f"login-verify-{settings.get('jwt', {}).get('algorithm', 'ES256')}-{language}"
    wrong = in_many_faces(page, name, FACES)
    assert not wrong, wrong


def verified(language: str, lines: str, token: str) -> str:
    """Whose token that is, by the lines run as a program."""
    command, program = VERIFIERS[language]
    if language == "Node.js" and not (shutil.which("node") and (MODULES / "jose").exists()):
        pytest.skip("node or jose is not installed: npm install in tests/browser")
    done = subprocess.run(
        [*command, program.format(token=json.dumps(token), lines=lines)],
        cwd=MODULES.parent,
        env={**environment(), "SCANPUSH_JWT__SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_reload_takes_up_the_same_scene(page: Page, tea: Real) -> None:
    """Reloading spends no second code; the QR drawn is the same."""
    content = open_on_socket(page, tea.url)
    before = tea.calls(CODES)
    page.reload()
    wait_for_state(page, "waiting")
    eventually(lambda: view(page)["transport"] == "socket")
    assert view(page)["qr"]["content"] == content
    assert tea.calls(CODES) == before


def test_a_reload_after_the_scan_shows_no_code(page: Page, tea: Real) -> None:
    """A code that was scanned stays hidden, by whichever login kind; the answer then logs the page
    in."""
    open_page(page, tea.url)
    page.get_by_role("button", name="小程序").click()
    eventually(
        lambda: view(page).get("kind") == "mini_program" and view(page)["state"] == "waiting"
    )
    scene = view(page)["scene_str"]
    tea.mini_program("scan", "in the mini program", scene)
    wait_for_state(page, "scanned")
    page.reload()
    expect(page.locator(TITLE)).to_have_text("微信用户 已扫码")
    expect(page.locator(f"{QR}, scan-login img")).to_have_count(2)
    for picture in page.locator(f"{QR}, scan-login img").all():
        expect(picture).to_be_hidden()
    tea.mini_program("confirm", "in the mini program", scene, allow=True)
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")


def test_a_login_during_a_reload_is_not_lost(page: Page, tea: Real) -> None:
    """Authorized while the page was away: it is delivered to the page that comes back."""
    content = open_page(page, tea.url)["qr"]["content"]
    with Twin(page, tea) as twin:
        page.goto("about:blank")
        tea.do("scan", person="patient", url=content)
        page.go_back()
        expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
        eventually(lambda: twin.state() == "consumed")


def test_a_token_is_kept_nowhere(page: Page, tea: Real) -> None:
    """Neither storage nor the address holds the token, and a reload has forgotten it."""
    scan(page, tea, "leaves no trace")
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, location.href])")
    assert "eyJ" not in kept
    # Once the server has its ack, the page lets go of the scene.
    eventually(lambda: page.evaluate(KEPT) is None)
    page.reload()
    wait_for_state(page, "waiting")
    expect(page.locator("#me")).to_be_hidden()


def test_a_page_out_of_the_browsers_memory_knows_no_login(page: Page, tea: Real) -> None:
    """The back button, after another page was opened in the tab, shows a code and not the token."""
    scan(page, tea, "leaves the tab")
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    back = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
    with page.expect_navigation():
        page.evaluate(f"setTimeout(() => {back})")
    wait_for_state(page, "waiting")
    expect(page.locator("#me")).to_be_hidden()


def test_logging_out_shows_a_fresh_code(page: Page, tea: Real) -> None:
    """Log out forgets the token on the page and begins another scene."""
    scan(page, tea, "logs out")
    page.get_by_role("button", name="退出").click()
    wait_for_state(page, "waiting")
    expect(page.locator("#me")).to_be_hidden()
    assert page.locator("#token").text_content() == ""


def test_copy_puts_the_token_on_the_clipboard(
    context: BrowserContext, page: Page, tea: Real
) -> None:
    """The copy button copies, and says so."""
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=tea.url)
    scan(page, tea, "copies")
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


def test_a_nickname_with_markup_is_text(page: Page, tea: Real) -> None:
    """A nickname from WeChat is shown as it is, and has no other effect."""
    name = "<img src=x onerror=alert(1)>"
    scan_and_answer(page, tea, name, allow=True)
    expect(page.locator("#me-name")).to_have_text(name)
    assert page.locator("#me img").count() == 0


def test_the_simulation_is_named(page: Page, tea: Real) -> None:
    """In simulated mode the page says so and offers the simulated phone, and all of it is seen at
    1280 by 800 at once."""
    content = open_page(page, tea.url)["qr"]["content"]
    expect(page.locator("#simulated")).to_be_visible()
    link = page.get_by_role("link", name="打开模拟手机扫这个码")
    expect(link).to_have_attribute("href", content)
    assert link.get_attribute("rel") == "noopener"
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


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
def test_languages(page: Page, tea: Real, lang: str, heading: str) -> None:
    """Each language reaches the page, the element and the document; it survives a reload."""
    page.goto(tea.url)
    page.locator("#lang").select_option(lang)
    expect(page.locator("#talk h1")).to_contain_text(heading)
    page.reload()
    expect(page.locator("#talk h1")).to_contain_text(heading)
    assert page.evaluate("document.documentElement.lang") == lang
    expect(page.locator(TITLE)).not_to_be_empty()


def test_the_keyboard_reaches_everything(page: Page, tea: Real) -> None:
    """Tab goes from the skip link through language and appearance to phone and login kinds."""
    open_page(page, tea.url)
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.innerText")
        )
    kinds = ["扫码", "小程序", "微信窗口", "发送数字"]
    assert reached == ["跳到主要内容", "lang", "theme", "phone-link", *kinds]
    page.keyboard.press("Enter")
    expect(page.locator("scan-login [part=code]")).not_to_be_empty()
    assert page.evaluate("document.activeElement.innerText") == "发送数字"


def test_changes_are_announced_and_the_countdown_is_not(page: Page, tea: Real) -> None:
    """State and hint live in one polite region; the seconds are outside it."""
    open_page(page, tea.url)
    region = page.locator("scan-login [role=status]")
    expect(region).to_contain_text("打开微信，扫一扫")
    expect(page.locator("scan-login [role=timer]")).to_contain_text("后自动刷新")
    assert "自动刷新" not in region.inner_text()


def test_login_kinds_follow_the_configuration(page: Page, fake: Fake) -> None:
    """With only one login kind configured nothing else is offered."""
    fake.set(kinds="official_account")
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.locator("#kinds")).to_be_hidden()
