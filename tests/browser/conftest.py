"""A real Chromium, and servers in processes of their own to point it at: real ones, and a fake.

Playwright's sync API keeps an event loop of its own in this thread, so servers live elsewhere.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.processes import ROOT

from .real_server import Real

ARTIFACTS = ROOT / "artifacts"
SCREENSHOTS = ARTIFACTS / "screenshots"
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first is the same browser without windows and menus, for half of the work."""

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class Fake:
    """The fake server, driven over its own HTTP switches."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        # Another origin for the same server: what an embedding site looks like to it.
        self.elsewhere = f"http://localhost:{port}"

    def _post(self, path: str, **said: Any) -> None:
        request = urllib.request.Request(self.url + path, json.dumps(said).encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def set(self, **switches: Any) -> None:
        self._post("/fake", **switches)

    def move(self, state: str, **extra: Any) -> None:
        self._post("/fake/scene", state=state, **extra)

    def screen(self, **done: Any) -> None:
        self._post("/fake/screen", **done)

    def pair(self, code: str, **given: str) -> None:
        self._post("/fake/pair", code=code, **given)

    def close(self, code: int) -> None:
        self._post("/fake/close", code=code)

    def seen(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/fake/log", timeout=10) as answer:
            seen: dict[str, Any] = json.load(answer)
        return seen

    def count(self, what: str) -> int:
        return int(self.seen()["log"].count(what))


def eventually(true: Callable[[], object], seconds: float = 15) -> None:
    """Wait until `true()` holds; fail with its name when it never does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never became true: {true}"
        time.sleep(0.05)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all; no other event loop can run in this thread until it ends."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def fake_process() -> Iterator[Fake]:
    command = [sys.executable, "-m", "tests.browser.fake_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Fake(int(process.stdout.readline()))
        process.terminate()


@pytest.fixture
def fake(fake_process: Fake) -> Fake:
    """The fake server, as new."""
    fake_process.set(reset=True)
    return fake_process


Servers = Callable[..., Real]
"""Gives the server that runs with these settings, started when first asked for."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real servers that tests share: each test leaves the one it uses as it was, except for its
    people."""
    running: dict[str, Real] = {}

    def serve(**sections: Any) -> Real:
        key = json.dumps(sections, sort_keys=True)
        if key not in running:
            server = Real(tmp_path_factory.mktemp("server"), **sections)
            server.start()
            running[key] = server
        return running[key]

    yield serve
    for server in running.values():
        server.stop()


@pytest.fixture
def settings() -> dict[str, Any]:
    """What a test changes about the server, by parametrisation."""
    return {}


@pytest.fixture
def real(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Real]:
    """A real server of the test's own."""
    with Real(tmp_path, **settings) as server:
        yield server


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile."""
    opened = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    yield opened
    opened.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[BrowserContext]:
    """The browser of a phone, outside WeChat."""
    opened = browser.new_context(
        locale="zh-CN", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    yield opened
    opened.close()


HIDE = """(hidden) => {
  const value = hidden ? "hidden" : "visible";
  Object.defineProperty(document, "visibilityState", { value, configurable: true });
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}"""


def view(page: Page) -> dict[str, Any]:
    """What the page's `<scan-login>` knows."""
    known: dict[str, Any] = page.evaluate("document.querySelector('scan-login').login.view")
    return known


def wait_for_state(page: Page, state: str) -> None:
    """Wait until the element has come to `state`."""
    eventually(lambda: view(page)["state"] == state)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    assert not wrong, wrong
