"""A Spring Boot site that logs people in by Spring Security, as docs/openid.md shows it."""

import contextlib
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, started, until

from .sites import LONG, ONE_SERVER, TWO_NODES, Site, answers, documented, visiting

pytestmark = LONG

SOURCES = Path(__file__).with_name("spring")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts the site, or a loud skip."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None or shutil.which("javac") is None:
        pytest.skip("SKIPPED LOUDLY: Spring Security needs Java 17 and Maven")
    source = (SOURCES / "src/main/java/shop/Shop.java").read_text()
    assert textwrap.indent(documented("Spring Security", "java"), "  ") in source
    folder = tmp_path_factory.mktemp("spring") / "shop"
    shutil.copytree(SOURCES, folder)
    done = subprocess.run(
        [maven, "-q", "-B", "package"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return [java, "-jar", str(folder / "target" / "shop-1.jar")]


class Shop(Server):
    """A page ``/`` for people who are logged in, and ``/bye`` for all."""

    starts_within_seconds = 120

    def __init__(self, folder: Path, program: list[str], site: Site, issuer: str) -> None:
        super().__init__(folder, site.port)
        self._program = program
        self._url = site.url
        block = documented("Spring Security", "yaml", login=issuer)
        scopes = "scope: [openid, profile]"
        assert scopes in block
        block = block.replace(scopes, "scope: [openid, profile, offline_access]")
        (folder / "application.yaml").write_text(block)

    def command(self) -> list[str]:
        return [*self._program, f"--server.port={self.port}", "--server.address=127.0.0.1"]

    def answers(self) -> bool:
        return answers(f"{self._url}/bye")


@contextlib.contextmanager
def shop(folder: Path, program: list[str], site: Site, issuer: str) -> Iterator[None]:
    folder.mkdir()
    with started(Shop(folder, program, site, issuer)):
        yield


@pytest.mark.parametrize("where", (ONE_SERVER, TWO_NODES))
def test_a_site_by_spring_security(built: list[str], tmp_path: Path, where: str) -> None:
    """Log-in, session, refresh, log-out, and a log-out by the back channel."""
    site = Site(
        "/login/oauth2/code/wechat",
        post_logout_redirect_uris="/bye",
        backchannel_logout_uri="/logout/connect/back-channel/wechat",
    )
    home = f"{site.url}/"
    with (
        visiting(where, tmp_path, shop=site) as visitor,
        shop(tmp_path / "site", built, site, visitor.issuer),
    ):
        first = visitor.visit(home).json()
        assert first["sub"] == first["name"] and visitor.scans == 1
        visitor.lose()
        told = visitor.visit(home).json()
        assert told["sub"] == first["sub"] and told["access_token"] != first["access_token"]
        visitor.lose()
        left = visitor.http.post(f"{site.url}/logout", data={"_csrf": told["csrf"]})
        assert left.is_redirect, left.text
        assert visitor.visit(left.headers["Location"]).text == "Bye."
        assert visitor.visit(home).json()["sub"] == first["sub"] and visitor.scans == 2
        visitor.lose()
        visitor.log_out()
        # A refresh that fails would be answered otherwise.
        begins = f"{site.url}/oauth2/authorization/wechat"
        until(
            lambda: visitor.http.get(home).headers.get("Location") == begins,
            "Spring is not told of the log-out",
        )
        visitor.visit(home)
        assert visitor.scans == 3
