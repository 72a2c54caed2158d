"""Login from a mini program: for itself, or for a page that shows a mini-program code.

The mini program sends a ``wx.login`` code with each request, so that WeChat says who the person is
and not the program. A code is valid once.
"""

import logging
import secrets
from typing import Any

from services.clock import Clock
from services.errors import ApiError
from services.events.entries import entry
from services.events.service import EventService
from services.ids import OpenId, new_scene_str, scene_of
from services.logs import short_hash
from services.metrics import Metrics
from services.people.store import Identity, UserStore
from services.rate_limits import RateLimits
from services.scenes import status
from services.scenes.login import LoginService
from services.scenes.policy import LoginPolicy, Visit
from services.scenes.states import FINAL, Kind, Scene, State, Step
from services.scenes.store import SceneStore
from services.sessions.service import SessionService
from services.tokens.claims import Claims
from services.tokens.issuer import Issuer
from services.wechat.accounts import Accounts
from services.wechat.mini_program import MiniProgramClient

log = logging.getLogger("scanpush.web_login")

_ALLOWED = frozenset({State.AUTHORIZED, State.CONSUMED, State.REGISTERING})
_ENDED_WITHOUT_A_LOGIN = frozenset({State.EXPIRED, State.CANCELLED})


class MiniProgramLogin:
    """The requests of a mini program.

    Args:
        register: whether unknown people may log in (``login.registration: auto``).
        amr: how people are authenticated here, for the tokens' claim of that name.
        sessions: None where logins begin none.
    """

    def __init__(
        self,
        api: MiniProgramClient,
        scenes: SceneStore,
        users: UserStore,
        login: LoginService,
        policy: LoginPolicy,
        accounts: Accounts,
        limits: RateLimits,
        issuer: Issuer,
        clock: Clock,
        metrics: Metrics,
        events: EventService,
        *,
        register: bool,
        amr: tuple[str, ...],
        token_ttl_seconds: int,
        sessions: SessionService | None = None,
    ) -> None:
        self._api = api
        self._scenes = scenes
        self._users = users
        self._login = login
        self._policy = policy
        self._accounts = accounts
        self._limits = limits
        self._issuer = issuer
        self._clock = clock
        self._metrics = metrics
        self._events = events
        self._register = register
        self._amr = amr
        self._token_ttl_seconds = token_ttl_seconds
        self._sessions = sessions

    async def log_in(self, code: str, account: str | None, address: str) -> dict[str, Any]:
        """The person's ``login`` document, for the mini program itself: no scene, no page.

        Raises:
            ApiError: ``forbidden`` for a banned person, and for an unknown one where they may not
                log in; ``unknown_account``; ``rate_limited``.
            StoreUnavailable: the person was not found or registered.
            WeChatError: the code was refused (``bad_request``), or WeChat did not answer.
        """
        name = self._accounts.named(account).name
        identity = await self._identity(code, address)
        if not self._register and await self._users.find(identity) is None:
            raise ApiError("forbidden", "This person has no account here.")
        now = self._clock.now()
        # Each call is a login, as each scene is; so it gets the id of a scene.
        scene_str = new_scene_str()
        login = await self._users.login(identity, scene_str, name, now)
        if login.user.banned:
            log.info("mini program: banned %s", short_hash(identity.openid))
            raise ApiError("forbidden", "The site keeps this person out.")
        self._metrics.login(login.is_new)
        end = int(now) + self._token_ttl_seconds
        claims = Claims(secrets.token_urlsafe(16), int(now), end, login.is_new)
        sid, refresh_token = "", ""
        if self._sessions is not None:
            kind, label = Kind.MINI_PROGRAM.value, "WeChat"
            session = await self._sessions.begin_at_once(login.user.id, name, kind, label)
            sid, refresh_token = session.id, self._sessions.first_token(session.id)
        token = self._issuer.mint(
            subject=login.user.id, claims=claims, account=name, amr=self._amr, sid=sid
        )
        facts = {"openid": identity.openid, "user": login.user.id, "account": name}
        facts |= {"kind": Kind.MINI_PROGRAM.value, "scene": scene_str, "session": sid}
        # Before the answer: a login that arrives is told.
        if login.is_new:
            await self._events.keep(entry("registered", now, scene_str, **facts))
        await self._events.keep(entry("login", now, scene_str, **facts))
        log.info("mini program: logged in %s", short_hash(identity.openid))
        return status.login_fields(login.user.id, claims, now, token, refresh_token)

    async def scan(self, scene: str, code: str, address: str) -> State:
        """Claim the scene for the person who opened the mini program through its code.

        The scene of a banned person fails at once. Returns the scene's state.

        Raises:
            ApiError: ``not_found``, ``gone``, ``wrong_door``, ``already_claimed`` or
                ``rate_limited``.
            WeChatError: as in `log_in`.
        """
        found = await self._scene(scene)
        identity = await self._identity(code, address)
        claimed = await self._claim(found, identity.openid)
        visit = Visit(self._accounts.named(claimed.account), claimed, identity)
        refused = await self._policy.refuse_banned(visit)
        return claimed.state if refused is None else _theirs(refused.step, identity.openid).state

    async def confirm(self, scene: str, code: str, allow: bool, address: str) -> State:
        """Carry out what the person who scanned decided; returns the scene's state then.

        Deciding the same again is no error.

        Raises:
            ApiError: as `scan`, and ``gone`` where the opposite was decided before.
            WeChatError: as in `log_in`.
        """
        found = await self._scene(scene)
        identity = await self._identity(code, address)
        claimed = await self._claim(found, identity.openid)
        visit = Visit(self._accounts.named(claimed.account), claimed, identity)
        result = await (self._policy.admit(visit) if allow else self._policy.deny(visit))
        ended = _theirs(result.step, identity.openid)
        log.info("scene %s: mini program, %s", ended.scene_str, ended.state.value)
        if ended.state is State.DENIED and allow or ended.state in _ALLOWED and not allow:
            raise ApiError("gone", "This login was decided already.")
        return ended.state

    async def _identity(self, code: str, address: str) -> Identity:
        """The person of the code. Spends one of the app's calls to WeChat."""
        await self._limits.spend("mini_program", address)
        person = await self._api.code_to_session(code)
        return Identity(self._api.app_id, person.openid, person.unionid)

    async def _scene(self, text: str) -> Scene:
        scene_str = scene_of(text)
        scene = await self._scenes.get(scene_str) if scene_str is not None else None
        if scene is None:
            raise ApiError("not_found", "There is no such scene.")
        if scene.kind is not Kind.MINI_PROGRAM:
            raise ApiError("wrong_door", "That scene is finished another way.")
        return scene

    async def _claim(self, scene: Scene, openid: OpenId) -> Scene:
        step = await self._login.claim(
            scene.scene_str,
            account=scene.account,
            kind=Kind.MINI_PROGRAM,
            openid=openid,
            owed=False,
        )
        return _theirs(step, openid)


def _theirs(step: Step, openid: OpenId) -> Scene:
    """The scene, if it is this person's and did not end without a decision of theirs."""
    scene = step.scene
    if scene is None:
        raise ApiError("not_found", "There is no such scene.")
    if scene.openid is not None and scene.openid != openid:
        raise ApiError("already_claimed", "Another person scanned this code.")
    if scene.state in FINAL and (scene.openid is None or scene.state in _ENDED_WITHOUT_A_LOGIN):
        raise ApiError("gone", "This login has ended.")
    return scene
