"""What the policy of a page forbids: markup made by scripts, sockets, requests, an origin."""

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from .conftest import ROOT, Fake, Servers, eventually, view, wait_for_state
from .fake_server import KIOSK_SECRET as FAKE_SECRET
from .fake_server import OPERATOR_TOKEN as FAKE_TOKEN
from .real_server import TEA_HOUSE, Real
from .walks import CODES, QR, TITLE, open_page

pytestmark = pytest.mark.browser

TRUSTED_TYPES = "require-trusted-types-for 'script'; trusted-types 'none'"


def embed(page: Page, site: str, server: str, policy: str = "", attributes: str = "") -> None:
    """The element of `server` on a page of `site`, under this policy or the fake site's."""
    asked = {"server": server, "attributes": attributes, **({"policy": policy} if policy else {})}
    page.goto(f"{site}/embed?{urlencode(asked)}")


def complaints_of(page: Page) -> list[str]:
    """What the console will complain of, but for the favicon, which browsers ask for."""
    said: list[str] = []

    def note(text: str) -> None:
        if "favicon" not in text:
            said.append(text)

    page.on("console", lambda line: note(line.text) if line.type == "error" else None)
    return said


# Trusted Types.

SINKS = {
    "innerHTML": r"\binnerHTML\b",
    "outerHTML": r"\bouterHTML\b",
    "insertAdjacentHTML": r"\binsertAdjacentHTML\b",
    "setHTMLUnsafe": r"\bsetHTML(Unsafe)?\b",
    "parseHTMLUnsafe": r"\bparseHTML(Unsafe)?\b",
    "DOMParser": r"\bDOMParser\b",
    "createContextualFragment": r"\bcreateContextualFragment\b",
    "document.write": r"\bdocument\.write",
    "srcdoc": r"\bsrcdoc\b",
    "eval": r"\beval\s*\(",
    "Function": r"\bnew Function\b|\bFunction\s*\(\s*[\"'`]",
    "timer of text": r"\bset(Timeout|Interval)\s*\(\s*[\"'`]",
    "javascript:": r"javascript:",
    "handler in markup": r"<[a-z][^>]*\son[a-z]+\s*=",
    "handler by attribute": r"setAttribute\(\s*[\"'`]on",
    "execCommand": r"\bexecCommand\b",
}


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
def test_no_file_has_a_sink_for_markup_or_code(sink: str) -> None:
    """No page, script or example turns text into markup or code. React and Vue beside the
    examples (``.mjs``) can, and are not asked to."""
    files = [file for file in (ROOT / "static").rglob("*") if file.suffix in (".js", ".html")]
    found = [file.name for file in files if re.search(sink, file.read_text(encoding="utf-8"))]
    assert files and not found


def enforced(route: Route) -> None:
    """The answer as it is, with Trusted Types enforced."""
    answer = route.fetch(max_redirects=0)
    policy = "; ".join(filter(None, [answer.headers.get("content-security-policy"), TRUSTED_TYPES]))
    route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})


@pytest.mark.parametrize("kind", ["official_account", "code", "web", "website", "mini_program"])
def test_the_element_draws_under_trusted_types(page: Page, fake: Fake, kind: str) -> None:
    """Each kind shows its code or button, on a page that lets no script make markup."""
    complaints = complaints_of(page)
    embed(page, fake.elsewhere, fake.url, attributes=f"kind={kind}")
    wait_for_state(page, "waiting")
    shown = {
        "code": page.locator("scan-login [part=code]"),
        "website": page.get_by_role("button", name="Open WeChat login"),
        "mini_program": page.locator("scan-login img"),
    }
    expect(shown.get(kind, page.locator(QR))).to_be_visible()
    assert complaints == []


