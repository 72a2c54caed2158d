"""Mistakes of the operator about the shared stores: one clear line at the start, and the key."""

import asyncio
import re
from pathlib import Path

import pytest

from deploy.programs import free_port
from tests.processes import run, write_config
from tests.servers import MongoServer, RedisServer, TlsRedisServer

pytestmark = [
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=60),
]


async def refused(folder: Path, code: int, redis: str, mongodb: str, database: str = "d") -> str:
    """The one line on standard error with which the start stops."""
    config = write_config(
        folder,
        **{
            "backend": "distributed",
            "redis": {"url": redis},
            "mongodb": {"url": mongodb, "database": database},
        },
    )
    found, out, err = await run("--config", str(config))
    assert (found, out, err.count("\n")) == (code, "", 1), err
    assert "hunter2" not in err and "Traceback" not in err
    return err.removeprefix("scanpush: ")


async def test_a_wrong_redis_password_is_told(redis_server: RedisServer, tmp_path: Path) -> None:
    """With and without one, and never the password itself."""
    redis_server.ask("CONFIG", "SET", "requirepass", "right")
    redis_server.password = "right"
    for credentials in ("", ":hunter2@"):
        url = f"redis://{credentials}127.0.0.1:{redis_server.port}/0"
        err = await refused(tmp_path, 2, url, "mongodb://127.0.0.1")
        assert err.startswith("redis.url: Redis refuses the password")


async def test_a_redis_url_that_cannot_be_used_is_told_by_the_check(tmp_path: Path) -> None:
    """Without a look at Redis, and without the piece of the password that a library would quote."""
    url = "redis://:hunter2/Elbe4@127.0.0.1/0"
    config = write_config(tmp_path, backend="distributed", redis={"url": url})
    code, out, err = await run("--config", str(config), "--check-config")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("scanpush: redis.url: percent-encode")
    assert "hunter2" not in err and "Elbe4" not in err


async def test_a_redis_database_that_is_not_there_is_told(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Redis has sixteen of them by default."""
    url = f"redis://127.0.0.1:{redis_server.port}/99"
    assert (await refused(tmp_path, 2, url, "mongodb://127.0.0.1")).startswith("redis.url: ")


async def test_an_unknown_ca_of_redis_is_told(tmp_path: Path) -> None:
    """The reason gets through, on the event loop that the server really runs on. What else can be
    wrong with TLS is in test_redis_start.py."""
    server = TlsRedisServer(_sub(tmp_path, "tls"), "--tls-auth-clients", "yes")
    try:
        server.start()
        url = f"rediss://127.0.0.1:{server.port}/0"
        err = await refused(tmp_path, 2, url, "mongodb://127.0.0.1")
        assert re.search(r"is not accepted \(self.signed certificate\); ssl_ca_certs", err)
    finally:
        server.stop()


async def test_mongodb_mistakes_are_told(
    redis_server: RedisServer, mongo_server: MongoServer, tmp_path: Path
) -> None:
    """A database name that MongoDB does not take, an address that is none, TLS that is not
    spoken there."""
    good = f"mongodb://127.0.0.1:{mongo_server.port}"
    err = await refused(tmp_path, 2, redis_server.url, good, "my.people")
    assert err.startswith("mongodb.database: ")
    err = await refused(tmp_path, 2, redis_server.url, "mongodb://127.0.0.1:port")
    assert err.startswith("mongodb.url: ")
    err = await refused(tmp_path, 1, redis_server.url, f"{good}/?tls=true")
    assert err.startswith("cannot start: MongoDB") and "mongodb.url" in err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mongodb://u:hunter2@Elbe4/Ufer9@127.0.0.1/", "percent-encode"),
        ("mongodb://u:hunter2@127.0.0.1/?tlsCAFile=/nonexistent.pem", "tlsCAFile names a file"),
    ],
)
async def test_a_mongodb_url_is_looked_at_without_a_start(
    tmp_path: Path, url: str, words: str
) -> None:
    """By --check-config too, in one line on standard error."""
    config = write_config(tmp_path, backend="distributed", mongodb={"url": url})
    code, out, err = await run("--check-config", "--config", str(config))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("scanpush: mongodb.url: ") and words in err
    assert "hunter2" not in err and "Elbe4" not in err


async def test_a_store_that_is_away_is_told(redis_server: RedisServer, tmp_path: Path) -> None:
    """Exit code 1: the same settings may be right a moment later, so that starting again helps."""
    nowhere = free_port()
    redis, mongo = await asyncio.gather(
        refused(_sub(tmp_path, "a"), 1, f"redis://127.0.0.1:{nowhere}/0", "mongodb://127.0.0.1"),
        refused(_sub(tmp_path, "b"), 1, redis_server.url, f"mongodb://127.0.0.1:{nowhere}"),
    )
    assert (
        redis == f"cannot start: Redis at 127.0.0.1:{nowhere}: Connection refused (see redis.url)\n"
    )
    assert mongo.startswith("cannot start: MongoDB") and "mongodb.url" in mongo


def _sub(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name
