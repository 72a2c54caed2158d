"""What the start says of a MongoDB that cannot be used, or not so: its reason, in one line.

A `SettingsError` is exit code 2: only the operator can mend it. `StoreUnavailable` is 1: it may end
by itself, and a service manager may start again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from pymongo import MongoClient

from deploy.programs import free_port
from services.errors import SettingsError, StoreUnavailable
from services.ids import AppId, OpenId
from services.people.store import Identity
from services.people.store_mongo import MongoUserStore
from tests.certificates import Authority
from tests.conftest import UnexpectedLogs
from tests.faults.mongo import a_scene_str, always, opened
from tests.faults.nodes import cluster
from tests.servers import MongoServer, SecantusServer
from tests.wire_proxy import (
    Fault,
    Plan,
    Proxy,
    as_replica_set,
    command,
    greeting,
    name_of,
    no_fault,
    one_message,
    reply,
)

pytestmark = pytest.mark.mongodb

PASSWORD = "Kranich7"
COMMANDS = ("createIndexes", "insert", "findAndModify", "update", "find", "delete")


@contextlib.asynccontextmanager
async def front(server: MongoServer, plan: Plan = no_fault) -> AsyncIterator[Proxy]:
    """A proxy before `server` that follows `plan`."""
    proxy = Proxy(server.port, message=one_message)
    await proxy.open()
    proxy.plan = plan
    try:
        yield proxy
    finally:
        await proxy.close()


async def refusal(url: str, seconds: float = 1.0) -> str:
    """The line of a start that fails, behind its exit code."""
    store = MongoUserStore(url, "people", timeout_seconds=seconds)
    with pytest.raises((SettingsError, StoreUnavailable)) as raised:
        await store.open()
    line = str(raised.value)
    assert "\n" not in line and PASSWORD not in line and "mongodb." in line
    return f"{2 if isinstance(raised.value, SettingsError) else 1} {line}"


async def lasting_refusal(url: str) -> str:
    """`refusal`, once the server answers in time: on a starved machine it does not at first."""
    while "no answer in time" in (line := await refusal(url)):
        continue
    return line


# Retryable writes.


def refusing_txn_number(code: int) -> Plan:
    """Like a server without retryable writes: code 20 of MMAPv1, 301 of Amazon DocumentDB."""
    answer: dict[str, object] = {
        "ok": 0.0,
        "code": code,
        "errmsg": "Transaction numbers are only allowed on a replica set member or mongos",
    }
    return lambda it: reply(it, answer) if "txnNumber" in command(it) else Fault.PASS


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("code", [20, 301])
async def test_a_server_without_retryable_writes_is_named_at_the_start(
    mongo_server: MongoServer, code: int
) -> None:
    """What to write into the URL stands in the line."""
    async with front(mongo_server, refusing_txn_number(code)) as proxy:
        proxy.rewrite = as_replica_set(proxy.port)
        url = f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0"
        assert (await refusal(url, 5)).startswith("2 mongodb.url: this server takes no retryable")
        assert "add retryWrites=false" in await refusal(f"{url}&retryWrites=true", 5)


@pytest.mark.gen_test(timeout=90)
@pytest.mark.redis
async def test_people_log_in_without_retryable_writes(
    mongo_server: MongoServer, tmp_path: Path
) -> None:
    """retryWrites=false is honoured: no command bears the transaction number that is refused."""
    (tmp_path / "nodes").mkdir()
    async with front(mongo_server, refusing_txn_number(301)) as proxy:
        proxy.rewrite = as_replica_set(proxy.port)
        url = f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0&retryWrites=false"
        async with cluster(tmp_path / "nodes", 1, mongo_url=url) as one:
            first, again = await one.log_in("alice"), await one.log_in("alice")
            assert first["user"]["id"] == again["user"]["id"]
            assert (first["user"]["is_new"], again["user"]["is_new"]) == (True, False)


@pytest.mark.gen_test(timeout=60)
async def test_writes_are_retryable_unless_the_url_says_otherwise(
    mongo_server: MongoServer,
) -> None:
    """A replica set is sent transaction numbers by default."""
    numbered: list[bool] = []

    def plan(request: bytes) -> Fault:
        if name_of(request) == "insert":
            numbered.append("txnNumber" in command(request))
        return Fault.PASS

    async with front(mongo_server, plan) as proxy:
        proxy.rewrite = as_replica_set(proxy.port)
        for options, expected in (("", True), ("&retryWrites=false", False)):
            numbered.clear()
            url = f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0{options}"
            async with opened(url, 5):
                assert set(numbered) == {expected}


# Options.


@pytest.mark.gen_test(timeout=60)
async def test_options_reach_the_server(mongo_server: MongoServer, logs: UnexpectedLogs) -> None:
    """Write concern, read concern and the application's name are those of the URL."""
    asked: dict[str, dict[str, Any]] = {}

    def plan(request: bytes) -> Fault:
        asked.setdefault(name_of(request), {}).update(command(request))
        return Fault.PASS

    logs.expect("w=1: when the primary fails")
    async with front(mongo_server, plan) as proxy:
        options = "w=1&journal=true&wTimeoutMS=900&readConcernLevel=majority"
        async with opened(f"mongodb://127.0.0.1:{proxy.port}/?{options}", 5):
            assert asked["insert"]["writeConcern"] == {"w": 1, "j": True, "wtimeout": 900}
            assert asked["find"]["readConcern"] == {"level": "majority"}


