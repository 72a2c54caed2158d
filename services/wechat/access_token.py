"""The access_token of one account: one in use, renewed before its end, by one caller at a time.

Facts and lessons: WeChat's pages "Get access token" and "Get stable access token"; WxJava #1222
and #1293 (look again once you have the lock), #1300 (invalidate only what failed), #324 (keep the
old token until the new one is there).

WeChat credentials shared by all nodes through Redis: one renews, the others read.

The two ways to an access_token. Their tokens are isolated: one never invalidates the other.

Facts: WeChat's pages "Get stable access token" and "Get access token".
"""

import asyncio
import contextlib
import json
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from services.clock import Clock
from services.errors import ScanpushError, StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.redis_client import RedisLink, Script
from services.tasks import Supervisor
from services.wechat.client import ApiAnswer, Calls, text_of
from services.wechat.errcodes import TOKEN_INVALID

log = logging.getLogger("scanpush.wechat")

T = TypeVar("T")

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


KEEP_SECONDS = 2 * 86_400
"""A record outlives its token for the forced refreshes of the last day."""

LOCK_SECONDS = 15.0
"""A dead holder's lock ends by itself: longer than two tries at WeChat take."""

LONGEST_PAUSE_SECONDS = 0.25

_UNLOCK = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
""")


class RedisCredentialStore:
    """`CredentialStore` for any number of nodes.

    The lock is the documented one for a single Redis (redis.io, "SET", pattern with NX and a
    random value). Should Redis fail over in the wrong moment, two nodes may hold it: both then
    ask for the stable token, which WeChat hands to both alike.

    Args:
        lock_seconds: the life of a lock whose holder died, and how long others wait for it.
    """

    def __init__(self, link: RedisLink, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._link = link
        self._lock_seconds = lock_seconds

    async def load(self, key: str) -> CredentialRecord | None:
        name = _record(key)
        text = await self._link.call(name, "GET", name)
        if text is None:
            return None
        try:
            kept = json.loads(text)
            token = Token(str(kept["token"]), float(kept["expires_at"]))
            return CredentialRecord(token, tuple(float(at) for at in kept["forced_at"]))
        except (ValueError, KeyError, TypeError):
            # Not ours to read (another version wrote it): as good as none, a new one follows.
            log.warning("a shared credential was not understood and will be replaced")
            return None

    async def save(self, key: str, record: CredentialRecord) -> None:
        kept = {
            "v": 1,
            "token": record.token.value,
            "expires_at": record.token.expires_at,
            "forced_at": record.forced_at,
        }
        name = _record(key)
        await self._link.call(name, "SET", name, json.dumps(kept), "EX", KEEP_SECONDS)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self._locked(f"scanpush:lock:{key}")

    @contextlib.asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        holder = secrets.token_hex(16)
        await self._acquire(name, holder)
        try:
            yield
        finally:
            try:
                await self._link.run(_UNLOCK, [name], holder)
            except StoreUnavailable as error:
                log.warning("a credential lock is left to end by itself: %s", error)

    async def _acquire(self, name: str, holder: str) -> None:
        """Ask again until the lock is free: at most twice the life of a lock."""
        life = round(self._lock_seconds * 1000)
        try:
            async with asyncio.timeout(2 * self._lock_seconds):
                while not await self._link.call(name, "SET", name, holder, "NX", "PX", life):
                    await asyncio.sleep(random.uniform(0.02, LONGEST_PAUSE_SECONDS))
        except TimeoutError:
            raise StoreUnavailable("Redis: the lock of a credential stays taken") from None


def _record(key: str) -> str:
    return f"scanpush:credential:{key}"


MAX_TOKEN = 2048
"""WeChat asks for room for 512 characters at least."""


class StableToken:
    """``cgi-bin/stable_token``: everybody who asks gets the same token until near its end.

    Forcing ends the present token at once, which all others notice by a 40001.
    """

    can_force = True

    def __init__(self, calls: Calls, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"stable:{app_id}"
        self._calls = calls
        self._clock = clock
        self._body = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> Token:
        asked_at = self._clock.now()
        answer = await self._calls.json(
            "POST", "/cgi-bin/stable_token", query={}, body={**self._body, "force_refresh": force}
        )
        return _token(answer, asked_at)


class ClassicToken:
    """``cgi-bin/token``: every call makes a new token, and the one before dies in 5 minutes."""

    can_force = False

    def __init__(self, calls: Calls, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"classic:{app_id}"
        self._calls = calls
        self._clock = clock
        self._query = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> Token:
        asked_at = self._clock.now()
        answer = await self._calls.json("GET", "/cgi-bin/token", query=self._query)
        return _token(answer, asked_at)


def _token(answer: dict[str, Any], asked_at: float) -> Token:
    value, expires_in = text_of(answer, "access_token", MAX_TOKEN), answer.get("expires_in")
    if not isinstance(expires_in, int) or expires_in <= 0:
        raise WeChatUnavailable("the answer has no expires_in")
    return Token(value, asked_at + expires_in)


def authorized(
    calls: Calls,
    store: CredentialStore,
    clock: Clock,
    supervisor: Supervisor,
    *,
    app_id: str,
    app_secret: str,
    credential: Literal["stable", "classic"] = "stable",
    on_renewed: Callable[[float], None] | None = None,
) -> "Authorized":
    """Calls with the access_token of one app_id (an account's or a mini program's)."""
    kind = StableToken if credential == "stable" else ClassicToken
    source = kind(calls, clock, app_id, app_secret)
    return Authorized(calls, Credentials(source, store, clock, supervisor, on_renewed=on_renewed))


class Authorized:
    """Calls that need an access_token: with it, and once more with another if it is refused."""

    def __init__(self, calls: Calls, credentials: Credentials) -> None:
        self._calls = calls
        self._credentials = credentials

    async def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """As `Calls.json`, with access_token added to the query."""

        async def call(token: str) -> dict[str, Any]:
            return await self._calls.json(
                method,
                path,
                query={"access_token": token, **(query or {})},
                body=body,
                repeatable=repeatable,
            )

        return await self._with_token(call)

    async def picture(self, path: str, body: Mapping[str, Any]) -> ApiAnswer:
        """As `Calls.picture`."""

        async def call(token: str) -> ApiAnswer:
            return await self._calls.picture(path, query={"access_token": token}, body=body)

        return await self._with_token(call)

    async def _with_token(self, call: Callable[[str], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._calls.timeout_seconds):
                token = await self._credentials.get()
                try:
                    return await call(token)
                except WeChatRefused as refusal:
                    if refusal.errcode not in TOKEN_INVALID:
                        raise
                await self._credentials.invalidate(token)
                return await call(await self._credentials.get())
        except TimeoutError:
            raise WeChatUnavailable("time-out") from None
