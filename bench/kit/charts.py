"""Charts as inline SVG: no script, no font, nothing from outside.

Each is drawn twice, wide and narrow, and the style sheet shows the one that fits: a drawing that is
only made smaller on a phone would have texts that cannot be read there.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 36, 42
SIZES = (("wide", 560, 230), ("narrow", 350, 220))
"""Class, width and height of each drawing."""

FEWEST_POINTS = 5
"""Fewer make no curve: the tiles and the table say as much."""

LETTER = 6.5
"""About the width of a letter of a tick's label."""

HOUR, MINUTE = 3600.0, 60.0
LONG_SECONDS = 300.0
"""From there on an axis of time is in minutes, and from sixty times as much in hours."""

Place = Callable[[float], float]
"""Where a value is on an axis, in pixels of the drawing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; points with a nan leave a gap."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment or a value of the x axis that has a name."""

    at: float
    name: str


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover low to high: steps of 1, 2 or 5 times a power of ten."""
    span = high - low or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [round(step * index, 10) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten, as few as cover low to high."""
    steps = (1, 2, 5)
    first = 3 * math.floor(math.log10(low))
    values = [steps[n % 3] * 10.0 ** (n // 3) for n in range(first, first + 60)]
    return [
        round(value, 10)
        for n, value in enumerate(values)
        if values[min(n + 1, len(values) - 1)] > low and (n == 0 or values[n - 1] < high)
    ]


def label(value: float) -> str:
    """A short number for an axis."""
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1e3:g}k"
    return f"{value:g}"


def over_time(
    title: str, lines: Sequence[Line], y_name: str, marks: Sequence[Mark] = (), note: str = ""
) -> str:
    """A `<figure>` of curves by the seconds since the start; empty with too few points.

    The y axis begins at zero. Where the greatest value is a hundred times the least or more, as
    with latencies of a run that had one bad moment, it is logarithmic, and says so.
    """
    points = [p for line in lines for p in line.points if all(map(math.isfinite, p))]
    if max((_drawable(line) for line in lines), default=0) < FEWEST_POINTS:
        return ""
    x_high = max(x for x, _ in points)
    unit, seconds = _time_unit(x_high)
    x_ticks = [seconds * tick for tick in nice_ticks(0.0, x_high / seconds, 8)]
    values = [y for _, y in points]
    least, greatest = min(values), max(values)
    logarithmic = least > 0 and greatest / least >= 100
    ticks = log_ticks(least, greatest) if logarithmic else nice_ticks(0.0, greatest or 1.0, 4)
    y_axis = f"{y_name}, logarithmic" if logarithmic else y_name

    def drawing(width: int, height: int) -> Iterable[str]:
        across = _scale(0.0, x_high, LEFT, width - RIGHT)
        up = _scale(ticks[0], ticks[-1], height - BOTTOM, TOP, logarithmic)
        yield from _y_axis(ticks, up, width)
        shown = [tick for tick in x_ticks if tick <= x_high]
        names = [label(round(tick / seconds, 10)) for tick in shown]
        yield from _x_axis(shown, names, across, height)
        yield _axis_names(y_axis, f"{unit} since the start", width, height)
        yield from _marks(marks, across, width, height)
        for number, line in enumerate(lines):
            yield _curve(line, number, across, up)

    return _figure(title, [line.name for line in lines], drawing, note)


def distribution(
    title: str, bars: Sequence[tuple[float, float, int]], marks: Sequence[Mark], note: str = ""
) -> str:
    """A `<figure>` of how many durations lie between two bounds in milliseconds, on a logarithmic
    axis; empty where there are too few of them."""
    if sum(count for _, _, count in bars) < FEWEST_POINTS * 4:
        return ""
    low, high = bars[0][0], bars[-1][1]
    most = nice_ticks(0.0, max(count for _, _, count in bars), 4)

    def drawing(width: int, height: int) -> Iterable[str]:
        across = _scale(low, high, LEFT, width - RIGHT, True)
        up = _scale(0.0, most[-1], height - BOTTOM, TOP)
        yield from _y_axis([tick for tick in most if tick == int(tick)], up, width)
        for least, greatest, count in bars:
            x, y = across(least), up(count)
            yield (
                f'<rect class="bar" x="{x + 0.5:.1f}" y="{y:.1f}" height="{up(0) - y:.1f}" '
                f'width="{max(1.0, across(greatest) - x - 1):.1f}"/>'
            )
        shown = [tick for tick in log_ticks(low, high) if low <= tick <= high]
        yield from _x_axis(shown, list(map(label, shown)), across, height)
        yield _axis_names("how many", "milliseconds, logarithmic", width, height)
        yield from _marks(marks, across, width, height)

    return _figure(title, [], drawing, note)


def _drawable(line: Line) -> int:
    return sum(all(map(math.isfinite, point)) for point in line.points)


def _time_unit(longest: float) -> tuple[str, float]:
    if longest < LONG_SECONDS:
        return "seconds", 1.0
    return ("minutes", MINUTE) if longest < LONG_SECONDS * MINUTE else ("hours", HOUR)


def _scale(low: float, high: float, first: float, last: float, log: bool = False) -> Place:
    if log:
        linear = _scale(math.log10(low), math.log10(high), first, last)
        return lambda value: linear(math.log10(value))
    return lambda value: first + (value - low) / ((high - low) or 1.0) * (last - first)


def _figure(
    title: str, names: Sequence[str], drawing: Callable[[int, int], Iterable[str]], note: str
) -> str:
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 24 8" aria-hidden="true"><path class="curve c{n}" '
        f'd="M0 4H24"/></svg>{html.escape(name)}</span>'
        for n, name in enumerate(names)
        if len(names) > 1
    )
    drawn = "".join(
        f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(drawing(width, height))}</svg>'
        for name, width, height in SIZES
    )
    below = f'<p class="soft">{html.escape(note)}</p>' if note else ""
    return (
        f"<figure><figcaption><b>{html.escape(title)}</b>{keys}</figcaption>{drawn}{below}</figure>"
    )