@pytest.mark.gen_test(timeout=60)
async def test_what_is_honoured_in_part_is_logged(
    mongo_server: MongoServer, logs: UnexpectedLogs
) -> None:
    """Long waits end with the call, and compressors that are not installed are left out."""
    options = "connectTimeoutMS=0&serverSelectionTimeoutMS=30000&compressors=brotli,zlib"
    logs.expect("mongodb.url: ")
    async with opened(f"{mongo_server.url}/?{options}", 5):
        lines = "\n".join(logs.lines)
    assert "connectTimeoutMS: shortened" in lines and "only zlib can be used" in lines
    assert "serverSelectionTimeoutMS: shortened" in lines


# Connections.


@pytest.mark.gen_test(timeout=60)
async def test_servers_that_are_not_reached_are_told_apart(mongo_server: MongoServer) -> None:
    """A refused port, a name that DNS does not know, and replica sets of other names."""
    async with front(mongo_server) as proxy:
        proxy.rewrite = as_replica_set(proxy.port)
        member = f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=other"
        expected = {
            f"mongodb://u:{PASSWORD}@127.0.0.1:{free_port()}": "1 MongoDB: the server's port",
            f"mongodb://u:{PASSWORD}@nosuch.invalid": "1 MongoDB: the name of the host is unknown",
            "mongodb+srv://nosuch.invalid": "1 MongoDB: DNS has no usable SRV records",
            f"{mongo_server.url}/?replicaSet=rs0": "2 mongodb.url: no server is a member",
            member: "2 mongodb.url: no server is a member of the replica set",
            f"{member}&directConnection=true": "2 mongodb.url: the server is not of the replica",
        }
        lines = await asyncio.gather(*map(lasting_refusal, expected))
    for line, words in zip(lines, expected.values(), strict=True):
        assert line.startswith(words), line


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR unknown command\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail\r\n",
        b"\0" * 16,
    ],
    ids=["HTTP", "Redis", "SSH", "SMTP", "zeros"],
)
async def test_what_is_no_mongodb_is_told(answer: bytes) -> None:
    """pymongo takes the first bytes for a length and waits, for as long as it may."""
    writers = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1)
        writer.write(answer)

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await refusal(f"mongodb://u:{PASSWORD}@{address}/", 0.5) == (
            f"2 mongodb.url: what answers at {address} does not speak MongoDB's protocol"
        )
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@pytest.mark.gen_test(timeout=60)
async def test_a_replica_set_without_a_primary_may_get_one(mongo_server: MongoServer) -> None:
    """Exit code 1: an election ends by itself."""
    async with front(mongo_server) as proxy:
        secondary = {"isWritablePrimary": False, "ismaster": False, "secondary": True}
        proxy.rewrite = as_replica_set(proxy.port, secondary)
        line = await lasting_refusal(f"mongodb://127.0.0.1:{proxy.port}/?replicaSet=rs0")
        assert line.startswith("1 MongoDB: the replica set has no primary now")


