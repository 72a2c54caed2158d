"""One HTML file with the outcome of a run, drawn to be read; it loads nothing else and prints well.

The outcome in one sentence comes first, then the figures that decide, one table of percentiles, and
the charts. Colours and type are those of static/base.css.
"""

import html
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kit.charts import Line, Mark, distribution, over_time
from bench.kit.histogram import Histogram
from bench.kit.job import FIGURES
from bench.kit.printout import rows
from services.settings.branding import shared_style

STYLE = Path(__file__).with_suffix(".css")

EYE = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><path fill-rule="evenodd" '
    'd="M3 3h26v26H3zm4 4v18h18V7zm5 5h8v8h-8z"/></svg>'
)

TITLES = {
    "begin": "begin a scene",
    "open": "open its socket",
    "scan_to_token": "scan to token",
    "whole": "whole visit",
}

STATISTICS = {"p50": ("p50", 1), "p90": ("p90", 10), "p99": ("p99", 100), "p999": ("p99.9", 1000)}
"""Titles of the percentiles, and of how many samples one tells more than the greatest does."""

MOST_POINTS = 160
"""Of a curve: a run of hours has tens of thousands of half seconds."""

SHOWN = {
    "stages": "",
    "sockets": "pages",
    "rate": "openings a second",
    "hold": "s",
    "churn": "visitors a second",
    "visit": "s a visitor",
    "together": "",
    "scans": "a second",
    "people": "different people",
    "abort": "",
    "as_you_go": "",
    "origin": "",
    "simulator": "",
    "processes": "",
    "machines": "",
    "timeout": "s",
    "settle": "s",
}
"""The options that the figures depend on, and the units of their values."""

MB = 1e6


def report(document: dict[str, Any], notes: list[str], faults: list[str]) -> str:
    """The whole page."""
    # The limits have a table of their own.
    others = [fault for fault in faults if not fault.startswith("limit crossed: ")]
    listed = "".join(f"<li>{html.escape(fault)}</li>" for fault in others)
    remarks = "".join(
        f'<p class="soft">{html.escape(note[:1].upper() + note[1:])}.</p>' for note in notes
    )
    word, good = _verdict(document, faults)
    sentence = headline(document)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(word)}: scanpush load report</title>"
        f"<style>{shared_style()}{STYLE.read_text()}</style></head><body><main>"
        f'<p class="head">{EYE}<b>scanpush load report</b>'
        f'<span class="verdict {"good" if good else "bad"}">{html.escape(word)}</span></p>'
        f'<h1>{html.escape(sentence)}</h1><p class="soft">{html.escape(_place(document))}</p>'
        + (f'<ul class="faults">{listed}</ul>' if listed else "")
        + _tiles(document)
        + _percentiles(document)
        + _limits(document)
        + _charts(document)
        + f'<div class="rest"><section><h2>Counts</h2>{_pairs(_counts(document))}'
        + f"<h2>Machine of the kit</h2>{_pairs(list(document['machine'].items()))}</section>"
        + f"<section><h2>The run</h2>{_run(document)}{remarks}</section></div>"
        "</main></body></html>\n"
    )


def headline(document: dict[str, Any]) -> str:
    """The outcome in one sentence or two, what went wrong first."""
    limits = document.get("limits", [])
    crossed = sum(limit["crossed"] for limit in limits)
    over = f"{crossed} of {len(limits)} limits crossed. " if crossed else ""
    return over + _result(document)


def _result(document: dict[str, Any]) -> str:
    login, opened, named = document["logins"], document["sockets"], document["figures"]
    scans, held = login["scans"], f"{opened['held_at_most']:,}"
    pages = f"{held} page{'' if held == '1' else 's'} held at once"
    wrong = [
        f"{named[name]:,} {what}"
        for name, what in (("lost", "lost"), ("duplicates", "twice"), ("failed", "failed"))
        if named[name]
    ]
    if login["misdelivered"]:
        wrong.insert(0, f"{login['misdelivered']:,} to the wrong page")
    token = named["scan_to_token"]
    if not scans:
        return f"{', '.join(wrong)}: {pages}." if wrong else f"{pages}, and none failed."
    if not token["n"]:
        return (
            f"Of {scans:,} scans none brought a token: {', '.join(wrong) or 'none came in time'}."
        )
    common = f"half had their token within {duration(token['p50'])}"
    rare = (
        f"99 of 100 within {duration(token['p99'])}"
        if token["n"] >= STATISTICS["p99"][1]
        else f"the slowest within {duration(token['max'])}"
    )
    people = "1 scan" if scans == 1 else f"{scans:,} scans"
    first = f"{people}: {', '.join(wrong)}" if wrong else f"{people}, none lost"
    return f"{first}; {common}, {rare}, with {pages}."


