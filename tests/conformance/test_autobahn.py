"""What Autobahn's fuzzing client checks of a server, by the numbers of its cases, and the other
modules do not.

Its cases that wait for an echo end in 4400 here, for a page may say two things only; what must hold
all the same is which code ends the connection. The whole client, which needs Python 2.7, was run on
the real route with websockets 17: of 246 cases none ended otherwise than is said here.
"""

import pytest

from services.scenes.states import State
from tests.conformance.raw import ACK, CLOSE, CONT, PING, PONG, TEXT, Raw, close, frame
from tests.services.push.kit import Node, eventually

pytestmark = pytest.mark.usefixtures("accepting")

HELLO = frame(TEXT, ACK)

PROTOCOL_ERRORS = {
    "2.5 ping of 126 bytes": frame(PING, b"\xfe" * 126),
    "3.1 reserved bits, small": frame(TEXT, b"x", reserved=1),
    "3.4 reserved bits behind a message": HELLO + frame(TEXT, ACK, reserved=3) + frame(PING),
    "3.6 reserved bits in a ping": frame(PING, b"x", reserved=6),
    "3.7 reserved bits in a close": frame(CLOSE, reserved=7),
    **{f"4.1 opcode {opcode}": frame(opcode) for opcode in (3, 4, 5, 6, 7)},
    **{f"4.2 opcode {opcode}": frame(opcode, b"x") for opcode in (11, 12, 13, 14, 15)},
    "5.1 fragmented ping": frame(PING, b"a", fin=False) + frame(CONT, b"b"),
    "5.2 fragmented pong": frame(PONG, b"a", fin=False) + frame(CONT, b"b"),
    "5.9 last fragment of nothing": frame(CONT, b"x") + HELLO,
    "5.12 fragment of nothing": frame(CONT, b"x", fin=False) + HELLO,
    "5.15 fragment behind a whole message": frame(TEXT, ACK[:5], fin=False)
    + frame(CONT, ACK[5:])
    + frame(CONT, b"x", fin=False),
    "5.18 two beginnings": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "7.3.2 close of one byte": frame(CLOSE, b"a"),
    "7.3.6 close of 126 bytes": close(1000, b"*" * 124),
    **{f"7.9 code {n}": close(n) for n in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)},
}  # fmt: skip


@pytest.mark.gen_test
async def test_protocol_errors():
    """1002, then the end of the stream."""
    async with Node() as node:
        for name, sent in PROTOCOL_ERRORS.items():
            client = await Raw.open(node, node.scenes.begin())
            client.send(sent)
            assert await client.closing() == 1002, name
            await client.eof()
        await eventually(lambda: node.sockets == 0)


NOT_UTF_8 = {
    "6.3 surrogate behind text": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    "6.6 cut letter": b"\xce\xba\xe1\xbd",
    "6.8 five bytes": b"\xf8\x88\x80\x80\x80",
    "6.8 six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "6.10 above U+10FFFF": b"\xf7\xbf\xbf\xbf",
    "6.11 U+110000": b"\xf4\x90\x80\x80",
    "6.12 continuation bytes": b"\x80\xbf\x80",
    "6.13 lonely beginnings": bytes(range(0xC0, 0xE0)),
    "6.14 missing ends": b"\xc0\xe0\x80\xf0\x80\x80",
    "6.15 all missing ends": b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80",
    "6.16 impossible bytes": b"\xfe\xfe\xff\xff",
    "6.17 overlong slash": b"\xe0\x80\xaf",
    "6.18 largest overlong": b"\xf0\x8f\xbf\xbf",
    "6.19 overlong NUL": b"\xc0\x80",
    "6.20 surrogate": b"\xed\xa0\x80",
    "6.21 pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
}


@pytest.mark.gen_test
async def test_text_that_is_not_utf_8():
    """1007: as a text in one frame or in one for each byte, and as the reason of a close."""
    async with Node() as node:
        for name, text in NOT_UTF_8.items():
            pieces = [text[i : i + 1] for i in range(len(text))]
            for sent in (
                frame(TEXT, text),
                frame(TEXT, fin=False)
                + b"".join(frame(CONT, piece, fin=False) for piece in pieces)
                + frame(CONT),
                close(1000, text),
            ):
                client = await Raw.open(node, node.scenes.begin())
                client.send(sent)
                assert await client.closing() == 1007, name
                client.leave()


CLOSES = {
    "7.1.2 two closes": close(1000) + close(1000),
    "7.1.3 a ping behind it": close(1000) + frame(PING),
    "7.1.4 a text behind it": close(1000) + HELLO,
    "7.3.4 with a reason": close(1000, b"Hello World!"),
    "7.3.5 with the longest reason": close(1000, b"*" * 123),
    "with a reason of other letters": close(1000, "再见".encode()),
}
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)


@pytest.mark.gen_test
async def test_closes():
    """Each is answered with its own code, once, and what follows it is ignored (7.1, 7.3, 7.7)."""
    async with Node() as node:
        cases = {**CLOSES, **{f"7.7 code {code}": close(code) for code in CODES}}
        for name, sent in cases.items():
            client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
            client.send(sent)
            code = int(name.rpartition(" ")[2]) if name.startswith("7.7") else 1000
            assert await client.closing() == code, name
            await client.eof()
        assert not node.scenes.acked


@pytest.mark.gen_test
async def test_pings_and_pongs():
    """Pongs that were not asked for are ignored (2.7 to 2.9); a ping is answered, a byte at a time
    too (2.6); five in a row are answered in order (2.10)."""
    async with Node(messages_per_second=0) as node:
        client = await Raw.open(node, node.scenes.begin())
        pings = [b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"*" * 125, b"", b"payload-4", b"payload-5"]
        client.send(frame(PONG) + frame(PONG, b"unsolicited"))
        for byte in frame(PING, pings[0]):
            client.send(bytes([byte]))
        client.send(b"".join(frame(PING, payload) for payload in pings[1:]))
        answers = [await client.read() for _ in pings]
        assert [answer.payload for answer in answers] == pings
        assert {answer.opcode for answer in answers} == {PONG}
        client.leave()


@pytest.mark.gen_test
async def test_a_ping_between_fragments_is_answered_at_once():
    """Before the message is complete, and the message still counts (5.5 to 5.8, 5.19)."""
    async with Node() as node:
        client = await Raw.open(node, node.scenes.begin(State.AUTHORIZED))
        client.send(frame(TEXT, ACK[:5], fin=False) + frame(PING, b"1") + frame(CONT, fin=False))
        assert (await client.read()).payload == b"1"
        client.send(frame(CONT, ACK[5:], fin=False) + frame(PING, b"2"))
        assert (await client.read()).payload == b"2"
        client.send(frame(CONT))
        assert await client.closing() == 1000
        assert node.scenes.acked == [1]
        client.leave()
