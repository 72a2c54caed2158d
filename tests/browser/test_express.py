"""examples/express: a site in a process of its own, with its own session for a person who scans."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy.programs import free_port

from .conftest import ROOT, view
from .real_server import Real

pytestmark = pytest.mark.browser
SAMPLE = ROOT / "examples" / "express"


@pytest.fixture(scope="module")
def express(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Real]]:
    """The sample's address, and the scanpush that it trusts."""
    node = shutil.which("node")
    if node is None or not (SAMPLE / "node_modules").exists():
        pytest.skip("node or Express is not installed: npm install in examples/express")
    port = free_port()
    origin = f"http://localhost:{port}"
    folder: Path = tmp_path_factory.mktemp("trusted")
    with Real(folder, server={"allowed_origins": [origin]}) as real:
        told = {**os.environ, "SCANPUSH_URL": real.url, "PORT": str(port)}
        with subprocess.Popen(
            [node, "server.js"], cwd=SAMPLE, env=told, stdout=subprocess.PIPE, text=True
        ) as site:
            assert site.stdout is not None
            assert site.stdout.readline().strip() == origin
            yield origin, real
            site.terminate()


def test_a_scan_opens_a_session_of_the_site(page: Page, express: tuple[str, Real]) -> None:
    """It survives a reload, with a cookie that no script reads, and ends with the log-out."""
    origin, real = express
    page.goto(origin)
    page.locator("scan-login svg[part=qr]").wait_for()
    real.do("scan", person="eve", url=view(page)["qr"]["content"])
    expect(page.locator("#who")).to_contain_text("Logged in: ")
    (cookie,) = page.context.cookies(origin)
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("session", True, "Lax")
    who = page.locator("#who").inner_text()
    page.reload()
    expect(page.locator("#who")).to_have_text(who)
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()
    assert httpx.get(f"{origin}/me", cookies={"session": cookie["value"]}).status_code == 401


@pytest.mark.parametrize(
    "header", [None, "Basic eDp5", "Bearer x.y.z", "Bearer eyJhbGciOiJub25lIn0.e30."]
)
def test_what_is_no_login_opens_no_session(express: tuple[str, Real], header: str | None) -> None:
    """401, and no cookie."""
    origin, _ = express
    answer = httpx.post(f"{origin}/session", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers
