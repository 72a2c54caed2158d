"""Several Official Accounts on one server: paths, scenes, credentials and tokens apart."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.flows.browsers import Walker
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP

TWO: dict[str, Any] = {"accounts": {"shop": {}, "club": {}}}


def claims(document: dict[str, Any]) -> dict[str, Any]:
    payload = document["login"]["token"].split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "==")))


async def finished(page: Page) -> dict[str, Any]:
    return claims(await page.reaches("authorized"))


async def test_each_account_has_its_path_and_the_token_names_it(tmp_path: Path) -> None:
    """Begun for an account, scanned in its chat."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        for account in ("shop", "club"):
            page = await stack.begin(account=account)
            await stack.scan(page)
            assert (await finished(page))["account"] == account


async def test_the_first_account_is_meant_where_none_is_named(tmp_path: Path) -> None:
    """In the page's request, and on the callback's path."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin()
        await stack.scan(page)
        assert (await finished(page))["account"] == "shop"


async def test_a_scene_of_another_account_is_left_alone(tmp_path: Path) -> None:
    """A genuine event of the club about the shop's scene: 200, and nothing changes."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(account="shop")
        push = stack.scan_of(page, sender=stack.sender("club"))
        answer = await stack.http.post(push.url, content=push.body)
        assert answer.status_code == 200 and await page.state() == "waiting"


async def test_one_accounts_secrets_open_no_other_path(tmp_path: Path) -> None:
    """Sealed with the club's token and key, sent to the shop: 403."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(account="shop")
        push = stack.scan_of(page, sender=stack.sender("club"))
        url = push.url.replace("/wechat/callback/club", "/wechat/callback/shop")
        answer = await stack.http.post(url, content=push.body)
        assert answer.status_code == 403 and await page.state() == "waiting"


async def test_an_unknown_account_is_404(tmp_path: Path) -> None:
    """On the callback's path."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        assert (await stack.http.get("/wechat/callback/nobody")).status_code == 404


async def test_the_web_kind_authorises_the_scenes_own_account(tmp_path: Path) -> None:
    """Its app_id in the link, its name in the token."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(kind="web", account="club")
        async with Walker(stack, page) as phone:
            off = await phone.start(page)
            app_id = stack.container.accounts.named("club").app_id
            assert f"appid={app_id}&" in off.headers["Location"]
            await phone.http.get(await phone.decide_at_wechat(off.headers["Location"]))
        assert (await finished(page))["account"] == "club"


async def test_a_typed_code_works_in_its_own_accounts_chat_only(tmp_path: Path) -> None:
    """The club knows nothing of the shop's codes."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(kind="code", account="shop")
        for name, state in (("club", "waiting"), ("shop", "authorized")):
            app_id = stack.container.accounts.named(name).app_id
            text = page.document["code"]
            await stack.simulator("follow", person="alice", account=app_id)
            await stack.simulator("text", person="alice", text=text, account=app_id)
            assert await page.state() == state
