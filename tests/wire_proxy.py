"""A small TCP proxy between a store and its server, which breaks things in chosen moments.

It understands only where a message ends: MongoDB's wire protocol by its length (MongoDB manual,
"MongoDB Wire Protocol"), Redis by what one read brings, which is one batch of scanpush.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import Enum, auto

from bson import decode, encode

Reader = asyncio.StreamReader
OP_MSG = 2013
HEADER = struct.Struct("<iiii")


class Fault(Enum):
    """What happens to one request."""

    PASS = auto()
    CUT = auto()
    """The connection breaks before the server sees the request."""
    LOSE = auto()
    """The server does what was asked, and the connection breaks before its answer arrives."""
    HANG = auto()
    """Neither request nor answer ever arrives; the connection stays open."""


Plan = Callable[[bytes], Fault | bytes]
"""Decides about each request; bytes are sent back in the server's place."""


def no_fault(request: bytes) -> Fault:
    return Fault.PASS


class Proxy:
    """Listens on an unused port; `target` may be changed to where a failover leads.

    `tls`, set before `open`, makes it speak TLS to the client, and plainly to the target.
    """

    def __init__(self, target: int, *, message: Callable[[Reader], Awaitable[bytes]]) -> None:
        self.target = target
        self.plan: Plan = no_fault
        self.rewrite: Callable[[bytes], bytes] = lambda answer: answer
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self.requests = 0
        self._message = message
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accepted(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side is gone, or the test is over: the connection ends
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _serve(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(server)
        lose = asyncio.Event()
        back = asyncio.ensure_future(self._bring_back(server_reader, writer, lose))
        try:
            while request := await self._message(reader):
                self.requests += 1
                fault = self.plan(request)
                if isinstance(fault, bytes):
                    writer.write(fault)
                elif fault is Fault.CUT:
                    return
                elif fault is not Fault.HANG:
                    if fault is Fault.LOSE:
                        lose.set()
                    server.write(request)
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            server.transport.abort()
            self._writers.discard(server)

    async def _bring_back(
        self, reader: Reader, writer: asyncio.StreamWriter, lose: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while answer := await self._message(reader):
                if lose.is_set():
                    break
                writer.write(self.rewrite(answer))
        writer.transport.abort()

    def cut(self) -> None:
        """Break all connections now."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        await close_server(self._server)
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)


async def close_server(server: asyncio.Server) -> None:
    """Close it, and leave no connection to the garbage collector.

    asyncio forgets a connection without closing it when its server is closed two turns of the
    event loop after it was accepted. So accepting ends first, and what was accepted begins.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(5):
        await asyncio.sleep(0)
    server.close()


async def one_read(reader: Reader) -> bytes:
    """Whatever one read brings: for Redis."""
    return await reader.read(1 << 20)


async def one_message(reader: Reader) -> bytes:
    """One message of MongoDB's wire protocol; empty at the end."""
    try:
        header = await reader.readexactly(HEADER.size)
    except asyncio.IncompleteReadError:
        return b""
    return header + await reader.readexactly(HEADER.unpack(header)[0] - HEADER.size)


def command(message: bytes) -> dict[str, object]:
    """The body of an OP_MSG; {} for anything else."""
    if HEADER.unpack_from(message)[3] != OP_MSG or message[20] != 0:
        return {}
    (length,) = struct.unpack_from("<i", message, 21)
    return decode(message[21 : 21 + length])


def name_of(message: bytes) -> str:
    """The command that a request asks for: the first field of its body."""
    return next(iter(command(message)), "")


def reply(request: bytes, document: dict[str, object]) -> bytes:
    """An OP_MSG that answers `request`."""
    body = struct.pack("<i", 0) + b"\0" + encode(document)
    request_id = HEADER.unpack_from(request)[1]
    return HEADER.pack(HEADER.size + len(body), 1, request_id, OP_MSG) + body


def greeting(
    claim: Mapping[str, object], without: Collection[str] = ()
) -> Callable[[bytes], bytes]:
    """A rewriter by which the answer to ``hello`` says `claim`, and nothing of `without`."""

    def rewrite(answer: bytes) -> bytes:
        size, request_id, response_to, opcode = HEADER.unpack_from(answer)
        at = 21 if opcode == OP_MSG else 36  # OP_REPLY: flags, cursor, first, number, documents
        document = decode(answer[at:size])
        if not ({"isWritablePrimary", "ismaster"} & document.keys()):
            return answer
        for name in without:
            document.pop(name, None)
        body = answer[HEADER.size : at] + encode(document | claim)
        return HEADER.pack(HEADER.size + len(body), request_id, response_to, opcode) + body

    return rewrite


def as_replica_set(port: int, more: Mapping[str, object] = {}) -> Callable[[bytes], bytes]:
    """A rewriter by which a single server behind `port` says it is a replica set's primary.

    `more` is said as well, or instead: that it is a secondary, for example.

    Drivers retry writes on replica sets only (MongoDB manual, "Retryable Writes"). The version of
    the topology is left out: a driver that has it waits for the server to tell of a step-down
    (MongoDB's Server Discovery And Monitoring, "Streaming Protocol"), which it cannot of one that
    a test invents.
    """
    address = f"127.0.0.1:{port}"
    claim = {"setName": "rs0", "hosts": [address], "me": address, "primary": address, **more}
    return greeting(claim, without=["topologyVersion"])
