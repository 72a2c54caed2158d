"""The kiosk wall on a real server: never stale, never touched, nothing secret on it."""

import json
import os
import re
import statistics
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import ARTIFACTS, Fake, Servers, eventually
from .fake_server import KIOSK_SECRET as FAKE_SECRET
from .look import look
from .real_server import EVERYTHING, KIOSK_SECRET, TEA_HOUSE, Phone, Real, Way, tea_house
from .walks import CODES, open_page

pytestmark = pytest.mark.browser
CYCLES = int(os.environ.get("SCANPUSH_TEST_CYCLES", 0)) or (
    5000 if os.environ.get("SCANPUSH_TEST_ALL") else 60
)


def open_wall(page: Page, url: str, secret: str = KIOSK_SECRET, lang: str = "zh-CN") -> str:
    """Open the wall and wait for its code; the scene."""
    page.goto(f"{url}/kiosk?lang={lang}#lobby3:{secret}")
    eventually(lambda: shown(page))
    return shown(page)


def shown(page: Page) -> str:
    """The scene whose code is on the wall, or nothing."""
    scene: str = page.evaluate("plate.className.includes('empty') ? '' : plate.dataset.scene ?? ''")
    return scene


def next_scene(page: Page, before: str) -> str:
    """Wait for the next code; its scene."""
    eventually(lambda: shown(page) not in ("", before))
    return shown(page)


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests."""
    return servers(**TEA_HOUSE)


def test_the_code_fills_the_wall(page: Page, tea: Real) -> None:
    """The code's modules take at least 60 % of the shorter side; no scroll bar, no pointer."""
    page.set_viewport_size({"width": 1920, "height": 1080})
    open_wall(page, tea.url)
    box = page.locator("#code path").bounding_box()
    assert box is not None and box["width"] >= 0.6 * 1080
    assert page.evaluate("getComputedStyle(document.documentElement).cursor") == "none"
    assert page.evaluate("getComputedStyle(document.body).overflow") == "hidden"
    expect(page.locator("#label")).to_have_text("屏幕 三号大厅")
    expect(page.locator("#clock")).not_to_be_empty()


HAND_OVER = """() => {
  const note = (name) => () => { window[name] ??= performance.now(); };
  new MutationObserver(note("swapped")).observe(plate, { attributeFilter: ["data-scene"] });
  new MutationObserver(note("greeted")).observe(guests, { childList: true });
}"""


def test_the_next_person_sees_a_fresh_code(page: Page, tea: Real) -> None:
    """Each scan is greeted, and followed by the next code. The hand-over is measured in the page,
    from the greeting to the next code, and kept in artifacts/kiosk-hand-over.json."""
    scene = open_wall(page, tea.url)
    page.evaluate(HAND_OVER)
    took = []
    for number in range(6):
        page.evaluate("() => { window.swapped = window.greeted = undefined; }")
        tea.do("scan", person=f"guest {number}", scene_str=scene)
        scene = next_scene(page, scene)
        expect(page.locator("#guests li.authorized").last).to_have_text("欢迎")
        took.append(round(page.evaluate("swapped - greeted"), 1))
        page.wait_for_timeout(300)
    ARTIFACTS.mkdir(exist_ok=True)
    kept = {"first_ms": took[0], "later_median_ms": statistics.median(took[1:]), "all_ms": took}
    (ARTIFACTS / "kiosk-hand-over.json").write_text(json.dumps(kept))
    print("kiosk hand-over", kept)


