"""Debian's Apache with libapache2-mod-auth-openidc before a page, as docs/openid.md shows it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import Server, need, started, until

from .sites import LONG, ONE_SERVER, TWO_NODES, Site, answers, documented, visiting

pytestmark = LONG

MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authn_core", "authz_core", "authz_user", "dir", "headers")
INSIDE = "What only members read."


class Apache(Server):
    """It serves ``/`` to people who are logged in, and ``/bye`` to all."""

    def __init__(self, folder: Path, site: Site, issuer: str) -> None:
        super().__init__(folder, site.port)
        self._program = need("apache2", hint="scripts/test --all installs it")
        if not (MODULES / "mod_auth_openidc.so").exists():
            pytest.skip("SKIPPED LOUDLY: needs libapache2-mod-auth-openidc")
        self.url = site.url
        (folder / "site").mkdir()
        (folder / "site" / "index.html").write_text(INSIDE)
        (folder / "site" / "bye").write_text("Bye.")
        names = (*LOADED, "auth_openidc")
        loads = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names)
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        block = documented("mod_auth_openidc", "apache", login=issuer, wiki=self.url)
        (folder / "apache.conf").write_text(
            f"ServerName localhost\nListen 127.0.0.1:{site.port}\n{loads}{user}"
            f"ServerRoot {folder}\n"
            f"DefaultRuntimeDir {folder}\nPidFile {folder}/pid\nErrorLog {folder}/errors.log\n"
            f"DocumentRoot {folder}/site\nDirectoryIndex index.html\n"
            f"StartServers 1\n{block}\n"
            'Header always set X-Remote-User "expr=%{REMOTE_USER}"\n'
            'OIDCScope "openid profile offline_access"\n'
            "OIDCInfoHook access_token id_token userinfo session\n"
        )

    def command(self) -> list[str]:
        return [self._program, "-f", str(self.folder / "apache.conf"), "-D", "FOREGROUND"]

    def answers(self) -> bool:
        return answers(f"{self.url}/bye")


@contextlib.contextmanager
def apache(site: Site, issuer: str) -> Iterator[None]:
    # Not in pytest's folder, which only its user may read.
    with tempfile.TemporaryDirectory(prefix="scanpush-apache-") as folder:
        os.chmod(folder, 0o755)
        with started(Apache(Path(folder), site, issuer)):
            yield


@pytest.mark.parametrize("where", (ONE_SERVER, TWO_NODES))
def test_a_page_behind_apache(tmp_path: Path, where: str) -> None:
    """Log-in, session, refresh, log-out, and a log-out by the back channel."""
    site = Site(
        "/oidc/callback",
        post_logout_redirect_uris="/bye",
        backchannel_logout_uri="/oidc/callback?logout=backchannel",
    )
    home, bye = f"{site.url}/", f"{site.url}/bye"
    hook = httpx.URL(f"{site.url}/oidc/callback")
    info = str(hook.copy_with(params={"info": "json"}))
    with visiting(where, tmp_path, wiki=site) as visitor, apache(site, visitor.issuer):
        page = visitor.visit(home)
        assert page.text == INSIDE and visitor.scans == 1
        told = visitor.visit(info).json()
        sub = told["userinfo"]["sub"]
        assert page.headers["X-Remote-User"] == sub == told["id_token"]["sub"]
        # The module's own session goes on without the provider.
        visitor.lose()
        assert visitor.visit(home).text == INSIDE and visitor.scans == 1
        refresh = {"refresh": home, "access_token": told["access_token"]}
        page = visitor.visit(str(hook.copy_with(params=refresh)))
        assert page.text == INSIDE, str(page.url)
        renewed = visitor.visit(info).json()
        assert renewed["access_token"] != told["access_token"]
        assert renewed["userinfo"]["sub"] == sub
        visitor.lose()
        page = visitor.visit(str(hook.copy_with(params={"logout": bye})))
        assert page.text == "Bye." and visitor.scans == 1, page.text
        bearer = {"Authorization": f"Bearer {renewed['access_token']}"}
        asked = visitor.send("GET", f"{visitor.issuer}/oauth/userinfo", headers=bearer)
        assert asked.status_code == 401
        # The next visit asks for a scan.
        assert visitor.visit(home).text == INSIDE and visitor.scans == 2
        visitor.lose()
        visitor.log_out()
        until(lambda: visitor.is_sent_away(home), "Apache is not told of the log-out")
