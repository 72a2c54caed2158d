"""Beginning a scene: the document, the cookie, resuming, limits, and a WeChat that refuses."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from services.ids import is_scene_str
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, early_in_a_day, early_in_a_minute, status

pytestmark = ON_LOOP

CREATE = "/cgi-bin/qrcode/create"
STABLE_TOKEN = "/cgi-bin/stable_token"
NONE_AHEAD = {"codes_ahead": 0}
"""So that each code is made while its page waits."""
EXPECTED = "WeChat refuses|no new access_token|WARNING wechat_"


async def test_the_document_is_that_of_the_contract(tmp_path: Path) -> None:
    """That of docs/contract.md, field by field."""
    async with Stack(tmp_path, login={"poll_interval_seconds": 3}) as stack:
        answer = await stack.http.post("/api/scenes")
        body = answer.json()
        assert answer.status_code == 201 and is_scene_str(body["scene_str"])
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", body["watch_token"])
        path = f"/api/scenes/{body['scene_str']}"
        assert body["qr"].pop("content").startswith("http")
        assert body["qr"].pop("wechat_image").startswith(stack.container.settings.wechat.mp_base)
        assert body == {
            "scene_str": body["scene_str"],
            "watch_token": body["watch_token"],
            "state": "waiting",
            "seq": 1,
            "expires_in": 180,
            "qr": {"expires_in": 150, "svg": f"{path}/qr.svg", "png": f"{path}/qr.png"},
            "ws": f"/ws/{body['scene_str']}",
            "status": path,
            "poll_interval": 3,
        }


@pytest.mark.parametrize(
    ("life", "shown"),
    [(1, 1), (2, 1), (3, 1), (30, 15), (60, 30), (61, 31), (180, 150), (1800, 1770)],
)
async def test_the_code_is_shown_for_less_time_than_it_lives(
    tmp_path: Path, life: int, shown: int
) -> None:
    """max(life - 30, life / 2), at least 1: following takes people half a minute."""
    async with Stack(tmp_path, login={"scene_ttl_seconds": life}) as stack:
        page = await stack.begin()
        assert page.document["expires_in"] == life
        assert page.document["qr"]["expires_in"] == shown


async def test_wechat_is_asked_for_a_temporary_string_code(tmp_path: Path) -> None:
    """QR_STR_SCENE with scanpush's UUID, and at least 60 s even if the scene lives shorter."""
    async with Stack(tmp_path, login={"scene_ttl_seconds": 5}, wechat=NONE_AHEAD) as stack:
        page = await stack.begin()
        code = stack.code_of(page)
        assert (code.scene, code.numeric, code.expire_seconds) == (page.scene_str, False, 60)


async def test_the_ticket_is_percent_encoded_in_the_alternative_picture(tmp_path: Path) -> None:
    """WeChat's own picture can be fetched from its address as given."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        url = page.document["qr"]["wechat_image"]
        assert re.fullmatch(r"[^?]+/cgi-bin/showqrcode\?ticket=[A-Za-z0-9_.~%-]+", url)
        picture = await stack.http.get(url)
        assert picture.status_code == 200 and picture.headers["Content-Type"].startswith("image/")


async def test_the_begin_cookie_is_the_browsers_and_is_kept(tmp_path: Path) -> None:
    """HttpOnly, Lax, for the whole site; sent along it stays; another form is replaced."""
    async with Stack(tmp_path) as stack:
        answer = await stack.http.post("/api/scenes")
        header = answer.headers["Set-Cookie"]
        value = re.match(r"begin=([A-Za-z0-9_-]{43});", header)
        assert value and "HttpOnly" in header and "SameSite=Lax" in header and "Path=/" in header
        assert "Secure" not in header
        again = await stack.http.post("/api/scenes", headers={"Cookie": f"begin={value[1]}"})
        assert f"begin={value[1]};" in again.headers["Set-Cookie"]
        foreign = await stack.http.post("/api/scenes", headers={"Cookie": "begin=fixed"})
        assert "begin=fixed" not in foreign.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "server", [{"trusted_proxies": ["127.0.0.1"]}, {"public_url": "https://login.example.test"}]
)
async def test_on_https_the_begin_cookie_is_secure(tmp_path: Path, server: dict[str, Any]) -> None:
    """By a trusted proxy's word, or by public_url."""
    async with Stack(tmp_path, server=server) as stack:
        answer = await stack.http.post("/api/scenes", headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in answer.headers["Set-Cookie"]


async def test_reloading_the_page_spends_no_quota(tmp_path: Path) -> None:
    """The page kept its scene: socket, polls and pictures call WeChat for nothing."""
    async with Stack(tmp_path, wechat=NONE_AHEAD) as stack:
        page = await stack.begin()
        for _ in range(3):
            async with page.socket() as socket:
                assert (await status(socket))["state"] == "waiting"
            await page.poll()
            await stack.http.get(page.document["qr"]["svg"])
        assert await stack.wechat_calls(CREATE) == 1
        assert await stack.wechat_calls(STABLE_TOKEN) == 1


async def test_many_pages_share_one_access_token(tmp_path: Path) -> None:
    """Fifty at once on a cold server: one call for the token."""
    async with Stack(tmp_path, wechat=NONE_AHEAD) as stack:
        await asyncio.gather(*(stack.begin() for _ in range(50)))
        assert await stack.wechat_calls(STABLE_TOKEN) == 1
        assert await stack.wechat_calls(CREATE) == 50


async def test_exempt_networks_have_no_limit(tmp_path: Path) -> None:
    """An office behind one address."""
    limits = {"scenes_per_minute_per_address": 1, "exempt": ["127.0.0.0/8"]}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits) as stack:
        for _ in range(4):
            await stack.begin()