def test_a_guest_is_greeted_and_no_token_is_on_the_wall(page: Page, tea: Real) -> None:
    """A known person is greeted by a masked name; the exchange code goes to the shell, not to the
    screen, and is left to the operator's server to redeem."""
    become_known(page, tea, "wang", "王小明")
    scene = open_wall(page, tea.url)
    page.evaluate("""() => document.addEventListener("scanpush-exchange",
      (event) => { window.handed = event.detail; })""")
    tea.do("scan", person="wang", scene_str=scene)
    expect(page.locator("#guests li.authorized")).to_have_text("欢迎，王**")
    handed = page.evaluate("window.handed")
    assert handed["scene_str"] == scene
    assert handed["exchange_code"] not in page.content() and KIOSK_SECRET not in page.content()
    expect(page.locator("#guests li")).to_have_count(0, timeout=8000)
    login = tea.operator("POST", "/api/exchange", exchange_code=handed["exchange_code"])
    assert login["login"]["token"].count(".") == 2


def become_known(page: Page, real: Real, person: str, nickname: str) -> None:
    """Log in once by the login kind that learns the name."""
    content = open_page(page, real.url, "web")["qr"]["content"]
    with Phone(real, person, nickname) as phone:
        phone.scan(content)
        phone.answer(True)
    expect(page.locator("#me-name")).to_have_text(nickname)
    # The ack may still be on its way, and then the next visit would take this scene up again.
    page.evaluate("sessionStorage.clear()")


def test_the_line_follows_the_guest(page: Page, servers: Servers) -> None:
    """Asked in the chat, the screen named there; then welcome, or refused."""
    real = servers(**tea_house(confirm="always"))
    scene = open_wall(page, real.url)
    for person, answer, words in [("yes", "1", "欢迎"), ("no", "0", "已拒绝")]:
        real.do("scan", person=person, scene_str=scene)
        expect(page.locator("#guests li.confirming")).to_contain_text("请在公众号里回复 1")
        assert "三号大厅" in real.chat(person)[-1]
        scene = next_scene(page, scene)
        real.do("text", person=person, text=answer)
        expect(page.locator("#guests li").last).to_contain_text(words)


def test_a_code_is_replaced_before_it_ends(page: Page, fake: Fake) -> None:
    """The successor is ready when the shown code's time is up; an idle screen begins no more."""
    fake.set(qr_seconds=22, scene_seconds=52)
    page.clock.install()
    first = open_wall(page, fake.url, FAKE_SECRET)
    fake.set(qr_seconds=1770, scene_seconds=1800)
    eventually(lambda: fake.count("begin") == 2)
    assert shown(page) == first
    page.clock.fast_forward(15_000)
    next_scene(page, first)
    assert fake.count("begin") == 2
    fake.move("scanned", scene_str=first, user={"name": "李**"})
    expect(page.locator("#guests li")).to_have_text("李**，请看手机")


def test_a_short_lived_code_is_replaced_and_still_counts(page: Page, servers: Servers) -> None:
    """Codes of a few seconds follow one another; a scan of the one before is still greeted."""
    real = servers(**{**tea_house(), "kiosk_ttl_seconds": 8})
    first = open_wall(page, real.url)
    next_scene(page, first)
    real.do("scan", person="slow at the wall", scene_str=first)
    expect(page.locator("#guests li.authorized")).to_contain_text("欢迎")


def test_a_screen_from_pairing_to_its_end(page: Page, tea: Real) -> None:
    """The operator pairs it, puts up a notice, reloads it and revokes it; then it can be paired
    again."""
    page.goto(f"{tea.url}/kiosk?lang=zh-CN")
    letters = page.locator("#pair-code")
    expect(letters).to_have_text(re.compile(r"^\w{4}-\w{4}$"))
    code, kiosk = letters.inner_text().replace("-", ""), "/api/operator/kiosks/north"
    tea.operator("POST", "/api/operator/kiosks/pair", code=code, name="north", label="北门")
    expect(page.locator("#label")).to_have_text("屏幕 北门", timeout=15000)
    eventually(lambda: shown(page))
    expect(page.locator("#way")).to_have_attribute("data-way", "socket")
    tea.operator("POST", f"{kiosk}/notice", text="午后维护")
    expect(page.locator("#notice")).to_have_text("午后维护")
    with page.expect_event("domcontentloaded"):
        tea.operator("POST", f"{kiosk}/reload")
    eventually(lambda: shown(page))
    expect(page.locator("#notice")).to_have_text("午后维护")
    expect(page.locator("#way")).to_have_attribute("data-way", "socket")
    tea.operator("DELETE", kiosk)
    expect(page.locator("#heading")).to_have_text("这块屏幕已被移除")
    expect(letters).to_have_text(re.compile(r"^\w{4}-\w{4}$"))
    assert page.evaluate("localStorage.length") == 0


