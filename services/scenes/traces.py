"""OpenTelemetry traces: one for each login, from begin over callback to push and ack.

The trace's id and that of its first span are derived from the scene's id. So every node that has a
part in a login adds to the same trace, and neither a store nor a notice carries anything for it.

`TracedScenes`, `TracedLogins` and `TracedCallbacks` stand before the real ones, and only where
``tracing.otlp_url`` is set: without it nothing of this is made, and a login does not pay for it.
The packages are those of the extra ``tracing`` in setup.cfg, and are imported here only.

A span names the scene, its kind and its state: no openid, no name, no token.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from services import VERSION
from services.clock import Clock
from services.errors import SettingsError, StoreUnavailable
from services.ids import SceneStr
from services.people.store import Identity
from services.scenes.callbacks import CallbackRequest, CallbackService, Reply
from services.scenes.login import Completion, LoginStore, LoginTerms
from services.scenes.states import Move, Scene, State, Step
from services.scenes.store import ObservedScenes, SceneStore
from services.settings.models import Settings
from services.wechat.accounts import Account

EXPORT_SECONDS = 2
"""How long the collector is waited for; also at the end of the server."""

MOST_WAITING = 4096
"""Spans that wait for the collector; more are dropped."""


class _SceneIds:
    """The SDK's `IdGenerator`, but for the first span of a scene, whose ids are derived."""

    def __init__(self, random: Any) -> None:
        self._random = random
        self.next: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return int(self._random.generate_trace_id() if self.next is None else self.next[0])

    def generate_span_id(self) -> int:
        if self.next is None:
            return int(self._random.generate_span_id())
        _, span_id = self.next
        self.next = None
        return span_id

    def is_trace_id_random(self) -> bool:
        return False


def ids_of(scene_str: SceneStr) -> tuple[int, int]:
    """The ids of a scene's trace and of its first span: the same on every node."""
    digest = hashlib.sha256(f"trace {scene_str}".encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


class _Callback:
    """A callback in progress, whose scene is not known before it is opened."""

    def __init__(self, began: int, account: str) -> None:
        self.began = began
        self.account = account
        self.span: Any = None


class Traces:
    """Makes the spans of this node.

    Args:
        provider: the SDK's `TracerProvider`, with `ids` for its ids.
    """

    def __init__(self, provider: Any, ids: _SceneIds, clock: Clock) -> None:
        from opentelemetry import trace

        self._otel = trace
        self._provider = provider
        self._ids = ids
        self._clock = clock
        self._tracer = provider.get_tracer("scanpush", VERSION)
        self._callback: ContextVar[_Callback | None] = ContextVar("callback", default=None)

    def _now(self) -> int:
        return int(self._clock.now() * 1e9)

    def _parent(self, scene_str: SceneStr) -> Any:
        """The context of the scene's first span, wherever that was made."""
        otel = self._otel
        trace_id, span_id = ids_of(scene_str)
        sampled = otel.TraceFlags(otel.TraceFlags.SAMPLED)
        known = otel.SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled)
        return otel.set_span_in_context(otel.NonRecordingSpan(known))

    @contextlib.contextmanager
    def begin(self, scene: Scene) -> Iterator[None]:
        """The first span, around the scene's creation."""
        from opentelemetry.context import Context

        self._ids.next = ids_of(scene.scene_str)
        span = self._tracer.start_span(
            "begin",
            context=Context(),
            start_time=self._now(),
            attributes={"scanpush.scene": scene.scene_str, "scanpush.kind": scene.kind.value},
        )
        self._ids.next = None
        with self._ending(span):
            yield

    @contextlib.contextmanager
    def step(self, scene_str: SceneStr, name: str) -> Iterator[Callable[[Scene | None], None]]:
        """A span around a move. Tell the value what became of the scene."""
        context = self._parent(scene_str)
        callback = self._callback.get()
        if callback is not None:
            if callback.span is None:
                # Only now is it known which scene the callback is about.
                callback.span = self._tracer.start_span(
                    "callback",
                    context=context,
                    start_time=callback.began,
                    attributes={
                        "scanpush.scene": scene_str,
                        "scanpush.account": callback.account,
                    },
                )
            context = self._otel.set_span_in_context(callback.span)
        span = self._tracer.start_span(
            name,
            context=context,
            start_time=self._now(),
            attributes={"scanpush.scene": scene_str},
        )

        def became(scene: Scene | None) -> None:
            span.set_attribute("scanpush.state", "unknown" if scene is None else scene.state.value)

        with self._ending(span):
            yield became

    @contextlib.contextmanager
    def callback(self, account: str) -> Iterator[None]:
        """Around a callback: a span, if it turns out to be about a scene."""
        callback = _Callback(self._now(), account)
        token = self._callback.set(callback)
        try:
            yield
        finally:
            self._callback.reset(token)
            if callback.span is not None:
                callback.span.end(self._now())

    def delivered(self, scene: Scene) -> None:
        """A login's status is rendered for a socket or a poll: from its move until now."""
        now = self._now()
        span = self._tracer.start_span(
            "push",
            context=self._parent(scene.scene_str),
            start_time=min(int(scene.changed_at * 1e9), now),
            attributes={"scanpush.scene": scene.scene_str, "scanpush.seq": scene.seq},
        )
        span.end(now)

    @contextlib.contextmanager
    def _ending(self, span: Any) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable:
            span.set_status(self._otel.StatusCode.ERROR, "store unavailable")
            raise
        finally:
            span.end(self._now())

    async def close(self) -> None:
        """Send what waits, for as long as one export may take."""
        await asyncio.to_thread(self._provider.shutdown)