def duration(milliseconds: float) -> str:
    """Two or three digits and a unit, which no line break parts."""
    if milliseconds >= 1000:
        digits = ",.0f" if milliseconds >= 100_000 else ".3g"
        return f"{milliseconds / 1000:{digits}}\N{NO-BREAK SPACE}s"
    digits = ".0f" if milliseconds >= 10 else ".2g"
    return f"{milliseconds:{digits}}\N{NO-BREAK SPACE}ms"


def _verdict(document: dict[str, Any], faults: Sequence[str]) -> tuple[str, bool]:
    crossed = document.get("limits_crossed", [])
    word = "Clean run"
    if faults:
        word = "Limit crossed" if len(faults) == len(crossed) else "Faults found"
    return (f"{word}, ended early" if document["ended_early"] else word), not faults


def _place(document: dict[str, Any]) -> str:
    """Where, when, for how long, and by which version."""
    day, _, time = document["at"].partition("T")
    zone = time[8:]
    runs = len(document["commands"])
    options = document["options"]
    parts = [
        "a scanpush started for the run" if options.get("serve") else str(options["url"]),
        f"{day} {time[:5]} {'UTC' if zone == '+00:00' else f'UTC{zone}'}",
        f"{document['seconds']:,.0f} s",
        f"load kit of scanpush {document['version']}",
    ]
    if runs > 1:
        parts.insert(1, f"sum of {runs} runs")
    if options.get("conduct"):
        parts.insert(1, f"from {options['machines']} machines")
    return " · ".join(parts)


def _tiles(document: dict[str, Any]) -> str:
    login, opened, named = document["logins"], document["sockets"], document["figures"]
    token = named["scan_to_token"]
    visitors = ", and visitors" if document["options"].get("churn") else ""
    tiles = [("pages held at once", f"{opened['held_at_most']:,}",
              f"{opened['asked']:,} asked for{visitors}", False)]  # fmt: skip
    if login["scans"]:
        left = f", {login['scans_left_out']:,} left out" if login["scans_left_out"] else ""
        tiles.append(("scans", f"{login['scans']:,}", f"{login['delivered']:,} logged in{left}",
                      False))  # fmt: skip
    if token["n"]:
        tiles.append(("scan to token, p50", duration(token["p50"]), "half were as fast", False))
        enough = token["n"] >= STATISTICS["p99"][1]
        tiles.append(
            ("scan to token, p99", duration(token["p99"]), "1 in 100 was slower", False)
            if enough
            else ("scan to token, slowest", duration(token["max"]), f"of {token['n']:,}", False)
        )
    if login["scans"]:
        for name, what in (("lost", "no token in time"), ("duplicates", "again after the ack")):
            tiles.append((name, f"{named[name]:,}", what, named[name] > 0))
    tiles.append(("failed", f"{named['failed']:,}", "scenes, sockets, scans", named["failed"] > 0))
    if limits := document.get("limits"):
        crossed = sum(limit["crossed"] for limit in limits)
        kept = f"{len(limits) - crossed} of {len(limits)}"
        tiles.append(("limits kept", kept, "of --fail-if", crossed > 0))
    drawn = "".join(
        f'<div{" class=off" if off else ""}><dt>{html.escape(title)}</dt>'
        f"<dd>{html.escape(value)}</dd><small>{html.escape(more)}</small></div>"
        for title, value, more, off in tiles
    )
    return f'<dl class="tiles">{drawn}</dl>'


def _percentiles(document: dict[str, Any]) -> str:
    head = "".join(f"<th>{title}</th>" for title, _ in STATISTICS.values())
    body = ""
    for name, title in TITLES.items():
        figure = document["figures"][name]
        if not figure["n"]:
            continue
        cells = [
            f"{figure[key]:,.2f}" if figure["n"] >= fewest else "&ndash;"
            for key, (_, fewest) in STATISTICS.items()
        ]
        cells += [f"{figure['max']:,.2f}", f"{figure['n']:,}", f"{figure['rate']:,.1f}"]
        body += f"<tr><th>{title}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    if not body:
        return ""
    return (
        "<h2>Latencies in milliseconds</h2>"
        f'<div class="wide-table"><table class="figures"><thead><tr><th></th>{head}<th>max</th>'
        f"<th>how many</th><th>a second</th></tr></thead><tbody>{body}</tbody></table></div>"
        '<p class="soft">All from when the thing was due. A dash: too few to tell such a '
        "percentile from the maximum.</p>"
    )


def _limits(document: dict[str, Any]) -> str:
    lines = "".join(
        f"<tr><th>{html.escape(limit['limit'])}</th><td>{html.escape(limit['measured'])}</td>"
        f"<td>{'<b>crossed</b>' if limit['crossed'] else 'kept'}</td></tr>"
        for limit in document.get("limits", [])
    )
    return (
        f'<h2>Limits (--fail-if)</h2><table class="pairs limits">{lines}</table>' if lines else ""
    )


