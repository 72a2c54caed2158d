"""The device flow's codes: how they are typed, paced, guessed and kept."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from services.errors import ApiError
from services.ids import letter_code_of
from services.oidc import device
from services.oidc.device import Answer, DeviceCodes, DeviceGrants, Refusal, shown
from services.oidc.grants import Grant, family
from services.sessions.states import BROWSER, Session
from tests.contracts.benches import SqliteSceneBench
from tests.contracts.sessions import a_session
from tests.faulty import FaultyStore

pytestmark = pytest.mark.gen_test

HOME = "192.0.2.1"


def session_of(person: str) -> Session:
    """A browser session of that person."""
    return a_session(person, 1000.0, client=BROWSER)


ANN, BOB = session_of("ann"), session_of("bob")


class Counter:
    """Codes on the embedded store, with time to turn and a store that fails on command."""

    def __init__(self, folder: Path) -> None:
        self.bench = SqliteSceneBench(folder)

    def begin_work(self) -> None:
        self.store = FaultyStore(self.bench.store())
        self.grants = DeviceGrants(self.store, self.bench.clock)  # type: ignore[arg-type]

    async def begin(self, client: str = "tv") -> DeviceCodes:
        return await self.grants.begin(client, "openid")

    async def allow(self, codes: DeviceCodes, session: Session = ANN, allow: bool = True) -> Answer:
        opened = await self.grants.open(codes.user_code, HOME)
        return await self.grants.answer(opened, session, allow=allow)

    async def poll(self, codes: DeviceCodes, client: str = "tv") -> Grant | Refusal:
        return await self.grants.redeem(codes.device_code, client)


@pytest.fixture
def counter(tmp_path: Path, io_loop: IOLoop) -> Iterator[Counter]:
    counter = Counter(tmp_path)
    io_loop.run_sync(counter.bench.open)
    counter.begin_work()
    yield counter
    io_loop.run_sync(counter.bench.close)


@pytest.mark.parametrize(
    "typed",
    ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "Bcdf—Ghjk", "ＢＣＤＦ－ＧＨＪＫ", "b.c.d.f.g.h.j.k"],
)
async def test_a_user_code_is_read_however_it_is_typed(typed: str) -> None:
    """Case, hyphens, blanks and width do not matter."""
    assert letter_code_of(typed) == "BCDFGHJK"


@pytest.mark.parametrize("typed", ["", "BCDFGHJ", "BCDFGHJKL", "BCDFGHJA", "BCDF1234", "x" * 5000])
async def test_what_is_no_user_code_is_none(typed: str) -> None:
    """Too short, too long, vowels, digits."""
    assert letter_code_of(typed) is None


async def test_the_codes_have_the_shape_of_the_contract(counter: Counter) -> None:
    """A device code of 256 bits; a user code of eight letters, without vowels, in two halves."""
    codes = await counter.begin()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", codes.device_code)
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", codes.user_code)
    assert shown(letter_code_of(codes.user_code) or "") == codes.user_code


async def test_the_grant_is_the_persons(counter: Counter) -> None:
    """Who allowed it, by which account, when; its session is the device's own."""
    codes = await counter.begin()
    assert await counter.allow(codes) is Answer.ALLOWED
    grant = await counter.poll(codes)
    assert isinstance(grant, Grant)
    assert (grant.client, grant.scope, grant.user_id) == ("tv", "openid", "ann")
    assert (grant.account, grant.amr, grant.auth_at) == ("default", "wechat", 1000.0)
    assert grant.session == family(codes.device_code) != ANN.id


async def test_opening_a_code_allows_nothing(counter: Counter) -> None:
    """The page names what it finds; the device still waits."""
    codes = await counter.begin()
    opened = await counter.grants.open(codes.user_code, HOME)
    assert opened.device is not None and opened.device.client == "tv"
    assert await counter.poll(codes) is Refusal.AUTHORIZATION_PENDING


async def test_a_denied_device_is_told_at_each_poll(counter: Counter) -> None:
    """And a later yes comes too late."""
    codes = await counter.begin()
    assert await counter.allow(codes, allow=False) is Answer.DENIED
    assert await counter.poll(codes) is Refusal.ACCESS_DENIED
    assert await counter.allow(codes) is Answer.DENIED
    assert await counter.poll(codes) is Refusal.ACCESS_DENIED


async def test_a_device_code_of_another_client_is_none(counter: Counter) -> None:
    """It spends nothing: the right client still gets its grant."""
    codes = await counter.begin()
    await counter.allow(codes)
    assert await counter.poll(codes, "radio") is Refusal.INVALID_GRANT
    assert isinstance(await counter.poll(codes), Grant)


@pytest.mark.parametrize("code", ["", "x" * 43, "\udcff"])
async def test_a_device_code_that_never_was_is_none(counter: Counter, code: str) -> None:
    """Neither pending nor expired."""
    assert await counter.grants.redeem(code, "tv") is Refusal.INVALID_GRANT


