"""The last hour of a node by the minute, and of all nodes together."""

import asyncio
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

import pytest

from services import VERSION
from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.key_values import KeyValues
from services.scenes.history import BY_TIME, MOST_FAILURES, History, note_left
from services.scenes.meters import (
    ALONE_SECONDS,
    GONE_SECONDS,
    INDEX,
    MOST_STARTS,
    REFUSALS,
    REPORT_SECONDS,
    SERIES,
    Meters,
    Reports,
    callbacks_of,
    errors_of,
    failures_of,
    has_ended,
    hour_of,
    nodes_of,
    timeline_of,
)
from services.scenes.states import FINAL_READABLE_SECONDS, TRY_AGAIN, Scene, State
from services.scenes.store import SceneStore
from services.wechat import callback
from services.wechat.accounts import Account, Accounts, AccountWatch
from tests.clocks import START, StandingClock
from tests.services.scenes.test_history import scene

A = SceneStr("aaaaaaaa-0000-4000-8000-000000000000")
B = SceneStr("bbbbbbbb-0000-4000-8000-000000000000")


class Store:
    """Documents, and a switch."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.down = False

    async def recall(self, key: str) -> str | None:
        if self.down:
            raise StoreUnavailable("test")
        return self.kept.get(key)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        if self.down:
            raise StoreUnavailable("test")
        before = self.kept.get(key)
        self.kept[key] = value
        return before


class Silent:
    """Metrics that count nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *arguments: None


class Bench:
    """A node's meters over parts that a test moves by hand."""

    def __init__(
        self, name: str, clock: StandingClock, store: Store, *, shared: bool = True
    ) -> None:
        self.clock = clock
        self.history = History(clock)
        self.watch = AccountWatch(cast(Any, Silent()), clock, "default")
        nothing = cast(Any, None)
        account = Account("default", nothing, nothing, nothing, None, self.watch)
        self.sockets = 0
        self.meters = Meters(
            self.history,
            Accounts([account]),
            clock,
            lambda: [],
            lambda now: [0.0] * 60,
            lambda: {"sockets": self.sockets, "waiting_polls": 0, "draining": False},
            lambda: {},
        )
        self.asked: list[Collection[str]] = []
        self.of_store: dict[str, Scene] = {}
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while the store is asked for a scene."""
        self.reports = Reports(
            name, cast(KeyValues, store), clock, self.report, self.look, shared=shared
        )

    async def look(self) -> None:
        await note_left(self.history, cast(SceneStore, self))

    async def get(self, scene_str: SceneStr) -> Scene | None:
        self.meanwhile()
        return self.of_store.get(scene_str)

    def report(self, wanted: Collection[str]) -> dict[str, Any]:
        self.asked.append(wanted)
        return self.meters.report(wanted)

    def called_back(self, outcome: str, times: int = 1) -> None:
        for _ in range(times):
            self.watch.callback(outcome, encrypted=True, as_json=False)

    def failed(self, scene_str: SceneStr = A, error: str = "banned") -> None:
        self.history.note(scene_str, "scanned")
        ended = scene(scene_str, State.FAILED)._replace(error=error)
        self.history.moved(ended, error)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def store() -> Store:
    return Store()


def test_what_came_since_the_last_sample_goes_into_the_minute(
    clock: StandingClock, store: Store
) -> None:
    """Callbacks by what became of them, and the most sockets that were open at once."""
    node = Bench("one", clock, store)
    node.called_back("logged_in", 3)
    node.sockets = 7
    node.meters.sample()
    node.sockets = 2
    clock.seconds += 60
    node.called_back("signature", 2)
    series = node.meters.report()["series"]
    assert [list(series[name][-2:]) for name in ("callbacks", "refused", "sockets")] == [
        [3, 2],
        [0, 2],
        [7, 2],
    ]
    assert set(series) == set(SERIES)


def test_refused_callbacks_come_first(clock: StandingClock, store: Store) -> None:
    """A wrong Token first of all, then what failed here, then the rest by number."""
    node = Bench("one", clock, store)
    for outcome, times in (("logged_in", 9), ("failed", 1), ("ignored", 20), ("signature", 1)):
        node.called_back(outcome, times)
    outcomes = [(entry["outcome"], entry["refused"]) for entry in callbacks_of([node.report(())])]
    assert outcomes == [
        ("signature", True),
        ("failed", True),
        ("ignored", False),
        ("logged_in", False),
    ]


def test_every_refusal_of_a_callback_counts_as_one() -> None:
    """The words with which a callback is refused are those that are known here."""
    source = Path(callback.__file__).read_text()
    refused = re.findall(r"(?:Forbidden|Malformed)\((\".+)\)", source)
    assert {*re.findall(r'"(\w+)"', " ".join(refused))} == {*REFUSALS}


def test_errcodes_say_what_they_mean(clock: StandingClock, store: Store) -> None:
    """The newest first, of all nodes together, each with whether only the operator can mend it."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    one.watch.errcode(45009)
    clock.seconds += 5
    two.watch.errcode(45009)
    clock.seconds += 5
    one.watch.errcode(45011)
    found = errors_of([one.report(()), two.report(())])
    assert [(entry["errcode"], entry["count"], entry["last_at"]) for entry in found] == [
        (45011, 1, START + 10),
        (45009, 2, START + 5),
    ]
    assert [entry["alarming"] for entry in found] == [False, True]
    assert found[1]["meaning"] == "daily quota used up"


