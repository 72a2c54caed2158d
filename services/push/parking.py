"""Idle sockets as bare file descriptors (docs/essays/parking.md).

A parked socket is a number in one kernel queue and a row of `SocketTable`: no object, no task, no
timer, no buffer. This module reads, writes and closes; what the bytes mean is the business of
`SocketProtocol`, and which scene a socket belongs to is the hub's.

The life of a descriptor:

    park ──> OPEN ──> CLOSING ──> closed     the server asked: an answer, or a deadline
              ├──> LINGERING ──> closed      the peer broke the protocol and may still send
              └──> closed                    the peer asked, or is gone
"""

import asyncio
import logging
import os
import socket
import struct
from array import array
from collections.abc import Callable, Sequence
from enum import IntEnum

from services.clock import Clock
from services.push.close_codes import CloseCode, Ending, ending_of
from services.push.poller import Poller
from services.push.protocol import ClientMessage, Phase, SocketProtocol, close_frame
from services.push.timers import TimerWheel

log = logging.getLogger("scanpush.push.parking")

SLICE = 8
"""Descriptors handled in one turn of the event loop. The queue is level-triggered and reports the
rest again in the next turn, behind all other callbacks: 6,000 pages leaving at once delay no
callback by more than this many reads."""

READ_BYTES = 8192
"""Read at a time: above the largest message, far below what a flood could make the server hold."""

CLOSE_SECONDS = 3
"""How long a peer has to answer a close frame, or to read what is still unsent."""

FRAME_SECONDS = 10
"""How long a peer may take from the first byte of a frame to the end of its message."""

DEADLINES_PER_TICK = 512

FRAGMENTS_PER_SECOND = 256
"""Continuation frames a socket may send in a second: enough for a 4 KiB message in small pieces,
too few to keep a core busy with empty ones (RFC 6455, section 5.4, sets no limit)."""

CHUNK = 1024
"""How many rows the table grows by."""

KEY_BYTES = 16

_DEADLINE = struct.Struct("=IQ")
"""A descriptor and the connection it belonged to."""

_EMPTY_PONG = b"\x8a\x80"
"""Masked pong without payload: with its four bytes of mask the whole answer to a ping."""

_CLOSE_WITH_CODE = b"\x88\x82"
"""Masked close with a code and no reason: with mask and code the whole answer to a close."""

_MESSAGE = 1 << 16


class SocketState(IntEnum):
    """Where a descriptor is in its life."""

    FREE = 0
    """Not, or no longer, a parked socket."""
    OPEN = 1
    CLOSING = 2
    """A close frame was sent (or its rest is due), and the peer's is awaited, with a deadline."""
    LINGERING = 3
    """The sending side is shut down. What still comes is discarded until the peer is gone, with a
    deadline."""


