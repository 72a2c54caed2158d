"""What a page's socket sees and may say: ack, cancel, replacement, expiry, the server's leaving."""

import asyncio
import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.clock import SystemClock
from simulator.clock import TurnableClock
from tests.stack import ON_LOOP, Page, Stack, eventually, status, until

pytestmark = ON_LOOP


async def closed(socket) -> int:
    """The code of the close that comes next."""
    with pytest.raises(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def refused(page: Page, **options) -> int:
    """The HTTP status of an upgrade that is not allowed."""
    with pytest.raises(InvalidStatus) as refusal:
        async with page.socket(**options):
            pass
    return refusal.value.response.status_code


async def test_only_our_subprotocol_is_echoed(tmp_path: Path) -> None:
    """The other one holds the watch token, which must not come back in a header."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            assert socket.subprotocol == "scanpush.v1"
            assert "Sec-WebSocket-Extensions" not in socket.response.headers


async def test_an_ack_of_another_seq_is_ignored(tmp_path: Path) -> None:
    """The socket stays, the login too; the right seq then ends it."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await stack.scan(page)
            seq = (await until(socket, "authorized"))["seq"]
            for wrong in (seq - 1, seq + 1, 1, 2**40):
                await socket.send(json.dumps({"type": "ack", "seq": wrong}))
            assert await page.state() == "authorized"
            await socket.send(json.dumps({"type": "ack", "seq": seq}))
            assert (await until(socket, "consumed"))["seq"] == seq + 1
            assert await closed(socket) == 1000


async def test_an_ack_before_any_login_is_ignored(tmp_path: Path) -> None:
    """The page may acknowledge whatever it sees."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            await socket.send('{"type":"ack","seq":1}')
            await stack.scan(page)
            assert (await until(socket, "authorized"))["seq"] == 3


async def test_cancel_ends_the_scene(tmp_path: Path) -> None:
    """The page sees `cancelled`, then 1000."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            await socket.send('{"type":"cancel"}')
            assert (await until(socket, "cancelled"))["seq"] == 2
            assert await closed(socket) == 1000


async def test_cancel_after_the_login_came_is_too_late(tmp_path: Path) -> None:
    """The login is collectable; the socket stays open for its ack."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await stack.scan(page)
            await until(socket, "authorized")
            await socket.send('{"type":"cancel"}')
            await socket.send('{"type":"ack","seq":3}')
            assert (await until(socket, "consumed"))["seq"] == 4


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "[]",
        "null",
        "{}",
        '{"type":"nonsense"}',
        '{"type":"ack"}',
        '{"type":"ack","seq":"3"}',
        '{"type":"ack","seq":true}',
        '{"type":"ack","seq":3.0}',
        '{"type":["cancel"]}',
        b"\x00\x01",
    ],
    ids=repr,
)
async def test_anything_else_closes_with_4400(tmp_path: Path, message: str | bytes) -> None:
    """And the scene is untouched."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            await socket.send(message)
            assert await closed(socket) == 4400
        assert await page.state() == "waiting"


async def test_a_newer_socket_replaces_the_older(tmp_path: Path) -> None:
    """4409 for the older, the events for the newer."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as older, page.socket() as newer:
            assert await closed(older) == 4409
            await stack.scan(page)
            await until(newer, "authorized")


async def test_polls_do_not_replace_a_socket(tmp_path: Path) -> None:
    """Interval polls and long polls look on, no more."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            waiting = asyncio.ensure_future(page.poll(wait=20))
            await page.poll()
            await stack.scan(page)
            await until(socket, "authorized")
            assert (await waiting).json()["seq"] >= 2


async def test_expiry_comes_by_itself(tmp_path: Path) -> None:
    """Without any request: the page is pushed `expired` and closed with 4408."""
    async with Stack(tmp_path, login={"scene_ttl_seconds": 1}) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            document = await until(socket, "expired")
            assert (document["seq"], document["expires_in"]) == (2, 0)
            assert await closed(socket) == 4408


async def test_an_uncollected_login_expires_too(tmp_path: Path) -> None:
    """Without an ack: after its time the token is no longer given out."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        await stack.scan(page)
        async with page.socket() as socket:
            assert "login" in await status(socket)
            await stack.advance(61)
            assert "login" not in await until(socket, "expired")
            assert await closed(socket) == 4408


async def test_a_scan_just_before_the_end_has_time_to_finish(tmp_path: Path) -> None:
    """`scanned` lives at least 30 s more, so the login is not lost to the clock."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        await stack.advance(179)
        await stack.scan(page)
        assert (await page.poll()).json()["expires_in"] > 50


@pytest.mark.parametrize("end", ["consumed", "cancelled", "expired"])
async def test_a_socket_after_the_end_is_told_and_closed(tmp_path: Path, end: str) -> None:
    """For 60 s the final state is there for a page that comes late."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        if end == "consumed":
            await stack.scan(page)
            await page.ack(3)
        elif end == "cancelled":
            await page.cancel()
        else:
            await stack.advance(181)
        async with page.socket() as socket:
            assert (await status(socket))["state"] == end
            assert await closed(socket) == (4408 if end == "expired" else 1000)


async def test_after_another_minute_the_scene_is_unknown(tmp_path: Path) -> None:
    """The upgrade is refused as for any stranger."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        page = await stack.begin()
        await stack.advance(181 + 61)
        assert await refused(page) == 403
        assert (await page.poll()).status_code == 401


async def test_leaving_says_1001_and_a_new_server_resumes(tmp_path: Path) -> None:
    """A deploy: the page is sent away, comes back to the new process, and is logged in there."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            await stack.server.drain()
            assert await closed(socket) == 1001
    async with Stack(tmp_path) as successor:
        page.move_to(successor)
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"
            await successor.sender().send(successor.scan_of(page))
            assert "login" in await until(socket, "authorized")


async def test_reconnecting_gets_what_was_missed(tmp_path: Path) -> None:
    """The connection broke before the scan: the new socket begins with the login."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            socket.transport.abort()
        await stack.scan(page)
        async with page.socket() as socket:
            first = await status(socket)
            socket.transport.abort()
        async with page.socket() as socket:
            again = await status(socket)
        verify = stack.container.issuer.verify
        tokens = [verify(d["login"]["token"], stack.now) for d in (first, again)]
        assert tokens[0].jti == tokens[1].jti and first["seq"] == again["seq"]


async def test_sockets_per_address_are_limited(tmp_path: Path) -> None:
    """429 for the one too many; room again once one has left."""
    async with Stack(tmp_path, limits={"sockets_per_address": 2}) as stack:
        pages = [await stack.begin() for _ in range(3)]
        async with pages[0].socket():
            async with pages[1].socket():
                assert await refused(pages[2]) == 429

            async def has_room() -> bool:
                try:
                    async with pages[2].socket():
                        return True
                except InvalidStatus:
                    return False

            await eventually(has_room)


async def test_a_store_that_fails_at_the_upgrade_is_503(tmp_path: Path) -> None:
    """With Retry-After; the page tries again and gets in."""
    async with Stack(tmp_path, faulty=True) as stack:
        page = await stack.begin()
        stack.scenes.refuse("attach", times=1)
        with pytest.raises(InvalidStatus) as refusal:
            async with page.socket():
                pass
        answer = refusal.value.response
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert json.loads(answer.body)["error"]["code"] == "store_unavailable"
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"


async def test_a_push_waits_for_a_store_that_fails_to_be_read(tmp_path: Path) -> None:
    """The notice came, the reading failed: it is tried again until the page has its login."""
    async with Stack(tmp_path, faulty=True) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            stack.scenes.refuse("get", times=3)
            await stack.scan(page)
            assert "login" in await until(socket, "authorized")


async def test_an_ack_waits_for_a_store_that_fails(tmp_path: Path) -> None:
    """Tried again; the close comes only once it is stored."""
    async with Stack(tmp_path, faulty=True) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await stack.scan(page)
            await until(socket, "authorized")
            stack.scenes.refuse("advance", times=2)
            await socket.send('{"type":"ack","seq":3}')
            await until(socket, "consumed")
            assert await closed(socket) == 1000
