"""The listening sockets: who serves a new connection, decided by the first bytes it sends.

    a plain upgrade   ->  `FastUpgrade`, which parks the descriptor (handlers/sockets.py)
    anything else     ->  `Http1Server`, which gets the bytes as they came (handlers/http1.py)

A fast path: of a page's upgrade, which comes in one piece and plain in every respect, a parser, a
transport and a task would be most of the cost (docs/performance.md). It must equal the upgrade
through HTTP: tests/conformance runs on both.
"""

import asyncio
import errno
import logging
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from handlers.http1 import Http1Server
from services.logs import PacedLog
from services.push.handshake import Headers

log = logging.getLogger("scanpush.http")

SLICE = 8
"""Connections accepted in one turn of the event loop."""

FIRST_READ_BYTES = 4096
"""What is looked at of a new connection."""

PAUSE_SECONDS = 0.1
"""How long no connection is accepted after the system refused a descriptor."""

INHERITS_NODELAY = sys.platform == "linux"
"""Whether a connection has TCP_NODELAY from its listening socket, which saves a call for each."""

Address = tuple[str, int]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_HEAD = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [ -~]*\r\n)+)\r\n"
)

# Clients send the same dozen names in every head.
_titled = lru_cache(maxsize=512)(str.title)


@dataclass(slots=True)
class Head:
    """A whole request head of so many bytes; the request has no body."""

    method: str
    target: str
    headers: Headers = field(repr=False)
    length: int


def plain_head(data: bytes) -> Head | None:
    """Read the head that `data` begins with.

    None for everything that is not plain: an unfinished head, another version than HTTP/1.1, no
    Host, a header twice, a body, folded lines, other white space, bytes outside ASCII. This is no
    HTTP parser: handlers/http1.py decides about all of that.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    lines = [line.partition(": ") for line in match[3].decode("ascii").split("\r\n")[:-1]]
    headers = {_titled(name): value.strip() for name, _, value in lines}
    if len(headers) < len(lines) or "Host" not in headers:
        return None
    if "Content-Length" in headers or "Transfer-Encoding" in headers:
        return None
    return Head(match[1].decode("ascii"), match[2].decode("ascii"), headers, match.end())


class Listener:
    """Accepts connections.

    Args:
        http: gets every connection that is not served here.
        upgrade: takes over a connection that begins with a plain upgrade (True), or does not.
    """

    def __init__(
        self,
        http: Http1Server,
        upgrade: Callable[[socket.socket, Address, Head, bytes], bool],
    ) -> None:
        self._http = http
        self._upgrade = upgrade
        self._sockets: list[socket.socket] = []
        self._paced_log = PacedLog(log)

    def listen(self, sockets: list[socket.socket]) -> None:
        """Accept on bound, listening, non-blocking sockets; they are taken over and detached."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            # Two statuses in a row (scanned, authorized) must not wait for a delayed ACK.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):
                # Linux reports a connection when its first bytes are there, not before (tcp(7)).
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
            own = _ListeningSocket(listening)
            self._sockets.append(own)
            loop.add_reader(own, self._accept, own)

    def stop(self) -> None:
        """Accept no more; may be called twice. Connections that were accepted go on."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(SLICE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                # Without a descriptor, accepting again at once would only spin.
                self._paced_log.log(
                    logging.ERROR, "no descriptor for a connection", errno=error.errno
                )
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(PAUSE_SECONDS, self._accept_again, listening)
                return
            self._serve(connection, address)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _serve(self, connection: socket.socket, address: Address) -> None:
        connection.setblocking(False)
        try:
            data = connection.recv(FIRST_READ_BYTES)
        except BlockingIOError:
            data = b""
        except OSError:
            connection.close()
            return
        if data.startswith(b"GET /ws/"):
            head = plain_head(data)
            if head is not None and self._upgrade(connection, address, head, data[head.length :]):
                return
        if not data and self._http.capacity.is_reserved(connection.fileno()):
            self._http.log_scarcity()
            connection.close()
        else:
            self._http.adopt(connection, address[0], data)


class _ListeningSocket(socket.socket):
    """A listening socket that knows its family and type.

    `accept` asks for both each time, and making them an enum's members again takes the library a
    twentieth of a handshake.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._family, self._type = listening.family, listening.type
        super().__init__(listening.family, listening.type, fileno=listening.detach())
        self.setblocking(False)

    @property
    def family(self) -> socket.AddressFamily:
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        return self._type
