"""WeChat credentials shared by all nodes through Redis: one renews, the others read."""

import asyncio
import contextlib
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from services.errors import StoreUnavailable
from services.redis_link import RedisLink, Script
from services.wechat.credentials import CredentialRecord, Token

log = logging.getLogger("scanpush.wechat")

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
