"""What a visit loads, in which order, and that nothing moves while the code comes."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from handlers.assets import policy_hash, static_assets
from services.settings import branding
from services.wechat.reply_texts import LANGUAGES

from .conftest import HIDE, ROOT, Fake, eventually, view, wait_for_state
from .faces import STATES
from .fake_server import KIOSK_SECRET
from .look import SHIFTS, look
from .test_policies import complaints_of, embed
from .walks import QR

pytestmark = pytest.mark.browser

STATIC = ROOT / "static"


def requests_of(page: Page) -> list[str]:
    """The requests that the page will make: method and path."""
    made: list[str] = []

    def note(request: Request) -> None:
        path = "/" + request.url.split("/", 3)[3].partition("#")[0].partition("?")[0]
        made.append(f"{request.method} {path}")

    page.on("request", note)
    return made


# What is loaded.


@pytest.mark.parametrize("path", ["/", f"/kiosk#lobby3:{KIOSK_SECRET}"], ids=["login", "kiosk"])
def test_a_code_costs_two_requests(page: Page, fake: Fake, path: str) -> None:
    """The page, and the one for its scene, which the page makes before it is drawn."""
    made = requests_of(page)
    page.goto(fake.url + path)
    expect(page.locator(f"{QR}, #code")).to_be_visible()
    eventually(lambda: fake.seen()["sockets"] == 1)
    assert made == [f"GET {path.partition('#')[0]}", "POST /api/scenes"]
    assert fake.count("begin") == 1


def test_a_code_on_another_site_costs_one_script(page: Page, fake: Fake) -> None:
    """Its words come beside the request for the scene, for which the browser needs no leave."""
    made = requests_of(page)
    embed(page, fake.elsewhere, fake.url)
    expect(page.locator(QR)).to_be_visible()
    words = f"GET /static/{static_assets().digest}/i18n/en.js"
    assert sorted(made) == sorted(
        ["GET /embed", "GET /static/scan-login.js", words, "POST /api/scenes"]
    )
    assert fake.count("preflight") == 0


def early_begin(fake: Fake, lang: str) -> tuple[str, str]:
    """The lines of docs/embedding.md for the head of a page, and the hash of the inline ones."""
    document = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    lines = document.partition("<!-- early begin -->\n")[2].partition("```")[0]
    lines = lines.replace("https://login.example.com", fake.url).replace('"en"', f'"{lang}"')
    inline = lines.partition("<script>")[2].partition("</script>")[0]
    return lines, policy_hash(inline).strip()


def go_early(page: Page, fake: Fake, lang: str = "en", hashed: bool = True) -> None:
    """Open the page of another site that begins early, under a policy that allows it or not."""
    head, allowed = early_begin(fake, lang)
    policy = (
        f"default-src 'none'; script-src {fake.url}{f' {allowed}' if hashed else ''}; "
        f"connect-src {fake.url} {fake.url.replace('http', 'ws')}; img-src {fake.url}"
    )
    asked = urlencode({"server": fake.url, "head": head, "policy": policy})
    page.goto(f"{fake.elsewhere}/embed?{asked}")


def test_a_page_can_begin_before_the_script_is_there(page: Page, fake: Fake) -> None:
    """The scene is asked for while the script is still on its way, and only once; a reload, for
    which the tab has a scene, asks for none."""
    page.route(
        "**/scan-login.js",
        lambda route: (eventually(lambda: fake.count("begin") == 1), route.continue_()),
    )
    go_early(page, fake)
    wait_for_state(page, "waiting")
    expect(page.locator(QR)).to_be_visible()
    assert fake.count("begin") == 1
    scene = view(page)["scene_str"]
    page.reload()
    wait_for_state(page, "waiting")
    assert view(page)["scene_str"] == scene and fake.count("begin") == 1
    fake.move("authorized")
    wait_for_state(page, "authorized")


@pytest.mark.parametrize(
    ("lang", "hashed", "begun"), [("ja", True, 2), ("en", False, 1)], ids=["other", "blocked"]
)
def test_without_a_fitting_early_begin_the_element_asks(
    page: Page, fake: Fake, lang: str, hashed: bool, begun: int
) -> None:
    """Where the line asked for another login, or the page's policy does not let it run."""
    go_early(page, fake, lang, hashed)
    wait_for_state(page, "waiting")
    expect(page.locator(QR)).to_be_visible()
    assert fake.count("begin") == begun


def test_a_page_that_opens_unseen_asks_for_no_code(page: Page, fake: Fake) -> None:
    """A tab in the background, or one that a browser loads ahead: it asks when it is looked at."""
    hidden = '{ value: "hidden", configurable: true }'
    page.add_init_script(f'Object.defineProperty(document, "visibilityState", {hidden})')
    page.goto(fake.url)
    expect(page.locator("#plain")).to_have_count(0)
    page.wait_for_timeout(200)
    assert fake.count("begin") == 0
    page.evaluate(HIDE, False)
    wait_for_state(page, "waiting")
    assert fake.count("begin") == 1


