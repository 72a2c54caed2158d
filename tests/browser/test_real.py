"""The login page against the real server and the simulated WeChat, with and without faults."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from deploy.programs import free_port

from .conftest import Servers, eventually, view, wait_for_state
from .real_server import EVERYTHING, LONG_POLLS, SOCKETS, TEA_HOUSE, Real, Way, tea_house
from .walks import CODES, KEPT, QR, TIMER, TITLE, Twin, open_on_socket, open_page

pytestmark = pytest.mark.browser

CONFIRMED = "服务器已确认"
SHORT_CODES = tea_house(scene_ttl_seconds=12)
"""Codes are shown for six seconds, and their scenes live for six more."""


def test_a_scan_logs_the_page_in(page: Page, servers: Servers) -> None:
    """Follow by scan: the real token is shown, the server confirms whose it is, and has its ack."""
    real = servers(**TEA_HOUSE)
    content = open_on_socket(page, real.url)
    with Twin(page, real) as twin:
        real.do("scan", person="xiaoming", url=content)
        expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)
        # Scans bring no name, and an id is not shown in its place.
        expect(page.locator("#me-name")).to_have_text("微信用户")
        expect(page.locator("#claims")).to_contain_text("simulated")
        eventually(lambda: twin.state() == "consumed")


def test_a_newcomer_uses_the_simulated_phone(
    context: BrowserContext, page: Page, real: Real
) -> None:
    """The link under the code opens the phone; following there logs the page in."""
    open_on_socket(page, real.url)
    with context.expect_page() as opened:
        page.get_by_role("link", name="打开模拟手机扫这个码").click()
    phone = opened.value
    phone.get_by_role("button", name="小明").click()
    phone.get_by_role("button", name="扫码并关注").click()
    expect(page.locator("#me-sub")).to_contain_text("第一次登录")


def test_the_person_who_is_asked_in_the_chat_allows_it(page: Page, servers: Servers) -> None:
    """With `confirm: always` the page waits for the reply without a code, and follows it."""
    real = servers(**tea_house(confirm="always"))
    real.do("scan", person="allows", url=open_on_socket(page, real.url))
    wait_for_state(page, "confirming")
    expect(page.locator(QR)).to_be_hidden()
    real.do("text", person="allows", text="1")
    expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_is_survived(page: Page, real: Real, how: signal.Signals) -> None:
    """The server goes and comes back: the page is on its socket again, with the same scene."""
    open_on_socket(page, real.url)
    before = view(page)["scene_str"]
    real.stop(how)
    eventually(lambda: view(page)["transport"] == "")
    real.start()
    eventually(lambda: view(page)["transport"] == "socket", seconds=45)
    real.do("follow", person="xiaoming", event_key=f"qrscene_{before}")
    expect(page.locator("#me-sub")).to_contain_text(CONFIRMED, timeout=15000)


def test_after_a_lost_store_the_page_begins_again(page: Page, real: Real) -> None:
    """A server that has forgotten the scene: the page has a new code, and logs in with it."""
    open_on_socket(page, real.url)
    before = view(page)["scene_str"]
    real.stop()
    real.forget()
    real.start()
    eventually(lambda: view(page).get("scene_str") not in (None, before), seconds=45)
    eventually(lambda: view(page).get("transport") == "socket")
    real.do("scan", person="xiaoming", url=view(page)["qr"]["content"])
    expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)


# Ways that are blocked.


@pytest.mark.slow
def test_the_ways_down_and_up_again(page: Page, servers: Servers) -> None:
    """Socket, long-polling, interval polling; and the socket again once it gets through."""
    real = servers(**TEA_HOUSE)
    page.clock.install()
    with Way(real) as way:
        open_on_socket(page, way.url)
        way.block(SOCKETS)
        eventually(lambda: way.saw(LONG_POLLS))
        way.block(SOCKETS, LONG_POLLS)
        eventually(lambda: view(page)["transport"] == "poll")
        way.block()

        def back() -> bool:
            # Never so far at once that the page takes it for a sleep of the machine.
            page.clock.fast_forward(15_000)
            return bool(view(page)["transport"] == "socket")

        eventually(back)
        real.do("scan", person="ways", url=view(page)["qr"]["content"])
        expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)


def test_requests_alone_log_in(page: Page, servers: Servers) -> None:
    """Sockets never get through: the login arrives by long poll, and its ack by POST."""
    real = servers(**TEA_HOUSE)
    with Way(real) as way:
        way.block(SOCKETS)
        content = open_page(page, way.url)["qr"]["content"]
        eventually(lambda: way.saw(LONG_POLLS))
        with Twin(page, real) as twin:
            real.do("scan", person="long polls", url=content)
            wait_for_state(page, "authorized")
            eventually(lambda: twin.state() == "consumed")


def test_short_requests_alone_log_in(page: Page, servers: Servers) -> None:
    """Long polls are cut as well: the login arrives by interval polling, and its ack by POST."""
    real = servers(**TEA_HOUSE)
    with Way(real) as way:
        way.block(SOCKETS, LONG_POLLS)
        content = open_page(page, way.url)["qr"]["content"]
        eventually(lambda: view(page)["transport"] == "poll", seconds=30)
        with Twin(page, real) as twin:
            real.do("scan", person="short polls", url=content)
            wait_for_state(page, "authorized")
            eventually(lambda: twin.state() == "consumed")


def test_a_policy_that_forbids_sockets_still_logs_in(page: Page, servers: Servers) -> None:
    """Where not even a WebSocket can be made, long-polling brings the login."""
    real = servers(**TEA_HOUSE)
    page.add_init_script(
        "window.WebSocket = class { constructor() { throw new Error('blocked'); } };"
    )
    content = open_page(page, real.url)["qr"]["content"]
    real.do("scan", person="no sockets", url=content)
    expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)
    assert view(page)["transport"] != "socket"


def test_everything_blocked_is_said_and_healed(page: Page, servers: Servers) -> None:
    """Nothing gets through: the code is hidden and the page says so; then the same scene goes on,
    and a login made meanwhile arrives."""
    real = servers(**TEA_HOUSE)
    with Way(real) as way:
        content = open_on_socket(page, way.url)
        way.block(EVERYTHING)
        expect(page.locator(TITLE)).to_have_text("服务暂时不可用", timeout=15000)
        expect(page.locator(QR)).to_be_hidden()
        real.do("scan", person="waits", url=content)
        way.block()
        expect(page.locator("#me-sub")).to_contain_text(CONFIRMED, timeout=30000)


def test_blocked_from_the_start(page: Page, servers: Servers) -> None:
    """No request of the page gets through: it says so, and has a code as soon as one does."""
    real = servers(**TEA_HOUSE)
    with Way(real) as way:
        way.block(b" /api/", b" /ws/")
        page.goto(way.url)
        expect(page.locator(TITLE)).to_have_text("服务暂时不可用")
        way.block()
        wait_for_state(page, "waiting")
        expect(page.locator(QR)).to_be_visible()


def test_offline_is_said_and_survived(
    context: BrowserContext, page: Page, servers: Servers
) -> None:
    """Offline hides the code; back online the same scene goes on, and a missed login arrives."""
    real = servers(**TEA_HOUSE)
    with Way(real) as way:
        content = open_on_socket(page, way.url)
        before = real.calls(CODES)
        context.set_offline(True)
        way.block(EVERYTHING)
        expect(page.locator(TITLE)).to_have_text("网络断开了")
        expect(page.locator(QR)).to_be_hidden()
        expect(page.locator(TIMER)).to_be_empty()
        real.do("scan", person="meanwhile", url=content)
        way.block()
        context.set_offline(False)
        expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)
        assert real.calls(CODES) == before


def test_a_language_offline_is_not_lost(
    context: BrowserContext, page: Page, servers: Servers
) -> None:
    """Words that cannot be fetched leave the page as it is; online again they can be chosen."""
    open_page(page, servers(**TEA_HOUSE).url)
    context.set_offline(True)
    page.locator("#lang").select_option("ja")
    expect(page.locator("#lang")).to_have_value("zh-CN")
    expect(page.locator("#talk h1")).to_contain_text("登录")
    context.set_offline(False)
    page.locator("#lang").select_option("ja")
    expect(page.locator("#talk h1")).to_contain_text("ログイン")
    expect(page.locator(TITLE)).to_contain_text("スキャン")


# Codes that end.


def test_a_code_is_renewed_while_its_scene_lives(page: Page, servers: Servers) -> None:
    """A new code is shown in time, and a scan of the old one still wins."""
    real = servers(**SHORT_CODES)
    content = open_on_socket(page, real.url)
    eventually(lambda: view(page)["qr"]["content"] != content)
    real.do("scan", person="slow to scan", url=content)
    expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)


def test_a_renewal_that_fails_keeps_the_old_scene(page: Page, servers: Servers) -> None:
    """WeChat fails at a renewal: that is said, and a scan of the old code still counts."""
    real = servers(**SHORT_CODES)
    content = open_on_socket(page, real.url)
    real.do("faults", path=CODES, times=0, status=500)
    try:
        expect(page.locator(TITLE)).to_have_text("微信暂时没有响应", timeout=15000)
        real.do("scan", person="late", url=content)
        expect(page.locator("#me-sub")).to_contain_text(CONFIRMED)
    finally:
        real.no_faults()


def test_a_page_left_alone_pauses(page: Page, servers: Servers) -> None:
    """Three renewals, then a button; the end of the last scene changes nothing about it."""
    real = servers(**tea_house(scene_ttl_seconds=2))
    before = real.calls(CODES)
    open_page(page, real.url)
    wait_for_state(page, "paused")
    assert real.calls(CODES) == before + 4
    with Twin(page, real) as last:
        eventually(lambda: last.state() == "expired")
    expect(page.locator(TITLE)).to_have_text("二维码已暂停")
    page.get_by_role("button", name="换一个二维码").click()
    wait_for_state(page, "waiting")


# Other sites.


def test_a_foreign_page_gets_no_code(page: Page, servers: Servers) -> None:
    """A site that is not in allowed_origins: the element there shows none, and says why."""
    real = servers(**TEA_HOUSE)
    foreign = real.url.replace("127.0.0.1", "localhost")
    before = real.calls(CODES)
    page.goto(f"{foreign}/static/examples/plain.html?server={real.url}")
    expect(page.locator(TITLE)).to_have_text("此网站无法使用微信登录")
    expect(page.locator(QR)).to_be_hidden()
    assert real.calls(CODES) == before


def test_a_foreign_page_gets_no_socket(
    context: BrowserContext, page: Page, servers: Servers
) -> None:
    """Not even with a scene's own watch token; the server's own page gets one with it."""
    real = servers(**TEA_HOUSE)
    open_on_socket(page, real.url)
    kept = page.evaluate(KEPT)
    url = real.url.replace("http", "ws") + kept["ws"]
    asked = [url, ["scanpush.v1", f"watch.{kept['watch_token']}"]]
    foreign = context.new_page()
    foreign.goto(f"{real.url.replace('127.0.0.1', 'localhost')}/static/icon.svg")
    assert foreign.evaluate(OPEN_SOCKET, asked) == "refused"
    assert page.evaluate(OPEN_SOCKET, asked) == "opened"


OPEN_SOCKET = """([url, protocols]) => new Promise((resolve) => {
  const socket = new WebSocket(url, protocols);
  socket.onopen = () => { socket.close(); resolve("opened"); };
  socket.onerror = () => resolve("refused");
})"""


def test_an_allowed_site_logs_in(page: Page, tmp_path: Path) -> None:
    """A site in allowed_origins: the example page, as it stands, from another origin."""
    port = free_port()
    site = f"http://localhost:{port}"
    with Real(tmp_path, server={"port": port, "allowed_origins": [site]}) as real:
        page.goto(f"{site}/static/examples/plain.html?server={real.url}")
        wait_for_state(page, "waiting")
        real.do("scan", person="customer", url=view(page)["qr"]["content"])
        expect(page.locator("#result")).to_contain_text("user ")


@pytest.mark.parametrize("path", ["/", "/kiosk", "/operator"])
def test_a_frame_around_our_pages_stays_empty(page: Page, servers: Servers, path: str) -> None:
    """No site may show the server's pages inside its own: the browser itself refuses."""
    real = servers(**TEA_HOUSE)
    page.goto(f"{real.url.replace('127.0.0.1', 'localhost')}/static/examples/plain.html")
    with page.expect_console_message(lambda said: "frame" in said.text.lower()) as refusal:
        page.evaluate(
            """(url) => { const frame = document.createElement("iframe");
              frame.src = url; document.body.append(frame); }""",
            real.url + path,
        )
    assert "frame-ancestors 'none'" in refusal.value.text


# Forms and numbers.


def test_a_newcomer_registers_on_the_page(page: Page, servers: Servers) -> None:
    """With `registration: ask` the page asks for the configured fields, and then is logged in."""
    real = servers(**tea_house(registration="ask", register_fields=["name", "phone"]))
    real.do("scan", person="newcomer", url=open_on_socket(page, real.url))
    page.get_by_label("称呼").fill("小明")
    page.get_by_label("手机号").fill("13800000000")
    page.get_by_role("button", name="完成注册").click()
    expect(page.locator("#me-name")).to_have_text("小明")


def test_the_typed_number_logs_in(page: Page, servers: Servers) -> None:
    """The number on the page, sent to the account's chat, is a login too."""
    real = servers(**TEA_HOUSE)
    open_page(page, real.url)
    page.get_by_role("button", name="发送数字").click()
    number = page.locator("scan-login [part=code]")
    expect(number).not_to_be_empty()
    real.do("follow", person="types")
    real.do("text", person="types", text=number.inner_text())
    wait_for_state(page, "authorized")
