"""The operator's policy: who may log in, what they are asked first, and in which words.

Every login kind hands its claimed scenes to `LoginPolicy`. `complete_login` is the way of a scan in
the chat where nothing is asked: one call down to the stores. `ask` and `admit` are the way where
the person has to confirm or is new. `ChatTexts` has the words of the chat.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from services.clock import Clock
from services.events.service import EventService
from services.hooks import Hook
from services.ids import SceneStr, UserId
from services.origins import summary
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, UserStore
from services.scenes import numbers
from services.scenes.login import BANNED, LoginService, Replies, keeping_out, outcome_of
from services.scenes.states import NO_DETAILS, Kind, Move, Outcome, Scene, State, Step, Verdict
from services.scenes.status import of_kiosk
from services.scenes.store import SceneStore
from services.settings.models import LoginSettings
from services.wechat.accounts import Account
from services.wechat.replies import beijing_time, text
from services.wechat.reply_texts import LANGUAGES
from services.wechat.unionids import UnionIds

NOT_REGISTERED = "not_registered"
"""The outcome, and the `error` of the scene, for a person whom `login.registration` keeps out."""


class ChatTexts:
    """The account's words in the chat about a scene.

    Args:
        site_name: what people are told they log in to.
        kiosk_labels: what the operator calls its screens, by kiosk.
    """

    def __init__(self, site_name: str, kiosk_labels: Mapping[str, str]) -> None:
        self._site_name = site_name
        self._kiosk_labels = kiosk_labels
        self.of_logins: Replies = {
            (outcome, lang): text(outcome, lang, site=site_name)
            for outcome in ("logged_in", "registered", BANNED)
            for lang in LANGUAGES
        }
        """The replies to a login that needs no question, ready for the store's transaction."""

    def about(self, outcome: str, scene: Scene) -> str:
        """The reply for an outcome of that scene, in the scene's language.

        In place of its number stands a mark (`numbers.template_of`).
        """
        if outcome != "confirm_ask":
            return self.general(outcome, scene.lang)
        asks_number = numbers.HASH in scene.details
        return text(
            "number_ask" if asks_number else outcome,
            scene.lang,
            number=numbers.template_of(scene.scene_str),
            site=scene.details.get("site", self._site_name),
            browser=summary(scene.details.get("user_agent", "")),
            label=self._kiosk_labels.get(scene.details.get("kiosk", ""), ""),
            time=beijing_time(scene.created_at),
        )

    def general(self, outcome: str, lang: str) -> str:
        """The reply for an outcome without a scene."""
        return text(outcome, lang, site=self._site_name)


class LoginResult(NamedTuple):
    """How far a scene came: `outcome` is a word of the reply texts, `step` the last move.

    Without an outcome nothing moved, and the step says why.
    """

    outcome: str
    step: Step


class Visit(NamedTuple):
    """One person at one scene, by one event of one account.

    `outcome_key` names the event whose reply is kept with the move; empty for login kinds without a
    chat.
    """

    account: Account
    scene: Scene
    identity: Identity
    outcome_key: str = ""
    profile: Profile = NOTHING_KNOWN


