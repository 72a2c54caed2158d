"""What a node knows of the screens: their labels for chats, and what their pages are to be told.

`Screens` keeps a copy of the store's records. The store is the truth; the copy is read again when a
node has changed something (`Broker.listen_for_screens`) and every few seconds, for a notice may be
missing. What differs then is told to the pages that this node holds, by `Pages`, and every status
document of a screen's scene says it once more.

Who begins a scene is never decided by the copy: `begin` asks the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr, secret_hash
from services.metrics import Metrics
from services.screens.store import Beginning, Screen, ScreenStore
from services.settings.models import KioskSettings
from services.tasks import Supervisor

log = logging.getLogger("scanpush.screens")

ROUND_SECONDS = 15.0
"""How often the records are read without a notice, and this node's pages are looked at."""

SEEN_SECONDS = 60.0
"""How often at most it is written down that a page is still connected."""

AGAIN_SECONDS = 1.0

LOOKED_AT = 4
"""Scenes of a screen that are looked at for its connection, the newest: a page follows the code it
shows, a spare one, and the people who scanned the ones before."""

REVOKED_KEPT_SECONDS = 86_400.0
"""For how long a revoked screen is remembered: longer than any of its scenes."""

REVOKED = {"screen": "revoked"}
"""What a scene keeps in its details that ended because its screen was revoked."""


class Pages(NamedTuple):
    """The pages that are connected to this node."""

    transport: Callable[[SceneStr], str]
    """How the scene's page is connected: ``socket``, ``long_poll``, ``poll`` or empty."""
    tell: Callable[[SceneStr, Mapping[str, Any]], None]
    """Writes a message to the page's socket, if it has one here; answers its long polls."""


