"""C26: names that people give themselves arrive inert."""

from pathlib import Path

import pytest

from services.ids import OpenId
from services.people.store import Identity
from tests.flows.browsers import Walker, asks
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

NAMES = [
    "<script>alert(1)</script>",
    "a\u202eb\u2066c",
    "</title><b>",
    "x" * 10_000,
    "\u0000\ud7ff",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
async def test_names_are_json_texts_and_nothing_else(tmp_path: Path, name: str) -> None:
    """In the status and in /api/me: JSON, nosniff, never markup."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        await stack.scan(page)
        identity = Identity(
            stack.container.accounts.named(None).app_id, OpenId(sender.openid("alice"))
        )
        found = await stack.container.backend.users.find(identity)
        assert found is not None
        rename = ("UPDATE users SET name = ? WHERE id = ?", (name, found[0].id))
        await stack.container.backend.database.write(lambda db: db.execute(*rename) and None)
        again = await stack.begin()
        await stack.scan(again)
        poll = await again.poll()
        token = poll.json()["login"]["token"]
        me = await stack.http.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        for answer in (poll, me):
            assert answer.headers["Content-Type"].startswith("application/json")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert me.json()["name"] == name and poll.json()["user"]["name"] == name


async def test_pages_run_no_inline_script(tmp_path: Path) -> None:
    """The policy allows own files only, no framing, no inline code."""
    async with Stack(tmp_path, wechat={"site_name": "<b>Shop</b>\"'"}) as stack:
        answer = await stack.http.get("/")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and answer.headers["X-Frame-Options"] == "DENY"
        assert "<b>Shop" not in answer.text


async def test_a_hostile_user_agent_is_only_a_text(tmp_path: Path) -> None:
    """It is kept for the chat, where it stands as one inert line."""
    async with Stack(tmp_path) as stack:
        headers = {"User-Agent": "<script>\t" + "é" * 5000}
        answer = await stack.http.post(
            "/api/scenes", headers={k: v.encode("latin-1") for k, v in headers.items()}
        )
        assert answer.status_code == 201


NICKNAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw 1 %}",
    "a\u202eb\u2066c\u200fd",
    "x" * 10_000,
    "\u0001\u0007bell\nline",
    "👩‍👩‍👧‍👦 Ünï",
]


@pytest.mark.parametrize("name", NICKNAMES, ids=lambda name: ascii(name)[:20])
async def test_nicknames_stand_inert_on_the_page_that_asks(tmp_path: Path, name: str) -> None:
    """Escaped, one line, short, without direction marks; and the same in the status."""
    accounts = {"default": {"web_scope": "snsapi_userinfo"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        await stack.simulator("people", person="alice", nickname=name, avatar="javascript:x")
        page = await stack.begin(kind="web")
        async with Walker(stack) as phone:
            shown = await phone.walk(page)
            assert asks(shown)
            policy = shown.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            for markup in ("<img", "<script>", "{{", "\u202e", "\u2066", "\u0007", "x" * 65):
                assert markup not in shown.text.replace("{{ 7*7 }}", "")
            await phone.answer(shown, allow=True)
        user = (await page.poll()).json()["user"]
        assert 0 < len(user["name"]) <= 64 and user["name"].replace("\u200d", "").isprintable()
        assert user["avatar"] == ""