@pytest.mark.gen_test(timeout=60)
async def test_certificates_that_do_not_fit_are_told_apart(
    mongo_server: MongoServer, tmp_path: Path
) -> None:
    """No known CA, another host's, one that has expired, and TLS that the URL does not ask for."""
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    good = authority.sign("server")
    known = f"?tls=true&tlsCAFile={authority.file}"
    cases = [
        (good, "?tls=true", "no CA that is known here"),
        (good, f"?tls=true&tlsCAFile={other.file}", "no CA that is known here"),
        (authority.sign("elsewhere", address="10.0.0.1"), known, "another host's"),
        (authority.sign("old", days=-1), known, "has expired"),
        (good, "", "the server speaks TLS: add tls=true"),
    ]

    async def line(certificate: Path, options: str) -> str:
        proxy = Proxy(mongo_server.port, message=one_message)
        proxy.tls = authority.server_context(certificate)
        await proxy.open()
        try:
            return await lasting_refusal(f"mongodb://127.0.0.1:{proxy.port}/{options}")
        finally:
            await proxy.close()

    lines = await asyncio.gather(*(line(file, options) for file, options, _ in cases))
    for found, (_, _, words) in zip(lines, cases, strict=True):
        assert found.startswith("2 mongodb.url: ") and words in found


# Refusals, and servers that only seem to obey.


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (8000, "2 mongodb.url: MongoDB refuses the user or the password"),
        (18, "2 mongodb.url: MongoDB refuses the user or the password"),
        (11, "2 mongodb.url: MongoDB does not know the user"),
        (334, "2 mongodb.url: MongoDB does not take this authMechanism"),
        (79, "2 mongodb.url: the replica set does not know the write concern"),
        (100, "2 mongodb.url: the replica set has fewer members"),
        (85, "2 mongodb.database: the collection people has another index"),
        (11000, "2 mongodb.database: the collection people holds two documents"),
        (59, "2 mongodb.url: the server refuses createIndexes: code 59"),
        (9, "2 mongodb.url: the server refuses createIndexes: code 9"),
        (10107, "1 MongoDB: the server that answers is not the primary"),
        (91, "1 MongoDB: the server that answers is not the primary"),
        (14031, "1 MongoDB: MongoDB is out of disk space"),
        (262, "1 MongoDB: the server refuses createIndexes: code 262"),
    ],
)
async def test_refusals_are_told_by_who_must_act(
    shared_mongo_server: MongoServer, code: int, words: str
) -> None:
    """By the server's code, and never in its words."""
    answer: dict[str, object] = {"ok": 0.0, "code": code, "errmsg": PASSWORD, "codeName": "No\n"}
    async with front(shared_mongo_server, always(("createIndexes",), answer)) as proxy:
        line = await refusal(f"mongodb://127.0.0.1:{proxy.port}", 5)
    assert line.startswith(words), line


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("name", COMMANDS)
async def test_a_right_that_is_missing_is_named(
    shared_mongo_server: MongoServer, name: str
) -> None:
    """The start sends every command of a login, so none is refused to the first person."""
    answer: dict[str, object] = {"ok": 0.0, "code": 13, "errmsg": "not authorized"}
    async with front(shared_mongo_server, always((name,), answer)) as proxy:
        line = await refusal(f"mongodb://127.0.0.1:{proxy.port}", 5)
    assert line.startswith(f"2 mongodb.url: MongoDB refuses {name}: ") and "readWrite" in line


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("insert", {"ok": 1.0, "n": 1}, "two documents of one unique key"),
        ("findAndModify", {"ok": 1.0, "value": {}}, "loses some"),
        ("update", {"ok": 1.0, "n": 1, "nModified": 1}, "loses some"),
        ("find", {"ok": 1.0, "cursor": {"id": 0, "ns": "p.p", "firstBatch": []}}, "loses some"),
    ],
)
async def test_a_server_that_only_seems_to_obey_is_refused(
    shared_mongo_server: MongoServer, name: str, answer: dict[str, object], words: str
) -> None:
    """It takes doubles, or loses changes that come at once: people would become two, or none."""
    async with front(shared_mongo_server, always((name,), answer)) as proxy:
        line = await refusal(f"mongodb://127.0.0.1:{proxy.port}", 5)
    assert line.startswith("2 mongodb.url: this server cannot keep people") and words in line


@pytest.mark.gen_test(timeout=60)
async def test_the_start_leaves_nothing_behind(mongo_server: MongoServer) -> None:
    """Its document is gone when the store is open."""
    async with opened(mongo_server.url, 5):
        with MongoClient[dict[str, Any]](mongo_server.url) as client:
            assert list(client["people"]["people"].find()) == []