def test_a_reload_asks_for_no_other_code(page: Page, fake: Fake) -> None:
    """The tab has its scene."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    scene = view(page)["scene_str"]
    page.reload()
    wait_for_state(page, "waiting")
    assert view(page)["scene_str"] == scene and fake.count("begin") == 1


def test_the_first_request_is_for_the_kind_that_the_page_shows(
    phone: BrowserContext, fake: Fake
) -> None:
    """On a phone the number, by one request; a kind that was chosen in the tab is kept."""
    fake.set(kinds="official_account code website")
    page = phone.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    assert view(page)["kind"] == "code" and fake.count("begin") == 1
    page.get_by_role("button", name="微信窗口").click()
    eventually(lambda: view(page)["state"] == "waiting" and view(page)["kind"] == "website")
    page.evaluate("sessionStorage.removeItem(`scanpush ${location.origin} undefined website`)")
    before = fake.count("begin")
    page.reload()
    wait_for_state(page, "waiting")
    assert view(page)["kind"] == "website" and fake.count("begin") == before + 1


def test_a_page_in_another_language_than_the_browsers(page: Page, fake: Fake) -> None:
    """`?lang=` decides for page, element and the replies in the chat, until another is chosen."""
    bodies: list[Any] = []
    page.on("request", lambda asked: asked.method == "POST" and bodies.append(asked.post_data))
    page.goto(f"{fake.url}/?lang=ja")
    wait_for_state(page, "waiting")
    assert page.evaluate("[document.documentElement.lang, scan.lang]") == ["ja", "ja"]
    assert [json.loads(body)["lang"] for body in bodies] == ["ja"]
    page.locator("#lang").select_option("en")
    expect(page.locator("#talk h1")).to_have_text("Scan with WeChat to log in")
    page.reload()
    expect(page.locator("#talk h1")).to_have_text("Scan with WeChat to log in")


@pytest.mark.parametrize("folder", ["i18n", "i18n/pages"])
def test_words_are_read_alike_by_browsers_and_by_the_server(
    page: Page, fake: Fake, folder: str
) -> None:
    """Pages come with the words that the server reads, which are those that a script imports."""
    page.goto(fake.url + "/static/icon.svg")
    for lang in LANGUAGES:
        file = f"{folder}/{lang}.js"
        imported = page.evaluate(f"import('/static/{file}').then((module) => module.default)")
        assert static_assets().words(file) == imported


# What is seen.


WECHAT = (
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0.50"
)
KINDS = ["official_account", "code", "website", "mini_program", "web"]
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "small": {"viewport": {"width": 320, "height": 640}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "wechat": {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "user_agent": WECHAT,
    },
}


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_nothing_moves_while_the_code_comes(
    browser: Browser, fake: Fake, screen: dict[str, Any]
) -> None:
    """The sum of the layout shifts of `/` stays below 0.02: each login kind, short words and long
    ones, and with the notice of the simulation."""
    wrong = {}
    for lang in ("zh-CN", "en"):
        for kind in KINDS:
            fake.set(kinds=f"{kind} {' '.join(other for other in KINDS if other != kind)}")
            fake.set(simulated=kind == "official_account")
            context = browser.new_context(locale=lang, **screen)
            context.add_init_script(SHIFTS)
            context.add_init_script(f"sessionStorage['scanpush kind'] ??= '{kind}'")
            page = context.new_page()
            page.goto(fake.url)
            wait_for_state(page, "waiting")
            page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"
            )
            shifts = page.evaluate("shifts")
            if sum(shift[0] for shift in shifts) >= 0.02:
                wrong[lang, kind] = shifts
            context.close()
    assert not wrong, wrong


@pytest.mark.parametrize("path", ["/", f"/kiosk#lobby3:{KIOSK_SECRET}", "/operator"])
def test_the_inline_parts_break_no_rule(page: Page, fake: Fake, path: str) -> None:
    """The console has nothing to say about the policy of the page."""
    complaints = complaints_of(page)
    page.goto(fake.url + path)
    expect(page.locator("#plain")).to_have_count(0)
    page.wait_for_timeout(200)
    assert complaints == []


def test_nothing_is_seen_before_it_has_its_size(page: Page, fake: Fake) -> None:
    """As where a browser paints while the script at the end of the page is still to come."""

    def cut(route: Route) -> None:
        answer = route.fetch(max_redirects=0)
        route.fulfill(response=answer, body=answer.text().replace("<script>start();", "<script>"))

    page.route(fake.url + "/", cut)
    page.goto(fake.url)
    split = page.locator(".split")
    expect(split).to_be_hidden()
    page.evaluate("start()")
    wait_for_state(page, "waiting")
    expect(split).to_be_visible()


def test_a_page_can_be_read_without_a_script(browser: Browser, fake: Fake) -> None:
    """Its heading, its steps and its warning, in the visitor's language."""
    context = browser.new_context(locale="ja", java_script_enabled=False)
    page = context.new_page()
    page.goto(fake.url)
    words = static_assets().words("i18n/pages/ja.js")
    expect(page.locator("h1").first).to_have_text(words["heading"])
    expect(page.locator("#steps li")).to_have_text(words["steps"])
    expect(page.locator(".safety")).to_have_text(words["safety"])
    context.close()


