"""C8: one scene has one owner; a thief without the secret replaces no connection."""

from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.stack import ON_LOOP, Page, Stack, status, until

pytestmark = ON_LOOP


async def test_the_newer_socket_with_the_secret_takes_over(tmp_path: Path) -> None:
    """The older one learns why, and gets nothing any more."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as first, page.socket() as second:
            assert (await status(first))["state"] == "waiting"
            with pytest.raises(ConnectionClosed):
                await first.recv()
            assert first.close_code == 4409
            await stack.scan(page)
            assert "login" in await until(second, "authorized")


async def test_a_socket_without_the_secret_disturbs_no_other(tmp_path: Path) -> None:
    """Refused before the upgrade; the owner's socket stays."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        thief = Page(stack, {**page.document, "watch_token": "x" * 43}, "")
        async with page.socket() as owner:
            for _ in range(3):
                with pytest.raises(InvalidStatus) as refusal:
                    async with thief.socket():
                        pass
                assert refusal.value.response.status_code == 403
            await stack.scan(page)
            assert "login" in await until(owner, "authorized")
