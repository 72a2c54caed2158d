"""Unionids are learned from WeChat, and never at a login's expense."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.errors import StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.ids import AppId, OpenId, SceneStr, UnionId
from services.metrics import Metrics
from services.people.store import LEASE_SECONDS, UNIONID_DUE_SECONDS, Identity, Login
from services.people.store_sqlite import SCHEMA, SqliteUserStore
from services.settings.models import AccountSettings
from services.sqlite import Database
from services.tasks import Supervisor
from services.wechat.accounts import Account, Accounts
from services.wechat.official_account import MAX_OPENIDS, Follower
from services.wechat.unionids import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    NO_UNIONID_SECONDS,
    NOT_ALLOWED,
    UNKNOWN_OPENID,
    UnionIds,
)
from tests.clocks import StandingClock
from tests.conftest import UnexpectedLogs
from tests.services.wechat.fakes import eventually

APP_ID = AppId("wx1234567890abcdef")
ALICE, UNIONID = OpenId("oAlice"), UnionId("u-oAlice")
IDENTITY = Identity(APP_ID, ALICE)
AWAY = WeChatUnavailable("time-out")


def follower(openid: OpenId) -> Follower:
    return Follower(openid, True, UnionId(f"u-{openid}"))


class FakeApi:
    """A WeChat that tells the unionids of all people.

    Switches: `fails` with that error; `hangs` until it is set; `answers` about some people
    otherwise; `strangers` are no openids of the account.
    """

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.hangs: asyncio.Event | None = None
        self.answers: dict[OpenId, Follower] = {}
        self.strangers: set[OpenId] = set()
        self.calls: list[int] = []
        """The number of people in each call."""

    async def user_info(self, openid: OpenId) -> Follower:
        return (await self.followers([openid]))[0]

    async def followers(self, openids: Sequence[OpenId]) -> list[Follower]:
        self.calls.append(len(openids))
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails is not None:
            raise self.fails
        if self.strangers & set(openids):
            raise WeChatRefused(UNKNOWN_OPENID, "invalid openid")
        return [self.answers.get(openid, follower(openid)) for openid in openids]


class Users(SqliteUserStore):
    """A real store, with a switch."""

    join_fails = False

    async def join(self, identity: Identity) -> None:
        if self.join_fails:
            raise StoreUnavailable("away")
        await super().join(identity)


class Bench:
    """The service with a real store and a WeChat that does as it is told."""

    def __init__(self, database: Database) -> None:
        self.api = FakeApi()
        self.clock = StandingClock()
        self.supervisor = Supervisor()
        self.users = Users(database)
        self.metrics = Metrics()
        settings = AccountSettings(app_id=APP_ID)
        self.account = Account("default", settings, None, self.api, None, None)
        accounts = Accounts([self.account])
        self.service = UnionIds(self.users, accounts, self.clock, self.supervisor, self.metrics)

    async def log_in(self, openid: str = ALICE, *, ask: bool = True) -> Login:
        """As a login of the account does it; without `ask` the node ends right after it."""
        identity = Identity(APP_ID, OpenId(openid))
        wanted = self.account.can_tell_unionid(identity, self.clock.monotonic())
        scene_str = SceneStr(str(uuid.uuid4()))
        login = await self.users.login(
            identity, scene_str, "default", self.clock.now(), unionid_wanted=wanted
        )
        if login.owes_unionid and ask:
            self.service.ask_later(self.account, identity)
        return login

    async def at_rest(self) -> None:
        """Return once all that was to be asked is asked and done."""
        await eventually(lambda: not self.supervisor.running)

    async def sweep(self, seconds: float = 0.0) -> None:
        """A round of the sweep after that time, and all that follows from it."""
        self.clock.seconds += seconds
        await self.service.sweep()
        await self.at_rest()

    async def owed(self) -> int:
        return await self.users.count_owed_unionids(1000)

    async def unionid(self, openid: str = ALICE) -> UnionId | None:
        found = await self.users.find(Identity(APP_ID, OpenId(openid)))
        assert found is not None
        return found[1].unionid

    @property
    def gauge(self) -> float:
        document = self.metrics.exposition()[0].decode()
        (line,) = [one for one in document.splitlines() if one.startswith("scanpush_unionids_owed")]
        return float(line.split()[1])


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


# After a login.


@pytest.mark.gen_test
async def test_a_login_is_over_while_wechat_hangs(bench: Bench) -> None:
    """So are the next ones of that person; the unionid is noted when WeChat answers at last."""
    bench.api.hangs = asyncio.Event()
    assert (await bench.log_in()).is_new
    await eventually(lambda: bench.api.calls == [1])
    assert not (await bench.log_in()).is_new and await bench.unionid() is None
    bench.api.hangs.set()
    await bench.at_rest()
    assert await bench.unionid() == UNIONID and await bench.owed() == 0


@pytest.mark.gen_test
async def test_a_known_unionid_is_not_asked_for(bench: Bench) -> None:
    """Once it is learned, logins owe nothing."""
    await bench.log_in()
    await bench.at_rest()
    assert not (await bench.log_in()).owes_unionid
    await bench.sweep(UNIONID_DUE_SECONDS)
    assert bench.api.calls == [1]


@pytest.mark.gen_test
async def test_people_who_come_together_are_asked_about_together(bench: Bench) -> None:
    """One call for as many as WeChat allows, each person in it once."""
    crowd = [f"o{number}" for number in range(MAX_OPENIDS + 20)]
    await asyncio.gather(*(bench.log_in(name) for name in crowd + crowd[:10]))
    await bench.at_rest()
    assert bench.api.calls == [MAX_OPENIDS, 20] and await bench.owed() == 0
    assert [await bench.unionid(name) for name in crowd] == [f"u-{name}" for name in crowd]


@pytest.mark.gen_test
async def test_an_account_without_unionids_is_left_alone_for_a_while(bench: Bench) -> None:
    """A follower without one shows that no follower of the account has one; nothing stays owed."""
    bench.api.answers = {ALICE: Follower(ALICE, True, None)}
    for _ in range(3):
        await bench.log_in()
        await bench.at_rest()
    assert len(bench.api.calls) == 1 and await bench.owed() == 0
    bench.clock.seconds += NO_UNIONID_SECONDS + 1
    await bench.log_in()
    await bench.at_rest()
    assert len(bench.api.calls) == 2


@pytest.mark.gen_test
async def test_who_does_not_follow_says_nothing_about_others(bench: Bench) -> None:
    """WeChat tells no unionid of them in any account: each login asks once, and owes no more."""
    bench.api.answers = {ALICE: Follower(ALICE, False, None)}
    for number in (1, 2):
        await bench.log_in()
        await bench.at_rest()
        assert len(bench.api.calls) == number and await bench.owed() == 0
    assert (await bench.log_in("oBob")).owes_unionid


@pytest.mark.gen_test
async def test_an_account_that_may_not_ask_stops_asking(bench: Bench) -> None:
    """48001 is the account's type: it will not be otherwise a second later."""
    bench.api.fails = WeChatRefused(NOT_ALLOWED, "api unauthorized")
    await bench.log_in()
    await bench.at_rest()
    assert not (await bench.log_in("oBob")).owes_unionid
    assert bench.api.calls == [1] and await bench.owed() == 0