async def test_ipv6_neighbours_count_together(tmp_path: Path) -> None:
    """One household has a /64."""
    limits = {"scenes_per_minute_per_address": 1}
    server = {"trusted_proxies": ["127.0.0.1"]}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits, server=server) as stack:

        async def begin(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return (await stack.http.post("/api/scenes", headers=headers)).status_code

        assert await begin("2001:db8::1") == 201
        assert await begin("2001:db8::2") == 429
        assert await begin("2001:db8:0:1::1") == 201


async def test_a_reserve_of_the_daily_quota_is_kept(tmp_path: Path) -> None:
    """503 until Beijing's midnight, without calling WeChat; the next day it goes on."""
    limits = {"daily_code_reserve": 99_998}
    async with Stack(tmp_path, early_in_a_day(), limits=limits, wechat=NONE_AHEAD) as stack:
        await stack.begin()
        await stack.begin()
        answer = await stack.http.post("/api/scenes")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "wechat_quota")
        wait = int(answer.headers["Retry-After"])
        assert 1 <= wait <= 86_400 and await stack.wechat_calls(CREATE) == 2
        await stack.advance(wait + 1)
        await stack.begin()


@pytest.mark.parametrize(("errcode", "least", "most"), [(45011, 60, 90), (45009, 91, 86_400)])
async def test_pages_wait_for_as_long_as_the_limit_lasts(
    tmp_path: Path, errcode: int, least: int, most: int, logs: UnexpectedLogs
) -> None:
    """Too often this minute: a minute. The day's codes are used up: until Beijing's midnight. Each
    page a little longer than the one before or after it, so that they do not come back at once."""
    logs.expect(EXPECTED)
    async with Stack(tmp_path, early_in_a_day(), wechat=NONE_AHEAD) as stack:
        await stack.advance(6 * 3600)
        await stack.simulator("faults", path=CREATE, times=0, errcode=errcode)
        waits = []
        for _ in range(20):
            answer = await stack.http.post("/api/scenes")
            assert answer.json()["error"]["code"] == "wechat_quota"
            waits.append(int(answer.headers["Retry-After"]))
        assert all(least <= wait <= most for wait in waits) and len(set(waits)) > 3
        await stack.no_faults()
        await stack.advance(max(waits))
        assert (await stack.http.post("/api/scenes")).status_code == 201


REFUSALS = [
    ({"errcode": 45009}, 503, "wechat_quota"),
    ({"errcode": 45011}, 503, "wechat_quota"),
    ({"errcode": 48001}, 502, "wechat_refused"),
    ({"errcode": 45103}, 502, "wechat_refused"),
    ({"errcode": 99999}, 502, "wechat_refused"),
    ({"errcode": 40164}, 502, "wechat_ip_not_allowed"),
    ({"errcode": 61004}, 502, "wechat_ip_not_allowed"),
    ({"errcode": 40013}, 502, "wechat_credentials"),
    ({"errcode": 40243}, 502, "wechat_credentials"),
    ({"errcode": -1}, 502, "wechat_unavailable"),
    ({"status": 500}, 502, "wechat_unavailable"),
    ({"status": 302}, 502, "wechat_unavailable"),
    ({"drop": True}, 502, "wechat_unavailable"),
    ({"cut": True}, 502, "wechat_unavailable"),
    ({"garbage": True}, 502, "wechat_unavailable"),
    ({"body": "[]"}, 502, "wechat_unavailable"),
    ({"body": '{"ticket":7}'}, 502, "wechat_unavailable"),
    ({"delay": 1.5}, 502, "wechat_unavailable"),
]


