"""What happens to a scene after it was begun, whoever asks: page, socket, callback, sweeper."""

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable, unauthorized
from services.ids import OpenId, SceneStr, UserId, WatchToken, secret_hash
from services.metrics import Metrics
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, UserStore
from services.scenes import status
from services.scenes.history import History
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
from services.scenes.store_sqlite import WholeLogin
from services.tokens.claims import Purpose, Ticket
from services.tokens.issuer import Issuer

_NO_HASH = bytes(32)

COLLECTABLE = frozenset({State.AUTHORIZED, State.CONSUMED})
"""Where a login can be collected, or was."""

WAITING = frozenset({State.WAITING})


class LoginService:
    """The moves of a scene, and what its browser may see of it.

    Args:
        node: this node's id, under which sockets are attached.
        amr: how people are authenticated here (``["simulated"]`` under the simulator).
        kiosks: whether any are configured; without them an ack is spared a look.
        timeline: told of every delivery of a login, where the operator wants to know.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        issuer: Issuer,
        whole_login: WholeLogin | None,
        clock: Clock,
        metrics: Metrics,
        *,
        node: str,
        amr: tuple[str, ...],
        collect_ttl_seconds: int,
        token_ttl_seconds: int,
        kiosks: bool = False,
        timeline: History | None = None,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._issuer = issuer
        self._whole_login = whole_login
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._amr = amr
        self._collect_ttl_seconds = collect_ttl_seconds
        self._token_ttl_seconds = token_ttl_seconds
        self._kiosks = kiosks
        self._timeline = timeline

    # What the page may do. `Scenes` of push/delivery.py is made of these.

    async def read(self, scene_str: SceneStr) -> Scene | None:
        return await self._scenes.get(scene_str)

    async def authenticated(self, scene_str: SceneStr, watch_token: WatchToken) -> Scene:
        """The scene, for the browser that began it; `ApiError` ``unauthorized`` for others."""
        scene = await self._scenes.get(scene_str)
        if not _watches(scene, watch_token) or scene is None:
            raise unauthorized()
        return scene

    async def watch(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        """Attach a socket, then read: None for an unknown scene as for a wrong token."""
        return await self._scenes.attach(
            scene_str, self._node, connection, secret_hash(watch_token)
        )

    def at_hand(self, scene_str: SceneStr, seq: int) -> Scene | None:
        return self._scenes.at_hand(scene_str, seq)

    def watch_at_hand(self, scene_str: SceneStr, watch_token: str, connection: int) -> Scene | None:
        return self._scenes.attach_at_hand(
            scene_str, self._node, connection, secret_hash(watch_token)
        )

    async def watch_again(self, scene_str: SceneStr, connection: int) -> Scene | None:
        return await self._scenes.reattach(scene_str, self._node, connection)

    async def unwatch(self, scene_str: SceneStr, connection: int) -> None:
        await self._scenes.detach(scene_str, self._node, connection)

    def document(self, scene: Scene) -> bytes:
        """The status document, its token signed now."""
        if self._timeline is not None and scene.state is State.AUTHORIZED:
            self._timeline.note(scene.scene_str, "delivered", f"seq {scene.seq}")
        return status.encoded(status.document(scene, self._clock.now(), self._mint))

    async def ack(self, scene_str: SceneStr, seq: int) -> None:
        """The page has its login: consume it. Again is no error; another `seq` is ``stale_seq``.

        A kiosk's page has no login, only the code that its operator's server exchanges: its ack
        says that the code was displayed, and leaves the login where it is.
        """
        if self._kiosks and await self._displayed(scene_str, seq):
            return
        step = await self._scenes.advance(
            scene_str, Move(State.CONSUMED, frozenset({State.AUTHORIZED}), seq=seq)
        )
        self._count_end(step)
        if step.scene is None:
            raise unauthorized()
        if step.verdict is not Verdict.MOVED and (
            step.scene.state is not State.CONSUMED or step.scene.seq != seq + 1
        ):
            raise ApiError("stale_seq", "That is not the seq of an authorized status.", field="seq")

    async def cancel(self, scene_str: SceneStr) -> None:
        """The page gives the scene up. Once it ended, or belongs to a login, that is too late."""
        step = await self._scenes.advance(scene_str, Move(State.CANCELLED, OPEN))
        self._count_end(step)
        if step.verdict is Verdict.REFUSED and step.scene and step.scene.state is State.AUTHORIZED:
            raise ApiError("stale_seq", "The login is already there; acknowledge it instead.")

    async def _displayed(self, scene_str: SceneStr, seq: int) -> bool:
        """Whether this is the ack of a kiosk's page, which consumes nothing."""
        scene = await self._scenes.get(scene_str)
        if scene is None or not status.of_kiosk(scene):
            return False
        authorized_seq = scene.seq - (scene.state is State.CONSUMED)
        if scene.state not in COLLECTABLE or seq != authorized_seq:
            raise ApiError("stale_seq", "That is not the seq of an authorized status.", field="seq")
        return True

    async def exchange(self, scene_str: SceneStr, seq: int) -> Mapping[str, Any] | None:
        """The login document of a kiosk's scene, for the operator's server: once, for whoever comes
        first, and None for everybody after.

        The scene keeps a mark of this call: a connection to the store that is lost in between
        makes the same move come twice, and the second one must be known for its own.
        """
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
        return status.login_document(step.scene, self._clock.now(), self._token(step.scene))

    # What doors do.

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
        move = Move(
            State.SCANNED,
            WAITING,
            openid=openid,
            account=account,
            kind=kind,
            owed=owed,
            details=details,
            outcome=Outcome(outcome_key) if outcome_key else None,
        )
        return await self._scenes.advance(scene_str, move)

    async def claim_and_log_in(
        self,
        scene_str: SceneStr,
        identity: Identity,
        *,
        account: str,
        kind: Kind,
        outcome_key: str,
        outcome: Callable[[Scene, Login], Outcome],
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        """`claim`, `log_in` and `authorize` in one transaction. Without a login the step is that
        of a claim that moved nothing. None: nothing was done, for the store has no such thing, or
        a unionid is wanted and unknown."""
        if self._whole_login is None:
            return None
        claim = Move(
            State.SCANNED,
            WAITING,
            openid=identity.openid,
            account=account,
            kind=kind,
            owed=True,
            outcome=Outcome(outcome_key),
        )
        jti = _jti()
        done = await self._whole_login.log_in(
            scene_str,
            claim,
            identity,
            lambda scene, login: self._authorization(scene, login, outcome(scene, login), jti),
            unionid_wanted=unionid_wanted,
        )
        if done is not None and done[1] is not None and done[0].verdict is Verdict.MOVED:
            self._metrics.login(done[1].is_new)
        return done

    async def log_in(
        self,
        scene: Scene,
        identity: Identity,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
    ) -> Login:
        """Find or register the person; the same answer however often it is asked for a scene."""
        return await self._users.login(
            identity,
            scene.scene_str,
            scene.account,
            self._clock.now(),
            profile=profile,
            user_id=user_id,
        )

    async def authorize(self, scene: Scene, login: Login, outcome: Outcome | None = None) -> Step:
        """Hand the claimed scene its login, keeping the event's reply in the same transaction."""
        move = self._authorization(scene, login, outcome, _jti())
        step = await self._scenes.advance(scene.scene_str, move)
        if step.verdict is Verdict.MOVED:
            self._metrics.login(login.is_new)
        return step

    def _authorization(self, scene: Scene, login: Login, outcome: Outcome | None, jti: str) -> Move:
        return Move(
            State.AUTHORIZED,
            frozenset({scene.state}),
            life_seconds=self._collect_ttl_seconds,
            openid=scene.openid,
            user_id=login.user.id,
            jti=jti,
            is_new=login.is_new,
            token_ttl_seconds=self._token_ttl_seconds,
            details=_profile(login),
            outcome=outcome,
        )

    async def end(self, scene_str: SceneStr, move: Move) -> Step:
        """A move that may end the scene, and is counted if it does."""
        step = await self._scenes.advance(scene_str, move)
        self._count_end(step)
        return step

    def _count_end(self, step: Step) -> None:
        if step.verdict is Verdict.MOVED and step.scene and step.scene.state in FINAL:
            self._metrics.scene_ended(step.scene.state)

    def _mint(self, scene: Scene) -> str:
        """Sign what the state of the scene is due."""
        if scene.state is State.REGISTERING:
            return self._ticket(Purpose.REGISTER, scene)
        return self.exchange_code(scene) if status.of_kiosk(scene) else self._token(scene)

    def exchange_code(self, scene: Scene) -> str:
        """What the operator's server exchanges for the login of a kiosk's authorized scene."""
        return self._ticket(Purpose.EXCHANGE, scene)

    def _ticket(self, purpose: Purpose, scene: Scene) -> str:
        ticket = Ticket(scene.scene_str, scene.seq)
        return self._issuer.mint_ticket(purpose, ticket, until=scene.ends_at)

    def _token(self, scene: Scene) -> str:
        assert scene.claims is not None and scene.user_id is not None
        return self._issuer.mint(
            subject=scene.user_id, claims=scene.claims, account=scene.account, amr=self._amr
        )


def _jti() -> str:
    """An unguessable token id."""
    return secrets.token_urlsafe(16)


def _watches(scene: Scene | None, watch_token: str) -> bool:
    """Compared in constant time, and with something even where there is no scene."""
    expected = _NO_HASH if scene is None else scene.watch_hash
    return hmac.compare_digest(expected, secret_hash(watch_token)) and scene is not None


def _profile(login: Login) -> dict[str, str]:
    user = login.user
    return {"name": user.name, "avatar": user.avatar} if user.name else {}
