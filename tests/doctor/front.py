"""A proxy in front of a server, with a switch for each mistake that operators make in one."""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class Front:
    """Forwards requests, one a connection, to a port of this machine.

    Args:
        headers: set on each request; an empty value takes a header away.
        answers: by a part of the path, what is answered instead.
        around: bytes before and after the body of a response to the console's check.
    """

    def __init__(
        self,
        port: int,
        *,
        headers: Mapping[str, str] | None = None,
        answers: Mapping[str, bytes] | None = None,
        around: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._port = port
        self._headers = headers or {}
        self._answers = answers or {}
        self._around = around
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            instead = [answer for part, answer in self._answers.items() if part in path]
            if instead:
                writer.write(instead[0])
            else:
                await self._forward(head, reader, writer)
        writer.close()

    async def _forward(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        upgrade = re.search(r"^upgrade: *websocket", head, re.IGNORECASE | re.MULTILINE)
        changes = dict(self._headers)
        if not upgrade:
            changes["Connection"] = "close"
        for name, value in changes.items():
            head = re.sub(rf"(?im)^{name}:.*\r\n", "", head)
            if value:
                head = head.replace("\r\n", f"\r\n{name}: {value}\r\n", 1)
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        forth.write(head.encode() + body)
        try:
            if upgrade:
                both = (_copy(back, writer), _copy(reader, forth))
                await asyncio.gather(*both)
                return
            answer = await back.read()
            if "echostr=" in head and any(self._around):
                start, _, echo = answer.partition(b"\r\n\r\n")
                before, after = self._around
                start = re.sub(rb"(?i)content-length: *\d+\r\n", b"", start + b"\r\n")
                answer = start + b"\r\n" + before + echo + after
            writer.write(answer)
        finally:
            forth.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(65536):
            target.write(chunk)
    target.close()


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole response."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
