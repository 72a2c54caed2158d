"""Percentiles and spreads, as the reports show them."""

import math
import statistics
from collections.abc import Iterable, Sequence

QUANTILES = (0.5, 0.9, 0.99, 0.999)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The nearest-rank quantile of values in ascending order; nan when there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def quantile_name(q: float) -> str:
    """`p50` for 0.5, `p999` for 0.999."""
    return f"p{format(q, 'g')[2:].ljust(2, '0')}"


def summary(values: Iterable[float], digits: int = 3) -> dict[str, float]:
    """`n`, `mean`, `p50`, `p90`, `p99`, `p999` and `max`; only `n` when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    named = {quantile_name(q): quantile(ordered, q) for q in QUANTILES}
    every = {"mean": statistics.fmean(ordered), **named, "max": ordered[-1]}
    return {"n": len(ordered), **{name: round(value, digits) for name, value in every.items()}}


def median_spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return statistics.median(values), min(values), max(values)


def spread_text(values: Sequence[float], digits: int = 2) -> str:
    """`median [least-greatest]`, with thousands marked."""
    if not values:
        return "-"
    middle, low, high = median_spread(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} [{low:,.{digits}f}-{high:,.{digits}f}]"
