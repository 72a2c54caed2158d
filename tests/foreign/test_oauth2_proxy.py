"""oauth2-proxy, built by Go, before a page, as docs/openid.md shows it."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, started, until

from .sites import LONG, ONE_SERVER, TWO_NODES, Site, answers, documented, visiting

pytestmark = LONG

PACKAGE = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, or a loud skip."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("SKIPPED LOUDLY: oauth2-proxy needs Go")
    folder = tmp_path_factory.mktemp("bin")

    command, environment = [go, "install", PACKAGE], {**os.environ, "GOBIN": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"SKIPPED LOUDLY: oauth2-proxy cannot be had: {done.stderr[-500:]}")
    return folder / "oauth2-proxy"


class Proxy(Server):
    """The documented command, on loopback and without TLS, before a page that says "Authenticated".

    It refreshes what is a second old.
    """

    def __init__(self, folder: Path, program: Path, site: Site, issuer: str) -> None:
        super().__init__(folder, site.port)
        self._url = site.url
        block = documented("oauth2-proxy", "sh", login=issuer, app=site.url)
        block = block.replace("$(openssl rand -hex 16)", "0123456789abcdef" * 2)
        block = re.sub(r"--upstream=\S+", "--upstream=static://200", block)
        name, *arguments = shlex.split(block.replace("\\\n", " "))
        assert name == "oauth2-proxy" and "$" not in block
        self._command = [
            *(str(program), *arguments),
            f"--http-address=127.0.0.1:{site.port}",
            "--cookie-secure=false",
            "--scope=openid profile offline_access",
            "--cookie-refresh=1s",
        ]

    def command(self) -> list[str]:
        return self._command

    def answers(self) -> bool:
        return answers(f"{self._url}/ping")

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()


@contextlib.contextmanager
def proxy(folder: Path, program: Path, site: Site, issuer: str) -> Iterator[Proxy]:
    folder.mkdir()
    with started(Proxy(folder, program, site, issuer)) as server:
        yield server


@pytest.mark.parametrize("where", (ONE_SERVER, TWO_NODES))
def test_a_page_behind_oauth2_proxy(built: Path, tmp_path: Path, where: str) -> None:
    """Log-in, session, refresh, log-out."""
    site = Site("/oauth2/callback")
    home, start, whoami, out = (
        f"{site.url}{path}"
        for path in ("/", "/oauth2/start?rd=/", "/oauth2/userinfo", "/oauth2/sign_out")
    )
    with (
        visiting(where, tmp_path, proxy=site) as visitor,
        proxy(tmp_path / "program", built, site, visitor.issuer) as server,
    ):
        assert visitor.visit(home).status_code == 403
        assert visitor.visit(start).text == "Authenticated", server.output
        assert visitor.scans == 1
        told = visitor.visit(whoami).json()
        assert told["user"] == told["email"] == told["preferredUsername"]
        visitor.lose()

        def is_refreshed() -> bool:
            assert visitor.visit(home).text == "Authenticated", server.output
            return "Refreshing session" in server.output

        until(is_refreshed, "no refresh")
        visitor.lose()
        assert visitor.visit(whoami).json() == told
        assert "Unable to refresh" not in server.output
        # Signing out here is a log-out there, too: the next visit asks for a scan.
        assert visitor.http.get(out).is_redirect
        assert "error while calling" not in server.output
        assert visitor.visit(home).status_code == 403
        assert visitor.visit(start).text == "Authenticated" and visitor.scans == 2
        # A log-out there reaches the proxy at the next refresh.
        visitor.lose()
        visitor.log_out()
        until(lambda: visitor.visit(home).status_code == 403, "a session outlives its log-out")
