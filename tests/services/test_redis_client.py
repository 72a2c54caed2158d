"""The link's own promises; what Redis's failures do to it is in tests/faults/test_redis.py."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.errors import StoreUnavailable
from services.redis_client import RedisLink, Script
from tests.servers import RedisServer, started

pytestmark = pytest.mark.redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with started(RedisServer(tmp_path)) as server:
        yield server


@pytest.mark.gen_test
async def test_closing_leaves_no_call_waiting(server: RedisServer) -> None:
    """Calls that are sent, just asked, and asked too late all end as unavailable."""
    link = RedisLink(server.url, timeout_seconds=5)
    await link.open()
    server.pause()
    sent = asyncio.ensure_future(link.call("k", "GET", "k"))
    await asyncio.sleep(0.05)
    asked = asyncio.ensure_future(link.call("k", "GET", "k"))
    await asyncio.sleep(0)
    await link.close()
    server.resume()
    for call in (sent, asked, asyncio.ensure_future(link.call("k", "GET", "k"))):
        async with asyncio.timeout(1):
            with pytest.raises(StoreUnavailable):
                await call
    await link.close()


@pytest.mark.gen_test
async def test_one_bad_call_fails_alone(server: RedisServer) -> None:
    """An error of one command, and text that is no UTF-8, leave the rest of the batch whole."""
    link = RedisLink(server.url)
    await link.open()
    answers = await asyncio.gather(
        link.call("k", "SET", "k", "1"),
        link.call("k", "NO-SUCH-COMMAND"),
        link.call("k", "SET", "k", "\ud800"),
        link.call("k", "LPUSH", "k", "x"),
        link.call("k", "GET", "k"),
        return_exceptions=True,
    )
    assert (answers[0], answers[4]) == ("OK", "1")
    assert isinstance(answers[1], StoreUnavailable) and isinstance(answers[3], StoreUnavailable)
    assert isinstance(answers[2], UnicodeEncodeError)
    await link.close()


@pytest.mark.gen_test
async def test_a_call_given_up_is_not_sent(server: RedisServer) -> None:
    """A call that is cancelled before the batch leaves is not executed."""
    link = RedisLink(server.url)
    await link.open()
    call = asyncio.ensure_future(link.call("k", "SET", "k", "1"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await link.call("k", "GET", "k") is None
    await link.close()


@pytest.mark.gen_test
async def test_a_script_is_learned_once(server: RedisServer) -> None:
    """The first run sends the source, later ones its name."""
    link, script = RedisLink(server.url), Script("return ARGV[1] .. KEYS[1]")
    await link.open()
    server.ask("CONFIG", "RESETSTAT")
    for number in range(3):
        assert await link.run(script, ["k"], number) == f"{number}k"
    stats = server.ask("INFO", "commandstats")
    assert b"cmdstat_eval:calls=1," in stats and b"cmdstat_evalsha:calls=3," in stats
    await link.close()