@pytest.mark.gen_test
async def test_a_foreign_openid_spoils_no_other(bench: Bench) -> None:
    """WeChat refuses all for one: they are asked about in halves, and the one is given up."""
    bench.api.strangers = {OpenId("o5")}
    await asyncio.gather(*(bench.log_in(f"o{number}") for number in range(8)))
    await bench.at_rest()
    learned = [await bench.unionid(f"o{number}") for number in range(8)]
    assert learned == [None if n == 5 else f"u-o{n}" for n in range(8)]
    assert await bench.owed() == 0


# Failures, and what was left.


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        WeChatRefused(45009, "reach max api daily quota limit"),
        StoreUnavailable("the access_token's store is away"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.gen_test
async def test_a_failure_leaves_it_owed_until_it_works(
    bench: Bench, logs: UnexpectedLogs, error: Exception
) -> None:
    """The pause after it doubles, up to a limit; meanwhile WeChat is left alone."""
    logs.expect("unionids are owed")
    bench.api.fails = error
    await bench.log_in()
    await bench.at_rest()
    pause = FIRST_PAUSE_SECONDS
    for number in range(1, 9):
        await bench.log_in()
        await bench.sweep(pause - 0.5)
        assert len(bench.api.calls) == number and await bench.owed() == 1
        # What the sweep takes up is left alone for a while, too.
        await bench.sweep(max(0.5, LEASE_SECONDS - pause + 0.5))
        assert len(bench.api.calls) == number + 1
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    bench.api.fails = None
    await bench.sweep(pause)
    assert await bench.unionid() == UNIONID and await bench.owed() == 0
    assert len(logs.lines) == 9


@pytest.mark.gen_test
async def test_what_a_node_left_is_taken_up_by_the_sweep(bench: Bench) -> None:
    """Not before it is due: until then it is the node's that logged the person in."""
    for number in range(MAX_OPENIDS + 1):
        await bench.log_in(f"o{number}", ask=False)
    await bench.sweep()
    assert bench.api.calls == [] and bench.gauge == MAX_OPENIDS + 1
    await bench.sweep(UNIONID_DUE_SECONDS)
    await bench.sweep()
    assert bench.api.calls == [MAX_OPENIDS, 1]
    await bench.sweep()
    assert bench.gauge == 0


@pytest.mark.gen_test
async def test_people_of_an_unconfigured_account_are_left_alone(bench: Bench) -> None:
    """Their openids mean nothing to the others; they hold up no one."""
    other = Identity(AppId("wxfedcba0987654321"), ALICE)
    scene_str = SceneStr(str(uuid.uuid4()))
    await bench.users.login(other, scene_str, "old", bench.clock.now(), unionid_wanted=True)
    await bench.log_in(ask=False)
    await bench.sweep(UNIONID_DUE_SECONDS)
    assert await bench.unionid() == UNIONID and (bench.api.calls, await bench.owed()) == ([1], 1)


@pytest.mark.gen_test
async def test_a_store_that_fails_then_is_one_line_in_the_log(
    bench: Bench, logs: UnexpectedLogs
) -> None:
    """The answer is lost, and so WeChat is asked again."""
    logs.expect("unionids are owed")
    bench.users.join_fails = True
    await bench.log_in()
    await bench.at_rest()
    assert len(logs.lines) == 1 and await bench.owed() == 1
    bench.users.join_fails = False
    await bench.sweep(FIRST_PAUSE_SECONDS)
    assert await bench.unionid() == UNIONID


# Where admission depends on it.


@pytest.mark.gen_test
async def test_a_stranger_is_waited_for(bench: Bench) -> None:
    """The identity comes back with its unionid."""
    told = await bench.service.ask_now(bench.account, IDENTITY)
    assert told == IDENTITY._replace(unionid=UNIONID)


@pytest.mark.gen_test
async def test_who_cannot_be_asked_about_is_not(bench: Bench) -> None:
    """user/info knows the account's own followers, and nothing of those who came with a unionid."""
    known = IDENTITY._replace(unionid=UNIONID)
    other = Identity(AppId("wxfedcba0987654321"), ALICE)
    for identity in (known, other):
        assert await bench.service.ask_now(bench.account, identity) == identity
    assert bench.api.calls == []


@pytest.mark.parametrize(
    "error", [AWAY, StoreUnavailable("away"), None], ids=["out", "store", "slow"]
)
@pytest.mark.gen_test
async def test_a_failure_brings_the_identity_back_as_it_was(
    bench: Bench, error: Exception | None
) -> None:
    """Also when WeChat does not answer within the second."""
    bench.api.fails = error
    bench.api.hangs = None if error else asyncio.Event()
    assert await bench.service.ask_now(bench.account, IDENTITY) == IDENTITY
