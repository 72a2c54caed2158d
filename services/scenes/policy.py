"""What a browser claims to be, in a few words for a person. It is a claim, no more.

What lies between a claim and a login: the person's consent, and the operator's policy.

Every door ends here, so that the same person meets the same rules whichever way they came.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from services.clock import Clock
from services.hooks import Hook
from services.ids import SceneStr, UserId
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, UserStore
from services.scenes.login import LoginService
from services.scenes.states import Kind, Move, Outcome, Scene, State, Step, Verdict
from services.scenes.status import of_kiosk
from services.scenes.store import SceneStore
from services.settings.models import LoginSettings
from services.wechat.accounts import Account
from services.wechat.unionids import UnionIds

_BROWSERS = (
    (re.compile(r"MicroMessenger/"), "WeChat"),
    (re.compile(r"Edg(?:e|A|iOS)?/"), "Edge"),
    (re.compile(r"OPR/|Opera"), "Opera"),
    (re.compile(r"Firefox/|FxiOS/"), "Firefox"),
    (re.compile(r"Chrome/|CriOS/|Chromium/"), "Chrome"),
    (re.compile(r"Version/[\d.]+ .*Safari/"), "Safari"),
)
_SYSTEMS = (
    (re.compile(r"iPhone"), "iPhone"),
    (re.compile(r"iPad"), "iPad"),
    (re.compile(r"Android"), "Android"),
    (re.compile(r"Windows"), "Windows"),
    (re.compile(r"Mac OS X|Macintosh"), "macOS"),
    (re.compile(r"CrOS"), "ChromeOS"),
    (re.compile(r"Linux|X11"), "Linux"),
)


def summary(user_agent: str) -> str:
    """For example ``Chrome, Windows``; empty when nothing is recognised."""
    names = (
        next((name for pattern, name in table if pattern.search(user_agent)), "")
        for table in (_BROWSERS, _SYSTEMS)
    )
    return ", ".join(name for name in names if name)


Wording = Callable[[str, Scene], str]
"""The reply in the chat for an outcome; a door without a chat has no words."""

NOT_REGISTERED = "not_registered"


class Entry(NamedTuple):
    """How far a scene came: `outcome` is a word of the reply texts, `step` the last move, `said`
    the reply kept with it, where it is known."""

    outcome: str
    step: Step
    said: str = ""


class Visit(NamedTuple):
    """One person at one scene, by one event of one account.

    `outcome_key` names the event whose reply is kept with the move (empty: none), `wording` says
    what that reply is.
    """

    account: Account
    scene: Scene
    identity: Identity
    outcome_key: str = ""
    wording: Wording | None = None
    profile: Profile = NOTHING_KNOWN

    def outcome(self, word: str) -> Outcome | None:
        """What to keep together with a move that ends in `word`."""
        if not self.outcome_key:
            return None
        return Outcome(self.outcome_key, self.wording(word, self.scene) if self.wording else "")


class AdmissionService:
    """Leads a claimed scene to ``authorized``, or to where a person must still do something."""

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        unionids: UnionIds,
        login: LoginService,
        settings: LoginSettings,
        clock: Clock,
        hook: Hook | None = None,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._unionids = unionids
        self._login = login
        self._settings = settings
        self._clock = clock
        self._hook = hook

    @property
    def confirms(self) -> bool:
        return self._settings.confirm == "always"

    @property
    def asks(self) -> bool:
        """Whether a claimed scene may have to wait for its person."""
        return self.confirms or self._settings.registration == "ask"

    async def at_once(
        self,
        account: Account,
        scene_str: SceneStr,
        identity: Identity,
        *,
        kind: Kind,
        outcome_key: str,
        wording: Wording,
    ) -> Entry | None:
        """Claim and log in, in one transaction. None where something must be asked in between:
        the person for consent or their data, WeChat for a unionid, or where the store cannot."""
        if self.confirms or self._settings.registration != "auto":
            return None
        said = ""

        def outcome(scene: Scene, login: Login) -> Outcome:
            nonlocal said
            said = wording(_word(login), scene)
            return Outcome(outcome_key, said)

        done = await self._login.claim_and_log_in(
            scene_str,
            identity,
            account=account.name,
            kind=kind,
            outcome_key=outcome_key,
            outcome=outcome,
            unionid_wanted=account.can_tell_unionid(identity, self._clock.monotonic()),
        )
        if done is None:
            return None
        step, login = done
        if login is None or step.scene is None:
            return Entry("", step)
        self._tell(Visit(account, step.scene, identity), login, step)
        return Entry(_word(login), step, said)

    async def ask(self, visit: Visit) -> Entry:
        """Scanned in the chat: have the person confirm there, where that is configured."""
        if not self.confirms:
            return await self.admit(visit)
        move = Move(
            State.CONFIRMING,
            frozenset({State.SCANNED}),
            life_seconds=self._settings.confirm_ttl_seconds,
            openid=visit.identity.openid,
            outcome=visit.outcome("confirm_ask"),
        )
        step = await self._scenes.advance(visit.scene.scene_str, move)
        return Entry("confirm_ask", step)

    async def admit(self, visit: Visit, *, allowed: str = "") -> Entry:
        """The person consents (by scanning, or expressly): log in, register, or refuse.

        Args:
            allowed: the word for a login that was expressly allowed.
        """
        identity = await self._unionids.completed(visit.account, visit.identity)
        if self._settings.registration != "auto" and await self._users.find(identity) is None:
            return await self._meet_stranger(visit._replace(identity=identity))
        login = await self._login.log_in(visit.scene, identity, visit.profile)
        return await self._authorize(visit, login, allowed or _word(login))

    async def enrol(self, visit: Visit, user_id: UserId | None) -> Entry:
        """Log a person in whom the operator's policy has let in by now.

        Args:
            user_id: the operator's own id of the person, which a new user is to get.
        """
        login = await self._login.log_in(visit.scene, visit.identity, visit.profile, user_id)
        return await self._authorize(visit, login, _word(login))

    async def _authorize(self, visit: Visit, login: Login, word: str) -> Entry:
        step = await self._login.authorize(visit.scene, login, visit.outcome(word))
        self._tell(visit, login, step)
        return Entry(word, step)

    def _tell(self, visit: Visit, login: Login, step: Step) -> None:
        """Whom a login that just happened concerns besides its page; never waited for.

        The login notice, for people of the account itself; the operator's hook, of its kiosks.
        """
        if step.verdict is not Verdict.MOVED or step.scene is None:
            return
        if self._hook is not None and of_kiosk(step.scene):
            self._hook.tell_later(
                {
                    "type": "kiosk_login",
                    "scene_str": step.scene.scene_str,
                    "kiosk": step.scene.details["kiosk"],
                    "account": visit.account.name,
                    "user": {
                        "id": login.user.id,
                        "name": login.user.name,
                        "is_new": login.is_new,
                    },
                    "exchange_code": self._login.exchange_code(step.scene),
                }
            )
        notices = visit.account.notices
        if notices is not None and visit.identity.app_id == visit.account.app_id:
            notices.send_later(
                visit.identity.openid,
                visit.scene.scene_str,
                login.user.name,
                self._clock.now(),
            )

    async def deny(self, visit: Visit) -> Entry:
        """The person says no."""
        move = Move(
            State.DENIED,
            frozenset({State.SCANNED, State.CONFIRMING}),
            openid=visit.identity.openid,
            outcome=visit.outcome("confirm_denied"),
        )
        return Entry("confirm_denied", await self._login.end(visit.scene.scene_str, move))

    async def _meet_stranger(self, visit: Visit) -> Entry:
        asks = self._settings.registration == "ask"
        word = "register_ask" if asks else NOT_REGISTERED
        move = Move(
            State.REGISTERING if asks else State.FAILED,
            frozenset({visit.scene.state}),
            life_seconds=self._settings.register_ttl_seconds,
            openid=visit.identity.openid,
            error="" if asks else NOT_REGISTERED,
            details={
                **_remembered(visit),
                **({"register_fields": " ".join(self._settings.register_fields)} if asks else {}),
            },
            outcome=visit.outcome(word),
        )
        step = await self._login.end(visit.scene.scene_str, move)
        return Entry(word, step)


def _word(login: Login) -> str:
    return "registered" if login.is_new else "logged_in"


def _remembered(visit: Visit) -> dict[str, str]:
    """What a later registration needs to know of this visit."""
    kept = {"app_id": visit.identity.app_id, "unionid": visit.identity.unionid or ""}
    profile = {"nickname": visit.profile.name, "headimgurl": visit.profile.avatar}
    return {key: value for key, value in {**kept, **profile}.items() if value}
