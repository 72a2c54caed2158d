"""The parametric codes of an official account: made within the day's quota, some of them ahead.

WeChat takes 100 to 300 ms to make a code. `AccountCodes` keeps some ready in this process, so that
a page has its code at once, also while WeChat is away for some seconds; without a ready one the
page's own is made while it waits. `Stock` decides how many to keep and which to hand out, without
I/O.

What makes a login of a code is its scene, and that is stored only when the code is handed out, with
the account, language and browser of its page. A code that still waits is WeChat's and this
process's alone: to everybody else its scene is an unknown one.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable, WeChatError, WeChatRefused
from services.ids import SceneStr, new_scene_str
from services.key_values import KeyValues
from services.metrics import Metrics
from services.settings.fields import MOST_CODES_AHEAD
from services.tasks import Supervisor
from services.wechat.errcodes import Action, look_up
from services.wechat.official_account import OfficialAccountClient
from services.wechat.replies import BEIJING

log = logging.getLogger("scanpush.codes")

WECHAT_DAILY_CODES = 100_000
"""Temporary codes an account may make a day (WeChat: "Generating a Parametric QR Code")."""

DAY_SECONDS = 86_400

TOO_OFTEN_SECONDS = 60
"""How long WeChat's limit of calls in a minute lasts, at most (errcode 45011)."""

RETRY_SPREAD = 0.5
QUOTA_SPREAD_SECONDS = 300
"""How much longer each page is told to wait, by a random part of it: of the wait itself, and at
most that long. Pages that wait for the same moment must not all come back in the same second."""

WECHAT_LEAST_SECONDS = 60
"""The life WeChat is asked for is never less: its minimum is not documented."""

AHEAD_SECONDS = 3600
"""How long a code may wait for its page. WeChat is asked for that much more than the longest life
of a scene, so that one stock serves all pages, kiosks included; two codes that no page needs are 48
of an account's 100,000 a day."""

READY_WHEN_IDLE = 2

COVERED_SECONDS = 15
BUSIEST_SECONDS = 5
REMEMBERED_SECONDS = 60
"""Codes are ready for the first of these times, at the rate of the busiest of the second within the
last of the third. WeChat may be away for ten seconds, and is asked again within five more."""

