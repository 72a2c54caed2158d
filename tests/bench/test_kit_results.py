"""What a run of the load kit leaves: its files, its port, its exit code, and sums of runs."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from bench.kit.cli import main
from bench.kit.conductor import Run
from bench.kit.crew import Crew, SimulatorScanner, Ticket
from bench.kit.exports import Exporter
from bench.kit.histogram import Histogram
from bench.kit.job import Result, Tick
from bench.kit.loop import Loop
from bench.kit.outcome import outcome
from bench.kit.wire import Target
from tests.bench.conftest import TREE, KitRun, started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitRun]:
    """Pages that come in stages and are scanned, with every file."""
    folder = tmp_path_factory.mktemp("kit")
    with started("tests.bench.reference", "--fault", "site") as ports:
        done = subprocess.run(
            [sys.executable, "-m", "bench.kit", "--url", f"http://127.0.0.1:{ports['http']}",
             "--stages", "0.5s:12,700ms:12,0.3s:4", "--scans", "20", "--settle", "0",
             "--origin", "https://shop.example.com",
             "--json", str(folder / "run.json"), "--csv", str(folder / "run.csv"),
             "--hdr", str(folder / "run.hlog"),
             "--fail-if", "lost > 0", "--fail-if", "scan_to_token.p50 > 0us"],
            cwd=TREE, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    yield KitRun(done.returncode, done.stdout, done.stderr, folder / "run")


def test_pages_follow_the_stages(run: KitRun) -> None:
    """Twelve at most; those beyond the last stage's four have left, the others at the end."""
    sockets, logins = run.document["sockets"], run.document["logins"]
    assert 0 < sockets["held_at_most"] <= 12
    # As many as came by the stages, and one more for each that has logged in.
    assert sockets["closed_by_code"] == {"1000": sockets["opened"]}
    assert 12 <= sockets["opened"] <= 12 + logins["consumed"]


def test_pages_of_another_site_send_its_origin(run: KitRun) -> None:
    """Both the begin and the upgrade: the server refuses any other."""
    assert run.document["scenes"]["errors"] == {} and run.document["sockets"]["refused"] == {}


def test_a_limit_that_comes_true_is_exit_code_99(run: KitRun) -> None:
    """And only that limit is told."""
    assert run.code == 99
    assert run.document["limits_crossed"][0].startswith("scan_to_token.p50 > 0us: it was ")
    assert len(run.document["limits_crossed"]) == 1
    assert "FAULT: limit crossed: scan_to_token.p50 > 0us" in run.output


def test_latencies_count_from_when_a_thing_was_due() -> None:
    """Each delay is in its own figure, and in that of the whole visit."""
    loop = Loop()
    with started("tests.bench.reference") as ports, closing(loop):
        target = Target("http", "127.0.0.1", ports["http"])
        crew = Crew(loop, target, [])
        tickets: list[Ticket | None] = []
        crew.begin(lambda ticket, why: tickets.append(ticket), loop.now() - 20)
        assert loop.run_until(lambda: bool(tickets), within=30)
        page = crew.open(tickets[0], due=loop.now() - 30)
        assert loop.run_until(lambda: bool(page.state), within=30)
        crew.scan(page, SimulatorScanner(loop, target, "p", 1, 30), loop.now() - 40)
        assert loop.run_until(lambda: crew.tally.delivered > 0, within=30)
        crew.sockets.abort(page)
        crew.http.close()
    tally = crew.tally
    assert 20 <= tally.begin[0] and 30 <= tally.open[0] and 40 <= tally.due_to_token[0]
    assert 90 <= tally.whole[0] and tally.scan_to_token[0] < 40


def test_named_files_are_the_only_ones(run: KitRun) -> None:
    """Without --out nothing else is written."""
    assert {path.name for path in run.stem.parent.iterdir()} == {"run.json", "run.csv", "run.hlog"}


def test_the_csv_file_is_the_time_line(run: KitRun) -> None:
    """A line for each moment, with names above."""
    rows = list(csv.DictReader(Path(f"{run.stem}.csv").read_text().splitlines()))
    timeline = run.document["timeline"]
    assert [float(row["seconds"]) for row in rows] == [moment["seconds"] for moment in timeline]
    assert rows[-1]["held"] == str(timeline[-1]["held"])


def test_the_hdr_file_has_a_histogram_of_each_figure(run: KitRun) -> None:
    """As a log with tags; the counts are those of the report."""
    lines = Path(f"{run.stem}.hlog").read_text().splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]"
    for line in lines[3:]:
        tag, _, _, _, encoded = line.split(",")
        figure = run.document["figures"][tag.removeprefix("Tag=")]
        assert Histogram.decoded(encoded).summary() == {
            name: value for name, value in figure.items() if name != "rate"
        }
    assert len(lines) == 3 + 4


