"""Auth.js in a small site, with the settings that docs/openid.md gives."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.programs import free_port
from tests.docs.pages import ROOT, blocks

from .provider import Arrived, Browser, Cluster, Provider, one_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HERE = Path(__file__).resolve().parent
SECRET = "a-secret-that-the-app-keeps"


def documented(issuer: str) -> str:
    """The settings of the page, as a module."""
    (block,) = (block for block in blocks(ROOT / "docs" / "openid.md") if "NextAuth(" in block)
    found = re.search(r"NextAuth\((\{.*\})\);", block, re.DOTALL)
    assert found and "https://login.example.com" in found[1]
    return f"export const settings = {found[1]};".replace("https://login.example.com", issuer)


class Site:
    """What listens at `url`, for the clients `clients` of a provider."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.clients = {
            "app": {
                "secret": SECRET,
                "redirect_uris": [f"{self.url}/api/auth/callback/wechat"],
                "post_logout_redirect_uris": [f"{self.url}/bye"],
            }
        }

    @contextlib.contextmanager
    def running(self, folder: Path, provider: Provider) -> Iterator[None]:
        node = shutil.which("node")
        if node is None or not (HERE / "node_modules/@auth/express").exists():
            pytest.skip("SKIPPED LOUDLY: node or Auth.js is missing: scripts/test installs it")
        module = folder / "documented.mjs"
        module.write_text(documented(provider.url))
        command = [node, "auth_js.mjs", str(module), provider.url, str(self.port)]
        told = {**os.environ, "AUTH_WECHAT_SECRET": SECRET}
        with subprocess.Popen(
            command, cwd=HERE, env=told, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().strip() == self.url
                yield
            finally:
                process.terminate()

    def log_in(self, browser: Browser) -> dict[str, Any]:
        """Press "Sign in with WeChat"; who the site then says that it is."""
        form = {"csrfToken": self._csrf(browser), "callbackUrl": self.url}
        sent = browser.send("POST", f"{self.url}/api/auth/signin/wechat", data=form)
        arrived = browser.open(sent.headers["Location"])
        back = browser.send("GET", arrived.url)
        assert back.headers["Location"] in (self.url, f"{self.url}/"), back.headers["Location"]
        user: dict[str, Any] = browser.send("GET", self.url).json()
        return user

    def sign_out(self, browser: Browser) -> None:
        """Auth.js's own."""
        browser.send(
            "POST", f"{self.url}/api/auth/signout", data={"csrfToken": self._csrf(browser)}
        )
        assert browser.send("GET", self.url).json() is None

    def log_out(self, browser: Browser) -> None:
        """And the provider's."""
        sent = browser.send("GET", f"{self.url}/logout")
        assert browser.open(sent.headers["Location"]) == Arrived(f"{self.url}/bye")
        assert browser.send("GET", self.url).json() is None

    def _csrf(self, browser: Browser) -> str:
        return str(browser.send("GET", f"{self.url}/api/auth/csrf").json()["csrfToken"])


def test_a_login_and_both_log_outs(tmp_path: Path) -> None:
    """The same person is the same user; a scan is needed again after the provider's log-out
    only."""
    site = Site()
    with (
        one_server(tmp_path, site.clients) as provider,
        site.running(tmp_path, provider),
        Browser(provider, "alice") as browser,
    ):
        user = site.log_in(browser)
        assert user["id"] and user["name"]
        site.sign_out(browser)
        assert site.log_in(browser) == user and browser.scans == 1
        site.log_out(browser)
        assert site.log_in(browser) == user and browser.scans == 2


@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
def test_two_nodes_one_of_which_is_killed(tmp_path: Path) -> None:
    """Before each login and each log-out another one."""
    site = Site()
    with (
        Cluster(tmp_path, site.clients) as provider,
        site.running(tmp_path, provider),
        Browser(provider, "bob") as browser,
    ):
        provider.lose_a_node()
        user = site.log_in(browser)
        provider.lose_a_node()
        site.sign_out(browser)
        assert site.log_in(browser) == user and browser.scans == 1
        provider.lose_a_node()
        site.log_out(browser)
        provider.lose_a_node()
        assert site.log_in(browser) == user and browser.scans == 2
