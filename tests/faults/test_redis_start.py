"""What the start finds out about a Redis: who must mend what, in one line without a secret."""

import asyncio
import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.programs import free_port
from services.errors import SettingsError, StoreUnavailable
from services.push.broker import RedisBroker
from services.redis_client import RedisLink
from services.redis_trial import LEAST_RIGHTS, commands_of_a_trial
from services.scenes.states import Verdict
from services.scenes.store_redis import RedisSceneStore
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually
from tests.contracts.scenes import authorize, claim
from tests.faults.test_redis import new_scene
from tests.processes import ROOT
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer, TlsRedisServer, started
from tests.wire_proxy import Fault, Proxy, one_read

pytestmark = [pytest.mark.redis, pytest.mark.gen_test(timeout=30)]

RIGHTS = LEAST_RIGHTS.partition(" (")[0].split()


async def complaint(url: str) -> str:
    """The exit code and the line with which the start ends."""
    with pytest.raises((SettingsError, StoreUnavailable)) as raised:
        link = RedisLink(url, timeout_seconds=1)
        try:
            await link.open()
        finally:
            await link.close()
    text = str(raised.value)
    assert "\n" not in text and "Kranich7" not in text
    return f"{2 if isinstance(raised.value, SettingsError) else 1} {text}"


async def log_in(url: str) -> None:
    """One whole login, with its notice."""
    link = RedisLink(url, timeout_seconds=2)
    await link.open()
    broker = RedisBroker(link, "a")
    try:
        seqs: list[int] = []
        await broker.listen(lambda notice: seqs.append(notice.seq), lambda: None)
        store = RedisSceneStore(link)
        scene = await store.create(new_scene())
        await store.attach(scene.scene_str, "a", 1, scene.watch_hash)
        for move in (claim(), authorize()):
            assert (await store.advance(scene.scene_str, move)).verdict is Verdict.MOVED
        await store.ping()
        assert await store.owed(0, 10) == []
        await eventually(lambda: 3 in seqs)
    finally:
        await broker.close()
        await link.close()


# The user's rights.


def add_user(server: RedisServer, *rules: str) -> str:
    assert server.ask("ACL", "SETUSER", "push", "reset", "on", ">Kranich7", *rules) == b"+OK\r\n"
    return f"redis://push:Kranich7@127.0.0.1:{server.port}/0"


async def test_the_least_rights_are_enough(redis_server: RedisServer) -> None:
    """With what the documents name, and nothing else, a person logs in."""
    await log_in(add_user(redis_server, *RIGHTS))


def test_the_documents_name_the_least_rights() -> None:
    """In both languages, as the start names them."""
    for name in ("docs/operations.md", "docs/zh-CN/operations.md"):
        assert " ".join(RIGHTS) in (ROOT / name).read_text(), name


async def test_each_missing_right_is_named(redis_server: RedisServer) -> None:
    """Commands, keys, channels, scripts, subscribing: each is exit code 2 with the rule to add."""
    every = ("~scanpush:*", "&scanpush:*", "+@all")
    table = [
        (("+@all", "~scanpush:*"), "&scanpush:*"),
        (("+@all", "&scanpush:*"), "~scanpush:*"),
        (("+@all", "&scanpush:*", "~other:*"), "~scanpush:*"),
        (("+@all", "&scanpush:*", "%R~scanpush:*"), "~scanpush:*"),
        ((*every, "-@scripting"), "+eval +evalsha"),
        ((*every, "-evalsha"), "+evalsha"),
        ((*every, "-publish"), "+publish"),
        ((*every, "-subscribe"), "+subscribe"),
        ((*every, "-hset"), "+hset"),
        ((*every, "-time"), "+time"),
        ((*every, "-@write"), "+set +getdel"),
        ((*every, "-@all", "+@connection"), "+set +get"),
        ((*every, "-getdel", "-zadd", "-incr"), "+getdel +zadd +incr;"),
    ]
    for rules, named in table:
        text = await complaint(add_user(redis_server, *rules))
        assert text.startswith("2 redis.url: this Redis user lacks ") and named in text, rules
        assert LEAST_RIGHTS in text
    assert redis_server.ask("KEYS", "*") == b"*0\r\n"


async def test_a_database_that_may_not_be_selected_is_named(redis_server: RedisServer) -> None:
    """The refusal comes while the connection is made, not with the trial."""
    url = add_user(redis_server, *RIGHTS, "-select")
    assert "lacks +select;" in await complaint(url.replace("/0", "/1"))


