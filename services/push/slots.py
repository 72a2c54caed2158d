"""What this node remembers of a parked socket: one record, found by the descriptor's number.

The kernel hands out the lowest free descriptor, so the numbers are dense and plain arrays do
instead of an object a socket: the garbage collector sees a handful of arrays, however many
sockets are parked.
"""

from array import array
from enum import IntEnum

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
