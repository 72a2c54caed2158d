"""The login itself: a claimed scene, its person, and the authorization that hands it a token.

`LoginService` makes the moves of a scene after it was begun, for pages, sockets, callbacks and the
sweeper. A login that needs no further question is one call, `complete_login`, down to the stores:
`LoginStore` says what they promise, `SteppedLoginStore` does it in three steps, and the embedded
store in one transaction (`store_sqlite.SqliteLoginStore`). `LoginTerms` is what they are handed.
"""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pydantic_core import to_json

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable, unauthorized
from services.ids import OpenId, SceneStr, UserId, WatchToken, secret_hash
from services.logs import short_hash
from services.metrics import Metrics
from services.origins import summary
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, UserStore
from services.scenes import status
from services.scenes.states import (
    FINAL,
    NO_DETAILS,
    OPEN,
    Kind,
    Move,
    Outcome,
    Scene,
    State,
    Step,
    Verdict,
)
from services.scenes.store import SceneStore
from services.sessions.service import SessionService
from services.sessions.states import Session, SessionId
from services.tokens.claims import Purpose, Ticket
from services.tokens.issuer import Issuer

log = logging.getLogger("scanpush.login")

_NO_HASH = bytes(32)

COLLECTABLE = frozenset({State.AUTHORIZED, State.CONSUMED})
"""Where a login can be collected, or was."""

WAITING = frozenset({State.WAITING})

BANNED = "banned"
"""The outcome, and the `error` of the scene, for a person whom the operator has banned."""

Replies = Mapping[tuple[str, str], str]
"""What a person reads in the chat, by outcome and language of the scene."""

NO_REPLIES: Replies = MappingProxyType({})

SID = "sid"
"""Of a scene's details: the id of the session that its login began."""


class SessionTerms(NamedTuple):
    """What the session of a login begins with, as data, so that any store begins it."""

    template: Session
    """But for what only the claimed scene and its login tell."""
    most_per_user: int

    def begun(self, scene: Scene, login: Login) -> Session:
        """The session to begin before the scene is authorized, or together with that."""
        return self.template._replace(
            user_id=login.user.id,
            account=scene.account,
            kind=scene.kind.value,
            label=summary(scene.details.get("user_agent", "")),
        )


class LoginTerms(NamedTuple):
    """What a login is authorized with, besides its person: data, so that any store applies it.

    `replies` is what the person reads in the chat, by (outcome, language of the scene); without an
    `outcome_key` no reply is kept.
    """

    collect_ttl_seconds: int
    token_ttl_seconds: int
    jti: str
    outcome_key: str = ""
    replies: Replies = NO_REPLIES
    session: SessionTerms | None = None
    """What the login's session begins with; None: it begins none."""

    def session_of(self, scene: Scene) -> SessionTerms | None:
        """What the session of that scene's login begins with. The OpenID Provider begins one of its
        own, for the browser."""
        if self.session is None or status.of_authorization(scene):
            return None
        return self.session

    def authorization(self, scene: Scene, login: Login, outcome: Outcome | None = None) -> Move:
        """The move that hands a claimed scene its login, with the reply to keep for its event; that
        of a banned person fails."""
        user = login.user
        details = {"name": user.name, "avatar": user.avatar} if user.name else NO_DETAILS
        if (session := self.session_of(scene)) is not None:
            details = {**details, SID: session.template.id}
        if outcome is None and self.outcome_key:
            reply = self.replies.get((outcome_of(login), scene.lang), "")
            outcome = Outcome(self.outcome_key, reply)
        if user.banned:
            return keeping_out(scene, outcome, user.id)
        return Move(
            State.AUTHORIZED,
            frozenset({scene.state}),
            life_seconds=self.collect_ttl_seconds,
            openid=scene.openid,
            user_id=user.id,
            jti=self.jti,
            is_new=login.is_new,
            token_ttl_seconds=self.token_ttl_seconds,
            details=details,
            outcome=outcome,
        )


def keeping_out(scene: Scene, outcome: Outcome | None, user_id: UserId) -> Move:
    """The move that ends the scene of a banned person, with the reply to keep for its event."""
    return Move(
        State.FAILED,
        frozenset({scene.state}),
        openid=scene.openid,
        user_id=user_id,
        error=BANNED,
        outcome=outcome,
    )


def outcome_of(login: Login) -> str:
    """The outcome of a login, as the reply texts name it."""
    if login.user.banned:
        return BANNED
    return "registered" if login.is_new else "logged_in"


