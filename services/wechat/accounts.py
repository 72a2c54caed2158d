"""The configured Official Accounts: for each its gate, client, notices, forwarder and record.

`AccountWatch` is what the operator sees of one account's dealings with WeChat.
"""

import hashlib
import hmac
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.clock import Clock
from services.errors import ApiError
from services.ids import AppId
from services.metrics import Metrics
from services.people.store import Identity
from services.settings.models import AccountSettings
from services.wechat.access_token import AccessTokenCache
from services.wechat.callback import CallbackGate
from services.wechat.forwarder import Forwarder
from services.wechat.notices import Notices
from services.wechat.official_account import OfficialAccountClient

WINDOW_SECONDS = 3600.0

MOST_REFUSALS = 1000
"""The newest ones are kept; more than this within the hour are one long trouble anyway."""


MOST_PATH = 100

PROOF_SECONDS = 300
"""How far the moment of a proof may be from now, either way."""


def proof(app_secret: str, moment: int) -> str:
    """What shows that its bearer has the account's settings, without sending any of them: HMAC
    (RFC 2104) over the unix time `moment`. `scripts/doctor` asks a running server with it."""
    message = f"scanpush doctor {moment}".encode()
    return hmac.new(app_secret.encode(), message, hashlib.sha256).hexdigest()


class LastCallback(NamedTuple):
    """The newest callback of one outcome."""

    at: float
    """Unix time."""
    encrypted: bool
    """Whether its query said so; only an accepted one is known to be WeChat's."""
    as_json: bool
    times: int = 1
    """How many have had this outcome since the start."""


class AccountWatch:
    """A `client.CallObserver` that reports to the metrics and remembers the last hour."""

    def __init__(self, metrics: Metrics, clock: Clock, account: str) -> None:
        self._metrics = metrics
        self._clock = clock
        self._account = account
        self._refusals: deque[tuple[float, int]] = deque(maxlen=MOST_REFUSALS)
        self._credential_ends_at: float | None = None
        self.callbacks: dict[str, LastCallback] = {}
        """By outcome, as `metrics` counts them: a closed set."""
        self.elsewhere: tuple[str, float] | None = None
        """Path and unix time of WeChat's last callback to an address where nothing is."""

    def callback(self, outcome: str, *, encrypted: bool, as_json: bool) -> None:
        """A request to the account's callback ended."""
        last = self.callbacks.get(outcome)
        times = 1 if last is None else last.times + 1
        self.callbacks[outcome] = LastCallback(self._clock.now(), encrypted, as_json, times)

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
        return Counter(errcode for _, errcode in self.refusals())

    def refusals(self) -> Iterator[tuple[float, int]]:
        """When WeChat refused a call in the last hour, and by which errcode; oldest first."""
        since = self._clock.now() - WINDOW_SECONDS
        return (refusal for refusal in self._refusals if refusal[0] >= since)


@dataclass(slots=True)
class Account:
    """One Official Account, under the name the operator gave it."""

    name: str
    settings: AccountSettings
    gate: CallbackGate
    api: OfficialAccountClient
    notices: Notices | None
    """None where the operator has set no template for them."""
    watch: AccountWatch
    forwarder: Forwarder | None = None
    """Where everything that is no login goes on to."""
    tokens: AccessTokenCache | None = None
    """The access_token with which `api` calls; None without an app_id."""
    unionid_unavailable_until: float = 0.0
    """Monotonic time until which user/info is not asked: the account has answered that a follower
    has no unionid, so it belongs to no Open Platform account."""

    @property
    def app_id(self) -> AppId:
        return AppId(self.settings.app_id)

    def proves(self, bearer: str, now: float) -> bool:
        """Whether `bearer` is ``<moment>.<proof>`` of this account's settings, made about now."""
        moment, _, shown = bearer.partition(".")
        if not self.app_id or not (moment.isascii() and moment.isdecimal() and len(moment) < 12):
            return False
        if abs(now - int(moment)) > PROOF_SECONDS:
            return False
        expected = proof(self.settings.app_secret.get_secret_value(), int(moment))
        return hmac.compare_digest(expected.encode(), shown.encode("utf-8", "surrogatepass"))

    def can_tell_unionid(self, identity: Identity, now_monotonic: float) -> bool:
        """Whether user/info could tell a unionid that `identity` lacks: it knows this account's
        own people only."""
        if identity.unionid or identity.app_id != self.app_id:
            return False
        return now_monotonic >= self.unionid_unavailable_until


class Accounts:
    """All accounts by name; the first one is meant where none is named."""

    def __init__(self, accounts: list[Account]) -> None:
        self._by_name = {account.name: account for account in accounts}
        self._first = accounts[0]

    def named(self, name: str | None) -> Account:
        """Raises `ApiError` ``unknown_account``."""
        if not name:
            return self._first
        if (account := self._by_name.get(name)) is None:
            raise ApiError("unknown_account", "There is no such account here.", field="account")
        return account

    def lost(self, path: str, query: Mapping[str, str], now: float) -> None:
        """A request to an address where nothing is: one that is signed for an account shows a
        mistake in the server URL of its console."""
        for account in self:
            if account.gate.is_signed(query):
                account.watch.elsewhere = path[:MOST_PATH], now

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())
