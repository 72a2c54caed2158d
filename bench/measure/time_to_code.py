"""From asking for a page to its code on the screen, in Chromium on two emulated networks.

Three pages: `/`, a page of another site with `<scan-login>`, and `/kiosk`. Each is opened by a
browser that has nothing of it, and once more in a new tab. The time ends with the frame after the
one in which the code's path was there. The network's delay counts for each request, and neither
for connections nor for the leave that a browser asks of a foreign server.

With `--tree` the server of another checkout is measured too, page by page in turn with this one's,
so that ratios are of the same minute. `--rounds 5` gives medians of five.
"""

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from json import dumps
from pathlib import Path
from statistics import median
from typing import Any

from bench import upstream
from bench.kit.wire import Target
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import TREE, NotInstalled, Running, account_environment, scanpush

CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
LONGEST_MS = 20_000
SECRET = "a-secret-of-the-screen-that-is-measured"

FIGURES = (
    Figure("cold_ms", "code seen, cold, ms", 0),
    Figure("again_ms", "second visit, ms", 0),
    Figure("shift", "layout shift", 3),
    Figure("requests", "requests, cold", 0),
    Figure("kilobytes", "KB, cold", 1),
)


@dataclass(frozen=True, slots=True)
class Network:
    """What Chromium emulates."""

    name: str
    latency_ms: float
    megabits: float


NETWORKS = (Network("40 ms, 9 Mbit", 40, 9), Network("150 ms, 1.6 Mbit", 150, 1.6))
WECHAT_MS = (0, 250)

PAGES: Mapping[str, tuple[str, str]] = {
    "login page": ("{server}/", "document.querySelector('scan-login')?.shadowRoot"),
    "<scan-login>": ("{site}/", "document.querySelector('scan-login')?.shadowRoot"),
    "kiosk": (f"{{server}}/kiosk#lobby:{SECRET}", "document"),
}
"""Address, and in what the code's path is found."""

WATCH = """(() => {
  let shift = 0;
  new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => { shift += value; }))
    .observe({ type: "layout-shift", buffered: true });
  window.code = new Promise((seen, missed) => {
    setTimeout(() => missed(new Error("no code")), LONGEST);
    const look = () => {
      const root = ROOT;
      const code = root && [...root.querySelectorAll("svg path")].find((path) =>
        path.getAttribute("d")?.length > 1500 && path.getBoundingClientRect().width);
      requestAnimationFrame(code ? () => seen(performance.now()) : look);
    };
    requestAnimationFrame(look);
  });
  window.shifted = () => shift;
})()"""

FOREIGN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title>
<h1>Shop</h1><scan-login></scan-login>
<script type="module" src="{server}/static/scan-login.js"></script></html>"""


class Elsewhere(ThreadingHTTPServer):
    """What the server and its pages meet outside: WeChat, and a site that embeds the element."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.page = b""
        self.wechat_seconds = 0.0


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Elsewhere

    def do_GET(self) -> None:
        is_page = self.path == "/"
        if not is_page:
            time.sleep(self.server.wechat_seconds)
        body = self.server.page if is_page else dumps(upstream.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@dataclass(slots=True)
class Place:
    """A tree's server, and what is outside of it."""

    name: str
    running: Running
    elsewhere: Elsewhere

    @property
    def site(self) -> str:
        # By name: another origin than the server's.
        return f"http://localhost:{self.elsewhere.server_address[1]}"


def run(options: Options) -> Board:
    """Every page on every network, in turn from each tree."""
    trees = {"now": TREE} if options.tree == TREE else {"before": options.tree, "now": TREE}
    board = Board("time-to-code", FIGURES, {"rounds": options.rounds})
    visits = list(product(PAGES, NETWORKS, WECHAT_MS))
    if options.quick:
        visits = list(product(PAGES, NETWORKS[:1], WECHAT_MS[:1]))
    with chromium() as browser, ExitStack() as stack:
        settings = options.scanpush
        places = [stack.enter_context(place(*item, settings)) for item in trees.items()]
        for here in places:
            # The first visitor of a server is not the one that is measured.
            for page in PAGES:
                visit(browser, here, page, NETWORKS[0])
        for number in range(options.rounds):
            for page, network, wechat_ms in visits:
                for here in places:
                    here.elsewhere.wechat_seconds = wechat_ms / 1000
                    figures = visit(browser, here, page, network)
                    row = f"{page}, {network.name}, WeChat {wechat_ms} ms"
                    board.add(number, f"{row}: {here.name}", figures)
    note_ratios(board)
    return board


def note_ratios(board: Board) -> None:
    """The time of this tree as a share of the other one's: the median of the rounds' ratios."""
    for row in [name for name in board.servers() if name.endswith(": now")]:
        before = board.values(row.replace(": now", ": before"), "cold_ms")
        if before:
            now = board.values(row, "cold_ms")
            ratio = median(a / b for a, b in zip(now, before, strict=True))
            board.note(f"{row.removesuffix(': now')}: {ratio:.2f} of before")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Raises NotInstalled."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NotInstalled("the Python package playwright") from None
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        raise NotInstalled("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def place(name: str, tree: Path, settings: Mapping[str, str]) -> Iterator[Place]:
    """The server of a checkout, with its own WeChat and its own foreign site."""
    elsewhere = Elsewhere()
    thread = threading.Thread(target=elsewhere.serve_forever, daemon=True)
    thread.start()
    port = elsewhere.server_address[1]
    environment = {
        **account_environment(Target("http", "127.0.0.1", int(port))),
        "SCANPUSH_SERVER__ALLOWED_ORIGINS": f'["http://localhost:{port}"]',
        "SCANPUSH_KIOSKS__LOBBY__SECRET": SECRET,
        "SCANPUSH_LIMITS__DAILY_CODE_RESERVE": "0",
        **settings,
    }
    try:
        with scanpush(environment, tree=tree) as running:
            elsewhere.page = FOREIGN_PAGE.format(server=running.url).encode()
            yield Place(name, running, elsewhere)
    finally:
        elsewhere.shutdown()
        thread.join()
        elsewhere.server_close()


def visit(browser: Any, here: Place, page: str, network: Network) -> dict[str, float]:
    """The figures of a page, opened by a browser that has nothing of it, and once more."""
    address, root = PAGES[page]
    url = address.format(server=here.running.url, site=here.site)
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    try:
        cold = open_page(context, url, root, network)
        again = open_page(context, url, root, network)
    finally:
        context.close()
    return {**cold, "again_ms": again["cold_ms"], "shift": max(cold["shift"], again["shift"])}


def open_page(context: Any, url: str, root: str, network: Network) -> dict[str, float]:
    """The figures of one visit, in a tab of its own."""
    tab = context.new_page()
    link = context.new_cdp_session(tab)
    received: list[float] = []
    link.send("Network.enable")
    link.on("Network.loadingFinished", lambda done: received.append(done["encodedDataLength"]))
    bytes_per_second = network.megabits * 1e6 / 8
    link.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": network.latency_ms,
            "downloadThroughput": bytes_per_second,
            "uploadThroughput": bytes_per_second,
        },
    )
    tab.add_init_script(WATCH.replace("ROOT", root).replace("LONGEST", str(LONGEST_MS)))
    tab.goto(url, wait_until="commit")
    seen_ms: float = tab.evaluate("window.code")
    # What moves when the rest has come counts as well.
    tab.wait_for_timeout(300)
    shift: float = tab.evaluate("window.shifted()")
    tab.close()
    return {
        "cold_ms": seen_ms,
        "shift": shift,
        "requests": len(received),
        "kilobytes": sum(received) / 1000,
    }
