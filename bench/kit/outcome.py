"""The outcome of a run: one plain document, for the JSON file, the terminal and the report."""

import dataclasses
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kit.conductor import Run
from bench.kit.figures import summary
from bench.kit.job import Result

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
        "handshake_ms": milliseconds(result.handshake),
        "refused": dict(result.refusals),
        "dropped_by_code": {str(code): n for code, n in sorted(result.dropped.items())},
        "closed_by_code": {str(code): n for code, n in sorted(result.codes.items())},
        "pings_answered": result.pings,
    }


def logins(result: Result) -> dict[str, Any]:
    """The figures of logins, from the scan to the token."""
    counts = ("scans", "delivered", "consumed", "lost", "misdelivered", "repeated",
              "duplicated_after_ack")  # fmt: skip
    return {
        **{name: getattr(result, name) for name in counts},
        "lost_in": dict(result.lost_in),
        "scan_errors": dict(result.scan_errors),
        "scan_to_token_ms": milliseconds(result.scan_to_token),
        "due_to_token_ms": milliseconds(result.due_to_token),
        "scan_to_consumed_ms": milliseconds(result.scan_to_consumed),
    }


def outcome(run: Run, asked: int, options: dict[str, Any], at: str) -> dict[str, Any]:
    """The whole document. It can be written as JSON as it is."""
    result = run.result
    kit_cpu = [moment.kit_cpu for moment in run.timeline]
    return {
        "at": at,
        "options": options,
        "machine": machine(),
        "ended_early": bool(run.stopped_by),
        "workers_died": run.died,
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
    return found