class Screens:
    """The screens of the settings and of the store.

    Args:
        configured: the screens of the settings, which come first where names are alike.
        down_seconds: a screen that was not seen for that long is down; more than `SEEN_SECONDS` and
            some rounds, for that is how old what is known of a connected page may be.
    """

    def __init__(
        self,
        configured: Mapping[str, KioskSettings],
        store: ScreenStore,
        clock: Clock,
        supervisor: Supervisor,
        metrics: Metrics,
        *,
        down_seconds: int,
    ) -> None:
        self.configured = configured
        self.store = store
        self.labels: dict[str, str] = {}
        """What the operator calls each screen, by name; kept up to date."""
        self.keypads: set[str] = set()
        """The screens on which a number can be typed; kept up to date."""
        self._clock = clock
        self._supervisor = supervisor
        self._metrics = metrics
        self._down_seconds = down_seconds
        self._pages: Pages | None = None
        self._records: dict[str, Screen] | None = None
        """By id; None before they were read."""
        self._names: dict[str, Screen] = {}
        self._ended: set[str] = set()
        """The ids of those whose revocation needs nothing more."""
        self._reading = asyncio.Lock()
        self._is_wanted = asyncio.Event()
        self._name_all({})

    # What pages are told.

    def of_page(self, scene_details: Mapping[str, str]) -> dict[str, Any] | None:
        """The member ``screen`` of a scene's status; None where this node does not know its screen,
        which another node may have paired just now."""
        name = scene_details.get("kiosk", "")
        is_revoked = scene_details.get("screen") == REVOKED["screen"]
        record = self._names.get(name)
        if not is_revoked and record is None and name not in self.configured:
            return None
        return {
            "notice": "" if record is None or is_revoked else record.notice,
            "reload": 0 if record is None else record.reload,
            "label": self.labels.get(name, "") or name,
            "revoked": is_revoked,
        }

    async def begun(self, secret: str, beginning: Beginning) -> Screen | None:
        """Note a scene that a paired screen has begun; None where it was revoked meanwhile."""
        screen = await self.store.begun(secret_hash(secret), beginning)
        if screen is not None and screen.name not in self.configured:
            # Only by name: what is new of it is told when the records are read.
            self._names[screen.name] = screen
            self.labels[screen.name] = screen.label
            (self.keypads.add if screen.keypad else self.keypads.discard)(screen.name)
        return screen

    def begun_at(self, name: str, beginning: Beginning) -> None:
        """Note a scene that a screen of the settings has begun; it does not wait for the store."""
        self._supervisor.spawn(self._note(name, beginning), name="note a screen")

    async def _note(self, name: str, beginning: Beginning) -> None:
        try:
            await self.store.begun_at(name, beginning)
        except StoreUnavailable as error:
            log.info("screen %s: its code is not noted: %s", name, error)

    # The copy.

    def is_record(self, record: Screen) -> bool:
        """Whether it is a screen now: paired, or one of the settings."""
        paired = bool(record.secret_hash) and not record.revoked_at
        return paired or record.name in self.configured

    def is_up(self, seen_at: float) -> bool:
        """Whether a screen that was seen then is up now."""
        return self._clock.now() - seen_at < self._down_seconds

    def on_change(self) -> None:
        """For `Broker.listen_for_screens`: have the records read soon."""
        self._is_wanted.set()

    async def watch_forever(
        self, pages: Pages, end_revoked: Callable[[Screen], Awaitable[None]]
    ) -> None:
        """Follow what all nodes change, tell this node's pages, and note which are connected.

        Args:
            end_revoked: ends the scenes of a revoked screen. Every node does it once for each, so
                that they end where the node that revoked it could not.
        """
        self._pages = pages
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._is_wanted.wait()
            self._is_wanted.clear()
            try:
                await self.refresh()
                for record in list((self._records or {}).values()):
                    if record.revoked_at and record.id not in self._ended:
                        await end_revoked(record)
                        self._ended.add(record.id)
                await self.note_connected(pages)
            except StoreUnavailable as error:
                log.info("the screens are not known now: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._is_wanted.set()

    async def refresh(self) -> None:
        """Read the records, and tell the pages here what is new of them.

        Raises:
            StoreUnavailable
        """
        async with self._reading:
            records = {record.id: record for record in await self.store.all()}
            before, self._records = self._records, records
            self._ended &= records.keys()
            self._name_all(records)
        ups = [self.is_up(one.seen_at) for one in records.values() if self.is_record(one)]
        self._metrics.screens(up=sum(ups), down=len(ups) - sum(ups))
        if before is None or self._pages is None:
            return
        for record in records.values():
            for message in _news(before.get(record.id), record):
                for scene_str in record.scenes:
                    self._pages.tell(scene_str, {"type": "screen", **message})

    def _name_all(self, records: Mapping[str, Screen]) -> None:
        self._names = {one.name: one for one in records.values() if self.is_record(one)}
        # In place: chats hold these two.
        self.labels.clear()
        self.labels.update({name: one.label for name, one in self._names.items()})
        self.labels.update({name: one.label for name, one in self.configured.items()})
        self.keypads.clear()
        paired = {name for name, one in self._names.items() if one.keypad}
        self.keypads |= paired - self.configured.keys()
        self.keypads |= {name for name, one in self.configured.items() if one.keypad}

    async def note_connected(self, pages: Pages) -> None:
        """Write down which pages are connected to this node, each once a minute.

        Raises:
            StoreUnavailable
        """
        now = self._clock.now()
        for record in list(self._names.values()):
            transport = self.transport(record, pages)
            is_old = now - record.seen_at >= SEEN_SECONDS
            if transport and (is_old or transport != record.transport):
                await self.store.seen(record.id, transport, now)
        old = now - REVOKED_KEPT_SECONDS
        if any(0 < one.revoked_at < old for one in (self._records or {}).values()):
            await self.store.forget(old)

    def transport(self, record: Screen, pages: Pages | None = None) -> str:
        """How the screen's page is connected to this node now; empty where it is not."""
        pages = pages or self._pages
        if pages is None:
            return ""
        newest = reversed(record.scenes[-LOOKED_AT:])
        return next(filter(None, map(pages.transport, newest)), "")


def name_taken() -> ApiError:
    return ApiError("conflict", "There is a screen of that name.", field="name")


def _news(before: Screen | None, now: Screen) -> list[dict[str, Any]]:
    """What the page of a screen is to be told, a member of a message each."""
    if before is None:
        before = Screen(now.id, now.name, now.label)
    if now.revoked_at:
        return [] if before.revoked_at else [{"revoked": True}]
    news: list[dict[str, Any]] = []
    if now.notice != before.notice:
        news.append({"notice": now.notice})
    if now.label != before.label:
        news.append({"label": now.label or now.name})
    if now.reload != before.reload:
        news.append({"reload": now.reload})
    return news
