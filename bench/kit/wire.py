"""Bytes in and out: the upgrade, HTTP answers and WebSocket frames. No sockets here."""

import base64
import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.frames import Close, Frame, Opcode

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""

LARGEST_FRAME = 1 << 20


class BadUrl(ValueError):
    """The text says what is wrong with a URL given on the command line."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is: what to connect to, and what to say in Host and Origin.

    `pages_at` is the origin of the pages that log in there, where that is another site.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    pages_at: str = ""

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """For the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def page_origin(self) -> str:
        """For the Origin header."""
        return self.pages_at or self.origin

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Raises BadUrl. `ws` and `wss` are taken for `http` and `https`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{url!r} is not a URL: {error}") from None
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.hostname:
            raise BadUrl(f"{url!r} should look like http://127.0.0.1:8888")
        default = 443 if scheme == "https" else 80
        return cls(scheme, parts.hostname, port or default, parts.path.rstrip("/"))


class Upgrade:
    """Writes upgrade requests and checks their answers.

    All sockets of a process share one Sec-WebSocket-Key: it protects nothing here, and so the
    expected answer is computed once.
    """

    def __init__(self, target: Target) -> None:
        key = base64.b64encode(os.urandom(16))
        digest = hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest()
        self._accept = base64.b64encode(digest)
        self._tail = (
            f" HTTP/1.1\r\nHost: {target.authority}\r\nOrigin: {target.page_origin}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 Safari/537.36\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n"
            "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n"
        ).encode()

    def request(self, path: str, subprotocols: Sequence[str] = ()) -> bytes:
        """The bytes of one upgrade, with headers like a browser's."""
        offer = ", ".join(subprotocols)
        line = f"Sec-WebSocket-Protocol: {offer}\r\n".encode() if offer else b""
        return b"GET " + path.encode() + self._tail + line + b"\r\n"

    def refusal(self, head: bytes) -> str | None:
        """None for a good 101, else what was wrong with the answer, in a few words."""
        status = head[9:12].decode("latin-1")
        if status != "101":
            return f"HTTP {status}"
        return None if self._accept in head else "wrong Sec-WebSocket-Accept"


def http_request(
    method: str, path: str, target: Target, body: bytes = b"", headers: Sequence[str] = ()
) -> bytes:
    """One HTTP/1.1 request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.authority}", *headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole HTTP answer; header names are not kept, only what the kit needs."""

    status: int
    head: bytes
    body: bytes
    closes: bool


def take_answer(data: bytes) -> tuple[Answer, bytes] | None:
    """The first whole HTTP answer in `data` and the bytes after it; None while it is not whole."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    low = head.lower()
    status = int(head[9:12])
    closes = b"\r\nconnection: close" in low
    if b"\r\ntransfer-encoding: chunked" in low:
        whole = _take_chunks(rest)
        if whole is None:
            return None
        body, rest = whole
        return Answer(status, head, body, closes), rest
    length = 0
    if status not in (204, 304) and b"\r\ncontent-length:" in low:
        length = int(low.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
    if len(rest) < length:
        return None
    return Answer(status, head, rest[:length], closes), rest[length:]


def _take_chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2 :]
        if size == 0:
            return body, data


class _Source:
    """Feeds `Frame.parse`; a generator that yields has asked for bytes that are not there."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def read_exact(self, count: int) -> Generator[None, None, bytes]:
        end = self.at + count
        if end > len(self._data):
            yield
        self.at = end
        return self._data[end - count : end]


def take_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Every whole frame in `data`, and the bytes after the last of them.

    Raises:
        websockets.exceptions.ProtocolError, PayloadTooBig: the server broke the protocol.
    """
    frames = []
    start = 0
    while start < len(data):
        source = _Source(data, start)
        parser = Frame.parse(source.read_exact, mask=False, max_size=LARGEST_FRAME)
        try:
            next(parser)
        except StopIteration as done:
            frames.append(done.value)
            start = source.at
        else:
            break
    return frames, data[start:]


def text_frame(text: bytes) -> bytes:
    """A masked text message, as clients send it."""
    return Frame(Opcode.TEXT, text).serialize(mask=True)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping."""
    return Frame(Opcode.PONG, payload).serialize(mask=True)


def close_frame(code: int) -> bytes:
    """A masked close frame."""
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=True)


def close_code(frame: Frame) -> int:
    """The code of a close frame; 1005 where there is none (RFC 6455, section 7.1.5)."""
    return Close.parse(bytes(frame.data)).code