def test_minutes_of_reports_of_different_age_are_laid_over_each_other(
    clock: StandingClock, store: Store
) -> None:
    """Counts and sockets are added up; of the stores' slowness a minute has the largest."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    one.called_back("logged_in", 4)
    one.sockets = 9
    old = one.report(())
    clock.seconds += 120
    two.called_back("logged_in", 1)
    two.sockets = one.sockets = 3
    reports = [old, one.report(()), two.report(())]
    reports[1]["series"]["store_ms"], reports[2]["series"]["store_ms"] = [2] * 60, [5] * 60
    hour = hour_of(reports[1:], clock.now())
    assert hour["series"]["callbacks"][-3:] == [4, 0, 1]
    assert hour["series"]["sockets"][-3:] == [9, 0, 6]
    assert hour["series"]["store_ms"] == [5] * 60
    hour = hour_of([old], clock.now())
    assert hour["series"]["callbacks"][-3:] == [4, 0, 0]
    assert hour["from"] == 60 * (clock.now() // 60 - 59)
    assert sum(hour_of([old], clock.now() + 4000)["series"]["callbacks"]) == 0


@pytest.mark.gen_test
async def test_each_node_lists_itself_first_and_none_that_is_silent(
    clock: StandingClock, store: Store
) -> None:
    """With their figures, as of their last report; a node that reports again is back."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    one.sockets, two.sockets = 3, 5
    await one.reports.write()
    await two.reports.write()
    for node, expected in ((one, [("one", 3), ("two", 5)]), (two, [("two", 5), ("one", 3)])):
        seen = nodes_of(await node.reports.all(), clock.now())
        assert [(line["node_id"], line["sockets"]) for line in seen] == expected
        assert {line["version"] for line in seen} == {VERSION}
    clock.seconds += GONE_SECONDS + 1
    (left,) = nodes_of(await two.reports.all(), clock.now())
    assert left["node_id"] == "two"
    await one.reports.write()
    assert len(nodes_of(await two.reports.all(), clock.now())) == 2


@pytest.mark.gen_test
async def test_a_report_that_another_node_has_overwritten_comes_back(
    clock: StandingClock, store: Store
) -> None:
    """Two wrote the index at once: it is whole after the next report."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    await one.reports.write()
    del store.kept[INDEX]
    await two.reports.write()
    assert len(await two.reports.all()) == 1
    await one.reports.write()
    assert len(await two.reports.all()) == 2


@pytest.mark.gen_test
async def test_the_hour_outlives_a_node_while_another_runs(
    clock: StandingClock, store: Store
) -> None:
    """Its report stands for an hour; then it is forgotten."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    one.called_back("logged_in", 4)
    await one.reports.write()
    clock.seconds += GONE_SECONDS + 1
    await two.reports.write()
    new = Bench("three", clock, store)
    reports = await new.reports.all()
    assert [report["node_id"] for report in reports] == ["three", "one", "two"]
    assert sum(hour_of(reports, clock.now())["series"]["callbacks"]) == 4
    clock.seconds += 3601
    assert [report["node_id"] for report in await new.reports.all()] == ["three"]


