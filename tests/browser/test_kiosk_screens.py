"""The kiosk's page at a fake server: pairing, what the operator does to a screen, the answer on the
plate; each on the modules, and on the classic script of engines that cannot read them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from handlers.assets import static_assets
from services import VERSION
from services.wechat.reply_texts import LANGUAGES

from .conftest import Fake, eventually
from .faces import LOBBY, UNPAIRED
from .fake_server import RIGHT_NUMBER
from .test_blank_pages import unknown_syntax

pytestmark = pytest.mark.browser

CHROMIUM_47 = """(() => {
  const missing = [
    [globalThis, "WebSocket AbortController fetch queueMicrotask customElements"],
    [Promise.prototype, "finally"], [Promise, "allSettled any"],
    [Object, "entries values fromEntries"], [Array.prototype, "flat flatMap at findLast"],
    [String.prototype, "padStart padEnd at replaceAll matchAll"],
    [Element.prototype, "append prepend replaceChildren replaceWith toggleAttribute"],
    [NodeList.prototype, "forEach"], [Node.prototype, "isConnected getRootNode"],
    [Navigator.prototype, "wakeLock"],
  ];
  for (const [owner, names] of missing)
    for (const name of names.split(" ")) delete owner[name];
  window.EventTarget = function () { throw new TypeError("Illegal constructor"); };
})()"""
"""What scripts find missing there, of what the kiosk could want."""

PAIR_CODE = re.compile(r"^[A-Z]{4}-[A-Z]{4}$")
HALL = {"name": "hall", "secret": "a-secret-of-the-hall", "label": "大厅"}
COUNTDOWN = re.compile(r"^\d+:[0-5]\d 后自动刷新$")


class Wall(NamedTuple):
    """A kiosk's page, and where it shows what."""

    page: Page
    is_classic: bool

    def open(self, fake: Fake, path: str = LOBBY) -> None:
        self.page.goto(fake.url + path)

    def has_code(self) -> None:
        picture = "#picture" if self.is_classic else "#code"
        expect(self.page.locator("#plate")).to_have_attribute("data-scene", re.compile("."))
        expect(self.page.locator(picture)).to_be_visible()
        expect(self.page.locator("#left")).to_have_text(COUNTDOWN)

    def is_held(self, fake: Fake) -> None:
        """Wait until a socket or a poll is there that hears at once."""
        eventually(lambda: fake.seen()["sockets"] or fake.seen()["held"])

    def scene(self) -> str:
        return self.page.locator("#plate").get_attribute("data-scene") or ""

    def pair_code(self) -> str:
        """The code for the operator, once it is there, as the operator's page sends it."""
        at = self.page.locator("#pair-code")
        expect(at).to_have_text(PAIR_CODE)
        return at.inner_text().strip().replace("-", "")


CLASSIC_IN_ALL = pytest.param("classic", id="classic", marks=pytest.mark.slow)
"""What the two scripts have in common, by default tried on one."""
ONE_SCRIPT = pytest.mark.parametrize("wall", ["modules", CLASSIC_IN_ALL], indirect=True)


@pytest.fixture(params=["modules", "classic"])
def wall(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Wall]:
    """The page in today's Chromium, and as good as in Chromium 47."""
    page, is_classic = context.new_page(), request.param == "classic"
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"{error.name} {error.message}"))
    # First: it needs what is missing afterwards.
    page.clock.install()
    if is_classic:
        page.add_init_script(CHROMIUM_47)
        page.route(re.compile(r"/kiosk\?"), unknown_syntax)
    yield Wall(page, is_classic)
    # Each script of modules is one, and so is the line that starts them.
    foreseen = "SyntaxError" if is_classic else None
    others = [e for e in wrong if not (foreseen and (foreseen in e or "start is not" in e))]
    assert not others, others


DRAWN = """async (text) => {
  const { encode, path } = await import("/static/qr.js");
  return path(encode(text));
}"""


# Pairing.


