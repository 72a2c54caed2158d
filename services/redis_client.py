"""Redis for scenes, credentials, limits and notices: calls, scripts, and the store's clock.

`RedisLink` is the way to one Redis or one Redis Cluster. Its calls are pipelined in batches
(services/batching.py), where one costs a third. On a Redis Cluster each server has batches of its
own, so that a dead master holds up only the keys it holds. Redis 6.2 or newer (RESP3), or Valkey.
All failures are `StoreUnavailable`; nothing of redis-py escapes.

redis-py connects, authenticates, reads answers (with hiredis) and knows the slots of a cluster.
These parts of it are internals, or named in its reference without a promise; setup.cfg therefore
gives redis an upper bound, which is raised only after a look at each of them:

    ConnectionPool.make_connection                 (`_PipelineConnection`, `pubsub_connection`)
    Connection.send_packed_command, send_command, read_response, disconnect
                                                   (`_PipelineConnection`, push/broker.py)
    RedisCluster.nodes_manager.initialize          (`RedisLink._refresh`)
    redis.maint_notifications                      (`RedisLink._options`)

Its connection pool is left out: taking a connection from it and giving it back costs more than a
call.
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

from services.batching import Batcher
from services.clock import Clock
from services.errors import SettingsError, StoreUnavailable
from services.tasks import Supervisor

try:
    from hiredis import pack_command
except ImportError:
    raise ImportError("scanpush needs hiredis: pip install 'redis[hiredis]'") from None

log = logging.getLogger("scanpush.redis")

Command = tuple[str | bytes | int | float, ...]

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # of any length

MAX_BATCH_SIZE = 512

REFRESH_SECONDS = 0.5
"""How often at most the layout of a failing cluster is asked for again."""

_FAILURES = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    OSError,  # refused, reset, unresolved; and TimeoutError, which asyncio raises
    asyncio.IncompleteReadError,
)
_CONNECTION_FAILURES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    OSError,
)


class redis_errors:
    """Turn whatever redis-py raises into `StoreUnavailable`.

    That covers a server that is gone, hangs, loads its data (LOADING), lost its master
    (MASTERDOWN), became a replica (READONLY), is full (OOM) or refuses the password (NOAUTH): in
    each case the caller may ask again, and what was asked may or may not have happened.
    """

    # A class, like contextlib's: around every call, a generator's context manager would cost.

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, _FAILURES):
            late = isinstance(error, TimeoutError) and not str(error)
            what = "no answer in time" if late else f"{type(error).__name__}: {error}"[:200]
            raise StoreUnavailable(f"Redis: {what}") from error


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
        self._batchers: dict[str, Batcher[Command | bytes, Any]] = {}
        """By the name of the cluster's server; the one of a single server is named ""."""
        self._client: Any = None
        self._connection: _PipelineConnection | None = None
        """To the single server; None for a cluster, whose client has connections of its own."""
        self._refreshed_at = 0.0

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            SettingsError: the URL, the password or the database number is wrong.
            StoreUnavailable: no answer; trying again may help.
        """
        try:
            self._client = self.standalone_client()
        except ValueError as error:
            raise SettingsError("redis.url", str(error)) from None
        mode = await self._ask_mode()
        if mode == "sentinel":
            await self.close()
            raise SettingsError("redis.url", "names a Sentinel; name the Redis server itself")
        if mode != "cluster":
            self._connection = _PipelineConnection(self._client)
            return
        await self._client.aclose()
        # A server that hangs must not take all the time that asking another one needs.
        options = self._options() | {"socket_timeout": self.timeout_seconds / 2}
        try:
            self._client = aioredis.RedisCluster.from_url(self._url, **options)
        except exceptions.RedisClusterException as error:
            raise SettingsError("redis.url", str(error)) from None
        with redis_errors():
            async with asyncio.timeout(self.timeout_seconds):
                await self._client.initialize()

    async def _ask_mode(self) -> str:
        """HELLO says ``standalone``, ``sentinel`` or ``cluster`` (redis.io, "HELLO")."""
        try:
            with redis_errors():
                async with asyncio.timeout(self.timeout_seconds):
                    hello = await self._client.execute_command("HELLO", 3)
        except StoreUnavailable as error:
            await self.close()
            _raise_if_settings(error.__cause__)
            raise StoreUnavailable(
                f"{error} (look at redis.url: the address, and rediss:// only if it speaks TLS)"
            ) from error
        return str(hello["mode"])

    def standalone_client(self) -> aioredis.Redis:
        """A redis-py client of the one server that the URL names, with its own connections."""
        return aioredis.Redis.from_url(self._url, **self._options())

    def pubsub_connection(self) -> Any:
        """A new connection to that server, for its owner to subscribe with and to close.

        It speaks RESP2, where a published message is an ordinary answer.
        """
        # For RESP3's push messages redis-py takes a detour.
        options = self._options() | {"protocol": 2, "retry": Retry(NoBackoff(), 0)}
        pool: Any = aioredis.ConnectionPool.from_url(self._url, **options)
        return pool.make_connection()

    def _options(self) -> dict[str, Any]:
        return {
            "protocol": 3,
            "decode_responses": True,
            "socket_timeout": None,  # each batch has a time limit already
            "socket_connect_timeout": self.timeout_seconds,
            "retry": Retry(NoBackoff(), 1),
            # These are of Redis Enterprise and would be asked for on every connection.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    async def call(self, key: str, *command: str | bytes | int | float) -> Any:
        """The answer to one command about `key`; `StoreUnavailable` for every failure."""
        with redis_errors():
            return await self._submit(key, command)

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        """Run a script on keys of one slot. Raises `StoreUnavailable` for every failure."""
        rest = (len(keys), *keys, *arguments)
        with redis_errors():
            try:
                return await self._submit(keys[0], ("EVALSHA", script.sha, *rest))
            except exceptions.NoScriptError:
                # Redis forgets scripts when it restarts, fails over or gets SCRIPT FLUSH.
                return await self._submit(keys[0], ("EVAL", script.source, *rest))

    def _submit(self, key: str, command: Command) -> "asyncio.Future[Any]":
        if self._client is None:
            raise exceptions.ConnectionError("closed")
        # Packed here, so that what cannot be packed fails alone and not with its batch.
        return self._batcher(key).submit(command if self._connection is None else _pack(command))

    def _batcher(self, key: str) -> Batcher[Command | bytes, Any]:
        server = ""
        if self._connection is None:
            # Without a server for the slot, any server answers with what is wrong.
            with contextlib.suppress(exceptions.SlotNotCoveredError):
                node = self._client.get_node_from_key(key)
                server = node.name if node is not None else ""
        batcher = self._batchers.get(server)
        if batcher is None:
            batcher = self._batchers[server] = Batcher(
                partial(self._send, server),
                self._supervisor,
                name="redis",
                timeout_seconds=self.timeout_seconds,
                max_batch_size=MAX_BATCH_SIZE,
            )
        return batcher

    async def _send(self, server: str, commands: Sequence[Any]) -> list[Any]:
        """Send one batch to that server; one answer or exception for each command."""
        answers: list[Any]
        try:
            async with asyncio.timeout(self.timeout_seconds):
                if self._connection is not None:
                    packed = b"".join(commands)
                    answers = await self._connection.exchange(packed, len(commands))
                else:
                    pipeline = self._client.pipeline()
                    for command in commands:
                        pipeline.execute_command(*command)
                    answers = await pipeline.execute(raise_on_error=False)
        except _FAILURES as error:
            answers = [error] * len(commands)
        if self._connection is None:
            if any(isinstance(answer, _CONNECTION_FAILURES) for answer in answers):
                self._supervisor.spawn(self._refresh(server), name="cluster layout")
        elif any(isinstance(answer, exceptions.ReadOnlyError) for answer in answers):
            # This connection leads to the former master; its name may lead elsewhere by now.
            await self._connection.close()
        return answers

    async def _refresh(self, failed: str) -> None:
        """Ask the cluster who holds which slots now; the calls to other servers go on."""
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = now
        try:
            with redis_errors():
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.nodes_manager.initialize(last_failed_node_name=failed)
        except StoreUnavailable as error:
            log.warning("the layout of the Redis Cluster is unknown: %s", error)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless Redis takes writes now (a cluster: each master lives)."""
        if self._connection is None:
            with redis_errors():
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.ping(target_nodes=aioredis.RedisCluster.PRIMARIES)
        await self.call("scanpush:ping", "SET", "scanpush:ping", "", "PX", 1000)

    async def close(self) -> None:
        """End the calls in flight and close the connections. May be called twice."""
        await self._supervisor.close()
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(*_FAILURES):  # nothing is lost when closing fails
                if self._connection is not None:
                    await self._connection.close()
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