async def test_each_early_poll_makes_the_interval_longer(counter: Counter) -> None:
    """By five seconds, for that poll and all that follow (RFC 8628, section 3.5)."""
    codes = await counter.begin()
    pending, slow = Refusal.AUTHORIZATION_PENDING, Refusal.SLOW_DOWN
    # Seconds since the poll before, and what it is told: the interval is 5, 10, 15, 20, 25.
    polls = [(0, pending), (1, slow), (5, slow), (15, pending), (15, pending), (3, slow),
             (16, slow), (25, pending)]  # fmt: skip
    for seconds, told in polls:
        await counter.bench.pass_time(seconds)
        assert await counter.poll(codes) is told


async def test_an_even_poller_is_never_slowed(counter: Counter) -> None:
    """Although the network brings a poll a little early."""
    codes = await counter.begin()
    for _ in range(10):
        assert await counter.poll(codes) is Refusal.AUTHORIZATION_PENDING
        await counter.bench.pass_time(device.INTERVAL_SECONDS - 0.5)


async def test_a_flood_of_polls_stops_to_cost_writes(counter: Counter) -> None:
    """Once the interval is as long as the code lives, nothing is counted any more."""
    codes = await counter.begin()
    for _ in range(device.MOST_SLOWED + 1):
        await counter.poll(codes)
    written = counter.store.calls["count"]
    assert await counter.poll(codes) is Refusal.SLOW_DOWN
    assert counter.store.calls["count"] == written


async def test_an_early_poll_brings_what_was_allowed(counter: Counter) -> None:
    """`slow_down` says that the answer is pending; it is not."""
    codes = await counter.begin()
    await counter.poll(codes)
    await counter.allow(codes)
    assert isinstance(await counter.poll(codes), Grant)


async def test_a_code_that_nobody_answered_expires(counter: Counter) -> None:
    """The device is told so, and the person's page knows it no more."""
    codes = await counter.begin()
    await counter.bench.pass_time(device.EXPIRES_SECONDS)
    assert await counter.poll(codes) is Refusal.EXPIRED_TOKEN
    assert await counter.allow(codes) is Answer.UNKNOWN
    await counter.bench.pass_time(device.KEPT_SECONDS)
    assert await counter.poll(codes) is Refusal.INVALID_GRANT


async def test_what_was_allowed_in_time_is_collected_after_it(counter: Counter) -> None:
    """The device polls a little later than the person taps."""
    codes = await counter.begin()
    await counter.bench.pass_time(device.EXPIRES_SECONDS - 1)
    await counter.allow(codes)
    await counter.bench.pass_time(device.INTERVAL_SECONDS)
    assert isinstance(await counter.poll(codes), Grant)


async def test_wrong_codes_are_counted_by_address(counter: Counter) -> None:
    """After so many even a right one is refused, there and for a while only."""
    codes = await counter.begin()
    for _ in range(device.MOST_GUESSES):
        assert (await counter.grants.open("BBBB-BBBB", HOME)).answer is Answer.UNKNOWN
    with pytest.raises(ApiError) as refused:
        await counter.grants.open(codes.user_code, HOME)
    assert refused.value.code == "rate_limited"
    assert (await counter.grants.open(codes.user_code, "192.0.2.2")).answer is Answer.WAITING
    await counter.bench.pass_time(device.GUESS_SECONDS)
    again = await counter.begin()
    assert (await counter.grants.open(again.user_code, HOME)).answer is Answer.WAITING


async def test_right_codes_do_not_count_against_an_address(counter: Counter) -> None:
    """A school with one address logs in any number of screens."""
    for _ in range(device.MOST_GUESSES + 5):
        assert await counter.allow(await counter.begin()) is Answer.ALLOWED


async def test_one_code_is_opened_so_often(counter: Counter) -> None:
    """From whatever addresses: a link sent to hundreds is soon over."""
    codes = await counter.begin()
    for n in range(device.MOST_OPENED):
        await counter.grants.open(codes.user_code, f"192.0.2.{n}")
    with pytest.raises(ApiError):
        await counter.grants.open(codes.user_code, "198.51.100.1")


async def test_no_secret_is_kept(counter: Counter, tmp_path: Path) -> None:
    """Neither code is in the store's file; their hashes are."""
    codes = await counter.begin()
    await counter.allow(codes)
    files: list[Any] = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    kept = b"".join(files)
    for secret in (codes.device_code, codes.user_code, codes.user_code.replace("-", "")):
        assert secret.encode() not in kept
    assert device._id(codes.device_code).encode() in kept


async def test_a_lost_answer_of_the_store_loses_no_login(counter: Counter) -> None:
    """The mark was kept although the connection broke: the second try knows it as its own."""
    codes = await counter.begin()
    await counter.allow(codes)
    counter.store.lose("remember", times=1)
    assert isinstance(await counter.poll(codes), Grant)
    assert await counter.poll(codes) is Refusal.INVALID_GRANT
