"""Tells the operator's server of events, as Standard Webhooks (standardwebhooks.com).

Each event is a POST with the headers ``webhook-id``, ``webhook-timestamp`` and
``webhook-signature``: ``v1,`` and base64 of HMAC-SHA256 over "id.timestamp.body", under the key
that stands in ``events.secret`` behind ``whsec_``. While the secret is being changed there are two,
and a signature by each (Standard Webhooks, "Signature scheme").

Any answer 2xx takes the event. Any other is a try in vain, redirects included: `PAUSES` says when
the next one is, and after about a day the event is a dead letter. 410 says that the receiver wants
no more: nothing is sent for `GONE_SECONDS` then; nor, after 429 or 503, for what ``Retry-After``
says, at most a day. After `MOST_FAILURES` in a row, or 429, 502 or 504, events are tried one at a
time, until one is taken (Standard Webhooks, "Deliverability and reliability").

Of all nodes one tells, that which has the lease, and it also forgets what is old. A lane's events
are told one after the other, many lanes at once, but one at a time while logins keep the process
busy.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from services.clock import Clock
from services.errors import ExchangeFailed, StoreUnavailable
from services.events.entries import Entry, body
from services.events.store import Dead, EventStore, Later, Pending
from services.http_client import post
from services.logs import PacedLog
from services.metrics import Metrics
from services.settings.fields import EVENTS_SECRET_PREFIX
from services.tasks import Supervisor

log = logging.getLogger("scanpush.events")

TRY_SECONDS = 10.0
"""How long the operator's server may take for one event."""

MAX_ANSWER_BYTES = 16 * 1024

DAY = 86_400.0


def _pauses() -> tuple[float, ...]:
    pauses = [1.0, 5.0, 30.0]
    while sum(pauses) < DAY:
        pauses.append(min(2 * pauses[-1], 3600.0))
    return tuple(pauses)


PAUSES = _pauses()
"""Seconds before the further tries, each made up to a tenth longer: a day together."""

MOST_FAILURES = 20
"""So many tries in vain, one after the other, and the receiver counts as down."""

PROBE_SECONDS = 1.0
"""Between two tries while it does."""

GONE_SECONDS = 3600.0
"""After a 410."""

MOST_LANES = 32
"""Lanes told at once: so many requests are in flight at most."""

READ_LANES = 128

MOST_TURNS = 10_000
"""So many lanes that had their turn are remembered: of more that wait, some have two."""

ROUND_SECONDS = 0.25
"""Between two looks at the store while there is nothing to tell."""

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0

COLLECT_SECONDS, IDLE_SECONDS = 0.25, 1.0
"""Between two looks at what other stores hold of entries: after some were found, and else."""

COUNT_SECONDS = 5.0
"""Between two counts of what is not told."""

DEAD_DAYS = 30
"""How long dead letters are kept where there is no audit."""

EXPIRE_SECONDS = 60.0
SLICE = 500
"""Entries forgotten at once, so that no login waits for it long."""


class Answer(NamedTuple):
    """What the operator's server says to an event, and how many seconds it wants to be left alone;
    0: it does not say."""

    status: int
    wait: float = 0.0


