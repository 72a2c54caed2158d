"""How the page stays connected under faults that the real server cannot be made to have.

The faults that people meet (blocked, cut, restarted) are in test_real.py.
"""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, eventually, view, wait_for_state
from .fake_server import KIOSK_SECRET
from .walks import QR, TITLE

pytestmark = pytest.mark.browser


def open_waiting(page: Page, fake: Fake) -> None:
    page.goto(fake.url)
    wait_for_state(page, "waiting")


def log_in(page: Page, fake: Fake) -> None:
    fake.move("authorized")
    expect(page.locator("#me-name")).to_have_text("王小明", timeout=20000)
    eventually(lambda: fake.seen()["scenes"][-1]["state"] == "consumed")


def eventually_ticking(page: Page, true) -> None:  # type: ignore[no-untyped-def]
    """As `eventually`, with the page's clock driven along."""

    def tick() -> bool:
        page.clock.run_for(500)
        return bool(true())

    eventually(tick)


@pytest.mark.parametrize("how", ["hang", "mute"])
def test_silent_sockets_are_given_up(page: Page, fake: Fake, how: str) -> None:
    """An upgrade that hangs, or a socket on which nothing comes, counts as blocked."""
    fake.set(socket=how)
    page.clock.install()
    open_waiting(page, fake)
    eventually_ticking(page, lambda: fake.count("long_poll") > 0)
    log_in(page, fake)


@pytest.mark.slow
def test_slow_down_is_obeyed(page: Page, fake: Fake) -> None:
    """Each `slow_down` adds five seconds to the interval (RFC 8628, section 3.5)."""
    fake.set(socket="refuse", long_poll="cut")
    open_waiting(page, fake)
    eventually(lambda: fake.count("poll") >= 4, seconds=30)
    fake.set(poll=[429, "slow_down"])
    before = fake.count("poll")
    eventually(lambda: fake.count("poll") == before + 1)
    fake.set(poll=None)
    eventually(lambda: fake.count("poll") == before + 2)
    *_, refused, after = fake.seen()["polled_at"]
    assert after - refused > 5


@pytest.mark.parametrize("code", [1001, 1006, 1011, 4413, 4429])
def test_lost_sockets_are_opened_again(page: Page, fake: Fake, code: int) -> None:
    """The page comes back to a leaving, failing or full server, with the same scene."""
    open_waiting(page, fake)
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.close(code)
    eventually(lambda: fake.count("socket") == 2 and fake.seen()["sockets"] == 1)
    assert fake.count("begin") == 1


@pytest.mark.parametrize(
    ("code", "state"), [(1009, "failed"), (4400, "failed"), (4409, "replaced")]
)
def test_some_closes_are_final(page: Page, fake: Fake, code: int, state: str) -> None:
    """A bug of the server, or a newer socket: the page stops and says so."""
    open_waiting(page, fake)
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.close(code)
    wait_for_state(page, state)
    page.wait_for_timeout(500)
    assert fake.count("socket") == 1
    page.get_by_role("button", name="换一个二维码").click()
    wait_for_state(page, "waiting")


def test_a_sleeping_machine_starts_afresh(page: Page, fake: Fake) -> None:
    """After minutes asleep the old socket is not trusted: a new one is opened at once."""
    page.clock.install()
    page.goto(fake.url)
    eventually_ticking(page, lambda: fake.seen()["sockets"] == 1)
    before = fake.count("socket")
    page.clock.fast_forward(60000)
    eventually_ticking(page, lambda: fake.count("socket") > before)
    assert fake.count("begin") == 1


# What the browser believes of its network.

BELIEVES_OFFLINE = "Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false });"
SAYS = "(name) => dispatchEvent(new Event(name))"


@pytest.mark.parametrize("where", ["/", "/embed"])
def test_a_browser_that_believes_itself_offline_logs_in(page: Page, fake: Fake, where: str) -> None:
    """Whatever it believes: requests get through, so the code is shown and the login arrives."""
    page.add_init_script(BELIEVES_OFFLINE)
    query = urlencode({"server": fake.url})
    page.goto(fake.url if where == "/" else f"{fake.elsewhere}/embed?{query}")
    expect(page.locator(QR)).to_be_visible()
    eventually(lambda: view(page)["transport"] == "socket")
    assert not view(page)["trouble"]
    fake.move("authorized")
    wait_for_state(page, "authorized")


@pytest.mark.parametrize("socket", ["refuse", "hang"])
def test_such_a_browser_falls_back_to_polls(page: Page, fake: Fake, socket: str) -> None:
    """The way down does not ask the browser either."""
    fake.set(socket=socket)
    page.add_init_script(BELIEVES_OFFLINE)
    page.clock.install()
    open_waiting(page, fake)
    eventually_ticking(page, lambda: fake.count("long_poll") > 0)
    expect(page.locator(QR)).to_be_visible()
    log_in(page, fake)


def test_such_a_browser_registers(page: Page, fake: Fake) -> None:
    """The form sends what was typed, and what was wrong with it is told as it is."""
    fake.set(register_error=[400, "bad_request", "name"])
    page.add_init_script(BELIEVES_OFFLINE)
    open_waiting(page, fake)
    fake.move("registering", user={"name": "王**"}, register_fields=["name"])
    form = page.locator("scan-login form")
    form.locator("input").fill("小明")
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_have_text("保存失败，请检查后重试。")
    form.get_by_role("button").click()
    wait_for_state(page, "authorized")


@pytest.mark.parametrize("events", [[], ["offline"], ["offline", "online", "offline"]])
def test_a_screen_that_believes_itself_offline_shows_codes(
    page: Page, fake: Fake, events: list[str]
) -> None:
    """A kiosk's code is shown, scanned and followed by the next."""
    page.add_init_script(BELIEVES_OFFLINE)
    page.goto(f"{fake.url}/kiosk?lang=zh-CN#lobby3:{KIOSK_SECRET}")
    expect(page.locator("#code")).to_be_visible()
    for name in events:
        page.evaluate(SAYS, name)
    fake.move("scanned", user={"name": "李**"})
    expect(page.locator("#guests li")).to_have_text("李**，请看手机")
    expect(page.locator("#code")).to_be_visible()


@pytest.mark.parametrize(
    "events", [["offline"], ["offline", "online"], ["online"], ["offline"] * 5]
)
def test_an_event_is_a_reason_to_try_now(page: Page, fake: Fake, events: list[str]) -> None:
    """It opens the way afresh, and says nothing to the visitor as long as that gets through."""
    open_waiting(page, fake)
    eventually(lambda: view(page)["transport"] == "socket")
    before = fake.count("socket")
    for name in events:
        page.evaluate(SAYS, name)
    eventually(lambda: fake.count("socket") > before)
    eventually(lambda: view(page)["transport"] == "socket")
    expect(page.locator(QR)).to_be_visible()
    log_in(page, fake)


def test_an_event_ends_the_wait_for_the_next_try(page: Page, fake: Fake) -> None:
    """A page that would try again in a minute does so at once."""
    fake.set(begin=[503, "overloaded"], retry_after=60)
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("服务暂时不可用")
    fake.set(begin=None)
    page.evaluate(SAYS, "online")
    wait_for_state(page, "waiting")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_answer_is_never_told_as_being_offline(page: Page, fake: Fake, status: int) -> None:
    """An error of the server got through the network."""
    fake.set(begin=[status, "internal"])
    page.add_init_script(BELIEVES_OFFLINE)
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("服务暂时不可用")