def test_a_screen_without_a_secret_is_paired(wall: Wall, fake: Fake) -> None:
    """It shows a code, its life and where to type it; what it is given outlives the page."""
    wall.open(fake, UNPAIRED)
    code = wall.pair_code()
    expect(wall.page.locator("#left")).to_have_text(COUNTDOWN)
    expect(wall.page.locator("#hint")).to_contain_text(f"{fake.url.split('//')[1]}/operator")
    address = f"{fake.url}/operator#pair={code}"
    if wall.is_classic:
        expect(wall.page.locator("#picture")).to_be_visible()
        picture = wall.page.locator("#picture").get_attribute("src") or ""
        assert f"<title>{address}</title>" in unquote(picture)
        assert wall.page.evaluate("document.getElementById('picture').naturalWidth") > 0
    else:
        d = wall.page.locator("#code path").get_attribute("d")
        assert d == wall.page.evaluate(DRAWN, address)
    fake.pair(code, **HALL)
    wall.has_code()
    assert wall.page.url == fake.url + UNPAIRED
    expect(wall.page.locator("#label")).to_have_text("屏幕 hall")
    wall.page.reload()
    wall.has_code()
    assert fake.count("pair") == 1 and fake.seen()["pages"] == [VERSION, VERSION]


@pytest.mark.slow
@pytest.mark.parametrize("wall", ["classic"], indirect=True)
def test_without_its_picture_the_letters_pair(wall: Wall, fake: Fake) -> None:
    """A store that fails just then keeps it away; what is to be typed stands there all the same."""
    wall.page.route("**/api/kiosks/pair/qr.svg", lambda route: route.fulfill(status=503, body="{}"))
    wall.open(fake, UNPAIRED)
    wall.pair_code()
    expect(wall.page.locator("#hint")).to_be_visible()
    expect(wall.page.locator("#picture")).to_be_hidden()


@pytest.mark.slow
def test_a_code_that_ended_is_followed_by_another(wall: Wall, fake: Fake) -> None:
    """The screen need not be touched for it."""
    fake.set(pair_seconds=1)
    wall.open(fake, UNPAIRED)
    first = wall.pair_code()
    fake.set(pair_seconds=600)
    eventually(lambda: wall.pair_code() != first)
    fake.pair(wall.pair_code(), **HALL)
    wall.has_code()


NO_STORAGE = """Object.defineProperty(window, "localStorage",
  { get() { throw new DOMException("denied", "SecurityError"); } })"""


@pytest.mark.slow
def test_without_storage_the_address_keeps_the_secret(wall: Wall, fake: Fake) -> None:
    """So it can be copied to where the screen is started from."""
    wall.page.add_init_script(NO_STORAGE)
    wall.open(fake, UNPAIRED)
    fake.pair(wall.pair_code(), **HALL)
    wall.has_code()
    assert wall.page.url == f"{fake.url}{UNPAIRED}#hall:a-secret-of-the-hall"


@ONE_SCRIPT
def test_a_server_without_an_operator_says_what_to_do(wall: Wall, fake: Fake) -> None:
    """No pairing there: the setting is named, and so is the other way; nothing calls to a code."""
    fake.set(pairing=404)
    wall.open(fake, UNPAIRED)
    expect(wall.page.locator("#trouble")).to_contain_text("operator.token")
    expect(wall.page.locator("#trouble")).to_contain_text("#名称:密钥")
    expect(wall.page.locator("#hint")).to_be_hidden()
    expect(wall.page.locator("#heading")).to_have_css("opacity", "0")
    assert fake.count("pair") == 1


@ONE_SCRIPT
def test_a_secret_that_is_over_leads_back_to_pairing(wall: Wall, fake: Fake) -> None:
    """One of a pairing, that is: a mistake in the address is for the person who typed it."""
    wall.open(fake, f"{UNPAIRED}#lobby3:wrong")
    expect(wall.page.locator("#trouble")).to_contain_text("这块屏幕没有登记")
    wall.page.evaluate(
        """() => { localStorage["scanpush kiosk"] = '["hall", "an-old-secret"]'; }"""
    )
    wall.page.goto("about:blank")
    wall.open(fake, UNPAIRED)
    wall.pair_code()
    expect(wall.page.locator("#heading")).to_have_text("这块屏幕已被移除")
    assert wall.page.evaluate("localStorage.length") == 0


# What the operator does.