@pytest.mark.gen_test
async def test_a_failed_login_has_what_each_node_saw_of_it(
    clock: StandingClock, store: Store
) -> None:
    """The page was shown by one node and the callback came to another."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    one.history.note(A, "shown", "socket")
    one.history.note(B, "shown", "socket")
    clock.seconds += 2
    two.failed()
    await two.reports.write()
    await one.reports.write()
    clock.seconds += 100
    for node in (one, two):
        (failure,) = failures_of(await node.reports.all(), 20)
        assert (failure["scene_str"], failure["error"], failure["node"]) == (A, "banned", "two")
        assert [(event["event"], event["node"]) for event in failure["timeline"]] == [
            ("shown", "one"),
            ("scanned", "two"),
            ("failed", "two"),
        ]


@pytest.mark.gen_test
async def test_the_others_tell_of_a_scene_that_is_asked_for(
    clock: StandingClock, store: Store
) -> None:
    """From their next reports on, for a minute."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    two.history.note(B, "shown", "socket")
    await two.reports.write()
    assert timeline_of(await one.reports.ask(B[:8]), B) == []
    await two.reports.write()
    (event,) = timeline_of(await one.reports.ask(B[:8]), B)
    assert (event["event"], event["node"]) == ("shown", "two")
    clock.seconds += 61
    await two.reports.write()
    assert two.asked[-1] == set()


@pytest.mark.gen_test
async def test_only_the_newest_scenes_are_asked_for(clock: StandingClock, store: Store) -> None:
    """However many an operator looks for."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    for number in range(50):
        await one.reports.ask(f"{number:08x}")
    await two.reports.write()
    assert two.asked[-1] == {f"{number:08x}" for number in range(30, 50)}


def test_a_wanted_scene_is_looked_for_until_it_is_settled(
    clock: StandingClock, store: Store
) -> None:
    """What comes within a minute is told, and what was told stays told."""
    node = Bench("one", clock, store)
    node.failed()
    assert [event.event for event in node.meters.report()["stories"][A]] == ["scanned", "failed"]
    clock.seconds += 30
    node.history.note(A, "delivered")
    assert [event.event for event in node.meters.report()["stories"][A]][-1] == "delivered"
    clock.seconds += 61
    node.history.note(A, "callback")
    assert [event.event for event in node.meters.report()["stories"][A]][-1] == "delivered"


@pytest.mark.gen_test
async def test_a_node_knows_itself_while_the_store_is_down(
    clock: StandingClock, store: Store
) -> None:
    """It goes on to count by the minute, and writes again later."""
    node = Bench("one", clock, store)
    store.down = True
    node.called_back("logged_in")
    with pytest.raises(StoreUnavailable):
        await node.reports.write()
    clock.seconds += 60
    (own,) = await node.reports.all()
    assert own["series"]["callbacks"][-2:] == [1, 0]


@pytest.mark.gen_test
async def test_reports_are_written_again_when_the_store_was_down(
    clock: StandingClock, store: Store
) -> None:
    """A failure does not end the task."""
    node = Bench("one", clock, store)
    store.down = True
    writing = asyncio.ensure_future(node.reports.write_forever())
    while not node.asked and not writing.done():
        await asyncio.sleep(0)
    assert not writing.done()
    writing.cancel()
    await asyncio.wait([writing])


@pytest.mark.gen_test
async def test_a_node_alone_writes_for_its_next_start(clock: StandingClock, store: Store) -> None:
    """Once a minute, and when it ends; the next one has the whole hour, and the logins that failed,
    but is the only node. However often it is started, the newest starts are told of."""
    node = Bench("one", clock, store, shared=False)
    node.called_back("logged_in")
    await node.reports.write()
    assert await node.reports.ask(A[:8]) == [] and not store.kept
    clock.seconds += ALONE_SECONDS
    await node.reports.write()
    written = dict(store.kept)
    node.failed()
    clock.seconds += REPORT_SECONDS
    await node.reports.write()
    assert store.kept == written
    writing = asyncio.ensure_future(node.reports.write_forever())
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    after = Bench("two", clock, store, shared=False)
    reports = await after.reports.all()
    assert [one["node_id"] for one in nodes_of(reports, clock.now())] == ["two"]
    assert sum(hour_of(reports, clock.now())["series"]["callbacks"]) == 1
    assert [event["event"] for event in failures_of(reports, 20)[0]["timeline"]] == [
        "scanned",
        "failed",
    ]
    assert timeline_of(await after.reports.ask(A[:8]), A)
    for number in range(MOST_STARTS + 1):
        clock.seconds += ALONE_SECONDS
        again = Bench(str(number), clock, store, shared=False)
        clock.seconds += ALONE_SECONDS
        await again.reports.write()
    assert len(await after.reports.all()) == 1 + MOST_STARTS


@pytest.mark.gen_test
async def test_a_node_that_ends_is_not_missed(clock: StandingClock, store: Store) -> None:
    """Its last report says so: it is no node any more, and its hour stays."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    writing = asyncio.ensure_future(one.reports.write_forever())
    while INDEX not in store.kept:
        await asyncio.sleep(0)
    one.called_back("logged_in")
    writing.cancel()
    await asyncio.wait([writing])
    reports = await two.reports.all()
    assert [report["node_id"] for report in nodes_of(reports, clock.now())] == ["two"]
    assert [has_ended(report) for report in reports] == [False, True]
    assert sum(hour_of(reports, clock.now())["series"]["callbacks"]) == 1


