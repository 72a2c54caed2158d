"""C9: the first person who scans owns the scene; no other takes it over."""

from pathlib import Path

from services.wechat.replies import text
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_a_second_person_changes_nothing_even_in_the_middle(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """While the first login hangs, a second person scans: refused; the first one finishes."""
    logs.expect("a store fails, the callback waits")
    logs.expect("500 POST /wechat/callback")
    wechat = {"callback_deadline_seconds": 0.3}
    async with Stack(tmp_path, faulty=True, wechat=wechat) as stack:
        page, sender = await stack.begin(), stack.sender()
        first = stack.scan_of(page, "alice")
        stack.users.refuse("login")
        assert (await sender.send(first)).status_code == 500
        stack.users.heal()
        reply = sender.read(await sender.send(stack.scan_of(page, "bob")), "bob")
        assert reply.text == text("already_used", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert (await sender.send(first)).status_code == 200
        scene = await stack.scene(page)
        assert scene is not None and scene.openid == sender.openid("alice")
