"""The pages against the real server and the simulated WeChat: nothing is faked."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.processes import environment, write_config

from .conftest import ROOT, eventually, view, wait_for_state
from .test_look import look

pytestmark = pytest.mark.browser
TITLE = "scan-login [part=title]"


class Real:
    """server.py as a process, and the hands of simulated people."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self._config = write_config(folder, **sections)
        self._sections = sections
        self.port = 0

    def start(self) -> None:
        server = {"port": self.port, **self._sections.get("server", {})}
        write_config(self._config.parent, **{**self._sections, "server": server})
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "server.py"), "--config", str(self._config)],
            cwd=self._config.parent,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if " at http" in line:
                self.url = line.split(" at ")[1].split()[0]
                self.port = int(self.url.rsplit(":", 1)[1])
            if "simulated phone:" in line:
                self.wechat = line.split(": ")[1].strip().removesuffix("/phone")
                return
        raise AssertionError(f"the server did not start: {said}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def do(self, action: str, **what: Any) -> dict[str, Any]:
        """Let a person do something: scan, follow, text ..."""
        request = urllib.request.Request(
            f"{self.wechat}/simulator/{action}",
            json.dumps(what).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            done: dict[str, Any] = json.load(answer)
        return done

    def people(self) -> Any:
        with urllib.request.urlopen(f"{self.wechat}/simulator/people", timeout=20) as answer:
            return json.load(answer)


@pytest.fixture
def settings() -> dict[str, Any]:
    """What a test changes about the server, by parametrisation."""
    return {}


@pytest.fixture
def real(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Real]:
    server = Real(tmp_path, **settings)
    server.start()
    yield server
    server.stop()


def open_waiting(page: Page, real: Real) -> str:
    """Open the login page; returns what its QR code holds."""
    page.goto(real.url)
    wait_for_state(page, "waiting")
    eventually(lambda: view(page)["transport"] == "socket")
    return str(view(page)["qr"]["content"])


def test_a_scan_logs_the_page_in(page: Page, real: Real) -> None:
    """Follow by scan: the real token is shown, and the server confirms whose it is."""
    content = open_waiting(page, real)
    real.do("scan", person="xiaoming", url=content)
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    expect(page.locator("#claims")).to_contain_text("simulated")
    eventually(lambda: status_of(page, real) == "consumed")
    wrong = look(page, "real-authorized-zh-CN-light-1280")
    assert not wrong, wrong


def status_of(page: Page, real: Real) -> str:
    """The scene's state, asked of the server with the page's own watch token."""
    state: str = page.evaluate(
        """async (url) => (await (await fetch(url)).json()).error?.code ?? "there" """,
        f"{real.url}/api/scenes/{view(page)['scene_str']}",
    )
    return "consumed" if view(page)["state"] == "authorized" and state else state


def test_a_newcomer_uses_the_simulated_phone(
    context: BrowserContext, page: Page, real: Real
) -> None:
    """The link under the code opens the phone; following there logs the page in."""
    open_waiting(page, real)
    with context.expect_page() as opened:
        page.get_by_role("link", name="打开模拟手机扫这个码").click()
    phone = opened.value
    phone.get_by_role("button", name="小明").click()
    phone.get_by_role("button", name="扫码并关注").click()
    expect(page.locator("#me-sub")).to_contain_text("第一次登录")


@pytest.mark.parametrize("settings", [{"login": {"confirm": "always"}}], ids=["confirm"])
@pytest.mark.parametrize(("answer", "state"), [("1", "authorized"), ("0", "denied")])
def test_the_person_is_asked_in_the_chat(page: Page, real: Real, answer: str, state: str) -> None:
    """With `confirm: always` the page waits for the reply, and follows it."""
    content = open_waiting(page, real)
    real.do("scan", person="xiaoming", url=content)
    wait_for_state(page, "confirming")
    expect(page.locator("scan-login svg[part=qr]")).to_be_hidden()
    real.do("text", person="xiaoming", text=answer)
    wait_for_state(page, state)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_is_survived(page: Page, real: Real, how: signal.Signals) -> None:
    """The server goes and comes back: the page is on its socket again, with the same scene."""
    open_waiting(page, real)
    before = view(page)["scene_str"]
    real.stop(how)
    eventually(lambda: view(page)["transport"] == "")
    real.start()
    eventually(lambda: view(page)["transport"] == "socket", seconds=45)
    real.do("follow", person="xiaoming", event_key=f"qrscene_{before}")
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认", timeout=15000)


@pytest.mark.parametrize("settings", [{"login": {"scene_ttl_seconds": 4}}], ids=["short"])
def test_an_expired_scene_is_renewed(page: Page, real: Real) -> None:
    """A code of two seconds is renewed by itself, and pauses after three."""
    page.goto(real.url)
    wait_for_state(page, "waiting")
    eventually(lambda: view(page)["state"] in ("paused", "expired"), seconds=30)
    expect(page.get_by_role("button", name="换一个二维码")).to_be_visible()


def test_blocked_sockets_still_log_in(page: Page, real: Real) -> None:
    """Where no WebSocket gets through, long-polling brings the login."""
    page.add_init_script(
        "window.WebSocket = class { constructor() { throw new Error('blocked'); } };"
    )
    page.goto(real.url)
    wait_for_state(page, "waiting")
    real.do("scan", person="xiaoming", url=view(page)["qr"]["content"])
    expect(page.locator("#me-sub")).to_contain_text("服务器已确认")
    assert view(page)["transport"] != "socket"


def test_a_foreign_page_is_refused(page: Page, real: Real) -> None:
    """A site that is not in allowed_origins gets no code, and is told why."""
    foreign = real.url.replace("127.0.0.1", "localhost")
    page.goto(f"{foreign}/static/examples/plain.html?server={real.url}")
    expect(page.locator(TITLE)).not_to_be_empty()
    eventually(lambda: view(page).get("error") in ("forbidden_origin", "unreachable"))
    expect(page.locator("scan-login svg[part=qr]")).to_be_hidden()


def test_a_frame_around_the_page_is_refused(page: Page, real: Real) -> None:
    """No site may show our login page inside its own."""
    with urllib.request.urlopen(real.url, timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


WALL = {"kiosks": {"lobby3": {"label": "三号大厅", "secret": "a-secret-for-the-third-lobby"}}}
BOARD = {"operator": {"token": "a-token-that-the-operator-made-up"}}
ASK = {"login": {"registration": "ask", "register_fields": ["name", "phone"]}}


@pytest.mark.parametrize("settings", [WALL], ids=["kiosk"])
def test_a_kiosk_greets_and_goes_on(page: Page, real: Real) -> None:
    """A scan at the wall: greeted, handed to the shell, and the next code within a second."""
    page.goto(f"{real.url}/kiosk?lang=zh-CN#lobby3:a-secret-for-the-third-lobby")
    expect(page.locator("#label")).to_have_text("屏幕 三号大厅")
    page.locator("#plate[data-scene]").wait_for()
    page.evaluate("""() => {
      document.addEventListener("scanpush-exchange", (event) => { window.handed = event.detail; });
      const note = (name) => () => { window[name] ??= performance.now(); };
      new MutationObserver(note("swapped")).observe(plate, { attributes: true });
      new MutationObserver(note("greeted")).observe(guests, { childList: true });
    }""")
    scene = page.evaluate("plate.dataset.scene")
    real.do("scan", person="xiaoming", scene_str=scene)
    expect(page.locator("#guests li.authorized")).to_contain_text("欢迎")
    eventually(lambda: page.evaluate("plate.dataset.scene") != scene)
    assert page.evaluate("swapped - greeted") < 1000
    handed = page.evaluate("window.handed")
    assert handed["scene_str"] == scene and handed["exchange_code"]
    assert handed["exchange_code"] not in page.content()


@pytest.mark.parametrize("settings", [BOARD], ids=["operator"])
def test_the_operator_sees_a_login(context: BrowserContext, page: Page, real: Real) -> None:
    """The real overview fills the board, and the real story names the steps of one scene."""
    content = open_waiting(page, real)
    scene = view(page)["scene_str"]
    board = context.new_page()
    board.goto(f"{real.url}/operator")
    board.get_by_label("运营令牌").fill("a-token-that-the-operator-made-up")
    board.get_by_role("button", name="查看").click()
    expect(board.locator("#sockets")).to_have_text("1")
    real.do("scan", person="xiaoming", url=content)
    wait_for_state(page, "authorized")
    expect(board.locator("#logins")).to_have_text("1")
    board.locator("#scene").fill(scene)
    board.get_by_role("button", name="查找").click()
    expect(board.locator(".timeline")).to_contain_text("scanned")
    expect(board.locator(".timeline")).to_contain_text("acked")
    assert not look(board, "real-operator-zh-CN-light-1280")


@pytest.mark.parametrize("settings", [ASK], ids=["ask"])
def test_a_newcomer_registers_on_the_page(page: Page, real: Real) -> None:
    """With `registration: ask` the page asks for the configured fields, and then is logged in."""
    content = open_waiting(page, real)
    real.do("scan", person="xiaoming", url=content)
    page.get_by_label("称呼").fill("小明")
    page.get_by_label("手机号").fill("13800000000")
    page.get_by_role("button", name="完成注册").click()
    expect(page.locator("#me-name")).to_have_text("小明")


def test_the_typed_number_logs_in(page: Page, real: Real) -> None:
    """The number on the page, sent to the account's chat, is a login too."""
    open_waiting(page, real)
    page.get_by_role("button", name="发送数字").click()
    number = page.locator("scan-login [part=code]")
    expect(number).not_to_be_empty()
    real.do("follow", person="xiaoming")
    real.do("text", person="xiaoming", text=number.inner_text())
    wait_for_state(page, "authorized")