# What goes wrong.


def test_hours_offline_heal_by_themselves(context: BrowserContext, page: Page, tea: Real) -> None:
    """Without the server no stale code is left standing; with it, a fresh one comes by itself."""
    page.clock.install()
    with Way(tea) as way:
        before = open_wall(page, way.url)
        context.set_offline(True)
        way.block(EVERYTHING)
        page.clock.fast_forward(3 * 3600 * 1000)
        page.clock.run_for(2000)
        expect(page.locator("#trouble")).to_contain_text("网络断开了")
        way.block()
        context.set_offline(False)

        def back() -> bool:
            page.clock.run_for(1000)
            return shown(page) not in ("", before)

        eventually(back)
        tea.do("scan", person="after hours", scene_str=shown(page))
        expect(page.locator("#guests li.authorized")).to_contain_text("欢迎")


@pytest.mark.parametrize("settings", [TEA_HOUSE], ids=["kiosk"])
@pytest.mark.parametrize("lost", [False, True], ids=["restart", "restart with an empty store"])
def test_a_restart_is_survived(page: Page, real: Real, lost: bool) -> None:
    """The wall goes on with its code; with a fresh one where the server has lost it."""
    before = open_wall(page, real.url)
    expect(page.locator("#way")).to_have_attribute("data-way", "socket")
    real.stop()
    expect(page.locator("#way")).not_to_have_attribute("data-way", "socket")
    if lost:
        real.forget()
    real.start()
    scene = next_scene(page, before) if lost else before
    expect(page.locator("#way")).to_have_attribute("data-way", "socket", timeout=45000)
    assert shown(page) == scene
    real.do("follow", person="early bird", event_key=f"qrscene_{scene}")
    expect(page.locator("#guests li.authorized")).to_contain_text("欢迎", timeout=15000)


def test_a_fault_of_wechat_is_said_and_heals(page: Page, tea: Real) -> None:
    """No code to be had: the plate says why, and shows one as soon as there is one."""
    tea.do("faults", path=CODES, times=0, status=500)
    try:
        page.goto(f"{tea.url}/kiosk?lang=zh-CN#lobby3:{KIOSK_SECRET}")
        expect(page.locator("#trouble")).to_contain_text("微信暂时没有响应")
    finally:
        tea.no_faults()
    eventually(lambda: shown(page))


def test_a_wrong_secret_is_said(page: Page, tea: Real) -> None:
    """An unknown screen says so for the person who sets it up, and does not hammer the server."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    page.goto(f"{tea.url}/kiosk?lang=zh-CN#lobby3:wrong")
    expect(page.locator("#trouble")).to_contain_text("这块屏幕没有登记")
    page.wait_for_timeout(1500)
    assert asked.count("POST") == 1


@pytest.mark.parametrize("typed", ["#lobby3", "#100%zz:100%"])
def test_a_corrected_address_is_obeyed(page: Page, tea: Real, typed: str) -> None:
    """A correction at the end of the page's address takes effect without a reload."""
    page.goto(f"{tea.url}/kiosk?lang=zh-CN{typed}")
    expect(page.locator("#trouble")).to_contain_text("这块屏幕没有登记")
    page.evaluate("(hash) => { location.hash = hash; }", f"lobby3:{KIOSK_SECRET}")
    expect(page.locator("#code")).to_be_visible()


