"""Latencies counted by value, so that those of processes, machines and runs can be added up.

The buckets are those of HdrHistogram for 1 microsecond to an hour at three significant digits, and
`encoded` is its compressed V2 form: every HdrHistogram library reads it. The kit needs adding,
percentiles and that form, and runs with the server's own packages, so it has its own, which
tests/bench/test_histogram.py holds to what the library `hdrhistogram` writes.
Format: https://github.com/HdrHistogram/HdrHistogram (AbstractHistogram, ZigZagEncoding).
"""

import base64
import binascii
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

from bench.kit.figures import QUANTILES, quantile_name

DIGITS = 3
SUB_BUCKETS = 2048
"""The first power of two that tells 2 * 10**DIGITS values apart."""
BUCKETS = 22
HALF = SUB_BUCKETS // 2
HALF_BITS = HALF.bit_length() - 1
LONGEST = 3_600_000_000
HEAD = struct.Struct(">iiiiqqd")
V2, V2_COMPRESSED = 0x1C849313, 0x1C849314
MOST_BYTES = 10 << 20
"""Of the counts when they are unpacked; all of them with nine bytes each are 220 KB."""
MS = 1000.0
"""Microseconds in a millisecond: the unit of every summary and file."""


class NotAHistogram(ValueError):
    """A text that is no encoded histogram of the kit."""


