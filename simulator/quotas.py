"""Call quotas per app and path: WeChat's published limits, and the count of calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from simulator.clock import TurnableClock
from simulator.refusals import Refusal


@dataclass(frozen=True)
class Quota:
    """How often one app may call one path; None is no limit.

    Over `per_minute` the answer is `minute_errcode` (45011 as a rule, 45009 for
    getwxacodeunlimit), over `per_day` 45009. A day starts at midnight in Beijing.
    """

    per_day: int | None = None
    per_minute: int | None = None
    minute_errcode: int = 45011


QUOTAS: Mapping[str, Quota] = MappingProxyType(
    {
        "/cgi-bin/token": Quota(per_day=2_000),
        "/cgi-bin/stable_token": Quota(per_day=500_000, per_minute=10_000),
        "/cgi-bin/qrcode/create": Quota(per_day=100_000),
        "/cgi-bin/user/info": Quota(per_day=5_000_000),
        "/cgi-bin/user/info/batchget": Quota(per_day=500_000),
        "/cgi-bin/user/get": Quota(per_day=500),
        "/cgi-bin/user/info/updateremark": Quota(per_day=10_000),
        "/cgi-bin/menu/create": Quota(per_day=1_000),
        "/cgi-bin/menu/get": Quota(per_day=10_000),
        "/cgi-bin/menu/delete": Quota(per_day=1_000),
        "/cgi-bin/media/upload": Quota(per_day=100_000),
        "/cgi-bin/media/get": Quota(per_day=200_000),
        "/cgi-bin/message/custom/send": Quota(per_day=500_000),
        "/cgi-bin/message/template/send": Quota(per_day=100_000),
        "/cgi-bin/shorturl": Quota(per_day=1_000),
        "/cgi-bin/ticket/getticket": Quota(per_day=1_000_000),
        "/sns/oauth2/access_token": Quota(per_minute=50_000),
        "/sns/oauth2/refresh_token": Quota(per_minute=50_000),
        "/sns/userinfo": Quota(per_minute=50_000),
        "/wxa/getwxacodeunlimit": Quota(per_minute=5_000, minute_errcode=45009),
    }
)
"""WeChat's published limits (pages "API quotas" and those of each interface)."""

BEIJING_SECONDS = 8 * 3_600
CLEARS_PER_MONTH = 10


class Quotas:
    """Counts calls in the present minute and day (Beijing time) and refuses those beyond."""

    def __init__(self, quotas: Mapping[str, Quota], clock: TurnableClock) -> None:
        self._quotas = quotas
        self._clock = clock
        self._counts: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._clears: dict[str, list[float]] = {}

    def spend(self, app_id: str, path: str) -> None:
        """Count one call.

        Raises:
            Refusal: 45011 (or the path's own code) over the minute, 45009 over the day.
        """
        # Interfaces without a published limit have none here.
        quota = self._quotas.get(path)
        if quota is None:
            return
        now = int(self._clock.now())
        # A call that the minute refuses does not count for the day.
        if self._over((app_id, path, "minute"), now // 60, quota.per_minute):
            raise Refusal(quota.minute_errcode)
        if self._over((app_id, path, "day"), (now + BEIJING_SECONDS) // 86_400, quota.per_day):
            raise Refusal(45009)

    def _over(self, key: tuple[str, str, str], period: int, limit: int | None) -> bool:
        if limit is None:
            return False
        counted_period, count = self._counts.get(key, (period, 0))
        count = count + 1 if counted_period == period else 1
        # Refused calls are counted as well: asking on does not help.
        self._counts[key] = (period, count)
        return count > limit

    def use(self, app_id: str, path: str, *, leave: int) -> None:
        """Count so many calls at once that `leave` of today's are left; a path without a limit for
        the day stays as it is."""
        limit = self._quotas.get(path, Quota()).per_day
        if limit is not None:
            day = (int(self._clock.now()) + BEIJING_SECONDS) // 86_400
            self._counts[app_id, path, "day"] = (day, max(0, limit - leave))

    def give_back(self, app_id: str, path: str) -> None:
        """Take back the call counted last: what it asked for was not made."""
        for length in ("day", "minute"):
            period, count = self._counts.get((app_id, path, length), (0, 0))
            if count:
                self._counts[app_id, path, length] = (period, count - 1)

    def report(self, app_id: str, path: object) -> dict[str, Any]:
        """What is left of a path's quota, as ``openapi/quota/get`` tells it.

        Raises:
            Refusal: 76021: no limit is published for this path.
        """
        quota = self._quotas.get(path) if isinstance(path, str) else None
        if quota is None:
            raise Refusal(76021)
        now = int(self._clock.now())

        def used(length: str, period: int) -> int:
            counted_period, count = self._counts.get((app_id, str(path), length), (period, 0))
            return count if counted_period == period else 0

        document: dict[str, Any] = {}
        if quota.per_day is not None:
            day = min(used("day", (now + BEIJING_SECONDS) // 86_400), quota.per_day)
            document["quota"] = {
                "daily_limit": quota.per_day,
                "used": day,
                "remain": quota.per_day - day,
            }
        if quota.per_minute is not None:
            document["rate_limit"] = {"call_count": quota.per_minute, "refresh_second": 60}
        return document

    def clear(self, app_id: str) -> None:
        """Reset all counts of this app; possible ten times in thirty days.

        Raises:
            Refusal: 48006 beyond that.
        """
        now = self._clock.now()
        clears = [at for at in self._clears.get(app_id, []) if now - at < 30 * 86_400]
        if len(clears) >= CLEARS_PER_MONTH:
            raise Refusal(48006)
        self._clears[app_id] = [*clears, now]
        for key in [key for key in self._counts if key[0] == app_id]:
            del self._counts[key]
