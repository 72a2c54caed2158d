"""services.scenes.codes_ahead: how many codes are kept, which is handed out, and when to ask."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.errors import ApiError, StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.ids import SceneStr
from services.metrics import Metrics
from services.scenes.codes_ahead import (
    AHEAD_SECONDS,
    DAY_SECONDS,
    MOST_IN_FLIGHT,
    PAUSES,
    WECHAT_DAILY_CODES,
    AccountCode,
    AccountCodes,
    Stock,
)
from services.settings.fields import MOST_CODES_AHEAD
from services.tasks import Supervisor
from services.wechat.official_account import QrCode
from tests.clocks import START, StandingClock
from tests.conftest import UnexpectedLogs

pytestmark = pytest.mark.gen_test(timeout=30)

LIFE = 180
NOON = START - START % DAY_SECONDS + 4 * 3600
"""In Beijing; no period of demand begins or ends by chance within a test."""


class Shelf:
    """A stock with the codes it dropped, and codes by number."""

    def __init__(self, ahead: Any = "auto") -> None:
        self.dropped = 0
        self.stock = Stock(ahead, LIFE, self._drop)

    def _drop(self, codes: int) -> None:
        self.dropped += codes

    def add(self, name: str, ends_at: float) -> None:
        self.stock.add(AccountCode(SceneStr(name), "ticket", "url", ends_at))

    def take(self, now: float) -> str | None:
        code = self.stock.take(now)
        return None if code is None else code.scene_str


def test_an_idle_account_has_two_codes() -> None:
    """With no page in the last minute; a page a minute needs no more than three."""
    stock = Shelf().stock
    assert stock.wanted(NOON) == 2
    stock.take(NOON)
    assert stock.wanted(NOON + 1) == 3 and stock.wanted(NOON + 66) == 2


@pytest.mark.parametrize(("per_second", "wanted"), [(1, 15), (4, 60), (20, 300), (100, 500)])
def test_codes_for_fifteen_seconds_are_wanted(per_second: int, wanted: int) -> None:
    """At the rate of the last minute's busiest five seconds, and 500 at most."""
    stock = Shelf().stock
    for turn in range(20 * per_second):
        stock.take(NOON + turn / per_second)
    assert stock.wanted(NOON + 20) == wanted
    stock.take(NOON + 60)
    assert stock.wanted(NOON + 60) == wanted and stock.wanted(NOON + 90) == 3


@pytest.mark.parametrize("ahead", [0, 7])
def test_a_number_is_that_number(ahead: int) -> None:
    """Whatever the demand is; 0 makes nothing ahead."""
    stock = Shelf(ahead).stock
    for _ in range(50):
        assert stock.take(NOON) is None
    assert stock.wanted(NOON) == stock.missing(NOON, 0) == ahead


def test_a_clock_set_back_does_not_raise_the_demand() -> None:
    """What was counted in the future is forgotten with the periods that follow."""
    stock = Shelf().stock
    for _ in range(10):
        stock.take(NOON)
    for turn in range(20):
        stock.take(NOON - 3600 + 5 * turn)
    assert stock.wanted(NOON - 3600 + 100) == 3


def test_the_oldest_code_that_lives_long_enough_is_handed_out() -> None:
    """The freshest would leave the others to grow too old; older ones are dropped and counted."""
    shelf = Shelf()
    shelf.add("too old", NOON + LIFE - 1)
    shelf.add("oldest", NOON + LIFE)
    shelf.add("freshest", NOON + 2 * LIFE)
    assert [shelf.take(NOON), shelf.take(NOON), shelf.take(NOON)] == ["oldest", "freshest", None]
    assert shelf.dropped == 1


def test_so_many_are_made_at_once_and_no_more() -> None:
    """What is wanted and neither ready nor being made, up to a bound."""
    shelf = Shelf(20)
    assert shelf.stock.missing(NOON, 0) == MOST_IN_FLIGHT
    assert shelf.stock.missing(NOON, MOST_IN_FLIGHT) == 0
    for number in range(15):
        shelf.add(str(number), NOON + 1000)
    assert shelf.stock.missing(NOON, 2) == 3 and shelf.stock.missing(NOON, 9) == 0


def test_pauses_grow_and_then_one_call_tries() -> None:
    """Up to four to six seconds, so that WeChat's return is seen in time; the first code that is
    made ends it."""
    stock, now = Shelf(50).stock, NOON
    for pause in (*PAUSES, PAUSES[-1]):
        assert stock.failed(now, now) is (now == NOON)
        assert stock.missing(now + 0.99 * pause, 0) == 0
        now += 1.51 * pause
        assert stock.missing(now, 0) == 1 and stock.missing(now, 1) == 0
    assert stock.made(now, now + 0.3) and stock.missing(now + 0.3, 0) == MOST_IN_FLIGHT
    assert not stock.made(now, now + 0.3)