@pytest.mark.timeout(3600)
def test_many_cycles_leave_nothing_behind(page: Page, tea: Real) -> None:
    """Scene after scene, heap, nodes and listeners stay flat (5,000 cycles in --all)."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.clock.install()
    scene = open_wall(page, tea.url)
    page.evaluate("""() => document.addEventListener("scanpush-exchange",
      (event) => { window.handed = event.detail.exchange_code; })""")

    def cycle(before: str) -> str:
        tea.do("scan", person="again and again", scene_str=before)
        after = next_scene(page, before)
        eventually(lambda: page.evaluate("window.handed"))
        # As the shell does it, by its own server.
        code = page.evaluate("() => { const code = handed; handed = undefined; return code; }")
        tea.operator("POST", "/api/exchange", exchange_code=code)
        page.clock.run_for(6000)
        return after

    def weigh() -> dict[str, float]:
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Performance.getMetrics")["metrics"]
        names = ("JSHeapUsedSize", "Nodes", "JSEventListeners")
        return {each["name"]: each["value"] for each in found if each["name"] in names}

    for _ in range(CYCLES // 4):
        scene = cycle(scene)
    early = weigh()
    for _ in range(CYCLES - CYCLES // 4):
        scene = cycle(scene)
    late = weigh()
    print("kiosk cycles", CYCLES, early, late)
    assert late["Nodes"] <= early["Nodes"] + 20, (early, late)
    assert late["JSEventListeners"] <= early["JSEventListeners"] + 10, (early, late)
    assert late["JSHeapUsedSize"] <= early["JSHeapUsedSize"] + 1_000_000, (early, late)


LONG_GREETINGS = """{
  const set = setTimeout;
  globalThis.setTimeout = (act, ms, ...more) => set(act, ms === 5000 ? 1e9 : ms, ...more);
}"""
"""The five seconds of a greeting do not pass while it is looked at."""

SIZES = [(1920, 1080), (3840, 2160), (1080, 1920), (1366, 768)]


@pytest.mark.parametrize("lang", ["zh-CN", pytest.param("en", marks=pytest.mark.slow)])
def test_the_wall_looks_right(browser: Browser, servers: Servers, lang: str) -> None:
    """Landscape, portrait and 4K: waiting, with three guests, and without a code."""
    real = servers(**TEA_HOUSE)
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    for person, nickname in [("long", "爱新觉罗·弗拉基米尔娜"), ("rtl", "محمد الخوارزمي")]:
        become_known(page, real, person, nickname)
    page.add_init_script(LONG_GREETINGS)
    scene = open_wall(page, real.url, lang=lang)
    wrong = in_all_sizes(page, f"kiosk-waiting-{lang}")
    for person in ("long", "rtl", "unknown"):
        real.do("scan", person=person, scene_str=scene)
        scene = next_scene(page, scene)
    expect(page.locator("#guests li")).to_have_count(3)
    wrong += in_all_sizes(page, f"kiosk-guests-{lang}")
    real.do("faults", path=CODES, times=0, status=500)
    try:
        page.reload()
        expect(page.locator("#trouble small")).to_be_visible()
        wrong += in_all_sizes(page, f"kiosk-degraded-{lang}")
    finally:
        real.no_faults()
    page.goto("about:blank")
    page.goto(f"{real.url}/kiosk?lang={lang}#lobby3:wrong")
    expect(page.locator("#trouble")).to_contain_text("#")
    wrong += in_all_sizes(page, f"kiosk-unknown-{lang}")
    context.close()
    assert not wrong, wrong


def in_all_sizes(page: Page, name: str) -> list[Any]:
    """Look at the wall on each kind of screen."""
    wrong = []
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        wrong += look(page, f"{name}-{width}x{height}")
        foot = page.locator("footer").bounding_box()
        assert foot is not None and foot["y"] + foot["height"] <= height, (name, width, height)
    return wrong
