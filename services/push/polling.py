"""The fallback: the same status documents, asked for instead of pushed."""

import contextlib
from collections.abc import Callable

from services.caches import Cache
from services.clock import Clock
from services.errors import ApiError, StoreUnavailable, unauthorized
from services.ids import SceneStr, WatchToken, scene_key, secret_hash
from services.metrics import Metrics
from services.push.admission import AddressLimit
from services.push.hub import Hub, Waiter
from services.scenes.login import LoginService
from services.scenes.states import FINAL, Scene
from services.scenes.store import SceneStore

MOST_WAIT_SECONDS = 25.0
"""Below the 30 s after which many proxies give up."""

REMEMBERED = 100_000
"""Last polls remembered on this node, the newest; each is two words."""

END_LEEWAY_SECONDS = 0.2
"""How long after a scene's end it is read again, for clocks that differ a little."""

POLLED_SECONDS = 60
"""A page that polled within this time is there: slow pages poll every ten seconds."""

EARLY_POLL = 0.9
"""The part of the interval after which a poll is answered: timers of pages are not exact."""


class PollingService:
    """Interval polling and long-polling. Polls never replace a socket.

    The interval is enforced on each node for itself: a page polls one node, as a rule.

    Args:
        node: this node's id, under which waiting polls are attached.
        addresses: how many may wait from one address, so that one does not take the places of all.
        on_poll: called with the scene of each poll, where the operator wants to know.
    """

    def __init__(
        self,
        scenes: SceneStore,
        login: LoginService,
        node: str,
        hub: Hub,
        clock: Clock,
        addresses: AddressLimit,
        metrics: Metrics,
        *,
        poll_interval_seconds: float,
        on_poll: Callable[[Scene], None] | None = None,
    ) -> None:
        self._scenes = scenes
        self._login = login
        self._node = node
        self._hub = hub
        self._clock = clock
        self._addresses = addresses
        self._metrics = metrics
        self._interval = poll_interval_seconds * EARLY_POLL
        self._on_poll = on_poll
        self._last: Cache[SceneStr, float] = Cache(REMEMBERED)
        """When each scene was polled last."""

    async def now(self, scene_str: SceneStr, watch_token: WatchToken) -> Scene:
        """The scene at once.

        Raises:
            ApiError: ``unauthorized``: no such scene, or not its watch token; ``slow_down`` (RFC
                8628, section 3.5): polls come too often.
            StoreUnavailable: the scene cannot be read.
        """
        scene = await self._login.authenticated(scene_str, watch_token)
        now = self._clock.monotonic()
        if self._on_poll is not None:
            self._on_poll(scene)
        last = self._last.get(scene_str)
        if last is not None and now - last < self._interval:
            # Refused polls do not count, or a page that is too fast would never get an answer.
            raise ApiError(
                "slow_down",
                "Polls come faster than poll_interval.",
                retry_after=max(1, round(self._interval)),
            )
        self._last.keep(scene_str, now)
        return scene

    def transport(self, scene_str: SceneStr) -> str:
        """How the scene's page is connected to this node: ``socket``, ``long_poll`` or ``poll``;
        empty where it is not."""
        key = scene_key(scene_str)
        if self._hub.watched(key):
            return "long_poll" if self._hub.descriptor(key) is None else "socket"
        last = self._last.get(scene_str)
        lately = last is not None and self._clock.monotonic() - last < POLLED_SECONDS
        return "poll" if lately else ""

    async def wait(
        self,
        scene_str: SceneStr,
        watch_token: WatchToken,
        seconds: float,
        seq: int | None,
        address: str,
        entered: Callable[[Waiter], None],
    ) -> Scene:
        """The scene as soon as it is newer than `seq`, or after `seconds` as it is then.

        Where too many wait from `address`, it is answered as `now` does: at once, or not at all.
        Attached before it is read, so that no change falls in between.

        Args:
            seq: the newest the client has; None: any change from now on is newer.
            entered: is given the wait, to `release` it when the client has gone: else clients that
                come and go would use up the places of those that stay.

        Raises:
            ApiError, StoreUnavailable: as `now`.
        """
        # Negative ids are waiting polls, which replace no socket (see `SceneStore.attach`).
        connection = -self._hub.ids.next()
        if not self._addresses.enter(connection, address):
            self._metrics.rate_limited("long_polls")
            return await self.now(scene_str, watch_token)
        with contextlib.ExitStack() as places:
            places.callback(self._addresses.leave, connection)
            waiter = places.enter_context(self._hub.waiter(scene_str))
            entered(waiter)
            attachment = await self._scenes.attach(
                scene_str, self._node, connection, secret_hash(watch_token)
            )
            if attachment is None:
                raise unauthorized()
            scene = attachment.scene
            try:
                return await self._newer(scene, waiter, seconds, scene.seq if seq is None else seq)
            finally:
                # Attachments end with their scenes, and the answer is known: no failure counts.
                with contextlib.suppress(StoreUnavailable):
                    await self._scenes.detach(scene_str, self._node, connection)

    async def _newer(self, scene: Scene, waiter: Waiter, seconds: float, seq: int) -> Scene:
        if scene.seq > seq or scene.state in FINAL or seconds <= 0:
            return scene
        # Where scenes expire by themselves no notice comes: the end is looked at in time.
        left = scene.ends_at - self._clock.now() + END_LEEWAY_SECONDS
        newer = await waiter.newer(seq, max(0.0, min(seconds, left)))
        if newer is not None:
            return newer
        later = await self._scenes.get(scene.scene_str)
        if later is None:
            raise unauthorized()
        return later
