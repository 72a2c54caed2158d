"""`<scan-login>` on other people's pages, and ScanLogin without any page."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from handlers.assets import static_assets

from .conftest import ROOT, Fake, eventually, view, wait_for_state

pytestmark = pytest.mark.browser
STATIC = ROOT / "static"


def embed(page: Page, fake: Fake, attributes: str = "") -> list[str]:
    """Open a foreign site under a strict policy; returns what its console will complain of."""
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    asked = urlencode({"server": fake.url, "attributes": attributes})
    page.goto(f"{fake.elsewhere}/embed?{asked}")
    return complaints


def test_one_script_tag_on_a_foreign_strict_page(page: Page, fake: Fake) -> None:
    """From another origin, under a policy without any style source, a login arrives."""
    complaints = embed(page, fake)
    wait_for_state(page, "waiting")
    page.evaluate("""() => { window.got = []; for (const name of ["scanned", "login"])
      scan.addEventListener(name, (event) => got.push([name, event.detail.token ?? null])); }""")
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.move("scanned", user={"name": "王**"})
    expect(page.locator("scan-login [part=title]")).to_have_text("Scanned by 王**")
    fake.move("authorized")
    wait_for_state(page, "authorized")
    got = page.evaluate("window.got")
    assert [name for name, _ in got] == ["scanned", "login"]
    assert got[1][1] == view(page)["login"]["token"]
    box = page.locator("scan-login [part=plate]").bounding_box()
    assert box is not None and box["width"] > 200
    # The browser asks for a favicon by itself, which this policy refuses.
    assert [text for text in complaints if "favicon" not in text] == []


def test_attributes_choose_account_kind_language_and_theme(page: Page, fake: Fake) -> None:
    """Each attribute reaches the scene or the look, also when it changes later."""
    embed(page, fake, "kind=code lang=ja theme=dark")
    expect(page.locator("scan-login [part=code]")).to_have_text("402917")
    expect(page.locator("scan-login [part=title]")).to_contain_text("番号")
    ink = "getComputedStyle(document.querySelector('scan-login')).color"
    assert page.evaluate(ink) == "rgb(236, 238, 233)"
    page.evaluate("() => { scan.setAttribute('kind', 'official_account'); scan.lang = 'zh-TW'; }")
    expect(page.locator("scan-login [part=title]")).to_have_text("開啟微信，掃一掃")
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()


def test_the_language_chosen_last_wins(page: Page, fake: Fake) -> None:
    """However long the words of an earlier language take to arrive."""
    page.route("**/i18n/en.js", lambda route: (page.wait_for_timeout(400), route.continue_()))
    embed(page, fake)
    page.evaluate("() => { scan.lang = 'ja'; }")
    expect(page.locator("scan-login [part=title]")).to_have_text("WeChat でスキャン")
    page.wait_for_timeout(800)
    expect(page.locator("scan-login [part=title]")).to_have_text("WeChat でスキャン")


def test_slots_and_parts_are_the_sites_own(page: Page, fake: Fake) -> None:
    """A slot named as a state replaces its words, and comes and goes with it."""
    embed(page, fake)
    wait_for_state(page, "waiting")
    page.evaluate("""() => { const own = document.createElement("p"); own.slot = "scanned";
      own.textContent = "Hold on"; scan.append(own); }""")
    expect(page.get_by_text("Hold on")).to_be_hidden()
    fake.move("scanned", user={"name": "王**"})
    expect(page.get_by_text("Hold on")).to_be_visible()
    parts = page.evaluate(
        "[...scan.shadowRoot.querySelectorAll('[part]')].map((e) => e.part.value)"
    )
    assert set("box plate ring qr picture code status title hint timer form button".split()) <= set(
        parts
    )


def test_a_removed_element_disconnects(page: Page, fake: Fake) -> None:
    """Taken out of the page it closes its socket; put back it takes up the same scene."""
    embed(page, fake)
    wait_for_state(page, "waiting")
    eventually(lambda: fake.seen()["sockets"] == 1)
    page.evaluate("() => { window.kept = scan; kept.remove(); }")
    eventually(lambda: fake.seen()["sockets"] == 0)
    page.evaluate("document.body.append(window.kept)")
    eventually(lambda: fake.seen()["sockets"] == 1)
    assert fake.count("begin") == 1


def test_a_login_is_not_taken_up_again(page: Page, fake: Fake) -> None:
    """A site may reload as soon as it has the login, and show the element again after a log-out:
    the tab keeps nothing of the scene by then, before the server has answered the ack."""
    embed(page, fake)
    wait_for_state(page, "waiting")
    page.evaluate("""() => scan.addEventListener("login", () => queueMicrotask(() => {
      window.kept = Object.values(sessionStorage); }))""")
    assert "waiting" in page.evaluate("Object.values(sessionStorage)")[0]
    fake.move("authorized")
    page.wait_for_function("window.kept")
    assert page.evaluate("window.kept") == ["[]"]


def test_a_person_can_cancel(page: Page, fake: Fake) -> None:
    """`cancel()` ends the scene at the server and says so."""
    embed(page, fake)
    wait_for_state(page, "waiting")
    page.evaluate("scan.cancel()")
    wait_for_state(page, "cancelled")
    eventually(lambda: fake.seen()["scenes"][0]["state"] == "cancelled")


def test_a_popup_opens_wechats_own_login(page: Page, fake: Fake) -> None:
    """Kind `website` has a button that opens `start` on the server."""
    embed(page, fake, "kind=website")
    button = page.get_by_role("button", name="Open WeChat login")
    with page.expect_popup() as opened:
        button.click()
    assert opened.value.url.startswith(f"{fake.url}/oauth/website/start?scene=")


# Inside WeChat.

IN_WECHAT = {
    "iPhone": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) MicroMessenger/8.0.50",
    "Android": "Mozilla/5.0 (Linux; Android 14) Chrome/126.0 MicroMessenger/8.0.61.2660 MMWEBID/1",
    "Windows": "Mozilla/5.0 (Windows NT 10.0) Chrome/126.0 MicroMessenger/7.0.20 WindowsWechat",
    "spelt otherwise": "Mozilla/5.0 (Linux; U; Android 4.4) micromessenger/6.0",
}
SCANNED = {
    "official_account": ("长按识别二维码", ""),
    "web": ("用微信登录", "在微信中继续"),
    "mini_program": ("长按识别小程序码", ""),
}


@pytest.fixture(params=IN_WECHAT.values(), ids=IN_WECHAT)
def wechat(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of WeChat's own browser."""
    context = browser.new_context(
        locale="zh-CN", user_agent=request.param, viewport={"width": 390, "height": 844}
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("kind", SCANNED)
def test_inside_wechat_a_code_is_an_image(wechat: Page, fake: Fake, kind: str) -> None:
    """A long press reads an img only: it is loaded, beside the button of the web way."""
    title, button = SCANNED[kind]
    embed(wechat, fake, f"lang=zh-CN kind={kind}")
    image = wechat.locator("scan-login img[part=qr]")
    expect(image).to_be_visible()
    expect(wechat.locator("scan-login svg[part=qr]")).to_be_hidden()
    expect(wechat.locator("scan-login [part=title]")).to_have_text(title)
    expect(wechat.locator("scan-login [part=button]")).to_have_text(button)
    eventually(lambda: image.evaluate("(image) => image.naturalWidth") > 100)
    path = f"/api/scenes/{view(wechat)['scene_str']}/qr.png"
    assert image.get_attribute("src") == fake.url + path
    fake.move("scanned", user={"name": "王**"})
    expect(image).to_be_hidden()
    expect(wechat.locator("scan-login svg[part=qr]")).to_be_hidden()


def test_inside_wechat_the_default_kind_has_its_words(wechat: Page, fake: Fake) -> None:
    """Without the attribute `kind`, too, a person is told to press the code."""
    embed(wechat, fake, "lang=zh-CN")
    expect(wechat.locator("scan-login [part=title]")).to_have_text("长按识别二维码")


ANDROID = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile"


def test_a_number_can_be_copied_and_wechat_opened(browser: Browser, fake: Fake) -> None:
    """On a phone; a desktop has no WeChat to open, and the number fills the plate on both."""
    context = browser.new_context(
        locale="en", user_agent=ANDROID, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    embed(page, fake, "kind=code")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("scan-login [part=copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "402917"
    expect(page.get_by_role("button", name="Open WeChat")).to_be_visible()
    number, plate = (
        page.locator(f"scan-login [part={part}]").bounding_box() for part in ("code", "plate")
    )
    assert number and plate and 0.6 < number["width"] / plate["width"] < 0.95
    context.close()


def test_a_number_on_a_desktop_opens_no_app(page: Page, fake: Fake) -> None:
    """Where no clipboard is to be had, the number is selected to be copied by hand."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    embed(page, fake, "kind=code")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("scan-login [part=button]")).to_be_hidden()
    expect(page.locator("scan-login [part=copy]")).to_have_text("Copy")


@pytest.mark.parametrize("kind", ["code", "website"])
def test_inside_wechat_other_kinds_stay_as_they_are(wechat: Page, fake: Fake, kind: str) -> None:
    """What is not scanned has no picture."""
    embed(wechat, fake, f"kind={kind}")
    wait_for_state(wechat, "waiting")
    expect(wechat.locator("scan-login [part=hint]")).not_to_be_empty()
    expect(wechat.locator("scan-login img")).to_be_hidden()
    assert fake.count("picture") == 0


def test_inside_wechat_a_picture_that_does_not_come_is_drawn(wechat: Page, fake: Fake) -> None:
    """As where the site's policy names no source of images: another phone can scan that."""
    wechat.route("**/qr.png", lambda route: route.abort())
    embed(wechat, fake)
    expect(wechat.locator("scan-login svg[part=qr]")).to_be_visible()
    expect(wechat.locator("scan-login img")).to_be_hidden()


@pytest.mark.parametrize("kind", ["official_account", "web"])
def test_elsewhere_no_picture_is_asked_for(page: Page, fake: Fake, kind: str) -> None:
    """The page draws the code itself: no request more."""
    embed(page, fake, f"kind={kind}")
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()
    expect(page.locator("scan-login img")).to_be_hidden()
    assert fake.count("picture") == 0


def test_the_scripts_fit_into_twelve_kilobytes() -> None:
    """Everything the element always loads is at most 12 KB, as it is sent."""
    asset, _ = static_assets().find("scan-login.js")
    assert asset is not None
    assert len(gzip.compress(asset.body)) <= 12 * 1024


@pytest.mark.parametrize("folder", ["i18n", "i18n/pages"])
def test_every_language_has_every_word(page: Page, fake: Fake, folder: str) -> None:
    """The four languages have the same keys, and no word is empty."""
    page.goto(fake.url + "/static/icon.svg")
    keys = [
        page.evaluate(KEYS, f"/static/{folder}/{name}.js")
        for name in ("zh-CN", "zh-TW", "en", "ja")
    ]
    assert all(found == keys[0] for found in keys)


KEYS = """async (path) => {
  const { default: words } = await import(path);
  const flat = (value, at) => typeof value === "string" ? [[at, value]]
    : Object.entries(value).flatMap(([key, inner]) => flat(inner, `${at}.${key}`));
  const all = flat(words, "");
  const empty = all.filter(([, text]) => !text);
  if (empty.length) throw new Error(`empty: ${empty}`);
  return all.map(([at]) => at).sort();
}"""

HEADLESS = """
const { ScanLogin } = await import(process.argv[1]);
const login = new ScanLogin({ server: process.argv[2] });
login.addEventListener("change", () => console.log(JSON.stringify(login.view.state)));
login.addEventListener("login", ({ detail }) => {
  console.log(JSON.stringify(detail));
  login.stop();
});
login.start();
"""


def test_headless_in_node(fake: Fake) -> None:
    """ScanLogin runs where there is no DOM and no WebSocket (Node 20): by polling, to the login."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [
        node,
        "--input-type=module",
        "-e",
        HEADLESS,
        "--",
        str(STATIC / "scan-login.js"),
        fake.url,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        eventually(lambda: fake.seen()["scenes"])
        fake.move("authorized")
        assert process.stdout is not None
        said = [json.loads(line) for line in process.stdout]
    assert said[-1]["token_type"] == "Bearer"
    eventually(lambda: fake.seen()["scenes"][0]["state"] == "consumed")


def test_the_plain_example_works_as_it_stands(page: Page, fake: Fake) -> None:
    """The page meant for copying logs in, from another origin than the server's."""
    page.goto(f"{fake.elsewhere}/static/examples/plain.html?server={fake.url}")
    wait_for_state(page, "waiting")
    fake.move("scanned", user={"name": "王**"})
    expect(page.get_by_text("看一眼手机，马上就好")).to_be_visible()
    fake.move("authorized")
    expect(page.locator("#result")).to_have_text("user usr_7Hq2")
