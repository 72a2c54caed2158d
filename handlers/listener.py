"""The head of an HTTP request of the plainest form, if a connection begins with all of it.

This is no HTTP parser: whatever is not plain is None, and a real parser decides about it.

The short way in: an upgrade that arrives in one piece never becomes a Tornado connection.

A connection, a stream, two tasks and a parsed header list a handshake are most of what a handshake
costs in Tornado. So what each new connection begins with is read here. If it is a request for a
socket of the plainest form, and nothing but the store can still refuse it, it is served from here;
the checks are those of `Admission`. Everything else, refusals included, is handed untouched to
Tornado's `HTTPServer`, byte for byte as it came, unless somebody else who looks for plain requests
takes it.
"""

import asyncio
import contextlib
import errno
import logging
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import responses

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from services.errors import ApiError
from services.logs import new_request_id
from services.push.admission import RETRY_SECONDS, Admission, Take, hung_up
from services.push.handshake import Headers, Offer, Request, refusal_answer
from services.tasks import Supervisor

_GET = b"GET /ws/"


def plain_request(head: bytes, remote_ip: str) -> tuple[Request, int] | None:
    """Read a whole request for a socket of the plainest form, and say how long its head is.

    None for everything else (another path, or not plain): a full HTTP parser decides about it.
    """
    if not head.startswith(_GET):
        return None
    found = plain_head(head)
    if found is None:
        return None
    return Request("GET", found.target, "HTTP/1.1", found.headers, remote_ip), found.length


_PLAIN = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [ -~]*\r\n)+)\r\n"
)


# Browsers send the same dozen names in every head.
_titled = lru_cache(maxsize=512)(str.title)


@dataclass(slots=True)
class Head:
    """A whole request head; its body, if it has one, begins after `length` bytes."""

    method: str
    target: str
    headers: Headers = field(repr=False)
    length: int


def plain_head(data: bytes) -> Head | None:
    """Read the head that `data` begins with.

    None for everything that is not plain: an unfinished head, another version than HTTP/1.1, no
    Host, a header twice, folded lines, other white space, bytes outside ASCII.
    """
    match = _PLAIN.match(data)
    if match is None:
        return None
    lines = [line.partition(": ") for line in match[3].decode("ascii").split("\r\n")[:-1]]
    headers = {_titled(name): value.strip() for name, _, value in lines}
    if len(headers) < len(lines) or "Host" not in headers:
        return None
    return Head(match[1].decode("ascii"), match[2].decode("ascii"), headers, match.end())


log = logging.getLogger("scanpush.push.reception")

SLICE = 8
"""Connections accepted in one turn of the loop."""

HEAD_BYTES = 4096
"""The longest head that is looked at; longer ones are Tornado's."""

SAID_AGAIN_SECONDS = 60
"""How often it is said that connections are turned away."""

PAUSE_SECONDS = 0.1
"""How long nobody is let in after the system refused a descriptor."""

INHERITS_NODELAY = sys.platform == "linux"
"""Whether a connection has TCP_NODELAY from its listening socket, which saves a call for each."""

Address = tuple[str, int]