def test_the_trial_has_each_command_that_the_code_uses() -> None:
    """In scripts and out of them, so that no right is found missing at the first login."""
    used: set[str] = set()
    for path in (ROOT / "services").rglob("*"):
        if path.suffix in (".py", ".lua") and path.name != "redis_trial.py":
            text = path.read_text()
            used.update(re.findall(r"redis\.p?call\('(\w+)'", text))
            used.update(re.findall(r"\.call\(\w[\w()]*, \"([A-Z]+)\"", text))
            used.update(re.findall(r"_submit\(\w+(?:\[0\])?, \(\"([A-Z]+)\"", text))
            used.update(re.findall(r"send_command\(\"([A-Z]+)\"", text))
    used.remove("SENTINEL")  # which is not asked of Redis
    assert {"HSET", "PING", "GETDEL", "EVALSHA", "PUBLISH"} <= used
    assert used <= {command[0] for command in commands_of_a_trial("key")}


# Credentials, databases, addresses.


async def test_wrong_credentials_are_named(redis_server: RedisServer) -> None:
    """Wrong, missing or superfluous: redis.url is at fault."""
    address = f"127.0.0.1:{redis_server.port}/0"
    refused = "2 redis.url: Redis refuses the password (or wants one)"
    assert await complaint(f"redis://:Kranich7@{address}") == refused
    redis_server.ask("CONFIG", "SET", "requirepass", "right")
    redis_server.password = "right"
    for url in (f"redis://:Kranich7@{address}", f"redis://{address}?protocol=2"):
        assert await complaint(url) == refused
    text = await complaint(f"redis://push:Kranich7@{address}")
    assert text == "2 redis.url: Redis refuses the user name or its password"
    await log_in(f"redis://{address}?password=right")


async def test_where_nothing_answers_is_told(redis_server: RedisServer) -> None:
    """The true reason, and the address; the same settings may be right a moment later."""
    port = free_port()
    assert await complaint(f"redis://127.0.0.1:{port}") == (
        f"1 Redis at 127.0.0.1:{port}: Connection refused (see redis.url)"
    )
    text = await complaint("redis://nowhere.invalid")
    assert (
        text == "1 Redis at nowhere.invalid:6379: its host name is not known here (see redis.url)"
    )
    assert "No such file or directory" in await complaint("unix:///nonexistent.sock")
    redis_server.pause()
    assert "no answer in time" in await complaint(redis_server.url)


async def test_a_database_out_of_range_is_told(redis_server: RedisServer) -> None:
    """Redis has sixteen of them by default."""
    text = await complaint(f"redis://127.0.0.1:{redis_server.port}/99")
    assert text == "2 redis.url: Redis has no database of that number"


async def test_a_database_of_a_cluster_is_told(redis_server: RedisServer) -> None:
    """Also where the cluster would have it, as Valkey 9 does."""
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    try:
        # AUTH and SELECT come first, each in a request of its own.
        proxy.plan = lambda request: b"*0\r\n" * n if (n := request.count(b"*")) > 1 else Fault.PASS
        text = await complaint(f"redis://127.0.0.1:{proxy.port}/1")
        assert text == "2 redis.url: leads to a Redis Cluster, of which only database 0 is used"
    finally:
        await proxy.close()


async def test_several_servers_are_a_cluster(redis_server: RedisServer) -> None:
    """Of a single server no other can take over: that is what Sentinels are for."""
    text = await complaint(f"redis://127.0.0.1:{redis_server.port},127.0.0.1:{free_port()}/0")
    assert text.startswith("2 redis.url: names several servers") and "redis+sentinel://" in text


