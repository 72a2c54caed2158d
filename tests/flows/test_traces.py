"""One login is one trace, whichever nodes it passes; without a collector there is none."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

from services.backends import OpenBackend
from services.clock import Clock
from services.ids import SceneStr
from services.scenes.store_sqlite import SqliteLoginStore, SqliteSceneStore
from services.scenes.traces import Traces, ids_of, traces_to
from services.settings.models import Settings
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, until

pytestmark = ON_LOOP


class Collector:
    """Keeps the spans of the nodes that are opened with it."""

    def __init__(self, sample_ratio: float = 1) -> None:
        self._sample_ratio = sample_ratio
        self._exporter = InMemorySpanExporter()

    def __call__(self, settings: Settings, clock: Clock, node: str) -> Traces:
        return traces_to(SimpleSpanProcessor(self._exporter), self._sample_ratio, clock, node)

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def of(self, scene_str: str) -> dict[str, ReadableSpan]:
        """Those of one scene, by their names."""
        spans = (span for span in self.spans() if span.attributes)
        return {s.name: s for s in spans if s.attributes["scanpush.scene"] == scene_str}


async def log_in(begun_at: Stack, watched_at: Stack) -> str:
    """A whole login; its scene's id."""
    page = await begun_at.begin()
    page.move_to(watched_at)
    async with page.socket() as socket:
        await until(socket, "waiting")
        await begun_at.scan(page)
        status = await until(socket, "authorized")
    assert (await page.ack(status["seq"])).status_code == 204
    return page.scene_str


@pytest.mark.redis
async def test_a_login_over_two_nodes_is_one_trace(
    tmp_path: Path, scenes_in_redis: OpenBackend
) -> None:
    """Begun and scanned at one, pushed and acknowledged at the other: below one first span."""
    collectors = Collector(), Collector()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    options: dict[str, Any] = {"stores": scenes_in_redis}
    async with (
        Stack(tmp_path / "a", traces=collectors[0], **options) as a,
        Stack(tmp_path / "b", traces=collectors[1], **options) as b,
    ):
        scene_str = await log_in(a, b)
        at_a, at_b = (collector.of(scene_str) for collector in collectors)
    assert set(at_a) == {"begin", "callback", "move to scanned", "move to authorized"}
    assert set(at_b) == {"push", "ack"}
    trace_id, first = ids_of(SceneStr(scene_str))
    assert {s.context.trace_id for s in (*at_a.values(), *at_b.values())} == {trace_id}
    assert at_a["begin"].parent is None and at_a["begin"].context.span_id == first
    for span in (at_a["callback"], at_b["push"], at_b["ack"]):
        assert span.parent is not None and span.parent.span_id == first
    callback = at_a["callback"].context.span_id
    for name in ("move to scanned", "move to authorized"):
        parent = at_a[name].parent
        assert parent is not None and parent.span_id == callback
    nodes = {
        span.resource.attributes["service.instance.id"] for span in (at_a["begin"], at_b["ack"])
    }
    assert len(nodes) == 2


async def test_a_login_in_one_transaction_is_one_span(tmp_path: Path) -> None:
    """With SQLite; also where the operator's page records the same scene."""
    collector = Collector()
    operator = {"token": "an-operator-token-of-tests"}
    async with Stack(tmp_path, traces=collector, operator=operator) as stack:
        scene_str = await log_in(stack, stack)
        spans = collector.of(scene_str)
    assert set(spans) == {"begin", "callback", "login", "push", "ack"}
    login = spans["login"]
    assert login.attributes is not None and login.attributes["scanpush.state"] == "authorized"
    assert login.parent is not None and login.parent.span_id == spans["callback"].context.span_id


async def test_spans_tell_nothing_of_the_person(tmp_path: Path) -> None:
    """Names of the scene, its kind, account, state and seq, and nothing else."""
    collector = Collector()
    async with Stack(tmp_path, traces=collector) as stack:
        await log_in(stack, stack)
    told = {name for span in collector.spans() for name in (span.attributes or {})}
    parts = ("scene", "kind", "account", "state", "seq")
    assert told == {f"scanpush.{part}" for part in parts}


async def test_a_share_of_the_logins_is_traced_as_a_whole(tmp_path: Path) -> None:
    """Which ones, their ids decide: all spans or none."""
    collector = Collector(sample_ratio=0.5)
    async with Stack(tmp_path, traces=collector) as stack:
        scenes = [(await stack.begin()).scene_str for _ in range(12)]
    bound = 2**63
    traced = {scene for scene in scenes if ids_of(SceneStr(scene))[0] % 2**64 < bound}
    assert {scene for scene in scenes if collector.of(scene)} == traced


async def test_a_store_that_fails_marks_its_span(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """The failure goes on to the caller as ever."""
    logs.expect("store_unavailable|a store fails")
    collector = Collector()
    async with Stack(tmp_path, traces=collector, faulty=True) as stack:
        page = await stack.begin()
        stack.container.backend.scenes.refuse("advance", times=1)  # type: ignore[attr-defined]
        assert (await page.cancel()).status_code == 503
        assert collector.of(page.scene_str)["move to cancelled"].status.description == (
            "store unavailable"
        )


async def test_without_a_collector_the_stores_are_used_as_they_are(tmp_path: Path) -> None:
    """A login does not pay for what is off."""
    async with Stack(tmp_path) as stack:
        assert isinstance(stack.container.scenes, SqliteSceneStore)
        assert isinstance(stack.container.logins, SqliteLoginStore)
        assert type(stack.container.callbacks).__name__ == "CallbackService"


async def test_spans_reach_a_collector(tmp_path: Path) -> None:
    """By OTLP over HTTP, at the latest when the server ends."""
    bodies: list[bytes] = []

    def collect(request: HTTPServerRequest) -> None:
        bodies.append(request.body)
        assert request.connection is not None
        request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders())
        request.connection.finish()

    collector = HTTPServer(collect)
    sockets = bind_sockets(0, "127.0.0.1")
    collector.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1/traces"
    try:
        async with Stack(tmp_path, tracing={"otlp_url": url}) as stack:
            scene_str = await log_in(stack, stack)
    finally:
        collector.stop()
    sent = b"".join(gzip.decompress(b) if b[:2] == b"\x1f\x8b" else b for b in bodies)
    assert scene_str.encode() in sent and b"callback" in sent and b"push" in sent
