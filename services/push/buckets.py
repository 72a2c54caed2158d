"""Deadlines without timers: records filed under the second they are due."""

from collections.abc import Iterator


class Buckets:
    """Records of a fixed size, filed by second; one bytearray a second, no object a record.

    A record cannot be taken out early: whoever gets one back asks whether it still matters.
    """

    def __init__(self, record_bytes: int) -> None:
        self._size = record_bytes
        self._by_second: dict[int, bytearray] = {}
        self._ready = bytearray()
        """Due records that the last `take` had no room for."""

    def file(self, second: int, record: bytes) -> None:
        """Keep `record` until `second`."""
        bucket = self._by_second.get(second)
        if bucket is None:
            bucket = self._by_second[second] = bytearray()
        bucket += record

    def take(self, now: float, limit: int) -> Iterator[bytes]:
        """Give back at most `limit` records whose second has begun; the rest waits for the next."""
        if not self._ready:
            for second in sorted(second for second in self._by_second if second <= now):
                self._ready += self._by_second.pop(second)
        taken = bytes(self._ready[: limit * self._size])
        del self._ready[: len(taken)]
        for start in range(0, len(taken), self._size):
            yield taken[start : start + self._size]

    def __len__(self) -> int:
        filed = sum(len(bucket) for bucket in self._by_second.values())
        return (filed + len(self._ready)) // self._size