def test_the_form_of_registration_works_under_trusted_types(page: Page, fake: Fake) -> None:
    """A newcomer fills it in on such a page, and is logged in."""
    complaints = complaints_of(page)
    embed(page, fake.elsewhere, fake.url)
    wait_for_state(page, "waiting")
    fake.move("registering", user={"name": "王**"}, register_fields=["name", "phone"])
    page.get_by_label("Your name").fill("小明")
    page.get_by_label("Phone").fill("13800000000")
    page.get_by_role("button", name="Create account").click()
    wait_for_state(page, "authorized")
    assert complaints == []


def log_in(page: Page, fake: Fake) -> None:
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("authorized", login="<b>王小明</b>")
    expect(page.locator("#me-name")).not_to_be_empty()
    expect(page.locator("#claims")).to_contain_text("usr_7Hq2")


def watch_the_operators_board(page: Page, fake: Fake) -> None:
    fake.set(audit=True)
    page.goto(fake.url + "/operator")
    page.get_by_label("运维令牌").fill(FAKE_TOKEN)
    page.get_by_role("button", name="查看").click()
    expect(page.locator("#sockets")).to_have_text("18,432")


def greet_a_guest(page: Page, fake: Fake) -> None:
    page.goto(f"{fake.url}/kiosk?lang=zh-CN#lobby3:{FAKE_SECRET}")
    expect(page.locator("#code")).to_be_visible()
    fake.move("scanned", user={"name": "<img src=x>"})
    expect(page.locator("#guests li")).to_have_text("<img src=x>，请看手机")


@pytest.mark.parametrize("walk", [log_in, watch_the_operators_board, greet_a_guest])
def test_a_page_works_under_trusted_types(
    page: Page, fake: Fake, walk: Callable[[Page, Fake], None]
) -> None:
    """The fake server's pages enforce them; nothing is refused."""
    complaints = complaints_of(page)
    walk(page, fake)
    assert complaints == []


def test_the_pages_of_the_web_login_work_under_trusted_types(
    page: Page, context: BrowserContext, servers: Servers
) -> None:
    """The question and the outcome, as a phone sees them."""
    real = servers(**TEA_HOUSE)
    content = open_page(page, real.url, "web")["qr"]["content"]
    phone = context.browser.new_context(locale="en") if context.browser else context
    tab = phone.new_page()
    complaints = complaints_of(tab)
    tab.route("**/oauth/**", enforced)
    tab.goto(content)
    tab.locator("button.main[value='1']").click()
    tab.locator("button[name=allow][value='1']").click()
    expect(tab.locator("main.good")).to_be_visible()
    expect(tab.locator("#plain")).to_have_count(0)
    assert complaints == []
    phone.close()


# Sockets and requests that the page's own policy forbids.


def test_a_login_by_polls_where_the_policy_forbids_sockets(page: Page, fake: Fake) -> None:
    """A poll waits at the server without a second try of a socket, and brings the scan."""
    policy = f"default-src 'none'; script-src {fake.url}; connect-src {fake.url}"
    page.clock.install(time=0)
    # From here on the page's clock goes in small steps: timers of seconds never end.
    page.clock.pause_at(1)
    embed(page, fake.elsewhere, fake.url, policy)
    eventually(lambda: page.clock.run_for(10) or fake.count("long_poll") == 1)
    assert page.evaluate("Date.now()") < 3000
    fake.move("scanned", user={"name": "王**"})
    wait_for_state(page, "scanned")
    assert fake.count("socket") == 0


@pytest.mark.parametrize("kind", ["official_account", "code", "website"])
def test_a_policy_that_forbids_requests_is_told(page: Page, fake: Fake, kind: str) -> None:
    """Without the server in connect-src: the visitor and the console are told what is wrong."""
    complaints = complaints_of(page)
    policy = f"default-src 'none'; script-src {fake.url}"
    embed(page, fake.elsewhere, fake.url, policy, f"kind={kind}")
    wait_for_state(page, "failed")
    assert view(page)["error"] == "blocked_by_policy"
    expect(page.locator(TITLE)).to_have_text("Login is not available on this site")
    [told] = [text for text in complaints if text.startswith("scan-login:")]
    assert f"allow {fake.url} in connect-src" in told
    assert fake.count("begin") == 0


