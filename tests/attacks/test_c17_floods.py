"""C17: oversized, flooding and slow peers are closed by policy, and others notice nothing."""

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.conformance.raw import upgrade
from tests.conftest import UnexpectedLogs
from tests.stack import (
    ON_LOOP,
    WITHIN_SECONDS,
    Stack,
    early_in_a_minute,
    eventually,
    status,
    until,
)

pytestmark = ON_LOOP


async def test_a_message_over_4_kib_closes_with_1009(tmp_path: Path) -> None:
    """In one frame or in several."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        for message in ("x" * 5000, ["x" * 3000, "y" * 3000]):
            async with page.socket() as socket:
                await status(socket)
                await socket.send(message)
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1009
        assert await page.state() == "waiting"


async def test_a_flood_closes_with_4429(tmp_path: Path) -> None:
    """A hundred acks in a moment; the scene is untouched and the page may come back."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            with pytest.raises(ConnectionClosed):
                for _ in range(100):
                    await socket.send('{"type":"ack","seq":1}')
                while True:
                    await socket.recv()
            assert socket.close_code == 4429
        async with page.socket() as socket:
            assert (await status(socket))["state"] == "waiting"


async def test_a_flood_of_pings_closes_with_4429(tmp_path: Path) -> None:
    """Control frames count too."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            with pytest.raises(ConnectionClosed):
                for _ in range(100):
                    await socket.ping()
                while True:
                    await socket.recv()
            assert socket.close_code == 4429


async def test_a_silent_peer_is_dropped(tmp_path: Path) -> None:
    """It answers no ping: two silent intervals end it."""
    async with Stack(tmp_path, push={"ping_seconds": 0.3}) as stack:
        page = await stack.begin()
        async with page.socket(ping_interval=None) as socket:
            await status(socket)
            socket.transport.pause_reading()

            async def dropped() -> bool:
                return stack.container.push.hub.sockets == 0

            await eventually(dropped)
            socket.transport.abort()


async def test_idle_connections_without_a_request_do_not_keep_others_out(tmp_path: Path) -> None:
    """Two hundred open connections that say nothing, and half a request each."""
    async with Stack(tmp_path) as stack:
        idle = []
        for number in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(b"POST /api/scenes HTTP/1.1\r\nHost: x\r\n"[: number % 40])
            idle.append(writer)
        try:
            page = await stack.begin()
            async with page.socket() as socket:
                await stack.scan(page)
                assert "login" in await until(socket, "authorized")
        finally:
            for one in idle:
                one.close()


async def test_forged_pushes_hold_no_descriptor(tmp_path: Path) -> None:
    """Each is refused and its connection closed, though its client would keep it open."""
    async with Stack(tmp_path) as stack:
        push = b"POST /wechat/callback HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n<x>"
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(push)
            async with asyncio.timeout(WITHIN_SECONDS):
                assert b"\r\nConnection: close\r\n" in await reader.read()
            writer.close()
        page = await stack.begin()
        await stack.scan(page)
        assert await page.state() == "authorized"


async def test_the_reserve_is_lent_for_one_answer(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Above the mark: WeChat's push is answered, then closed; a refused upgrade does not linger."""
    logs.expect("the open-file limit is near")
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        target = push.url.partition(f":{stack.port}")[2].encode()
        refused = upgrade(page.scene_str, "x" * 43, Origin=None)
        length = b"Content-Length: %d\r\n\r\n" % len(push.body)
        kept = set(stack.server._http.connections)
        stack.container.push.capacity.descriptors = 0
        for request, expected in (
            (b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + length + push.body, b" 200 "),
            (refused, b" 403 "),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b" 503 "),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(request)
            async with asyncio.timeout(WITHIN_SECONDS):
                answer = await reader.read()
            assert expected in answer[:20] and b"\r\nConnection: close\r\n" in answer
            writer.close()
            assert stack.server._http.connections == kept
        stack.container.push.capacity.descriptors = 1000
        assert await page.state() == "authorized"


