"""What the tests of a failing MongoDB share."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.people.store_mongo import MongoUserStore
from tests.servers import MongoServer
from tests.wire_proxy import Fault, Plan, Proxy, name_of, one_message, reply

T = TypeVar("T")

NOT_PRIMARY = {
    "ok": 0.0,
    "errmsg": "not primary",
    "code": 10107,
    "codeName": "NotWritablePrimary",
    "errorLabels": ["RetryableWriteError"],
}
DUPLICATE_KEY = {
    "ok": 1.0,
    "n": 0,
    "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 duplicate key error"}],
}
NO_MAJORITY = {
    "ok": 1.0,
    "n": 1,
    "nModified": 1,
    "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "timed out"},
}


def a_scene_str() -> SceneStr:
    return SceneStr(str(uuid.uuid4()))


@contextlib.asynccontextmanager
async def opened(url: str, timeout: float = 1.0) -> AsyncIterator[MongoUserStore]:
    store = MongoUserStore(url, "people", timeout_seconds=timeout)
    await patiently(store.open)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def proxied(
    server: MongoServer, timeout: float = 1.0
) -> AsyncIterator[tuple[Proxy, MongoUserStore]]:
    proxy = Proxy(server.port, message=one_message)
    await proxy.open()
    try:
        async with opened(f"mongodb://127.0.0.1:{proxy.port}", timeout) as store:
            yield proxy, store
    finally:
        await proxy.close()


def once(names: tuple[str, ...], fault: Fault | dict[str, object]) -> Plan:
    """The first request of one of those names gets `fault`; all others pass."""
    left = [fault]

    def plan(request: bytes) -> Fault | bytes:
        if not left or name_of(request) not in names:
            return Fault.PASS
        chosen = left.pop()
        return reply(request, chosen) if isinstance(chosen, dict) else chosen

    return plan


def always(names: tuple[str, ...], document: dict[str, object]) -> Plan:
    """Every request of those names is answered so."""
    return lambda request: reply(request, document) if name_of(request) in names else Fault.PASS


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = 20) -> T:
    """Ask again while the store is unavailable, as a callback does.

    Also where no fault was ordered: on a starved machine a short deadline passes by itself.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except StoreUnavailable:
            assert time.monotonic() < deadline, f"still unavailable after {seconds} s"
            await asyncio.sleep(0.02)