def test_calls_that_fail_together_are_one_failure() -> None:
    """And those that still succeed say nothing of the time after it."""
    stock = Shelf(50).stock
    assert [stock.failed(NOON, NOON + 3) for _ in range(9)] == [True] + [False] * 8
    assert not stock.made(NOON + 1, NOON + 3)
    assert stock.missing(NOON + 3.4, 0) == 0 and stock.missing(NOON + 3.8, 0) == 1


def test_wechats_limit_of_a_minute_is_waited_for() -> None:
    """Also when it lets single pages through meanwhile."""
    stock = Shelf().stock
    stock.failed(NOON, NOON, 70)
    assert stock.made(NOON + 1, NOON + 1.3)
    assert stock.missing(NOON + 61, 0) == 0 and stock.missing(NOON + 61.5, 0) == 2


def test_a_clock_set_back_does_not_lengthen_a_pause() -> None:
    """One call tries at once, and what it makes ends the failure."""
    stock = Shelf(50).stock
    stock.failed(NOON, NOON, 70)
    earlier = NOON - 3600
    assert stock.missing(earlier, 0) == 1
    assert stock.made(earlier + 1, earlier + 2) and stock.missing(earlier + 2, 0) == MOST_IN_FLIGHT


def test_what_only_the_operator_can_mend_is_tried_by_pages() -> None:
    """No code ahead is asked for until WeChat has made one for a page; then within a minute."""
    stock = Shelf().stock
    stock.failed(NOON, NOON, float("inf"))
    assert stock.missing(NOON + 10 * DAY_SECONDS, 0) == 0
    later = NOON + 10 * DAY_SECONDS
    assert stock.made(later, later) and stock.missing(later + 60, 0) == 2


class StockMachine(RuleBasedStateMachine):
    """Pages come, calls begin, succeed and fail in any order, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.shelf = Shelf()
        self.in_flight: deque[float] = deque()
        self.added = 0
        self.handed_out: set[str] = set()
        self.ends: dict[str, float] = {}

    @initialize(ahead=st.sampled_from(["auto", 0, 1, 5, 500]))
    def begin(self, ahead: Any) -> None:
        self.shelf = Shelf(ahead)

    @rule(pages=st.integers(1, 60))
    def take(self, pages: int) -> None:
        for _ in range(pages):
            if (name := self.shelf.take(self.now)) is not None:
                assert name not in self.handed_out
                assert self.ends[name] >= self.now + LIFE
                self.handed_out.add(name)

    @rule()
    def refill(self) -> None:
        missing = self.shelf.stock.missing(self.now, len(self.in_flight))
        self.in_flight.extend([self.now] * missing)
        assert len(self.in_flight) <= MOST_IN_FLIGHT

    @precondition(lambda self: self.in_flight)
    @rule(newest=st.booleans())
    def succeed(self, newest: bool) -> None:
        began = self.in_flight.pop() if newest else self.in_flight.popleft()
        self.shelf.stock.made(began, self.now)
        name = f"code {self.added}"
        self.ends[name] = began + LIFE + AHEAD_SECONDS
        self.shelf.add(name, self.ends[name])
        self.added += 1

    @precondition(lambda self: self.in_flight)
    @rule(pause=st.sampled_from([None, 70.0, 3e4, float("inf")]))
    def fail(self, pause: float | None) -> None:
        self.shelf.stock.failed(self.in_flight.popleft(), self.now, pause)
        assert self.shelf.stock.missing(self.now, len(self.in_flight)) == 0

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0, 61.0, 1000.0, AHEAD_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def each_code_is_ready_or_handed_out_or_dropped(self) -> None:
        ready = len(self.shelf.stock)
        assert self.added == ready + len(self.handed_out) + self.shelf.dropped
        assert ready + len(self.in_flight) <= MOST_CODES_AHEAD + MOST_IN_FLIGHT


StockMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStock = StockMachine.TestCase
"""No code is handed out twice or with too little life left, and none gets lost."""


class Bench:
    """`AccountCodes` with a WeChat and a counter that answer, fail or hang by switch."""

    def __init__(self, *, ahead: Any = "auto", reserve: int = 0) -> None:
        self.clock = StandingClock()
        self.supervisor = Supervisor()
        self.metrics = Metrics(self.clock.now)
        self.error: Exception | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.counted: dict[str, int] = {}
        self.count_fails = False
        self.asked: list[tuple[str, int]] = []
        self.leaving = False
        self.codes, self.codes_of_another_node = [
            AccountCodes(
                "shop",
                self,  # type: ignore[arg-type]
                self,  # type: ignore[arg-type]
                self.clock,
                self.supervisor,
                metrics,
                ahead=ahead,
                longest_life=1800,
                daily_code_reserve=reserve,
                leaving=lambda: self.leaving,
            )
            for metrics in (self.metrics, Metrics())
        ]

    async def create_qr_code(self, scene_str: str, expire_seconds: int) -> QrCode:
        self.asked.append((scene_str, expire_seconds))
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return QrCode(f"ticket of {scene_str}", f"url of {scene_str}")

    async def count(self, key: str, ttl_seconds: float) -> int:
        if self.count_fails:
            raise StoreUnavailable("test")
        self.counted[key] = self.counted.get(key, 0) + 1
        return self.counted[key]

    async def settled(self) -> None:
        """Let everything go on that can."""
        for _ in range(20):
            await asyncio.sleep(0)

    def metric(self, name: str) -> float:
        line = f'scanpush_codes_ahead{name}{{account="shop"}} '
        (found,) = [
            text for text in self.metrics.exposition()[0].decode().splitlines() if line in text
        ]
        return float(found.removeprefix(line))

    @property
    def figures(self) -> dict[str, float]:
        names = {"ready": "", "made": "_made_total"}
        names |= {"used": "_used_total", "unused": "_unused_total"}
        return {name: self.metric(suffix) for name, suffix in names.items()}


def on_a_bench(**options: Any) -> Callable[..., Any]:
    """A test with a bench whose stock is being kept, and ended after it."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def run(logs: UnexpectedLogs) -> None:
            bench = Bench(**options)
            bench.supervisor.spawn(bench.codes.keep_ready(), name="keep")
            await bench.settled()
            try:
                await test(bench, logs)
            finally:
                await bench.supervisor.close()

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