OpenTraces = Callable[[Settings, Clock, str], Traces | None]
"""Opens the traces of the node of that id."""


def open_traces(settings: Settings, clock: Clock, node: str) -> Traces | None:
    """Traces to the collector that the settings name; None where they name none.

    Raises:
        SettingsError: the packages are missing.
    """
    if not settings.tracing.otlp_url:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(
            "tracing.otlp_url",
            "is set, but OpenTelemetry's packages are missing: "
            "run .venv/bin/python -m pip install '.[tracing]'",
        ) from None
    exporter = OTLPSpanExporter(settings.tracing.otlp_url, timeout=EXPORT_SECONDS)
    processor = BatchSpanProcessor(
        exporter, max_queue_size=MOST_WAITING, max_export_batch_size=MOST_WAITING
    )
    return traces_to(processor, settings.tracing.sample_ratio, clock, node)


def traces_to(processor: Any, sample_ratio: float, clock: Clock, node: str) -> Traces:
    """Traces to any of the SDK's span processors.

    Args:
        sample_ratio: the share of logins that are traced, each on all nodes or on none.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    ids = _SceneIds(RandomIdGenerator())
    resource = Resource.create(
        {"service.name": "scanpush", "service.version": VERSION, "service.instance.id": node}
    )
    provider = TracerProvider(
        # By the trace's id alone: the first span may be another node's.
        sampler=TraceIdRatioBased(sample_ratio),
        resource=resource,
        id_generator=ids,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return Traces(provider, ids, clock)


class TracedScenes(ObservedScenes):
    """A `SceneStore` whose scenes and moves are spans."""

    def __init__(self, scenes: SceneStore, traces: Traces) -> None:
        super().__init__(scenes)
        self._traces = traces
        self.attach = scenes.attach
        self.attach_nowait = scenes.attach_nowait

    async def create(self, scene: Scene) -> Scene:
        with self._traces.begin(scene):
            return await self._scenes.create(scene)

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        name = "ack" if move.to is State.CONSUMED else f"move to {move.to.value}"
        with self._traces.step(scene_str, name) as became:
            step = await self._scenes.advance(scene_str, move)
            became(step.scene)
            return step


class TracedLogins:
    """A `LoginStore` whose logins are spans."""

    def __init__(self, logins: LoginStore, traces: Traces) -> None:
        self._logins = logins
        self._traces = traces

    async def complete_login(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        terms: LoginTerms,
        *,
        unionid_wanted: bool,
    ) -> Completion:
        with self._traces.step(scene_str, "login") as became:
            completion = await self._logins.complete_login(
                scene_str, claim, identity, terms, unionid_wanted=unionid_wanted
            )
            became(completion.step.scene)
            return completion


class TracedCallbacks:
    """`CallbackService.receive` as a span."""

    def __init__(self, callbacks: CallbackService, traces: Traces) -> None:
        self._callbacks = callbacks
        self._traces = traces

    async def receive(self, account: Account, request: CallbackRequest) -> Reply:
        with self._traces.callback(account.name):
            return await self._callbacks.receive(account, request)
