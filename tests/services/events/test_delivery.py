"""How events are told: signed, in order, again and again, and by one node at a time."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from services.clock import SystemClock
from services.events.delivery import (
    DAY,
    GONE_SECONDS,
    LEASE_SECONDS,
    MOST_FAILURES,
    MOST_LANES,
    PAUSES,
    PROBE_SECONDS,
    RENEW_SECONDS,
    Answer,
    Collected,
    EventDelivery,
    ProcessLoad,
    Receiver,
)
from services.events.entries import Entry, body, entry
from services.events.store import Backlog, Dead, Later, Pending
from services.ids import UserId
from services.metrics import Metrics
from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs
from tests.event_server import SECRET
from tests.stack import ON_LOOP

pytestmark = ON_LOOP


class Clock:
    """Time stands until it is turned."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Store:
    """Pending events in a list, and who has the lease."""

    def __init__(self) -> None:
        self.pending: list[tuple[Pending, float]] = []
        self.dead: list[Dead] = []
        self.settled = 0
        self.owner = ""
        self.asked = 0
        self.untils: list[float] = []

    def add(self, told: Entry) -> None:
        self.pending.append((Pending(told.number, told, told.lane, 0), told.at))

    async def lease(self, node: str, now: float, seconds: float) -> bool:
        self.asked += 1
        self.owner = self.owner or node
        return self.owner == node

    async def release(self, node: str) -> None:
        self.owner = "" if self.owner == node else self.owner

    async def due(self, now: float, until: float, limit: int) -> Sequence[Pending]:
        self.untils.append(until)
        waiting: set[str] = set()
        found = []
        for event, due in self.pending:
            if due > now:
                waiting.add(event.lane)
            elif event.lane not in waiting:
                found.append(event)
        return found

    async def settle(
        self, told: Sequence[Pending], later: Sequence[Later], dead: Sequence[Dead]
    ) -> None:
        self.settled += 1
        gone = {event.number for event in told} | {one.number for one in dead}
        put_off = {one.event.number: one.due for one in later}
        self.dead += dead
        self.pending = [
            (event._replace(tries=event.tries + (event.number in put_off)), put_off.get(n, due))
            for event, due in self.pending
            if (n := event.number) not in gone
        ]

    async def backlog(self) -> Backlog:
        return Backlog(len(self.pending), len(self.dead), None)

    async def expire(self, before: float, limit: int) -> int:
        return 0


class Answers:
    """The operator's server: `status` for all, but for users with one of their own."""

    def __init__(self) -> None:
        self.status = 200
        self.wait = 0.0
        self.of_users: dict[str, int] = {}
        self.told: list[str] = []
        self.tried: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self.held: asyncio.Event | None = None

    async def tell(self, told: Entry) -> Answer:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.held is not None:
            await self.held.wait()
        self.in_flight -= 1
        self.tried.append(told.detail)
        status = self.of_users.get(str(told.user), self.status)
        if status == 200:
            self.told.append(told.detail)
        return Answer(status, self.wait)