class LoginPolicy:
    """What lies between a claim and a login: the person's consent, and the operator's policy.

    Every login kind ends here, so that the rules are the same for all of them.

    Args:
        hook: is told of logins on kiosks; None where none is configured.
        keypads: the kiosks on which a number can be typed.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        unionids: UnionIds,
        login: LoginService,
        settings: LoginSettings,
        texts: ChatTexts,
        clock: Clock,
        events: EventService,
        hook: Hook | None = None,
        keypads: Collection[str] = (),
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._unionids = unionids
        self._login = login
        self._settings = settings
        self._texts = texts
        self._clock = clock
        self._events = events
        self._hook = hook
        self._keypads = keypads

    @property
    def confirms(self) -> bool:
        """Whether people are asked in the chat."""
        return self._settings.confirm != "never"

    @property
    def matches_numbers(self) -> bool:
        """Whether pages have to be told the number that stands in the chat."""
        return self._settings.confirm == "number"

    @property
    def asks(self) -> bool:
        """Whether a claimed scene may have to wait for its person."""
        return self.confirms or self._settings.registration == "ask"

    async def complete_login(
        self,
        account: Account,
        scene_str: SceneStr,
        identity: Identity,
        *,
        kind: Kind,
        outcome_key: str,
    ) -> LoginResult | None:
        """Log in the person who scanned, where the operator's policy asks nothing of them.

        None where it does, and then nothing was done: the caller claims the scene, then calls
        `ask`.
        """
        # Under another policy the store must not register a person before they were asked.
        if self.confirms or self._settings.registration != "auto":
            return None
        step, login, _ = await self._login.complete_login(
            scene_str,
            identity,
            account=account.name,
            kind=kind,
            outcome_key=outcome_key,
            replies=self._texts.of_logins,
            unionid_wanted=account.can_tell_unionid(identity, self._clock.monotonic()),
        )
        if login is None or step.scene is None:
            return LoginResult("", step)
        self._follow_up(Visit(account, step.scene, identity, outcome_key), login, step)
        return LoginResult(outcome_of(login), step)

    async def ask(self, visit: Visit) -> LoginResult:
        """Have the person confirm in the chat where that is configured; else go on to `admit`."""
        if not self.confirms:
            return await self.admit(visit)
        if refused := await self.refuse_banned(visit):
            return refused
        details, kiosk = NO_DETAILS, visit.scene.details.get("kiosk")
        if self.matches_numbers and (kiosk is None or kiosk in self._keypads):
            details = numbers.details_of_new(visit.account, visit.scene)
            asked = visit.scene._replace(details={**visit.scene.details, **details})
            visit = visit._replace(scene=asked)
        move = Move(
            State.CONFIRMING,
            frozenset({State.SCANNED}),
            life_seconds=self._settings.confirm_ttl_seconds,
            openid=visit.identity.openid,
            details=details,
            outcome=self._kept(visit, "confirm_ask"),
        )
        step = await self._scenes.advance(visit.scene.scene_str, move)
        return LoginResult("confirm_ask", step)

    async def refuse_banned(self, visit: Visit) -> LoginResult | None:
        """End the scene of a banned person; None for all others.

        For where they would be asked something first; `admit` refuses them by itself.
        """
        found = await self._users.find(visit.identity)
        if found is None or not found[0].banned:
            return None
        move = keeping_out(visit.scene, self._kept(visit, BANNED), found[0].id)
        return LoginResult(BANNED, await self._login.end(visit.scene.scene_str, move))

    async def admit(self, visit: Visit, *, allowed: str = "") -> LoginResult:
        """The person consents (by scanning, or expressly): log in, register, or refuse.

        Args:
            allowed: the outcome of a login that was expressly allowed.
        """
        if self._settings.registration != "auto":
            # By their unionid they may be known from another account: only then WeChat is asked,
            # and waited for, as a refusal or a form is not taken back when the answer comes.
            if await self._users.find(visit.identity) is None:
                identity = await self._unionids.ask_now(visit.account, visit.identity)
                known = identity != visit.identity and await self._users.find(identity)
                visit = visit._replace(identity=identity)
                if not known:
                    return await self._meet_stranger(visit)
        return await self._log_in(visit, allowed=allowed)

    async def enrol(self, visit: Visit, user_id: UserId | None) -> LoginResult:
        """Log in a person whom the operator has admitted, by the registration form.

        Args:
            user_id: the operator's own id of the person, which a new user is to get.
        """
        return await self._log_in(visit, user_id)

    async def deny(self, visit: Visit) -> LoginResult:
        """The person says no."""
        move = Move(
            State.DENIED,
            frozenset({State.SCANNED, State.CONFIRMING}),
            openid=visit.identity.openid,
            user_id=await self._events.user_of(visit.identity),
            outcome=self._kept(visit, "confirm_denied"),
        )
        return LoginResult("confirm_denied", await self._login.end(visit.scene.scene_str, move))

    async def _log_in(
        self, visit: Visit, user_id: UserId | None = None, *, allowed: str = ""
    ) -> LoginResult:
        account, identity = visit.account, visit.identity
        login = await self._login.log_in(
            visit.scene,
            identity,
            visit.profile,
            user_id,
            unionid_wanted=account.can_tell_unionid(identity, self._clock.monotonic()),
        )
        outcome = outcome_of(login)
        if allowed and outcome != BANNED:
            outcome = allowed
        step = await self._login.authorize(visit.scene, login, self._kept(visit, outcome))
        self._follow_up(visit, login, step)
        return LoginResult(outcome, step)

    async def _meet_stranger(self, visit: Visit) -> LoginResult:
        asks = self._settings.registration == "ask"
        outcome = "register_ask" if asks else NOT_REGISTERED
        identity, profile = visit.identity, visit.profile
        # What a later registration needs to know of this visit. The scene carries it, so that the
        # form can be finished on any node.
        details = {
            "app_id": identity.app_id,
            "unionid": identity.unionid or "",
            "nickname": profile.name,
            "headimgurl": profile.avatar,
            "register_fields": " ".join(self._settings.register_fields) if asks else "",
        }
        move = Move(
            State.REGISTERING if asks else State.FAILED,
            frozenset({visit.scene.state}),
            life_seconds=self._settings.register_ttl_seconds,
            openid=identity.openid,
            error="" if asks else NOT_REGISTERED,
            details={name: value for name, value in details.items() if value},
            outcome=self._kept(visit, outcome),
        )
        return LoginResult(outcome, await self._login.end(visit.scene.scene_str, move))

    def _kept(self, visit: Visit, outcome: str) -> Outcome | None:
        """The reply to keep with a move, for the event's repeats; none without a chat."""
        if not visit.outcome_key:
            return None
        return Outcome(visit.outcome_key, self._texts.about(outcome, visit.scene))

    def _follow_up(self, visit: Visit, login: Login, step: Step) -> None:
        """What follows from a login that just happened, without waiting for it.

        The unionid is asked for where it is owed. Told of the login are the operator's hook, if it
        was at a kiosk, and the person, if they belong to the account that sends login notices.
        """
        if login.owes_unionid:
            self._unionids.ask_later(visit.account, visit.identity)
        scene = step.scene
        # A repeat is not told again, and of a banned person there is nothing to tell.
        if step.verdict is not Verdict.MOVED or scene is None or login.user.banned:
            return
        if self._hook is not None and of_kiosk(scene):
            user = login.user
            self._hook.tell_later(
                {
                    "type": "kiosk_login",
                    "scene_str": scene.scene_str,
                    "kiosk": scene.details["kiosk"],
                    "account": visit.account.name,
                    "user": {"id": user.id, "name": user.name, "is_new": login.is_new},
                    "exchange_code": self._login.exchange_code(scene),
                }
            )
        # An openid is of one app_id: another's means nothing to the account.
        notices = visit.account.notices
        if notices is not None and visit.identity.app_id == visit.account.app_id:
            notices.send_later(
                visit.identity.openid, scene.scene_str, login.user.name, self._clock.now()
            )
