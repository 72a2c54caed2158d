"""Bytes in and out of the load kit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from bench.kit import wire


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(min_value=0))
def test_frames_survive_any_cut(payloads: list[bytes], cut: int) -> None:
    """However the stream is cut in two, the same frames come out."""
    stream = b"".join(Frame(Opcode.BINARY, one).serialize(mask=False) for one in payloads)
    at = cut % (len(stream) + 1)
    first, rest = wire.take_frames(stream[:at])
    second, left = wire.take_frames(rest + stream[at:])
    assert [bytes(frame.data) for frame in first + second] == payloads
    assert left == b""


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"hello",
        ),
    ],
    ids=["length", "none", "chunked"],
)
def test_answers_are_taken_when_whole(data: bytes, body: bytes) -> None:
    """An HTTP answer is None while a byte is missing, and leaves what follows it."""
    assert wire.take_answer(data[:-1]) is None
    taken = wire.take_answer(data + b"HTTP")
    assert taken is not None
    assert (taken[0].body, taken[1]) == (body, b"HTTP")


@pytest.mark.parametrize("url", ["localhost:8888", "ftp://host", "http://", "http://host:port"])
def test_bad_urls_are_refused_in_words(url: str) -> None:
    """A URL that cannot be used names itself in the error."""
    with pytest.raises(wire.BadUrl, match="http|URL"):
        wire.Target.parse(url)


def test_default_ports_are_left_out_of_host_and_origin() -> None:
    """Host and Origin look as a browser writes them."""
    assert wire.Target.parse("wss://login.example.com/").origin == "https://login.example.com"
    assert wire.Target.parse("http://127.0.0.1:8888").authority == "127.0.0.1:8888"


def test_upgrades_are_checked() -> None:
    """Anything but 101 with the right Sec-WebSocket-Accept is a refusal with a reason."""
    upgrade = wire.Upgrade(wire.Target("http", "127.0.0.1", 1))
    assert upgrade.refusal(b"HTTP/1.1 403 Forbidden") == "HTTP 403"
    wrong = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong"
    assert upgrade.refusal(wrong) == "wrong Sec-WebSocket-Accept"