MOST_IN_FLIGHT = 16
"""Being made at once for the stock: 64 a second where WeChat takes 250 ms."""

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds after the first and further failures in a row, each made up to half longer."""

ROUND_SECONDS = 1.0
"""How often time alone is looked at: codes that wait too long, and pauses that end."""


@dataclass(frozen=True, slots=True)
class AccountCode:
    """A code of WeChat, and the scene that a scan of it names.

    WeChat honours it until `ends_at`, unix time of this server: counted from before WeChat was
    asked, so that WeChat's own count ends no earlier.
    """

    scene_str: SceneStr
    ticket: str
    url: str
    ends_at: float


class Stock:
    """The codes of one account that are ready, the demand for them, and WeChat's failures.

    Time is an argument everywhere: unix time, by which WeChat counts a code's life too.

    Args:
        ahead: how many to keep ready; ``auto``: see `wanted`.
        life: what a code that is handed out has left at least, in seconds.
        unused: called with the number of codes that were dropped.
    """

    def __init__(
        self, ahead: Literal["auto"] | int, life: float, unused: Callable[[int], object]
    ) -> None:
        self._ahead = ahead
        self._life = life
        self._unused = unused
        self._ready: deque[AccountCode] = deque()
        self._demand: deque[list[int]] = deque(maxlen=REMEMBERED_SECONDS // BUSIEST_SECONDS)
        """The latest periods of `BUSIEST_SECONDS` in which pages came: number and pages."""
        self._failures = 0
        self._failed_at = self._paused_until = -math.inf

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, now: float) -> AccountCode | None:
        """A code for a page, or None where none is ready. Either way the page counts as demand."""
        period = int(now // BUSIEST_SECONDS)
        if self._demand and self._demand[-1][0] == period:
            self._demand[-1][1] += 1
        else:
            self._demand.append([period, 1])
        self.drop_old(now)
        # The oldest: the freshest would leave the others to grow too old.
        return self._ready.popleft() if self._ready else None

    def add(self, code: AccountCode) -> None:
        self._ready.append(code)

    def drop_old(self, now: float) -> None:
        """Forget the codes that no longer live long enough."""
        before = len(self._ready)
        while self._ready and self._ready[0].ends_at < now + self._life:
            self._ready.popleft()
        if dropped := before - len(self._ready):
            self._unused(dropped)

    def drop_all(self) -> None:
        self._unused(len(self._ready))
        self._ready.clear()

    def wanted(self, now: float) -> int:
        """How many codes are to be ready.

        With ``auto``: what `COVERED_SECONDS` at the last minute's busiest rate need, between
        `READY_WHEN_IDLE` and `MOST_CODES_AHEAD`.
        """
        if self._ahead != "auto":
            return self._ahead
        oldest = (now - REMEMBERED_SECONDS) // BUSIEST_SECONDS
        busiest = max((pages for period, pages in self._demand if period > oldest), default=0)
        need = busiest * COVERED_SECONDS // BUSIEST_SECONDS
        return min(MOST_CODES_AHEAD, max(READY_WHEN_IDLE, need))

    def missing(self, now: float, in_flight: int) -> int:
        """How many codes to begin making now, while that many are being made.

        None during a pause; after a failure one at a time, until WeChat has made one.
        """
        self.drop_old(now)
        if now < self._failed_at:
            # The clock was set back: a pause would last that much longer.
            self._failed_at = now
            if math.isfinite(self._paused_until):
                self._paused_until = now
        if now < self._paused_until:
            return 0
        most = 1 if self._failures else MOST_IN_FLIGHT
        return max(0, min(self.wanted(now) - len(self._ready), most) - in_flight)

    def made(self, began: float, now: float) -> bool:
        """WeChat has made a code, for the stock or for a page. Whether it failed before that.

        No pause lasts longer than a minute from then, as long as WeChat's limit of a minute.
        """
        failed = self._failures > 0
        # Calls that began before the failure say nothing of the time after it.
        if not failed or began <= self._failed_at:
            return False
        self._failures = 0
        self._paused_until = min(self._paused_until, now + TOO_OFTEN_SECONDS)
        return True

    def failed(self, began: float, now: float, pause: float | None = None) -> bool:
        """No code was made, for the stock or for a page. Whether this is the first failure.

        Args:
            pause: seconds for which asking again is of no use; None: not known, so that pauses
                grow (`PAUSES`).
        """
        first = self._failures == 0
        # Calls that were in flight together fail together: as one failure.
        if began > self._failed_at:
            self._failures += 1
            self._failed_at = now
        if pause is None:
            # Up to half longer, so that nodes that failed together ask at different times.
            pause = random.uniform(1.0, 1.5) * PAUSES[min(self._failures, len(PAUSES)) - 1]
        self._paused_until = max(self._paused_until, now + pause)
        return first


class AccountCodes:
    """Makes one account's codes, and keeps some ready in this process.

    Args:
        ahead: how many (`Stock`); 0: none, each page waits for its own.
        longest_life: of the scenes of this server, in seconds.
        daily_code_reserve: codes of the day that are left for others; 0: not counted.
        leaving: whether the server is going away: then no more is made ahead.
    """

    def __init__(
        self,
        account: str,
        api: OfficialAccountClient,
        counters: KeyValues,
        clock: Clock,
        supervisor: Supervisor,
        metrics: Metrics,
        *,
        ahead: Literal["auto"] | int,
        longest_life: int,
        daily_code_reserve: int,
        leaving: Callable[[], bool],
    ) -> None:
        self._account = account
        self._api = api
        self._counters = counters
        self._clock = clock
        self._supervisor = supervisor
        self._metrics = metrics
        self._ahead = ahead
        self._life_ahead = longest_life + AHEAD_SECONDS
        self._daily_code_reserve = daily_code_reserve
        self._leaving = leaving
        self._stock = Stock(
            ahead, longest_life, lambda codes: metrics.codes_ahead_unused(account, codes)
        )
        metrics.count_codes_ahead(account, lambda: len(self._stock))
        metrics.count_codes_left(account, self._codes_left)
        self._counted = ("", 0)
        self._in_flight = 0

    async def give(self, life: int) -> AccountCode:
        """A code for a scene of that life: a ready one, or one that is made now. It is handed out
        once, and WeChat honours it for as long as the scene lives.

        Raises:
            ApiError: ``wechat_quota``.
            WeChatError, StoreUnavailable: none is ready, and none can be made now.
        """
        code = self._stock.take(self._clock.now())
        if code is not None:
            self._metrics.code_ahead_used(self._account)
        self._refill()
        return code or await self._make(max(WECHAT_LEAST_SECONDS, life))

    async def keep_ready(self) -> None:
        """Keep codes ready until cancelled."""
        if self._ahead == 0:
            return
        try:
            while True:
                self._refill()
                await asyncio.sleep(ROUND_SECONDS)
        finally:
            self._stock.drop_all()

    def _refill(self) -> None:
        """Begin to make what is missing, in the background."""
        if self._leaving():
            return
        for _ in range(self._stock.missing(self._clock.now(), self._in_flight)):
            self._in_flight += 1
            self._supervisor.spawn(self._make_ahead(), name="code ahead")

    async def _make_ahead(self) -> None:
        try:
            code = await self._make(self._life_ahead)
        except (ApiError, WeChatError, StoreUnavailable):
            return  # logged and counted as a failure by `_make`
        finally:
            self._in_flight -= 1
        self._stock.add(code)
        self._metrics.code_ahead_made(self._account)
        self._refill()

    async def _make(self, life: int) -> AccountCode:
        """Count one code of the day, and have WeChat make it."""
        began = self._clock.now()
        try:
            # Counted before WeChat is asked, so that a flood of pages cannot use up the reserve.
            # For two days, as the key names the day and has to outlive it.
            key = codes_key(self._account, began)
            made = await self._counters.count(key, 2 * DAY_SECONDS)
            self._counted = (key, made)
            if self._daily_code_reserve and made > WECHAT_DAILY_CODES - self._daily_code_reserve:
                raise _quota_used_up(began)
            scene_str = new_scene_str()
            code = await self._api.create_qr_code(scene_str, life)
        except WeChatRefused as refusal:
            if look_up(refusal.errcode).action is Action.BACK_OFF:
                error = _quota("WeChat is asked too often this minute.", TOO_OFTEN_SECONDS)
            elif refusal.code == "wechat_quota":
                error = _quota_used_up(began)
            else:
                # Only the operator can change it. When WeChat makes a page's code again, that is
                # known to be done (`Stock.made`).
                self._failed(began, refusal, math.inf)
                raise
            self._failed(began, refusal, error.retry_after)
            raise error from refusal
        except ApiError as error:
            self._failed(began, error, error.retry_after)
            raise
        except (WeChatError, StoreUnavailable) as error:
            self._failed(began, error)
            raise
        if self._stock.made(began, self._clock.now()):
            log.info("codes of account %s are made again", self._account)
        return AccountCode(scene_str, code.ticket, code.url, began + life)

    def _codes_left(self) -> int:
        """As far as this process knows: the others make codes as well."""
        key, made = self._counted
        today = key == codes_key(self._account, self._clock.now())
        return max(0, WECHAT_DAILY_CODES - made) if today else WECHAT_DAILY_CODES

    def _failed(self, began: float, error: Exception, pause: float | None = None) -> None:
        if self._stock.failed(began, self._clock.now(), pause) and self._ahead:
            log.warning("no codes of account %s are made ahead now: %s", self._account, error)


def codes_key(account: str, now: float) -> str:
    """Where the store counts the codes that an account has made on WeChat's day, in Beijing
    (unconfirmed; docs/errors.md, errcode 45009)."""
    return f"codes:{account}:{datetime.fromtimestamp(now, BEIJING).date()}"


async def codes_left(counters: KeyValues, account: str, now: float) -> int | None:
    """How many of today's codes this server may still make; None while the store does not say."""
    try:
        made = await counters.recall(codes_key(account, now))
    except StoreUnavailable as error:
        log.info("today's codes are not known now: %s", error)
        return None
    return max(0, WECHAT_DAILY_CODES - int(made or 0))


def _quota_used_up(unix_time: float) -> ApiError:
    now = datetime.fromtimestamp(unix_time, BEIJING)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = math.ceil((midnight - now).total_seconds())
    return _quota("The account's login codes for today are used up.", left)


def _quota(message: str, seconds: int) -> ApiError:
    spread = min(seconds * RETRY_SPREAD, QUOTA_SPREAD_SECONDS)
    wait = seconds + random.randint(0, math.ceil(spread))
    return ApiError("wechat_quota", message, retry_after=min(wait, DAY_SECONDS))