@on_a_bench()
async def test_ready_codes_live_longer_than_any_scene(bench: Bench, logs: UnexpectedLogs) -> None:
    """One stock serves login pages and kiosks; a page's own code lives as long as its scene."""
    assert [life for _, life in bench.asked] == [1800 + AHEAD_SECONDS] * 2
    bench.clock.seconds += AHEAD_SECONDS - 1
    code = await bench.codes.give(1800)
    assert code.scene_str == bench.asked[0][0] and code.ticket == f"ticket of {code.scene_str}"
    assert code.ends_at - bench.clock.now() >= 1800


@on_a_bench(ahead=0)
async def test_at_zero_each_page_waits_for_its_own(bench: Bench, logs: UnexpectedLogs) -> None:
    """WeChat is asked when a page comes, for the life of its scene and a minute at least."""
    assert bench.asked == []
    await bench.codes.give(180)
    await bench.codes.give(5)
    await bench.settled()
    assert [life for _, life in bench.asked] == [180, 60] and bench.figures["made"] == 0


@on_a_bench()
async def test_a_page_does_not_wait_for_wechat(bench: Bench, logs: UnexpectedLogs) -> None:
    """While WeChat hangs, ready codes are handed out; what is missing is asked for meanwhile."""
    bench.answering.clear()
    first, second = await bench.codes.give(180), await bench.codes.give(180)
    assert first.scene_str != second.scene_str
    waits = asyncio.ensure_future(bench.codes.give(180))
    await bench.settled()
    assert not waits.done() and len(bench.asked) == 2 + 9 + 1
    bench.answering.set()
    await waits
    await bench.settled()
    assert bench.figures == {"ready": 9, "made": 11, "used": 2, "unused": 0}


@on_a_bench()
async def test_an_outage_of_ten_seconds_is_bridged(bench: Bench, logs: UnexpectedLogs) -> None:
    """Twenty pages a second for a while, then WeChat is away: every page gets a code, and the
    stock is full again afterwards."""
    logs.expect("no codes of account shop are made ahead now: test")

    async def pages(seconds: int) -> None:
        for _ in range(20 * seconds):
            bench.clock.seconds += 0.05
            await bench.codes.give(180)
            await bench.settled()

    await pages(20)
    assert bench.figures["ready"] >= 280
    bench.error = WeChatUnavailable("test")
    before = len(bench.asked)
    await pages(10)
    assert len(bench.asked) - before <= MOST_IN_FLIGHT + 6
    bench.error = None
    await pages(10)
    assert bench.figures["ready"] >= 280


@on_a_bench()
async def test_an_empty_stock_fails_as_without_one(bench: Bench, logs: UnexpectedLogs) -> None:
    """The page is told what WeChat said to its own call."""
    logs.expect("no codes of account shop are made ahead now: test")
    bench.error = WeChatUnavailable("test")
    for _ in range(2):
        await bench.codes.give(180)
    with pytest.raises(WeChatUnavailable):
        await bench.codes.give(180)