Taker = Callable[[socket.socket, Address, bytes], bool]
"""Shown a new connection and what was read of it: takes both over (True), or not."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Reception:
    """Listens in the place of `HTTPServer.add_sockets`, and feeds that server.

    Args:
        server: gets every connection that is not served here.
        other: is asked about what is no request for a socket.
    """

    def __init__(
        self, server: HTTPServer, admission: Admission, supervisor: Supervisor, other: Taker
    ) -> None:
        self._server = server
        self._admission = admission
        self._supervisor = supervisor
        self._other = other
        self._sockets: list[socket.socket] = []
        self._said_at = float("-inf")

    def listen(self, sockets: list[socket.socket]) -> None:
        """Accept on bound, listening, non-blocking sockets; they become ours, and are detached."""
        for listening in sockets:
            if listening.family not in (socket.AF_INET, socket.AF_INET6):
                self._server.add_socket(listening)
                continue
            _prepare(listening)
            door = _Door(listening)
            self._sockets.append(door)
            IOLoop.current().add_handler(door, self._accept, IOLoop.READ)

    def stop(self) -> None:
        """Accept no more; may be called twice. Connections that were let in go on."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            IOLoop.current().remove_handler(listening)
            listening.close()
        self._server.stop()

    def _accept(self, listening: socket.socket, _events: int) -> None:
        for _ in range(SLICE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._pause(listening, error)
                return
            self._arrived(connection, address)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Without a descriptor accepting again at once would only spin."""
        log.error("no descriptor for a connection", extra={"errno": error.errno})
        loop = IOLoop.current()
        loop.remove_handler(listening)
        loop.call_later(PAUSE_SECONDS, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)

    def _arrived(self, connection: socket.socket, address: Address) -> None:
        connection.setblocking(False)
        try:
            data = connection.recv(HEAD_BYTES)
        except BlockingIOError:
            data = b""
        except OSError:
            connection.close()
            return
        found = plain_request(data, address[0])
        if found is not None and self._asks(found[0], connection, data[found[1] :]):
            return
        if found is None and self._other(connection, address, data):
            return
        # The system gives out the lowest free number, so a high one says how many are in use.
        if connection.fileno() >= self._admission.capacity.descriptors:
            self._turn_away(connection, bool(data))
            return
        hand_to(self._server, connection, address, data)

    def _turn_away(self, connection: socket.socket, asked: bool) -> None:
        """Idle connections must not take what stores and callbacks need."""
        now = IOLoop.current().time()
        if now - self._said_at > SAID_AGAIN_SECONDS:
            self._said_at = now
            log.error("the open-file limit is near: ordinary requests are turned away")
        refusal = ApiError("overloaded", "no descriptor to spare", retry_after=RETRY_SECONDS)
        with contextlib.suppress(OSError):
            if asked:
                headers, body = refusal_answer(refusal, new_request_id())
                connection.send(_answer(refusal.status, headers, body))
        connection.close()

    def _asks(self, request: Request, connection: socket.socket, early: bytes) -> bool:
        """Whether this request for a socket was served here."""
        try:
            offer = self._admission.check(request)
        except ApiError:
            return False
        self._admit(offer, connection, early)
        return True

    def _admit(self, offer: Offer, connection: socket.socket, early: bytes) -> None:
        def take() -> tuple[int, bytes] | None:
            if not INHERITS_NODELAY:
                try:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    connection.close()
                    return None
            return connection.detach(), early

        told = False
        try:
            waits = not self._admission.admit_at_hand(offer, take)
            told = True
        finally:
            if not told:
                connection.close()
        if waits:
            work = self._admit_in_time(offer, connection, take)
            self._supervisor.spawn(work, name="push upgrade")

    async def _admit_in_time(self, offer: Offer, connection: socket.socket, take: Take) -> None:
        try:
            await self._admission.admit(offer, take, lambda: hung_up(connection))
        except ApiError as refusal:
            await _refuse(connection, refusal.status, *self._admission.refused(refusal))
        finally:
            connection.close()


class _Door(socket.socket):
    """A listening socket that knows what it is.

    `accept` asks for family and type each time, and making them an enum's members again takes the
    library a twentieth of a handshake.
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


class _Begun(IOStream):
    """A stream that begins with what was read of the connection before."""

    def __init__(self, connection: socket.socket, begun: bytes, **options: int | None) -> None:
        self._begun = begun
        super().__init__(connection, **options)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Tornado asks here before it waits for the connection."""
        if not self._begun:
            return super().read_from_fd(buf)
        now, self._begun = self._begun[: len(buf)], self._begun[len(buf) :]
        buf[: len(now)] = now
        return len(now)


def hand_to(server: HTTPServer, connection: socket.socket, address: Address, begun: bytes) -> None:
    """Let Tornado serve a connection for good; `begun` was read of it already."""
    stream = _Begun(
        connection,
        begun,
        max_buffer_size=server.max_buffer_size,
        read_chunk_size=server.read_chunk_size,
    )
    server.handle_stream(stream, address)


async def _refuse(
    connection: socket.socket, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    try:
        # A few hundred bytes on a new connection: they fit, or nobody is there.
        connection.send(_answer(status, headers, body))
        connection.shutdown(socket.SHUT_WR)
        # Closing with the request still unread would send a reset that may overtake the answer.
        async with asyncio.timeout(1):
            while await asyncio.get_running_loop().sock_recv(connection, HEAD_BYTES):
                pass
    except (OSError, TimeoutError):
        return


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = responses.get(status, "Unknown")
    head = f"HTTP/1.1 {status} {reason}\r\n{lines}Connection: close\r\n\r\n"
    return head.encode() + body


def _prepare(listening: socket.socket) -> None:
    """Set what holds for every connection."""
    # Two statuses in a row (scanned, authorized) must not wait for a delayed ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        # Linux wakes us when a connection's first bytes are there, not before (tcp(7)).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