def seconds_of(retry_after: str, now: float) -> float:
    """The seconds that ``Retry-After`` stands for (RFC 9110, section 10.2.3), at most a day; 0 for
    one that is none."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(float(retry_after), DAY)
    if not retry_after:
        return 0.0
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    # HTTP's dates are in GMT, also where one does not say so.
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(0.0, at.timestamp() - now), DAY)


def signature(key: bytes, event_id: str, timestamp: str, content: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = b".".join((event_id.encode(), timestamp.encode(), content))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class Receiver:
    """The operator's server.

    Args:
        client: shared; redirects are not followed, so the body goes nowhere else.
        secret: ``events.secret``.
    """

    def __init__(
        self, client: httpx.AsyncBaseTransport, clock: Clock, url: str, secret: str
    ) -> None:
        self._client = client
        self._clock = clock
        self._url = url
        self._keys = [
            base64.b64decode(one.removeprefix(EVENTS_SECRET_PREFIX)) for one in secret.split()
        ]

    async def tell(self, entry: Entry) -> Answer:
        """What it answers; status 0 where it does not in time."""
        content = body(entry)
        # Of this try, for the receiver refuses an old timestamp.
        timestamp = str(int(self._clock.now()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": entry.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(
                signature(key, entry.id, timestamp, content) for key in self._keys
            ),
        }
        try:
            response = await post(
                self._client,
                self._url,
                content=content,
                headers=headers,
                seconds=TRY_SECONDS,
                longest=MAX_ANSWER_BYTES,
            )
        except ExchangeFailed:
            return Answer(0)
        return Answer(response.status, seconds_of(response.retry_after, self._clock.now()))


BUSY_SHARE = 0.8
BUSY_SECONDS = 0.25


class ProcessLoad:
    """Whether this process uses most of a CPU."""

    def __init__(self) -> None:
        self._at, self._cpu = time.monotonic(), time.process_time()
        self._busy = False

    def is_high(self) -> bool:
        """As of the last quarter of a second or more."""
        at, cpu = time.monotonic(), time.process_time()
        if at - self._at >= BUSY_SECONDS:
            self._busy = cpu - self._cpu > BUSY_SHARE * (at - self._at)
            self._at, self._cpu = at, cpu
        return self._busy


class Collected(NamedTuple):
    """What was brought over from another store: whether there was anything, and up to when nothing
    is missing."""

    some: bool
    complete_at: float


class _Told(NamedTuple):
    """What came of one lane."""

    lane: str
    told: Sequence[Pending]
    later: Sequence[Later] = ()
    dead: Sequence[Dead] = ()


class EventDelivery:
    """Tells and forgets, for a background task on every node.

    Args:
        receiver: None: nothing is told.
        collect: brings what other stores hold of entries into `store`; None where entries are
            written there at once.
        keep_days: after how many days entries are forgotten.
        is_busy: whether logins need the CPU; one lane at a time is told then, for telling an event
            costs more than half of what a login costs (measured).
        pauses: see `PAUSES`; a test makes them short.
    """

    def __init__(
        self,
        store: EventStore,
        receiver: Receiver | None,
        supervisor: Supervisor,
        clock: Clock,
        metrics: Metrics,
        node: str,
        *,
        keep_days: int,
        is_busy: Callable[[], bool],
        collect: Callable[[], Awaitable[Collected]] | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._store = store
        self._receiver = receiver
        self._supervisor = supervisor
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._keep_seconds = keep_days * DAY
        self._is_busy = is_busy
        self._collect = collect
        self._pauses = pauses
        self._busy: set[str] = set()
        """Lanes that are being told, or whose outcome is not noted yet."""
        self._had_turn: set[str] = set()
        """Lanes that were told while others waited, and come after those."""
        self._outcomes: list[_Told] = []
        self._changed = asyncio.Event()
        self._failures = 0
        self._quiet_until = float("-inf")
        self._ask_at = self._owned_until = float("-inf")
        self._collect_at = float("-inf")
        self._complete_at = float("inf") if collect is None else float("-inf")
        self._count_at = float("-inf")
        self._expire_at = float("-inf")
        self._paced_log = PacedLog(log)

    async def tell_forever(self) -> None:
        """One round after the other, until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    busy = await self.round()
                except StoreUnavailable as error:
                    self._paced_log.log(logging.WARNING, "events wait for the store: %s", error)
                    busy = False
                if not busy:
                    self._changed.clear()
                    # A third of what a timeout costs, some times a second on an idle server.
                    waking = loop.call_later(self._pause(), self._changed.set)
                    try:
                        await self._changed.wait()
                    finally:
                        waking.cancel()
        finally:
            # What is not noted is told again, and another node need not wait for the lease's end.
            # What is not brought over stays where it is: the next node brings it, but a migration
            # after the last node's end would miss it.
            with contextlib.suppress(StoreUnavailable):
                await self._note()
                await self._store.release(self._node)
                if self._collect is not None:
                    await self._collect()

    async def round(self) -> bool:
        """Note what came of events, and tell more. Whether there was anything.

        Raises:
            StoreUnavailable: what was told is noted in the next round.
        """
        noted = await self._note()
        if not await self._owns():
            return noted
        await self._bring_over()
        if self._receiver is not None:
            await self._tell(self._receiver)
        await self._count()
        await self._forget()
        return noted

    def _pause(self) -> float:
        """How long there may be nothing to do."""
        now = self._clock.monotonic()
        until = self._ask_at
        if now < self._owned_until:
            until = min(until, self._expire_at)
            if self._collect is not None:
                until = min(until, self._collect_at)
            if self._receiver is not None:
                until = min(until, now + ROUND_SECONDS)
        return max(ROUND_SECONDS, until - now)

    async def _owns(self) -> bool:
        now = self._clock.monotonic()
        if now >= self._ask_at:
            owns = await self._store.lease(self._node, self._clock.now(), LEASE_SECONDS)
            self._ask_at = now + RENEW_SECONDS
            self._owned_until = now + LEASE_SECONDS if owns else now
        return now < self._owned_until

    async def _bring_over(self) -> None:
        now = self._clock.monotonic()
        if self._collect is not None and now >= self._collect_at:
            collected = await self._collect()
            self._collect_at = now + (COLLECT_SECONDS if collected.some else IDLE_SECONDS)
            self._complete_at = collected.complete_at

    async def _tell(self, receiver: Receiver) -> None:
        now = self._clock.monotonic()
        # A receiver that is down gets one event at a time.
        alone = self._failures >= MOST_FAILURES or self._is_busy()
        room = (1 if alone else MOST_LANES) - len(self._busy)
        if room <= 0 or now < self._quiet_until:
            return
        lanes: dict[str, list[Pending]] = {}
        for event in await self._store.due(self._clock.now(), self._complete_at, READ_LANES):
            if event.lane not in self._busy:
                lanes.setdefault(event.lane, []).append(event)
        ordered = sorted(lanes.items(), key=lambda lane: lane[0] in self._had_turn)
        if len(lanes.keys() - self._had_turn) <= room or len(self._had_turn) > MOST_TURNS:
            self._had_turn.clear()
        for lane, events in ordered[:room]:
            self._had_turn.add(lane)
            self._busy.add(lane)
            self._supervisor.spawn(self._tell_lane(receiver, lane, events), name="tell events")

    async def _tell_lane(self, receiver: Receiver, lane: str, events: Sequence[Pending]) -> None:
        outcome = _Told(lane, [])
        told: list[Pending] = []
        try:
            for event in events:
                answer = await receiver.tell(event.entry)
                if 200 <= answer.status < 300:
                    if self._failures >= MOST_FAILURES:
                        log.info("events.url takes events again")
                    self._failures = 0
                    self._metrics.event(event.entry.type, "told")
                    told.append(event)
                    continue
                outcome = self._in_vain(lane, event, answer)
                break
        finally:
            self._outcomes.append(outcome._replace(told=told))
            self._changed.set()

    def _in_vain(self, lane: str, event: Pending, answer: Answer) -> _Told:
        status, now = answer.status, self._clock.monotonic()
        problem = f"HTTP {status}" if status else "no answer"
        self._failures += 1
        if status in (429, 502, 504):
            self._failures = max(self._failures, MOST_FAILURES)
        if self._failures >= MOST_FAILURES:
            self._quiet_until = max(self._quiet_until, now + PROBE_SECONDS)
        if answer.wait:
            self._quiet_until = max(self._quiet_until, now + answer.wait)
        if status == 410:
            self._quiet_until = now + GONE_SECONDS
            log.error("events.url answers 410: no event is sent for %d s", GONE_SECONDS)
        entry = event.entry
        if event.tries >= len(self._pauses):
            self._metrics.event(entry.type, "dead")
            log.error("event %s (%s) is a dead letter: %s", entry.id, entry.type, problem)
            dead = Dead(event.number, entry, event.tries + 1, problem)
            return _Told(lane, [], dead=[dead])
        self._metrics.event(entry.type, "failed")
        self._paced_log.log(logging.WARNING, "events.url does not take an event: %s", problem)
        pause = max(self._pauses[event.tries], answer.wait) * random.uniform(1.0, 1.1)
        return _Told(lane, [], later=[Later(event, self._clock.now() + pause)])

    async def _note(self) -> bool:
        outcomes = list(self._outcomes)
        if not outcomes:
            return False
        await self._store.settle(
            [event for one in outcomes for event in one.told],
            [later for one in outcomes for later in one.later],
            [dead for one in outcomes for dead in one.dead],
        )
        del self._outcomes[: len(outcomes)]
        self._busy.difference_update(one.lane for one in outcomes)
        return True

    async def _count(self) -> None:
        now = self._clock.monotonic()
        if self._receiver is not None and now >= self._count_at:
            self._count_at = now + COUNT_SECONDS
            backlog = await self._store.backlog()
            oldest = 0.0 if backlog.oldest_at is None else self._clock.now() - backlog.oldest_at
            self._metrics.events_left(backlog.pending, backlog.dead, max(0.0, oldest))

    async def _forget(self) -> None:
        now = self._clock.monotonic()
        if now >= self._expire_at:
            forgotten = await self._store.expire(self._clock.now() - self._keep_seconds, SLICE)
            # A full slice is followed by the next one soon, with logins in between.
            self._expire_at = now + (EXPIRE_SECONDS if forgotten < SLICE else ROUND_SECONDS)
