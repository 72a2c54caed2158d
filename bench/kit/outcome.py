"""The outcome of a run: one plain document, for the JSON file, the terminal and the report."""

import dataclasses
import math
import os
import platform
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kit.arguments import FailIf
from bench.kit.conductor import Run
from bench.kit.figures import summary
from bench.kit.histogram import Histogram
from bench.kit.job import FIGURES, PHASES, VERSION, Result, Unreadable, result_from, to_json
from services import VERSION as SCANPUSH

KB = 1024.0


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """The summary of durations, in milliseconds."""
    return summary([value * 1e3 for value in seconds])


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def memory(run: Run) -> dict[str, Any]:
    """Server memory by phase, and what a scene and a socket cost; {} when it could not be read."""
    if "start" not in run.memory or "opened" not in run.memory:
        return {}
    known = run.memory
    sockets = run.held_at_memory["opened"]
    scenes_apart = "begun" in known
    before = known["begun"] if scenes_apart else known["start"]
    figures: dict[str, Any] = {
        "server_bytes": known,
        "per_socket_kb": _per(known["opened"] - before, sockets),
        "per_socket_includes_its_scene": not scenes_apart,
    }
    if scenes_apart:
        figures["per_scene_kb"] = _per(known["begun"] - known["start"], run.result.begun)
    if "held" in known:
        figures["after_hold_percent"] = round(100 * known["held"] / known["opened"], 1)
    return figures


def _per(total: int, count: int) -> float | None:
    return round(total / KB / count, 3) if count else None


def sockets(result: Result, asked: int) -> dict[str, Any]:
    """The figures of opening and holding."""
    rate = result.opened_in_time / result.open_seconds if result.open_seconds else math.nan
    return {
        "asked": asked,
        "opened": result.opened,
        "held_at_most": result.held_at_most,
        "open_seconds": round(result.open_seconds, 3),
        "handshakes_per_second": round(rate, 1) if result.opened_in_time else 0.0,
        "handshake_ms": result.handshake.summary(),
        "refused": dict(result.refusals),
        "dropped_by_code": {str(code): n for code, n in sorted(result.dropped.items())},
        "closed_by_code": {str(code): n for code, n in sorted(result.codes.items())},
        "pings_answered": result.pings,
    }


def logins(result: Result) -> dict[str, Any]:
    """The figures of logins, from the scan to the token."""
    counts = ("scans", "scans_left_out", "delivered", "consumed", "lost", "misdelivered",
              "repeated", "duplicated_after_ack")  # fmt: skip
    return {
        **{name: getattr(result, name) for name in counts},
        "lost_in": dict(result.lost_in),
        "scan_errors": dict(result.scan_errors),
        "scan_to_token_ms": result.scan_to_token.summary(),
        "due_to_token_ms": result.due_to_token.summary(),
        "scan_to_consumed_ms": result.scan_to_consumed.summary(),
    }


