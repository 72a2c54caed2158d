"""A run for other programs: JSON, CSV, HdrHistogram's files, and a port for Prometheus."""

import csv
import datetime
import io
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from bench.kit.conductor import Moment
from bench.kit.discover import NotUsable
from bench.kit.figures import QUANTILES
from bench.kit.histogram import Histogram
from bench.kit.job import FIGURES, Tick

DISTRIBUTION = ".hgrm"


def json_text(document: dict[str, Any]) -> str:
    """The whole document; `scripts/load merge` reads it."""
    return json.dumps(document, indent=1) + "\n"


def csv_text(document: dict[str, Any]) -> str:
    """The time line: a line for each half second."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Moment)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["timeline"])
    return out.getvalue()


def hdr_text(document: dict[str, Any], path: Path) -> str:
    """HdrHistogram's log with one tag for each figure, values in microseconds. With the ending
    `.hgrm` its percentile distribution in milliseconds, of scan_to_token where there were scans,
    else of open."""
    result = document["result"]
    if path.suffix == DISTRIBUTION:
        scanned = document["figures"]["scan_to_token"]["n"]
        figure = "scan_to_token" if scanned else "open"
        return Histogram.decoded(result[FIGURES[figure]]).distribution()
    began = datetime.datetime.fromisoformat(document["at"])
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {began.timestamp():.3f} (seconds since epoch), {document['at']}]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for figure, attribute in FIGURES.items():
        highest = document["figures"][figure].get("max", 0.0)
        lines.append(
            f"Tag={figure},0.000,{document['seconds']:.3f},{highest:.3f},{result[attribute]}"
        )
    return "\n".join(lines) + "\n"


class _Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """The terminal belongs to the progress line."""


class Exporter(Collector):
    """A run's figures so far at `/metrics`, for Prometheus.

    Raises:
        NotUsable: the address cannot be listened at.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        registry = CollectorRegistry()
        self._now = Tick("begin")
        self._figures = {name: Histogram() for name in FIGURES}
        self._sums = dict.fromkeys(FIGURES, 0.0)
        self._lock = threading.Lock()
        registry.register(self)
        try:
            self._server = make_server(
                *address, make_wsgi_app(registry), _Threading, handler_class=_Quiet
            )
        except OSError as error:
            raise NotUsable(f"--prometheus cannot listen there: {error.strerror}") from None
        self.url = f"http://{address[0]}:{self._server.server_port}/metrics"
        self._thread: threading.Thread | None = None

    def show(self, now: Tick) -> None:
        """The state of the run, with the latencies since the last call."""
        with self._lock:
            self._now = now
            for name, histogram in now.figures.items():
                self._figures[name] += histogram
                self._sums[name] += histogram.mean_and_deviation()[0] * histogram.total / 1e3
        if self._thread is None:
            # Not before: the processes of the kit are forked, and that from one thread only.
            self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def collect(self) -> Iterator[Any]:
        """Called for every scrape."""
        with self._lock:
            now, sums = self._now, dict(self._sums)
            figures = {name: (h.quantiles(QUANTILES), h.total) for name, h in self._figures.items()}
        yield GaugeMetricFamily("scanpush_load_held", "Sockets that are open now", now.held)
        for name, what in (
            ("begun", "Scenes begun"),
            ("opened", "Sockets opened"),
            ("refused", "Sockets refused"),
            ("scans", "Scans"),
            ("delivered", "Logins delivered"),
            ("lost", "Logins lost"),
        ):
            yield CounterMetricFamily(f"scanpush_load_{name}", what, getattr(now, name))
        latency = SummaryMetricFamily(
            "scanpush_load_latency_seconds",
            "Latencies so far, from when the thing was due",
            labels=["figure"],
        )
        for name, (quantiles, count) in figures.items():
            latency.add_metric([name], count, sums[name])
            for q, value in zip(QUANTILES, quantiles, strict=True):
                latency.add_sample(
                    latency.name, {"figure": name, "quantile": f"{q:g}"}, value / 1e3
                )
        yield latency
