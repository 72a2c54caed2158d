"""The pages in real browsers of 2016 to 2018, as far as package registries have them.

npm's chrome-aws-lambda 64.0.3264 is a Chromium of the days between 63 and 64: of what is younger
than 63 it has `import.meta` alone. PyQt5 5.10.1 and 5.7.1 have Chromium 61 and 49 inside.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import ClientConnection, connect

from .conftest import ROOT, Fake, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOOLS = ROOT / ".venv-tools"
CHROMIUM = TOOLS / "chromium-64" / "chromium"
FLAGS = "--headless --no-sandbox --disable-gpu --remote-debugging-port=0".split()
SECONDS = 15


class Engine:
    """A tab of an old Chromium, driven by its DevTools protocol, of which it knows little."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self.complaints: list[str] = []
        for domain in ("Runtime", "Log", "Page"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": params}
        self._connection.send(json.dumps(call))
        while True:
            said = json.loads(self._connection.recv(timeout=SECONDS))
            if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])
            if said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["params"]))
            if said.get("id") == self._calls:
                result: dict[str, Any] = said["result"]
                return result

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for_state(self, state: str) -> None:
        seen = "(document.querySelector('scan-login').login || {view: {}}).view.state"
        eventually(lambda: self.value(seen) == state)

    def serious(self) -> list[str]:
        """What it complains of, but for directives of a policy that are younger than itself."""
        return [said for said in self.complaints if "Unrecognized Content-Security-Policy" not in said]


@pytest.fixture
def chromium_64(tmp_path: Path) -> Iterator[Engine]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium 64 is not there: scripts/test --all fetches it")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            ports = (re.search(r"DevTools listening on ws://[\d.]+:(\d+)/", line) for line in process.stderr)
            port = next(filter(None, ports))[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
                [tab] = [tab for tab in json.load(answer) if tab["type"] == "page"]
            # Its server knows no compression of messages.
            with connect(tab["webSocketDebuggerUrl"], max_size=None, compression=None) as connection:
                yield Engine(connection)
        finally:
            process.terminate()


def test_the_login_page_logs_in(chromium_64: Engine, fake: Fake) -> None:
    """Code, scan and login, under the page's own policy, and the plate is a square."""
    chromium_64.open(fake.url)
    chromium_64.wait_for_state("waiting")
    root = "document.querySelector('scan-login').shadowRoot"
    sides = f"(({{width, height}}) => [width, height])({root}.querySelector('[part=plate]').getBoundingClientRect())"
    width, height = chromium_64.value(sides)
    assert width == height > 200
    assert chromium_64.value(f"{root}.querySelector('svg[part=qr] path').getAttribute('d').length") > 1000
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.move("scanned", user={"name": "王**"})
    chromium_64.wait_for_state("scanned")
    fake.move("authorized")
    chromium_64.wait_for_state("authorized")
    assert chromium_64.value("document.activeElement.id") == "me-name"
    assert chromium_64.serious() == []


def test_the_element_logs_in_on_a_foreign_page(chromium_64: Engine, fake: Fake) -> None:
    """From another origin, by polling: requests can be given up there, and no socket gets through."""
    fake.set(socket="refuse")
    chromium_64.open(f"{fake.elsewhere}/embed?{urlencode({'server': fake.url, 'attributes': ''})}")
    chromium_64.wait_for_state("waiting")
    fake.move("authorized")
    chromium_64.wait_for_state("authorized")


def in_qt(version: int, url: str, expression: str) -> Any:
    """What an expression is in the Chromium of a Qt, once it is true."""
    python = TOOLS / f"qt-{version}" / "bin" / "python"
    if not (python.parent.parent / "installed").exists() or not shutil.which("xvfb-run"):
        pytest.skip(f"Qt with Chromium {version} is not there: scripts/test --all installs it")
    sandboxless = {"QTWEBENGINE_DISABLE_SANDBOX": "1", "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu"}
    program = str(ROOT / "tests" / "browser" / "engines" / "qt_page.py")
    command = ["xvfb-run", "-a", str(python), program, url, expression]
    done = subprocess.run(
        command, env=os.environ | sandboxless, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout.splitlines()[-1])


SENTENCE = """var plain = document.getElementById("plain");
getComputedStyle(plain).opacity === "1" && plain.getBoundingClientRect().height > 0 && plain.textContent"""


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_the_login_page_has_a_sentence(fake: Fake, version: int) -> None:
    """Modules or not: what cannot read the scripts says what to do."""
    said = in_qt(version, fake.url, SENTENCE)
    assert "请换一个较新的" in said and "please use a newer one" in said


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_the_element_keeps_its_children(fake: Fake, version: int) -> None:
    """What the site put between the tags, as the examples do, is what people see."""
    url = f"{fake.elsewhere}/static/examples/plain.html?server={fake.url}"
    seen = "document.querySelector('scan-login > p').getBoundingClientRect().height > 0 && document.body.innerText"
    assert "please use a newer browser" in in_qt(version, url, seen)
