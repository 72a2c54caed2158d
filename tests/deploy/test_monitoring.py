"""The dashboard, the alert rules and docs/metrics.md name metrics that /metrics has."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.metrics import MetricName, Metrics
from services.workers import PROCESS_UP
from tests.servers import need

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "scanpush.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
READERS = (DASHBOARD, RULES, ROOT / "docs" / "metrics.md")

NAME = re.compile(r"\bscanpush_[a-z_]*[a-z]\b(?!\*)")

PROMTOOL = "scripts/test --all takes it out of Debian's package prometheus"


def exposed() -> set[str]:
    """The names of all series that there can be; a histogram has three."""
    names = {PROCESS_UP}
    for family in text_string_to_metric_families(Metrics().exposition()[0].decode()):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names.update(family.name + suffix for suffix in suffixes.get(family.type, ("",)))
    return names


def expressions() -> list[str]:
    """Every query of the dashboard, with Grafana's own variables filled in."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m")
            found.append(expression.replace("$instance", ".*"))
    return found


@pytest.mark.parametrize("reader", READERS, ids=lambda path: path.name)
def test_what_is_read_is_measured(reader: Path) -> None:
    """A metric that was renamed would leave a panel empty, and an alert silent."""
    histograms = {m.value for m in MetricName if m.value.endswith("_seconds")}
    whole = histograms if reader.suffix == ".md" else set()
    assert set(NAME.findall(reader.read_text())) - exposed() - whole == set()


def test_every_metric_is_on_the_dashboard() -> None:
    """What is worth counting is worth a look."""
    text = DASHBOARD.read_text()
    assert [name.value for name in MetricName if name.value not in text] == []


def test_the_panels_of_the_dashboard_are_apart() -> None:
    """Each has an id of its own, and Grafana's 24 columns hold each line of them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.slow
def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, which is the form that promtool checks."""
    rules = [
        {"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.slow
def test_promtool_sees_each_alert_fire_when_it_should_and_not_else(tmp_path: Path) -> None:
    """By the made-up series of alerts_test.yaml."""
    promtool("check", "rules", str(RULES))
    cases = (ROOT / "tests" / "deploy" / "alerts_test.yaml").read_text()
    file = tmp_path / "cases.yaml"
    file.write_text(cases.replace("[RULES]", f"[{json.dumps(str(RULES))}]"))
    promtool("test", "rules", str(file))


def promtool(*arguments: str) -> None:
    command = [need("promtool", hint=PROMTOOL), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
