"""Learning the unionid of people who log in, at no login's expense.

By its unionid an identity joins those that the person has at the owner's other apps. A new person
is logged in without it, as a new user; the store notes with the login that the unionid is owed, and
this node asks WeChat a moment later, for all who came meanwhile in one call. If the person was
known by another app, their users are joined: the older id stays, and the token that is out stays
good through the alias. What a crash, an outage or a shutdown leaves owed is taken up by any node
(`sweep`), and two nodes that ask about the same person do no harm.

Only where `login.registration` keeps strangers from logging in is WeChat waited for (`ask_now`):
whether the person is one decides what they see, and neither a refusal nor a form can be taken
back a second later.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from services.clock import Clock
from services.errors import StoreUnavailable, WeChatError, WeChatRefused
from services.ids import OpenId
from services.logs import short_hash
from services.metrics import Metrics
from services.people.store import Identity, UserStore
from services.tasks import Supervisor
from services.wechat.accounts import Account, Accounts
from services.wechat.official_account import MAX_OPENIDS, Follower

log = logging.getLogger("scanpush.people")

MOST_WAIT_SECONDS = 1.0
"""How long a stranger's admission waits for user/info, which usually takes 0.1 to 0.3."""

GATHER_SECONDS = 0.25
"""How long those who log in are gathered for one call."""

MOST_WAITING = 10_000
"""People of an account to be asked about by this node: some 2 MB. More are left to the sweep."""

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
"""An account's questions pause after a failure, twice as long after each further one."""

NO_UNIONID_SECONDS = 600.0
"""For how long an account's answer "this follower has no unionid" is believed for all its people:
the account then belongs to no Open Platform account, or may not ask."""

JOINED_AT_ONCE = 8
"""The batches of the store are of this order, and logins are not to wait for them."""

MOST_COUNTED = 10_000
"""More people than this are not counted: counting reads each."""

NOT_ALLOWED = 48001
"""WeChat's errcode for an account whose type may not call user/info."""

UNKNOWN_OPENID = 40003
"""WeChat's errcode for an openid that is not of this account; one of many refuses them all."""


@dataclass
class _Questions:
    """Of one account: about whom WeChat is to be asked next, and when again after a failure."""

    waiting: dict[OpenId, None] = field(default_factory=dict)
    """A set that keeps its order."""
    asking: bool = False
    """Whether a task asks for them."""
    pause_seconds: float = 0.0
    paused_until: float = float("-inf")
    """By the monotonic clock."""


class UnionIds:
    """Asks WeChat (user/info) for unionids that are owed, and has the store join users by them.

    At most one call of each account is out at a time, but for those of `ask_now`. No method raises
    a `WeChatError`.

    Args:
        gather_seconds: see `GATHER_SECONDS`; a test makes it short.
    """

    def __init__(
        self,
        users: UserStore,
        accounts: Accounts,
        clock: Clock,
        supervisor: Supervisor,
        metrics: Metrics,
        *,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._users = users
        self._accounts = accounts
        self._clock = clock
        self._supervisor = supervisor
        self._metrics = metrics
        self._gather_seconds = gather_seconds
        self._questions = {account.name: _Questions() for account in accounts}

    async def ask_now(self, account: Account, identity: Identity) -> Identity:
        """`identity` with its unionid where WeChat tells it within `MOST_WAIT_SECONDS`; else as it
        is."""
        if not account.can_tell_unionid(identity, self._clock.monotonic()):
            return identity
        try:
            async with asyncio.timeout(MOST_WAIT_SECONDS):
                follower = await account.api.user_info(identity.openid)
        except (WeChatError, StoreUnavailable, TimeoutError) as error:
            self._judge(account, error)
            log.info("no unionid this time: %s", str(error) or "time-out")
            return identity
        self._judge(account, follower)
        return identity._replace(unionid=follower.unionid)

    def ask_later(self, account: Account, identity: Identity) -> None:
        """A unionid is owed since now: ask for it soon, apart from the login."""
        questions = self._questions[account.name]
        paused = self._clock.monotonic() < questions.paused_until
        if paused or len(questions.waiting) >= MOST_WAITING:
            return  # It stands in the store, where the sweep finds it.
        questions.waiting[identity.openid] = None
        if not questions.asking:
            questions.asking = True
            self._supervisor.spawn(self._ask_all(account, questions), name="unionids")

    async def sweep(self) -> None:
        """Take up what was left owed, by this node or another.

        Raises:
            StoreUnavailable: what is owed cannot be read; nothing is lost.
        """
        owed = await self._users.count_owed_unionids(MOST_COUNTED)
        self._metrics.unionids_owed(owed)
        if not owed:
            return
        for account in self._accounts:
            questions = self._questions[account.name]
            room = MAX_OPENIDS - len(questions.waiting)
            paused_until = max(questions.paused_until, account.unionid_unavailable_until)
            paused = self._clock.monotonic() < paused_until
            if account.app_id and room > 0 and not paused:
                now = self._clock.now()
                for identity in await self._users.owed_unionids(account.app_id, now, room):
                    self.ask_later(account, identity)

    async def _ask_all(self, account: Account, questions: _Questions) -> None:
        try:
            while questions.waiting:
                if len(questions.waiting) < MAX_OPENIDS:
                    await asyncio.sleep(self._gather_seconds)
                openids = list(islice(questions.waiting, MAX_OPENIDS))
                for openid in openids:
                    del questions.waiting[openid]
                await self._ask(account, openids)
                questions.pause_seconds = 0.0
        except (WeChatError, StoreUnavailable) as error:
            pause = max(FIRST_PAUSE_SECONDS, 2 * questions.pause_seconds)
            questions.pause_seconds = min(pause, LONGEST_PAUSE_SECONDS)
            questions.paused_until = self._clock.monotonic() + questions.pause_seconds
            log.warning(
                "account %s: unionids are owed, and asked for again in %d s: %s",
                account.name,
                questions.pause_seconds,
                error,
            )
        finally:
            # All of them are still owed, in the store.
            questions.waiting.clear()
            questions.asking = False

    async def _ask(self, account: Account, openids: Sequence[OpenId]) -> None:
        try:
            followers = await account.api.followers(openids)
        except WeChatRefused as refusal:
            self._judge(account, refusal)
            if refusal.errcode == UNKNOWN_OPENID and len(openids) > 1:
                half = len(openids) // 2
                await self._ask(account, openids[:half])
                await self._ask(account, openids[half:])
                return
            if refusal.errcode not in (NOT_ALLOWED, UNKNOWN_OPENID):
                raise
            # Nothing will be different when they are asked about again.
            log.info("no unionid of %s: %s", ", ".join(map(short_hash, openids)), refusal)
            followers = []
        for follower in followers:
            self._judge(account, follower)
        told = {follower.openid: follower.unionid for follower in followers}
        for start in range(0, len(openids), JOINED_AT_ONCE):
            await asyncio.gather(
                *(
                    self._users.join(Identity(account.app_id, openid, told.get(openid)))
                    for openid in openids[start : start + JOINED_AT_ONCE]
                )
            )

    def _judge(self, account: Account, answer: Follower | Exception) -> None:
        """What an answer about one person says of the whole account."""
        if isinstance(answer, Follower):
            # Of people who do not follow WeChat tells no unionid in any account.
            unavailable = answer.subscribed and answer.unionid is None
        else:
            unavailable = isinstance(answer, WeChatRefused) and answer.errcode == NOT_ALLOWED
        if unavailable:
            account.unionid_unavailable_until = self._clock.monotonic() + NO_UNIONID_SECONDS
