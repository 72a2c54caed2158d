"""What sockets say, without any socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.push.close_codes import CloseCode
from services.push.conversation import (
    EMPTY_PING,
    Ack,
    BadMessage,
    Cancel,
    Conversation,
    Standing,
    close_frame,
    parse,
    text_frame,
)
from tests.conformance.raw import ACK, CLOSE, CONT, PING, PONG, TEXT, close, frame


def _yes() -> bool:
    return True


def _hear(talk: Conversation, data: bytes, pongs_due: int = 0, message=_yes) -> None:
    talk.receive(data, pongs_due, message, _yes)


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
        ('{"type":"cancel"}', Cancel()),
        ('{"type":"cancel","seq":"?"}', Cancel()),
        ('{"type":"ack","seq":0}', None),
        ('{"type":"ack","seq":-1}', None),
        ('{"type":"ack","seq":2147483648}', None),
    ],
)
def test_parse(text, said):
    """Acks and cancels; a seq that no scene can have is nothing to store."""
    assert parse(text) == said


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(str))
def test_parse_anything(text):
    """Whatever a page sends is a message, nothing, or `BadMessage`."""
    try:
        assert isinstance(parse(text), Ack | Cancel | None)
    except BadMessage:
        assert True


def test_order():
    """Messages before the close are there, and the answer to the close waits behind them."""
    talk = Conversation(None, 0)
    _hear(talk, frame(TEXT, ACK) + close(1000))
    assert talk.said == [Ack(1)]
    assert talk.standing is Standing.DONE
    assert talk.outgoing() == close_frame(CloseCode.FINISHED)


def test_idle_only_between_messages():
    """Nothing may be forgotten within a frame or a fragmented message."""
    talk = Conversation(None, 0)
    whole = frame(TEXT, b'{"type":', fin=False) + frame(CONT, b'"cancel"}')
    for byte in whole[:-1]:
        _hear(talk, bytes([byte]))
        assert not talk.idle
    _hear(talk, whole[-1:])
    assert talk.said == [Cancel()]
    talk.said.clear()
    assert talk.idle


def test_unasked_pongs_count():
    """As many pongs as pings are free; the next one counts as a message."""
    counted = []
    talk = Conversation(None, 0)
    _hear(talk, frame(PONG) * 3, pongs_due=2, message=lambda: counted.append(1) is None)
    assert len(counted) == 1


def test_flood_keeps_what_was_allowed():
    """One message too many fails the connection; those before it stand."""
    left = iter([True, True, False])
    talk = Conversation(None, 0)
    _hear(talk, frame(TEXT, ACK) * 5, message=lambda: next(left))
    assert talk.said == [Ack(1), Ack(1)]
    assert talk.failure is CloseCode.FLOOD and talk.standing is Standing.FAILED
    assert talk.outgoing() == close_frame(CloseCode.FLOOD)


def test_after_our_close():
    """A conversation on a socket that was asked to close takes the answer without another."""
    talk = Conversation(CloseCode.LEAVING, 0)
    assert talk.standing is Standing.CLOSING
    _hear(talk, frame(TEXT, ACK) + close(1001))
    assert talk.said == [Ack(1)]
    assert talk.standing is Standing.DONE and talk.outgoing() == b""


def test_close_twice():
    """If the peer's close came first, closing gives out the answer to that."""
    talk = Conversation(None, 0)
    _hear(talk, close(3000))
    assert talk.close(CloseCode.FINISHED) == frame(CLOSE, (3000).to_bytes(2), masked=False)
    assert talk.close(CloseCode.FINISHED) == b""


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
    at_once = Conversation(None, 0)
    _hear(at_once, stream)
    talk = Conversation(None, 0)
    rest = stream
    for cut in cuts:
        _hear(talk, rest[:cut]) if rest else None
        rest = rest[cut:]
    _hear(talk, rest)
    assert (talk.said, talk.standing) == (at_once.said, at_once.standing)
    assert talk.outgoing() == at_once.outgoing()


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_any_bytes(chunks):
    """Rubbish never raises, and says at most what the contract knows."""
    talk = Conversation(None, 0)
    for chunk in chunks:
        _hear(talk, chunk)
    assert all(isinstance(said, Ack | Cancel) for said in talk.said)
    assert isinstance(talk.outgoing(), bytes)