@pytest.mark.parametrize(
    ("wall", "way"),
    [
        pytest.param("modules", "sockets"),
        pytest.param("modules", "polls", marks=pytest.mark.slow),
        pytest.param("classic", "polls"),
    ],
    indirect=["wall"],
)
def test_what_the_operator_does_is_heeded(wall: Wall, fake: Fake, way: str) -> None:
    """A notice comes and goes, a label changes, and a revoked screen can be paired again."""
    if way == "polls":
        fake.set(socket="refuse")
    wall.open(fake)
    wall.has_code()
    notice, label = wall.page.locator("#notice"), wall.page.locator("#label")
    wall.is_held(fake)
    fake.screen(notice="午后维护", label="北门")
    expect(notice).to_have_text("午后维护")
    expect(label).to_have_text("屏幕 北门")
    wall.is_held(fake)
    fake.screen(notice="")
    expect(notice).to_be_hidden()
    wall.is_held(fake)
    fake.screen(revoked=True)
    wall.pair_code()
    expect(wall.page.locator("#heading")).to_have_text("这块屏幕已被移除")
    expect(label).to_be_empty()
    assert wall.page.url == fake.url + UNPAIRED


@ONE_SCRIPT
def test_a_reload_is_done_once_and_in_no_ones_way(wall: Wall, fake: Fake) -> None:
    """It waits for a login in progress; the next page knows that it is done, and of an older one
    that it is over."""
    wall.open(fake)
    wall.has_code()
    wall.is_held(fake)
    fake.move("scanned", nth=0, user={"name": "王**"})
    expect(wall.page.locator("#guests li")).to_have_count(1)
    wall.is_held(fake)
    fake.screen(reload=7, notice="已更新")
    expect(wall.page.locator("#notice")).to_have_text("已更新")
    wall.page.clock.run_for(2000)
    begun = fake.count("begin")
    with wall.page.expect_event("domcontentloaded"):
        fake.move("denied", nth=0)
        expect(wall.page.locator("#guests li.denied")).to_have_count(1)
        wall.page.clock.run_for(7000)
    wall.has_code()
    wall.is_held(fake)
    fake.screen(reload=7)
    wall.is_held(fake)
    fake.screen(reload=6, notice="")
    expect(wall.page.locator("#notice")).to_be_hidden()
    wall.page.clock.run_for(2000)
    assert fake.count("begin") == begun + 1


# The answer to a scan.


@pytest.mark.parametrize(
    ("user", "scanned", "welcome"),
    [
        pytest.param({"name": "王**"}, "王** 已扫码", "欢迎，王**", id="known"),
        pytest.param(None, "已扫码", "欢迎", id="unknown", marks=pytest.mark.slow),
    ],
)
def test_the_plate_answers_a_scan(
    wall: Wall, fake: Fake, user: Any, scanned: str, welcome: str
) -> None:
    """With a name where there is one; then the next code comes, with a ring around it."""
    wall.open(fake)
    wall.has_code()
    first, answer = wall.scene(), wall.page.locator("#answer-title")
    fake.move("scanned", nth=0, **({"user": user} if user else {}))
    expect(answer).to_have_text(scanned)
    fake.move("authorized", nth=0)
    expect(answer).to_have_text(welcome)
    eventually(lambda: wall.scene() != first)
    wall.page.clock.run_for(2000)
    expect(answer).to_be_hidden()
    expect(wall.page.locator("#plate")).to_have_class(re.compile("fresh"))
    wall.has_code()
    expect(wall.page.locator("#guests li.authorized")).to_have_text(welcome)


WATCH = """() => {
  window.answers = [], window.shifts = [];
  const answer = document.getElementById("answer");
  new MutationObserver(() => answers.push(answer.hidden))
    .observe(answer, { attributeFilter: ["hidden"] });
  const name = ({ node }) => node && (node.id || node.className || node.nodeName);
  new PerformanceObserver((list) => list.getEntries().forEach(({ value, sources }) =>
    shifts.push([value, ...sources.map(name)]))).observe({ type: "layout-shift" });
}"""


