"""The access_token of one account: one in use, renewed before its end, by one caller at a time.

Facts and lessons: WeChat's pages "Get access token" and "Get stable access token"; WxJava #1222
and #1293 (look again once you have the lock), #1300 (invalidate only what failed), #324 (keep the
old token until the new one is there).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.clock import Clock
from services.errors import ScanpushError, StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.supervisor import Supervisor

log = logging.getLogger("scanpush.wechat")

RENEW_SECONDS = 300.0
"""A token with less left is renewed; WeChat keeps old and new valid side by side that long."""

RENEW_JITTER_SECONDS = 60.0
"""Renewal starts up to so much earlier, at random, so that nodes do not all come at once."""

RENEW_PAUSE_SECONDS = 15.0
"""Between two renewals while the old token still serves: WeChat may hand back the same one."""

FORCE_PAUSE_SECONDS = 30.0
FORCES_A_DAY = 20
"""Limits of ``force_refresh`` (WeChat: "Get stable access token")."""

FETCHES_A_MINUTE = 10
"""More than this is a loop, not a need."""

REFUSED_SECONDS = 2.0
"""For how long a refusal (wrong secret, IP not allowed) is repeated without asking again."""

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Token:
    """An access_token. `expires_at` is unix time."""

    value: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """What nodes share about one account's token."""

    token: Token
    forced_at: tuple[float, ...] = ()
    """Unix times of ``force_refresh`` within the last day."""


