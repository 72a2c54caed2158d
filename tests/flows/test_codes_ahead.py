"""Codes made before their pages come, from the page's side and from WeChat's."""

import asyncio
from pathlib import Path

import pytest

from services.ids import SceneStr
from simulator.codes import Code
from tests.conftest import UnexpectedLogs
from tests.flows.test_measured import samples
from tests.stack import ON_LOOP, Page, Stack, early_in_a_minute, eventually

pytestmark = ON_LOOP

CREATE = "/cgi-bin/qrcode/create"
OUTAGE = "no codes of account default are made ahead now"
KIOSK = {
    "kiosks": {"lobby": {"label": "Lobby", "secret": "a-secret-for-the-lobby"}},
    "operator": {"token": "operator-token-of-the-tests"},
}


async def ready(stack: Stack, codes: int, account: str = "default") -> None:
    """Wait until so many codes of the account are ready."""

    async def are() -> bool:
        return (await samples(stack))[f"scanpush_codes_ahead {account}"] == codes

    await eventually(are)


def waiting_code(stack: Stack) -> Code:
    """A code that WeChat has made and no page has got."""
    return next(iter(stack.simulation._simulated.world.codes._by_id.values()))


async def begin_kiosk(stack: Stack) -> Page:
    headers = {"Authorization": "Bearer a-secret-for-the-lobby"}
    answer = await stack.http.post("/api/scenes", json={"kiosk": "lobby"}, headers=headers)
    assert answer.status_code == 201, answer.text
    return Page(stack, answer.json(), "")


@pytest.mark.parametrize("fault", [{"delay": 30.0}, {"drop": True}, {"errcode": 45011}])
async def test_pages_begin_while_wechat_is_away(
    tmp_path: Path, fault: dict[str, float], logs: UnexpectedLogs
) -> None:
    """Every call to WeChat hangs, breaks or is refused: ready codes are handed out, each with its
    own scene, and a scan of each logs in."""
    logs.expect(OUTAGE)
    async with Stack(tmp_path, wechat={"codes_ahead": 5}) as stack:
        await ready(stack, 5)
        await stack.simulator("faults", path=CREATE, times=0, **fault)
        pages = [await stack.begin(lang="en") for _ in range(5)]
        assert len({page.scene_str for page in pages}) == 5
        await asyncio.gather(*(stack.scan(page, page.scene_str) for page in pages))
        for page in pages:
            await page.reaches("authorized")


async def test_an_empty_stock_answers_as_without_one(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """WeChat's refusal of the page's own code; the next page is served when WeChat is back."""
    logs.expect(f"{OUTAGE}|wechat_unavailable")
    async with Stack(tmp_path, wechat={"codes_ahead": 1}) as stack:
        await ready(stack, 1)
        await stack.simulator("faults", path=CREATE, times=0, drop=True)
        await stack.begin()
        answer = await stack.http.post("/api/scenes")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "wechat_unavailable")
        await stack.no_faults()
        await stack.begin()
        await ready(stack, 1)


async def test_a_code_is_bound_when_it_is_handed_out(tmp_path: Path) -> None:
    """To the page's account, language and browser, not to those of the time it was made."""
    accounts = {"default": {}, "second": {"language": "ja"}}
    wechat = {"accounts": accounts, "codes_ahead": 2}
    async with Stack(tmp_path, wechat=wechat) as stack:
        for account in accounts:
            await ready(stack, 2, account)
        for account, lang in (("default", "en"), ("second", None), ("second", "zh-TW")):
            page = await stack.begin(account=account, lang=lang)
            app_id = stack.container.accounts.named(account).app_id
            scene = await stack.scene(page)
            assert scene is not None and stack.code_of(page).app_id == app_id
            assert (scene.account, scene.lang) == (account, lang or "ja")
        found = await samples(stack)
        assert found["scanpush_codes_ahead_used_total default"] == 1
        assert found["scanpush_codes_ahead_used_total second"] == 2


async def test_kiosks_and_pages_take_from_one_stock(tmp_path: Path) -> None:
    """WeChat honours each code for at least as long as its scene lives."""
    async with Stack(tmp_path, wechat={"codes_ahead": 2}, **KIOSK) as stack:
        await ready(stack, 2)
        for page in (await begin_kiosk(stack), await stack.begin()):
            code = stack.code_of(page)
            assert code.expires_at is not None
            assert code.expires_at >= stack.now + page.document["expires_in"]
        assert (await samples(stack))["scanpush_codes_ahead_used_total default"] == 2


async def test_a_code_that_no_page_got_logs_no_one_in(tmp_path: Path) -> None:
    """Its scan is answered 200 and changes nothing; its scene is unknown to all routes, also when
    a page gets it later."""
    async with Stack(tmp_path, wechat={"codes_ahead": 1}) as stack:
        await ready(stack, 1)
        code = waiting_code(stack)
        url = f"http://weixin.qq.com/q/{code.code_id}"
        scan = await stack.simulator("scan", url=url, person="alice")
        assert scan["outcome"] == "answered"
        path = f"/api/scenes/{code.scene}"
        for token in ("", "x" * 43):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert (await stack.http.get(path, headers=headers)).status_code == 401
        for kind in ("svg", "png"):
            assert (await stack.http.get(f"{path}/qr.{kind}")).status_code == 404
        assert await stack.container.backend.scenes.get(SceneStr(code.scene)) is None
        people = stack.container.backend.database.reader.execute("SELECT count(*) FROM users")
        assert people.fetchone() == (0,)
        page = await stack.begin()
        assert page.scene_str == code.scene and await page.state() == "waiting"
        await stack.scan(page, "bob")
        await page.reaches("authorized")


async def test_a_server_that_leaves_makes_no_more_codes(tmp_path: Path) -> None:
    """A page that still comes gets a ready one, which is not replaced."""
    async with Stack(tmp_path, wechat={"codes_ahead": 2}) as stack:
        await ready(stack, 2)
        stack.container.push.draining = True
        await stack.begin()
        await stack.begin()
        assert await stack.wechat_calls(CREATE) == 2


async def test_a_flood_has_three_codes_made_for_each_page_at_most(tmp_path: Path) -> None:
    """C18: the address's limit bounds what is made ahead as well, and each is counted."""
    limits = {"scenes_per_minute_per_address": 6}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits) as stack:
        opens = [stack.http.post("/api/scenes") for _ in range(50)]
        statuses = [answer.status_code for answer in await asyncio.gather(*opens)]
        assert statuses.count(201) == 6
        found = await samples(stack)
        assert 6 <= await stack.wechat_calls(CREATE) <= 6 + 3 * 6
        assert found["scanpush_codes_ahead_made_total default"] <= 3 * 6 + 6
