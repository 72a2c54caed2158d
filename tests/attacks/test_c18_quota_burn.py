"""C18: strangers cannot spend the account's codes."""

import asyncio
from pathlib import Path

import httpx

from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, early_in_a_day, early_in_a_minute

pytestmark = ON_LOOP

CREATE = "/cgi-bin/qrcode/create"
SESSION = "/sns/jscode2session"
PICTURE = "/wxa/getwxacodeunlimit"


async def test_a_thousand_opens_of_one_address_spend_thirty_codes(tmp_path: Path) -> None:
    """Each refusal says when to come back; other addresses log in meanwhile."""
    limits = {"scenes_per_minute_per_address": 30}
    server = {"trusted_proxies": ["127.0.0.1"]}
    wechat = {"codes_ahead": 0}
    async with Stack(
        tmp_path, early_in_a_minute(), limits=limits, server=server, wechat=wechat
    ) as stack:

        async def begin(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            answer = await stack.http.post("/api/scenes", headers=headers)
            if answer.status_code == 429:
                assert answer.json()["error"]["code"] == "rate_limited"
                assert 1 <= int(answer.headers["Retry-After"]) <= 120
            return answer.status_code

        for _ in range(20):
            await asyncio.gather(*(begin("192.0.2.1") for _ in range(50)))
        assert await stack.wechat_calls(CREATE) <= 30
        assert await begin("192.0.2.2") == 201


async def test_parallel_opens_do_not_slip_through(tmp_path: Path) -> None:
    """Counted before WeChat is asked, not after."""
    limits = {"scenes_per_minute_per_address": 5}
    wechat = {"codes_ahead": 0}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits, wechat=wechat) as stack:
        opens = [stack.http.post("/api/scenes") for _ in range(50)]
        statuses = [answer.status_code for answer in await asyncio.gather(*opens)]
        assert statuses.count(201) == 5 and await stack.wechat_calls(CREATE) == 5


async def test_an_address_has_only_so_many_mini_program_codes_exchanged_a_minute(
    tmp_path: Path,
) -> None:
    """Twice for each scene it may begin, over all routes of the mini program; others are served."""
    limits = {"scenes_per_minute_per_address": 2, "exempt": ["198.51.100.0/24"]}
    server = {"trusted_proxies": ["127.0.0.1"]}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits, server=server) as stack:
        page = await stack.begin(kind="mini_program")

        async def ask(action: str, address: str, scene: str = page.scene_str) -> httpx.Response:
            return await stack.http.post(
                f"/api/miniprogram/{action}",
                json={"code": "made-up", "scene": scene, "allow": True},
                headers={"X-Forwarded-For": address},
            )

        unknown = [await ask("scan", "192.0.2.1", scene="0" * 32) for _ in range(9)]
        assert {answer.status_code for answer in unknown} == {404}
        actions = ["login", "scan", "confirm", "login", "login", "scan", "confirm"]
        answers = [await ask(action, "192.0.2.1") for action in actions]
        assert [answer.status_code for answer in answers] == [400] * 4 + [429] * 3
        assert answers[-1].json()["error"]["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
        assert await stack.wechat_calls(SESSION) == 4
        for address in ("192.0.2.2", *["198.51.100.7"] * 9):
            assert (await ask("login", address)).status_code == 400
        metrics = (await stack.http.get("/metrics")).text
        assert 'scanpush_rate_limited_total{action="mini_program"} 3.0' in metrics


async def test_pictures_that_wechat_draws_are_limited_by_address(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """A picture that failed is asked for again, but not without end; one that is kept is free."""
    logs.expect("wechat_quota|daily quota")
    limits = {"scenes_per_minute_per_address": 2}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits) as stack:
        good, bad = [await stack.begin(kind="mini_program") for _ in range(2)]
        assert (await stack.http.get(good.document["qr"]["png"])).status_code == 200
        await stack.simulator("faults", path=PICTURE, times=0, errcode=45009)
        answers = [await stack.http.get(bad.document["qr"]["png"]) for _ in range(9)]
        assert [answer.status_code for answer in answers] == [503] * 3 + [429] * 6
        assert await stack.wechat_calls(PICTURE) == 4
        assert (await stack.http.get(good.document["qr"]["png"])).status_code == 200


async def test_bad_requests_spend_nothing(tmp_path: Path) -> None:
    """Neither WeChat's codes nor the day's count."""
    limits = {"scenes_per_minute_per_address": 0, "daily_code_reserve": 99_999}
    async with Stack(tmp_path, early_in_a_day(), limits=limits, wechat={"codes_ahead": 0}) as stack:
        for body in ({"kind": "x"}, {"account": "x"}, {"account": 7}, [1]):
            assert (await stack.http.post("/api/scenes", json=body)).status_code == 400
        assert (await stack.http.post("/api/scenes", json={})).status_code == 201
        assert (await stack.http.post("/api/scenes", json={})).status_code == 503
        assert await stack.wechat_calls(CREATE) == 1
