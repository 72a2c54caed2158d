"""The two sets of stores: ``backend: embedded`` (SQLite) and ``distributed`` (Redis, MongoDB)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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


CHECK_SECONDS = 2
"""How long a check waits for all stores together."""

WATCH_SECONDS = 5


class StoreWatch:
    """Asks the stores whether they answer, for ``/readyz`` and for the metrics."""

    def __init__(self, backend: Backend, clock: Clock, metrics: Metrics) -> None:
        self._backend = backend
        self._clock = clock
        self._metrics = metrics

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless the stores and the broker answer now."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._check("scenes", self._backend.scenes.ping)
                await self._check("users", self._backend.users.ping)
                await self._check("broker", self._backend.broker.ping)
        except TimeoutError:
            raise StoreUnavailable("a store does not answer") from None

    async def _check(self, store: str, ping: Callable[[], Awaitable[None]]) -> None:
        began = self._clock.monotonic()
        up = False
        try:
            await ping()
            up = True
        finally:
            self._metrics.store_checked(store, self._clock.monotonic() - began, up=up)

    async def check_forever(self) -> None:
        """Keep the metrics fresh where nothing asks ``/readyz``."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            # The metric says it; what fails by it is logged where it fails.
            with contextlib.suppress(StoreUnavailable):
                await self.check()


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
        (
            scenes_sqlite.SCHEMA,
            people_sqlite.SCHEMA,
            sessions_sqlite.SCHEMA,
            screens_sqlite.SCHEMA,
            events_sqlite.SCHEMA,
        ),
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
        if settings.operator.token:
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
