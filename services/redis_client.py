"""Redis for scenes, credentials, limits and notices: calls, scripts, and the store's clock.

`RedisLink` is the way to one Redis, to one Redis Cluster, or to the master that Sentinels name. Its
calls are pipelined in batches (services/batching.py), where one costs a third. On a Redis Cluster
each server has batches of its own, so that a dead master holds up only the keys it holds. Redis 6.2
or newer, or Valkey, over RESP3, or RESP2 where HELLO is not known. What the start tries out is in
redis_trial.py. All failures are `StoreUnavailable`; nothing of redis-py escapes.

redis-py connects, authenticates, reads answers (with hiredis) and knows the slots of a cluster.
These parts of it are internals, or named in its reference without a promise; setup.cfg therefore
gives redis an upper bound, which is raised only after a look at each of them:

    Connection, SSLConnection, UnixDomainSocketConnection: their arguments, and _host_error
                                                   (`RedisLink._make_connection`)
    Connection._connect                            (`_MasterConnection`)
    Connection.send_packed_command, send_command, read_response, disconnect
                                                   (`_PipelineConnection`, push/broker.py)
    RedisCluster.nodes_manager.initialize          (`RedisLink._refresh`)
    redis.maint_notifications                      (`RedisLink._arguments`)

Its connection pool is left out: taking a connection from it and giving it back costs more than a
call. Nor does it read redis.url.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from services.batching import Batcher
from services.clock import Clock
from services.errors import SettingsError, StoreUnavailable
from services.redis_trial import (
    Command,
    Introduction,
    check_trial,
    commands_of_a_trial,
    commands_of_an_introduction,
    explained,
    failure,
    in_words,
    introduction,
    trial_key,
)
from services.settings.redis_url import RedisAddress, redis_address
from services.tasks import Supervisor

try:
    from hiredis import pack_command
except ImportError:
    raise ImportError("scanpush needs hiredis: pip install 'redis[hiredis]'") from None

log = logging.getLogger("scanpush.redis")

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # of any length

MAX_BATCH_SIZE = 512

REFRESH_SECONDS = 0.5
"""How often at most the layout of a failing cluster is asked for again."""

SENTINEL_SILENCE_SECONDS = 60.0
"""After which a Sentinel that has told of no change is subscribed to again."""

SENTINEL_PAUSE_SECONDS = 1
"""Before a Sentinel that did not answer is asked again for changes."""

_FAILURES = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    OSError,  # refused, reset, unresolved; and TimeoutError, which asyncio raises
    asyncio.IncompleteReadError,
    UnicodeDecodeError,  # an answer, or what another program has published
)
_ODD_ANSWERS = (LookupError, ValueError, TypeError)
"""What redis-py raises besides when an answer is RESP, but not in UTF-8 or of another shape."""
_CONNECTION_FAILURES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    OSError,
)


class redis_errors:
    """Turn what redis-py raises into `StoreUnavailable`.

    That covers a server that is gone, hangs, loads its data (LOADING), lost its master
    (MASTERDOWN), became a replica (READONLY), is full (OOM) or refuses the password (NOAUTH): in
    each case the caller may ask again, and what was asked may or may not have happened.
    """

    # A class, like contextlib's: around every call, a generator's context manager would cost.

    def __init__(self, address: RedisAddress) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, _FAILURES):
            # Without its cause, whose text may quote a password in a traceback.
            raise StoreUnavailable(f"Redis: {in_words(error, self._address)}") from None


class Script:
    """A Lua script and its name in Redis's script cache (redis.io, "Scripting with Lua")."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Calls to one Redis, to a Redis Cluster, or to the master that Sentinels name.

    Whether a server belongs to a cluster, and what it allows, `open` finds out from the server.

    Args:
        url: redis.url (services/settings/redis_url.py).
        timeout_seconds: for each batch of calls, connecting included. A call may have to wait for
            the batch before its own, so it takes at most twice as long.

    Raises:
        SettingsError: the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 1.5) -> None:
        try:
            self._address = redis_address(url)
        except ValueError as error:
            raise SettingsError("redis.url", str(error)) from None
        self.errors = redis_errors(self._address)
        """Around whatever uses a connection of this link."""
        self.timeout_seconds = timeout_seconds
        self._protocol = 2
        self.introduced = Introduction("", 2, "", "")
        """What the server says of itself, once it is open."""
        self._is_open = False
        self._supervisor = Supervisor()
        self._batchers: dict[str, Batcher[Command | bytes, Any]] = {}
        """By the name of the cluster's server; the one of a single server is named ""."""
        self._client: Any = None
        """redis-py's client of a cluster, with connections of its own; None for a single server."""
        self._connection: _PipelineConnection | None = None
        """To the single server; None for a cluster."""
        self._to_master: weakref.WeakSet[_MasterConnection] = weakref.WeakSet()
        self._refreshed_at = 0.0

    async def open(self) -> None:
        """Connect for the first time, and try each command that a login will use.

        Raises:
            SettingsError: only the operator can mend it: an address, a password, a right that the
                user lacks, a command that is not there.
            StoreUnavailable: trying again may help.
        """
        address = self._address
        if address.master:
            await self._check_sentinels()
        server, introduced, check = await self._introduce()
        if introduced.mode == "sentinel":
            raise SettingsError("redis.url", "names a Sentinel, which redis+sentinel:// is for")
        self._protocol, self.introduced = introduced.protocol, introduced
        if introduced.mode == "cluster":
            await self._open_cluster()
        elif len(address.servers) > 1 and not address.master:
            raise SettingsError(
                "redis.url",
                f"names several servers, and {server} is not of a Redis Cluster; where Sentinels"
                " decide, redis+sentinel:// names them",
            )
        else:
            check()
            self._connection = _PipelineConnection(self._make_connection())
            if address.master:
                for sentinel in address.servers:
                    self._supervisor.spawn(self._watch_sentinel(sentinel), name="sentinel")
        self._is_open = True
        if introduced.eviction not in ("", "noeviction"):
            log.warning(
                "Redis may evict scenes when it is full, and their pages begin again: set"
                " maxmemory-policy to noeviction (it is %s)",
                introduced.eviction,
            )

    async def _check_sentinels(self) -> None:
        """Raise what keeps all of them from naming the master."""
        answers = await self._ask_sentinels()
        if any(isinstance(answer, tuple) for answer in answers):
            return
        if None in answers:
            raise SettingsError("redis.url", "the Sentinels know no master of that name")
        reasons = []
        for answer, (host, port) in zip(answers, self._address.servers, strict=True):
            if isinstance(answer, exceptions.AuthenticationError | exceptions.NoPermissionError):
                raise SettingsError(
                    "redis.url",
                    "the Sentinels refuse these credentials, or want some: they are the options"
                    " sentinel_username and sentinel_password",
                )
            if isinstance(answer, (exceptions.ResponseError, *_ODD_ANSWERS)):
                raise SettingsError("redis.url", f"{host}:{port} is not a Sentinel")
            if isinstance(answer, BaseException):
                problem = await explained(answer, self._address, host, port)
                if isinstance(problem, SettingsError):
                    raise problem
                reasons.append(f"{host}:{port}: {in_words(answer, self._address)}")
        raise StoreUnavailable(f"no Sentinel answers ({'; '.join(reasons)}; see redis.url)")

    async def _introduce(self) -> tuple[str, Introduction, Callable[[], None]]:
        """Ask the first server that answers who it is, and try all commands, in one round trip.

        The last of what is returned raises what the trial amounts to; in a cluster, where the
        trial's key belongs to any member, it says nothing.
        """
        address = self._address
        first = commands_of_an_introduction(address.protocol)
        trial = commands_of_a_trial(trial_key())
        # Only the members of a cluster stand for one another; the Sentinels were asked already.
        servers: list[tuple[str, int] | None] = [None]
        if address.servers and not address.master:
            servers = list(address.servers)
        while True:
            connection = self._make_connection(servers.pop(0), protocol=2)
            try:
                answers = await self._exchange_once(connection, [*first, *trial])
                break
            except exceptions.AuthenticationError as error:
                raise failure(error, address, connection._host_error()) from error
            except _CONNECTION_FAILURES as error:
                if servers:
                    continue
                if address.socket_path:
                    raise failure(error, address, address.socket_path) from error
                raise await explained(error, address, connection.host, connection.port) from error
            except _FAILURES as error:
                raise failure(error, address, connection._host_error()) from error
        name = connection._host_error()
        introduced = introduction(address.protocol, answers[: len(first)])
        check = partial(check_trial, trial, answers[len(first) :], address, name)
        return name, introduced, check

    async def _open_cluster(self) -> None:
        """Get the layout of the cluster, and try the commands on each master."""
        address = self._address
        if address.socket_path or address.master:
            raise SettingsError(
                "redis.url", "leads to a Redis Cluster: redis://host:port,host:port names members"
            )
        if address.database:  # Valkey 9 would have it
            raise SettingsError(
                "redis.url", "leads to a Redis Cluster, of which only database 0 is used"
            )
        # A server that hangs must not take all the time that asking another one needs.
        arguments = self._arguments() | {"socket_timeout": self.timeout_seconds / 2}
        client = self._client = aioredis.RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.servers],
            ssl=address.tls is not None,
            **arguments,
        )
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await client.initialize()
        except (*_FAILURES, *_ODD_ANSWERS) as error:
            await self.close()
            raise failure(error, address, "the members of its cluster") from error
        keys: dict[Any, str] = {}
        masters = client.get_primaries()
        for number in itertools.count():
            if len(keys) == len(masters):
                break
            keys.setdefault(client.get_node_from_key(trial_key(number)), trial_key(number))
        trials = (self._try_master(*item) for item in keys.items())
        tried = await asyncio.gather(*trials, return_exceptions=True)
        problems = [problem for problem in tried if isinstance(problem, BaseException)]
        if not any(tried):
            problems.append(StoreUnavailable("Redis: no master of its cluster answers"))
        if problems:
            await self.close()
            raise problems[0]

    async def _try_master(self, node: Any, key: str) -> bool:
        """Try all commands there; False when it does not answer, which a cluster survives."""
        trial = commands_of_a_trial(key)
        connection = self._make_connection((node.host, node.port), protocol=2)
        try:
            answers = await self._exchange_once(connection, trial)
        except _FAILURES as error:
            log.warning(
                "a master of the Redis Cluster, %s: %s", node.name, in_words(error, self._address)
            )
            return False
        check_trial(trial, answers, self._address, node.name, of_cluster=True)
        return True

    async def _exchange_once(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        """All answers; a connection that is lost before the last one is an error here."""
        once = _PipelineConnection(connection)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                answers = await once.exchange(b"".join(map(_pack, commands)), len(commands))
        finally:
            await once.close()
        if isinstance(answers[-1], exceptions.ConnectionError):
            raise answers[-1]
        return answers

    def _arguments(self) -> dict[str, Any]:
        """For redis-py's connections, and its client of a cluster."""
        address = self._address
        return {
            "db": address.database,
            "username": address.username or None,
            "password": address.password or None,
            "client_name": address.client_name or None,
            "driver_info": None,  # else two more commands for each connection
            "protocol": self._protocol,
            "decode_responses": True,
            "socket_timeout": None,  # each batch has a time limit already
            "socket_connect_timeout": self.timeout_seconds,
            "retry": Retry(NoBackoff(), 1),
            # These are of Redis Enterprise and would be asked for on every connection.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            **(address.tls or {}),
        }

    def _make_connection(self, server: tuple[str, int] | None = None, **more: Any) -> Any:
        """One of redis-py's connections, not yet connected.

        Args:
            server: host and port; None for the server that the URL names, or the master that the
                Sentinels name at the time of connecting.
            more: arguments that differ from `_arguments`.
        """
        address = self._address
        arguments = self._arguments() | more
        if address.socket_path:
            return aioredis.UnixDomainSocketConnection(path=address.socket_path, **arguments)
        over_tls = address.tls is not None
        if server is None and address.master:
            to_master = _TlsMasterConnection if over_tls else _MasterConnection
            connection = to_master(self._find_master, **arguments)
            self._to_master.add(connection)
            return connection
        host, port = server or address.servers[0]
        to_server: Any = aioredis.SSLConnection if over_tls else aioredis.Connection
        return to_server(host=host, port=port, **arguments)

    async def _find_master(self) -> tuple[str, int]:
        """Host and port of the master, as the Sentinel with the newest configuration knows it."""
        answers = await self._ask_sentinels()
        found = [answer for answer in answers if isinstance(answer, tuple)]
        if not found:
            raise exceptions.ConnectionError("no Sentinel names the master")
        _, host, port = max(found)
        return host, port

    async def _ask_sentinels(self) -> list[tuple[int, str, int] | BaseException | None]:
        """The answer of each: epoch, host and port; None for an unknown name; or a failure."""
        asked = (self._ask_sentinel(server) for server in self._address.servers)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _ask_sentinel(self, sentinel: tuple[str, int]) -> tuple[int, str, int] | None:
        # redis.io, "Guidelines for Redis clients with support for Redis Sentinel". Not redis-py's
        # `Sentinel`, which believes the first that answers, also one that was cut off while the
        # others elected another master. The epoch tells (redis.io, "Configuration epochs").
        name = self._address.master
        connection = self._sentinel_connection(sentinel)
        try:
            async with asyncio.timeout(self.timeout_seconds / 3):
                await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
                place = await connection.read_response()
                if place is None:
                    return None
                await connection.send_command("SENTINEL", "MASTER", name)
                pairs = iter(await connection.read_response())
                state = dict(zip(pairs, pairs, strict=True))
        finally:
            await connection.disconnect(nowait=True)
        return int(state["config-epoch"]), str(place[0]), int(place[1])

    def _sentinel_connection(self, sentinel: tuple[str, int]) -> Any:
        address = self._address
        return self._make_connection(
            sentinel,
            protocol=2,
            db=0,
            retry=Retry(NoBackoff(), 0),
            username=address.sentinel_username or None,
            password=address.sentinel_password or None,
        )

    async def _watch_sentinel(self, sentinel: tuple[str, int]) -> None:
        """Leave a master that was replaced, for a background task.

        A former master that still lives takes writes for some ten seconds more, until the Sentinels
        make it a replica: these writes are lost, and notices of the new one do not reach it.
        """
        while True:
            connection = self._sentinel_connection(sentinel)
            try:
                with contextlib.suppress(StoreUnavailable), self.errors:
                    await connection.send_command("SUBSCRIBE", "+switch-master", "+promoted-slave")
                    while True:
                        # A confirmation, before which a change may have been missed, or a change.
                        # One that is silent may have gone without a word, and is subscribed again.
                        async with asyncio.timeout(SENTINEL_SILENCE_SECONDS):
                            await connection.read_response()
                        await self._leave_former_masters()
            finally:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(random.uniform(SENTINEL_PAUSE_SECONDS / 2, SENTINEL_PAUSE_SECONDS))

    async def _leave_former_masters(self) -> None:
        master = await self._find_master()
        for connection in list(self._to_master):
            if connection.is_connected and (connection.host, connection.port) != master:
                # Its user connects again, to the new one: a call at once, the broker with a gap.
                await connection.disconnect(nowait=True)

    async def subscribe(self, *channels: str) -> Any:
        """A new connection on which Redis has confirmed the subscriptions.

        The caller disconnects it. It speaks RESP2, where a published message is an ordinary answer:
        for RESP3's push messages redis-py takes a detour. A cluster carries messages to all of its
        members, so that any master will do.

        Raises:
            StoreUnavailable: the subscription is not to be had now.
        """
        servers: list[tuple[str, int] | None] = [None]
        if self._client is not None:
            masters = self._client.get_primaries()
            servers = [(node.host, node.port) for node in random.sample(masters, len(masters))]
        problem = StoreUnavailable("Redis: no master of the cluster is known")
        for server in servers:
            connection = self._make_connection(server, protocol=2, retry=Retry(NoBackoff(), 0))
            async with contextlib.AsyncExitStack() as undo:
                undo.push_async_callback(connection.disconnect, nowait=True)
                try:
                    with self.errors:
                        async with asyncio.timeout(self.timeout_seconds / min(2, len(servers))):
                            await connection.send_command("SUBSCRIBE", *channels)
                            # The confirmations: what is published from now on arrives.
                            for _ in channels:
                                await connection.read_response()
                except StoreUnavailable as error:
                    problem = error
                    continue
                undo.pop_all()
                return connection
        if self._client is not None:
            self._supervisor.spawn(self._refresh(""), name="cluster layout")
        raise problem

    async def call(self, key: str, *command: str | bytes | int | float) -> Any:
        """The answer to one command about `key`; `StoreUnavailable` for every failure."""
        with self.errors:
            return await self._submit(key, command)

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        """Run a script on keys of one slot. Raises `StoreUnavailable` for every failure."""
        rest = (len(keys), *keys, *arguments)
        with self.errors:
            try:
                return await self._submit(keys[0], ("EVALSHA", script.sha, *rest))
            except exceptions.NoScriptError:
                # Redis forgets scripts when it restarts, fails over or gets SCRIPT FLUSH.
                return await self._submit(keys[0], ("EVAL", script.source, *rest))

    def _submit(self, key: str, command: Command) -> "asyncio.Future[Any]":
        if not self._is_open:
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
            with self.errors:
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.nodes_manager.initialize(last_failed_node_name=failed)
        except StoreUnavailable as error:
            log.warning("the layout of the Redis Cluster is unknown: %s", error)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless Redis takes writes now (a cluster: each master lives)."""
        await self.call("scanpush:ping", "SET", "scanpush:ping", "", "PX", 1000)
        if self._client is not None:
            with self.errors:
                async with asyncio.timeout(self.timeout_seconds):
                    await self._client.ping(target_nodes=aioredis.RedisCluster.PRIMARIES)

    async def close(self) -> None:
        """End the calls in flight and close the connections. May be called twice."""
        self._is_open = False
        await self._supervisor.close()
        with contextlib.suppress(*_FAILURES):  # nothing is lost when closing fails
            if self._connection is not None:
                await self._connection.close()
            if self._client is not None:
                await self._client.aclose()


class _MasterConnection(aioredis.Connection):
    """A connection to the master that `find` names each time it connects."""

    def __init__(self, find: Callable[[], Awaitable[tuple[str, int]]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._find = find

    async def _connect(self) -> None:
        self.host, self.port = await self._find()
        await super()._connect()  # type: ignore[no-untyped-call]


class _TlsMasterConnection(_MasterConnection, aioredis.SSLConnection):
    """The same over TLS."""


class _PipelineConnection:
    """One connection to one server: connected at the first exchange, and again after a loss.

    One exchange at a time. One that is cancelled, or fails, leaves no connection behind, so that
    no late answer is taken for that of another call.

    Args:
        connection: one of redis-py's, which connects by itself when something is sent.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

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
        except _ODD_ANSWERS:
            raise exceptions.InvalidResponse("odd answer") from None
        return answers

    async def close(self) -> None:
        """Disconnect; the next exchange connects again."""
        await self._connection.disconnect()


CLOCK_SYNC_SECONDS = 10
"""How often the store is asked; a machine's clock is not set more often than that."""

SMALLEST_STEP_SECONDS = 0.1
"""A smaller difference is not followed: the way to the store and back takes about as long."""

WORTH_A_WARNING_SECONDS = 5
"""How far the machine's clock may be off the store's before the log says so."""

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