async def test_pictures_of_a_pairing_keep_no_code_from_being_drawn(tmp_path: Path) -> None:
    """Without a public_url each Host is another picture. One screen has as many as its address may,
    and a visitor's code is drawn meanwhile."""
    limits = {"scenes_per_minute_per_address": 5}
    server = {"trusted_proxies": ["127.0.0.1"]}
    operator = {"token": "a-token-for-the-operator"}
    async with Stack(
        tmp_path, early_in_a_minute(), limits=limits, server=server, operator=operator
    ) as stack:
        page = await stack.begin()
        stranger = {"X-Forwarded-For": "198.51.100.7"}
        pairing = (await stack.http.post("/api/kiosks/pair", headers=stranger)).json()
        bearer = {**stranger, "Authorization": f"Bearer {pairing['pair_token']}"}
        answers = await asyncio.gather(
            *(
                stack.http.get("/api/kiosks/pair/qr.svg", headers={**bearer, "Host": f"h{n}.test"})
                for n in range(50)
            ),
            stack.http.get(page.document["qr"]["svg"]),
        )
        statuses = [answer.status_code for answer in answers]
        assert statuses.pop() == 200
        assert (statuses.count(200), statuses.count(429)) == (10, 40)


async def test_long_polls_are_capped(tmp_path: Path) -> None:
    """Over the limit: 503 with Retry-After, and the waiting ones go on."""
    async with Stack(tmp_path) as stack:
        stack.container.push.hub._max_waiters = 3
        page = await stack.begin()
        waiting = [asyncio.ensure_future(page.poll(wait=20)) for _ in range(3)]
        while stack.container.push.hub.waiting < 3:
            await asyncio.sleep(0.01)
        answer = await page.poll(wait=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        await stack.scan(page)
        assert {one.status_code for one in await asyncio.gather(*waiting)} == {200}


async def test_one_address_cannot_take_all_places_of_long_polls(tmp_path: Path) -> None:
    """One more is answered at once, then told to slow down; other addresses wait as before."""
    sections = {
        "limits": {"scenes_per_minute_per_address": 1, "exempt": ["198.51.100.0/24"]},
        "server": {"trusted_proxies": ["127.0.0.1"]},
        "login": {"poll_interval_seconds": 3},
    }
    async with Stack(tmp_path, **sections) as stack:
        page = await stack.begin()

        async def poll(address: str, seq: int = 2) -> httpx.Response:
            headers = {**page.bearer, "X-Forwarded-For": address}
            path = f"{page.document['status']}?wait=20&seq={seq}"
            return await stack.http.get(path, headers=headers, timeout=30)

        async def waiting(number: int) -> None:
            async with asyncio.timeout(WITHIN_SECONDS):
                while stack.container.push.hub.waiting != number:
                    await asyncio.sleep(0.01)

        polls = [asyncio.ensure_future(poll("192.0.2.1")) for _ in range(5)]
        await waiting(5)
        assert (await poll("192.0.2.1")).json()["state"] == "waiting"
        refused = await poll("192.0.2.1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "slow_down")
        assert int(refused.headers["Retry-After"]) >= 1
        polls += [asyncio.ensure_future(poll("198.51.100.7")) for _ in range(6)]
        polls += [asyncio.ensure_future(poll("192.0.2.2"))]
        await waiting(12)
        await stack.scan(page)
        assert {poll.json()["seq"] > 2 for poll in await asyncio.gather(*polls)} == {True}
        await waiting(0)
        assert [(await poll("192.0.2.1", seq=1)).status_code for _ in range(9)] == [200] * 9


async def test_a_client_that_leaves_its_long_poll_is_forgotten(tmp_path: Path) -> None:
    """The server does not wait for a client that has gone."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        request = (
            f"GET {page.document['status']}?wait=20 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: {page.bearer['Authorization']}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(request.encode())
        while not stack.container.push.hub.waiting:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()

        async def forgotten() -> bool:
            return stack.container.push.hub.waiting == 0

        await eventually(forgotten)