@on_a_bench(ahead=5, reserve=WECHAT_DAILY_CODES - 3)
async def test_the_reserve_is_not_made_ahead(bench: Bench, logs: UnexpectedLogs) -> None:
    """A code counts when it is made. Then nothing is asked for until Beijing's next day."""
    logs.expect("codes for today are used up")
    assert len(bench.asked) == 3 and bench.figures["ready"] == 3
    (key,) = bench.counted
    tried = bench.counted[key]
    for _ in range(3):
        bench.clock.seconds += 60
        await bench.codes.give(180)
        await bench.settled()
    assert len(bench.asked) == 3 and bench.counted[key] == tried
    with pytest.raises(ApiError) as refused:
        await bench.codes.give(180)
    assert refused.value.code == "wechat_quota" and refused.value.retry_after
    bench.clock.seconds += refused.value.retry_after
    await bench.codes.give(180)
    assert len(bench.asked) >= 4 and len(bench.counted) == 2


@on_a_bench(ahead=5, reserve=WECHAT_DAILY_CODES - 8)
async def test_nodes_share_the_days_count(bench: Bench, logs: UnexpectedLogs) -> None:
    """Each keeps codes of its own, and together they leave the reserve."""
    logs.expect("codes for today are used up")
    bench.supervisor.spawn(bench.codes_of_another_node.keep_ready(), name="keep")
    await bench.settled()
    assert bench.figures["ready"] == 5 and len(bench.asked) == 8
    given = [await bench.codes.give(180) for _ in range(5)]
    given += [await bench.codes_of_another_node.give(180) for _ in range(3)]
    assert len({code.scene_str for code in given}) == 8 == len(bench.asked)


@pytest.mark.parametrize(
    ("error", "quiet", "until"),
    [
        (WeChatRefused(45011, "test"), 59, 91),
        (WeChatRefused(45009, "test", "wechat_quota"), 3600, DAY_SECONDS),
        (WeChatRefused(48001, "test"), 30 * DAY_SECONDS, None),
        (WeChatUnavailable("test"), 0.4, 0.8),
        (StoreUnavailable("test"), 0.4, 0.8),
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
async def test_each_failure_has_its_pause(
    error: Exception, quiet: float, until: float | None, logs: UnexpectedLogs
) -> None:
    """A minute, a day, without end, or a moment; logged once. A page's own code that is made ends
    each of them within a minute."""
    logs.expect("no codes of account shop are made ahead now")
    bench = Bench(ahead=2)
    bench.error = error
    bench.supervisor.spawn(bench.codes.keep_ready(), name="keep")
    await bench.settled()
    assert len(bench.asked) == 2 and len(logs.lines) == 1
    bench.error = None
    bench.clock.seconds += quiet
    bench.codes._refill()
    await bench.settled()
    assert len(bench.asked) == 2
    if until is not None:
        bench.clock.seconds += until - quiet
        bench.codes._refill()
    else:
        await bench.codes.give(180)
        bench.clock.seconds += 61
        bench.codes._refill()
    await bench.settled()
    assert bench.figures["ready"] == 2
    await bench.supervisor.close()


@on_a_bench()
async def test_a_store_that_fails_makes_no_code(bench: Bench, logs: UnexpectedLogs) -> None:
    """What could not be counted is not asked for; ready codes are handed out."""
    logs.expect("no codes of account shop are made ahead now: test")
    bench.count_fails = True
    await bench.codes.give(180)
    await bench.settled()
    assert len(bench.asked) == 2


@on_a_bench(ahead=3)
async def test_codes_that_no_page_got_are_counted(bench: Bench, logs: UnexpectedLogs) -> None:
    """When they grow too old, and when the server ends: each code made ahead is used or unused."""
    await bench.codes.give(180)
    await bench.settled()
    bench.clock.seconds += AHEAD_SECONDS + 1
    bench.codes._refill()
    await bench.settled()
    assert bench.figures == {"ready": 3, "made": 7, "used": 1, "unused": 3}
    await bench.supervisor.close()
    assert bench.figures == {"ready": 0, "made": 7, "used": 1, "unused": 6}


@on_a_bench()
async def test_a_server_that_leaves_makes_no_more(bench: Bench, logs: UnexpectedLogs) -> None:
    """What is ready is still handed out, and a page without gets its own."""
    bench.leaving = True
    for _ in range(3):
        await bench.codes.give(180)
    await bench.settled()
    assert [life for _, life in bench.asked] == [1800 + AHEAD_SECONDS] * 2 + [180]