AGAIN = "() => { logout.onclick(); }"
"""As the button after a login does it, which brings a new code in any state."""
PLATE = "scan.shadowRoot.querySelector('[part=plate]').getBoundingClientRect()"


@pytest.mark.parametrize(
    "screen", ["desktop", "wechat", pytest.param("small", marks=pytest.mark.slow)]
)
def test_nothing_moves_from_state_to_state(browser: Browser, fake: Fake, screen: str) -> None:
    """The plate stays where it is, and the layout shifts of each state are below 0.02: what is
    scanned, asked, filled in and refused, a login, and every trouble."""
    context = browser.new_context(locale="en", reduced_motion="reduce", **SCREENS[screen])
    context.add_init_script(SHIFTS)
    page = context.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    settled = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"
    page.evaluate(settled)
    place = page.evaluate(f"(({{ x, y, width }}) => [x, y + scrollY, width])({PLATE})")
    wrong = {}
    for state, show in STATES.items():
        page.evaluate("shifts.length = 0")
        show(page, fake)
        page.evaluate(settled)
        found = page.evaluate(
            f"[shifts, (({{ x, y, width }}) => [x, y + scrollY, width])({PLATE})]"
        )
        if sum(shift[0] for shift in found[0]) >= 0.02 or found[1] != place:
            wrong[state] = found
        context.set_offline(False)
        page.evaluate(AGAIN)
        wait_for_state(page, "waiting")
        page.evaluate(settled)
    context.close()
    assert not wrong, (place, wrong)


def test_the_form_of_a_registration_is_above_the_fold(page: Page, fake: Fake) -> None:
    """With all its fields, and its button, at 1280 by 800."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("registering", register_fields=["name", "phone", "email"])
    button = page.get_by_role("button", name="完成注册")
    expect(button).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_words_and_title_follow_the_login(page: Page, fake: Fake) -> None:
    """The steps are those of the login kind, the next is marked, and the tab tells the state."""
    words = static_assets().words("i18n/pages/zh-CN.js")
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page).to_have_title("微信扫码登录 · 示例站点")
    expect(page.locator("#steps [aria-current=step]")).to_have_text(words["steps"][0])
    page.get_by_role("button", name="发送数字").click()
    expect(page.locator("#heading")).to_have_text(words["ways"]["code"]["heading"])
    expect(page.locator("#steps li")).to_have_text(words["ways"]["code"]["steps"])
    eventually(lambda: view(page)["state"] == "waiting" and view(page)["kind"] == "code")
    fake.move("scanned", user={"name": "王**"})
    expect(page).to_have_title("王** 已扫码 · 示例站点")
    expect(page.locator("#steps [aria-current=step]")).to_have_text(
        words["ways"]["code"]["steps"][2]
    )
    fake.move("authorized")
    expect(page).to_have_title("王小明，已登录 · 示例站点")
    assert page.locator("main scan-login").count() == 1


def test_forced_colours_keep_code_and_choice(browser: Browser, fake: Fake) -> None:
    """The code stays black on white, words stand on the system's own ground, and the chosen login
    kind has a border."""
    context = browser.new_context(locale="en", forced_colors="active", color_scheme="dark")
    page = context.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    ground = "getComputedStyle(scan.shadowRoot.querySelector('[part=plate]')).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    chosen = page.locator("#kinds [aria-pressed=true]")
    expect(chosen).to_have_css("border-top-width", "3px")
    fake.move("scanned", user={"name": "王**"})
    wait_for_state(page, "scanned")
    assert page.evaluate(f"{ground} === getComputedStyle(document.body).backgroundColor")
    context.close()


def test_the_brand_of_the_operator(page: Page, fake: Fake) -> None:
    """Name, logo, colour and links on the page; nothing of it breaks the page's policy."""
    complaints = complaints_of(page)
    colours = branding.style("#8a1c3b")
    logo = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    fake.set(site="茶馆", logo=logo, colours=colours, terms="https://example.com/terms")
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    expect(page.locator(".brand")).to_have_text("茶馆")
    assert page.locator(".brand img").evaluate("(img) => img.naturalWidth") == 9
    expect(page.get_by_role("link", name="服务协议")).to_have_attribute(
        "href", "https://example.com/terms"
    )
    expect(page.get_by_role("link", name="隐私政策")).to_have_count(0)
    deep = branding.style("#8a1c3b").partition("--deep:")[2][:7]
    painted = "rgb({}, {}, {})".format(*bytes.fromhex(deep[1:]))
    expect(page.locator(".stage")).to_have_css("background-color", painted)
    assert look(page, "login-brand") == [] and complaints == []
