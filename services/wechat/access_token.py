"""The access_token of an app_id: kept for all nodes, renewed in time, added to every call.

From below to above: `AccessTokenStore` keeps the present token of each app_id for all nodes;
`AccessTokenSource` is one of WeChat's two ways to a new one; `AccessTokenCache` hands out the token
in use and renews it, one caller for all; `AuthorizedClient` makes calls with it, and once more
with another token when WeChat refuses the first.

Facts: WeChat's pages "Get access token" and "Get stable access token". Lessons of other SDKs:
WxJava #1222 and #1293 (look again once the lock is held), #1300 (invalidate only what failed),
#324 (keep the old token until the new one is there).
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
from services.wechat.client import ApiAnswer, WeChatClient, text_of
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

MAX_TOKEN = 2048
"""WeChat asks for room for 512 characters at least."""

KEEP_SECONDS = 2 * 86_400
"""A record outlives its token for the forced refreshes of the last day."""

LOCK_SECONDS = 15.0
"""A dead holder's lock ends by itself: longer than two tries at WeChat take."""

LONGEST_PAUSE_SECONDS = 0.25
"""Between two tries to take a lock."""

_DAY = 86_400.0

_UNLOCK = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
""")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`expires_at` is unix time."""

    value: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AccessTokenRecord:
    """What the nodes share about one app_id."""

    token: AccessToken
    forced_at: tuple[float, ...] = ()
    """Unix times of ``force_refresh`` within the last day."""


class AccessTokenStore(Protocol):
    """Where the nodes keep the present token of each app_id.

    `lock` is held by one caller per key at a time, on all nodes together, and is given up by
    itself when its holder dies; a holder looks again (`load`) before it fetches. Every method
    raises `errors.StoreUnavailable`, and only that, when the backend does not do its part.
    """

    async def load(self, key: str) -> AccessTokenRecord | None:
        """The record last saved, whatever its age."""

    async def save(self, key: str, record: AccessTokenRecord) -> None:
        """Replace the record. Called only by the holder of the lock."""

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Entered by at most one holder per key."""


class MemoryAccessTokenStore:
    """`AccessTokenStore` of a single process."""

    def __init__(self) -> None:
        self._records: dict[str, AccessTokenRecord] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def load(self, key: str) -> AccessTokenRecord | None:
        return self._records.get(key)

    async def save(self, key: str, record: AccessTokenRecord) -> None:
        self._records[key] = record

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self._locks.setdefault(key, asyncio.Lock())


class RedisAccessTokenStore:
    """`AccessTokenStore` for any number of nodes.

    The lock is the documented one for a single Redis (redis.io, "SET", pattern with NX and a
    random value). Should Redis fail over in the wrong moment, two nodes may hold it: both then
    ask for the stable token, which WeChat hands to both alike.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def load(self, key: str) -> AccessTokenRecord | None:
        name = _record_key(key)
        text = await self._link.call(name, "GET", name)
        if text is None:
            return None
        try:
            kept = json.loads(text)
            token = AccessToken(str(kept["token"]), float(kept["expires_at"]))
            return AccessTokenRecord(token, tuple(float(at) for at in kept["forced_at"]))
        except (ValueError, KeyError, TypeError):
            # Another version of scanpush wrote it. A new token follows, as if there were none.
            log.warning("a shared credential was not understood and will be replaced")
            return None

    async def save(self, key: str, record: AccessTokenRecord) -> None:
        kept = {
            "v": 1,
            "token": record.token.value,
            "expires_at": record.token.expires_at,
            "forced_at": record.forced_at,
        }
        name = _record_key(key)
        await self._link.call(name, "SET", name, json.dumps(kept), "EX", KEEP_SECONDS)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        name, holder = f"scanpush:lock:{key}", secrets.token_hex(16)
        life = round(LOCK_SECONDS * 1000)
        try:
            # Longer than the life of a dead holder's lock, and of one that came in between.
            async with asyncio.timeout(2 * LOCK_SECONDS):
                while not await self._link.call(name, "SET", name, holder, "NX", "PX", life):
                    await asyncio.sleep(random.uniform(0.02, LONGEST_PAUSE_SECONDS))
        except TimeoutError:
            raise StoreUnavailable("Redis: the lock of a credential stays taken") from None
        try:
            yield
        finally:
            try:
                await self._link.run(_UNLOCK, [name], holder)
            except StoreUnavailable as error:
                log.warning("a credential lock is left to end by itself: %s", error)