SCRAM_ANSWERS: list[dict[str, object]] = [
    {"ok": 1.0},
    {"ok": 1.0, "payload": None},
    {"ok": 1.0, "payload": 7},
    {"ok": 1.0, "payload": "r=x,s=eA==,i=4096"},
    *(
        {"ok": 1.0, "conversationId": 1, "done": False, "payload": Binary(payload)}
        for payload in (
            *(b"", b"=", b"no fields", b"r=x", b"r=x,s=eA==", b"r=x,s=eA==,i=many"),
            *(b"r=x,s=eA==,i=1", b"r=x,s=eA==,i=4096", b"\xff,\xfe", b"i=4096,i=4096"),
        )
    ),
]


@pytest.mark.gen_test(timeout=60)
async def test_odd_answers_to_a_log_in_end_in_one_line(shared_mongo_server: MongoServer) -> None:
    """Fields that are missing, of another type, not in Base64, or for another nonce."""
    for answer in SCRAM_ANSWERS:
        async with front(shared_mongo_server, always(("saslStart",), answer)) as proxy:
            proxy.rewrite = greeting({}, without=["speculativeAuthenticate"])
            url = f"mongodb://u:{PASSWORD}@127.0.0.1:{proxy.port}/?authMechanism=SCRAM-SHA-256"
            assert "breaks the rules of SCRAM" in await refusal(url, 5), answer


# SecantusDB has users, rights, TLS and a replica set as a mongod has them.


@pytest.fixture
def secantus(tmp_path: Path) -> Iterator[Callable[..., SecantusServer]]:
    """Starts a SecantusDB with some options; what it keeps stays when it is started again."""
    running: list[SecantusServer] = []

    def start(*options: str) -> SecantusServer:
        for server in running:
            server.stop()
        running[:] = [SecantusServer(tmp_path, *options)]
        running[0].start()
        return running[0]

    try:
        yield start
    finally:
        for server in running:
            server.stop()


@pytest.mark.gen_test(timeout=60)
async def test_users_and_rights_are_looked_at(secantus: Callable[..., SecantusServer]) -> None:
    """A wrong password, no user, a user of another database; and one that is right."""
    with MongoClient[dict[str, Any]](secantus().url) as client:
        for user, role in (("all", "people"), ("other", "elsewhere")):
            roles = [{"role": "readWrite", "db": role}]
            client["users"].command("createUser", user, pwd=PASSWORD, roles=roles)
    host = f"127.0.0.1:{secantus('--auth').port}/?authSource=users"
    wrong = await lasting_refusal(f"mongodb://all:{PASSWORD}x@{host}")
    assert wrong.startswith("2 mongodb.url: MongoDB refuses the user or the password")
    for user in ("", f"other:{PASSWORD}@"):
        line = await lasting_refusal(f"mongodb://{user}{host}")
        assert line.startswith("2 mongodb.url: MongoDB refuses createIndexes"), line
    async with opened(f"mongodb://all:{PASSWORD}@{host}&replicaSet=secantus", 5) as store:
        login = await store.login(Identity(AppId("wx1"), OpenId("ann")), a_scene_str(), "a", 1.0)
        assert login.is_new


@pytest.mark.gen_test(timeout=60)
async def test_a_client_certificate_is_asked_for(
    secantus: Callable[..., SecantusServer], tmp_path: Path
) -> None:
    """None, one of an authority that the server does not know, and one that is right."""
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    file = str(authority.sign("server"))
    files = ("--tls-cert-file", file, "--tls-key-file", file, "--tls-ca-file", str(authority.file))
    server = secantus(*files, "--tls-require-client-cert")
    url = f"{server.url}/?tls=true&tlsCAFile={authority.file}"
    lines = await asyncio.gather(
        lasting_refusal(url), lasting_refusal(f"{url}&tlsCertificateKeyFile={other.sign('alien')}")
    )
    assert lines[0].startswith("2 mongodb.url: the server wants a client certificate")
    assert lines[1].startswith("2 mongodb.url: the server does not trust the certificate")
    async with opened(f"{url}&tlsCertificateKeyFile={authority.sign('node')}", 5) as store:
        await store.ping()
