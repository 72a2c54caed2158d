"""The exchange of public keys, on a store that is only a dictionary."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.errors import StoreUnavailable
from services.settings import JwtSettings
from services.tokens.issuer import Issuer
from services.tokens.keys import open_keys
from services.tokens.shared_keys import KEY, SharedKeys
from tests.conftest import UnexpectedLogs

pytestmark = pytest.mark.gen_test


@dataclass
class Kept:
    """`recall` and `replace` of a store, which may be away."""

    values: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def recall(self, key: str) -> str | None:
        if self.away:
            raise StoreUnavailable("test: away")
        return self.values.get(key)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        before = self.values.get(key)
        self.values[key] = value
        return before


@dataclass
class Clock:
    time: float = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Node:
    """An issuer with a key of its own, and its exchange."""

    def __init__(self, folder: Path, name: str, store: Any, clock: Clock) -> None:
        settings = JwtSettings(key_file=folder / f"{name}.json")
        self.issuer = Issuer(open_keys(settings), issuer="i", audience="a")
        (self.kid,) = self.kids
        self.keys = SharedKeys(self.issuer, store, clock, keep_seconds=7200)

    @property
    def kids(self) -> set[str]:
        return {key["kid"] for key in self.issuer.jwks()["keys"]}

    async def exchange(self) -> None:
        await self.keys._exchange()


async def test_nodes_learn_each_others_keys(tmp_path: Path) -> None:
    """After one exchange of each, and one more of the first."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    for node in (a, b, a):
        await node.exchange()
    assert a.kids == b.kids == {a.kid, b.kid}


async def test_a_lost_addition_is_made_again(tmp_path: Path) -> None:
    """Whoever saw it brings it back, its owner or another; so does a store that came back empty."""
    store, clock = Kept(), Clock()
    a, b, c = (Node(tmp_path, name, store, clock) for name in "abc")
    for node in (a, b, c):
        await node.exchange()
    store.values.clear()
    for node in (b, c):
        await node.exchange()
    assert {a.kid, b.kid, c.kid} <= set(json.loads(store.values[KEY]))


async def test_a_key_outlives_its_node_by_a_tokens_life(tmp_path: Path) -> None:
    """And is forgotten then by those that remain, who go on naming their own."""
    store, clock = Kept(), Clock()
    gone, stays = (Node(tmp_path, name, store, clock) for name in "ab")
    for node in (gone, stays):
        await node.exchange()
    clock.time += 7200
    await stays.exchange()
    assert stays.kids == {gone.kid, stays.kid}
    clock.time += 1200
    await stays.exchange()
    assert stays.kids == {stays.kid} == set(json.loads(store.values[KEY]))


async def test_what_is_not_understood_is_written_anew(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Nothing of it is trusted."""
    logs.expect("the shared keys were not understood")
    for text in ("rubbish", "[]", '{"kid": 5}', '{"kid": ["soon", {}]}'):
        store = Kept({KEY: text})
        node = Node(tmp_path, "a", store, Clock())
        await node.exchange()
        assert set(json.loads(store.values[KEY])) == {node.kid}


async def test_a_key_cannot_stand_in_for_another(tmp_path: Path) -> None:
    """A foreign key under our own key's name does not take its place."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    await a.exchange()
    (jwk,) = b.issuer.jwks()["keys"]
    store.values[KEY] = json.dumps({a.kid: [clock.time + 60, {**jwk, "kid": a.kid}]})
    await a.exchange()
    (own,) = [key for key in a.issuer.jwks()["keys"] if key["kid"] == a.kid]
    assert own["x"] != jwk["x"]


async def test_a_store_that_is_away_stops_a_newcomer(tmp_path: Path) -> None:
    """It could not say who it is; whoever runs already goes on."""
    node = Node(tmp_path, "a", Kept(away=True), Clock())
    with pytest.raises(StoreUnavailable):
        await node.keys.introduce()
    going_on = asyncio.ensure_future(node.keys.exchange_forever())
    await asyncio.sleep(0)
    assert not going_on.done()
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)
