"""What sockets say, without any socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.push.close_codes import CloseCode
from services.push.protocol import (
    EMPTY_PING,
    Ack,
    BadMessage,
    Cancel,
    Number,
    Phase,
    SocketProtocol,
    close_frame,
    parse,
    text_frame,
)
from tests.conformance.raw import ACK, CLOSE, CONT, PING, PONG, TEXT, close, frame


def _yes() -> bool:
    return True


def _hear(protocol: SocketProtocol, data: bytes, pongs_due: int = 0, message=_yes) -> None:
    protocol.receive(data, pongs_due, message, _yes)


def test_frames_of_the_server():
    """The bytes of RFC 6455 section 5.7: unmasked, whole, shortest length."""
    assert text_frame(b"Hello") == b"\x81\x05Hello"
    assert text_frame(b"x" * 256)[:4] == b"\x81\x7e\x01\x00"
    assert close_frame(CloseCode.EXPIRED) == b"\x88\x02" + (4408).to_bytes(2)
    assert EMPTY_PING == b"\x89\x00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type":"ack","seq":3}', Ack(3)),
        ('{"type":"ack","seq":3,"extra":[1]}', Ack(3)),
        ('{"type":"number","seq":3,"number":"07"}', Number(3, "07")),
        ('{"type":"number","seq":0,"number":"07"}', None),
        ('{"type":"cancel"}', Cancel()),
        ('{"type":"cancel","seq":"?"}', Cancel()),
        ('{"type":"ack","seq":0}', None),
        ('{"type":"ack","seq":-1}', None),
        ('{"type":"ack","seq":2147483648}', None),
    ],
)
def test_parse(text, said):
    """Acks, cancels and numbers; a seq that no scene can have is nothing to store."""
    assert parse(text) == said


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(str))
def test_parse_anything(text):
    """Whatever a page sends is a message, nothing, or `BadMessage`."""
    try:
        assert isinstance(parse(text), Ack | Cancel | Number | None)
    except BadMessage:
        assert True


def test_order():
    """What was said before the close is there, and the answer to the close waits behind it."""
    protocol = SocketProtocol(None, 0)
    _hear(protocol, frame(TEXT, ACK) + close(1000))
    assert protocol.messages == [Ack(1)]
    assert protocol.phase is Phase.DONE
    assert protocol.outgoing() == close_frame(CloseCode.FINISHED)


def test_idle_only_between_messages():
    """Nothing may be forgotten within a frame or a fragmented message."""
    protocol = SocketProtocol(None, 0)
    whole = frame(TEXT, b'{"type":', fin=False) + frame(CONT, b'"cancel"}')
    for byte in whole[:-1]:
        _hear(protocol, bytes([byte]))
        assert not protocol.idle
    _hear(protocol, whole[-1:])
    assert protocol.messages == [Cancel()]
    protocol.messages.clear()
    assert protocol.idle


def test_unasked_pongs_count():
    """As many pongs as pings are free; the next one counts as a message."""
    counted = []
    protocol = SocketProtocol(None, 0)
    _hear(protocol, frame(PONG) * 3, pongs_due=2, message=lambda: counted.append(1) is None)
    assert len(counted) == 1


def test_flood_keeps_what_was_allowed():
    """One message too many fails the connection; those before it stand."""
    left = iter([True, True, False])
    protocol = SocketProtocol(None, 0)
    _hear(protocol, frame(TEXT, ACK) * 5, message=lambda: next(left))
    assert protocol.messages == [Ack(1), Ack(1)]
    assert protocol.failure is CloseCode.FLOOD and protocol.phase is Phase.FAILED
    assert protocol.outgoing() == close_frame(CloseCode.FLOOD)


def test_after_our_close():
    """A conversation on a socket that was asked to close takes the answer without another."""
    protocol = SocketProtocol(CloseCode.LEAVING, 0)
    assert protocol.phase is Phase.CLOSING
    _hear(protocol, frame(TEXT, ACK) + close(1001))
    assert protocol.messages == [Ack(1)]
    assert protocol.phase is Phase.DONE and protocol.outgoing() == b""


def test_close_twice():
    """If the peer's close came first, closing gives out the answer to that."""
    protocol = SocketProtocol(None, 0)
    _hear(protocol, close(3000))
    assert protocol.close(CloseCode.FINISHED) == frame(CLOSE, (3000).to_bytes(2), masked=False)
    assert protocol.close(CloseCode.FINISHED) == b""


_GOOD = [
    frame(TEXT, ACK),
    frame(TEXT, ACK[:5], fin=False) + frame(PING, b"p") + frame(CONT, ACK[5:]),
    frame(PING, b"ping"),
    frame(TEXT, b'{"type":"cancel"}'),
    frame(PONG),
]


@given(st.lists(st.sampled_from(_GOOD), max_size=6), st.lists(st.integers(1, 30)))
def test_any_cut_says_the_same(frames, cuts):
    """However the bytes are cut by the network, the same is said and answered."""
    stream = b"".join(frames) + close(1000)
    at_once = SocketProtocol(None, 0)
    _hear(at_once, stream)
    protocol = SocketProtocol(None, 0)
    rest = stream
    for cut in cuts:
        _hear(protocol, rest[:cut]) if rest else None
        rest = rest[cut:]
    _hear(protocol, rest)
    assert (protocol.messages, protocol.phase) == (at_once.messages, at_once.phase)
    assert protocol.outgoing() == at_once.outgoing()


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_any_bytes(chunks):
    """Rubbish never raises, and says at most what the contract knows."""
    protocol = SocketProtocol(None, 0)
    for chunk in chunks:
        _hear(protocol, chunk)
    assert all(isinstance(said, Ack | Cancel) for said in protocol.messages)
    assert isinstance(protocol.outgoing(), bytes)
