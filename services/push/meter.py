"""How much each socket has said in the present second."""

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
