"""The pages in other engines than today's Chromium, as far as package registries have them.

Real browsers of 2016 to 2018: npm's chrome-aws-lambda 64.0.3264 is a Chromium of the days between
63 and 64, and of what is younger than 63 it has `import.meta` alone; PyQt5 5.10.1 and 5.7.1 have
Chromium 61 and 49 inside. Of what Safari is made of: JavaFX 13 has the WebKit of Safari 13, and
Debian's WebKitGTK today's.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest
from websockets.sync.client import ClientConnection, connect

from deploy.programs import free_port

from .conftest import ROOT, Fake, eventually
from .fake_server import KIOSK_SECRET

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOOLS = ROOT / ".venv-tools"
CHROMIUM = TOOLS / "chromium-64" / "chromium"
FLAGS = "--headless --no-sandbox --disable-gpu --remote-debugging-port=0".split()
SECONDS = 15


STATE = "(document.querySelector('scan-login').login || {view: {}}).view.state"


class Engine(Protocol):
    """A tab of a browser, of which only this is asked."""

    def open(self, url: str) -> None: ...

    def value(self, expression: str) -> Any: ...

    def complaints(self) -> list[str]:
        """The errors of its console, as far as they can be had."""


class Chromium(Engine):
    """A tab of an old Chromium, driven by its DevTools protocol, of which it knows little."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self._complaints: list[str] = []
        for domain in ("Runtime", "Log", "Page"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": params}
        self._connection.send(json.dumps(call))
        while True:
            said = json.loads(self._connection.recv(timeout=SECONDS))
            if (
                said.get("method") == "Log.entryAdded"
                and said["params"]["entry"]["level"] == "error"
            ):
                self._complaints.append(said["params"]["entry"]["text"])
            if said.get("method") == "Runtime.exceptionThrown":
                self._complaints.append(json.dumps(said["params"]))
            if said.get("id") == self._calls:
                result: dict[str, Any] = said["result"]
                return result

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def complaints(self) -> list[str]:
        """But for directives of a policy that are younger than itself."""
        return [it for it in self._complaints if "Unrecognized Content-Security-Policy" not in it]


class WebKit(Engine):
    """A tab of WebKitGTK's MiniBrowser, driven by WebDriver."""

    def __init__(self, port: int, browser: str) -> None:
        self._url = f"http://127.0.0.1:{port}/session"
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        self._url += "/" + self._post("", **wanted)["sessionId"]

    def _post(self, path: str, **said: Any) -> Any:
        request = urllib.request.Request(self._url + path, json.dumps(said).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def value(self, expression: str) -> Any:
        return self._post("/execute/sync", script=f"return {expression}", args=[])

    def complaints(self) -> list[str]:
        return []

    def close(self) -> None:
        urllib.request.urlopen(
            urllib.request.Request(self._url, method="DELETE"), timeout=SECONDS
        ).close()


@pytest.fixture
def chromium_64(tmp_path: Path) -> Iterator[Engine]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium 64 is not there: scripts/test --all fetches it")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            ports = (
                re.search(r"DevTools listening on ws://[\d.]+:(\d+)/", line)
                for line in process.stderr
            )
            port = next(filter(None, ports))[1]
            eventually(lambda: tabs(port))
            [tab] = tabs(port)
            # Its server knows no compression of messages.
            with connect(
                tab["webSocketDebuggerUrl"], max_size=None, compression=None
            ) as connection:
                yield Chromium(connection)
        finally:
            process.terminate()


def tabs(port: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
        return [tab for tab in json.load(answer) if tab["type"] == "page"]


@pytest.fixture
def webkit() -> Iterator[Engine]:
    browsers = sorted(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser"))
    if not browsers or not shutil.which("WebKitWebDriver") or not shutil.which("xvfb-run"):
        pytest.skip("WebKitGTK is not there: scripts/test --all installs webkit2gtk-driver")
    port = free_port()
    command = ["xvfb-run", "-a", "WebKitWebDriver", f"--port={port}"]
    software = {"WEBKIT_DISABLE_COMPOSITING_MODE": "1", "LIBGL_ALWAYS_SOFTWARE": "1"}
    with subprocess.Popen(command, env=os.environ | software, start_new_session=True) as process:
        try:
            eventually(lambda: listens(port))
            tab = WebKit(port, str(browsers[-1]))
            yield tab
            tab.close()
        finally:
            # xvfb-run does not pass a signal on to what it runs.
            os.killpg(process.pid, signal.SIGTERM)


def listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(params=["chromium_64", "webkit"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of them that the pages are for."""
    made: Engine = request.getfixturevalue(request.param)
    return made


def wait_for_state(engine: Engine, state: str) -> None:
    eventually(lambda: engine.value(STATE) == state)


def test_the_login_page_logs_in(engine: Engine, fake: Fake) -> None:
    """Code, scan and login, under the page's own policy, and the plate is a square."""
    engine.open(fake.url)
    wait_for_state(engine, "waiting")
    root = "document.querySelector('scan-login').shadowRoot"
    plate = f"{root}.querySelector('[part=plate]')"
    width, height = engine.value(f"[{plate}.offsetWidth, {plate}.offsetHeight]")
    assert width == height > 200
    drawn = engine.value(f"{root}.querySelector('svg[part=qr] path').getAttribute('d')")
    assert len(drawn) > 1000
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.move("scanned", user={"name": "王**"})
    wait_for_state(engine, "scanned")
    fake.move("authorized")
    wait_for_state(engine, "authorized")
    assert engine.value("document.activeElement.id") == "me-name"
    assert engine.complaints() == []


def test_the_element_logs_in_on_a_foreign_page(engine: Engine, fake: Fake) -> None:
    """From another origin, by polling, where no socket gets through."""
    fake.set(socket="refuse")
    engine.open(f"{fake.elsewhere}/embed?{urlencode({'server': fake.url, 'attributes': ''})}")
    wait_for_state(engine, "waiting")
    fake.move("authorized")
    wait_for_state(engine, "authorized")


def test_the_kiosk_shows_a_code_and_welcomes(engine: Engine, fake: Fake) -> None:
    """From the code to the name on the wall."""
    engine.open(f"{fake.url}/kiosk?lang=en#lobby:{KIOSK_SECRET}")
    eventually(lambda: engine.value("!document.querySelector('.plate').matches('.empty')"))
    eventually(lambda: fake.seen()["sockets"] >= 1)
    fake.move("authorized", user={"name": "王**"})
    eventually(lambda: "王**" in engine.value("document.body.innerText"))


LOGGED_IN = """(function () {
  var element = document.querySelector("scan-login"), view = element && (element.login || {}).view;
  var plate = view && element.shadowRoot.querySelector("[part=plate]");
  return !!view && view.state === "authorized" && [plate.offsetWidth, plate.offsetHeight];
})()"""
AT_WALL = "!!document.body && document.body.innerText.indexOf('王**') >= 0"


def in_webkit_608(url: str, expression: str) -> subprocess.Popen[str]:
    """A process that prints what an expression is in the WebKit of Safari 13, once it is true."""
    library = TOOLS / "webkit-608"
    if not (library / "installed").exists() or not shutil.which("xvfb-run"):
        pytest.skip("JavaFX 13 is not there: scripts/test --all fetches it")
    program = str(ROOT / "tests" / "browser" / "engines" / "WebViewPage.java")
    modules = ["--module-path", str(library), "--add-modules", "javafx.web"]
    command = ["xvfb-run", "-a", "java", "-Dprism.order=sw", *modules, program, url, expression]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_safari_13_logs_in(fake: Fake) -> None:
    """Code, socket and login, and the plate is a square."""
    with in_webkit_608(fake.url, LOGGED_IN) as process:
        eventually(lambda: fake.seen()["sockets"] == 1, 90)
        fake.move("authorized")
        said, _ = process.communicate(timeout=90)
    width, height = json.loads(said)
    assert width == height > 200


def test_safari_13_is_a_kiosk(fake: Fake) -> None:
    """From the code to the name on the wall."""
    with in_webkit_608(f"{fake.url}/kiosk?lang=en#lobby:{KIOSK_SECRET}", AT_WALL) as process:
        eventually(lambda: fake.seen()["sockets"] >= 1, 90)
        fake.move("authorized", user={"name": "王**"}, nth=0)
        said, _ = process.communicate(timeout=90)
    assert json.loads(said) is True


def in_qt(version: int, url: str, expression: str) -> Any:
    """What an expression is in the Chromium of a Qt, once it is true."""
    python = TOOLS / f"qt-{version}" / "bin" / "python"
    if not (python.parent.parent / "installed").exists() or not shutil.which("xvfb-run"):
        pytest.skip(f"Qt with Chromium {version} is not there: scripts/test --all installs it")
    sandboxless = {
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }
    program = str(ROOT / "tests" / "browser" / "engines" / "qt_page.py")
    command = ["xvfb-run", "-a", str(python), program, url, expression]
    done = subprocess.run(
        command, env=os.environ | sandboxless, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout.splitlines()[-1])


CODE = """var plate = document.querySelector(".plate");
!plate.classList.contains("empty") && document.body.innerText"""


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_of_modules_the_kiosk_shows_a_code(fake: Fake, version: int) -> None:
    """By its classic script, on what televisions of 2017 have."""
    said = in_qt(version, f"{fake.url}/kiosk?lang=en#lobby:{KIOSK_SECRET}", CODE)
    assert "Scan with WeChat to log in" in said


PAIRING = """var code = document.getElementById("pair-code");
var picture = document.getElementById("picture");
/^[A-Z]{4}-[A-Z]{4}$/.test(code.innerText) && picture.naturalWidth > 0 && picture.offsetWidth"""


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_of_modules_the_kiosk_pairs(fake: Fake, version: int) -> None:
    """A code to type, and one to scan, large on the plate."""
    assert in_qt(version, f"{fake.url}/kiosk?lang=en", PAIRING) > 300


SENTENCE = """var plain = document.getElementById("plain");
var seen = getComputedStyle(plain).opacity === "1" && plain.getBoundingClientRect().height > 0;
seen && plain.textContent"""
CHILDREN = """var child = document.querySelector("scan-login > p");
child.getBoundingClientRect().height > 0 && document.body.innerText"""


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_the_login_page_has_a_sentence(fake: Fake, version: int) -> None:
    """Modules or not: what cannot read the scripts says what to do."""
    said = in_qt(version, fake.url, SENTENCE)
    assert "请换一个较新的" in said and "please use a newer one" in said


@pytest.mark.parametrize("version", [49, 61])
def test_below_the_floor_the_element_keeps_its_children(fake: Fake, version: int) -> None:
    """What the site put between the tags, as the examples do, is what people see."""
    url = f"{fake.elsewhere}/static/examples/plain.html?server={fake.url}"
    assert "please use a newer browser" in in_qt(version, url, CHILDREN)