class _PipelineConnection:
    """One connection to one server: connected at the first exchange, and again after a loss.

    One exchange at a time. One that is cancelled, or fails, leaves no connection behind, so that
    no late answer is taken for that of another call.

    Args:
        client: whose settings the connection gets.
    """

    def __init__(self, client: aioredis.Redis) -> None:
        pool: Any = client.connection_pool  # untyped where it makes connections
        self._connection = pool.make_connection()

    async def exchange(self, packed: bytes, count: int) -> list[Any]:
        """Send packed commands, and get one answer or exception for each of the `count`.

        Raises:
            redis.exceptions.ConnectionError: there is no connection to be had, or it was lost
                before the first answer, twice.
        """
        try:
            return await self._try_exchange(packed, count)
        except exceptions.ConnectionError:
            # The loss of an idle connection is noticed only now: hence a second try, on a new one.
            return await self._try_exchange(packed, count)

    async def _try_exchange(self, packed: bytes, count: int) -> list[Any]:
        connection = self._connection
        answers: list[Any] = []
        try:
            await connection.send_packed_command(packed, check_health=False)
            while len(answers) < count:
                try:
                    answers.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    answers.append(error)
        except exceptions.ConnectionError as error:
            if not answers:
                raise
            answers += [error] * (count - len(answers))
        return answers

    async def close(self) -> None:
        """Disconnect; the next exchange connects again."""
        await self._connection.disconnect()


