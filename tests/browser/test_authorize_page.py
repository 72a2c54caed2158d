"""The login page of the OpenID Provider in Chromium, between a real server and a client's site."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.programs import free_port
from tests.flows.oidc import CHALLENGE, SECRET
from tests.listeners import served_in_thread

from .conftest import SCREENSHOTS, Servers, eventually, view, wait_for_state
from .real_server import Real, tea_house

pytestmark = pytest.mark.browser


class Site(BaseHTTPRequestHandler):
    """A client's site: what arrives at its redirect URI, by either response mode."""

    def _heard(self, method: str, fields: str) -> None:
        heard: list[tuple[str, dict[str, str]]] = getattr(self.server, "heard")
        if urlsplit(self.path).path == "/cb":
            heard.append((method, {name: value[0] for name, value in parse_qs(fields).items()}))
        if urlsplit(self.path).path == "/cb" and method == "GET":
            # As a broker does: on to a third site.
            self.send_response(302)
            port = self.server.server_address[1]
            self.send_header("Location", f"http://localhost:{port}/home")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<title>Wiki</title><h1>Welcome to the wiki</h1>")

    def do_GET(self) -> None:
        self._heard("GET", urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._heard("POST", self.rfile.read(int(self.headers["Content-Length"])).decode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Client:
    """The site's side: where it sends browsers, and what it hears of them."""

    def __init__(self, real: Real, site: ThreadingHTTPServer) -> None:
        self.real = real
        self.callback = f"http://127.0.0.1:{site.server_port}/cb"
        self.heard: list[tuple[str, dict[str, str]]] = getattr(site, "heard")
        self.heard.clear()

    def address(self, **changes: str) -> str:
        parameters = {
            "client_id": "wiki",
            "redirect_uri": self.callback,
            "response_type": "code",
            "scope": "openid",
            "state": "from the site",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{self.real.url}/oauth/authorize?{urlencode(parameters)}"


@pytest.fixture(scope="module")
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    setattr(server, "heard", [])
    with served_in_thread(server):
        yield server


PORT = free_port()


@pytest.fixture
def client(servers: Servers, site: ThreadingHTTPServer) -> Client:
    wiki = {
        "secret": SECRET,
        "name": "茶艺维基",
        "redirect_uris": [f"http://127.0.0.1:{site.server_port}/cb"],
        "post_logout_redirect_uris": [f"http://127.0.0.1:{site.server_port}/cb"],
        "kinds": ["official_account", "code"],
    }
    sections = tea_house() | {
        "server": {"port": PORT, "public_url": f"http://127.0.0.1:{PORT}"},
        "oidc": {"clients": {"wiki": wiki}},
    }
    return Client(servers(**sections), site)


def scan(page: Page, client: Client, person: str) -> None:
    """Wait for the page's code on its socket, and scan it."""
    wait_for_state(page, "waiting")
    eventually(lambda: view(page).get("transport") == "socket")
    client.real.do("scan", person=person, url=view(page)["qr"]["content"])


def test_a_scan_sends_the_browser_back_to_the_site(page: Page, client: Client) -> None:
    """Named on the page; afterwards, with the session, by a form as well and without a scan."""
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if "Policy" in line.text else None)
    page.goto(client.address())
    expect(page.locator("#to")).to_have_text("登录 茶艺维基")
    kinds = page.locator("#kinds button")
    expect(kinds).to_have_text(["扫码", "发送数字"])
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    wait_for_state(page, "waiting")
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=SCREENSHOTS / f"authorize-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    scan(page, client, "wiki reader")
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    method, fields = client.heard.pop()
    assert method == "GET" and fields["state"] == "from the site" and fields["code"]
    assert fields["iss"] == client.real.url
    page.goto(client.address(response_mode="form_post"))
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    method, again = client.heard.pop()
    assert method == "POST" and again["code"] not in ("", fields["code"])
    assert refused == []


def test_a_page_that_is_loaded_again_keeps_its_code(page: Page, client: Client) -> None:
    """And once more in the other language; a scan of it still logs in."""
    page.goto(client.address())
    wait_for_state(page, "waiting")
    scene = view(page)["scene_str"]
    page.reload()
    wait_for_state(page, "waiting")
    page.locator("#lang").select_option("en")
    expect(page.locator("#to")).to_have_text("Log in to 茶艺维基")
    assert view(page)["scene_str"] == scene
    scan(page, client, "wiki reader")
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    # The way back leads to the page, which knows the browser by now.
    page.go_back()
    eventually(lambda: len(client.heard) == 2)


def test_a_person_may_go_back_without_a_login(page: Page, client: Client) -> None:
    """By the button; after a refusal the page does not go while they copy its reference."""
    page.goto(client.address())
    page.locator("#cancel").click()
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    assert client.heard.pop()[1]["error"] == "access_denied"
    page.clock.install()
    page.goto(client.address())
    wait_for_state(page, "waiting")
    page.evaluate("scan.dispatchEvent(new CustomEvent('denied', { detail: {} }))")
    page.clock.fast_forward(20_000)
    page.keyboard.press("Shift")
    page.clock.fast_forward(600_000)
    expect(page.locator("#to")).to_be_visible()
    assert not client.heard
    page.locator("#cancel").click()
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    fields = client.heard.pop()[1]
    assert (fields["error"], fields["error_description"]) == (
        "access_denied",
        "the person did not log in",
    )


def test_the_site_hears_that_a_person_may_not_log_in(page: Page, client: Client) -> None:
    """One who is banned: the page goes by itself, once they have read it."""
    page.clock.install()
    page.goto(client.address())
    wait_for_state(page, "waiting")
    page.evaluate("scan.dispatchEvent(new CustomEvent('error', { detail: { error: 'banned' } }))")
    page.clock.fast_forward(31_000)
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    fields = client.heard.pop()[1]
    assert (fields["error"], fields["error_description"]) == (
        "access_denied",
        "the person may not log in",
    )


def test_small_pages_fit_a_phone(browser: Browser, client: Client) -> None:
    """A request that names no client, the question before a log-out, and the end of it."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(client.address(client_id="nobody"))
    expect(page.locator("h1")).to_have_text("无法继续登录")
    page.screenshot(path=SCREENSHOTS / "authorize-refused-390.png")
    page.goto(client.address())
    scan(page, client, "wiki reader")
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    bye = urlencode({"client_id": "wiki", "post_logout_redirect_uri": client.callback})
    page.goto(f"{client.real.url}/oauth/logout?{bye}")
    expect(page.locator("h1")).to_have_text("要退出登录吗？")
    page.screenshot(path=SCREENSHOTS / "logout-390.png")
    page.get_by_role("button", name="退出登录").click()
    expect(page.locator("h1")).to_have_text("Welcome to the wiki")
    page.goto(f"{client.real.url}/oauth/logout?{bye}")
    expect(page.locator("h1")).to_have_text("已退出登录")
    page.screenshot(path=SCREENSHOTS / "logged-out-390.png")
    page.goto(client.address())
    expect(page.locator("#to")).to_have_text("登录 茶艺维基")
    context.close()
