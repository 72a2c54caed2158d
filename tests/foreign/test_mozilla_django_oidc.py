"""A Django site that logs people in by mozilla-django-oidc, as docs/openid.md shows it."""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, started

from .sites import LONG, ONE_SERVER, TWO_NODES, Site, answers, documented, visiting

pytestmark = LONG

PROGRAM = Path(__file__).with_name("django_site.py")


class Shop(Server):
    """Pages ``/`` for all and ``/members`` for people who are logged in."""

    def __init__(self, folder: Path, site: Site, issuer: str) -> None:
        super().__init__(folder, site.port)
        self._url = site.url
        block = documented("Django", "python", login=issuer)
        # Each file of the site begins with its name.
        _, *parts = re.split(r"(?m)^# (\S+\.py)\n", block)
        names, texts = parts[::2], parts[1::2]
        assert names == ["settings.py", "urls.py", "shop/oidc.py"]
        (folder / "shop").mkdir(parents=True)
        for name, text in zip(names, texts, strict=True):
            (folder / name).write_text(text)

    def command(self) -> list[str]:
        return [sys.executable, str(PROGRAM), str(self.folder), str(self.port)]

    def answers(self) -> bool:
        return answers(f"{self._url}/")


@contextlib.contextmanager
def shop(folder: Path, site: Site, issuer: str) -> Iterator[None]:
    with started(Shop(folder, site, issuer)):
        yield


@pytest.mark.parametrize("where", (ONE_SERVER, TWO_NODES))
def test_a_site_by_mozilla_django_oidc(tmp_path: Path, where: str) -> None:
    """Log-in, session, a second log-in without a scan, log-out."""
    if importlib.util.find_spec("mozilla_django_oidc") is None:
        pytest.skip("SKIPPED LOUDLY: mozilla-django-oidc is missing: scripts/test installs it")
    site = Site("/oidc/callback/", post_logout_redirect_uris="/")
    members = f"{site.url}/members"
    with (
        visiting(where, tmp_path, shop=site) as visitor,
        shop(tmp_path / "site", site, visitor.issuer),
    ):
        person = visitor.visit(members).json()["username"]
        assert visitor.scans == 1
        visitor.lose()
        visitor.visit(f"{site.url}/oidc/authenticate/?next=/members")
        told = visitor.visit(members).json()
        assert told["username"] == person and visitor.scans == 1
        visitor.lose()
        form = {"csrfmiddlewaretoken": told["csrf"]}
        left = visitor.http.post(f"{site.url}/oidc/logout/", data=form)
        assert left.is_redirect, left.text
        assert visitor.visit(left.headers["Location"]).text == "Bye."
        assert visitor.visit(members).json()["username"] == person and visitor.scans == 2