@ONE_SCRIPT
def test_a_scan_moves_nothing_and_flashes_once(wall: Wall, fake: Fake) -> None:
    """No layout shift from the code to the next one; a crowd makes one answer, not one flash each
    (WCAG 2.2, 2.3.1)."""
    wall.open(fake)
    wall.has_code()
    wall.page.evaluate(WATCH)
    # The page's clock stands but for a little at each look, so that on a slow machine, too, the
    # first guest is still greeted when the last one comes.
    wall.page.clock.pause_at(wall.page.evaluate("Date.now() / 1000 + 1"))

    def greets(guests: int) -> bool:
        wall.page.clock.run_for(5)
        return wall.page.locator("#guests li.authorized").count() == guests

    for nth in range(3):
        eventually(lambda nth=nth: greets(nth) and len(fake.seen()["scenes"]) > nth)
        fake.move("scanned", nth=nth, user={"name": "王**"})
        fake.move("authorized", nth=nth)
        eventually(lambda nth=nth: greets(nth + 1))
    wall.page.clock.run_for(2000)
    expect(wall.page.locator("#answer")).to_be_hidden()
    assert wall.page.evaluate("shifts.join()") == ""
    # Set again while it is up, it is no second one.
    shown = "answers.filter((hidden, i) => !hidden && answers[i - 1] !== false).length"
    assert wall.page.evaluate(shown) == 1


def test_motion_is_left_out_where_it_is_not_wanted(page: Page, fake: Fake) -> None:
    """The answer and the ring stand still, and say the same."""
    page.emulate_media(reduced_motion="reduce")
    page.goto(fake.url + LOBBY)
    expect(page.locator("#code")).to_be_visible()
    fake.move("authorized", nth=0)
    expect(page.locator("#answer")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    expect(page.locator("#plate")).to_have_class(re.compile("fresh"))
    assert page.evaluate("document.getAnimations().length") == 0


# Old engines.


@pytest.mark.slow
@pytest.mark.parametrize("wall", ["classic"], indirect=True)
def test_a_keypad_on_the_classic_script(wall: Wall, fake: Fake) -> None:
    """The number is typed on the plate, and the guest is welcomed."""
    wall.open(fake)
    wall.has_code()
    fake.move("confirming", nth=0, confirm="number", user={"name": "王**"})
    for key in (*RIGHT_NUMBER, "✓"):
        wall.page.locator("#number button", has_text=key).click()
    expect(wall.page.locator("#guests li.authorized")).to_have_text("欢迎，王**")
    expect(wall.page.locator("#pad")).to_be_hidden()
    assert f"number {RIGHT_NUMBER}" in fake.seen()["log"]


@pytest.mark.slow
@pytest.mark.parametrize("wall", ["classic"], indirect=True)
def test_long_polls_that_are_cut_become_short_ones(wall: Wall, fake: Fake) -> None:
    """As some proxies do it; the exchange code reaches the kiosk's shell all the same."""
    fake.set(long_poll="cut")
    wall.open(fake)
    wall.has_code()
    wall.page.evaluate("""() => document.addEventListener("scanpush-exchange",
      (event) => { window.handed = event.detail.exchange_code; })""")
    expect(wall.page.locator("#way")).to_have_attribute("data-way", "poll")
    fake.move("authorized", nth=0)
    expect(wall.page.locator("#guests li.authorized")).to_have_text("欢迎")
    assert wall.page.evaluate("window.handed") == "xc_fake"


ACORN = Path(__file__).parent / "node_modules" / "acorn"
PARSE = (
    "const a = require(process.argv[1]), fs = require('fs');"
    "for (const text of JSON.parse(fs.readFileSync(0, 'utf8'))) a.parse(text, { ecmaVersion: 5 });"
)


def test_the_classic_script_is_ecmascript_5() -> None:
    """In each language, and so is the line of the page that asks for it."""
    node = shutil.which("node")
    if node is None or not ACORN.exists():
        pytest.skip("node or acorn is not installed: npm install in tests/browser")
    texts = []
    for lang in LANGUAGES:
        asset, _ = static_assets().find(f"kiosk-old.{lang}.js")
        assert asset is not None
        texts.append(asset.body.decode())
    page = (Path(__file__).parents[2] / "static" / "kiosk.html").read_text(encoding="utf-8")
    texts += re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(texts) == len(LANGUAGES) + 1
    command = [node, "-e", PARSE, str(ACORN)]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
