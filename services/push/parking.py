"""What this node remembers of a parked socket: one record, found by the descriptor's number.

The kernel hands out the lowest free descriptor, so the numbers are dense and plain arrays do
instead of an object a socket: the garbage collector sees a handful of arrays, however many
sockets are parked.

How much each socket has said in the present second.

Idle sockets as bare descriptors (design: holding sockets; docs/essays/parking.md).

A parked socket is a number in one kernel queue and a record in `Slots`: no object, no task, no
timer, no buffer. This module moves bytes and closes; what the bytes mean is `Conversation`'s
business, and which scene a socket belongs to is the hub's.

The life of a descriptor:

    park ──> OPEN ──> CLOSING ──> closed          we asked first; the peer's answer, or a deadline
              ├──> LINGERING ──> closed           the peer broke the rules and may still be sending
              └──> closed                         the peer asked, or is simply gone
"""

import logging
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from tornado.ioloop import IOLoop

from services.clock import Clock
from services.push.close_codes import CloseCode, Ending, ending_of
from services.push.poller import Poller
from services.push.protocol import Conversation, Said, Standing, close_frame
from services.push.timers import Buckets

CHUNK = 1024
"""How many records the arrays grow by."""

KEY_BYTES = 16


class SlotState(IntEnum):
    """Where a descriptor is in its life."""

    FREE = 0
    """Not ours, or not ours any more."""
    OPEN = 1
    CLOSING = 2
    """We sent a close frame (or owe its rest) and wait for the peer's, with a deadline."""
    LINGERING = 3
    """All is said; what still comes is thrown away until the peer is gone, with a deadline."""


