"""RFC 6455 sections 5 and 7 with a raw client: what is allowed works, what is not has its code."""

import asyncio
from collections.abc import Callable

import pytest

from services.scenes.states import State
from tests.conformance.raw import (
    ACK,
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Raw,
    close,
    frame,
)
from tests.services.push.kit import Node, eventually

BROKEN = {
    "not masked": (frame(TEXT, ACK, masked=False), 1002),
    "reserved bit 1": (frame(TEXT, ACK, reserved=4), 1002),
    "reserved bit 2": (frame(TEXT, ACK, reserved=2), 1002),
    "reserved bit 3": (frame(PING, reserved=1), 1002),
    "reserved opcode 3": (frame(3, b"x"), 1002),
    "reserved opcode 15": (frame(15), 1002),
    "continuation of nothing": (frame(CONT, ACK), 1002),
    "text within fragments": (frame(TEXT, b"{", fin=False) + frame(TEXT, ACK), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    "close code 999": (close(999), 1002),
    "close code 1004": (close(1004), 1002),
    "close code 1005": (close(1005), 1002),
    "close code 1006": (close(1006), 1002),
    "close code 1016": (close(1016), 1002),
    "close code 5000": (close(5000), 1002),
    "close reason not UTF-8": (close(1000, b"\xff"), 1007),
    "text not UTF-8": (frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"), 1007),
    "fragments not UTF-8": (frame(TEXT, b"\xce", fin=False) + frame(CONT, b"\xff"), 1007),
    "message of 4097 bytes": (frame(TEXT, b" " * 4097), 1009),
    "message of 5 KiB": (frame(TEXT, b" " * 5120), 1009),
    "length announced only": (frame(TEXT, announced=2**40), 1009),
    "fragments over 4 KiB": (
        frame(TEXT, b" " * 4000, fin=False) + frame(CONT, b" " * 97),
        1009,
    ),
    "binary": (frame(BINARY, ACK), 4400),
    "binary in fragments": (frame(BINARY, b"{", fin=False), 4400),
    "not JSON": (frame(TEXT, b"hello"), 4400),
    "empty": (frame(TEXT), 4400),
    "not an object": (frame(TEXT, b'["ack", 1]'), 4400),
    "nested too deep": (frame(TEXT, b"[" * 4096), 4400),
    "unknown type": (frame(TEXT, b'{"type":"login"}'), 4400),
    "type is a list": (frame(TEXT, b'{"type":["ack"],"seq":1}'), 4400),
    "no seq": (frame(TEXT, b'{"type":"ack"}'), 4400),
    "seq is true": (frame(TEXT, b'{"type":"ack","seq":true}'), 4400),
    "seq is a float": (frame(TEXT, b'{"type":"ack","seq":1.0}'), 4400),
    "seq is a string": (frame(TEXT, b'{"type":"ack","seq":"1"}'), 4400),
    "seq is a number of 4,000 digits": (
        frame(TEXT, b'{"type":"ack","seq":1' + b"0" * 4000 + b",}"),
        4400,
    ),
}


@pytest.mark.gen_test
@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
async def test_broken(sent: bytes, code: int):
    """What the contract forbids ends in its close code, then in the end of the stream."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(sent)
        assert await client.closing() == code
        await client.eof()
        await eventually(lambda: node.sockets == 0)


@pytest.mark.gen_test
@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4000, 4999, None])
async def test_close_is_answered(code: int | None):
    """A good close frame is answered with the same code, and the server closes."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(close(code))
        assert await client.closing() == code
        await client.eof()
        assert node.sockets == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("code", [1000, 1001, 4000, None])
async def test_close_between_fragments(code: int | None):
    """The message is given up and the close is answered (Autobahn's case 7.1.5)."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        client.send(frame(TEXT, ACK[:9], fin=False) + close(code) + frame(CONT, ACK[9:]))
        assert await client.closing() == code
        await client.eof()
        assert node.sockets == 0 and not node.scenes.acked


PIECES: dict[str, Callable[[], list[bytes]]] = {
    "one frame": lambda: [frame(TEXT, ACK)],
    "two fragments": lambda: [frame(TEXT, ACK[:9], fin=False), frame(CONT, ACK[9:])],
    "a byte a fragment": lambda: [
        frame(TEXT, fin=False),
        *(frame(CONT, ACK[i : i + 1], fin=False) for i in range(len(ACK))),
        frame(CONT),
    ],
    "a ping between fragments": lambda: [
        frame(TEXT, ACK[:9], fin=False),
        frame(PING, b"are you there"),
        frame(CONT, ACK[9:]),
    ],
    "a pong between fragments": lambda: [
        frame(TEXT, ACK[:9], fin=False),
        frame(PONG, b""),
        frame(CONT, ACK[9:]),
    ],
    "a letter cut in two": lambda: [
        frame(TEXT, '{"type":"ack","seq":1,"note":"é'.encode()[:-1], fin=False),
        frame(CONT, '"}'.join(["é", ""]).encode()[1:]),
    ],
    "a byte a packet": lambda: [bytes([byte]) for byte in frame(TEXT, ACK)],
    "4 KiB": lambda: [frame(TEXT, ACK + b" " * (4096 - len(ACK)))],
}


@pytest.mark.gen_test
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_message_in_pieces(pieces: Callable[[], list[bytes]]):
    """However a message is cut, it arrives whole, and once."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        for piece in pieces():
            client.send(piece)
            await asyncio.sleep(0)
        assert await client.closing() == 1000
        assert node.scenes.acked == [1]
        client.leave()


@pytest.mark.gen_test
async def test_ping_is_answered():
    """A ping is answered with its own payload, also in a row and up to 125 bytes."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(frame(PING, b"one") + frame(PING) + frame(PING, b"x" * 125))
        answers = [await client.read() for _ in range(3)]
        assert [answer.payload for answer in answers] == [b"one", b"", b"x" * 125]
        assert {answer.opcode for answer in answers} == {PONG}
        client.leave()


@pytest.mark.gen_test
async def test_ack_then_close_in_one_packet():
    """The ack is stored before the close behind it is answered."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        node.scenes.gate.clear()
        client.send(frame(TEXT, ACK) + close(1000))
        await eventually(lambda: "ack" in node.scenes.calls)
        assert node.sockets == 1
        node.scenes.gate.set()
        assert await client.closing() == 1000
        assert node.scenes.acked == [1]
        client.leave()


@pytest.mark.gen_test
async def test_messages_in_order():
    """Frames that arrive while a message is handled wait for it."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        node.scenes.gate.clear()
        client.send(frame(TEXT, b'{"type":"ack","seq":5}'))
        await eventually(lambda: "ack" in node.scenes.calls)
        client.send(frame(TEXT, b'{"type":"cancel"}'))
        node.scenes.gate.set()
        assert await client.closing() == 1000
        calls = [call for call in node.scenes.calls if call in ("ack", "cancel")]
        assert calls == ["ack", "cancel"]
        client.leave()


@pytest.mark.gen_test
async def test_status_while_a_message_is_at_work():
    """A final status during an ack closes once, with one close frame, and the ack is stored."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        client = await Raw.open(node, scene_str)
        held = node.scenes.gate = asyncio.Event()
        client.send(frame(TEXT, ACK))
        await eventually(lambda: "ack" in node.scenes.calls)
        client.send(close(1000))
        node.scenes.gate = asyncio.Event()
        node.scenes.gate.set()
        node.scenes.move(scene_str, State.CANCELLED)
        assert b"cancelled" in (await client.read()).payload
        assert await client.closing() == 1000
        held.set()
        await client.eof()
        await eventually(lambda: node.scenes.acked == [1])


@pytest.mark.gen_test
async def test_messages_after_close_are_ignored():
    """Whatever a peer sends behind its close frame is ignored."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        client.send(close(1000) + frame(TEXT, ACK) + b"\xff" * 100)
        assert await client.closing() == 1000
        await eventually(lambda: node.sockets == 0)
        assert not node.scenes.acked
        client.leave()


@pytest.mark.gen_test
@pytest.mark.parametrize("opcode", [TEXT, PING, PONG], ids=["messages", "pings", "pongs"])
async def test_flood(opcode: int):
    """A hundred frames in a second end in 4429; pings and unasked pongs count too."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        payload = b'{"type":"ack","seq":9}' if opcode == TEXT else b""
        client.send(frame(opcode, payload) * 100)
        assert await client.closing() == 4429
        client.leave()


@pytest.mark.gen_test
async def test_flood_of_empty_fragments():
    """A message that never ends is not a way around the limit."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        client.send(frame(TEXT, fin=False) + frame(CONT, fin=False) * 600)
        assert await client.closing() == 4429
        client.leave()


@pytest.mark.gen_test
async def test_allowed_rate():
    """Five messages in a second are allowed by default."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin())
        for seq in range(90, 95):
            client.send(frame(TEXT, b'{"type":"ack","seq":%d}' % seq))
        await eventually(lambda: node.scenes.acked == [90, 91, 92, 93, 94])
        assert node.push.hub.sockets == 1
        client.leave()


@pytest.mark.gen_test
async def test_server_close_waits_for_the_answer():
    """After a final status the server waits for the peer's close frame, then closes."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        client = await Raw.open(node, scene_str)
        node.scenes.move(scene_str, State.CANCELLED)
        assert await client.closing() == 1000
        assert node.sockets == 1 and node.push.hub.sockets == 0
        client.send(close(1000))
        await client.eof()
        assert node.sockets == 0


@pytest.mark.gen_test
async def test_ack_crosses_the_close():
    """An unfinished ack is still stored when the server asks to close."""
    async with Node() as node:
        scene_str = node.scenes.begin(State.AUTHORIZED)
        client = await Raw.open(node, scene_str)
        draining = asyncio.ensure_future(node.push.drain(5))
        assert await client.closing() == 1001
        client.send(frame(TEXT, ACK) + close(1001))
        await draining
        assert node.scenes.acked == [1]
        client.leave()
