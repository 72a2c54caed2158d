"""The example pages, as they stand but for their addresses, on a site with a strict policy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import ROOT, view, wait_for_state
from .look import look
from .real_server import Real

pytestmark = pytest.mark.browser

EXAMPLES = ROOT / "static" / "examples"
MODULES = Path(__file__).parent / "node_modules"
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}


def react(*needed: str) -> str:
    """React as one ES module: its packages are CommonJS, which browsers do not load.

    The last of `needed` is what the module gives; React itself must be one for the whole page.
    """
    wrapped = "".join(
        f"modules[{name!r}] = (module, exports, require) => {{\n"
        f"{(MODULES / path).read_text(encoding='utf-8')}\n}};\n"
        for name, path in REACT.items()
        if name in needed
    )
    return REQUIRE + wrapped + f"const given = require({needed[-1]!r});\n"


REACT = {
    "react": "react/cjs/react.production.js",
    "scheduler": "scheduler/cjs/scheduler.production.js",
    "react-dom": "react-dom/cjs/react-dom.production.js",
    "react-dom/client": "react-dom/cjs/react-dom-client.production.js",
}
REQUIRE = """const modules = {}, loaded = globalThis.loadedModules ??= {};
const process = { env: { NODE_ENV: "production" } };
function require(name) {
  if (!loaded[name]) {
    const module = loaded[name] = { exports: {} };
    modules[name](module, module.exports, require);
  }
  return loaded[name].exports;
}
"""


class Site(ThreadingHTTPServer):
    """A site of another operator: the examples with `server` and the site itself in place of
    example.com."""

    daemon_threads = True
    server_url = ""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}"

    @property
    def policy(self) -> str:
        """The policy that the examples name, written for this server."""
        line = (EXAMPLES / "react.html").read_text().split("enough:")[1].split("-->")[0]
        socket = self.server_url.replace("http", "ws")
        return self._named(" ".join(line.split()).replace("wss://login.example.com", socket))

    def file(self, name: str) -> str:
        if name == "react.mjs":
            return react("react") + (
                "export const { createElement, useEffect, useRef, useState } = given;"
            )
        if name == "react-dom-client.mjs":
            return react(*REACT) + "export const { createRoot } = given;"
        if name.startswith("vue.runtime"):
            return (MODULES / "vue" / "dist" / name).read_text(encoding="utf-8")
        return self._named((EXAMPLES / name).read_text(encoding="utf-8"))

    def _named(self, text: str) -> str:
        named = text.replace("https://login.example.com", self.server_url)
        named = named.replace("../scan-login.js", f"{self.server_url}/static/scan-login.js")
        return named.replace("https://assets.example.com", self.url)


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        try:
            body = self.server.file(name).encode()
        except FileNotFoundError:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", KINDS.get(Path(name).suffix, KINDS[".js"]))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Real]]:
    """A site, and the scanpush that allows it."""
    if not (MODULES / "vue").exists():
        pytest.skip("React and Vue are not installed: npm install in tests/browser")
    with Site(("127.0.0.1", 0), Handler) as shop:
        folder = tmp_path_factory.mktemp("allowing")
        with Real(folder, server={"allowed_origins": [shop.url]}) as real:
            shop.server_url = real.url
            serving = threading.Thread(target=shop.serve_forever)
            serving.start()
            yield shop, real
            shop.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("name", "words"), [("plain", "user "), ("react", "Logged in: "), ("vue", "Logged in: ")]
)
def test_an_example_logs_in(page: Page, site: tuple[Site, Real], name: str, words: str) -> None:
    """Under the policy it names, without a complaint, from the code to the person's id."""
    shop, real = site
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(f"{shop.url}/{name}.html")
    wait_for_state(page, "waiting")
    wrong = look(page, f"example-{name}-light")
    page.emulate_media(color_scheme="dark")
    wrong += look(page, f"example-{name}-dark")
    real.do("scan", person=name, url=view(page)["qr"]["content"])
    expect(page.locator("main")).to_contain_text(words)
    # The browser asks for a favicon by itself, which this policy refuses.
    assert [text for text in complaints if "favicon" not in text] == []
    assert not wrong, wrong
