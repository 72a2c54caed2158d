"""The way to Redis: one client for scenes, credentials and limits, and its failures by one name.

Calls travel in batches (services/lane.py): one costs a third then. On a Redis Cluster each server
has batches of its own, so that a dead master holds up only what it holds.

Only what Redis documents is used. Redis 6.2 or newer (RESP3), or Valkey.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from services.errors import SettingsError, StoreUnavailable
from services.lane import Lane
from services.redis_failures import FOREIGN, LOST, translated
from services.redis_wire import Wire
from services.supervisor import Supervisor

try:
    from hiredis import pack_command
except ImportError:
    raise ImportError("scanpush needs hiredis: pip install 'redis[hiredis]'") from None

log = logging.getLogger("scanpush.redis")

Command = tuple[str | bytes | int | float, ...]

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # of any length

MOST_IN_A_BATCH = 512

REFRESH_SECONDS = 0.5
"""How often at most the layout of a failing cluster is asked for again."""


class Script:
    """A Lua script and its name in Redis's script cache (redis.io, "Scripting with Lua")."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Calls to one Redis, or to one Redis Cluster, which `open` finds out from the server.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with password and database.
        timeout_seconds: for each batch of calls, connecting included. A call may have to wait for
            the batch before its own, so it takes at most twice as long.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 1.5) -> None:
        self._url = url
        self.timeout_seconds = timeout_seconds
        self._supervisor = Supervisor()
        self._lanes: dict[str, Lane[Command | bytes, Any]] = {}
        self._client: Any = None
        self._wire: Wire | None = None
        """The way to the one server; a cluster has none."""
        self._refreshed_at = 0.0

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            SettingsError: the URL, the password or the database number is wrong.
            StoreUnavailable: nobody answers; trying again may help.
        """
        try:
            self._client = self.single()
        except ValueError as error:
            raise SettingsError("redis.url", str(error)) from None
        mode = await self._ask_mode()
        if mode == "sentinel":
            await self.close()
            raise SettingsError("redis.url", "names a Sentinel; name the Redis server itself")
        if mode == "cluster":
            await self._client.aclose()
            self._client = self._cluster()
            with translated():
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.initialize()
        else:
            self._wire = Wire(self._client)

    async def _ask_mode(self) -> str:
        """HELLO tells ``standalone``, ``sentinel`` or ``cluster`` (redis.io, "HELLO")."""
        try:
            with translated():
                async with asyncio.timeout(self.timeout_seconds):
                    hello = await self._client.execute_command("HELLO", 3)
        except StoreUnavailable as error:
            await self.close()
            _raise_if_settings(error.__cause__)
            raise StoreUnavailable(
                f"{error} (look at redis.url: the address, and rediss:// only if it speaks TLS)"
            ) from error
        return str(hello["mode"])

    def single(self) -> aioredis.Redis:
        """A client of the one server that the URL names, with connections of its own."""
        return aioredis.Redis.from_url(self._url, **self._options())

    def listening(self) -> Any:
        """A new connection to that server, for its owner to subscribe with and to close.

        In RESP2, where a notice is an ordinary answer: redis-py takes a detour for RESP3's pushes.
        """
        options = self._options() | {"protocol": 2, "retry": Retry(NoBackoff(), 0)}
        pool: Any = aioredis.ConnectionPool.from_url(self._url, **options)
        return pool.make_connection()

    def _cluster(self) -> aioredis.RedisCluster:
        try:
            # A server that hangs must not take all the time that asking another one needs.
            options = self._options() | {"socket_timeout": self.timeout_seconds / 2}
            return aioredis.RedisCluster.from_url(self._url, **options)
        except exceptions.RedisClusterException as error:
            raise SettingsError("redis.url", str(error)) from None

    def _options(self) -> dict[str, Any]:
        """No time-out of the client's own for reading: each call here has one already."""
        return {
            "protocol": 3,
            "decode_responses": True,
            "socket_timeout": None,
            "socket_connect_timeout": self.timeout_seconds,
            "retry": Retry(NoBackoff(), 1),
            # These are of Redis Enterprise and would be asked for on every connection.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    async def call(self, key: str, *command: str | bytes | int | float) -> Any:
        """The answer to one command about `key`; `StoreUnavailable` for every failure."""
        with translated():
            return await self._ask(key, command)

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        """Run a script on keys of one slot, by its name; Redis may have to learn it first.

        It forgets scripts when it restarts, fails over or is told SCRIPT FLUSH.
        """
        rest = (len(keys), *keys, *arguments)
        with translated():
            try:
                return await self._ask(keys[0], ("EVALSHA", script.sha, *rest))
            except exceptions.NoScriptError:
                return await self._ask(keys[0], ("EVAL", script.source, *rest))

    def _ask(self, key: str, command: Command) -> "asyncio.Future[Any]":
        if self._client is None:
            raise exceptions.ConnectionError("closed")
        # Packed here, so that what cannot be packed fails alone and not with its batch.
        return self._lane(key).ask(command if self._wire is None else _pack(command))

    def _lane(self, key: str) -> Lane[Command | bytes, Any]:
        name = ""
        if self._wire is None:
            with contextlib.suppress(exceptions.SlotNotCoveredError):  # then any server tells more
                node = self._client.get_node_from_key(key)
                name = node.name if node is not None else ""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(
                partial(self._send, name),
                self._supervisor,
                name="redis",
                timeout_seconds=self.timeout_seconds,
                most_in_a_batch=MOST_IN_A_BATCH,
            )
        return lane

    async def _send(self, server: str, commands: Sequence[Any]) -> list[Any]:
        """Send one batch to that server; one answer or exception for each command."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                if self._wire is not None:
                    answers = await self._wire.exchange(b"".join(commands), len(commands))
                else:
                    answers = await self._send_to_cluster(commands)
        except FOREIGN as error:
            answers = [error] * len(commands)
        if self._wire is None:
            if any(isinstance(answer, LOST) for answer in answers):
                self._supervisor.spawn(self._refresh(server), name="cluster layout")
        elif any(isinstance(answer, exceptions.ReadOnlyError) for answer in answers):
            # We are connected to what was the master; its name may lead elsewhere by now.
            await self._wire.close()
        return answers

    async def _send_to_cluster(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _refresh(self, failed: str) -> None:
        """Ask the cluster who holds which slots now; the calls to other servers go on."""
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = now
        try:
            with translated():
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.nodes_manager.initialize(last_failed_node_name=failed)
        except StoreUnavailable as error:
            log.warning("the layout of the Redis Cluster is unknown: %s", error)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless Redis takes writes now (a cluster: each master lives)."""
        if self._wire is None:
            with translated():
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.ping(target_nodes=aioredis.RedisCluster.PRIMARIES)
        await self.call("scanpush:ping", "SET", "scanpush:ping", "", "PX", 1000)

    async def close(self) -> None:
        """End what is under way. May be called twice."""
        await self._supervisor.close()
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(*FOREIGN):  # nothing is lost with a farewell
                if self._wire is not None:
                    await self._wire.close()
                await client.aclose()


def _raise_if_settings(error: BaseException | None) -> None:
    """Some refusals of the first call are mistakes in the settings: say which."""
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError) or "NOAUTH" in text:
        raise SettingsError("redis.url", "Redis refuses the password (or wants one)") from None
    if isinstance(error, exceptions.ResponseError) and "DB index" in text:
        raise SettingsError("redis.url", "Redis has no database of that number") from None
    if isinstance(error, exceptions.NoPermissionError):
        raise SettingsError("redis.url", "this Redis user may not do what is needed") from None
    if "SSL" in text or "Connection closed by server" in text:
        raise SettingsError(
            "redis.url", "TLS does not fit: rediss:// where Redis speaks TLS, else redis://"
        ) from None
