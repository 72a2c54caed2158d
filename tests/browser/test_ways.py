"""How the page stays connected under faults that the real server cannot be made to have.

The faults that people meet (blocked, cut, restarted) are in test_real.py.
"""

import pytest
from playwright.sync_api import Page, expect

from .conftest import Fake, eventually, wait_for_state

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