class SocketTable:
    """One row per parked descriptor, found by the descriptor's number. No I/O and no rules.

    The kernel hands out the lowest free descriptor, so the numbers are dense, and plain arrays do
    instead of an object per socket: the garbage collector sees a handful of arrays, however many
    sockets are parked.

    `connections` guards against reuse of a descriptor: code that returns to a descriptor after an
    await asks `holds` whether it is still the same socket.
    """

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        """The scene. The very object that the hub's registry has as its key, so that a row holds
        eight bytes of it, not sixteen."""
        self.connections = array("Q")
        """The connection id, unique in this process; 0: free."""
        self.states = bytearray()
        """A `SocketState`."""
        self.silence = bytearray()
        """Pings sent since the peer was last heard."""
        self.codes = array("H")
        """The close code that was sent, while closing."""
        self.seqs = array("I")
        """The `seq` of the newest status written."""
        self.numbers = array("I")
        """The order of the scene's sockets (`store.Attachment`)."""
        self.due = array("I")
        """The Unix second at which the scene is to be read again."""
        self.count = 0

    def add(self, fd: int, key: bytes, connection: int) -> None:
        """Begin a row. The descriptor must be free."""
        if fd >= len(self.states):
            self._grow(fd + 1 - len(self.states))
        self.keys[fd] = key
        self.connections[fd] = connection
        self.states[fd] = SocketState.OPEN
        self.silence[fd] = self.codes[fd] = self.seqs[fd] = self.numbers[fd] = self.due[fd] = 0
        self.count += 1

    def remove(self, fd: int) -> None:
        """End a row; must come before the descriptor is closed, because its number is reused."""
        self.states[fd] = SocketState.FREE
        self.keys[fd] = b""
        self.connections[fd] = 0
        self.count -= 1

    def key(self, fd: int) -> bytes:
        return self.keys[fd]

    def holds(self, fd: int, connection: int) -> bool:
        """Whether the descriptor still belongs to that connection."""
        return fd < len(self.connections) and self.connections[fd] == connection

    def state(self, fd: int) -> int:
        return self.states[fd] if fd < len(self.states) else SocketState.FREE

    def __len__(self) -> int:
        """One past the highest descriptor there is room for."""
        return len(self.states)

    def _grow(self, missing: int) -> None:
        more = -(-missing // CHUNK) * CHUNK
        self.keys.extend([b""] * more)
        self.states.extend(bytes(more))
        self.silence.extend(bytes(more))
        for column in (self.connections, self.codes, self.seqs, self.numbers, self.due):
            column.frombytes(bytes(more * column.itemsize))


class RateMeter:
    """Counts messages and fragments by descriptor; all counts are dropped each second.

    Only sockets that sent something in this second are in it, so silent ones cost nothing.

    Args:
        messages_per_second: the limit; 0 means none.
    """

    def __init__(self, messages_per_second: int) -> None:
        self._limit = messages_per_second
        self._second = 0
        # Messages in the upper bits and fragments in the lower sixteen of one number.
        self._counts: dict[int, int] = {}

    def message(self, fd: int, now: float) -> bool:
        """Count a message, a ping, or an unsolicited pong; False when it is one too many."""
        return self._add(fd, _MESSAGE, now) // _MESSAGE <= self._limit or not self._limit

    def fragment(self, fd: int, now: float) -> bool:
        """Count a continuation frame; False when it is one too many."""
        fragments = self._add(fd, 1, now) % _MESSAGE
        return fragments <= FRAGMENTS_PER_SECOND or not self._limit

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed; its next owner starts from zero."""
        self._counts.pop(fd, None)

    def _add(self, fd: int, amount: int, now: float) -> int:
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        total = self._counts.get(fd, 0) + amount
        # Fragments never carry over into the messages: both stop counting far above any limit.
        if total % _MESSAGE == _MESSAGE - 1:
            total -= 1
        self._counts[fd] = total
        return total


class Parking:
    """All parked sockets of this process. Every method is a plain call that never waits.

    Args:
        on_messages: called with (fd, connection, scene key, messages), in the order in which they
            arrived. The socket is not read on until `resume`.
        on_close: called with (scene key, connection, ending) exactly once for each parked
            connection, when it takes no more messages. Neither callback may wait or raise.
        messages_per_second: what one socket may send; over it 4429. 0: no limit.
    """

    def __init__(
        self,
        on_messages: Callable[[int, int, bytes, Sequence[ClientMessage]], None],
        on_close: Callable[[bytes, int, Ending], None],
        clock: Clock,
        messages_per_second: int,
    ) -> None:
        self.table = SocketTable()
        self._on_messages = on_messages
        self._on_close = on_close
        self._clock = clock
        self._meter = RateMeter(messages_per_second)
        self._poller = Poller()
        self._deadlines = TimerWheel(_DEADLINE.size)
        self._protocols: dict[int, SocketProtocol] = {}
        """Sockets in the middle of a message or a close; an idle socket has none."""
        self._unsent: dict[int, bytes] = {}
        """The rest of what a slow peer still gets before it is closed."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Begin to serve on the running event loop."""
        self._loop = asyncio.get_running_loop()
        # One descriptor for the loop, whatever the number of sockets: the queue is nested.
        self._loop.add_reader(self._poller.fileno(), self._ready)

    def close_all(self) -> None:
        """Close every socket at once, without a close frame, and stop serving."""
        for fd in range(len(self.table)):
            if self.table.state(fd) != SocketState.FREE:
                self._drop(fd, Ending.LEAVING)
        if self._loop is not None:
            self._loop.remove_reader(self._poller.fileno())
            self._loop = None
            self._poller.close()

    @property
    def active(self) -> int:
        """Sockets in the middle of a message or a close."""
        return len(self._protocols)

    def park(self, fd: int, key: bytes, connection: int) -> None:
        """Take over a descriptor: closing it is the parking's business from now on."""
        self.table.add(fd, key, connection)
        self._poller.watch(fd)

    def receive(self, fd: int, connection: int, data: bytes) -> None:
        """Take in what the peer sent before it was parked, in the same packet as its upgrade."""
        if self.table.holds(fd, connection):
            self._receive(fd, data)

    def send(self, fd: int, data: bytes) -> bool:
        """Write whole frames to an open socket; False if that ended it.

        A small frame to an idle socket always fits into the kernel's buffer. If it does not, the
        peer has not read for long: it gets the rest and 4413 if it reads in time, and no more.
        """
        if self.table.state(fd) != SocketState.OPEN:
            return False
        rest = self._write(fd, data)
        if rest:
            self._hold_unsent(fd, rest + self._close_bytes(fd, CloseCode.SLOW))
            self._begin_closing(fd, CloseCode.SLOW)
        return rest == b""

    def close(self, fd: int, code: CloseCode, last: bytes = b"") -> None:
        """Write `last` and a close frame in one piece, and wait a moment for the peer's answer."""
        if self.table.state(fd) != SocketState.OPEN:
            return
        rest = self._write(fd, last + self._close_bytes(fd, code))
        if rest is None:
            return
        if rest:
            self._hold_unsent(fd, rest)
        self._begin_closing(fd, code)
        protocol = self._protocols.get(fd)
        if protocol is not None and protocol.phase is Phase.DONE and not rest:
            self._drop(fd, ending_of(code))

    def ping(self, fd: int, frame: bytes) -> bool:
        """Write a ping; a peer that answered none of the last two is dropped instead.

        Returns whether a ping was written.
        """
        if self.table.state(fd) != SocketState.OPEN:
            return False
        if self.table.silence[fd] >= 2:
            self._drop(fd, Ending.SILENT)
            return False
        self.table.silence[fd] += 1
        return self.send(fd, frame)

    def resume(self, fd: int, connection: int) -> None:
        """The socket's messages are carried out: answer it and read on, if it is still there."""
        protocol = self._protocols.get(fd)
        if protocol is None or not self.table.holds(fd, connection):
            return
        protocol.busy = False
        if protocol.paused:
            protocol.paused = False
            self._poller.watch(fd)
        self._advance(fd, protocol)

    def tick(self, now: float) -> None:
        """Enforce deadlines. To be called several times a second with the monotonic time."""
        for record in self._deadlines.take(now, DEADLINES_PER_TICK):
            fd, connection = _DEADLINE.unpack(record)
            # The descriptor may have been closed and reused since the deadline was filed.
            if self.table.holds(fd, connection) and self.table.state(fd) != SocketState.OPEN:
                self._drop(fd, Ending.GONE)
        for fd, protocol in list(self._protocols.items()):
            if now - protocol.began > FRAME_SECONDS and not protocol.busy:
                self.close(fd, CloseCode.SLOW)

    # Reading.

    def _ready(self) -> None:
        for fd, writable in self._poller.poll(SLICE):
            # An earlier event of this slice may have closed it.
            if self.table.state(fd) == SocketState.FREE:
                continue
            if writable:
                self._flush(fd)
            else:
                self._read(fd)

    def _read(self, fd: int) -> None:
        protocol = self._protocols.get(fd)
        if protocol is not None and protocol.busy:
            # Its bytes can wait in the kernel, which also slows the peer down.
            protocol.paused = True
            self._poller.forget(fd)
            return
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd, Ending.GONE)
        # Pongs and answers to a close are nearly all that idle sockets send. Where such a frame is
        # whole, expected and alone, no protocol object is made for it.
        elif (
            len(data) == 6
            and data.startswith(_EMPTY_PONG)
            and protocol is None
            and self.table.silence[fd] > 0
        ):
            self.table.silence[fd] = 0
        elif (
            len(data) == 8
            and data.startswith(_CLOSE_WITH_CODE)
            and protocol is None
            and fd not in self._unsent
            and self.table.state(fd) == SocketState.CLOSING
        ):
            self._drop(fd, Ending.CLOSED_BY_PEER)
        elif self.table.state(fd) != SocketState.LINGERING:
            self._receive(fd, data)

    def _receive(self, fd: int, data: bytes) -> None:
        now = self._clock.monotonic()
        protocol = self._protocols.get(fd)
        if protocol is None:
            code = self.table.codes[fd]
            protocol = SocketProtocol(CloseCode(code) if code else None, now)
            self._protocols[fd] = protocol
        pongs_due, self.table.silence[fd] = self.table.silence[fd], 0
        protocol.receive(
            data,
            pongs_due,
            lambda: self._meter.message(fd, now),
            lambda: self._meter.fragment(fd, now),
        )
        self._advance(fd, protocol)

    def _advance(self, fd: int, protocol: SocketProtocol) -> None:
        """Pass messages on; once they are carried out, write the answers, then close if it is over.

        In this order an ack is stored before the close frame behind it is answered.
        """
        if protocol.messages:
            messages, protocol.messages = protocol.messages, []
            protocol.busy = True
            self._on_messages(fd, self.table.connections[fd], self.table.key(fd), messages)
            return
        answers = protocol.outgoing()
        rest = self._write(fd, answers) if answers and fd not in self._unsent else b""
        if rest is None:
            return
        if protocol.phase is Phase.FAILED:
            self._linger(fd, protocol.failure or CloseCode.PROTOCOL)
        elif rest or protocol.phase is Phase.DONE:
            self._drop(fd, Ending.SLOW if rest else Ending.CLOSED_BY_PEER)
        elif protocol.idle:
            del self._protocols[fd]

    # Writing.

    def _write(self, fd: int, data: bytes) -> bytes | None:
        """Write what the kernel takes now. Returns the rest; None if the socket is gone."""
        try:
            return data[os.write(fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._drop(fd, Ending.GONE)
            return None

    def _close_bytes(self, fd: int, code: CloseCode) -> bytes:
        protocol = self._protocols.get(fd)
        return close_frame(code) if protocol is None else protocol.close(code)

    def _hold_unsent(self, fd: int, rest: bytes) -> None:
        protocol = self._protocols.get(fd)
        if protocol is not None and protocol.paused:
            protocol.paused = False
            self._poller.watch(fd)
        self._unsent[fd] = rest
        self._poller.watch_for_room(fd)

    def _flush(self, fd: int) -> None:
        rest = self._write(fd, self._unsent.get(fd, b""))
        if rest:
            self._unsent[fd] = rest
        elif rest is not None:
            self._unsent.pop(fd, None)
            self._poller.watch_for_input(fd)

    # Endings.

    def _begin_closing(self, fd: int, code: CloseCode) -> None:
        """A close frame is on its way: no more messages for this socket."""
        if self.table.state(fd) != SocketState.OPEN:
            return
        self.table.states[fd] = SocketState.CLOSING
        self.table.codes[fd] = code
        due = int(self._clock.monotonic()) + CLOSE_SECONDS + 1
        self._deadlines.add(due, _DEADLINE.pack(fd, self.table.connections[fd]))
        self._on_close(self.table.key(fd), self.table.connections[fd], ending_of(code))

    def _linger(self, fd: int, code: CloseCode) -> None:
        """Shut down the sending side, and discard what still comes.

        Closing with unread input would send a reset, which can overtake the close frame (RFC 6455,
        section 7.1.1, asks for just this half-close).
        """
        self._protocols.pop(fd, None)
        self._begin_closing(fd, code)
        self.table.states[fd] = SocketState.LINGERING
        try:
            with socket.socket(fileno=os.dup(fd)) as duplicate:
                duplicate.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(fd, Ending.GONE)

    def _drop(self, fd: int, ending: Ending) -> None:
        """Forget the descriptor, then close it: in that order, because its number is reused."""
        if self.table.state(fd) == SocketState.OPEN:
            self._on_close(self.table.key(fd), self.table.connections[fd], ending)
        self.table.remove(fd)
        protocol = self._protocols.pop(fd, None)
        self._unsent.pop(fd, None)
        self._meter.forget(fd)
        if protocol is None or not protocol.paused:
            self._poller.forget(fd)
        os.close(fd)
