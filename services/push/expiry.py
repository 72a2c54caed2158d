"""When to read a scene again because its time may be up: no timer a scene, a bucket a second."""

from collections.abc import Callable

from services.clock import Clock
from services.push.buckets import Buckets
from services.push.slots import KEY_BYTES, Slots

SCENES_A_TICK = 4096
"""How many ends are looked at in one tick; cheap, because the reading itself is in slices."""


class Expiry:
    """Files each socket's scene under the second its state ends, and asks for it then.

    A scene may have been extended or have moved on meanwhile; whoever reads it files it again.
    The record in `Slots.due` says which filing counts, so superseded ones are skipped.
    """

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._buckets = Buckets(KEY_BYTES)

    def file(self, fd: int, key: bytes, ends_at: float) -> None:
        """Ask again just after `ends_at` (Unix time), or in a second if that has passed: then the
        store's clock is behind ours."""
        second = max(int(ends_at), int(self._clock.now())) + 1
        if self._slots.due[fd] != second:
            self._slots.due[fd] = second
            self._buckets.file(second, key)

    def take(self, descriptor: Callable[[bytes], int | None]) -> list[bytes]:
        """The scenes to read now; call it several times a second.

        Args:
            descriptor: the scene's socket on this node, if it still has one.
        """
        now = self._clock.now()
        due = []
        for key in self._buckets.take(now, SCENES_A_TICK):
            fd = descriptor(key)
            if fd is not None and self._slots.due[fd] <= now:
                due.append(key)
        return due
