"""C5: a recorded callback, sent again or with another body."""

from dataclasses import replace
from pathlib import Path

import pytest

from simulator.messages import PushOptions
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

PLAINTEXT = {"accounts": {"default": {"mode": "plaintext"}}}


async def test_a_signed_query_with_another_body_is_refused(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """Plaintext mode does not sign bodies: the first one stays the only one, with an alarm."""
    logs.expect("a signed query came again with another body")
    async with Stack(tmp_path, wechat=PLAINTEXT) as stack:
        first, second, sender = await stack.begin(), await stack.begin(), stack.sender()
        push = stack.scan_of(first)
        assert (await sender.send(push)).status_code == 200
        for old, new in (
            (sender.openid("alice"), sender.openid("mallory")),
            (first.scene_str, second.scene_str),
        ):
            forged = replace(push, body=push.body.replace(old.encode(), new.encode()))
            assert (await sender.send(forged)).status_code == 403
        assert await second.state() == "waiting"


async def test_the_binding_holds_for_harmless_bodies_too(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """The query of a recorded menu click cannot carry a forged scan."""
    logs.expect("a signed query came again with another body")
    async with Stack(tmp_path, wechat=PLAINTEXT) as stack:
        page, sender = await stack.begin(), stack.sender()
        click = sender.sealed(sender.event("CLICK", "alice", stack.now, EventKey="M"), stack.now)
        assert (await sender.send(click)).status_code == 200
        forged = replace(click, body=stack.scan_of(page).body)
        assert (await sender.send(forged)).status_code == 403
        assert await page.state() == "waiting"


async def test_the_very_same_request_again_has_one_effect(tmp_path: Path) -> None:
    """In plaintext mode: the same reply as the first time."""
    async with Stack(tmp_path, wechat=PLAINTEXT) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        replies = {sender.read(await sender.send(push), "alice").text for _ in range(3)}
        assert len(replies) == 1 and (await page.poll()).json()["seq"] == 3


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
@pytest.mark.parametrize("seconds", [605, -605])
async def test_an_old_or_future_timestamp_is_refused(
    tmp_path: Path, mode: str, seconds: int
) -> None:
    """Outside of the window a callback is refused, however well it is signed."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        page = await stack.begin()
        push = stack.scan_of(page, options=PushOptions(stale_seconds=seconds))
        assert (await stack.sender().send(push)).status_code == 403
        assert await page.state() == "waiting"


async def test_inside_the_window_a_slow_push_is_believed(tmp_path: Path) -> None:
    """Clocks differ, and a callback may take a while."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        push = stack.scan_of(page, options=PushOptions(stale_seconds=590))
        assert (await stack.sender().send(push)).status_code == 200
        assert await page.state() == "authorized"