CLOCK_SYNC_SECONDS = 10
"""How often the store is asked; a machine's clock is not set more often than that."""

SMALLEST_STEP_SECONDS = 0.1
"""A smaller difference is not followed: the way to the store and back takes about as long."""

WORTH_A_WARNING_SECONDS = 5

_TIME = Script("return redis.call('TIME')")


class StoreClock:
    """`Clock` that runs with `base` and is set by Redis (redis.io, "TIME").

    Moves and ends of scenes are decided by Redis's clock alone. What a node counts itself (when
    to read a scene again, the seconds a page is shown, whether a token has begun) must agree with
    it, also on a machine whose clock is wrong.
    """

    def __init__(self, base: Clock, link: RedisLink) -> None:
        self._base = base
        self._link = link
        self._ahead = 0.0

    def now(self) -> float:
        return self._base.now() + self._ahead

    def monotonic(self) -> float:
        return self._base.monotonic()

    async def sync(self) -> None:
        """Set this clock by the store's.

        Raises:
            StoreUnavailable: the store did not answer; the clock runs on as it was.
        """
        asked = self._base.monotonic()
        # As a script with a key, because a cluster must know which server is meant.
        seconds, micros = await self._link.run(_TIME, ["scanpush:clock"])
        round_trip = self._base.monotonic() - asked
        ahead = int(seconds) + int(micros) / 1_000_000 + round_trip / 2 - self._base.now()
        if abs(ahead - self._ahead) <= max(SMALLEST_STEP_SECONDS, round_trip):
            return
        self._ahead = ahead
        if abs(ahead) > WORTH_A_WARNING_SECONDS:
            log.warning("this machine's clock is %+.1f s off the store's", -ahead)

    async def sync_forever(self) -> None:
        """For a background task."""
        while True:
            await asyncio.sleep(CLOCK_SYNC_SECONDS)
            try:
                await self.sync()
            except StoreUnavailable as error:
                log.debug("the store's time is unknown: %s", error)  # others report the outage