class Slots:
    """Records of parked descriptors. A plain table: no input or output, no rules.

    `connections` guards against descriptor reuse: whoever comes back to a descriptor after an
    await asks `holds` whether it is still the same socket.
    """

    def __init__(self) -> None:
        self.keys = bytearray()
        """Sixteen bytes a descriptor: the scene."""
        self.connections = array("Q")
        """The connection id, unique in this process; 0: free."""
        self.states = bytearray()
        """A `SlotState`."""
        self.silence = bytearray()
        """Pings sent since the peer was last heard."""
        self.codes = array("H")
        """The close code we sent, while closing."""
        self.seqs = array("I")
        """The `seq` of the newest status written."""
        self.due = array("I")
        """The Unix second at which the scene is to be read again."""
        self.count = 0

    def put(self, fd: int, key: bytes, connection: int) -> None:
        """Begin a record. The descriptor must be free."""
        if fd >= len(self.states):
            self._grow(fd + 1 - len(self.states))
        self.keys[fd * KEY_BYTES : (fd + 1) * KEY_BYTES] = key
        self.connections[fd] = connection
        self.states[fd] = SlotState.OPEN
        self.silence[fd] = self.codes[fd] = self.seqs[fd] = self.due[fd] = 0
        self.count += 1

    def forget(self, fd: int) -> None:
        """End a record; must come before the descriptor is closed."""
        self.states[fd] = SlotState.FREE
        self.connections[fd] = 0
        self.count -= 1

    def key(self, fd: int) -> bytes:
        return bytes(self.keys[fd * KEY_BYTES : (fd + 1) * KEY_BYTES])

    def holds(self, fd: int, connection: int) -> bool:
        """Whether the descriptor still belongs to that connection."""
        return fd < len(self.connections) and self.connections[fd] == connection

    def state(self, fd: int) -> int:
        return self.states[fd] if fd < len(self.states) else SlotState.FREE

    def __len__(self) -> int:
        """One past the highest descriptor there is room for."""
        return len(self.states)

    def _grow(self, missing: int) -> None:
        more = -(-missing // CHUNK) * CHUNK
        self.keys.extend(bytes(more * KEY_BYTES))
        self.states.extend(bytes(more))
        self.silence.extend(bytes(more))
        for column in (self.connections, self.codes, self.seqs, self.due):
            column.frombytes(bytes(more * column.itemsize))


FRAGMENTS_PER_SECOND = 256
"""Continuation frames a socket may send in a second: enough for a 4 KiB message in small pieces,
too few to keep a core busy with empty ones (RFC 6455 section 5.4 sets no limit)."""

_MESSAGE = 1 << 16


class Meter:
    """Counts messages and fragments by descriptor; everything is forgotten each second.

    Only sockets that spoke in this second are in it, so silent ones cost nothing.

    Args:
        messages_per_second: the limit; 0 means none.
    """

    def __init__(self, messages_per_second: int) -> None:
        self._limit = messages_per_second
        self._second = 0
        self._said: dict[int, int] = {}

    def message(self, fd: int, now: float) -> bool:
        """Count a message, a ping, or a pong nobody asked for; False when it is one too many."""
        return self._add(fd, _MESSAGE, now) // _MESSAGE <= self._limit or not self._limit

    def fragment(self, fd: int, now: float) -> bool:
        """Count a continuation frame; False when it is one too many."""
        spent = self._add(fd, 1, now) % _MESSAGE
        return spent <= FRAGMENTS_PER_SECOND or not self._limit

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed; its next owner starts afresh."""
        self._said.pop(fd, None)

    def _add(self, fd: int, amount: int, now: float) -> int:
        if int(now) != self._second:
            self._second = int(now)
            self._said.clear()
        total = self._said.get(fd, 0) + amount
        # Fragments never carry over into the messages: both stop counting far above any limit.
        if total % _MESSAGE == _MESSAGE - 1:
            total -= 1
        self._said[fd] = total
        return total


log = logging.getLogger("scanpush.push.parking")

SLICE = 8
"""Descriptors handled in one turn of the loop. What is left is reported again in the next turn,
after everybody else's callbacks: six thousand pages leaving at once delay nobody by more."""

READ_BYTES = 8192
"""Read at a time: above the largest message, far below what a flood could make us hold."""

CLOSE_SECONDS = 3
"""How long a peer has to answer our close frame, or to read what is still unsent."""

FRAME_SECONDS = 10
"""How long a peer may take from the first byte of a frame to the end of its message."""

DEADLINES_A_TICK = 512

_DEADLINE = struct.Struct("=IQ")
"""A descriptor and the connection it belonged to."""

_EMPTY_PONG = b"\x8a\x80"
"""Masked pong without payload: with its four bytes of mask the whole answer to our ping."""

_CLOSE_WITH_CODE = b"\x88\x82"
"""Masked close with a code and no reason: with mask and code the whole answer to our close."""


class Ears(Protocol):
    """Who is told what happens to parked sockets. Called from the loop; must not wait or raise."""

    def heard(self, fd: int, connection: int, key: bytes, said: Sequence[Said]) -> None:
        """Messages arrived, in this order. The socket is not read on until `Parking.resume`."""

    def left(self, key: bytes, connection: int, ending: Ending) -> None:
        """The socket takes no more messages. Said exactly once for each parked connection."""


class Parking:
    """All parked sockets of this process. Every method is a plain call that never waits.

    Args:
        messages_per_second: what one socket may say; over it 4429. 0: no limit.
    """

    def __init__(self, ears: Ears, clock: Clock, messages_per_second: int) -> None:
        self.slots = Slots()
        self._ears = ears
        self._clock = clock
        self._meter = Meter(messages_per_second)
        self._poller = Poller()
        self._deadlines = Buckets(_DEADLINE.size)
        self._talks: dict[int, Conversation] = {}
        """Sockets that have begun to say something."""
        self._unsent: dict[int, bytes] = {}
        """The rest of what a slow peer still gets before it is closed."""
        self._loop: IOLoop | None = None

    def open(self) -> None:
        """Begin to serve on the current IOLoop."""
        self._loop = IOLoop.current()
        self._loop.add_handler(self._poller.fileno(), self._ready, IOLoop.READ)

    def shut(self) -> None:
        """Close every socket at once, without a close frame, and stop serving."""
        for fd in range(len(self.slots)):
            if self.slots.state(fd) != SlotState.FREE:
                self._drop(fd, Ending.LEAVING)
        if self._loop is not None:
            self._loop.remove_handler(self._poller.fileno())
            self._loop = None
            self._poller.close()

    @property
    def talking(self) -> int:
        """Sockets that are in the middle of saying something."""
        return len(self._talks)

    def park(self, fd: int, key: bytes, connection: int) -> None:
        """Take over a descriptor: from now on it is ours to close."""
        self.slots.put(fd, key, connection)
        self._poller.watch(fd)

    def serve(self, fd: int, connection: int, early: bytes) -> None:
        """Take in what the peer said before it was parked, in the same packet as its upgrade."""
        if self.slots.holds(fd, connection):
            self._take_in(fd, early)

    def send(self, fd: int, data: bytes) -> bool:
        """Write whole frames to an open socket; False if that ended it.

        A small frame to an idle socket always fits into the kernel's buffer. If it does not, the
        peer has not read for long: it gets the rest and 4413 if it hurries, and nothing more.
        """
        if self.slots.state(fd) != SlotState.OPEN:
            return False
        rest = self._write(fd, data)
        if rest:
            self._hold(fd, rest + self._closing_bytes(fd, CloseCode.SLOW))
            self._leave(fd, CloseCode.SLOW)
        return rest == b""

    def close(self, fd: int, code: CloseCode, last: bytes = b"") -> None:
        """Write `last` and a close frame in one piece, and wait a moment for the peer's answer."""
        if self.slots.state(fd) != SlotState.OPEN:
            return
        rest = self._write(fd, last + self._closing_bytes(fd, code))
        if rest is None:
            return
        if rest:
            self._hold(fd, rest)
        self._leave(fd, code)
        talk = self._talks.get(fd)
        if talk is not None and talk.standing is Standing.DONE and not rest:
            self._drop(fd, ending_of(code))

    def ping(self, fd: int, frame: bytes) -> bool:
        """Write a ping if the peer may still be there; drop it if it answered none of the last two.

        Returns whether a ping was written.
        """
        if self.slots.state(fd) != SlotState.OPEN:
            return False
        if self.slots.silence[fd] >= 2:
            self._drop(fd, Ending.SILENT)
            return False
        self.slots.silence[fd] += 1
        return self.send(fd, frame)

    def resume(self, fd: int, connection: int) -> None:
        """What the socket said is carried out: answer it and read on, if it is still there."""
        talk = self._talks.get(fd)
        if talk is None or not self.slots.holds(fd, connection):
            return
        talk.busy = False
        if talk.deaf:
            talk.deaf = False
            self._poller.watch(fd)
        self._carry_on(fd, talk)

    def tick(self, now: float) -> None:
        """Enforce deadlines. To be called several times a second with the monotonic time."""
        for record in self._deadlines.take(now, DEADLINES_A_TICK):
            fd, connection = _DEADLINE.unpack(record)
            if self.slots.holds(fd, connection) and self.slots.state(fd) != SlotState.OPEN:
                self._drop(fd, Ending.GONE)
        for fd, talk in list(self._talks.items()):
            if now - talk.began > FRAME_SECONDS and not talk.busy:
                self.close(fd, CloseCode.SLOW)

    # Events.

    def _ready(self, _queue: object, _events: int) -> None:
        for fd, room in self._poller.poll(SLICE):
            # An earlier event of this slice may have closed it.
            if self.slots.state(fd) == SlotState.FREE:
                continue
            if room:
                self._flush(fd)
            else:
                self._read(fd)

    def _read(self, fd: int) -> None:
        talk = self._talks.get(fd)
        if talk is not None and talk.busy:
            # Its bytes can wait in the kernel, which also slows the peer down.
            talk.deaf = True
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
        elif len(data) == 6 and data.startswith(_EMPTY_PONG) and self._expected_pong(fd, talk):
            self.slots.silence[fd] = 0
        elif len(data) == 8 and data.startswith(_CLOSE_WITH_CODE) and self._said_bye(fd, talk):
            self._drop(fd, Ending.CLOSED_BY_PEER)
        elif self.slots.state(fd) != SlotState.LINGERING:
            self._take_in(fd, data)

    def _expected_pong(self, fd: int, talk: Conversation | None) -> bool:
        """Whether these six bytes are a whole frame, and one that we asked for."""
        return talk is None and self.slots.silence[fd] > 0

    def _said_bye(self, fd: int, talk: Conversation | None) -> bool:
        """Whether these eight bytes are a whole frame, and all that we still waited for."""
        return talk is None and fd not in self._unsent and self.slots.state(fd) == SlotState.CLOSING

    def _take_in(self, fd: int, data: bytes) -> None:
        now = self._clock.monotonic()
        talk = self._talks.get(fd)
        if talk is None:
            code = self.slots.codes[fd]
            talk = Conversation(CloseCode(code) if code else None, now)
            self._talks[fd] = talk
        pongs_due, self.slots.silence[fd] = self.slots.silence[fd], 0
        talk.receive(
            data,
            pongs_due,
            lambda: self._meter.message(fd, now),
            lambda: self._meter.fragment(fd, now),
        )
        self._carry_on(fd, talk)

    def _carry_on(self, fd: int, talk: Conversation) -> None:
        """Pass on what was said; once that is done, write the answers, then close if it is over."""
        if talk.said:
            said, talk.said = talk.said, []
            talk.busy = True
            self._ears.heard(fd, self.slots.connections[fd], self.slots.key(fd), said)
            return
        answers = talk.outgoing()
        rest = self._write(fd, answers) if answers and fd not in self._unsent else b""
        if rest is None:
            return
        if talk.standing is Standing.FAILED:
            self._linger(fd, talk.failure or CloseCode.PROTOCOL)
        elif rest or talk.standing is Standing.DONE:
            self._drop(fd, Ending.SLOW if rest else Ending.CLOSED_BY_PEER)
        elif talk.idle:
            del self._talks[fd]

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

    def _closing_bytes(self, fd: int, code: CloseCode) -> bytes:
        talk = self._talks.get(fd)
        return close_frame(code) if talk is None else talk.close(code)

    def _hold(self, fd: int, rest: bytes) -> None:
        talk = self._talks.get(fd)
        if talk is not None and talk.deaf:
            talk.deaf = False
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

    def _leave(self, fd: int, code: CloseCode) -> None:
        """Our close frame is under way: no more messages for this socket."""
        if self.slots.state(fd) != SlotState.OPEN:
            return
        self.slots.states[fd] = SlotState.CLOSING
        self.slots.codes[fd] = code
        self._file_deadline(fd)
        self._ears.left(self.slots.key(fd), self.slots.connections[fd], ending_of(code))

    def _linger(self, fd: int, code: CloseCode) -> None:
        """Say that we are done, and throw away what still comes.

        Closing with unread input would send a reset, which can overtake our close frame (RFC 6455
        section 7.1.1 asks for just this half-close).
        """
        self._talks.pop(fd, None)
        self._leave(fd, code)
        self.slots.states[fd] = SlotState.LINGERING
        try:
            with socket.socket(fileno=os.dup(fd)) as duplicate:
                duplicate.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(fd, Ending.GONE)

    def _file_deadline(self, fd: int) -> None:
        due = int(self._clock.monotonic()) + CLOSE_SECONDS + 1
        self._deadlines.file(due, _DEADLINE.pack(fd, self.slots.connections[fd]))

    def _drop(self, fd: int, ending: Ending) -> None:
        """Forget the descriptor, then close it: in that order, because its number is reused."""
        if self.slots.state(fd) == SlotState.OPEN:
            self._ears.left(self.slots.key(fd), self.slots.connections[fd], ending)
        self.slots.forget(fd)
        talk = self._talks.pop(fd, None)
        self._unsent.pop(fd, None)
        self._meter.forget(fd)
        if talk is None or not talk.deaf:
            self._poller.forget(fd)
        os.close(fd)