@pytest.mark.parametrize(
    ("fault", "http_status", "code"), REFUSALS, ids=lambda v: str(v).replace(" ", "")
)
async def test_each_refusal_of_wechat_has_its_answer(
    tmp_path: Path, fault: dict[str, Any], http_status: int, code: str, logs: UnexpectedLogs
) -> None:
    """The error code of docs/contract.md, no scene left behind, and the next page is served
    again."""
    logs.expect(EXPECTED)
    async with Stack(tmp_path, wechat={"timeout_seconds": 1, **NONE_AHEAD}) as stack:
        await stack.simulator("faults", path=CREATE, times=0, **fault)
        answer = await stack.http.post("/api/scenes")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (http_status, code)
        assert ("Retry-After" in answer.headers) == (http_status == 503)
        scenes = stack.container.backend.database.reader.execute("SELECT count(*) FROM scenes")
        assert scenes.fetchone() == (0,)
        await stack.no_faults()
        assert (await stack.http.post("/api/scenes")).status_code == 201


@pytest.mark.parametrize(
    ("errcode", "code"),
    [
        (40001, "wechat_credentials"),
        (40125, "wechat_credentials"),
        (40013, "wechat_credentials"),
        (40164, "wechat_ip_not_allowed"),
        (-1, "wechat_unavailable"),
        (45009, "wechat_quota"),
    ],
)
async def test_a_refused_access_token_has_its_answer(
    tmp_path: Path, errcode: int, code: str, logs: UnexpectedLogs
) -> None:
    """Wrong secret, foreign address, busy: told apart for the operator, without a loop of calls."""
    logs.expect(EXPECTED)
    async with Stack(tmp_path, wechat=NONE_AHEAD) as stack:
        await stack.simulator("faults", path=STABLE_TOKEN, errcode=errcode, times=0)
        for _ in range(3):
            answer = await stack.http.post("/api/scenes")
            assert answer.json()["error"]["code"] == code
        assert await stack.wechat_calls(STABLE_TOKEN) <= 9
        assert await stack.wechat_calls(CREATE) == 0


@pytest.mark.parametrize("errcode", [40001, 40014, 42001])
async def test_a_dead_access_token_is_replaced_and_the_call_made_once_more(
    tmp_path: Path, errcode: int, logs: UnexpectedLogs
) -> None:
    """The page notices nothing."""
    logs.expect("WeChat refuses")
    async with Stack(tmp_path, wechat=NONE_AHEAD) as stack:
        await stack.begin()
        await stack.simulator("tokens/expire")
        await stack.begin()
        await stack.simulator("faults", path=CREATE, errcode=errcode)
        await stack.begin()


async def test_a_store_that_fails_at_begin_is_503(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """The code is wasted, the page is told to come back."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True, wechat=NONE_AHEAD) as stack:
        for operation in ("create", "count"):
            stack.scenes.refuse(operation)
            answer = await stack.http.post("/api/scenes")
            assert answer.json()["error"]["code"] == "store_unavailable"
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
            stack.scenes.heal()
        await stack.begin()


@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_the_picture_is_public_until_the_scan(tmp_path: Path, kind: str) -> None:
    """No token needed, no-store, 404 once it would only mislead."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        path = page.document["qr"][kind]
        picture = await stack.http.get(path)
        assert picture.status_code == 200 and picture.headers["Cache-Control"] == "no-store"
        assert picture.headers["Content-Type"] == {"svg": "image/svg+xml", "png": "image/png"}[kind]
        assert picture.content.startswith({"svg": b"<svg", "png": b"\x89PNG"}[kind])
        await stack.scan(page)
        assert (await stack.http.get(path)).status_code == 404


@pytest.mark.parametrize("field", ["account", "kind"])
async def test_unknown_accounts_and_kinds_are_told(tmp_path: Path, field: str) -> None:
    """400 with a code of its own, and no quota spent."""
    async with Stack(tmp_path, wechat=NONE_AHEAD) as stack:
        answer = await stack.http.post("/api/scenes", json={field: "nonsense"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, f"unknown_{field}")
        assert await stack.wechat_calls(CREATE) == 0


async def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    """A newer page may send more than this server knows."""
    async with Stack(tmp_path) as stack:
        await stack.begin(colour="green", account=None, lang=None)
