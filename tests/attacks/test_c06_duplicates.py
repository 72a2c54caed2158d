"""C6: WeChat delivers twice, slowly, or after a failure of the server: one login, one reply."""

import asyncio
from pathlib import Path

from services.scenes.states import State
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_four_deliveries_while_the_store_stumbles(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """At once, with a store that fails now and then: one login, the same reply to all."""
    logs.expect("a store fails, the callback waits")
    async with Stack(tmp_path, faulty=True) as stack:
        page, sender = await stack.begin(), stack.sender()
        stack.scenes.lose("advance", times=3)
        stack.users.refuse("login", times=3)
        push = stack.scan_of(page)
        answers = await asyncio.gather(*(sender.send(push) for _ in range(4)))
        assert len({sender.read(answer, "alice").text for answer in answers}) == 1
        document = (await page.poll()).json()
        assert (document["seq"], document["login"]["user"]["is_new"]) == (3, True)


async def test_nothing_is_answered_before_it_is_stored(tmp_path: Path) -> None:
    """A repeat in flight waits for the outcome like the first: never an early `success`."""
    async with Stack(tmp_path, faulty=True) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        stack.users.hold("login")
        answers = [asyncio.ensure_future(sender.send(push)) for _ in range(3)]
        while stack.users.calls["login"] < 3:
            await asyncio.sleep(0.01)
        assert not any(answer.done() for answer in answers)
        stack.users.heal()
        for answer in await asyncio.gather(*answers):
            assert sender.read(answer, "alice").text
        scene = await stack.scene(page)
        assert scene is not None and scene.state is State.AUTHORIZED
