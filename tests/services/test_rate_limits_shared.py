"""RedisWindows: nodes count together, in the same way as one does alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.errors import StoreUnavailable
from services.rate_limits import MINUTE, RateLimits, RedisWindows
from services.redis_client import RedisLink
from services.settings.models import LimitSettings
from tests.servers import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def link(server: RedisServer, io_loop: IOLoop) -> Iterator[RedisLink]:
    link = RedisLink(server.url)
    io_loop.run_sync(link.open)
    server.ask("FLUSHALL")
    yield link
    io_loop.run_sync(link.close)


@pytest.mark.gen_test
async def test_two_nodes_count_together(link: RedisLink) -> None:
    """Three a minute are three a minute, whichever node is asked."""
    settings = LimitSettings(scenes_per_minute_per_address=3)
    nodes = [RateLimits(settings, RedisWindows(link)) for _ in range(2)]
    answers = [await nodes[number % 2].allow("scenes", "192.0.2.1") for number in range(6)]
    assert answers[:3] == [None] * 3
    assert all(wait is not None and 0 < wait <= 2 * MINUTE for wait in answers[3:])


@pytest.mark.gen_test
async def test_addresses_are_apart(link: RedisLink) -> None:
    """IPv6 networks, whose colons and slashes stand in the key, too."""
    limits = RateLimits(LimitSettings(scenes_per_minute_per_address=1), RedisWindows(link))
    assert await limits.allow("scenes", "2001:db8::1") is None
    assert await limits.allow("scenes", "2001:db8::2") is not None
    assert await limits.allow("scenes", "2001:db8:1::1") is None


@pytest.mark.gen_test
async def test_an_unknown_key_has_no_counts(link: RedisLink, server: RedisServer) -> None:
    """Nothing is made by looking."""
    previous, left, current, forgotten_in = await RedisWindows(link).window("scenes:new", MINUTE)
    assert (previous, current) == (0, 0) and 0 < left <= MINUTE < forgotten_in
    assert server.ask("DBSIZE") == b":0\r\n"


@pytest.mark.gen_test
async def test_the_former_window_weighs_less_and_less(link: RedisLink) -> None:
    """A window of one second has slid away within three."""
    windows = RedisWindows(link)
    assert await windows.acquire("short", 1, 1)
    assert not await windows.acquire("short", 1, 1)
    previous, previous_seconds, current, _ = await windows.window("short", 1)
    assert (previous, current) == (0, 1) or previous_seconds <= 1


@pytest.mark.gen_test
async def test_counts_expire_by_themselves(link: RedisLink, server: RedisServer) -> None:
    """Nothing of an address stays for longer than two windows."""
    await RedisWindows(link).acquire("scenes:192.0.2.1", 3, MINUTE)
    key = "scanpush:counts:scenes:192.0.2.1"
    assert 0 < int(server.ask("PTTL", key)[1:]) <= 2 * MINUTE * 1000


@pytest.mark.gen_test
async def test_a_lost_redis_is_an_unavailable_store(tmp_path: Path) -> None:
    """And nothing else."""
    server = RedisServer(tmp_path)
    server.start()
    link = RedisLink(server.url)
    await link.open()
    server.kill()
    with pytest.raises(StoreUnavailable):
        await RedisWindows(link).acquire("scenes:192.0.2.1", 3, MINUTE)
    await link.close()