class Completion(NamedTuple):
    """What became of `LoginStore.complete_login`: the last move that was tried.

    Without a `login` it is the claim, which was in vain. With that of a banned person the scene has
    failed.
    """

    step: Step
    login: Login | None = None
    ended: Sequence[Session] = ()
    """Sessions of the person that had to make room for this login's."""


def is_claimed(step: Step) -> bool:
    """Whether a claim leaves the rest of the login to its caller."""
    return (
        step.reply is None
        and step.verdict is not Verdict.REFUSED
        and step.scene is not None
        and step.scene.state is State.SCANNED
    )


class LoginStore(Protocol):
    """Completes a login over scenes and people.

    The order of the writes: the claim; the person; their session, where logins begin one; the
    authorization together with the reply to keep for the event; then one notice.
    `SqliteLoginStore` makes one transaction of all before the notice, `SteppedLoginStore` steps.

    Raises `errors.StoreUnavailable`; doing it again is then safe and ends in the same outcome.
    """

    async def complete_login(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        terms: LoginTerms,
        *,
        unionid_wanted: bool,
    ) -> Completion:
        """
        Args:
            claim: to ``scanned``, with the key of the event's reply.
            unionid_wanted: see `UserStore.login`.
        """


class SteppedLoginStore:
    """`LoginStore` in steps, for scenes, people and sessions in different stores.

    The claim records that the server owes the login: what a crash leaves between two steps is
    finished by the sweeper.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        clock: Clock,
        sessions: SessionService | None = None,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._clock = clock
        self._sessions = sessions

    async def complete_login(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        terms: LoginTerms,
        *,
        unionid_wanted: bool,
    ) -> Completion:
        # The claim comes before the person: of two people who scan at once, only the one who gets
        # the scene is registered.
        claimed = await self._scenes.advance(scene_str, claim)
        scene = claimed.scene
        if scene is None or not is_claimed(claimed):
            return Completion(claimed)
        login = await self._users.login(
            identity, scene_str, scene.account, self._clock.now(), unionid_wanted=unionid_wanted
        )
        # The session comes before the authorization: a login that is delivered has it.
        session = terms.session_of(scene)
        if session is not None and self._sessions is not None:
            await self._sessions.begin(session.begun(scene, login))
        # The event's reply is written with this move. Kept any earlier, it would make WeChat's next
        # try after a crash look like a repeat of a login that never came.
        step = await self._scenes.advance(scene_str, terms.authorization(scene, login))
        log.info("scene %s: %s %s", scene_str, outcome_of(login), short_hash(identity.openid))
        return Completion(step, login)


class LoginService:
    """The moves of a scene, and what its browser may see of it.

    Args:
        logins: completes logins over `scenes` and `users`.
        amr: how people are authenticated here (``["simulated"]`` under the simulator).
        tickets: whether a page may get a ticket in place of its login now, at kiosks and for
            clients of the OpenID Provider; while none does, an ack is spared a look.
        on_delivery: called for every delivery of a login, where the operator wants to know.
        sessions: None where logins begin none.
        screen_of: what pages of public screens are told besides, where an operator cares for them.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        issuer: Issuer,
        logins: LoginStore,
        clock: Clock,
        metrics: Metrics,
        *,
        amr: tuple[str, ...],
        collect_ttl_seconds: int,
        token_ttl_seconds: int,
        tickets: Callable[[], bool] = lambda: False,
        on_delivery: Callable[[Scene], None] | None = None,
        sessions: SessionService | None = None,
        screen_of: status.ScreenOf | None = None,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._issuer = issuer
        self._logins = logins
        self._clock = clock
        self._metrics = metrics
        self._amr = amr
        self._collect_ttl_seconds = collect_ttl_seconds
        self._token_ttl_seconds = token_ttl_seconds
        self._tickets = tickets
        self._on_delivery = on_delivery
        self._sessions = sessions
        self._screen_of = screen_of
        self._refresh_token = None if sessions is None else self._first_refresh_token

    # What the page may do.

    async def authenticated(self, scene_str: SceneStr, watch_token: WatchToken) -> Scene:
        """The scene, for the browser that began it; `ApiError` ``unauthorized`` for others."""
        scene = await self._scenes.get(scene_str)
        # Compared in constant time, and with something even where there is no scene.
        expected = _NO_HASH if scene is None else scene.watch_hash
        if not hmac.compare_digest(expected, secret_hash(watch_token)) or scene is None:
            raise unauthorized()
        return scene

    def document(self, scene: Scene) -> bytes:
        """The status document, its token signed now."""
        if self._on_delivery is not None and scene.state is State.AUTHORIZED:
            self._on_delivery(scene)
        return to_json(
            status.document(
                scene, self._clock.now(), self._mint, self._refresh_token, self._screen_of
            )
        )

    async def ack(self, scene_str: SceneStr, seq: int) -> None:
        """The page has its login: consume it. Again is no error; another `seq` is ``stale_seq``.

        A page that got a ticket has no login (a kiosk's operator exchanges it, and a page of the
        OpenID Provider posts it): its ack says that it was received, and leaves the login where it
        is.
        """
        if self._tickets() or self._sessions is not None:
            scene = await self._scenes.get(scene_str)
            if scene is not None and (status.of_kiosk(scene) or status.of_authorization(scene)):
                authorized_seq = scene.seq - (scene.state is State.CONSUMED)
                if scene.state not in COLLECTABLE or seq != authorized_seq:
                    raise _stale_seq()
                return
            await self._confirm(scene, seq)
        step = await self._scenes.advance(
            scene_str, Move(State.CONSUMED, frozenset({State.AUTHORIZED}), seq=seq)
        )
        self._count_end(step)
        if step.scene is None:
            raise unauthorized()
        # Consumed by an earlier ack of the same status: a repeat.
        if step.verdict is not Verdict.MOVED and (
            step.scene.state is not State.CONSUMED or step.scene.seq != seq + 1
        ):
            raise _stale_seq()

    async def cancel(self, scene_str: SceneStr) -> None:
        """The page gives the scene up. Once it ended, or belongs to a login, that is too late."""
        step = await self._scenes.advance(scene_str, Move(State.CANCELLED, OPEN))
        self._count_end(step)
        if step.verdict is Verdict.REFUSED and step.scene and step.scene.state is State.AUTHORIZED:
            raise ApiError("stale_seq", "The login is already there; acknowledge it instead.")

    async def exchange(self, scene_str: SceneStr, seq: int) -> Mapping[str, Any] | None:
        """The login document of a kiosk's scene, for the operator's server: once, for the first
        caller, and None for every later one."""
        if self._sessions is not None:
            await self._confirm(await self._scenes.get(scene_str), seq)
        scene = await self.take(scene_str, seq)
        if scene is None:
            return None
        refresh = self._refresh_token(scene) if self._refresh_token is not None else ""
        return status.login_document(scene, self._clock.now(), self._token(scene), refresh)

    async def take(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The authorized scene that a ticket is about, which is consumed: for the first caller,
        and None for every later one."""
        # The scene keeps a mark of this call. Where the connection to the store is lost, the move
        # may have been made although no answer came: the second try finds its own mark then.
        mark = secrets.token_hex(8)
        move = Move(
            State.CONSUMED, frozenset({State.AUTHORIZED}), seq=seq, details={"exchange": mark}
        )
        try:
            step = await self._scenes.advance(scene_str, move)
        except StoreUnavailable:
            step = await self._scenes.advance(scene_str, move)
        self._count_end(step)
        if step.scene is None or step.scene.details.get("exchange") != mark:
            return None
        return step.scene

    async def _confirm(self, scene: Scene | None, seq: int) -> None:
        """The login of that status has arrived: its session lives on. Before the scene is consumed:
        after that no page would ask for it again, and a crash in between would end the session."""
        if self._sessions is None or scene is None or scene.state is not State.AUTHORIZED:
            return
        if scene.seq == seq and (sid := scene.details.get(SID)):
            await self._sessions.confirm(SessionId(sid))

    # What login kinds do.

    async def claim(
        self,
        scene_str: SceneStr,
        *,
        account: str,
        kind: Kind,
        openid: OpenId,
        outcome_key: str = "",
        owed: bool = True,
        details: Mapping[str, str] = NO_DETAILS,
    ) -> Step:
        """Take a waiting scene for `openid`.

        The reply kept under `outcome_key`, if the event already had its outcome, is in the step.

        Args:
            owed: from now on the server owes the login; False where the person must still consent.
        """
        move = _claim(account, kind, openid, outcome_key, owed=owed, details=details)
        return await self._scenes.advance(scene_str, move)

    async def complete_login(
        self,
        scene_str: SceneStr,
        identity: Identity,
        *,
        account: str,
        kind: Kind,
        outcome_key: str,
        replies: Replies,
        unionid_wanted: bool,
    ) -> Completion:
        """`claim`, `log_in` and `authorize` in one call, all of it as the stores do it best."""
        claim = _claim(account, kind, identity.openid, outcome_key)
        completion = await self._logins.complete_login(
            scene_str,
            claim,
            identity,
            self._terms(scene_str, outcome_key, replies),
            unionid_wanted=unionid_wanted,
        )
        step, login, ended = completion
        if ended and self._sessions is not None:
            self._sessions.tell(ended)
        if login is not None:
            self._count_login(step, login)
        return completion

    def _count_login(self, step: Step, login: Login) -> None:
        if login.user.banned:
            self._count_end(step)
        elif step.verdict is Verdict.MOVED:
            self._metrics.login(login.is_new)

    def _terms(
        self, scene_str: SceneStr, outcome_key: str = "", replies: Replies = NO_REPLIES
    ) -> LoginTerms:
        session = None
        if self._sessions is not None:
            template = self._sessions.of_scene(scene_str)
            session = SessionTerms(template, self._sessions.most_per_user)
        return LoginTerms(
            self._collect_ttl_seconds,
            self._token_ttl_seconds,
            # An unguessable token id.
            secrets.token_urlsafe(16),
            outcome_key,
            replies,
            session,
        )

    async def log_in(
        self,
        scene: Scene,
        identity: Identity,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
        *,
        unionid_wanted: bool = False,
    ) -> Login:
        """Find or register the person; the same answer however often it is asked for a scene."""
        return await self._users.login(
            identity,
            scene.scene_str,
            scene.account,
            self._clock.now(),
            profile=profile,
            user_id=user_id,
            unionid_wanted=unionid_wanted,
        )

    async def authorize(self, scene: Scene, login: Login, outcome: Outcome | None) -> Step:
        """Hand the claimed scene its login, keeping the event's reply in the same transaction. For
        a banned person it ends in ``failed``.

        The session begins before.

        Args:
            outcome: that reply; None for login kinds without a chat.
        """
        terms = self._terms(scene.scene_str)
        session = terms.session_of(scene)
        if session is not None and self._sessions is not None:
            await self._sessions.begin(session.begun(scene, login))
        move = terms.authorization(scene, login, outcome)
        step = await self._scenes.advance(scene.scene_str, move)
        self._count_login(step, login)
        return step

    async def end(self, scene_str: SceneStr, move: Move) -> Step:
        """A move that may end the scene, and is counted if it does."""
        step = await self._scenes.advance(scene_str, move)
        self._count_end(step)
        return step

    def _count_end(self, step: Step) -> None:
        if step.verdict is Verdict.MOVED and step.scene and step.scene.state in FINAL:
            self._metrics.scene_ended(step.scene.state)

    def _mint(self, scene: Scene, purpose: Purpose | None) -> str:
        return self._token(scene) if purpose is None else self._ticket(purpose, scene)

    def exchange_code(self, scene: Scene) -> str:
        """What the operator's server exchanges for the login of a kiosk's authorized scene."""
        return self._ticket(Purpose.EXCHANGE, scene)

    def _ticket(self, purpose: Purpose, scene: Scene) -> str:
        ticket = Ticket(scene.scene_str, scene.seq)
        return self._issuer.mint_ticket(purpose, ticket, until=scene.ends_at)

    def _token(self, scene: Scene) -> str:
        # An authorized scene has both, and its claims were fixed by the move: signing again, on
        # any node, gives a token of the same id and end.
        assert scene.claims is not None and scene.user_id is not None
        return self._issuer.mint(
            subject=scene.user_id,
            claims=scene.claims,
            account=scene.account,
            amr=self._amr,
            sid=scene.details.get(SID, ""),
        )

    def _first_refresh_token(self, scene: Scene) -> str:
        sid = scene.details.get(SID)
        if sid is None or self._sessions is None:
            return ""
        return self._sessions.first_token(SessionId(sid))


def _claim(
    account: str,
    kind: Kind,
    openid: OpenId,
    outcome_key: str,
    *,
    owed: bool = True,
    details: Mapping[str, str] = NO_DETAILS,
) -> Move:
    return Move(
        State.SCANNED,
        WAITING,
        openid=openid,
        account=account,
        kind=kind,
        owed=owed,
        details=details,
        outcome=Outcome(outcome_key) if outcome_key else None,
    )


def _stale_seq() -> ApiError:
    return ApiError("stale_seq", "That is not the seq of an authorized status.", field="seq")
