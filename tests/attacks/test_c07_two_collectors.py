"""C7: the login is one set of claims, for one browser, until its ack."""

import asyncio
import json
from pathlib import Path

from tests.stack import ON_LOOP, Stack, until

pytestmark = ON_LOOP


async def test_a_hundred_parallel_collects_and_one_ack(tmp_path: Path) -> None:
    """Sockets and polls at once: one jti; after the ack no request gets a token."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            waiting = [asyncio.ensure_future(page.poll(wait=25, seq=2)) for _ in range(60)]
            await stack.scan(page)
            documents = [await until(socket, "authorized")]
            documents += [answer.json() for answer in await asyncio.gather(*waiting)]
            documents += [
                answer.json() for answer in await asyncio.gather(*(page.poll() for _ in range(40)))
            ]
            verify = stack.container.issuer.verify
            claims = {verify(d["login"]["token"], stack.now) for d in documents}
            assert len({(c.jti, c.iat, c.exp) for c in claims}) == 1
            await socket.send(json.dumps({"type": "ack", "seq": documents[0]["seq"]}))
            assert "login" not in await until(socket, "consumed")
        assert "login" not in (await page.poll()).json()
        async with page.socket() as late:
            assert "login" not in await until(late, "consumed")


async def test_acks_at_once_consume_once(tmp_path: Path) -> None:
    """Twenty acks: all answered 204, one change of state."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        answers = await asyncio.gather(*(page.ack(3) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {204}
        assert (await page.poll()).json()["seq"] == 4


async def test_an_ack_and_a_cancel_at_once_leave_one_end(tmp_path: Path) -> None:
    """Whatever comes first wins, and nothing comes after it."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        ack, cancel = await asyncio.gather(page.ack(3), page.cancel())
        assert ack.status_code == 204 and cancel.status_code in (204, 409)
        assert await page.state() == "consumed"