async def test_a_replica_is_told(redis_server: RedisServer) -> None:
    """It takes no writes, so no login could succeed."""
    redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    assert "names a replica" in await complaint(redis_server.url)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            b"-DENIED Redis is running in protected mode because ...",
            "2 redis.url: .*protected mode",
        ),
        (b"-ERR max number of clients reached", "1 Redis at .*maxclients"),
        (b"-LOADING Redis is loading the dataset in memory", "1 Redis at .*loading"),
        (b"-MISCONF Redis is configured to save RDB snapshots, but", "1 Redis at .*MISCONF"),
        (b"-NOREPLICAS Not enough good replicas to write.", "1 Redis at .*NOREPLICAS"),
        (b"-BUSY Redis is busy running a script", "1 Redis at .*BUSY"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.", "1 Redis at .*OutOfMemory"),
        (b"-MASTERDOWN Link with MASTER is down", "1 Redis at .*MasterDown"),
        (b"-CLUSTERDOWN Hash slot not served", "1 Redis at .*ClusterDown"),
        (b"-ERR command 'X' not support for normal user", "2 redis.url: .*not support"),
        (
            b"-ERR unknown command 'SET', with args beginning with: 'Kranich7'",
            "2 redis.url: this Redis does not know .*SET",
        ),
        (b"rubbish that is no RESP", "2 redis.url: what answers at .* Redis's protocol"),
        (b"HTTP/1.1 400 Bad Request", "2 redis.url: what answers at .* Redis's protocol"),
        (b"$2\r\n\xff\xfe", "2 redis.url: what answers at .* Redis's protocol"),
        (b"%1\r\n*1\r\n+key\r\n+value", "2 redis.url: what answers at .* Redis's protocol"),
        (b"-MOVED without a place", "2 redis.url: what answers at .* Redis's protocol"),
        (b"-MOVED 1 127.0.0.1:1", r"2 redis.url: .*lacks \+cluster\|slots"),
        (b"*1\r\n+slots", "1 Redis at the members of its cluster: "),
    ],
)
async def test_other_refusals_are_told_by_who_can_mend_them(
    redis_server: RedisServer, line: bytes, words: str
) -> None:
    """What ends by itself is tried again by the service manager; the rest is for the operator."""
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    try:
        # One answer to each command of the round trip.
        proxy.plan = lambda request: b"".join([line + b"\r\n"] * request.count(b"*"))
        assert re.match(words, await complaint(f"redis://127.0.0.1:{proxy.port}/0"))
    finally:
        await proxy.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"-DENIED Redis is running in protected mode because", "2 redis.url: .*protected mode"),
        (b"-ERR max number of clients reached", "1 Redis at .*maxclients"),
    ],
)
async def test_a_server_that_refuses_every_connection_is_understood(
    line: bytes, words: str
) -> None:
    """It says why and closes, before it has read anything; the system may turn that into a reset
    that takes the reason away, and the server is asked once more in silence."""
    connections = []

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) > 2:
            writer.write(line + b"\r\n")
            writer.close()
        else:
            writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        assert re.match(words, await complaint(f"redis://127.0.0.1:{port}/0"))
    finally:
        server.close()
        for writer in connections:
            writer.transport.abort()


QUOTING = (
    "unknown command 'HELLO', with args beginning with: 'AUTH' 'Kranich7'",
    "unknown command `HELLO`, `3`, `AUTH`, `push`, `Kranich7`",
    "invalid request: AUTH push Kranich7",
    "hello 3 auth push Kranich7: what now",
    "wrong password (Kranich7)",
)
"""As Redis, proxies and programs that were written after it quote what they were sent."""


@pytest.mark.parametrize("text", [*QUOTING, "WRONGPASS Kranich7"])
async def test_no_refusal_at_the_start_quotes_a_password(
    redis_server: RedisServer, text: str
) -> None:
    """Nor what was sent with it, in whatever words."""
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    try:
        code = "" if text.startswith("WRONGPASS") else "ERR "
        proxy.plan = lambda request: f"-{code}{text}\r\n".encode() * request.count(b"*")
        assert (await complaint(f"redis://push:Kranich7@127.0.0.1:{proxy.port}/0"))[0] == "2"
    finally:
        await proxy.close()


@pytest.mark.parametrize("text", QUOTING)
async def test_at_run_time_no_refusal_quotes_a_password(
    redis_server: RedisServer, text: str
) -> None:
    """Neither the failure nor its traceback, when a Redis stops to take the password."""
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    redis_server.ask("CONFIG", "SET", "requirepass", "Kranich7")
    redis_server.password = "Kranich7"
    link = RedisLink(f"redis://:Kranich7@127.0.0.1:{proxy.port}/0", timeout_seconds=1)
    try:
        await link.open()
        proxy.plan = lambda request: f"-ERR {text}\r\n".encode()
        proxy.cut()
        with pytest.raises(StoreUnavailable) as raised:
            await link.ping()
        trace = "".join(traceback.format_exception(raised.value))
        assert "Redis: ResponseError: " in trace and "Kranich7" not in trace
    finally:
        await link.close()
        await proxy.close()


# Protocols.


@contextlib.contextmanager
def server_with(folder: Path, *options: str) -> Iterator[RedisServer]:
    with started(RedisServer(folder, *options)) as server:
        yield server


async def test_a_redis_without_hello_is_spoken_to_in_resp2(tmp_path: Path) -> None:
    """With a password and a database, as through a proxy that knows no HELLO."""
    options = ("--rename-command", "HELLO", "", "--requirepass", "Kranich7")
    with server_with(tmp_path, *options) as server:
        address = f"127.0.0.1:{server.port}/1"
        await log_in(f"redis://:Kranich7@{address}")
        await log_in(f"redis://default:Kranich7@{address}")
        text = await complaint(f"redis://:Kranich7@{address}?protocol=3")
        assert text == "2 redis.url: protocol=3 needs HELLO, which this Redis does not know"


