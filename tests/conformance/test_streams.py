"""What TCP does to a socket: early bytes, half-closed and vanished peers, full buffers, reuse."""

import asyncio
import os
import socket
import struct

import pytest

from services.push.close_codes import Ending
from services.scenes.states import State
from tests.conformance.raw import ACK, CLOSE, PING, PONG, TEXT, Raw, close, frame, upgrade
from tests.services.push.kit import Node, eventually

pytestmark = pytest.mark.usefixtures("accepting")


@pytest.mark.gen_test
async def test_early_bytes():
    """Frames in the same packet as the upgrade are not lost."""
    async with Node() as node:
        scene_str = node.scenes.begin(State.AUTHORIZED)
        client = await Raw.open(node, scene_str, early=frame(PING, b"early") + frame(TEXT, ACK))
        answers = [await client.read() for _ in range(3)]
        assert (PONG, b"early") in [(answer.opcode, answer.payload) for answer in answers]
        assert node.scenes.acked == [1]
        client.leave()


@pytest.mark.gen_test
async def test_early_part_of_a_frame():
    """A frame of which only a part came with the upgrade is completed by what follows."""
    async with Node() as node:
        whole = frame(TEXT, ACK)
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED), early=whole[:1])
        await asyncio.sleep(0.01)
        client.send(whole[1:])
        assert await client.closing() == 1000
        client.leave()


@pytest.mark.gen_test
async def test_early_close():
    """A peer that upgrades and leaves in one packet gets its status and its answer."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(), early=close(1000))
        assert await client.closing() == 1000
        await client.eof()
        await eventually(lambda: node.sockets == 0)


@pytest.mark.gen_test
async def test_end_of_stream_without_close():
    """A peer that half-closes without a close frame is gone."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.writer.write_eof()
        await client.eof()
        assert node.counters.endings == [Ending.GONE]
        await eventually(lambda: not node.scenes.attached)


@pytest.mark.gen_test
async def test_half_close_behind_an_ack():
    """What a peer sent before it half-closed is carried out."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        node.scenes.gate.clear()
        client.send(frame(TEXT, ACK) + close(1000))
        client.writer.write_eof()
        await eventually(lambda: "ack" in node.scenes.calls)
        node.scenes.gate.set()
        assert await client.closing() == 1000
        assert node.scenes.acked == [1]
        client.leave()


@pytest.mark.gen_test
async def test_half_frame_then_gone():
    """A peer that vanishes within a frame leaves nothing behind."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(frame(TEXT, ACK)[:7])
        await asyncio.sleep(0.01)
        client.leave()
        await eventually(lambda: node.sockets == 0)


@pytest.mark.gen_test
async def test_reset_while_a_message_is_at_work():
    """A connection reset while its ack is being stored ends quietly, the ack stored."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        node.scenes.gate.clear()
        client.send(frame(TEXT, ACK))
        await eventually(lambda: "ack" in node.scenes.calls)
        _reset(client)
        await asyncio.sleep(0.02)
        node.scenes.gate.set()
        await eventually(lambda: node.sockets == 0)
        assert node.scenes.acked == [1]


def _reset(client: Raw) -> None:
    """Leave with an RST."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.leave()


@pytest.mark.gen_test
async def test_frame_that_never_ends():
    """A peer that never sends the rest of a frame is closed after a while."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(frame(TEXT, ACK)[:7])
        await eventually(lambda: bool(node.push.parking.active))
        node.clock.ahead = 11
        assert await client.closing() == 4413
        client.leave()


@pytest.mark.gen_test
async def test_close_that_is_never_answered():
    """A peer that ignores the server's close frame is dropped after the deadline."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.DENIED))
        assert (await client.read()).opcode == CLOSE
        assert node.sockets == 1
        node.clock.ahead = 5
        await eventually(lambda: node.sockets == 0)
        client.leave()


