"""Line charts as inline SVG: no script, no font, nothing from outside."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 34
COLOURS = ("var(--first)", "var(--second)", "var(--third)")

Scale = Callable[[float, float], tuple[float, float]]
"""Turns a pair of values into a position in the drawing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; points with a nan leave a gap."""

    name: str
    points: Sequence[tuple[float, float]]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover low to high: steps of 1, 2 or 5 times a power of ten."""
    span = high - low or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [step * index for index in range(first, last + 1)]


def label(value: float) -> str:
    """A short number for an axis."""
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1e3:g}k"
    return f"{value:g}"


def chart(title: str, lines: Sequence[Line], x_name: str, y_name: str, log_x: bool = False) -> str:
    """An `<figure>` with one chart; an empty string when there is nothing to draw."""
    points = [point for line in lines for point in line.points if _drawable(point)]
    if len(points) < 2:
        return ""
    xs = [math.log10(x) if log_x else x for x, _ in points]
    x_low, x_high = min(xs), max(xs)
    y_ticks = nice_ticks(0.0, max(y for _, y in points) or 1.0)
    y_high = y_ticks[-1]

    def scale(x: float, y: float) -> tuple[float, float]:
        across = ((math.log10(x) if log_x else x) - x_low) / ((x_high - x_low) or 1.0)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / y_high * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_grid(y_ticks, scale, x_low if not log_x else 10**x_low)]
    parts += _x_labels(x_low, x_high, log_x, scale)
    for line, colour in zip(lines, COLOURS):
        parts.append(_curve(line, colour, scale))
    parts.append(_legend(lines, y_name, x_name))
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _drawable(point: tuple[float, float]) -> bool:
    return all(math.isfinite(value) for value in point)


def _grid(ticks: Sequence[float], scale: Scale, x_at: float) -> str:
    out = []
    for tick in ticks:
        _, y = scale(x_at, tick)
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{label(round(tick, 10))}</text>"
        )
    return "".join(out)


def _x_labels(low: float, high: float, log_x: bool, scale: Scale) -> list[str]:
    if log_x:
        values = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    else:
        values = [tick for tick in nice_ticks(low, high, 8) if low <= tick <= high]
    return [
        f'<text class="tick" x="{scale(value, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 16}" '
        f'text-anchor="middle">{label(round(value, 10))}</text>'
        for value in values
    ]


def _curve(line: Line, colour: str, scale: Scale) -> str:
    path, pen = [], "M"
    for point in line.points:
        if not _drawable(point):
            pen = "M"
            continue
        x, y = scale(*point)
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return f'<path class="curve" style="stroke:{colour}" d="{"".join(path)}"/>'


def _legend(lines: Sequence[Line], y_name: str, x_name: str) -> str:
    parts = [
        f'<text class="tick" x="{LEFT}" y="{TOP - 5}">{html.escape(y_name)}</text>'
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{html.escape(x_name)}</text>"
    ]
    if len(lines) > 1:
        for index, (line, colour) in enumerate(zip(lines, COLOURS)):
            x = WIDTH - RIGHT - 110 * (len(lines) - index)
            parts.append(
                f'<rect x="{x}" y="{TOP - 13}" width="10" height="10" style="fill:{colour}"/>'
                f'<text class="tick" x="{x + 14}" y="{TOP - 4}">{html.escape(line.name)}</text>'
            )
    return "".join(parts)