@pytest.mark.gen_test
async def test_a_node_whose_reports_fail_is_missed(clock: StandingClock, store: Store) -> None:
    """It has not ended."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    await one.reports.write()
    one.history.moved(scene(A, State.SCANNED))
    clock.seconds += 181

    def fail() -> None:
        raise ZeroDivisionError

    one.meanwhile = fail
    with pytest.raises(ZeroDivisionError):
        await one.reports.write_forever()
    assert [has_ended(report) for report in await two.reports.all()] == [False, False]


LEFT = [
    (State.SCANNED, State.EXPIRED, "", 0),
    (State.CONFIRMING, State.DENIED, "", 0),
    (State.REGISTERING, State.EXPIRED, "", 0),
    (State.SCANNED, State.FAILED, TRY_AGAIN, 1),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("left_in", "state", "error", "counted"), LEFT)
async def test_a_login_that_time_ended_has_failed(
    clock: StandingClock, store: Store, left_in: State, state: State, error: str, counted: int
) -> None:
    """Where a person had scanned: it is listed once with what happened to it, whichever nodes saw
    it. What the server itself owed is counted as a failure, too."""
    one, two = Bench("one", clock, store), Bench("two", clock, store)
    for node in (one, two):
        node.history.moved(scene(A, left_in))
        node.history.moved(scene(B))  # its code was only shown
        node.of_store[A] = ended(scene(A, state)._replace(error=error))
    clock.seconds += 181
    store.down = True
    with pytest.raises(StoreUnavailable):
        await one.reports.write()
    store.down = False
    await two.reports.write()
    await one.reports.write()
    reports = await one.reports.all()
    (failure,) = failures_of(reports, 20)
    assert (failure["scene_str"], failure["at"]) == (A, START + 180)
    assert (failure["state"], failure["error"], failure["left_in"]) == (state, error, left_in)
    end = [(one["event"], one["note"]) for one in failure["timeline"] if one["at"] > START]
    assert end == [(state, BY_TIME)]
    series = one.meters.report()["series"]
    assert (sum(series["failed"]), sum(series["denied"])) == (counted, 0)
    await one.reports.write()
    assert len(failures_of(await one.reports.all(), 20)) == 1


@pytest.mark.gen_test
async def test_a_login_that_another_node_went_on_with_has_not_failed(
    clock: StandingClock, store: Store
) -> None:
    """Nor has one that goes on by the store's clock, or that the store forgot; few are looked at
    however many are left."""
    node = Bench("one", clock, store)
    for number in range(3 * MOST_FAILURES):
        node.history.moved(scene(f"{number:036}", State.SCANNED))
    node.history.moved(scene(A, State.SCANNED, START + 181))
    node.history.moved(scene(B, State.SCANNED, START + 181))
    node.of_store[A] = scene(A, State.AUTHORIZED, START + 300)
    node.of_store[B] = scene(B, State.SCANNED, START + 181)
    clock.seconds += 182
    left = node.history.left()
    assert len(left) == MOST_FAILURES and {A, B} <= {*left}
    await node.reports.write()
    assert node.history.failures() == [] and node.history.left() == [B]
    node.of_store[B] = ended(scene(B, State.EXPIRED, START + 181))
    await node.reports.write()
    assert [failure.scene_str for failure in node.history.failures()] == [B]


@pytest.mark.gen_test
async def test_a_node_goes_on_where_more_logins_end_than_are_remembered(
    clock: StandingClock, store: Store
) -> None:
    """While the store is asked for one that time ended, newer ones may take its place."""
    node = Bench("one", clock, store)
    node.history.moved(scene(A, State.SCANNED))
    node.of_store[A] = ended(scene(A, State.EXPIRED))
    for number in range(MOST_FAILURES):
        node.history.moved(scene(f"{number:036}", State.SCANNED, START + 190))
    clock.seconds += 181

    def operator_looks() -> None:
        clock.seconds += 10
        node.report(())

    node.meanwhile = operator_looks
    await node.reports.write()
    assert node.history.failures() == []


def ended(scene: Scene) -> Scene:
    """As `settle` leaves it."""
    at = scene.ends_at
    return scene._replace(changed_at=at, ends_at=at + FINAL_READABLE_SECONDS)
