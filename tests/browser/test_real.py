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
    eventually(lambda: view(page)["state"] == "failed" or view(page).get("trouble") == "offline")


def test_a_frame_around_the_page_is_refused(page: Page, real: Real) -> None:
    """No site may show our login page inside its own."""
    with urllib.request.urlopen(real.url, timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