class CredentialStore(Protocol):
    """Where the nodes keep the present token of each account.

    `lock` is held by one caller per key at a time, on all nodes together, and is given up by
    itself when its holder dies; a holder looks again (`load`) before it fetches. Every method
    raises `errors.StoreUnavailable`, and only that, when the backend does not do its part.
    """

    async def load(self, key: str) -> CredentialRecord | None:
        """The record last saved, whatever its age."""

    async def save(self, key: str, record: CredentialRecord) -> None:
        """Replace the record. Called only by the holder of the lock."""

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Entered by at most one holder per key."""


class TokenSource(Protocol):
    """Where a new token comes from: ``cgi-bin/stable_token`` or ``cgi-bin/token``."""

    key: str
    """Names account and family of tokens in the store; the two families are isolated."""

    can_force: bool
    """Whether asking plainly may hand back the token we already have."""

    async def fetch(self, *, force: bool) -> Token:
        """Raises `WeChatUnavailable` or `WeChatRefused`."""


class MemoryCredentialStore:
    """`CredentialStore` of a single process."""

    def __init__(self) -> None:
        self._records: dict[str, CredentialRecord] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def load(self, key: str) -> CredentialRecord | None:
        return self._records.get(key)

    async def save(self, key: str, record: CredentialRecord) -> None:
        self._records[key] = record

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self._locks.setdefault(key, asyncio.Lock())


class Credentials:
    """The access_token of one account, for all callers of this process.

    Any number of callers share one refresh, and a caller that gives up does not end it. While a
    token still works it is handed out, also during its renewal and when the renewal fails.

    Args:
        on_renewed: told when a new token ends, in unix time.
    """

    def __init__(
        self,
        source: TokenSource,
        store: CredentialStore,
        clock: Clock,
        supervisor: Supervisor,
        *,
        jitter: Callable[[], float] = random.random,
        on_renewed: Callable[[float], None] | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._renew_below = RENEW_SECONDS + RENEW_JITTER_SECONDS * jitter()
        self._on_renewed = on_renewed
        self._token: Token | None = None
        self._dead: str | None = None
        self._refreshing: asyncio.Task[Token | ScanpushError] | None = None
        self._renewed_at = float("-inf")
        self._fetched_at: deque[float] = deque(maxlen=FETCHES_A_MINUTE)
        self._refusal: tuple[float, WeChatRefused] | None = None

    async def get(self) -> str:
        """A token that works as far as we know.

        Raises:
            WeChatUnavailable, WeChatRefused, StoreUnavailable: there is none and none can be had.
        """
        token = self._token
        if token is None or not self._usable(token):
            token = await self._refreshed()
        elif self._left(token) < self._renew_below and self._may_renew():
            self._refresh()
        return token.value

    async def invalidate(self, token: str) -> None:
        """WeChat refused `token`: do not hand it out again.

        Only if it is still the one in use; a late caller's old token changes nothing.
        """
        if self._token is not None and self._token.value == token:
            self._token = None
            self._dead = token

    def _left(self, token: Token) -> float:
        return token.expires_at - self._clock.now()

    def _usable(self, token: Token) -> bool:
        return token.value != self._dead and self._left(token) > 0

    def _may_renew(self) -> bool:
        return self._clock.monotonic() - self._renewed_at >= RENEW_PAUSE_SECONDS

    async def _refreshed(self) -> Token:
        # Shielded: the one who gives up waiting is not the only one who waits.
        result = await asyncio.shield(self._refresh())
        if isinstance(result, ScanpushError):
            raise result.with_traceback(None)
        return result

    def _refresh(self) -> asyncio.Task[Token | ScanpushError]:
        if self._refreshing is None or self._refreshing.done():
            self._renewed_at = self._clock.monotonic()
            self._refreshing = self._supervisor.spawn(self._run(), name="access_token refresh")
        return self._refreshing

    async def _run(self) -> Token | ScanpushError:
        """One refresh. What went wrong is its result, for every waiter; nobody may be waiting."""
        try:
            async with self._store.lock(self._source.key):
                self._token = await self._from_store_or_wechat()
        except (WeChatUnavailable, WeChatRefused, StoreUnavailable) as error:
            log.warning("no new access_token: %s", error)
            return error
        if self._on_renewed is not None:
            self._on_renewed(self._token.expires_at)
        return self._token

    async def _from_store_or_wechat(self) -> Token:
        record = await self._store.load(self._source.key)
        if record is not None and self._fresh(record.token):
            return record.token
        forced_at = record.forced_at if record is not None else ()
        token = await self._fetch(force=False)
        if token.value == self._dead:
            forced_at = self._one_more_force(forced_at)
            token = await self._fetch(force=True)
        await self._store.save(self._source.key, CredentialRecord(token, forced_at))
        return token

    def _fresh(self, token: Token) -> bool:
        """Whether a stored token spares us asking WeChat: another node was quicker."""
        known = self._token is not None and token.value == self._token.value
        return self._usable(token) and (not known or self._left(token) >= self._renew_below)

    def _one_more_force(self, forced_at: tuple[float, ...]) -> tuple[float, ...]:
        """Note a force_refresh, unless WeChat would not heed it."""
        now = self._clock.now()
        recent = tuple(at for at in forced_at if now - at < _DAY)
        wait = recent[-1] + FORCE_PAUSE_SECONDS - now if recent else 0.0
        if len(recent) >= FORCES_A_DAY or not self._source.can_force:
            wait = FORCE_PAUSE_SECONDS
        if wait > 0:
            refusal = WeChatRefused(
                40001, "handed out again after its refusal", "wechat_credentials"
            )
            self._refusal = (self._clock.monotonic() + wait, refusal)
            raise refusal
        return (*recent, now)

    async def _fetch(self, *, force: bool) -> Token:
        now = self._clock.monotonic()
        if self._refusal is not None and now < self._refusal[0]:
            raise self._refusal[1].with_traceback(None)
        full = len(self._fetched_at) == FETCHES_A_MINUTE
        if full and now - self._fetched_at[0] < 60:
            raise WeChatUnavailable("the access_token was asked for too often in this minute")
        self._fetched_at.append(now)
        try:
            return await self._source.fetch(force=force)
        except WeChatRefused as refusal:
            self._refusal = (now + REFUSED_SECONDS, refusal)
            raise
