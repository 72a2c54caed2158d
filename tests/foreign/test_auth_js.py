"""Auth.js in small sites, of Express and of Next, with the settings that docs/openid.md gives."""

import contextlib
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.programs import free_port
from tests.docs.pages import ROOT, blocks

from .provider import Arrived, Browser, Cluster, Provider, one_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).resolve().parent
BUNDLERS = ROOT / "tests" / "browser" / "bundlers"
SECRET = "a-secret-that-the-app-keeps"

NEXT = {
    "app/layout.jsx": """
        export default function Layout({ children }) {
          return <html lang="en"><body>{children}</body></html>;
        }""",
    "app/page.jsx": """
        import { auth } from "../auth";
        export default async function Page() {
          return <pre>{JSON.stringify((await auth())?.user ?? null)}</pre>;
        }""",
    "app/api/auth/[...nextauth]/route.js": """
        import { handlers } from "../../../../auth";
        export const { GET, POST } = handlers;""",
    "package.json": "{}",
    "next.config.mjs": f"export default {{ turbopack: {{ root: {json.dumps(str(BUNDLERS))} }} }};",
}
"""A site around the two files of the page."""


def documented(file: str) -> str:
    """A file that the page gives."""
    first = f"```js\n// {file}\n"
    (block,) = (one for one in blocks(ROOT / "docs" / "openid.md") if one.startswith(first))
    return block.removeprefix(first).removesuffix("```")


class Site:
    """What listens at `url`, as the one client of a provider."""

    def __init__(self) -> None:
        self.port = free_port()
        # The name that Next gives to itself.
        self.url = f"http://localhost:{self.port}"
        self.clients = {
            "app": {
                "secret": SECRET,
                "redirect_uris": [f"{self.url}/api/auth/callback/wechat"],
                "post_logout_redirect_uris": [f"{self.url}/"],
            }
        }

    @contextlib.contextmanager
    def with_express(self, folder: Path, provider: Provider) -> Iterator[None]:
        node = shutil.which("node")
        if node is None or not (HERE / "node_modules/@auth/express").exists():
            pytest.skip("SKIPPED LOUDLY: node or Auth.js is missing: scripts/test installs it")
        found = re.search(r"NextAuth\((\{.*\})\);", documented("auth.js"), re.DOTALL)
        assert found
        module = folder / "documented.mjs"
        module.write_text(self._here(f"export const settings = {found[1]};", provider))
        command = [node, "auth_js.mjs", str(module), provider.url, str(self.port)]
        with self._running(command, HERE, ready=self.url):
            yield

    @contextlib.contextmanager
    def with_next(self, folder: Path, provider: Provider) -> Iterator[None]:
        next_js = BUNDLERS / "node_modules" / ".bin" / "next"
        if not next_js.exists() or not (BUNDLERS / "node_modules/next-auth").exists():
            pytest.skip(
                "SKIPPED LOUDLY: Next or Auth.js is missing: scripts/test --all installs it"
            )
        files = {name: documented(name) for name in ("auth.js", "app/logout/route.js")}
        for name, text in {**NEXT, **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(text, provider))
        build = subprocess.run(
            [next_js, "build"], cwd=folder, env=self._told(), capture_output=True, text=True
        )
        assert build.returncode == 0, build.stdout + build.stderr
        command = [str(next_js), "start", "--port", str(self.port)]
        with self._running(command, folder, ready="Ready in"):
            yield

    def _here(self, text: str, provider: Provider) -> str:
        text = text.replace("https://login.example.com", provider.url)
        return text.replace("https://app.example.com", self.url)

    def _told(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "AUTH_WECHAT_SECRET": SECRET,
            "AUTH_SECRET": "of these cookies alone, for the length of a test",
            "AUTH_TRUST_HOST": "true",
            "NEXT_TELEMETRY_DISABLED": "1",
        }

    @contextlib.contextmanager
    def _running(self, command: list[str], folder: Path, *, ready: str) -> Iterator[None]:
        with subprocess.Popen(
            command, cwd=folder, env=self._told(), stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert any(ready in line for line in process.stdout)
                yield
            finally:
                process.terminate()

    def log_in(self, browser: Browser) -> dict[str, Any]:
        """Press "Sign in with WeChat"; who the site then says that it is."""
        form = {"csrfToken": self._csrf(browser), "callbackUrl": self.url}
        sent = browser.send("POST", f"{self.url}/api/auth/signin/wechat", data=form)
        back = browser.send("GET", browser.open(sent.headers["Location"]).url)
        assert back.headers["Location"].rstrip("/") == self.url
        user = self.who(browser)
        assert user is not None
        return user

    def sign_out(self, browser: Browser) -> None:
        """Auth.js's own."""
        form = {"csrfToken": self._csrf(browser)}
        browser.send("POST", f"{self.url}/api/auth/signout", data=form)
        assert self.who(browser) is None

    def log_out(self, browser: Browser) -> None:
        """And the provider's, where nothing is asked."""
        sent = browser.send("POST", f"{self.url}/logout", headers={"Origin": self.url})
        assert browser.open(sent.headers["Location"]) == Arrived(f"{self.url}/")
        assert self.who(browser) is None

    def who(self, browser: Browser) -> dict[str, Any] | None:
        """The site's user."""
        found = re.search("<pre>(.*?)</pre>", browser.send("GET", self.url).text)
        assert found
        user: dict[str, Any] | None = json.loads(html.unescape(found[1]))
        return user

    def _csrf(self, browser: Browser) -> str:
        return str(browser.send("GET", f"{self.url}/api/auth/csrf").json()["csrfToken"])


def walk(site: Site, browser: Browser) -> None:
    """The same person is the same user; a scan is needed again after the provider's log-out
    only."""
    user = site.log_in(browser)
    assert re.fullmatch("[0-9a-f]{32}", user["id"]) and user["name"]
    site.sign_out(browser)
    assert site.log_in(browser) == user and browser.scans == 1
    site.log_out(browser)
    assert site.log_in(browser) == user and browser.scans == 2


def test_express(tmp_path: Path) -> None:
    """A login, and both log-outs."""
    site = Site()
    with (
        one_server(tmp_path, site.clients) as provider,
        site.with_express(tmp_path, provider),
        Browser(provider, "alice") as browser,
    ):
        walk(site, browser)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Inside that of the packages, where Next finds them."""
    made = BUNDLERS / "build" / f"auth-{os.getpid()}"
    made.mkdir(parents=True)
    yield made
    shutil.rmtree(made)


def test_next(tmp_path: Path, folder: Path) -> None:
    """The same, with both files of the page as they stand there."""
    site = Site()
    with (
        one_server(tmp_path, site.clients) as provider,
        site.with_next(folder, provider),
        Browser(provider, "alice") as browser,
    ):
        walk(site, browser)


@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
def test_two_nodes_one_of_which_is_killed(tmp_path: Path) -> None:
    """Before each login and each log-out another one."""
    site = Site()
    with (
        Cluster(tmp_path, site.clients) as provider,
        site.with_express(tmp_path, provider),
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
