"""C10: events for scenes that are over log no person in."""

from pathlib import Path

import pytest

from services.clock import SystemClock
from services.wechat.replies import text
from simulator.clock import TurnableClock
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


@pytest.mark.parametrize("seconds", [1, 59, 61, 500])
async def test_a_scan_after_expiry(tmp_path: Path, seconds: int) -> None:
    """While it is readable and after it is forgotten: the person is told to refresh."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page, sender = await stack.begin(), stack.sender()
        await stack.advance(180 + seconds)
        reply = sender.read(await sender.send(stack.scan_of(page)), "alice")
        assert reply.text == text("expired", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert "login" not in (await page.poll()).json()


async def test_a_scan_of_the_old_code_after_a_refresh(tmp_path: Path) -> None:
    """The page began another scene and cancelled the old one: the new one is untouched."""
    async with Stack(tmp_path) as stack:
        old, new = await stack.begin(), await stack.begin()
        await old.cancel()
        await stack.scan(old)
        assert await new.state() == "waiting" and await old.state() == "cancelled"


async def test_a_push_that_was_held_back_until_after_the_end(tmp_path: Path) -> None:
    """Sealed in time, delivered late: the store's clock decides."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        await stack.advance(181)
        assert (await sender.send(push)).status_code == 200
        assert await page.state() == "expired"
