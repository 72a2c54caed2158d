"""What a contract test needs of a backend: stores of several nodes, time to turn, notices to read.

To add a backend, write a bench and name it in `conftest.py`.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from services.ids import SceneStr
from services.people.store import UserStore
from services.people.store_sqlite import SCHEMA as PEOPLE_SCHEMA
from services.people.store_sqlite import SqliteUserStore
from services.push.broker import Broker, LocalBroker
from services.scenes.store import Notice, SceneStore
from services.scenes.store_sqlite import SCHEMA as SCENES_SCHEMA
from services.scenes.store_sqlite import SqliteSceneStore
from services.screens.store import ScreenStore
from services.screens.store_sqlite import SCHEMA as SCREENS_SCHEMA
from services.screens.store_sqlite import SqliteScreenStore
from services.sessions.store import SessionStore
from services.sessions.store_sqlite import SCHEMA as SESSIONS_SCHEMA
from services.sessions.store_sqlite import SqliteSessionStore
from services.sqlite import Database
from tests.clocks import TurnedClock


async def eventually(true: Callable[[], bool], seconds: float = 5) -> None:
    """Poll until `true`; a missed deadline fails the test."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.005)


class SceneBench(Protocol):
    """A `SceneStore` backend under test."""

    clock: TurnedClock
    forgets_alone: bool
    """Whether `expire` has nothing to do."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def store(self, node: str = "a") -> SceneStore:
        """The store as `node` uses it, over connections of its own."""

    async def notices(self, node: str, scene_str: SceneStr) -> list[Notice]:
        """All that was noticed to `node` about a scene until now."""

    async def pass_time(self, seconds: float) -> None:
        """Let the store's own clock go on, also for what is kept by key."""


class SqliteSceneBench:
    """The embedded store: one file, one node."""

    forgets_alone = False

    def __init__(self, folder: Path) -> None:
        self.clock = TurnedClock()
        self._seen: list[Notice] = []
        self._database = Database(folder / "scanpush.db", "NORMAL", (SCENES_SCHEMA,))

    async def open(self) -> None:
        self._database.open()
        self._store = SqliteSceneStore(self._database, self.clock, self._seen.append)

    async def close(self) -> None:
        await self._database.close()

    def store(self, node: str = "a") -> SceneStore:
        return self._store

    async def notices(self, node: str, scene_str: SceneStr) -> list[Notice]:
        return [notice for notice in self._seen if notice.scene_str == scene_str]

    async def pass_time(self, seconds: float) -> None:
        self.clock.ahead += seconds


class UserBench(Protocol):
    """A `UserStore` backend under test, and the `SessionStore` and `ScreenStore` over it."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def store(self, node: str = "a") -> UserStore:
        """The store as `node` uses it, over connections of its own."""

    def sessions(self, node: str = "a") -> SessionStore:
        """Likewise."""

    def screens(self, node: str = "a") -> ScreenStore:
        """Likewise."""

    async def kept(self) -> str:
        """Everything that is kept of people, as one text."""


class SqliteUserBench:
    """The embedded store: one file, one node."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(
            folder / "scanpush.db", "NORMAL", (PEOPLE_SCHEMA, SESSIONS_SCHEMA, SCREENS_SCHEMA)
        )

    async def open(self) -> None:
        self._database.open()

    async def close(self) -> None:
        await self._database.close()

    def store(self, node: str = "a") -> UserStore:
        return SqliteUserStore(self._database)

    def sessions(self, node: str = "a") -> SessionStore:
        return SqliteSessionStore(self._database)

    def screens(self, node: str = "a") -> ScreenStore:
        return SqliteScreenStore(self._database)

    async def kept(self) -> str:
        return await self._database.write(lambda db: "\n".join(db.iterdump()))


class BrokerBench(Protocol):
    """A `Broker` backend under test."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def broker(self, node: str) -> Broker:
        """The broker of that node; the bench closes it."""

    async def publish(self, node: str, notice: Notice) -> None:
        """Publish as a store would when `node` is attached."""


class LocalBrokerBench:
    """The broker of a single process; one for each name here."""

    def __init__(self) -> None:
        self._brokers: dict[str, LocalBroker] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        for broker in self._brokers.values():
            await broker.close()

    def broker(self, node: str) -> Broker:
        return self._brokers.setdefault(node, LocalBroker())

    async def publish(self, node: str, notice: Notice) -> None:
        self._brokers[node].publish(notice)