def _record_key(key: str) -> str:
    return f"scanpush:credential:{key}"


class AccessTokenSource(Protocol):
    """Where a new token comes from: ``cgi-bin/stable_token`` or ``cgi-bin/token``."""

    key: str
    """In the store: the app_id and the kind of token, as the two kinds are isolated."""

    can_force: bool
    """Whether a plain fetch may return the token in use, and a forced one replaces it."""

    async def fetch(self, *, force: bool) -> AccessToken:
        """Raises `WeChatUnavailable` or `WeChatRefused`."""


class StableTokenSource:
    """``cgi-bin/stable_token``: every caller gets the same token until near its end.

    Forcing ends the present token at once, which all others notice by a 40001.
    """

    can_force = True

    def __init__(self, client: WeChatClient, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"stable:{app_id}"
        self._client = client
        self._clock = clock
        self._body = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> AccessToken:
        asked_at = self._clock.now()
        answer = await self._client.json(
            "POST", "/cgi-bin/stable_token", query={}, body={**self._body, "force_refresh": force}
        )
        return _token(answer, asked_at)


class ClassicTokenSource:
    """``cgi-bin/token``: every call makes a new token, and the one before dies in 5 minutes."""

    can_force = False

    def __init__(self, client: WeChatClient, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"classic:{app_id}"
        self._client = client
        self._clock = clock
        self._query = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> AccessToken:
        asked_at = self._clock.now()
        answer = await self._client.json("GET", "/cgi-bin/token", query=self._query)
        return _token(answer, asked_at)


def _token(answer: dict[str, Any], asked_at: float) -> AccessToken:
    value, expires_in = text_of(answer, "access_token", MAX_TOKEN), answer.get("expires_in")
    if not isinstance(expires_in, int) or expires_in <= 0:
        raise WeChatUnavailable("the answer has no expires_in")
    return AccessToken(value, asked_at + expires_in)


class AccessTokenCache:
    """The access_token of one app_id, for all callers of this process.

    Any number of callers share one refresh, and a caller that gives up does not end it. While a
    token still works it is handed out, also during its renewal and when the renewal fails.

    Args:
        on_renewed: told when a new token ends, in unix time.
    """

    def __init__(
        self,
        source: AccessTokenSource,
        store: AccessTokenStore,
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
        self._token: AccessToken | None = None
        self._dead: str | None = None
        self._refreshing: asyncio.Task[AccessToken | ScanpushError] | None = None
        self._renewed_at = float("-inf")
        self._fetched_at: deque[float] = deque(maxlen=FETCHES_A_MINUTE)
        self._refusal: tuple[float, WeChatRefused] | None = None

    async def get(self) -> str:
        """The value of `current`, and its errors."""
        return (await self.current()).value

    async def current(self) -> AccessToken:
        """A token that works as far as is known.

        Raises:
            WeChatUnavailable, WeChatRefused, StoreUnavailable: there is none and none can be had.
        """
        token = self._token
        if token is None or not self._usable(token):
            # Shielded: a caller that gives up does not end the refresh others wait for.
            result = await asyncio.shield(self._refresh())
            if isinstance(result, ScanpushError):
                raise result.with_traceback(None)
            return result
        rested = self._clock.monotonic() - self._renewed_at >= RENEW_PAUSE_SECONDS
        if self._left(token) < self._renew_below and rested:
            self._refresh()
        return token

    async def invalidate(self, token: str) -> None:
        """WeChat refused `token`: do not hand it out again.

        Only if it is still the one in use; a late caller's old token changes nothing.
        """
        if self._token is not None and self._token.value == token:
            self._token = None
            self._dead = token

    def _left(self, token: AccessToken) -> float:
        return token.expires_at - self._clock.now()

    def _usable(self, token: AccessToken) -> bool:
        return token.value != self._dead and self._left(token) > 0

    def _refresh(self) -> asyncio.Task[AccessToken | ScanpushError]:
        if self._refreshing is None or self._refreshing.done():
            self._renewed_at = self._clock.monotonic()
            self._refreshing = self._supervisor.spawn(self._run(), name="access_token refresh")
        return self._refreshing

    async def _run(self) -> AccessToken | ScanpushError:
        """One refresh. A failure is its result: every waiter gets it, and there may be none."""
        try:
            async with self._store.lock(self._source.key):
                # Looked up only now: another node may have renewed while this one waited.
                self._token = await self._from_store_or_wechat()
        except (WeChatUnavailable, WeChatRefused, StoreUnavailable) as error:
            log.warning("no new access_token: %s", error)
            return error
        if self._on_renewed is not None:
            self._on_renewed(self._token.expires_at)
        return self._token

    async def _from_store_or_wechat(self) -> AccessToken:
        record = await self._store.load(self._source.key)
        if record is not None and self._usable(record.token):
            known = self._token is not None and record.token.value == self._token.value
            # Another node was quicker, unless this is the token that is to be renewed.
            if not known or self._left(record.token) >= self._renew_below:
                return record.token
        forced_at = record.forced_at if record is not None else ()
        token = await self._fetch(force=False)
        if token.value == self._dead:
            # WeChat refuses this token and still hands it out: only force_refresh replaces it.
            forced_at = self._one_more_force(forced_at)
            token = await self._fetch(force=True)
        await self._store.save(self._source.key, AccessTokenRecord(token, forced_at))
        return token

    def _one_more_force(self, forced_at: tuple[float, ...]) -> tuple[float, ...]:
        """Note a force_refresh; raises where WeChat would ignore it."""
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

    async def _fetch(self, *, force: bool) -> AccessToken:
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


class AuthorizedClient:
    """Calls that need an access_token: with it, and once more with another if it is refused."""

    def __init__(self, client: WeChatClient, tokens: AccessTokenCache) -> None:
        self._client = client
        self.tokens = tokens

    async def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """As `WeChatClient.json`, with access_token added to the query."""

        async def call(token: str) -> dict[str, Any]:
            return await self._client.json(
                method,
                path,
                query={"access_token": token, **(query or {})},
                body=body,
                repeatable=repeatable,
            )

        return await self._with_token(call)

    async def picture(self, path: str, body: Mapping[str, Any]) -> ApiAnswer:
        """As `WeChatClient.picture`."""

        async def call(token: str) -> ApiAnswer:
            return await self._client.picture(path, query={"access_token": token}, body=body)

        return await self._with_token(call)

    async def _with_token(self, call: Callable[[str], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._client.timeout_seconds):
                token = await self.tokens.get()
                try:
                    return await call(token)
                except WeChatRefused as refusal:
                    if refusal.errcode not in TOKEN_INVALID:
                        raise
                # Once only: a second refusal means that the fault is not the token's age.
                await self.tokens.invalidate(token)
                return await call(await self.tokens.get())
        except TimeoutError:
            raise WeChatUnavailable("time-out") from None


def make_authorized_client(
    client: WeChatClient,
    store: AccessTokenStore,
    clock: Clock,
    supervisor: Supervisor,
    *,
    app_id: str,
    app_secret: str,
    credential: Literal["stable", "classic"] = "stable",
    on_renewed: Callable[[float], None] | None = None,
) -> AuthorizedClient:
    """Calls with the access_token of one app_id, an account's or the mini program's.

    Args:
        on_renewed: see `AccessTokenCache`.
    """
    kind = StableTokenSource if credential == "stable" else ClassicTokenSource
    source = kind(client, clock, app_id, app_secret)
    tokens = AccessTokenCache(source, store, clock, supervisor, on_renewed=on_renewed)
    return AuthorizedClient(client, tokens)