def _pairs(lines: Sequence[tuple[str, Any]]) -> str:
    body = "".join(
        f"<tr><th>{html.escape(title)}</th><td>{html.escape(str(text))}</td></tr>"
        for title, text in lines
    )
    return f'<table class="pairs">{body}</table>'


def _counts(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the terminal's lines those that the table of percentiles has not."""
    return [(title, text) for title, text in rows(document) if not title.endswith("ms")]


def _run(document: dict[str, Any]) -> str:
    """The command, and every option that was in force."""
    commands = "\n".join(document["commands"])
    given = document["options"]
    without = {
        "visit": not given.get("churn"),
        "people": not given.get("scans"),
        "machines": not given.get("conduct"),
        "processes": bool(given.get("conduct")),
    }
    options = [
        (f"--{name.replace('_', '-')}", f"{_said(given[name])} {unit}")
        for name, unit in SHOWN.items()
        if given.get(name) not in (None, "", False, [], 0) and not without.get(name)
    ]
    return f"<pre>{html.escape(commands)}</pre>" + (_pairs(options) if options else "")


def _said(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


# The charts.


def _charts(document: dict[str, Any]) -> str:
    """Every chart that has something to show."""
    moments = document["timeline"]
    size = max(2, math.ceil(len(moments) / MOST_POINTS))
    bins = [moments[at : at + size] for at in range(0, len(moments), size)]
    marks = _turns(document)
    each = f"{moments[-1]['seconds'] / len(moments) * size:.2g} s" if moments else ""

    def curve(name: str, field: str, scale: float = 1.0) -> Line:
        return Line(name, [(b[-1]["seconds"], b[-1][field] * scale) for b in bins])

    def rate(name: str, field: str) -> Line:
        """Of a count that only grows."""
        points, then, before = [], 0.0, 0
        for group in bins:
            now, count = group[-1]["seconds"], group[-1][field]
            points.append((now, (count - before) / (now - then) if now > then else math.nan))
            then, before = now, count
        return Line(name, points)

    def latency(name: str, field: str, of: Any) -> Line:
        there = [[m[field] for m in group if m[field] is not None] for group in bins]
        return Line(name, [
            (group[-1]["seconds"], of(values) if values else math.nan)
            for group, values in zip(bins, there, strict=True)
        ])  # fmt: skip

    drawn = [over_time("Pages held", [curve("held", "held")], "pages", marks)]
    if document["logins"]["delivered"]:
        drawn.append(
            over_time(
                "Logins", [rate("logins", "delivered")], "a second", marks, f"Each point: {each}."
            )
        )
        drawn.append(
            over_time(
                "Scan to token over time",
                [latency("p50", "p50_ms", statistics.median), latency("p99", "p99_ms", max)],
                "milliseconds",
                marks,
                f"Each point: {each}, of the p99 the worst half second in it. With fewer than 100 "
                "scans in a half second p99 is the slowest of them.",
            )
        )
    drawn.append(_spread_of(document))
    if any(moment["rss_bytes"] for moment in moments):
        memory = [curve("server", "rss_bytes", 1 / MB)]
        drawn.append(over_time("Memory of the server", memory, "MB", marks))
        cpu = [_mean(bins, "server", "server_cpu"), _mean(bins, "kit", "kit_cpu")]
        drawn.append(over_time("CPU", cpu, "% of one core", marks))
    return f'<h2>Charts</h2><div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _mean(bins: Sequence[list[dict[str, Any]]], name: str, field: str) -> Line:
    return Line(
        name, [(b[-1]["seconds"], 100 * statistics.fmean(m[field] for m in b)) for b in bins]
    )


def _spread_of(document: dict[str, Any]) -> str:
    """How the latencies lie, of the logins or of the openings."""
    name = "scan_to_token" if document["figures"]["scan_to_token"]["n"] else "open"
    figure = document["figures"][name]
    bars = Histogram.decoded(document["result"][FIGURES[name]]).bars()
    marks = [
        Mark(figure[key], title)
        for key, (title, fewest) in STATISTICS.items()
        if figure["n"] >= max(fewest, 2) and key != "p90"
    ]
    return distribution(f"How long it took: {TITLES[name]}", bars, marks)


def _turns(document: dict[str, Any]) -> list[Mark]:
    """When each stage, or each phase, began."""
    begins: dict[str, float] = {}
    for moment in document["timeline"]:
        # A row is of the half second before it.
        begins.setdefault(moment["phase"], max(0.0, moment["seconds"] - 0.5))
    stages = document["options"].get("stages") or []
    if not stages:
        return [Mark(at, phase) for phase, at in begins.items()]
    at = begins.get("stages", 0.0)
    marks = []
    for stage in stages:
        length, _, pages = stage.partition(":")
        marks.append(Mark(at, f"to {int(pages):,}"))
        at += float(length.removesuffix("s"))
    return marks
