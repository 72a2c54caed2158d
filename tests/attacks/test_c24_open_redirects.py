"""C24: no browser is redirected from here to a foreign site."""

from pathlib import Path

import pytest

from tests.flows.browsers import Walker
from tests.services.web_login.test_paths import EVIL
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


@pytest.mark.parametrize("route", ["wechat", "website"])
async def test_next_leads_nowhere_else(tmp_path: Path, route: str) -> None:
    """Every trick is 400 before WeChat is asked, and the scene stays as it is."""
    kind = {"wechat": "web", "website": "website"}[route]
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind=kind)
        async with Walker(stack, page) as phone:
            for path in EVIL:
                answer = await phone.start(page, route, next=path)
                assert answer.status_code == 400, path
                assert "Location" not in answer.headers and "evil" not in answer.text
        assert await page.state() == "waiting"


async def test_the_callback_takes_no_address(tmp_path: Path) -> None:
    """What comes back from WeChat's side cannot change where the browser goes on to."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin(kind="web")
        async with Walker(stack, page) as phone:
            back = await phone.to_wechat_and_back(page, next="/members")
            evil = "&next=//evil.test&redirect_uri=https://evil.test&onward=//evil.test"
            landed = await phone.http.get(back + evil)
        assert landed.headers["Location"] == "/members#"


async def test_redirect_uri_is_our_own(tmp_path: Path) -> None:
    """With public_url set, no header and no parameter changes it."""
    server = {"public_url": "https://login.example.test"}
    async with Stack(tmp_path, server=server) as stack:
        page = await stack.begin(kind="web")
        assert page.document["qr"]["content"].startswith("https://login.example.test/oauth/")
        headers = {"Host": "evil.test", "X-Forwarded-Host": "evil.test"}
        query = {"scene": page.scene_str, "redirect_uri": "https://evil.test"}
        answer = await stack.http.get("/oauth/wechat/start", params=query, headers=headers)
        assert "evil" not in answer.headers["Location"]
        assert "redirect_uri=https%3A%2F%2Flogin.example.test%2F" in answer.headers["Location"]
