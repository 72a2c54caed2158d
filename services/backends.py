"""The two sets of stores: ``backend: embedded`` (SQLite) and ``distributed`` (Redis, MongoDB)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable
from services.events import store_sqlite as events_sqlite
from services.events.store import EventStore, Keeping
from services.events.store_mongo import MongoEventStore
from services.events.store_sqlite import SqliteEventStore
from services.metrics import Metrics
from services.people import store_sqlite as people_sqlite
from services.people.store import UserStore
from services.people.store_mongo import MongoUserStore
from services.people.store_sqlite import SqliteUserStore
from services.push.broker import Broker, LocalBroker, RedisBroker
from services.rate_limits import MemoryWindows, RedisWindows, Windows
from services.redis_client import RedisLink, StoreClock
from services.scenes import store_sqlite as scenes_sqlite
from services.scenes.history import PerMinute
from services.scenes.local_echo import LocalEcho
from services.scenes.login import LoginStore
from services.scenes.store import SceneStore
from services.scenes.store_redis import RedisSceneStore, told_lists
from services.scenes.store_sqlite import SqliteLoginStore, SqliteSceneStore
from services.scenes.tellings import CollectedEntries
from services.screens import store_sqlite as screens_sqlite
from services.screens.store import ScreenStore
from services.screens.store_mongo import MongoScreenStore
from services.screens.store_sqlite import SqliteScreenStore
from services.sessions import store_sqlite as sessions_sqlite
from services.sessions.store import SessionStore
from services.sessions.store_mongo import MongoSessionStore
from services.sessions.store_sqlite import SqliteSessionStore
from services.settings.models import Settings
from services.sqlite import Database
from services.wechat.access_token import (
    AccessTokenStore,
    MemoryAccessTokenStore,
    RedisAccessTokenStore,
)


@dataclass
class Backend:
    """What ``backend`` decides. `clock` is the store's, where nodes share one; `logins` completes
    logins where scenes and people share a store; `events` is None where nothing is kept, and
    `collected` where the moves of scenes are told there at once."""

    scenes: SceneStore
    users: UserStore
    sessions: SessionStore
    screens: ScreenStore
    broker: Broker
    access_tokens: AccessTokenStore
    windows: Windows
    clock: StoreClock | None = None
    logins: LoginStore | None = None
    events: EventStore | None = None
    collected: CollectedEntries | None = None
    database: Database | None = None
    connections: tuple[MongoUserStore | RedisLink, ...] = ()

    async def close(self) -> None:
        """Close the broker and all stores."""
        await self.broker.close()  # first, because it uses a connection that is closed below
        for connection in self.connections:
            await connection.close()
        if self.database is not None:
            await self.database.close()


SQLITE_SCHEMAS = (
    scenes_sqlite.SCHEMA,
    people_sqlite.SCHEMA,
    sessions_sqlite.SCHEMA,
    screens_sqlite.SCHEMA,
    events_sqlite.SCHEMA,
)
"""All tables of the embedded database."""

CHECK_SECONDS = 2
"""How long a check waits for all stores together."""

WATCH_SECONDS = 5

RECENT_CHECKS = 12
"""So many are "of late": a minute of them where nothing asks ``/readyz``."""


class StoreWatch:
    """Asks the stores whether they answer, for ``/readyz``, the metrics and the operator's page."""

    def __init__(self, backend: Backend, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._pings = {
            "scenes": backend.scenes.ping,
            "users": backend.users.ping,
            "broker": backend.broker.ping,
        }
        engines = ("Redis", "MongoDB", "Redis") if backend.database is None else ("SQLite",) * 2
        # Notices within one process have no store, and are not shown.
        self._engines = dict(zip(self._pings, engines, strict=False))
        self._seconds = {store: deque[float](maxlen=RECENT_CHECKS) for store in self._engines}
        self._answered_at: dict[str, float] = {}
        self._down: set[str] = set()
        self._slowest = PerMinute()

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless the stores and the broker answer now."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                for store in self._pings:
                    await self._check(store)
        except TimeoutError:
            raise StoreUnavailable("a store does not answer") from None

    async def _check(self, store: str) -> None:
        began = self._clock.monotonic()
        up = False
        try:
            await self._pings[store]()
            up = True
        finally:
            seconds = self._clock.monotonic() - began
            self._metrics.store_checked(store, seconds, up=up)
            if store in self._engines:
                now = self._clock.now()
                self._seconds[store].append(seconds)
                self._slowest.raise_to(now, round(1_000_000 * seconds))
                (self._down.discard if up else self._down.add)(store)
                if up:
                    self._answered_at[store] = now

    async def check_forever(self) -> None:
        """Keep the figures fresh where nothing asks ``/readyz``; each store has its own wait."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for store in self._pings:
                # The metric says it; what fails by it is logged where it fails.
                with contextlib.suppress(StoreUnavailable, TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await self._check(store)

    def seen(self) -> list[dict[str, Any]]:
        """Each store by what it is: whether it answered its newest check (None before the first),
        when it last did, and in how many milliseconds, at the median and at most, of late."""
        return [
            {
                "store": store,
                "engine": engine,
                "up": store not in self._down if self._seconds[store] else None,
                "answered_at": self._answered_at.get(store),
                "median_ms": _milliseconds(median(self._seconds[store] or [0])),
                "most_ms": _milliseconds(max(self._seconds[store], default=0)),
            }
            for store, engine in self._engines.items()
        ]

    def slowest(self, now: float) -> list[float]:
        """The slowest check of any store in each minute of the last hour, in milliseconds."""
        return [micros / 1000 for micros in self._slowest.counts(now)]


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


OpenBackend = Callable[[Settings, Clock, str], Awaitable[Backend]]
"""Opens the stores for the node of that id."""


async def open_backend(settings: Settings, clock: Clock, node: str) -> Backend:
    """The backend that the settings name.

    Raises:
        SettingsError: a file, address, password or name that they give is wrong.
        StoreUnavailable: a store does not answer; trying again may help.
    """
    if settings.backend == "distributed":
        return await open_distributed(settings, clock, node)
    return await open_embedded(settings, clock, node)


def keeping_of(settings: Settings) -> Keeping:
    """Which entries are kept."""
    return Keeping(told=bool(settings.events.url), audited=settings.keeps_audit)


async def open_embedded(settings: Settings, clock: Clock, node: str) -> Backend:
    """SQLite, and notices within the process: nothing to install."""
    database = Database(
        settings.embedded.path,
        settings.embedded.synchronous,
        SQLITE_SCHEMAS,
    )
    database.open()
    broker = LocalBroker()
    keeping = keeping_of(settings)
    events = SqliteEventStore(database, keeping) if keeping.on else None
    scenes = SqliteSceneStore(database, clock, broker.publish, events)
    return Backend(
        scenes=scenes,
        users=SqliteUserStore(database),
        sessions=SqliteSessionStore(database, events),
        screens=SqliteScreenStore(database),
        broker=broker,
        access_tokens=MemoryAccessTokenStore(),
        windows=MemoryWindows(clock.now),
        database=database,
        logins=SqliteLoginStore(clock, scenes),
        events=events,
    )


async def open_distributed(settings: Settings, clock: Clock, node: str) -> Backend:
    """Redis for what is short-lived, MongoDB for the people; any number of nodes."""
    link = RedisLink(settings.redis.url.get_secret_value())
    users = MongoUserStore(settings.mongodb.url.get_secret_value(), settings.mongodb.database)
    keeping = keeping_of(settings)
    events = MongoEventStore(users, keeping) if keeping.on else None
    sessions, screens = MongoSessionStore(users, events), MongoScreenStore(users)
    async with contextlib.AsyncExitStack() as undo:
        await link.open()
        undo.push_async_callback(link.close)
        await users.open()
        undo.push_async_callback(users.close)
        if settings.keeps_sessions:
            await sessions.open()
        await screens.open()
        if events is not None:
            await events.open()
        store_clock = StoreClock(clock, link)
        await store_clock.sync()
        undo.pop_all()
    echo = LocalEcho()
    collected = None
    if events is not None:
        collected = CollectedEntries(link, told_lists(), events, store_clock.now)
    return Backend(
        scenes=RedisSceneStore(link, echo, tells=keeping.on),
        users=users,
        sessions=sessions,
        screens=screens,
        broker=RedisBroker(link, node, echo),
        access_tokens=RedisAccessTokenStore(link),
        windows=RedisWindows(link),
        clock=store_clock,
        events=events,
        collected=collected,
        connections=(users, link),
    )
