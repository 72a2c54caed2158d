"""The example pages: from the server as they are, and on a site with a strict policy."""

import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.listeners import served_in_thread

from .conftest import ROOT, view, wait_for_state
from .look import look
from .real_server import Real

pytestmark = pytest.mark.browser

EXAMPLES = ROOT / "static" / "examples"
VENDOR = EXAMPLES / "vendor"
HERE = Path(__file__).resolve().parent
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}


class Site(ThreadingHTTPServer):
    """A site of another operator: the examples with `server` in place of their own server."""

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
        return self._named((EXAMPLES / name).read_text(encoding="utf-8"))

    def _named(self, text: str) -> str:
        named = text.replace("https://login.example.com", self.server_url)
        return named.replace('"../scan-login.js"', f'"{self.server_url}/static/scan-login.js"')


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
    with Site(("127.0.0.1", 0), Handler) as shop:
        folder = tmp_path_factory.mktemp("allowing")
        with Real(folder, server={"allowed_origins": [shop.url]}) as real:
            shop.server_url = real.url
            with served_in_thread(shop):
                yield shop, real


each_example = pytest.mark.parametrize(
    ("name", "words"), [("plain", "user "), ("react", "Logged in: "), ("vue", "Logged in: ")]
)


@each_example
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


@each_example
def test_an_example_works_as_it_is(
    page: Page, site: tuple[Site, Real], name: str, words: str
) -> None:
    """Opened from the server that it came with, it logs in there, and asks no other host."""
    _, real = site
    hosts: set[str] = set()
    page.on("request", lambda asked: hosts.add(urlsplit(asked.url).netloc))
    page.goto(f"{real.url}/static/examples/{name}.html")
    wait_for_state(page, "waiting")
    real.do("scan", person=f"{name}2", url=view(page)["qr"]["content"])
    expect(page.locator("main")).to_contain_text(words)
    assert hosts == {urlsplit(real.url).netloc}


def test_the_vendored_files_are_made_from_their_packages(tmp_path: Path) -> None:
    """React and Vue of the examples are those of package.json, made by make_vendor.mjs."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "esbuild").exists():
        pytest.skip("node, React or Vue is not installed: npm install in tests/browser")
    subprocess.run([node, str(HERE / "make_vendor.mjs"), str(tmp_path)], check=True, timeout=60)
    names = sorted(path.name for path in VENDOR.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (tmp_path / name).read_bytes() == (VENDOR / name).read_bytes(), name