class Histogram:
    """Counts of durations. It is given seconds, and tells milliseconds."""

    __slots__ = ("counts",)

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self.counts: Counter[int] = Counter()
        self.take(seconds)

    def take(self, seconds: Iterable[float]) -> None:
        """Count these durations as well; what is longer than an hour counts as one."""
        self.counts.update(map(_index, seconds))

    def __add__(self, other: "Histogram") -> "Histogram":
        both = Histogram()
        both.counts = self.counts + other.counts
        return both

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.counts == other.counts

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return self.counts.total()

    def quantile(self, q: float) -> float:
        """The nearest-rank quantile in milliseconds, to three digits; nan when there are none."""
        return self.quantiles((q,))[0]

    def quantiles(self, wanted: Iterable[float]) -> list[float]:
        """The same for several, which must ascend."""
        steps = self._steps()
        seen, value = 0, math.nan
        found = []
        for q in wanted:
            rank = max(1, math.ceil(q * self.total))
            while seen < rank:
                step = next(steps, None)
                if step is None:
                    break
                value, seen = step
            found.append(value)
        return found

    def _steps(self) -> Iterator[tuple[float, int]]:
        """Every value that occurred, in milliseconds, and how many were at most as long."""
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            yield _highest(index) / MS, seen

    def bars(self, each: int = 10) -> list[tuple[float, float, int]]:
        """Counts for a drawing: least and greatest milliseconds, and how many lie between. `each`
        bars make a power of ten; those at both ends have something in them."""
        counts: Counter[int] = Counter()
        for index, count in self.counts.items():
            middle = max(1.0, (_lowest(index) + _highest(index)) / 2)
            counts[math.floor(each * math.log10(middle / MS))] += count
        if not counts:
            return []
        bounds = range(min(counts), max(counts) + 1)
        return [(10 ** (n / each), 10 ** ((n + 1) / each), counts[n]) for n in bounds]

    def summary(self) -> dict[str, float]:
        """`n`, `mean`, `p50`, `p90`, `p99`, `p999` and `max`; only `n` when there are none."""
        if not self.total:
            return {"n": 0}
        *inner, highest = self.quantiles((*QUANTILES, 1.0))
        named = dict(zip(map(quantile_name, QUANTILES), inner, strict=True))
        every = {"mean": self.mean_and_deviation()[0], **named, "max": highest}
        return {"n": self.total, **{name: round(value, 3) for name, value in every.items()}}

    def mean_and_deviation(self) -> tuple[float, float]:
        """Mean and standard deviation in milliseconds, from the middles of the buckets."""
        middles = [((_lowest(i) + _highest(i) + 1) // 2, n) for i, n in self.counts.items()]
        mean = sum(value * n for value, n in middles) / max(1, self.total)
        square = sum((value - mean) ** 2 * n for value, n in middles) / max(1, self.total)
        return mean / MS, math.sqrt(square) / MS

    def encoded(self) -> str:
        """HdrHistogram's compressed V2 form, in base64."""
        packed = bytearray()
        at = 0
        for index in sorted(self.counts):
            if index > at:
                packed += _packed(at - index)  # A run of empty buckets is a negative number.
            packed += _packed(self.counts[index])
            at = index + 1
        plain = HEAD.pack(V2, len(packed), 0, DIGITS, 1, LONGEST, 1.0) + packed
        small = zlib.compress(plain)
        return base64.b64encode(struct.pack(">ii", V2_COMPRESSED, len(small)) + small).decode()

    @classmethod
    def decoded(cls, text: str) -> "Histogram":
        """From `encoded`, of this range and precision. Raises NotAHistogram."""
        made = cls()
        try:
            raw = base64.b64decode(text, validate=True)
            cookie, length = struct.unpack_from(">ii", raw)
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(raw[8 : 8 + length], MOST_BYTES)
            inner, size, offset, digits, lowest, longest, ratio = HEAD.unpack_from(plain)
        except (binascii.Error, struct.error, zlib.error, TypeError, ValueError):
            raise NotAHistogram("not an encoded histogram") from None
        if not unpacker.eof or len(plain) != HEAD.size + size:
            raise NotAHistogram("an encoded histogram that is not whole")
        known = (V2_COMPRESSED, V2, 0, DIGITS, 1, LONGEST, 1.0)
        if (cookie, inner, offset, digits, lowest, longest, ratio) != known:
            raise NotAHistogram("a histogram of another form, range or precision")
        at = 0
        for number in _unpacked(plain[HEAD.size :]):
            if number < 0:
                at -= number
                continue
            if number:
                made.counts[at] = number
            at += 1
        if at > (BUCKETS + 1) * HALF:
            raise NotAHistogram("an encoded histogram with too many counts")
        return made

    def distribution(self) -> str:
        """The percentile distribution as HdrHistogram prints it (.hgrm), in milliseconds."""
        lines = [
            f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}",
            "",
        ]
        total, level = self.total, 0.0
        steps = list(self._steps())
        for value, seen in steps:
            share = 100.0 * seen / total
            while level <= share < 100.0:
                rarity = 1 / (1 - level / 100)
                lines.append(f"{value:12.3f} {level / 100:2.12f} {seen:10d} {rarity:14.2f}")
                # Five lines until the distance to 100 % is halved.
                level += 100 / (5 * 2 ** (math.floor(math.log2(rarity)) + 1))
        if steps:
            lines.append(f"{steps[-1][0]:12.3f} {1:2.12f} {total:10d}")
        mean, deviation = self.mean_and_deviation()
        highest = steps[-1][0] if steps else 0.0
        return "\n".join(
            [
                *lines,
                f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
                f"#[Max     = {highest:12.3f}, Total count    = {total:12d}]",
                f"#[Buckets = {BUCKETS:12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
                "",
            ]
        )


def _index(seconds: float) -> int:
    value = min(LONGEST, max(0, round(seconds * 1e6)))
    bucket = max(0, value.bit_length() - HALF_BITS - 1)
    return (bucket << HALF_BITS) + (value >> bucket)


def _lowest(index: int) -> int:
    bucket = max(0, (index >> HALF_BITS) - 1)
    return (index - (bucket << HALF_BITS)) << bucket


def _highest(index: int) -> int:
    return _lowest(index + 1) - 1


def _packed(number: int) -> bytes:
    """ZigZag and LEB128; a number of the kit is far from the nine bytes where the form differs."""
    value = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _unpacked(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value >> 1 if not value & 1 else -(value + 1 >> 1)
            value = shift = 0
