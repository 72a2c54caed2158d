"""Sessions as the rest of the server uses them: begin with a login, renew, list, end.

All ends of sessions go through `SessionService`, which tells those who want to know (`on_ended`).

A login's session begins together with its authorization, for a short life: the page's ack, or the
first refresh, puts its end off (`confirm`, `Refresh.life_seconds`). So a login that never arrived
leaves nothing behind that counts for ``sessions.most_per_user``.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable
from services.events.service import note
from services.ids import SceneStr, UserId, secret_hash
from services.logs import PacedLog
from services.metrics import Metrics
from services.people.store import UserStore
from services.rate_limits import RateLimits
from services.sessions.states import (
    BROWSER,
    UNCONFIRMED_SECONDS,
    Refresh,
    Refreshed,
    Session,
    SessionId,
    is_over,
    reused,
)
from services.sessions.store import SessionStore
from services.sessions.tokens import RefreshTokens, new_session_id, session_of_scene
from services.tokens.claims import Claims

log = logging.getLogger("scanpush.sessions")

EXPIRE_SECONDS = 30.0
"""Between two rounds of forgetting."""

SLICE = 50
"""Sessions forgotten at once: a millisecond of the store's writer."""


class Renewal(NamedTuple):
    """A used refresh token: the session as it is now, and what the next pair is made of.

    A repeat of a lost answer gets an equal one.
    """

    session: Session
    refresh_token: str
    claims: Claims


