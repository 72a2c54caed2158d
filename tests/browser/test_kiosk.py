"""The kiosk wall: never stale, never touched, nothing secret on it."""

import os

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import Fake, eventually
from .fake_server import KIOSK_SECRET
from .test_look import look

pytestmark = pytest.mark.browser
CYCLES = 5000 if os.environ.get("SCANPUSH_TEST_ALL") else 100


def open_wall(page: Page, fake: Fake, secret: str = KIOSK_SECRET) -> None:
    page.goto(f"{fake.url}/kiosk?lang=zh-CN#lobby3:{secret}")


def shown(page: Page) -> str:
    """The scene whose code is on the wall, or nothing."""
    scene: str = page.evaluate("plate.className.includes('empty') ? '' : plate.dataset.scene ?? ''")
    return scene


def test_the_code_fills_the_wall(page: Page, fake: Fake) -> None:
    """The code's modules take at least 60 % of the shorter side; no scroll bar, no pointer."""
    page.set_viewport_size({"width": 1920, "height": 1080})
    open_wall(page, fake)
    eventually(lambda: shown(page))
    box = page.locator("#code path").bounding_box()
    assert box is not None and box["width"] >= 0.6 * 1080
    assert page.evaluate("getComputedStyle(document.documentElement).cursor") == "none"
    assert page.evaluate("getComputedStyle(document.body).overflow") == "hidden"
    expect(page.locator("#label")).to_have_text("屏幕 lobby3")
    expect(page.locator("#clock")).not_to_be_empty()


def test_the_next_person_sees_a_fresh_code_within_a_second(page: Page, fake: Fake) -> None:
    """From the scan to the next code on the wall: measured in the page, first and later scans."""
    open_wall(page, fake)
    eventually(lambda: shown(page))
    page.evaluate(
        """() => { window.swaps = []; new MutationObserver(() => swaps.push(performance.now()))
      .observe(plate, { attributes: true, attributeFilter: ["data-scene"] });
      new MutationObserver(() => window.greeted ??= performance.now())
        .observe(guests, { childList: true }); }"""
    )
    for number in (1, 2):
        eventually(lambda: fake.seen()["sockets"] >= 1)
        before = shown(page)
        page.evaluate("() => { window.greeted = undefined; }")
        fake.move("scanned", scene_str=before, user={"name": "王**"})
        eventually(lambda before=before: shown(page) not in ("", before))
        took = page.evaluate("swaps.at(-1) - greeted")
        assert took < 1000, (number, took)
        eventually(lambda: len([s for s in fake.seen()["scenes"] if s["state"] == "waiting"]) == 2)


def test_a_guest_is_greeted_and_no_token_is_on_the_wall(page: Page, fake: Fake) -> None:
    """The line follows the guest; the exchange code goes to the shell, not to the screen."""
    open_wall(page, fake)
    eventually(lambda: shown(page))
    page.evaluate("""document.addEventListener("scanpush-exchange",
      (event) => { window.handed = event.detail; })""")
    scene = shown(page)
    fake.move("confirming", scene_str=scene, user={"name": "王**"})
    expect(page.locator("#guests li")).to_have_text("王**，请在公众号里回复 1")
    fake.move("authorized", scene_str=scene, user={"name": "王**"})
    expect(page.locator("#guests li.authorized")).to_have_text("欢迎，王**")
    assert page.evaluate("window.handed") == {"scene_str": scene, "exchange_code": "xc_fake"}
    assert "xc_fake" not in page.content() and KIOSK_SECRET not in page.content()
    expect(page.locator("#guests li")).to_have_count(0, timeout=8000)
    # The kiosk leaves the login to whoever redeems the code.
    assert fake.count("ack by socket") == 0


def test_a_code_is_replaced_before_it_ends(page: Page, fake: Fake) -> None:
    """The successor is ready when the shown code's time is up; an idle screen begins no more."""
    fake.set(qr_seconds=22, scene_seconds=52)
    open_wall(page, fake)
    eventually(lambda: shown(page))
    first = shown(page)
    fake.set(qr_seconds=1770, scene_seconds=1800)
    eventually(lambda: fake.count("begin") == 2)
    assert shown(page) == first
    eventually(lambda: shown(page) not in ("", first), seconds=30)
    assert fake.count("begin") == 2
    fake.move("scanned", scene_str=first, user={"name": "李**"})
    expect(page.locator("#guests li")).to_have_text("李**，请看手机")


