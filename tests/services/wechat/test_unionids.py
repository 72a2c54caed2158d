"""Unionids are learned from WeChat, within a second or later, and never at a login's expense."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.errors import StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.ids import AppId, OpenId, SceneStr, UnionId
from services.people.store import Identity
from services.people.store_sqlite import SCHEMA, SqliteUserStore
from services.settings.models import AccountSettings
from services.sqlite import Database
from services.tasks import Supervisor
from services.wechat.accounts import Account
from services.wechat.official_account import Follower
from services.wechat.unionids import NO_UNIONID_SECONDS, NOT_ALLOWED, UnionIds
from tests.conftest import UnexpectedLogs
from tests.services.wechat.fakes import FakeClock, eventually

APP_ID = AppId("wx1234567890abcdef")
ALICE, UNIONID = OpenId("oAlice"), UnionId("uAlice")
IDENTITY = Identity(APP_ID, ALICE)
SCENE = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301")


class FakeApi:
    """Switches: `answer` to every question, or an error; `hangs` until it is set."""

    def __init__(self) -> None:
        self.answer: Follower | Exception = Follower(ALICE, True, UNIONID)
        self.hangs: asyncio.Event | None = None
        self.asked = 0

    async def user_info(self, openid: OpenId) -> Follower:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    """The service with a real store and a WeChat that does as it is told."""

    def __init__(self, database: Database) -> None:
        self.api = FakeApi()
        self.clock = FakeClock()
        self.supervisor = Supervisor()
        self.users = SqliteUserStore(database)
        self.service = UnionIds(self.users, self.clock, self.supervisor)
        settings = AccountSettings(app_id=APP_ID)
        self.account = Account("default", settings, None, self.api, None, None)

    async def completed(self, identity: Identity = IDENTITY) -> Identity:
        return await self.service.completed(self.account, identity)


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[Bench]:
    database = Database(tmp_path / "scanpush.db", "NORMAL", (SCHEMA,))

    async def opened() -> Bench:
        database.open()
        return Bench(database)

    made = io_loop.run_sync(opened)
    yield made
    io_loop.run_sync(made.supervisor.close)
    io_loop.run_sync(database.close)


@pytest.mark.gen_test
async def test_an_unknown_unionid_is_asked_for(bench: Bench) -> None:
    """The identity comes back with it."""
    assert (await bench.completed()).unionid == UNIONID


@pytest.mark.gen_test
async def test_a_known_one_is_not_asked_for_again(bench: Bench) -> None:
    """Neither when the door brought it, nor when an earlier login did."""
    whole = Identity(APP_ID, ALICE, UNIONID)
    assert await bench.completed(whole) == whole
    await bench.users.login(whole, SCENE, "default", bench.clock.now())
    assert await bench.completed() == whole
    assert bench.api.asked == 0


@pytest.mark.gen_test
async def test_people_of_another_app_are_not_asked_about(bench: Bench) -> None:
    """user/info knows the account's own followers only: a mini program's openid means nothing."""
    other = Identity(AppId("wxfedcba0987654321"), ALICE)
    assert await bench.completed(other) == other and bench.api.asked == 0


@pytest.mark.gen_test
async def test_an_account_without_unionids_is_left_alone_for_a_while(bench: Bench) -> None:
    """A follower without one shows that no follower of the account has one."""
    bench.api.answer = Follower(ALICE, True, None)
    for _ in range(3):
        assert (await bench.completed()).unionid is None
    assert bench.api.asked == 1
    bench.clock.seconds += NO_UNIONID_SECONDS + 1
    await bench.completed()
    assert bench.api.asked == 2


@pytest.mark.gen_test
async def test_who_does_not_follow_says_nothing_about_others(bench: Bench) -> None:
    """WeChat tells no unionid of them in any account."""
    bench.api.answer = Follower(ALICE, False, None)
    await bench.completed()
    await bench.completed()
    assert bench.api.asked == 2


@pytest.mark.parametrize(
    "error",
    [
        WeChatUnavailable("time-out"),
        WeChatRefused(45009, "reach max api daily quota limit"),
        StoreUnavailable("the access_token's store is away"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.gen_test
async def test_no_failure_reaches_the_login(bench: Bench, error: Exception) -> None:
    """The identity comes back as it was, and the next login asks again."""
    bench.api.answer = error
    assert await bench.completed() == IDENTITY
    bench.api.answer = Follower(ALICE, True, UNIONID)
    assert (await bench.completed()).unionid == UNIONID


@pytest.mark.gen_test
async def test_an_account_that_may_not_ask_stops_asking(bench: Bench) -> None:
    """48001 is the account's type: it will not be otherwise a second later."""
    bench.api.answer = WeChatRefused(NOT_ALLOWED, "api unauthorized")
    await bench.completed()
    await bench.completed()
    assert bench.api.asked == 1


@pytest.mark.gen_test
async def test_a_late_answer_is_joined_when_it_comes(bench: Bench) -> None:
    """The login went on without it."""
    bench.api.hangs = asyncio.Event()
    assert await bench.completed() == IDENTITY
    await bench.users.login(IDENTITY, SCENE, "default", bench.clock.now())
    bench.api.hangs.set()
    await eventually(lambda: not bench.supervisor.running)
    found = await bench.users.find(IDENTITY)
    assert found is not None and found[1].unionid == UNIONID


@pytest.mark.gen_test
async def test_a_store_that_fails_then_is_one_line_in_the_log(
    bench: Bench, logs: UnexpectedLogs
) -> None:
    """The next login learns it again."""
    logs.expect("a unionid waits for the next login")

    class Away(SqliteUserStore):
        async def join(self, identity: Identity) -> None:
            raise StoreUnavailable("away")

    bench.users.__class__ = Away
    bench.api.hangs = asyncio.Event()
    assert await bench.completed() == IDENTITY
    bench.api.hangs.set()
    await eventually(lambda: not bench.supervisor.running)
    assert len(logs.lines) == 1