async def test_commands_that_were_renamed_are_named(tmp_path: Path) -> None:
    """All of them at once."""
    renamed = [
        word for name in ("EVALSHA", "PUBLISH") for word in ("--rename-command", name, "x" + name)
    ]
    with server_with(tmp_path, *renamed) as server:
        text = await complaint(server.url)
        assert text.startswith("2 redis.url: this Redis does not know EVALSHA PUBLISH:")


@pytest.mark.parametrize("protocol", [2, 3])
async def test_protocol_and_client_name_are_honoured(
    redis_server: RedisServer, protocol: int
) -> None:
    """As the operator decides."""
    url = f"{redis_server.url}?protocol={protocol}&client_name=push-1"
    link = RedisLink(url)
    await link.open()
    await link.ping()
    clients = redis_server.ask("CLIENT", "LIST").decode()
    await link.close()
    assert " name=push-1 " in clients and f"resp={protocol}" in clients
    await log_in(url)


# TLS.


async def test_tls_with_certificates(tmp_path: Path) -> None:
    """Server and client know each other by the files that the URL names."""
    server = TlsRedisServer(tmp_path, "--tls-auth-clients", "yes")
    try:
        server.start()
        client = f"ssl_certfile={server.certificate}&ssl_keyfile={server.key}"
        address = f"rediss://127.0.0.1:{server.port}/0?{client}"
        await log_in(f"{address}&ssl_ca_certs={server.certificate}")
        await log_in(f"{address}&ssl_cert_reqs=none")
        text = await complaint(address)
        assert re.match(
            r"2 redis.url: .*not accepted \(self.signed certificate\); ssl_ca_certs", text
        )
        other = address.replace("127.0.0.1", "localhost")
        text = await complaint(f"{other}&ssl_ca_certs={server.certificate}")
        assert "not valid for 'localhost'" in text
        await log_in(f"{other}&ssl_ca_certs={server.certificate}&ssl_check_hostname=false")
    finally:
        server.stop()


async def test_tls_that_does_not_fit_is_told(redis_server: RedisServer, tmp_path: Path) -> None:
    """Spoken by one side only, or a certificate that the server asks for and does not get."""
    text = await complaint(f"rediss://127.0.0.1:{redis_server.port}/0")
    assert text == "2 redis.url: this Redis does not speak TLS: the address begins with redis://"
    server = TlsRedisServer(tmp_path, "--tls-auth-clients", "yes")
    try:
        server.start()
        text = await complaint(f"redis://127.0.0.1:{server.port}/0")
        assert text == "2 redis.url: this Redis speaks TLS: the address begins with rediss://"
        text = await complaint(f"rediss://127.0.0.1:{server.port}/0?ssl_cert_reqs=none")
        assert text.startswith("2 redis.url: Redis wants a certificate from its clients")
    finally:
        server.stop()


# Eviction.


async def test_a_redis_that_evicts_is_told(redis_server: RedisServer, logs: UnexpectedLogs) -> None:
    """One line at the start for each policy but noeviction; no line where it may not be asked."""
    logs.expect("Redis may evict scenes")
    policies = ("allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl")
    for policy in policies:
        redis_server.ask("CONFIG", "SET", "maxmemory-policy", policy)
        await log_in(redis_server.url)
        await log_in(add_user(redis_server, *RIGHTS))
        await log_in(add_user(redis_server, *RIGHTS, "+config|get"))
    assert [line.partition("(it is ")[2] for line in logs.lines[::2]] == [
        f"{policy})" for policy in policies
    ]
    assert len(logs.lines) == 2 * len(policies)
    redis_server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await log_in(redis_server.url)
    assert len(logs.lines) == 2 * len(policies)


# A cluster.


async def test_a_cluster_is_tried_at_every_master(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """The URL names several members, of which one may be down; each master has its own users."""
    logs.expect("a master of the Redis Cluster")
    cluster = RedisCluster(tmp_path)
    try:
        cluster.start()
        ports = [master.port for master in cluster.masters]
        url = f"redis://127.0.0.1:{free_port()},127.0.0.1:{ports[0]}/0"
        await log_in(url)
        assert "no database but 0" in await complaint(url.replace("/0", "/1"))
        users = f"redis://push:Kranich7@127.0.0.1:{ports[0]}"
        for master in cluster.masters:
            add_user(master, *RIGHTS)
        assert "lacks +cluster|slots;" in await complaint(users)
        for master in cluster.masters:
            add_user(master, *RIGHTS, "+cluster|slots")
        await log_in(users)
        add_user(cluster.masters[2], *RIGHTS, "+cluster|slots", "-hset")
        assert "lacks +hset;" in await complaint(users)
    finally:
        cluster.stop()