def test_hours_offline_heal_by_themselves(context: BrowserContext, page: Page, fake: Fake) -> None:
    """Without the server no stale code is left standing; with it, a fresh one comes by itself."""
    page.clock.install()
    open_wall(page, fake)
    eventually(lambda: shown(page))
    before = shown(page)
    context.set_offline(True)
    page.clock.fast_forward(3 * 3600 * 1000)
    page.clock.run_for(2000)
    expect(page.locator("#trouble")).to_contain_text("网络断开了")
    context.set_offline(False)

    def back() -> bool:
        page.clock.run_for(1000)
        return shown(page) not in ("", before)

    eventually(back)


def test_a_server_that_forgot_everything_gets_a_new_scene(page: Page, fake: Fake) -> None:
    """After a lost store the screen begins anew."""
    open_wall(page, fake)
    eventually(lambda: shown(page) and fake.seen()["sockets"] == 1)
    before = shown(page)
    fake.move("forgotten")
    eventually(lambda: shown(page) not in ("", before))


def test_a_wrong_secret_is_said(page: Page, fake: Fake) -> None:
    """An unknown screen says so to whoever sets it up, and does not hammer the server."""
    open_wall(page, fake, secret="wrong")
    expect(page.locator("#trouble")).to_contain_text("这块屏幕没有登记")
    page.wait_for_timeout(1500)
    assert fake.count("begin") == 1


@pytest.mark.timeout(3600)
def test_many_cycles_leave_nothing_behind(page: Page, fake: Fake) -> None:
    """Scene after scene, heap, nodes and listeners stay flat (5,000 cycles in --all)."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.clock.install()
    open_wall(page, fake)

    def cycle() -> None:
        eventually(lambda: shown(page))
        before = shown(page)
        fake.move("scanned", scene_str=before, user={"name": "王**"})
        fake.move("consumed", scene_str=before)
        eventually(lambda: shown(page) not in ("", before))
        page.clock.run_for(6000)

    def weigh() -> dict[str, float]:
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Performance.getMetrics")["metrics"]
        names = ("JSHeapUsedSize", "Nodes", "JSEventListeners")
        return {each["name"]: each["value"] for each in found if each["name"] in names}

    for _ in range(CYCLES // 4):
        cycle()
    early = weigh()
    for _ in range(CYCLES - CYCLES // 4):
        cycle()
    late = weigh()
    assert late["Nodes"] <= early["Nodes"] + 20, (early, late)
    assert late["JSEventListeners"] <= early["JSEventListeners"] + 10, (early, late)
    assert late["JSHeapUsedSize"] <= early["JSHeapUsedSize"] + 1_000_000, (early, late)


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (3840, 2160), (1080, 1920), (1280, 800)]
)
def test_the_wall_looks_right(browser: Browser, fake: Fake, width: int, height: int) -> None:
    """Landscape, portrait and 4K, with three guests, and without a code."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    page = context.new_page()
    open_wall(page, fake)
    wrong = []
    for state, name in [
        ("scanned", "王**"),
        ("confirming", "爱新觉罗·弗拉基米尔娜"),
        ("authorized", "李**"),
    ]:
        eventually(lambda: shown(page) and fake.seen()["sockets"])
        before = shown(page)
        fake.move(state, scene_str=before, user={"name": name})
        eventually(lambda before=before: shown(page) not in ("", before))
    eventually(lambda: page.locator("#guests li").count() == 3)
    wrong += look(page, f"kiosk-{width}x{height}")
    fake.set(reset=True, begin=[502, "wechat_unavailable"])
    page.reload()
    expect(page.locator("#trouble")).to_contain_text("微信暂时没有响应")
    wrong += look(page, f"kiosk-degraded-{width}x{height}")
    context.close()
    assert not wrong, wrong
