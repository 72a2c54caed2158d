"""C18: strangers cannot spend the account's codes."""

import asyncio
from pathlib import Path

from tests.stack import ON_LOOP, Stack, early_in_a_minute

pytestmark = ON_LOOP

CREATE = "/cgi-bin/qrcode/create"


async def test_a_thousand_opens_of_one_address_spend_thirty_codes(tmp_path: Path) -> None:
    """Each refusal says when to come back; other addresses log in meanwhile."""
    limits = {"scenes_per_minute_per_address": 30}
    server = {"trusted_proxies": ["127.0.0.1"]}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits, server=server) as stack:

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
    async with Stack(
        tmp_path, early_in_a_minute(), limits={"scenes_per_minute_per_address": 5}
    ) as stack:
        opens = [stack.http.post("/api/scenes") for _ in range(50)]
        statuses = [answer.status_code for answer in await asyncio.gather(*opens)]
        assert statuses.count(201) == 5 and await stack.wechat_calls(CREATE) == 5


async def test_bad_requests_spend_nothing(tmp_path: Path) -> None:
    """Neither WeChat's codes nor the day's count."""
    limits = {"scenes_per_minute_per_address": 0, "daily_code_reserve": 99_999}
    async with Stack(tmp_path, limits=limits) as stack:
        for body in ({"kind": "x"}, {"account": "x"}, {"account": 7}, [1]):
            assert (await stack.http.post("/api/scenes", json=body)).status_code == 400
        assert (await stack.http.post("/api/scenes", json={})).status_code == 201
        assert (await stack.http.post("/api/scenes", json={})).status_code == 503
        assert await stack.wechat_calls(CREATE) == 1