@pytest.mark.gen_test
async def test_peer_that_goes_on_sending():
    """After 1009 the peer gets the close frame although it is still sending."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(frame(TEXT, b" " * 300_000))
        assert await client.closing() == 1009
        client.leave()
        await eventually(lambda: node.sockets == 0)


@pytest.mark.gen_test
async def test_peer_that_does_not_read():
    """When a status does not fit any more: memory stays flat, the hub lets go, 4413."""
    async with Node(send_buffer=2048) as node:
        scene_str = node.scenes.begin()
        client = await Raw.open(node, scene_str, receive_buffer=2048)
        client.writer.transport.pause_reading()
        await _fill(node, scene_str)
        assert node.counters.endings == [Ending.SLOW]
        client.writer.transport.resume_reading()
        assert await client.closing() == 4413
        client.leave()


@pytest.mark.gen_test
async def test_peer_that_never_reads_again():
    """A slow peer that does not catch up is dropped after the deadline."""
    async with Node(send_buffer=2048) as node:
        scene_str = node.scenes.begin()
        client = await Raw.open(node, scene_str, receive_buffer=2048)
        client.writer.transport.pause_reading()
        await _fill(node, scene_str)
        node.clock.ahead = 5
        await eventually(lambda: node.sockets == 0)
        client.leave()


async def _fill(node: Node, scene_str: str) -> None:
    """Deliver states until the socket takes no more."""
    for seq in range(5000):
        node.scenes.move(scene_str, State.SCANNED)
        await eventually(lambda: node.scenes.calls.count("get") > seq)
        if not node.push.hub.sockets:
            return
    raise AssertionError("the buffers never filled")


@pytest.mark.gen_test
async def test_descriptor_reuse():
    """A late clean-up of an old socket never touches the newer one on the same descriptor."""
    async with Node() as node:
        first = node.scenes.begin(State.AUTHORIZED)
        older = await Raw.open(node, first)
        (number,) = _descriptors(node)
        node.scenes.gate.clear()
        older.send(frame(TEXT, ACK))
        await eventually(lambda: "ack" in node.scenes.calls)
        older.leave()
        await eventually(lambda: node.push.parking.table.connections[number] != 0)
        node.clock.ahead = 0
        node.scenes.gate.set()
        await eventually(lambda: node.sockets == 0)
        second = node.scenes.begin()
        newer = await Raw.open(node, second)
        assert _descriptors(node) == [number]
        # Everything that the old connection may still ask for.
        node.push.parking.resume(number, 1)
        node.push.hub.detach(node.push.parking.table.key(number), 1)
        node.scenes.move(second, State.SCANNED)
        assert b"scanned" in (await newer.read()).payload
        newer.leave()


def _descriptors(node: Node) -> list[int]:
    slots = node.push.parking.table
    return [fd for fd in range(len(slots)) if slots.state(fd)]


@pytest.mark.gen_test
async def test_mass_close():
    """Hundreds that leave at once are cleaned up in slices, and other requests come in between."""
    async with Node() as node:
        clients = [await Raw.open(node, node.scenes.begin()) for _ in range(300)]
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for client in clients:
            client.leave()
        other = await Raw.open(node, node.scenes.begin())
        await eventually(lambda: node.sockets == 1)
        await eventually(lambda: len(node.scenes.attached) == 1)
        if before:
            assert len(os.listdir("/proc/self/fd")) <= before - 2 * 300 + 10
        other.leave()


@pytest.mark.gen_test
async def test_silent_peer():
    """A peer that answers nothing for two intervals is dropped; one that answers stays."""
    async with Node(ping_seconds=0.5) as node:
        silent = await Raw.open(node, node.scenes.begin())
        lively = await Raw.open(node, node.scenes.begin())
        silent.writer.transport.pause_reading()

        async def answer() -> None:
            while (received := await lively.read()).opcode == PING:
                lively.send(frame(PONG, received.payload))

        answering = asyncio.ensure_future(answer())
        await eventually(lambda: Ending.SILENT in node.counters.endings)
        assert node.push.hub.sockets == 1 and node.counters.pings >= 4
        answering.cancel()
        silent.leave()
        lively.leave()


@pytest.mark.gen_test
async def test_pipelined_behind_another_request():
    """An upgrade right behind a plain request on one connection keeps the order of the answers."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + upgrade(node.scenes.begin()))
        assert b" 200 " in await client.head()
        assert await client.reader.readexactly(5) == b"hello"
        assert b" 101 " in await client.head()
        assert (await client.read()).opcode == TEXT
        client.leave()
