"""oidc-client-ts in Chromium: a page without a server of its own logs people in and out, by the
settings that docs/openid.md gives.

Its site is another origin than the provider's, as a public client's is. Cookies make a difference
for frames alone: at ``127.0.0.1`` the page is of the provider's site, at ``localhost`` of another.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUMS, eventually, view, wait_for_state
from tests.docs.pages import ROOT, blocks
from tests.listeners import served_in_thread

from .provider import Cluster, Provider, one_server

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"
SCOPE = "openid profile offline_access"


def documented(issuer: str, origin: str, changes: dict[str, Any]) -> str:
    """The settings of the page in docs/, with some changed, as a module."""
    (block,) = (one for one in blocks(ROOT / "docs" / "openid.md") if "UserManager(" in one)
    found = re.search(r"UserManager\((\{.*\})\);", block, re.DOTALL)
    assert found and '"shop"' in found[1]
    settings = found[1].replace("https://login.example.com", issuer)
    settings = settings.replace("https://shop.example.com", origin)
    return f"export const settings = {{ ...{settings}, ...{json.dumps(changes)} }};"


class Site(ThreadingHTTPServer):
    """The page at every address but two.

    Attributes:
        issuer: of whom the page wants logins.
        changes: of its settings, for the next load.
    """

    issuer = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.changes: dict[str, Any] = {}
        self.origins = [f"http://{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")]
        self.client = {
            "public": True,
            "redirect_uris": [f"{origin}/callback" for origin in self.origins],
            "post_logout_redirect_uris": [f"{origin}/bye" for origin in self.origins],
        }


class _Request(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        kind, body = "text/html", (HERE / "oidc_client_ts.html").read_bytes()
        if self.path == "/oidc-client-ts.js":
            kind, body = "text/javascript", LIBRARY.read_bytes()
        elif self.path == "/settings.js":
            site, origin = self.server, f"http://{self.headers['Host']}"
            kind = "text/javascript"
            body = documented(site.issuer, origin, site.changes).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with this module: no event loop can run in this thread until then."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None or not LIBRARY.exists():
        pytest.skip("SKIPPED LOUDLY: Chromium or oidc-client-ts is missing: see scripts/test")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en")
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert not wrong, wrong


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    server = Site()
    with served_in_thread(server):
        yield server


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Provider]:
    with one_server(tmp_path_factory.mktemp("server"), {"shop": site.client}) as real:
        yield real


class Visit:
    """A person's page at the site, whose script is driven from here."""

    def __init__(self, page: Page, provider: Provider, site: Site, *, host: int = 0) -> None:
        self.page = page
        self.provider = provider
        self.origin = site.origins[host]
        site.issuer, site.changes = provider.url, {}
        self._site = site

    def open(self, **settings: Any) -> None:
        """Load the page, with these settings of the library changed."""
        self._site.changes |= settings
        self.page.goto(self.origin)
        expect(self.page).not_to_have_title("loading")

    def scan(self, page: Page, person: str) -> None:
        """Scan the code of the provider's page."""
        page.wait_for_url(f"{self.provider.url}/oauth/authorize?*")
        wait_for_state(page, "waiting")
        self.provider.do("scan", person=person, url=view(page)["qr"]["content"])

    def log_in(self, person: str, *, in_between: Callable[[], None] = lambda: None) -> None:
        self.page.evaluate("void manager.signinRedirect()")
        self.page.wait_for_url(f"{self.provider.url}/oauth/authorize?*")
        wait_for_state(self.page, "waiting")
        in_between()
        self.scan(self.page, person)
        self.page.wait_for_url(f"{self.origin}/callback*")
        self.is_logged_in()

    def is_logged_in(self) -> None:
        eventually(lambda: self.page.title() not in ("", "loading"))
        assert self.page.title().startswith("logged in: "), self.page.title()

    def log_out(self) -> None:
        self.page.evaluate("void manager.signoutRedirect()")
        self.page.wait_for_url(f"{self.origin}/bye*")
        expect(self.page).to_have_title("logged out")

    def call(self, script: str) -> Any:
        """What the promise of the script brings; the name of the error where it fails."""
        return self.page.evaluate(
            f"Promise.resolve({script}).then((value) => JSON.parse(JSON.stringify(value ?? null)),"
            " (failure) => ({ failed: failure.error ?? failure.message }))"
        )

    def user(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("manager.getUser()")
        return found


@pytest.mark.parametrize("host", [0, 1], ids=["same-site", "another-site"])
def test_redirects_and_refresh_tokens(
    page: Page, provider: Provider, site: Site, host: int
) -> None:
    """Login, userinfo, renewal by the refresh token, and log-out, by CORS and redirects alone."""
    visit = Visit(page, provider, site, host=host)
    visit.open()
    visit.log_in("alice")
    before = visit.user()
    assert before["profile"]["preferred_username"] == before["profile"]["sub"]
    renewed = visit.call("manager.signinSilent()")
    assert renewed["profile"]["sub"] == before["profile"]["sub"]
    assert renewed["refresh_token"] != before["refresh_token"]
    assert renewed["access_token"] != before["access_token"]
    visit.log_out()
    # The provider asks for a scan again.
    visit.open()
    assert visit.call("manager.signinSilent()") == {"failed": "login_required"}


def test_the_library_renews_by_itself(page: Page, provider: Provider, site: Site) -> None:
    """Before the access token ends, with nothing but its own timer."""
    visit = Visit(page, provider, site)
    visit.open()
    visit.log_in("alice")
    before = visit.user()
    visit.open(automaticSilentRenew=True, accessTokenExpiringNotificationTimeInSeconds=299)
    page.evaluate("manager.startSilentRenew()")
    eventually(lambda: visit.user()["access_token"] != before["access_token"])
    visit.log_out()


def test_a_frame_of_the_same_site(page: Page, provider: Provider, site: Site) -> None:
    """Without a refresh token a hidden frame renews, by ``prompt=none``, and logs out."""
    visit = Visit(page, provider, site)
    visit.open(scope="openid profile", includeIdTokenInSilentSignout=True)
    visit.log_in("bob")
    before = visit.user()
    assert "refresh_token" not in before
    renewed = visit.call("manager.signinSilent()")
    assert renewed["profile"]["sid"] == before["profile"]["sid"]
    assert renewed["access_token"] != before["access_token"]
    # Without a state the library does not hear of the end.
    assert visit.call("manager.signoutSilent({ state: {} })") is None
    assert visit.call("manager.signinSilent()") == {"failed": "login_required"}


def test_a_frame_of_another_site(page: Page, provider: Provider, site: Site) -> None:
    """The browser keeps its cookie back there: the answer is ``login_required``, at once. A
    log-out works by the session that the ID token names."""
    visit = Visit(page, provider, site, host=1)
    visit.open(scope="openid profile", includeIdTokenInSilentSignout=True)
    visit.log_in("bob")
    assert visit.call("manager.signinSilent()") == {"failed": "login_required"}
    assert visit.call("manager.signoutSilent({ state: {} })") is None
    visit.log_in("bob")


@pytest.mark.parametrize("host", [0, 1], ids=["same-site", "another-site"])
def test_a_window(page: Page, provider: Provider, site: Site, host: int) -> None:
    """The provider's page in a window of its own, for login and log-out, which closes itself."""
    visit = Visit(page, provider, site, host=host)
    visit.open()
    with page.expect_popup() as opened:
        page.evaluate("window.done = manager.signinPopup(); undefined")
    visit.scan(opened.value, "carol")
    assert visit.call("done")["profile"]["sub"]
    closes(page, opened.value)
    with page.expect_popup() as opened:
        page.evaluate("window.done = manager.signoutPopup(); undefined")
    assert visit.call("done") is None
    closes(page, opened.value)
    assert visit.user() is None


def closes(page: Page, window: Page) -> None:
    """Wait for it. Only what `page` is asked lets news of the window come."""
    eventually(lambda: page.title() and window.is_closed())


def test_revocation(page: Page, provider: Provider, site: Site) -> None:
    """The page gives both of its tokens up."""
    visit = Visit(page, provider, site)
    visit.open()
    visit.log_in("dora")
    kept = visit.user()
    assert visit.call("manager.revokeTokens()") is None
    body = {
        "grant_type": "refresh_token",
        "client_id": "shop",
        "refresh_token": kept["refresh_token"],
    }
    answer = page.request.post(f"{provider.url}/oauth/token", form=body)
    assert answer.json()["error"] == "invalid_grant"
    bearer = {"Authorization": f"Bearer {kept['access_token']}"}
    assert page.request.get(f"{provider.url}/oauth/userinfo", headers=bearer).status == 401


@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
def test_two_nodes_one_of_which_is_killed(page: Page, site: Site, tmp_path: Path) -> None:
    """While the code is shown, before the renewals by token and by frame, and before the
    log-out."""
    with Cluster(tmp_path, {"shop": site.client}) as cluster:
        visit = Visit(page, cluster, site)
        visit.open()
        visit.log_in("eve", in_between=cluster.lose_a_node)
        before = visit.user()
        for scope in (SCOPE, "openid profile"):
            cluster.lose_a_node()
            visit.open(scope=scope)
            renewed = visit.call("manager.signinSilent()")
            assert renewed["profile"]["sid"] == before["profile"]["sid"]
            visit.call("manager.removeUser()")
        cluster.lose_a_node()
        visit.open()
        assert visit.call("manager.signinSilent()")["id_token"]
        cluster.lose_a_node()
        visit.log_out()
        cluster.lose_a_node()
        assert visit.call("manager.signinSilent()") == {"failed": "login_required"}
