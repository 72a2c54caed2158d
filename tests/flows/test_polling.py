"""The fallback where sockets are blocked: interval polling and long-polling."""

import asyncio
from pathlib import Path

import pytest

from services.clock import SystemClock
from simulator.clock import TurnableClock
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_a_page_without_sockets_logs_in(tmp_path: Path) -> None:
    """Poll, scan, poll, ack: the same documents as on the socket."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        assert await page.state() == "waiting"
        await stack.scan(page)
        document = (await page.poll()).json()
        assert (document["type"], document["state"]) == ("status", "authorized")
        assert (await page.ack(document["seq"])).status_code == 204
        assert await page.state() == "consumed"


async def test_a_second_ack_is_204_again(tmp_path: Path) -> None:
    """The first answer may have been lost on the way."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        assert [(await page.ack(3)).status_code for _ in range(2)] == [204, 204]


@pytest.mark.parametrize("seq", [0, 1, 2, 4, -3, 10**30])
async def test_an_ack_of_another_seq_is_409(tmp_path: Path, seq: int) -> None:
    """Before and after the right one."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        for _ in range(2):
            answer = await page.ack(seq)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stale_seq")
            await page.ack(3)


async def test_an_ack_of_what_is_not_authorized_is_409(tmp_path: Path) -> None:
    """`waiting` cannot be consumed."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        assert (await page.ack(1)).status_code == 409 and await page.state() == "waiting"


async def test_delete_cancels_and_may_be_repeated(tmp_path: Path) -> None:
    """204, and the socket is told too."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            assert [(await page.cancel()).status_code for _ in range(2)] == [204, 204]
            await socket.wait_closed()
            assert socket.close_code == 1000
        assert await page.state() == "cancelled"


async def test_delete_does_not_take_a_login_away(tmp_path: Path) -> None:
    """Once authorized it is too late, and the login stays collectable."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        assert (await page.cancel()).status_code == 409
        assert await page.state() == "authorized"


async def test_a_long_poll_answers_as_soon_as_there_is_news(tmp_path: Path) -> None:
    """Without `seq` it waits for anything newer than the state at arrival."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        waiting = asyncio.ensure_future(page.poll(wait=25))
        await stack.scan(page)
        assert (await waiting).json()["seq"] > 1


async def test_a_long_poll_with_an_older_seq_answers_at_once(tmp_path: Path) -> None:
    """What happened between two polls is not waited for."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        assert (await page.poll(wait=25, seq=1)).json()["state"] == "authorized"


async def test_a_long_poll_of_an_ended_scene_answers_at_once(tmp_path: Path) -> None:
    """No later state will come."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await page.cancel()
        assert (await page.poll(wait=25)).json()["state"] == "cancelled"


async def test_a_long_poll_without_news_answers_with_the_old_state(tmp_path: Path) -> None:
    """After its time, with 200: the page asks again."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        answer = await page.poll(wait=0.2)
        assert (answer.status_code, answer.json()["state"]) == (200, "waiting")


async def test_a_long_poll_sees_the_scene_expire(tmp_path: Path) -> None:
    """Expiry is news, although no request caused it."""
    async with Stack(tmp_path, login={"scene_ttl_seconds": 1}) as stack:
        page = await stack.begin()
        assert (await page.poll(wait=25)).json()["state"] == "expired"


async def test_a_hundred_collectors_get_one_token(tmp_path: Path) -> None:
    """Long polls and plain polls at once: the same claims for all, and after the ack none."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        waiting = [asyncio.ensure_future(page.poll(wait=25, seq=2)) for _ in range(50)]
        await stack.scan(page)
        answers = [*await asyncio.gather(*waiting), *[await page.poll() for _ in range(50)]]
        verify = stack.container.issuer.verify
        tokens = {answer.json()["login"]["token"] for answer in answers}
        assert len({verify(token, stack.now).jti for token in tokens}) == 1
        await page.ack(3)
        assert "login" not in (await page.poll()).json()


async def test_polling_too_fast_is_slowed_down(tmp_path: Path) -> None:
    """429 with the words of RFC 8628 and Retry-After; long polls and other pages go on."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, login={"poll_interval_seconds": 3}) as stack:
        page, other = await stack.begin(), await stack.begin()
        assert (await page.poll()).status_code == 200
        answer = await page.poll()
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "slow_down")
        assert answer.headers["Retry-After"] == "3"
        assert (await page.poll(wait=0)).status_code == 200
        assert (await other.poll()).status_code == 200
        await stack.advance(3)
        assert (await page.poll()).status_code == 200


async def test_who_keeps_to_the_interval_is_never_slowed_down(tmp_path: Path) -> None:
    """poll_interval is what the begin document said."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, login={"poll_interval_seconds": 5}) as stack:
        page = await stack.begin()
        assert page.document["poll_interval"] == 5
        for _ in range(5):
            assert (await page.poll()).status_code == 200
            await stack.advance(5)


async def test_leaving_ends_long_polls(tmp_path: Path) -> None:
    """A deploy does not wait 25 s for each of them."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        waiting = asyncio.ensure_future(page.poll(wait=25))
        while not stack.container.push.hub.waiting:
            await asyncio.sleep(0.01)
        await stack.server.drain()
        assert (await waiting).status_code == 200


async def test_a_poll_that_has_its_answer_needs_no_store_to_leave(tmp_path: Path) -> None:
    """Detaching is a courtesy: the answer that is known is given all the same."""
    async with Stack(tmp_path, faulty=True) as stack:
        page = await stack.begin()
        stack.scenes.refuse("detach")
        answer = await page.poll(wait=0)
        assert (answer.status_code, answer.json()["state"]) == (200, "waiting")


async def test_a_poll_of_a_failing_store_is_503(tmp_path: Path, logs) -> None:
    """With Retry-After; once the store is back, the state is there."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True) as stack:
        page = await stack.begin()
        stack.scenes.refuse("get", times=1)
        answer = await page.poll()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert await page.state() == "waiting"
