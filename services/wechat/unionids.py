"""Learning the unionid of people who log in, without a login failing or waiting long for it."""

import asyncio
import logging

from services.caches import Cache
from services.clock import Clock
from services.errors import StoreUnavailable, WeChatError, WeChatRefused
from services.ids import AppId, OpenId, UnionId
from services.people.store import Identity, UserStore
from services.tasks import Supervisor
from services.wechat.accounts import Account

log = logging.getLogger("scanpush.people")

UNIONID_SECONDS = 1.0
"""How much of a login's time user/info may take."""

NO_UNIONID_SECONDS = 600.0
"""For how long an account's answer "this follower has no unionid" is believed for all its people:
the account then belongs to no Open Platform account, or may not ask."""

MOST_SEEN = 10_000
"""People whose unionid is remembered here: about 3 MB."""

NOT_ALLOWED = 48001
"""WeChat's errcode for an account whose type may not call user/info."""


class UnionIds:
    """Asks WeChat (cgi-bin/user/info) for unionids that are not known yet."""

    def __init__(self, users: UserStore, clock: Clock, supervisor: Supervisor) -> None:
        self._users = users
        self._clock = clock
        self._supervisor = supervisor
        self._seen: Cache[tuple[AppId, OpenId], UnionId] = Cache(MOST_SEEN)

    async def completed(self, account: Account, identity: Identity) -> Identity:
        """`identity` with its unionid where that can be known within a second.

        Never fails for WeChat's sake. An answer that comes later is joined when it comes.
        """
        if not account.can_tell_unionid(identity, self._clock.monotonic()):
            return identity
        known = await self._stored(identity)
        if known is not None:
            return identity._replace(unionid=known)
        # A task of its own: an answer that comes after the login has gone on still counts.
        asking = self._supervisor.spawn(self._ask(account, identity), name="user/info")
        answered, _ = await asyncio.wait({asking}, timeout=UNIONID_SECONDS)
        if not answered:
            self._supervisor.spawn(self._join_later(asking, identity), name="join unionid")
            return identity
        return identity._replace(unionid=asking.result())

    async def _stored(self, identity: Identity) -> UnionId | None:
        # WeChat never gives an openid another unionid, so those seen last need not be looked up.
        key = (identity.app_id, identity.openid)
        if (unionid := self._seen.get(key)) is None:
            found = await self._users.find(identity)
            if found is None or (unionid := found[1].unionid) is None:
                return None
        self._seen.keep(key, unionid)
        return unionid

    async def _ask(self, account: Account, identity: Identity) -> UnionId | None:
        try:
            follower = await account.api.user_info(identity.openid)
        except (WeChatError, StoreUnavailable) as error:
            if isinstance(error, WeChatRefused) and error.errcode == NOT_ALLOWED:
                self._give_up(account)
            log.info("no unionid this time: %s", error)
            return None
        # Of people who do not follow WeChat tells no unionid in any account.
        if follower.subscribed and follower.unionid is None:
            self._give_up(account)
        return follower.unionid

    def _give_up(self, account: Account) -> None:
        account.unionid_unavailable_until = self._clock.monotonic() + NO_UNIONID_SECONDS

    async def _join_later(self, asking: asyncio.Task[UnionId | None], identity: Identity) -> None:
        unionid = await asking
        if unionid is None:
            return
        try:
            await self._users.join(identity._replace(unionid=unionid))
        except StoreUnavailable as error:
            log.warning("a unionid waits for the next login: %s", error)