class Bench:
    """A delivery over those, round by round."""

    def __init__(self, node: str = "a", collect: Any = None) -> None:
        self.clock, self.store, self.answers = Clock(), Store(), Answers()
        self.supervisor, self.metrics = Supervisor(), Metrics()
        self._added = 0
        self.busy = False
        self.delivery = self.another(node, collect)

    def another(self, node: str, collect: Any = None) -> EventDelivery:
        store: Any = self.store
        answers: Any = self.answers
        return EventDelivery(
            store,
            answers,
            self.supervisor,
            self.clock,
            self.metrics,
            node,
            keep_days=90,
            is_busy=lambda: self.busy,
            collect=collect,
        )

    def add(self, user: str, n: int = 0) -> None:
        self._added += 1
        at = self.clock.at - 1 + self._added / 1e5  # each at a time of its own
        detail = f"{user} {n}"
        self.store.add(entry("login", at, detail, user=UserId(user), detail=detail))

    async def rounds(self, seconds: float = 0.0) -> None:
        """Let time pass, then everything that it brings happen."""
        self.clock.at += seconds
        before = -1
        while before != self.store.settled:
            before = self.store.settled
            await self.delivery.round()
            while self.supervisor.running:
                await asyncio.sleep(0)
            await self.delivery.round()

    def counted(self) -> dict[str, float]:
        text = self.metrics.exposition()[0].decode()
        name = 'scanpush_events_total{outcome="'
        return {
            line.removeprefix(name).partition('"')[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(name)
        }


class Transport(httpx.AsyncBaseTransport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        self.fails = False
        self.answer = httpx.Response(204)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.fails:
            raise httpx.ConnectError("refused")
        return self.answer


async def test_a_person_with_much_to_tell_takes_turns_with_others() -> None:
    """Although the store gives theirs first: others come before their next turn."""
    bench = Bench()
    bench.busy = True
    for user in ("crowd", "u1", "u2"):
        bench.add(user)
    store = bench.store
    for n in range(3):
        await bench.delivery.round()
        bench.add("crowd", n + 1)
        store.pending.insert(0, store.pending.pop())
        while bench.supervisor.running:
            await asyncio.sleep(0)
        await bench.delivery.round()
        while bench.supervisor.running:
            await asyncio.sleep(0)
    assert bench.answers.told[:3] == ["crowd 0", "u1 0", "u2 0"]


async def test_a_receivers_library_verifies_what_is_sent() -> None:
    """standardwebhooks, written elsewhere: headers, time and body; anything changed is refused."""
    transport = Transport()
    receiver = Receiver(transport, SystemClock(), "http://127.0.0.1/events", SECRET)
    told = entry("login", 1_700_000_000.0, "scene", user=UserId("u1"), scene="scene")
    assert await receiver.tell(told) == Answer(204)
    (request,) = transport.sent
    headers = dict(request.headers)
    assert headers["webhook-id"] == told.id and headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(body(told), headers)["data"]["user"] == "u1"
    for name, value in (("webhook-id", "evt_other"), ("webhook-timestamp", "1700000000")):
        with pytest.raises(Exception, match="signature|old"):
            Webhook(SECRET).verify(body(told), {**headers, name: value})
    transport.fails = True
    assert await receiver.tell(told) == Answer(0)


async def test_a_secret_is_changed_without_an_event_that_cannot_be_verified() -> None:
    """With two of them, a receiver that knows either verifies by it; with another one it does
    not."""
    transport, next_secret = Transport(), "whsec_" + "bmV4dC1zZWNyZXQtb2YtdGhlLXJlY2VpdmVy"
    secrets = f"{next_secret} {SECRET}"
    receiver = Receiver(transport, SystemClock(), "http://127.0.0.1/events", secrets)
    told = entry("login", 1_700_000_000.0, "scene", user=UserId("u1"), scene="scene")
    await receiver.tell(told)
    headers = dict(transport.sent[0].headers)
    for secret in (SECRET, next_secret):
        assert Webhook(secret).verify(body(told), headers)["data"]["user"] == "u1"
    with pytest.raises(Exception, match="signature"):
        Webhook("whsec_" + "YW5vdGhlci1zZWNyZXQtb2YtYW5vdGhlcg==").verify(body(told), headers)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120.0),
        (503, "999999999", DAY),
        (503, "Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        (503, "Tue, 14 Nov 2023 22:15:20 -0000", 120.0),
        (503, "Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        (503, "Sat, 14 Nov 2099 22:00:00 GMT", DAY),
        (503, "soon", 0.0),
        (503, "-1", 0.0),
        (500, "120", 0.0),
    ],
)
async def test_retry_after_is_read_as_http_has_it(status: int, header: str, seconds: float) -> None:
    """Seconds or a date, a day at most; of 429 and 503."""
    transport, clock = Transport(), Clock()
    transport.answer = httpx.Response(status, headers={"Retry-After": header})
    receiver = Receiver(transport, clock, "http://127.0.0.1/events", SECRET)
    assert await receiver.tell(entry("login", clock.at, "scene")) == Answer(status, seconds)


async def test_the_pauses_are_those_of_the_contract() -> None:
    """After 1, 5 and 30 s, then ever longer up to an hour, for about a day."""
    assert PAUSES[:3] == (1.0, 5.0, 30.0)
    assert list(PAUSES) == sorted(PAUSES) and max(PAUSES) == 3600
    assert DAY <= sum(PAUSES) < DAY + 3600


async def test_a_try_in_vain_is_repeated_after_its_pause(logs: UnexpectedLogs) -> None:
    """The person's later events wait behind it, other people's do not; in the end it is a dead
    letter, and the later ones are told."""
    logs.expect("does not take an event|dead letter")
    bench = Bench()
    bench.answers.of_users["u1"] = 500
    bench.add("u1", 1)
    bench.add("u1", 2)
    bench.add("u2")
    await bench.rounds()
    assert bench.answers.told == ["u2 0"] and bench.answers.tried.count("u1 1") == 1
    for tries, pause in enumerate(PAUSES, 1):
        # A pause is made up to a tenth longer.
        await bench.rounds(pause * 0.99)
        assert bench.answers.tried.count("u1 1") == tries
        await bench.rounds(pause * 0.12)
        assert bench.answers.tried.count("u1 1") == tries + 1
        bench.add("u2", tries)  # one that is taken: the receiver does not count as down
        await bench.rounds()
    assert [(one.entry.detail, one.error) for one in bench.store.dead] == [("u1 1", "HTTP 500")]
    assert "u1 2" in bench.answers.tried
    assert bench.counted()["dead"] == 1 and bench.counted()["failed"] >= len(PAUSES)


async def test_a_person_is_told_of_in_order_and_many_people_at_once() -> None:
    """At most so many requests are in flight, one a person."""
    bench = Bench()
    bench.answers.held = asyncio.Event()
    for n in range(3):
        for user in range(2 * MOST_LANES):
            bench.add(f"u{user}", n)
    await bench.delivery.round()
    await asyncio.sleep(0)
    assert bench.answers.in_flight == MOST_LANES
    bench.answers.held.set()
    await bench.rounds()
    assert bench.answers.most_in_flight <= MOST_LANES and bench.store.pending == []
    for user in range(2 * MOST_LANES):
        of_user = [one for one in bench.answers.told if one.startswith(f"u{user} ")]
        assert of_user == [f"u{user} {n}" for n in range(3)]


async def test_logins_go_first() -> None:
    """While they keep the process busy, one person's events are told at a time."""
    bench = Bench()
    bench.busy = True
    for user in range(5):
        bench.add(f"u{user}")
    await bench.rounds()
    assert bench.answers.most_in_flight == 1 and len(bench.answers.told) == 5
    assert not ProcessLoad().is_high()


async def test_a_receiver_that_is_down_gets_one_event_at_a_time(
    logs: UnexpectedLogs, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a second; when it takes one, the log says so, and it gets all that wait, which have lost
    nothing."""
    logs.expect("does not take an event")
    caplog.set_level(logging.INFO, "scanpush.events")
    bench = Bench()
    bench.answers.status = 0
    for user in range(100):
        bench.add(f"u{user}")
    await bench.rounds()
    tried = len(bench.answers.tried)
    assert MOST_FAILURES <= tried <= MOST_LANES + 1
    for n in range(1, 6):
        await bench.rounds(PROBE_SECONDS)
        assert len(bench.answers.tried) == tried + n
    bench.answers.status = 200
    await bench.rounds(PROBE_SECONDS)
    await bench.rounds(60)
    assert sorted(bench.answers.told) == sorted(f"u{user} 0" for user in range(100))
    assert caplog.messages.count("events.url takes events again") == 1


@pytest.mark.parametrize(
    ("status", "wait", "seconds"),
    [
        (429, 0.0, PROBE_SECONDS),
        (429, 600.0, 600.0),
        (503, 600.0, 600.0),
        (410, 0.0, GONE_SECONDS),
    ],
)
async def test_a_receiver_says_that_it_wants_less(
    logs: UnexpectedLogs, status: int, wait: float, seconds: float
) -> None:
    """429: one event at a time; 410: none for an hour; with Retry-After, none until then. What
    waits is told afterwards."""
    logs.expect("does not take an event|410")
    bench = Bench()
    bench.answers.status, bench.answers.wait = status, wait
    bench.add("u1")
    await bench.rounds()
    bench.answers.status, bench.answers.wait = 200, 0.0
    bench.add("u2")
    await bench.rounds(seconds * 0.9)
    assert bench.answers.told == []
    await bench.rounds(seconds * 0.2)
    await bench.rounds(2)
    assert sorted(bench.answers.told) == ["u1 0", "u2 0"]


async def test_one_node_tells() -> None:
    """Another one takes over when the lease is free; each asks for it every few seconds."""
    bench = Bench()
    other = bench.another("b")
    bench.add("u1")
    await bench.delivery.round()
    await other.round()
    while bench.supervisor.running:
        await asyncio.sleep(0)
    assert bench.answers.told == ["u1 0"]
    asked = bench.store.asked
    bench.clock.at += RENEW_SECONDS / 2
    await bench.delivery.round()
    assert bench.store.asked == asked
    bench.store.owner = ""
    bench.clock.at += LEASE_SECONDS
    bench.add("u2")
    await other.round()
    await bench.delivery.round()
    while bench.supervisor.running:
        await asyncio.sleep(0)
    assert bench.store.owner == "b" and bench.answers.told.count("u2 0") == 1


async def test_what_other_stores_hold_is_brought_over_first() -> None:
    """Nothing is told that happened after the last time at which all was known."""
    known: list[float] = []

    async def collect() -> Collected:
        known.append(bench.clock.at - 0.5)
        return Collected(False, known[-1])

    bench = Bench(collect=collect)
    await bench.rounds()
    await bench.rounds(1)
    assert len(known) == 2 and bench.store.untils[-1] == known[-1]


async def test_the_end_of_a_node_frees_its_lease() -> None:
    """And what it has told is noted, so that the next node need not tell it again."""
    bench = Bench()
    bench.add("u1")
    telling = bench.supervisor.spawn(bench.delivery.tell_forever(), name="tell")
    while not bench.answers.told:
        await asyncio.sleep(0)
    telling.cancel()
    await asyncio.wait([telling])
    assert bench.store.owner == "" and bench.store.pending == []