# Pages that the server does not know.


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests; it allows no other site."""
    return servers(**TEA_HOUSE)


def test_a_forgotten_allowed_origin_is_told(page: Page, fake: Fake, tea: Real) -> None:
    """No code is spent; element, console and the event `error` say what must be set."""
    complaints, before = complaints_of(page), tea.calls(CODES)
    page.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
      window.got = []; scan.addEventListener("error", ({ detail }) => got.push(detail.error)); })"""
    )
    embed(page, fake.elsewhere, tea.url)
    wait_for_state(page, "failed")
    expect(page.locator(TITLE)).to_have_text("Login is not available on this site")
    assert page.evaluate("window.got") == ["forbidden_origin"]
    [told] = [text for text in complaints if text.startswith("scan-login:")]
    assert "server.allowed_origins" in told and f'"{fake.elsewhere}"' in told
    assert tea.calls(CODES) == before


@pytest.mark.parametrize("sandbox", ["allow-scripts", "allow-scripts allow-forms allow-popups"])
def test_a_sandboxed_frame_is_told(page: Page, fake: Fake, tea: Real, sandbox: str) -> None:
    """A frame without an origin of its own cannot be allowed: it says so."""
    complaints = complaints_of(page)
    embed(page, fake.elsewhere, fake.url, policy="frame-src *")
    src = f"{fake.elsewhere}/embed?{urlencode({'server': tea.url})}"
    page.evaluate(FRAME, [sandbox, src])
    frame = page.frame_locator("iframe")
    expect(frame.locator(TITLE)).to_have_text("Login is not available in this frame")
    assert frame.locator("scan-login").evaluate("(e) => e.login.view.error") == "opaque_origin"
    [told] = [text for text in complaints if text.startswith("scan-login:")]
    assert "allow-same-origin" in told


FRAME = """([sandbox, src]) => { const frame = document.createElement("iframe");
  Object.assign(frame, { sandbox, src }); document.body.append(frame); }"""


def test_a_frame_with_its_origin_is_as_good_as_a_page(page: Page, fake: Fake) -> None:
    """`allow-same-origin` keeps the origin, and the login works."""
    embed(page, fake.elsewhere, fake.url, policy="frame-src *")
    src = f"{fake.elsewhere}/embed?{urlencode({'server': fake.url})}"
    page.evaluate(FRAME, ["allow-scripts allow-same-origin", src])
    expect(page.frame_locator("iframe").locator(QR)).to_be_visible()


def test_a_server_that_is_away_is_not_told_as_a_mistake_of_the_site(page: Page, fake: Fake) -> None:
    """No file can be had either: the service is not available, and the page goes on trying."""
    complaints = complaints_of(page)
    page.route(re.compile("/api/|icon.svg"), lambda route: route.abort())
    embed(page, fake.elsewhere, fake.url)
    expect(page.locator(TITLE)).to_have_text("The service is not available")
    assert not [text for text in complaints if text.startswith("scan-login:")]
    page.unroute(re.compile("/api/|icon.svg"))
    wait_for_state(page, "waiting")


def test_one_lost_request_is_not_told_as_a_mistake_of_the_site(page: Page, fake: Fake) -> None:
    """The file can be had and the second try gets through: there is the code."""
    page.route("**/api/scenes", lambda route: route.abort(), times=1)
    embed(page, fake.elsewhere, fake.url)
    wait_for_state(page, "waiting")


def test_a_proxys_error_is_not_told_as_a_mistake_of_the_site(page: Page, fake: Fake) -> None:
    """A proxy answers everything with 502 and without CORS, as while the server restarts."""
    page.route(re.compile("/api/|icon.svg"), lambda route: route.fulfill(status=502))
    embed(page, fake.elsewhere, fake.url)
    expect(page.locator(TITLE)).to_have_text("The service is not available")
