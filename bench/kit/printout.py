"""The terminal: one line while it runs, a short page when it is over."""

import sys
import time
from typing import Any, TextIO

from bench.kit.conductor import Moment

QUIET_SECONDS = 5.0
"""Between two lines where the output is no terminal."""


class Progress:
    """Rewrites one line on a terminal; elsewhere prints a line now and then."""

    def __init__(self, wanted: int, out: TextIO = sys.stderr) -> None:
        self._wanted = wanted
        self._out = out
        self._live = out.isatty()
        self._printed = 0.0
        self._phase = ""

    def show(self, moment: Moment) -> None:
        """One moment of the time line."""
        line = self.line(moment)
        if self._live:
            self._out.write(f"\r\x1b[K{line}")
        elif moment.phase != self._phase or time.monotonic() - self._printed > QUIET_SECONDS:
            self._out.write(line + "\n")
            self._printed, self._phase = time.monotonic(), moment.phase
        self._out.flush()

    def line(self, moment: Moment) -> str:
        """The words of that line."""
        parts = [f"{moment.seconds:6.1f}s", f"{moment.phase:5}"]
        if moment.phase == "begin":
            parts.append(f"scenes {moment.begun:,}/{self._wanted:,}")
        parts.append(f"held {moment.held:,}/{self._wanted:,}")
        if moment.opens_per_second:
            parts.append(f"opening {moment.opens_per_second:,.0f}/s")
        if moment.refused:
            parts.append(f"refused {moment.refused:,}")
        if moment.scans:
            parts.append(f"logins {moment.delivered:,}/{moment.scans:,} lost {moment.lost:,}")
        if moment.p50_ms == moment.p50_ms:
            parts.append(f"p50 {moment.p50_ms:.1f} p99 {moment.p99_ms:.1f} ms")
        if moment.rss_bytes:
            parts.append(
                f"server {moment.rss_bytes / 1e6:,.0f} MB, CPU {moment.server_cpu * 100:.0f} %"
            )
        return "  ".join(parts)

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            self._out.write("\n")


def page(document: dict[str, Any], notes: list[str], faults: list[str]) -> str:
    """The summary, for people."""
    lines = []
    if document["ended_early"]:
        lines.append("Ended early: these are the figures until then.")
    for title, value in rows(document):
        lines.append(f"{title:<32}{value}")
    lines += [f"Note: {note}" for note in notes]
    lines += [f"FAULT: {fault}" for fault in faults] or ["No faults."]
    return "\n".join(lines)


def rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and text of every figure worth a line."""
    opened, login, memory = document["sockets"], document["logins"], document["memory"]
    named = document["figures"]
    out = [
        ("sockets held", f"{opened['held_at_most']:,} at most, {opened['asked']:,} asked for"),
        ("handshakes", f"{opened['handshakes_per_second'] or named['open']['rate']:,.0f}/s"),
        ("handshake, ms", spread(opened["handshake_ms"])),
        ("closed, by code", _codes(opened["closed_by_code"])),
        ("pings answered", f"{opened['pings_answered']:,}"),
    ]
    if memory:
        with_scene = " with its scene" if memory["per_socket_includes_its_scene"] else ""
        out.append((f"server memory a socket{with_scene}", _kb(memory["per_socket_kb"])))
        if "per_scene_kb" in memory:
            out.append(("server memory a scene", _kb(memory["per_scene_kb"])))
        if "after_hold_percent" in memory:
            out.append(("memory after the hold", f"{memory['after_hold_percent']} % of before"))
    out.append(("begin, from when it was due, ms", spread(named["begin"])))
    out.append(("open, from when it was due, ms", spread(named["open"])))
    if login["scans_left_out"]:
        out.append(("scans left out", f"{login['scans_left_out']:,}: no page was waiting"))
    if login["scans"]:
        counts = ("delivered", "consumed", "lost", "misdelivered", "repeated",
                  "duplicated_after_ack")  # fmt: skip
        words = ", ".join(f"{name.replace('_', ' ')} {login[name]:,}" for name in counts)
        out += [
            ("logins", f"{login['scans']:,} scans: {words}"),
            ("scan to token, ms", spread(login["scan_to_token_ms"])),
            ("from when it was due, ms", spread(login["due_to_token_ms"])),
            ("whole visit, ms", spread(named["whole"])),
        ]
    out.append(("the kit's own CPU", f"{document['kit_cpu_at_most'] * 100:.0f} % at most"))
    return out


def spread(figures: dict[str, float]) -> str:
    """Percentiles in one line."""
    if not figures.get("n"):
        return "-"
    names = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max"}
    return "  ".join(f"{title} {figures[name]:.2f}" for name, title in names.items())


def _codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code}: {count:,}" for code, count in codes.items()) or "-"


def _kb(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} KB"
