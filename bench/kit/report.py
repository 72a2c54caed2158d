"""One HTML file with the figures and their plots; it loads nothing else."""

import html
import math
from typing import Any

from bench.kit.charts import Line, chart
from bench.kit.printout import rows

STYLE = """
:root{color-scheme:light dark;--ink:#1c2127;--soft:#66707c;--grid:#dfe3e8;--paper:#fff;
--first:#0b7a4b;--second:#c2410c;--third:#4453c4;--good:#0b7a4b;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4af;--grid:#323943;--paper:#14181d;
--first:#4cc38a;--second:#ff9b5c;--third:#8d9bff;--good:#4cc38a;--bad:#ff8a80}}
body{margin:0 auto;max-width:60rem;padding:2rem 1.2rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2.4rem 0 .6rem}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.34rem .6rem .34rem 0;border-bottom:1px solid var(--grid);text-align:left;
vertical-align:top}th{font-weight:500;width:17rem}
figure{margin:1.6rem 0}figcaption{font-weight:600;margin-bottom:.3rem}svg{width:100%;height:auto}
.grid{stroke:var(--grid);stroke-width:1}.tick{fill:var(--soft);font-size:11px}
.curve{fill:none;stroke-width:1.8;stroke-linejoin:round}
"""


def report(document: dict[str, Any], notes: list[str], faults: list[str]) -> str:
    """The whole page."""
    verdict = "".join(f'<p class="bad">{html.escape(fault)}</p>' for fault in faults)
    if not faults:
        verdict = '<p class="good">No faults: nothing lost, misdelivered or refused.</p>'
    early = (
        "<p>Ended early; these are the figures until then.</p>" if document["ended_early"] else ""
    )
    remarks = "".join(f'<p class="soft">{html.escape(note)}</p>' for note in notes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>scanpush load run</title><style>{STYLE}</style></head><body>"
        f"<h1>scanpush load run</h1><p class='soft'>{html.escape(document['at'])} &middot; "
        f"{html.escape(str(document['options']['url']))}</p>{early}{verdict}{remarks}"
        f"<h2>Figures</h2>{table(rows(document))}{charts(document)}"
        f"<h2>Asked for</h2>{table(_flat(document['options']))}"
        f"<h2>Machine of the kit</h2>{table(_flat(document['machine']))}</body></html>"
    )


def table(lines: list[tuple[str, str]]) -> str:
    """Titles and texts."""
    body = "".join(
        f"<tr><th>{html.escape(title)}</th><td>{html.escape(text)}</td></tr>"
        for title, text in lines
    )
    return f"<table>{body}</table>"


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), str(value))
        for name, value in values.items()
        if value not in (None, "")
    ]


def charts(document: dict[str, Any]) -> str:
    """Every plot that has something to show."""
    moments = document["timeline"]

    def curve(name: str, field: str, scale: float = 1.0) -> Line:
        return Line(
            name,
            [
                (moment["seconds"], math.nan if moment[field] is None else moment[field] * scale)
                for moment in moments
            ],
        )

    seconds = "seconds since the start"
    drawn = [chart("Sockets held", [curve("held", "held")], seconds, "sockets")]
    drawn.append(
        chart("Handshakes", [curve("opened", "opens_per_second")], seconds, "sockets a second")
    )
    if document["logins"]["delivered"]:
        latency = [curve("p50", "p50_ms"), curve("p99", "p99_ms")]
        drawn.append(chart("Scan to token over time", latency, seconds, "ms"))
        drawn.append(_ladder(document["logins"]))
    if any(moment["rss_bytes"] for moment in moments):
        drawn.append(
            chart("Server memory", [curve("resident", "rss_bytes", 1 / 1e6)], seconds, "MB")
        )
        cpu = [curve("server", "server_cpu", 100), curve("kit", "kit_cpu", 100)]
        drawn.append(chart("CPU", cpu, seconds, "% of one core"))
    return f"<h2>Plots</h2>{''.join(drawn)}"


def _ladder(login: dict[str, Any]) -> str:
    """Latency by how rare it is: one in ten, in a hundred, in a thousand."""

    def line(name: str, figures: dict[str, float]) -> Line:
        rarity = {"p50": 2, "p90": 10, "p99": 100, "p999": 1000}
        return Line(
            name, [(rare, figures[key]) for key, rare in rarity.items() if figures["n"] >= rare]
        )

    lines = [
        line("from the scan", login["scan_to_token_ms"]),
        line("from when due", login["due_to_token_ms"]),
    ]
    return chart("Scan to token by rarity", lines, "one login in so many", "ms", log_x=True)
