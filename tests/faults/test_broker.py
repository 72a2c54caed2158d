"""The connection for notices breaks: the node is told of a gap, and gets notices again."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest

from deploy.programs import free_port
from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.push.broker import RedisBroker, channel
from services.redis_client import RedisLink
from services.scenes.store import Notice
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually
from tests.servers import RedisServer
from tests.wire_proxy import Fault, Proxy, one_read

pytestmark = pytest.mark.redis


class Listener:
    """A listening broker and the notices it got."""

    def __init__(self, url: str) -> None:
        self.notices: list[Notice] = []
        self.gaps = 0
        self.link = RedisLink(url, timeout_seconds=0.5)
        self.broker = RedisBroker(self.link, "a", heartbeat_seconds=0.2)

    def gap(self) -> None:
        self.gaps += 1

    async def pings(self) -> bool:
        try:
            await self.broker.ping()
        except StoreUnavailable:
            return False
        return True


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    ear = Listener(url)
    await ear.link.open()
    try:
        await ear.broker.listen(ear.notices.append, ear.gap)
        yield ear
    finally:
        await ear.broker.close()
        await ear.link.close()


def publish(server: RedisServer, seq: int = 1) -> Notice:
    notice = Notice(SceneStr(str(uuid.uuid4())), seq)
    server.ask("PUBLISH", channel("a"), f"{notice.scene_str} {notice.seq} 0")
    return notice


@pytest.mark.gen_test(timeout=20)
async def test_notices_are_back_after_one_that_is_no_text(
    redis_server: RedisServer, logs: UnexpectedLogs
) -> None:
    """Another program published it: a gap, like a lost connection."""
    logs.expect("notices are interrupted")
    async with listening(redis_server.url) as ear:
        odd = b"*3\r\n$7\r\nPUBLISH\r\n$15\r\nscanpush:node:a\r\n$1\r\n\xff\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", redis_server.port)
        writer.write(odd)
        await eventually(lambda: ear.gaps == 1)
        writer.close()
        notice = publish(redis_server)
        await eventually(lambda: ear.notices == [notice])


@pytest.mark.gen_test(timeout=20)
async def test_a_restart_is_a_gap_and_notices_are_back(
    redis_server: RedisServer, logs: UnexpectedLogs
) -> None:
    """While Redis is gone a ping fails; within 2 s of its return one gap is told, and later notices
    arrive."""
    logs.expect("notices are interrupted")
    async with listening(redis_server.url) as ear:
        assert await ear.pings()
        redis_server.stop()
        async with asyncio.timeout(2):
            while await ear.pings():
                await asyncio.sleep(0.01)
        assert ear.gaps == 0
        redis_server.start()
        await eventually(lambda: ear.gaps == 1, 2)
        assert await ear.pings()
        notice = publish(redis_server)
        await eventually(lambda: ear.notices == [notice])


@pytest.mark.gen_test(timeout=20)
async def test_a_cut_subscription_is_a_gap(redis_server: RedisServer, logs: UnexpectedLogs) -> None:
    """Each cut is one gap; nothing that comes after the gap is missed."""
    logs.expect("notices are interrupted")
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    async with listening(f"redis://127.0.0.1:{proxy.port}/0") as ear:
        for number in range(1, 4):
            proxy.cut()
            await eventually(lambda want=number: ear.gaps == want)  # type: ignore[misc]
            notice = publish(redis_server, number)
            await eventually(lambda last=notice: last in ear.notices)  # type: ignore[misc]
    await proxy.close()


@pytest.mark.gen_test(timeout=20)
async def test_a_silent_subscription_is_given_up(
    redis_server: RedisServer, logs: UnexpectedLogs
) -> None:
    """A path that swallows everything is noticed by the heartbeat, without any error of TCP."""
    logs.expect("notices are interrupted")
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    async with listening(f"redis://127.0.0.1:{proxy.port}/0") as ear:
        proxy.plan = lambda request: Fault.HANG if b"PING" in request else Fault.PASS
        await eventually(lambda: ear.gaps > 0)
    await proxy.close()


@pytest.mark.gen_test(timeout=20)
async def test_a_quiet_subscription_is_kept(redis_server: RedisServer) -> None:
    """No notice for many heartbeats is no gap."""
    proxy = Proxy(redis_server.port, message=one_read)
    await proxy.open()
    async with listening(f"redis://127.0.0.1:{proxy.port}/0") as ear:
        before = proxy.requests
        await eventually(lambda: proxy.requests >= before + 4)
        notice = publish(redis_server)
        await eventually(lambda: ear.notices == [notice])
        assert ear.gaps == 0
    await proxy.close()


@pytest.mark.gen_test
async def test_rubbish_on_the_channel_is_no_notice(
    redis_server: RedisServer, logs: UnexpectedLogs
) -> None:
    """What does not parse is logged and dropped; the next notice arrives."""
    logs.expect("not understood")
    async with listening(redis_server.url) as ear:
        for text in ("", "one", "a b c", "a 1 2 3", "\u2028 1 x"):
            redis_server.ask("PUBLISH", channel("a"), text)
        notice = publish(redis_server)
        await eventually(lambda: ear.notices == [notice])


@pytest.mark.gen_test
async def test_listening_without_a_redis_fails_at_once() -> None:
    """At the start, an unreachable Redis is an error, not a silent wait."""
    broker = RedisBroker(RedisLink(f"redis://127.0.0.1:{free_port()}/0"), "a")
    with pytest.raises(StoreUnavailable):
        await broker.listen(lambda notice: None, lambda: None)
    await broker.close()
