"""The nodes' records of themselves: found, renewed and forgotten, in whatever order they write."""

import asyncio
from typing import Any, cast

import pytest

from services.errors import StoreUnavailable
from services.operator import KEY, SILENT_SECONDS, Nodes
from services.scenes.store import SceneStore
from tests.services.scenes.test_history import Clock


class Store:
    """One document, and a switch."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.down = False

    async def recall(self, key: str) -> str | None:
        if self.down:
            raise StoreUnavailable("test")
        return self.kept.get(key)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        if self.down:
            raise StoreUnavailable("test")
        before = self.kept.get(key)
        self.kept[key] = value
        return before


def node(name: str, store: Store, clock: Clock, *, shared: bool = True) -> Nodes:
    figures: dict[str, Any] = {"sockets": len(name), "waiting_polls": 0, "draining": False}
    return Nodes(name, cast(SceneStore, store), clock, lambda: figures, shared=shared)


async def ids(nodes: Nodes) -> list[str]:
    return [line["node_id"] for line in await nodes.known()]


@pytest.mark.gen_test
async def test_each_knows_all_and_itself_first() -> None:
    """With their figures."""
    store, clock = Store(), Clock()
    one, two = node("one", store, clock), node("three", store, clock)
    await one.announce()
    await two.announce()
    assert await ids(one) == ["one", "three"] and await ids(two) == ["three", "one"]
    assert [line["sockets"] for line in await one.known()] == [3, 5]


@pytest.mark.gen_test
async def test_a_lost_line_comes_back() -> None:
    """Two wrote at once: the next time it is there again."""
    store, clock = Store(), Clock()
    one, two = node("one", store, clock), node("two", store, clock)
    await one.announce()
    store.kept.clear()
    await two.announce()
    assert await ids(two) == ["two"]
    await one.announce()
    assert await ids(two) == ["two", "one"]


@pytest.mark.gen_test
async def test_who_falls_silent_is_forgotten() -> None:
    """After a few turns, and the document does not grow."""
    store, clock = Store(), Clock()
    one, two = node("one", store, clock), node("two", store, clock)
    await one.announce()
    clock.time += SILENT_SECONDS + 1
    await two.announce()
    assert await ids(two) == ["two"] and "one" not in store.kept[KEY]


@pytest.mark.gen_test
async def test_a_store_that_is_down_ends_nothing() -> None:
    """It is tried again at the next turn."""
    store, clock = Store(), Clock()
    store.down = True
    telling = asyncio.ensure_future(node("one", store, clock).announce_forever())
    await asyncio.sleep(0)
    assert not telling.done()
    telling.cancel()


@pytest.mark.gen_test
async def test_a_node_alone_publishes_nothing() -> None:
    """Without shared stores nothing is written."""
    store = Store()
    alone = node("one", store, Clock(), shared=False)
    await alone.announce_forever()
    assert await ids(alone) == ["one"] and not store.kept
