"""A client that can do everything wrong: frames are made byte by byte (RFC 6455 section 5.2)."""

import asyncio
import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

from tests.services.push.kit import ORIGIN, TOKEN, WITHIN_SECONDS, Node

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

ACK = b'{"type":"ack","seq":1}'


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    announced: int | None = None,
) -> bytes:
    """One frame as a client sends it; `announced` lies about the length."""
    length = len(payload) if announced is None else announced
    mark = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([mark | length])
    elif length < 65536:
        head += struct.pack("!BH", mark | 126, length)
    else:
        head += struct.pack("!BQ", mark | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass
class Received:
    """One frame from the server."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """The close code; None in an empty close frame."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


class Raw:
    """One TCP connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, receive_buffer: int = 0) -> Self:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=2**12))

    @classmethod
    async def open(cls, node: Node, scene_str: str, early: bytes = b"", **options: int) -> Self:
        """Upgrade, with `early` in the same packet, and read the first status."""
        client = await cls.connect(node.port, **options)
        client.send(upgrade(scene_str) + early)
        assert b" 101 " in await client.head()
        assert (await client.read()).opcode == TEXT
        return client

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        """The answer's head."""
        async with asyncio.timeout(WITHIN_SECONDS):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def read(self) -> Received:
        """The next frame. Fails if the server masks, or sets reserved bits."""
        async with asyncio.timeout(WITHIN_SECONDS):
            first, second = await self.reader.readexactly(2)
            length = second
            if second == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            assert first & 0x70 == 0 and second < 127, "not a frame of the server"
            return Received(first & 15, await self.reader.readexactly(length))

    async def closing(self) -> int | None:
        """The code of the close frame, whatever comes before it."""
        while (received := await self.read()).opcode != CLOSE:
            pass
        return received.code

    async def eof(self) -> None:
        """Return once the server has closed its side; nothing but that may come."""
        async with asyncio.timeout(WITHIN_SECONDS):
            assert await self.reader.read() == b""
        self.leave()

    def leave(self) -> None:
        self.writer.transport.abort()


def upgrade(scene_str: str, token: str = TOKEN, **headers: str | None) -> bytes:
    """A good request for a socket; `headers` replace (None: leave out), ``_`` for ``-``."""
    lines: dict[str, str | None] = {
        "Host": "node.example",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Origin": ORIGIN,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"scanpush.v1, watch.{token}",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    }
    lines.update({name.replace("_", "-"): value for name, value in headers.items()})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"GET /ws/{scene_str} HTTP/1.1\r\n{head}\r\n".encode()
