"""Keeps the figures, compares them to the yardstick of the same round, and writes them to files."""

import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.kit.figures import spread_text
from bench.kit.outcome import machine

RESULTS = Path(__file__).resolve().parent / "results"
YARDSTICK = "tornado"
GENERATOR_AT_MOST = 0.6
"""Share of its core above which the generator may itself be the limit."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column. `ratio`: whether it is compared to the yardstick."""

    name: str
    title: str
    digits: int = 2
    ratio: bool = False


@dataclass(slots=True)
class Board:
    """The figures of some servers over some rounds."""

    name: str
    figures: Sequence[Figure]
    settings: Mapping[str, Any]
    yardstick: str = YARDSTICK
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, number: int, server: str, figures: Mapping[str, Any]) -> None:
        """The figures of one server in one round, printed as they come."""
        while len(self.rounds) <= number:
            self.rounds.append({})
        self.rounds[number][server] = dict(figures)
        known = {figure.name: figure for figure in self.figures}
        words = [
            f"{known[name].title} {value:,.{known[name].digits}f}"
            for name, value in figures.items()
            if name in known and isinstance(value, (int, float))
        ]
        print(f"  round {number + 1}  {server:<12} {'  '.join(words)}", flush=True)
        if figures.get("generator_cpu", 0.0) > GENERATOR_AT_MOST:
            self.note(
                f"{server}: the generator used {figures['generator_cpu']:.0%} of its core, so the "
                "rate is a lower bound"
            )

    def note(self, text: str) -> None:
        """Something to know when reading the table; the same only once."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"  note: {text}", flush=True)

    def values(self, server: str, name: str) -> list[float]:
        """One figure of one server, round by round."""
        return [
            figures[server][name]
            for figures in self.rounds
            if figures.get(server, {}).get(name) is not None
        ]

    def ratio(self, server: str, name: str) -> float | None:
        """The median of the ratios to the yardstick, each within its round."""
        ratios = [
            figures[server][name] / figures[self.yardstick][name]
            for figures in self.rounds
            if figures.get(server, {}).get(name) is not None
            and figures.get(self.yardstick, {}).get(name)
        ]
        return statistics.median(ratios) if ratios else None

    def servers(self) -> list[str]:
        """In the order they first came."""
        return list(dict.fromkeys(server for figures in self.rounds for server in figures))

    def markdown(self) -> str:
        """`median [least-greatest]`, and x the ratio, one row a server."""
        shown = [
            figure
            for figure in self.figures
            if any(self.values(server, figure.name) for server in self.servers())
        ]
        lines = [
            "| server | " + " | ".join(figure.title for figure in shown) + " |",
            "|---" * (len(shown) + 1) + "|",
        ]
        for server in self.servers():
            cells = [self._cell(server, figure) for figure in shown]
            lines.append(f"| {server} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _cell(self, server: str, figure: Figure) -> str:
        text = spread_text(self.values(server, figure.name), figure.digits)
        ratio = self.ratio(server, figure.name) if figure.ratio else None
        if ratio is None or server == self.yardstick:
            return text
        return f"{text} (x{ratio:.3g})"

    def write(self) -> Path:
        """Write the JSON and the table to bench/results; returns the JSON's path."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now().astimezone()
        stem = RESULTS / f"{self.name}-{now:%Y%m%dT%H%M%S}"
        document = {
            "name": self.name,
            "at": now.isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": dict(self.settings),
            "yardstick": self.yardstick,
            "rounds": self.rounds,
            "ratios": {
                server: {
                    figure.name: self.ratio(server, figure.name)
                    for figure in self.figures
                    if figure.ratio
                }
                for server in self.servers()
            },
            "notes": self.notes,
        }
        path = stem.with_suffix(".json")
        path.write_text(json.dumps(document, indent=1) + "\n")
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        notes = "".join(f"- {note}\n" for note in self.notes)
        text = f"### {self.name} ({settings})\n\n{self.markdown()}\n\n{notes}"
        stem.with_suffix(".md").write_text(text)
        print(f"\n{text}\nWritten: {path}\n", flush=True)
        return path
