"""What the operator sees of one account's dealings with WeChat."""

from collections import Counter, deque

from services.clock import Clock
from services.metrics import Metrics

WINDOW_SECONDS = 3600.0

MOST_REFUSALS = 1000
"""The newest ones are kept; more than this within the hour are one long trouble anyway."""


class AccountWatch:
    """Reports to the metrics, and remembers the last hour by account.

    A `calls.CallObserver`. Plain calls that neither raise nor wait.
    """

    def __init__(self, metrics: Metrics, clock: Clock, account: str) -> None:
        self._metrics = metrics
        self._clock = clock
        self._account = account
        self._refusals: deque[tuple[float, int]] = deque(maxlen=MOST_REFUSALS)
        self._credential_ends_at: float | None = None

    def wechat_call(self, endpoint: str, outcome: str, seconds: float) -> None:
        self._metrics.wechat_call(endpoint, outcome, seconds)

    def errcode(self, errcode: int) -> None:
        self._metrics.errcode(errcode)
        self._refusals.append((self._clock.now(), errcode))

    def credential_ends(self, at: float) -> None:
        """A new access_token came, which ends `at` that unix time."""
        self._metrics.credential_ends(self._account, at)
        self._credential_ends_at = at

    @property
    def credential_expires_in(self) -> float | None:
        """Seconds; None while no access_token was needed yet."""
        ends_at = self._credential_ends_at
        return None if ends_at is None else max(0.0, ends_at - self._clock.now())

    def errors(self) -> Counter[int]:
        """WeChat's errcodes of the last hour, and how often each came."""
        since = self._clock.now() - WINDOW_SECONDS
        return Counter(errcode for at, errcode in self._refusals if at >= since)