def outcome(
    run: Run, asked: int, options: dict[str, Any], at: str, commands: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole document. It can be written as JSON as it is.

    Args:
        asked: so many pages.
        options: what was in force, by the names of the command line.
        commands: what was typed, without secrets; several where runs were added up.
    """
    result = run.result
    kit_cpu = [moment.kit_cpu for moment in run.timeline]
    return {
        "kit": VERSION,
        "version": SCANPUSH,
        "at": at,
        "commands": list(commands),
        "options": options,
        "machine": machine(),
        "ended_early": bool(run.stopped_by),
        "workers_died": result.died,
        "machines_gone": run.gone,
        "seconds": round(result.seconds, 2),
        "kit_cpu_at_most": max(kit_cpu, default=0.0),
        "scenes": {
            "begun": result.begun,
            "errors": dict(result.begin_errors),
            "expired": result.expired,
        },
        "sockets": sockets(result, asked),
        "memory": memory(run),
        "logins": logins(result),
        "figures": figures(result),
        "result": to_json(result),
        "timeline": [_finite(dataclasses.asdict(moment)) for moment in run.timeline],
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no nan: an interval without a login has no percentile."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }


def faults(document: dict[str, Any]) -> list[str]:
    """What went wrong, one sentence each; empty for a clean run."""
    opened, login = document["sockets"], document["logins"]
    found = []
    for what, errors in (
        ("scenes could not be begun", document["scenes"]["errors"]),
        ("sockets were refused", opened["refused"]),
        ("sockets were dropped by the server", opened["dropped_by_code"]),
        ("scans were refused", login["scan_errors"]),
        ("logins lost, by the page's last state", login["lost_in"]),
    ):
        if errors:
            causes = ", ".join(f"{cause}: {count:,}" for cause, count in errors.items())
            found.append(f"{sum(errors.values()):,} {what} ({causes})")
    for name in ("misdelivered", "duplicated_after_ack"):
        if login[name]:
            found.append(f"{login[name]:,} logins {name.replace('_', ' ')}")
    if document["workers_died"]:
        found.append(f"{document['workers_died']} of the kit's own processes died")
    found += [f"machine {gone}: its figures are missing" for gone in document["machines_gone"]]
    return found


def figures(result: Result) -> dict[str, Any]:
    """What `--fail-if` may name: latencies in milliseconds from when they were due, with `rate`,
    how many a second, from when the first was due to when the last ended; and three counts."""
    named: dict[str, Any] = {}
    for name, attribute in FIGURES.items():
        histogram: Histogram = getattr(result, attribute)
        span = result.spans.get(name, 0.0)
        rate = round(histogram.total / span, 1) if span > 0 else 0.0
        named[name] = {**histogram.summary(), "rate": rate}
    failures = (result.begin_errors, result.refusals, result.dropped, result.scan_errors)
    return {
        **named,
        "lost": result.lost,
        "duplicates": result.duplicated_after_ack,
        "failed": sum(failure.total() for failure in failures),
    }


def judged(limits: Sequence[FailIf], named: dict[str, Any]) -> list[dict[str, Any]]:
    """Each limit with what was measured, and whether the run has crossed it. A latency of which
    there is no sample keeps to no limit."""
    found = []
    for limit in limits:
        figure = named[limit.figure]
        value = figure.get(limit.statistic) if limit.statistic else figure
        measured = (
            f"there was not one {limit.figure} to measure"
            if value is None
            else f"it was {value:,.10g}{limit.unit}"
        )
        over = value is None or limit.holds(value)
        found.append({"limit": limit.text, "measured": measured, "crossed": over})
    return found


def merged(documents: Sequence[dict[str, Any]], at: str) -> dict[str, Any]:
    """One document of several runs that were made together, as `scripts/load merge` writes it.

    Memory is that of the first run that could read it; the time lines are added up by their half
    seconds, each counted from its own start.

    Raises:
        Unreadable: not a document of this kit, or one of another version of it.
    """
    whole = Run()
    for document in documents:
        if document.get("kit") != VERSION or not isinstance(document.get("result"), dict):
            raise Unreadable("not the JSON file of a run of this version of the kit")
        whole.result.add(result_from(document["result"]))
        whole.gone += document["machines_gone"]
        whole.stopped_by = whole.stopped_by or int(document["ended_early"])
    first = documents[0]
    asked = sum(document["sockets"]["asked"] for document in documents)
    # What all runs had in common; the commands tell the rest.
    options = {
        name: value
        for name, value in first["options"].items()
        if name == "url" or all(d["options"].get(name) == value for d in documents)
    }
    commands = [command for document in documents for command in document["commands"]]
    made = outcome(whole, asked, options, at, commands)
    made["memory"] = next((d["memory"] for d in documents if d["memory"]), {})
    made["timeline"] = _added([document["timeline"] for document in documents])
    made["kit_cpu_at_most"] = max(document["kit_cpu_at_most"] for document in documents)
    return made


def _added(timelines: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """By the moments of the longest run, each with the latest row of every other. Of percentiles
    the worst counts; a run that is over adds its counts, and nothing to what is measured later."""
    there = [rows for rows in timelines if rows]
    added = []
    for moment in max(there, key=lambda rows: float(rows[-1]["seconds"]), default=[]):
        now = moment["seconds"]
        latest = [rows[max(0, bisect_right(rows, now, key=_seconds) - 1)] for rows in there]
        going = [row for row, rows in zip(latest, there, strict=True) if _seconds(rows[-1]) >= now]
        row = {**moment, "phase": min((r["phase"] for r in latest), key=PHASES.index)}
        for name in ("begun", "held", "opened", "refused", "scans", "delivered", "lost"):
            row[name] = sum(r[name] for r in latest)
        for name in ("opens_per_second", "kit_cpu"):
            row[name] = round(sum(r[name] for r in going), 3)
        for name in ("p50_ms", "p99_ms"):
            row[name] = max((r[name] for r in going if r[name] is not None), default=None)
        for name in ("rss_bytes", "server_cpu"):
            row[name] = max(r[name] for r in latest)
        added.append(row)
    return added


def _seconds(row: dict[str, Any]) -> float:
    return float(row["seconds"])