def test_a_whole_visit_is_longer_than_its_parts(run: KitRun) -> None:
    """Begin, open and login together, of the pages that logged in."""
    figures = run.document["figures"]
    assert figures["whole"]["n"] == figures["scan_to_token"]["n"] > 0
    assert figures["whole"]["mean"] > figures["scan_to_token"]["mean"]
    assert figures["begin"]["rate"] > 0


def call(*arguments: object) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


def saved(path: Path, seconds: list[float], **counts: Any) -> Path:
    result = Result(scans=len(seconds), spans={"scan_to_token": 2.0}, **counts)
    result.due_to_token.take(seconds)
    path.write_text(
        json.dumps(outcome(Run(result), 5, {"url": "http://a"}, "2026-01-01T00:00:00+00:00"))
    )
    return path


def test_merged_runs_are_one_of_all_samples(tmp_path: Path) -> None:
    """Counts and rates add up, and percentiles are not averages of percentiles."""
    first = saved(tmp_path / "a.json", [0.001] * 98, delivered=98)
    second = saved(tmp_path / "b.json", [0.5, 0.5], delivered=2)
    assert call("merge", first, second, "--json", tmp_path / "both.json") == 0
    both = json.loads((tmp_path / "both.json").read_text())
    assert both["logins"]["delivered"] == 100 and both["sockets"]["asked"] == 10
    token = both["figures"]["scan_to_token"]
    assert (token["n"], token["p50"], token["rate"]) == (100, 1.0, 50.0)
    assert token["p99"] == pytest.approx(500, rel=1e-3)


def test_merged_runs_can_be_merged_and_limited(tmp_path: Path) -> None:
    """A sum is a run as well: 99 when its limit comes true, 1 for its faults."""
    first = saved(tmp_path / "a.json", [0.001], misdelivered=1)
    second = saved(tmp_path / "b.json", [0.001])
    assert call("merge", first, second, "--json", tmp_path / "c.json") == 1
    limit = "scan_to_token.max > 0.5ms"
    assert call("merge", tmp_path / "c.json", second, "--fail-if", limit) == 99


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        ("[]", "is not the JSON file of a run"),
        ("{", "is not the JSON file of a run"),
        ('{"kit": "0", "result": {}}', "of this version of the kit"),
    ],
    ids=["missing", "list", "broken", "version"],
)
def test_a_file_that_cannot_be_merged_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, told: str
) -> None:
    """In one line, with exit code 2."""
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    assert call("merge", saved(tmp_path / "a.json", []), other) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and str(other) in errors and told in errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--stages", "1s:5", "--sockets", "5"), "leave --sockets, --rate, --hold"),
        (("--json", "/dev/null/x.json"), "--json: /dev/null cannot be made"),
        (("--csv", "/"), "--csv: / cannot be written"),
        (("--prometheus", "192.0.2.1:1"), "--prometheus cannot listen there"),
        (("--join", "127.0.0.1:1", "--sockets", "5"), "--sockets is for the machine that conducts"),
        (("--join", "192.0.2.1:1"), "--join needs the conductor's key"),
        (("--join", "127.0.0.1:1", "--key", "short"), "needs 12 characters"),
    ],
)
def test_what_does_not_fit_together_is_told_before_the_run(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    """One line, exit code 2, and no server is asked."""
    assert call(*arguments) == 2
    errors = capsys.readouterr().err
    assert told in errors and errors.count("\n") == 1


def test_the_port_for_prometheus_shows_the_run_so_far() -> None:
    """Counts are the latest, latencies those of all moments."""
    exporter = Exporter(("127.0.0.1", 0))
    try:
        for held in (3, 7):
            now = Tick("hold", held=held, scans=held)
            now.figures = {"scan_to_token": Histogram([0.25])}
            exporter.show(now)
        with urlopen(exporter.url) as answer:
            lines = answer.read().decode().splitlines()
    finally:
        exporter.close()
    assert "scanpush_load_held 7.0" in lines and "scanpush_load_scans_total 7.0" in lines
    assert 'scanpush_load_latency_seconds_count{figure="scan_to_token"} 2.0' in lines
    quantile = 'scanpush_load_latency_seconds{figure="scan_to_token",quantile="0.99"} 0.25'
    assert any(line.startswith(quantile) for line in lines)


def test_the_percentile_distribution_is_that_of_the_figure_measured(
    tmp_path: Path,
) -> None:
    """A file that ends in .hgrm has the logins."""
    first = saved(tmp_path / "a.json", [0.002] * 5)
    assert call("merge", first, "--hdr", tmp_path / "run.hgrm") == 0
    assert "       2.000 1.000000000000          5" in (tmp_path / "run.hgrm").read_text()
