"""The sites of examples/, each from the scan to the log-out, as a browser would ask them."""

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from deploy.programs import free_port
from services.ids import UserId
from services.tokens.claims import Claims
from services.tokens.issuer import Issuer
from services.tokens.keys import KeySet, read_private
from tests.browser.real_server import Real
from tests.examples.sites import COMMANDS, EXAMPLES, Site, each_site

HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]+)"')


def scanned(real: Real, person: str, *, secret: str = "", **wish: str) -> dict[str, Any]:
    """The status of a scene whose code that person scanned; `secret` is a kiosk's."""
    with httpx.Client(base_url=real.url, trust_env=False, timeout=20) as http:
        bearer = {"Authorization": f"Bearer {secret}"} if secret else {}
        page = http.post("/api/scenes", json=wish, headers=bearer).json()
        bearer = {"Authorization": f"Bearer {page['watch_token']}"}
        real.do("scan", person=person, url=page["qr"]["content"])
        deadline = time.monotonic() + 20
        while (status := http.get(page["status"], headers=bearer).json())["state"] != "authorized":
            assert time.monotonic() < deadline, status
    return dict(status)


def signed_token(folder: Path, user: str, *, ends_in: int = 300, **header: str) -> str:
    """A token under the server's own key, also one that it never makes."""
    key = read_private(json.loads((folder / "keys.json").read_text())["keys"][0])
    issuer = Issuer(KeySet(key, (key,)), issuer="scanpush", audience="scanpush")
    issuer._header = issuer._header | header
    now = int(time.time())
    claims = Claims(jti="j", iat=now, exp=now + ends_in, is_new=False)
    return issuer.mint(subject=UserId(user), claims=claims, account="default", amr=["x"])


def post_session(http: httpx.Client, token: str) -> httpx.Response:
    return http.post("/session", headers={"Authorization": f"Bearer {token}"} if token else {})


@each_site
def test_a_person_logs_in_and_out(name: str, real: Real, folder: Path, tmp_path: Path) -> None:
    """With a session of the site's own, which nothing but a valid login token opens."""
    with Site(name, tmp_path, real.url, free_port()) as site:
        with httpx.Client(base_url=site.url, trust_env=False, timeout=20) as http:
            shown = http.get("/").text
            assert "<scan-login>" in shown
            assert f'src="{real.url}/static/scan-login.js"' in shown

            good = signed_token(folder, "u1")
            for refused in (
                "",
                good[:-8] + "AAAAAAAA",
                signed_token(folder, "u1", ends_in=-600),
                signed_token(folder, "u1", typ="at+jwt"),
            ):
                assert post_session(http, refused).status_code == 401
            assert "<scan-login>" in http.get("/").text

            person = scanned(real, "alice")["login"]
            opened = post_session(http, person["token"])
            assert opened.status_code == 204
            assert re.search("httponly", opened.headers["Set-Cookie"], re.IGNORECASE)
            assert re.search("samesite=lax", opened.headers["Set-Cookie"], re.IGNORECASE)
            home = http.get("/")
            assert person["user"]["id"] in home.text and "<scan-login>" not in home.text
            assert "no-store" in home.headers["Cache-Control"]

            kept = dict(http.cookies)
            left = http.post("/logout", data=dict(HIDDEN.findall(home.text)))
            assert (left.status_code, left.headers["Location"]) in [(303, "/"), (302, "/")]
            assert "<scan-login>" in http.get("/").text
        with httpx.Client(base_url=site.url, trust_env=False, cookies=kept) as thief:
            assert "<scan-login>" in thief.get("/").text

        with httpx.Client(base_url=site.url, trust_env=False) as http:
            assert post_session(http, signed_token(folder, "<b>x</b>")).status_code == 204
            assert "&lt;b&gt;x&lt;/b&gt;" in http.get("/").text


def test_each_site_is_short() -> None:
    """Read in two minutes, with a head that says how it is run."""
    for name in COMMANDS:
        (source,) = (
            path for path in (EXAMPLES / name).rglob("*") if path.suffix in (".py", ".go", ".java")
        )
        lines = source.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 150
        assert any("SCANPUSH_URL=http://127.0.0.1:8888" in line for line in lines[:12])
