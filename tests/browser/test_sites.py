"""The sites of examples/ in a browser: a scan opens a session there, a button ends it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deploy.programs import free_port
from tests.examples.sites import COMMANDS, Site

from .conftest import view, wait_for_state
from .real_server import Real

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=COMMANDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Real]]:
    """The site, and the scanpush that knows its origin."""
    port = free_port()
    with Real(tmp_path, server={"allowed_origins": [f"http://127.0.0.1:{port}"]}) as real:
        with Site(request.param, tmp_path, real.url, port) as running:
            yield running, real


def test_a_scan_opens_a_session_of_the_site(page: Page, site: tuple[Site, Real]) -> None:
    """From another origin, without a complaint; it survives a reload and ends with the log-out."""
    running, real = site
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(running.url)
    wait_for_state(page, "waiting")
    real.do("scan", person="eve", url=view(page)["qr"]["content"])
    # A site in Java compiles as it answers for the first time.
    expect(page.get_by_text("Hello, ")).to_be_visible(timeout=60_000)
    page.reload()
    expect(page.get_by_text("Hello, ")).to_be_visible()
    (cookie,) = (c for c in page.context.cookies(running.url) if c["httpOnly"])
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("scan-login:defined")).to_be_attached()
    wait_for_state(page, "waiting")
    assert complaints == []
