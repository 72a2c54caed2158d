"""The fast path for upgrades: what it takes, what it hands on, and a process out of descriptors."""

import asyncio
import contextlib
import os
import re
import resource
import socket
import struct
from collections.abc import Iterator

import pytest

from handlers import listener
from tests.conformance.raw import Raw, upgrade
from tests.services.push.kit import Node, eventually


async def _answers(client: Raw) -> bytes:
    head = await client.head()
    client.leave()
    return head.split(b"\r\n")[0]


@pytest.mark.gen_test
async def test_request_in_two_packets():
    """A head that comes in pieces is left to the parser, and arrives just the same."""
    async with Node() as node:
        request = upgrade(node.scenes.begin())
        client = await Raw.connect(node.port)
        client.send(request[:50])
        await asyncio.sleep(0.02)
        client.send(request[50:])
        assert b"101" in await _answers(client)


@pytest.mark.gen_test
async def test_large_head():
    """A head over 4 KiB is left to the parser."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin(), Cookie="c" * 5000))
        assert b"101" in await _answers(client)


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [0, 1900, 4000, 4096, 9000])
async def test_handed_on_byte_for_byte(size):
    """Two requests in one packet are answered, wherever the first read ends in them."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(2 * (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (size * b"x")))
        for _ in range(2):
            assert b"200 OK" in await client.head()
            assert await client.reader.readexactly(5) == b"hello"
        client.leave()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "wrong", [{"token": "x" * 43}, {"Origin": "null"}], ids=["by the store", "at once"]
)
async def test_requests_behind_a_refused_upgrade(wrong, monkeypatch):
    """They are answered on the same connection, as many as came in the same packet."""
    monkeypatch.setattr(Node, "way", "http")
    async with Node() as node:
        client = await Raw.connect(node.port)
        refused = upgrade(node.scenes.begin(), **wrong)
        client.send(3 * (refused + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"))
        for _ in range(3):
            head = await client.head()
            assert b" 403 " in head
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            await client.reader.readexactly(length)
            assert b"200 OK" in await client.head()
            assert await client.reader.readexactly(5) == b"hello"
        client.leave()


@pytest.mark.gen_test
async def test_a_page_that_leaves_before_its_upgrade_is_refused():
    """Nothing is in progress any more: a drain would wait for it."""
    async with Node() as node:
        node.scenes.gate.clear()
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin(), Cookie="c" * 5000))
        await eventually(lambda: "attach" in node.scenes.calls)
        # By a reset, as a network that is gone does: an end alone keeps the connection for answers.
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.leave()
        await eventually(lambda: not node.http.connections)
        node.scenes.down = True
        node.scenes.gate.set()
        await eventually(lambda: not node.http.requests)


@pytest.mark.gen_test
async def test_connection_without_a_word():
    """A peer that connects and leaves at once has no effect."""
    async with Node() as node:
        for _ in range(3):
            (await Raw.connect(node.port)).leave()
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin()))
        assert b"101" in await _answers(client)


@pytest.mark.gen_test
@pytest.mark.parametrize("more", [{}, {"Cookie": "c" * 5000}], ids=["plain", "parsed"])
async def test_no_delay(more):
    """Small frames leave at once (TCP_NODELAY), whichever way the socket came in."""
    async with Node() as node:
        client = await Raw.connect(node.port)
        client.send(upgrade(node.scenes.begin(), **more))
        await client.head()
        (key,) = node.push.hub.keys()
        with socket.socket(fileno=os.dup(node.push.hub.descriptor(key))) as parked:
            assert parked.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.leave()


@pytest.mark.gen_test
async def test_stop():
    """After `stop`, which may be called twice, no peer is accepted."""
    async with Node() as node:
        node._listener.stop()
        node._listener.stop()
        with pytest.raises(ConnectionRefusedError):
            await Raw.connect(node.port)


@pytest.mark.gen_test
async def test_idle_connections_leave_what_is_reserved(logs):
    """Half of the reserve is never theirs: later ones are told 503, and a page still gets in."""
    logs.expect("the open-file limit is near")
    limit = len(os.listdir("/proc/self/fd")) + 60
    async with Node(open_files=limit, reserve_descriptors=40) as node:
        idle = [await Raw.connect(node.port) for _ in range(40)]
        for client in idle:
            client.send(b"G")
        await eventually(lambda: bool(logs.lines))
        late = await Raw.connect(node.port)
        late.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await late.head()
        assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After" in answer
        page = await Raw.connect(node.port)
        page.send(upgrade(node.scenes.begin()))
        assert b"101" in await _answers(page)
        assert len(logs.lines) == 1
        for client in (*idle, late):
            client.leave()
        await eventually(lambda: len(os.listdir("/proc/self/fd")) < limit - 20)
        again = await Raw.connect(node.port)
        again.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await _answers(again)).startswith(b"HTTP/1.1 200 ")


@contextlib.contextmanager
def _no_descriptor() -> Iterator[None]:
    """No descriptor is left for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.gen_test
async def test_out_of_descriptors(logs, monkeypatch):
    """Pauses, one line however many there are, and then the next is accepted."""
    monkeypatch.setattr(listener, "PAUSE_SECONDS", 0.005)
    logs.expect("no descriptor for a connection")
    async with Node() as node:
        client = await Raw.connect(node.port)
        with _no_descriptor():
            client.send(upgrade(node.scenes.begin()))
            await eventually(lambda: len(logs.lines) == 1)
            await asyncio.sleep(0.05)
        assert b"101" in await _answers(client)
        assert len(logs.lines) == 1
