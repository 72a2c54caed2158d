"""`MongoUserStore` on whatever MongoDB-protocol server the tests were given."""

import uuid

from services.people.store import UserStore
from services.people.store_mongo import MongoUserStore
from services.screens.store import ScreenStore
from services.screens.store_mongo import MongoScreenStore
from services.sessions.store import SessionStore
from services.sessions.store_mongo import MongoSessionStore


class MongoUserBench:
    """Two nodes on one database of its own name."""

    def __init__(self, url: str) -> None:
        database = f"scanpush_test_{uuid.uuid4().hex[:12]}"
        self._stores = {
            node: MongoUserStore(url, database, timeout_seconds=30) for node in ("a", "b")
        }
        self._screens = {node: MongoScreenStore(users) for node, users in self._stores.items()}
        self._sessions = {node: MongoSessionStore(users) for node, users in self._stores.items()}

    async def open(self) -> None:
        for node, store in self._stores.items():
            await store.open()
            await self._sessions[node].open()
            await self._screens[node].open()

    async def close(self) -> None:
        for store in self._stores.values():
            await store.close()

    def store(self, node: str = "a") -> UserStore:
        return self._stores[node]

    def sessions(self, node: str = "a") -> SessionStore:
        return self._sessions[node]

    def screens(self, node: str = "a") -> ScreenStore:
        return self._screens[node]

    async def kept(self) -> str:
        return repr(await self._stores["a"]._people.find().to_list())
