"""What the operator's machines ask, and what a page may read of keys and people."""

from pathlib import Path

import pytest

from handlers.assets import STATIC
from services import sqlite
from tests.conftest import UnexpectedLogs
from tests.handlers.answers import check_headers
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_health_needs_nothing_and_readiness_the_stores(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """A failing store takes the node out of rotation, not out of life."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True) as stack:
        for store in (stack.scenes, stack.users):
            store.refuse("ping")
            assert (await stack.http.get("/healthz")).status_code == 200
            answer = await stack.http.get("/readyz")
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                503,
                "store_unavailable",
            )
            store.heal()
            assert (await stack.http.get("/readyz")).json() == {"status": "ready"}


async def test_readiness_does_not_wait_for_ever(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """A store that hangs is a store that is not there."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True) as stack:
        stack.users.hold("ping")
        assert (await stack.http.get("/readyz")).status_code == 503
        stack.users.heal()


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """In Prometheus' text format, every name with scanpush's prefix."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket():
            await stack.scan(page)
            answer = await stack.http.get("/metrics")
            lines = answer.text.splitlines()
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "scanpush_sockets 1.0" in lines
        assert 'scanpush_logins_total{is_new="true"} 1.0' in lines
        assert all(line.startswith(("#", "scanpush_")) for line in lines)
        assert page.scene_str not in answer.text


async def test_keys_are_public_and_cacheable(tmp_path: Path) -> None:
    """Any site may read them, for a while; the private part is not among them."""
    async with Stack(tmp_path) as stack:
        answer = await stack.http.get("/.well-known/jwks.json")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "max-age" in answer.headers["Cache-Control"]
        for key in answer.json()["keys"]:
            assert {"kty", "kid", "alg", "use"} <= set(key) and not {"d", "p", "q", "k"} & set(key)


async def test_me_is_the_person_of_the_token(tmp_path: Path) -> None:
    """Exactly the fields of the contract, never cached."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        login = (await page.poll()).json()["login"]
        bearer = {"Authorization": f"Bearer {login['token']}"}
        answer = await stack.http.get("/api/me", headers=bearer)
        check_headers(answer)
        me = answer.json()
        assert set(me) == {"id", "name", "avatar", "account", "created_at", "last_login_at"}
        assert (me["id"], me["account"]) == (login["user"]["id"], "default")
        lower = {"authorization": f"bearer {login['token']}"}
        assert (await stack.http.get("/api/me", headers=lower)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/login.js", "/static/base.css"])
async def test_pages_and_files_are_served(tmp_path: Path, path: str) -> None:
    """With nosniff, and checked for freshness at each use."""
    async with Stack(tmp_path) as stack:
        answer = await stack.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] in ("no-cache", "no-store")


TEMPLATES = sorted(path.name for path in STATIC.glob("*.html"))
TRICKS = ["{}", "./{}", "examples/../{}", "%6fperator.html", "examples/%2e%2e/{}", "{}?v=1"]


async def test_no_page_is_served_without_its_policy(tmp_path: Path) -> None:
    """Templates are no files, however they are spelt; the examples may not be framed, nor read by
    other sites; whatever else is html by its name is neither."""
    async with Stack(tmp_path) as stack:
        for name in TEMPLATES:
            for trick in TRICKS:
                answer = await stack.http.get(f"/static/{trick.format(name)}")
                assert answer.status_code == 404, answer.url
        for path in STATIC.rglob("*/*.html"):
            answer = await stack.http.get(f"/static/{path.relative_to(STATIC)}")
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_full_disk_is_not_ready_and_is_logged_once(
    tmp_path: Path, logs: UnexpectedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a minute, however often the balancer asks; with room again the node is ready."""
    logs.expect("store_unavailable: SQLite: the disk is full")
    async with Stack(tmp_path) as stack:
        with monkeypatch.context() as full:
            full.setattr(sqlite, "FREE_BYTES", 1 << 80)
            for _ in range(5):
                answer = await stack.http.get("/readyz")
                assert (answer.status_code, answer.json()["error"]["code"]) == (
                    503,
                    "store_unavailable",
                )
        assert len(logs.lines) == 1
        assert (await stack.http.get("/readyz")).status_code == 200


async def test_every_answer_has_an_id_of_its_own(tmp_path: Path) -> None:
    """A client's own is not taken over: it could forge lines."""
    async with Stack(tmp_path) as stack:
        headers = {"X-Request-Id": "mine"}
        ids = [(await stack.http.get("/healthz", headers=headers)).headers["X-Request-Id"]
               for _ in range(5)]  # fmt: skip
        assert len(set(ids)) == 5 and "mine" not in ids