def _y_axis(ticks: Sequence[float], up: Place, width: int) -> Iterable[str]:
    free = math.inf
    for tick in ticks:
        y = up(tick)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{width - RIGHT}"/>'
        if free - y >= 14:
            yield _text(LEFT - 8, y + 4, label(tick), "end")
            free = y


def _x_axis(
    ticks: Sequence[float], names: Sequence[str], across: Place, height: int
) -> Iterable[str]:
    free = -math.inf
    for tick, name in zip(ticks, names, strict=True):
        x, half = across(tick), len(name) * LETTER / 2
        if x - half > free:
            yield _text(x, height - BOTTOM + 16, name, "middle")
            free = x + half + LETTER


def _axis_names(y_name: str, x_name: str, width: int, height: int) -> str:
    return _text(0, 11, y_name, "start") + _text(width - RIGHT, height - 6, x_name, "end")


def _marks(marks: Sequence[Mark], across: Place, width: int, height: int) -> Iterable[str]:
    """A dashed line each; a name only where it does not run into the one before."""
    ordered = sorted(marks, key=lambda mark: mark.at)
    for mark in ordered:
        yield f'<path class="mark" d="M{across(mark.at):.1f} {TOP - 4}V{height - BOTTOM}"/>'
    free = LEFT - 1.0
    for mark in ordered:
        x, length = across(mark.at), len(mark.name) * LETTER
        at_left = x + 4 + length > width
        begin = x - 4 - length if at_left else x + 4
        if begin > free:
            anchor = "end" if at_left else "start"
            yield _text(x - 4 if at_left else x + 4, TOP - 8, mark.name, anchor, "tick named")
            free = begin + length


def _curve(line: Line, number: int, across: Place, up: Place) -> str:
    path, pen = [], "M"
    for x, y in line.points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        path.append(f"{pen}{across(x):.1f} {up(y):.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    # "h0": with round ends a point alone between two gaps is a dot.
    return f'<path class="curve c{number}" d="{"".join(path)}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )
