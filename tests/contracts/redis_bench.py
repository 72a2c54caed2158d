"""What runs on Redis, on a real redis-server, or on a real cluster of them."""

import asyncio
import uuid
from typing import Any

import redis.asyncio as aioredis

from services.ids import SceneStr
from services.push.broker import Broker, RedisBroker, channel
from services.redis_client import RedisLink, Script
from services.scenes.store import Notice, SceneStore
from services.scenes.store_redis import RedisSceneStore, keys_of
from tests.clocks import TurnedClock
from tests.contracts.benches import eventually

PUBLISH = Script("return redis.call('PUBLISH', ARGV[1], ARGV[2])")
"""From the server that holds KEYS[1]: on a cluster, a plain PUBLISH goes to any."""


class RedisSceneBench:
    """Two nodes, each with connections of its own, and a listener to all channels."""

    forgets_alone = True

    def __init__(self, url: str) -> None:
        self.clock = TurnedClock()
        self._url = url
        self._links: dict[str, RedisLink] = {}
        self._seen: list[tuple[str, str]] = []

    async def open(self) -> None:
        for node in ("a", "b"):
            self._links[node] = RedisLink(self._url, timeout_seconds=5)
            await self._links[node].open()
        self._client = aioredis.Redis.from_url(self._url, decode_responses=True)
        self._pubsub: Any = self._client.pubsub()
        await self._pubsub.psubscribe("scanpush:node:*", "marker")
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "pmessage":
                self._seen.append((message["channel"], message["data"]))

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._pubsub.aclose()
        await self._client.aclose()
        for link in self._links.values():
            await link.close()

    def store(self, node: str = "a") -> SceneStore:
        return RedisSceneStore(self._links[node], ahead=lambda: self.clock.ahead)

    async def notices(self, node: str, scene_str: SceneStr) -> list[Notice]:
        """A marker from the scene's own server comes after all that it has published."""
        marker = ("marker", str(uuid.uuid4()))
        await self._links["a"].run(PUBLISH, keys_of(scene_str)[:1], *marker)
        await eventually(lambda: marker in self._seen)
        parts = [data.split() for at, data in self._seen if at == f"scanpush:node:{node}"]
        return [
            Notice(scene_str, int(seq), int(newest))
            for name, seq, newest in parts
            if name == scene_str
        ]

    async def pass_time(self, seconds: float) -> None:
        """What is kept by key ends by Redis's own expiry: little time really passes."""
        if seconds < 1:
            await asyncio.sleep(seconds)
        else:
            self.clock.ahead += seconds


class RedisBrokerBench:
    """Brokers of several nodes on one Redis."""

    def __init__(self, url: str) -> None:
        self._link = RedisLink(url, timeout_seconds=5)
        self._brokers: list[RedisBroker] = []

    async def open(self) -> None:
        await self._link.open()

    async def close(self) -> None:
        for broker in self._brokers:
            await broker.close()
        await self._link.close()

    def broker(self, node: str) -> Broker:
        self._brokers.append(RedisBroker(self._link, node))
        return self._brokers[-1]

    async def publish(self, node: str, notice: Notice) -> None:
        text = f"{notice.scene_str} {notice.seq} {notice.newest}"
        await self._link.call("any", "PUBLISH", channel(node), text)