class SessionService:
    """The sessions of logins, browsers and clients.

    Args:
        unproven: counts by address what no key of this server has signed, in this process alone:
            only so many of those cost a look at the store.
        amr: how people are authenticated here, for the claim of that name.
        life_seconds: of a login's session (``sessions.refresh_ttl_seconds``).
        idle_seconds: see `states.is_over`; browser sessions have no such limit.
        most_per_user: 0 for any number.
        collect_ttl_seconds: how long an authorized login waits for its page.
        token_ttl_seconds: of the access tokens.
    """

    def __init__(
        self,
        store: SessionStore,
        users: UserStore,
        tokens: RefreshTokens,
        unproven: RateLimits,
        clock: Clock,
        metrics: Metrics,
        *,
        amr: Sequence[str],
        life_seconds: int,
        idle_seconds: int,
        most_per_user: int,
        collect_ttl_seconds: int,
        token_ttl_seconds: int,
    ) -> None:
        self._store = store
        self._users = users
        self._tokens = tokens
        self._unproven = unproven
        self._clock = clock
        self._metrics = metrics
        self._amr = " ".join(amr)
        self._life_seconds = life_seconds
        self._idle_seconds = idle_seconds
        self.most_per_user = most_per_user
        self._unconfirmed_seconds = collect_ttl_seconds + UNCONFIRMED_SECONDS
        self._token_ttl_seconds = token_ttl_seconds
        self._paced_log = PacedLog(log)
        self.on_ended: list[Callable[[Sequence[Session]], None]] = []
        """Called on the event loop with sessions that have just ended, other than by time."""

    # Logins.

    def of_scene(self, scene_str: SceneStr) -> Session:
        """The session that the login of that scene is to begin, but for whose and where it is."""
        ends_at = self._clock.now() + self._unconfirmed_seconds
        return self._new(session_of_scene(scene_str), ends_at)

    async def begin_at_once(self, user_id: UserId, account: str, kind: str, label: str) -> Session:
        """The session of a login without a scene, whose answer is its delivery.

        Raises:
            StoreUnavailable: it may have begun.
        """
        session = self._new(new_session_id(), self._clock.now() + self._life_seconds)
        session = session._replace(user_id=user_id, account=account, kind=kind, label=label)
        await self.begin(session)
        return session

    def _new(self, session_id: SessionId, ends_at: float) -> Session:
        now = self._clock.now()
        return Session(
            session_id,
            UserId(""),
            client="",
            parent=None,
            account="",
            kind="",
            label="",
            amr=self._amr,
            scope="",
            begun_at=now,
            auth_at=now,
            used_at=now,
            ends_at=ends_at,
            generation=1,
            token_hash=secret_hash(self._tokens.derive(session_id, 1)),
        )

    async def begin(self, session: Session) -> None:
        """Keep a session; the person's longest unused ends where it is one too many.

        Raises:
            StoreUnavailable: it may have begun; again is safe.
        """
        now = self._clock.now()
        ended = await self._store.begin(session, most_per_user=self.most_per_user, now=now)
        self.tell(ended)

    def first_token(self, session_id: SessionId) -> str:
        """The refresh token that a session begins with: the same however often it is asked for."""
        return self._tokens.derive(session_id, 1)

    async def confirm(self, session_id: SessionId) -> None:
        """The login arrived: its session gets its whole life. Again is no error.

        Raises:
            StoreUnavailable: again is safe.
        """
        await self._store.confirm(session_id, self._clock.now() + self._life_seconds)

    # Refresh tokens.

    async def renew(
        self, refresh_token: str, address: str, *, client: str = "", life_seconds: float = 0
    ) -> Renewal | None:
        """Use a refresh token: it works once, and again within ten seconds for a lost answer.

        None: it does not work, and after a theft the session has ended.

        Args:
            client: whose token it must be; empty: a login's.
            life_seconds: see `Refresh`.

        Raises:
            ApiError: ``rate_limited``: too many tokens that no key of this server has signed.
            StoreUnavailable: again with the same token is safe.
        """
        presented = self._tokens.read(refresh_token)
        if presented is None:
            self._metrics.refresh(Refreshed.REFUSED)
            return None
        if not presented.is_genuine:
            await self._unproven.spend("refreshes", address)
        session_id, generation = presented.session_id, presented.generation
        successor = self._tokens.derive(session_id, generation + 1)
        refreshing = await self._store.refresh(
            Refresh(
                session_id,
                client,
                generation,
                presented.token_hash,
                secret_hash(successor),
                presented.is_genuine,
                self._idle_seconds,
                life_seconds,
            ),
            self._clock.now(),
        )
        outcome, session = refreshing.outcome, refreshing.session
        if outcome is Refreshed.REUSED and session is not None:
            log.warning("a refresh token was used again: its session ends")
            note(reused(session, self._clock.now()))
            self.tell(refreshing.ended)
        elif session is not None and outcome is not Refreshed.REFUSED:
            person = await self._users.person(session.user_id)
            if person.banned or not person.known:
                # The ban, or the removal, has not come to its sessions yet, or was cut off before.
                self.tell(await self._store.end_of_user(session.user_id))
                outcome = Refreshed.REFUSED
        self._metrics.refresh(outcome)
        if session is None or outcome not in (Refreshed.ROTATED, Refreshed.REPEATED):
            return None
        issued_at = int(session.rotated_at)
        until = min(issued_at + self._token_ttl_seconds, math.ceil(session.ends_at))
        jti = self._tokens.jti(session_id, generation + 1)
        return Renewal(session, successor, Claims(jti, issued_at, until, is_new=False))

    async def refresh(self, refresh_token: str, address: str) -> Renewal:
        """`renew` for a login's token.

        Raises:
            ApiError: ``unauthorized``; ``rate_limited``.
            StoreUnavailable: again with the same token is safe.
        """
        renewal = await self.renew(refresh_token, address, life_seconds=self._life_seconds)
        if renewal is None:
            raise ApiError("unauthorized", "The refresh token is not valid, or not any more.")
        return renewal

    async def revoke(self, refresh_token: str, address: str, *, client: str = "") -> None:
        """End the session of that token, if it is one of that client's.

        Raises:
            StoreUnavailable: again is safe.
        """
        presented = self._tokens.read(refresh_token)
        if presented is None:
            return
        if not presented.is_genuine and await self._unproven.allow("refreshes", address):
            return
        session = await self._store.get(presented.session_id, self._clock.now())
        if session is None or session.client != client:
            return
        is_own = presented.is_genuine and presented.generation <= session.generation
        if is_own or presented.token_hash in (session.token_hash, session.previous_hash):
            await self.end(session.id)

    # Sessions.

    async def get(self, session_id: SessionId) -> Session | None:
        """The session, if it has not ended.

        Raises:
            StoreUnavailable: whether it has cannot be said now.
        """
        now = self._clock.now()
        session = await self._store.get(session_id, now)
        return session if session is not None and self._lives(session, now) else None

    async def of_user(self, user_id: UserId) -> Sequence[Session]:
        """The person's sessions of logins, browsers and devices, the latest begun first.

        Raises:
            StoreUnavailable
        """
        now = self._clock.now()
        return [one for one in await self._store.of_user(user_id, now) if self._lives(one, now)]

    def _lives(self, session: Session, now: float) -> bool:
        idle_seconds = 0 if session.client == BROWSER else self._idle_seconds
        return not is_over(session, idle_seconds, now)

    async def end(self, session_id: SessionId) -> Sequence[Session]:
        """End a session and those below it; those that ended by this call.

        Raises:
            StoreUnavailable: again is safe.
        """
        ended = await self._store.end(session_id)
        self.tell(ended)
        return ended

    async def end_own(self, user_id: UserId, session_id: SessionId) -> bool:
        """End that session if it is the person's; False where it is not, or there is none.

        Raises:
            StoreUnavailable: again is safe.
        """
        if all(one.id != session_id for one in await self.of_user(user_id)):
            return False
        await self.end(session_id)
        return True

    async def end_of_user(
        self, user_id: UserId, *, except_id: SessionId | None = None
    ) -> Sequence[Session]:
        """End all of a person's, but for one; those that ended by this call.

        Raises:
            StoreUnavailable: again is safe.
        """
        ended = await self._store.end_of_user(user_id, except_id=except_id)
        self.tell(ended)
        return ended

    def tell(self, ended: Sequence[Session]) -> None:
        """Tell `on_ended` of sessions that a store has ended."""
        if ended:
            for told in self.on_ended:
                told(ended)

    async def expire_forever(self) -> None:
        """For a background task on every node: sessions whose time is up leave the store."""
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            try:
                while await self._store.expire(self._clock.now(), SLICE) >= SLICE:
                    await asyncio.sleep(0)  # for the refreshes in between
            except StoreUnavailable as error:
                self._paced_log.log(logging.WARNING, "old sessions wait for the store: %s", error)
