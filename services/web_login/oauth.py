"""Login on WeChat's own web pages: inside WeChat (kind ``web``), and by qrconnect (``website``).

The browser that starts gets a cookie, and `state` is bound to it: a callback that another browser
started is refused (RFC 6749, section 10.12). The scene is finished without a question only in the
browser that began it; in any other the page names what is about to be logged in, and asks.
"""

import asyncio
import hmac
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from services.errors import ApiError, ScanpushError, WeChatError, WeChatRefused
from services.ids import AppId, OpenId, SceneStr, UnionId, is_scene_str, secret_hash, short_id
from services.logs import short_hash
from services.origins import summary
from services.people.store import NOTHING_KNOWN, Identity, Profile, UserStore
from services.scenes.begin import begun_here
from services.scenes.chat import asked_key
from services.scenes.login import BANNED, LoginService
from services.scenes.policy import NOT_REGISTERED, LoginPolicy, Visit
from services.scenes.states import FINAL, Kind, Move, Scene, State, Step, Verdict
from services.scenes.store import SceneStore
from services.web_login.pages import Landing, Question
from services.wechat.accounts import Accounts
from services.wechat.oauth import Grant, OAuthClient, Scope, authorize_url, qrconnect_url
from services.wechat.replies import beijing_time

log = logging.getLogger("scanpush.web_login")

STATE_SECONDS = 600.0
"""How long a person may stay on WeChat's page: a website's code is valid for ten minutes."""

MAX_STARTS = 20
"""How often one scene may be started: enough for reloads, too little for a flood."""

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE = re.compile(r"[0-9a-f]{64}")

PATHS: Mapping[Kind, str] = {Kind.WEB: "wechat", Kind.WEBSITE: "website"}

_OVER = FINAL - {State.CONSUMED, State.DENIED, State.FAILED}
"""Ended without a result to show; consumed, denied and failed ones have one for a second visit."""

_OUTCOMES = {
    State.AUTHORIZED: "done",
    State.CONSUMED: "done",
    State.REGISTERING: "register_ask",
    State.DENIED: "denied",
}

_FAILURES = frozenset({NOT_REGISTERED, BANNED})
"""Errors of a failed scene that have words of their own."""

MAX_PATH = 512

_PATH_CHARACTERS = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?#]*")
"""The characters of a path, query and fragment (RFC 3986, section 3.3 and 3.4): no backslash,
which browsers read as a slash, no control character, which they leave out."""

WAIT_SECONDS = 10.0
"""How long the others wait for the first caller: as long as its two calls to WeChat may take."""

TURN_SECONDS = 15.0
"""When another caller may do the work of one that never ended, as its node was killed or the store
fails. Longer than the work takes."""

PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """One app_id that people authorise. `scope` None: a website app, which has qrconnect."""

    api: OAuthClient
    open_base: str
    scope: Scope | None

    def address(self, redirect_uri: str, state: str, lang: str) -> str:
        if self.scope is None:
            return qrconnect_url(self.open_base, self.api.app_id, redirect_uri, state, lang)
        return authorize_url(self.open_base, self.api.app_id, redirect_uri, self.scope, state)


OAuthApps = Mapping[tuple[Kind, str], OAuthApp]
"""By kind of scene and name of its account."""


@dataclass(frozen=True, slots=True)
class Browser:
    """What a request says of its browser. `origin` is this server's, as the browser reached it."""

    cookie: str
    begin_cookie: str
    origin: str
    lang: str


@dataclass(frozen=True, slots=True)
class Departure:
    """The redirect to WeChat, with the cookie the browser gets; the rest is for wxLogin.js."""

    url: str
    cookie: str
    app_id: str
    redirect_uri: str
    state: str


@dataclass(frozen=True, slots=True)
class _Journey:
    """What the store keeps under a `state`."""

    scene: str
    kind: str
    next: str
    browser: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the store keeps under a question's one-time value: who would be logged in, and where."""

    scene: str
    app_id: str
    openid: str
    unionid: str
    name: str
    avatar: str
    browser: str


class OAuthLogin:
    """The login kinds ``web`` and ``website``.

    Args:
        apps: which app_id serves which kind of scene.
        kiosk_labels: the operator's names of its screens.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        login: LoginService,
        policy: LoginPolicy,
        accounts: Accounts,
        apps: OAuthApps,
        kiosk_labels: Mapping[str, str],
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._login = login
        self._policy = policy
        self._accounts = accounts
        self._apps = apps
        self._kiosk_labels = kiosk_labels

    async def start(
        self, kind: Kind, scene_str: str, next_path: str | None, browser: Browser
    ) -> Departure | Landing:
        """Send the browser to WeChat, bound to this scene and to this browser.

        Raises:
            ApiError: ``bad_request`` for a `next_path` outside of this site, ``rate_limited``.
        """
        onward = own_path(next_path)
        scene = await self._scene(scene_str)
        if scene is None:
            return Landing("expired", browser.lang)
        app = self._apps.get((kind, scene.account))
        if scene.kind is not kind or app is None:
            return Landing("wrong_door", scene.lang)
        if await self._scenes.count(f"oauth_starts:{scene.scene_str}", 3600) > MAX_STARTS:
            raise ApiError("rate_limited", "This code was opened too often.", retry_after=60)
        cookie = browser.cookie if _COOKIE.fullmatch(browser.cookie) else secrets.token_urlsafe(32)
        state = secrets.token_hex(32)
        journey = _Journey(scene.scene_str, kind.value, onward, _hash(cookie))
        await self._scenes.remember(_journey_key(state), _kept(journey), STATE_SECONDS)
        redirect_uri = f"{browser.origin}/oauth/{PATHS[kind]}/callback"
        url = app.address(redirect_uri, state, scene.lang)
        return Departure(url, cookie, app.api.app_id, redirect_uri, state)

    async def callback(self, kind: Kind, code: str, state: str, browser: Browser) -> Landing:
        """The page for the browser that WeChat sent back. Of repeated requests, the first one
        exchanges the code.

        Raises:
            WeChatError: WeChat failed; the same address may work a little later.
        """
        kept = await self._scenes.recall(_journey_key(state)) if _STATE.fullmatch(state) else None
        journey = _Journey(**json.loads(kept)) if kept else None
        if journey is None or journey.kind != kind or not _same(journey.browser, browser.cookie):
            return Landing("stale_link", browser.lang)
        scene = await self._scene(journey.scene)
        if scene is None:
            return Landing("expired", browser.lang)
        if not code:
            # The person refused on WeChat's page.
            if begun_here(scene, browser.begin_cookie):
                move = Move(State.CANCELLED, frozenset({State.WAITING}))
                await self._login.end(scene.scene_str, move)
            return await self._landing(scene, "denied", "", journey, browser)
        text = await single_flight(
            self._scenes,
            f"oauth:{_hash(state)}",
            STATE_SECONDS,
            lambda: self._exchange_once(scene, code, state, browser),
        )
        result = json.loads(text)
        if not hmac.compare_digest(result["code"], _hash(code)):
            return Landing("stale_link", scene.lang)  # one state, one code: this one is another
        return await self._landing(scene, result["outcome"], result["ask"], journey, browser)

    async def _exchange_once(self, scene: Scene, code: str, state: str, browser: Browser) -> str:
        outcome, ask = "code_refused", ""
        # An attacker who saw a code must not use it up under a state of its own, not even while
        # an exchange is remembered for the same browser's second request.
        key = f"oauth_code:{_hash(code)}"
        if await self._scenes.remember(key, _hash(state), STATE_SECONDS) == _hash(state):
            outcome, ask = await self._exchange(scene, code, browser)
        log.info("scene %s: %s, %s", scene.scene_str, scene.kind.value, outcome)
        return json.dumps({"code": _hash(code), "outcome": outcome, "ask": ask})

    async def _exchange(self, scene: Scene, code: str, browser: Browser) -> tuple[str, str]:
        """Claim the scene for the person of the code. The outcome, and the value of the question
        where it has to be asked."""
        app = self._apps[scene.kind, scene.account]
        try:
            grant = await app.api.exchange(code)
        except WeChatRefused as refusal:
            if refusal.code != "bad_request":
                raise
            return "code_refused", ""
        if grant.is_snapshot:
            # WeChat has flagged real people, too. They are refused like the virtual one; the line
            # tells the operator why a known person cannot get in.
            flagged = Identity(app.api.app_id, grant.openid, grant.unionid)
            if await self._users.find(flagged) is not None:
                person = short_hash(grant.openid)
                log.info("scene %s: snapshot flag on a known person, %s", scene.scene_str, person)
            return "snapshot", ""
        unionid, profile = await self._profile(app.api, grant)
        identity = Identity(app.api.app_id, grant.openid, unionid)
        step = await self._login.claim(
            scene.scene_str,
            account=scene.account,
            kind=scene.kind,
            openid=grant.openid,
            owed=False,
            details={"name": profile.name, "avatar": profile.avatar} if profile.name else {},
        )
        if step.scene is None or step.scene.state is not State.SCANNED:
            return _outcome(step, grant.openid), ""
        if step.scene.openid != grant.openid:
            return "already_used", ""
        visit = Visit(self._accounts.named(scene.account), step.scene, identity, profile=profile)
        if begun_here(scene, browser.begin_cookie):
            return _outcome((await self._policy.admit(visit)).step, grant.openid), ""
        if refused := await self._policy.refuse_banned(visit):
            return _outcome(refused.step, grant.openid), ""
        left = step.scene.ends_at - step.now
        key = asked_key(scene.account, grant.openid)
        await self._scenes.replace(key, f"{scene.scene_str} {int(step.now)}", max(1.0, left))
        return "ask", await self._ask(visit, browser, left)

    async def _profile(self, api: OAuthClient, grant: Grant) -> tuple[UnionId | None, Profile]:
        """Name, picture and unionid where the person granted them; a failure costs no login."""
        if not grant.with_profile:
            return grant.unionid, NOTHING_KNOWN
        try:
            profile = await api.profile(grant)
        except WeChatError as error:
            log.info("no profile this time: %s", error)
            return grant.unionid, NOTHING_KNOWN
        return profile.unionid, Profile(name=profile.nickname, avatar=profile.avatar)

    async def _ask(self, visit: Visit, browser: Browser, seconds: float) -> str:
        value = secrets.token_urlsafe(32)
        asked = _Asked(
            scene=visit.scene.scene_str,
            app_id=visit.identity.app_id,
            openid=visit.identity.openid,
            unionid=visit.identity.unionid or "",
            name=visit.profile.name,
            avatar=visit.profile.avatar,
            browser=_hash(browser.cookie),
        )
        await self._scenes.remember(_asked_key(value), _kept(asked), max(1.0, seconds))
        return value

    async def decide(self, value: str, allow: bool, browser: Browser) -> Landing:
        """The person's answer to the question. A second tap gets the result of the first."""
        kept = await self._scenes.recall(_asked_key(value)) if _COOKIE.fullmatch(value) else None
        asked = _Asked(**json.loads(kept)) if kept else None
        if asked is None or not _same(asked.browser, browser.cookie):
            return Landing("stale_link", browser.lang)
        scene = await self._scene(asked.scene)
        if scene is None:
            return Landing("expired", browser.lang)
        outcome = await single_flight(
            self._scenes,
            f"asked:{_hash(value)}",
            STATE_SECONDS,
            lambda: self._decide(scene, asked, allow),
        )
        return _end(scene, outcome)

    async def _decide(self, scene: Scene, asked: _Asked, allow: bool) -> str:
        unionid = UnionId(asked.unionid) if asked.unionid else None
        visit = Visit(
            self._accounts.named(scene.account),
            scene,
            Identity(AppId(asked.app_id), OpenId(asked.openid), unionid),
            profile=Profile(name=asked.name, avatar=asked.avatar),
        )
        entry = await (self._policy.admit(visit) if allow else self._policy.deny(visit))
        outcome = _outcome(entry.step, visit.identity.openid)
        log.info("scene %s: %s %s", scene.scene_str, outcome, short_hash(asked.openid))
        return outcome

    async def _scene(self, scene_str: str) -> Scene | None:
        """The scene, while there is something to show of it; None for unknown and ended ones."""
        scene = await self._scenes.get(SceneStr(scene_str)) if is_scene_str(scene_str) else None
        return None if scene is None or scene.state in _OVER else scene

    async def _landing(
        self, scene: Scene, outcome: str, ask: str, journey: _Journey, browser: Browser
    ) -> Landing:
        if outcome == "ask":
            kept = await self._scenes.recall(_asked_key(ask))
            if kept is None:
                return Landing("expired", scene.lang)
            question = Question(
                value=ask,
                browser=summary(scene.details.get("user_agent", "")),
                screen=self._kiosk_labels.get(scene.details.get("kiosk", ""), ""),
                time=beijing_time(scene.created_at),
                person=_Asked(**json.loads(kept)).name,
            )
            return Landing("ask", scene.lang, question=question)
        own = begun_here(scene, browser.begin_cookie)
        if own and outcome == "done":
            outcome = "done_here"
        onward = journey.next if own and outcome in ("done_here", "register_ask", "denied") else ""
        return _end(scene, outcome, onward)


def _outcome(step: Step, openid: OpenId) -> str:
    """What the person of `openid` sees of the scene after that step."""
    scene = step.scene
    if scene is None or step.verdict is Verdict.UNKNOWN:
        return "expired"
    if scene.openid is not None and scene.openid != openid:
        return "already_used"
    if scene.state is State.FAILED and scene.error in _FAILURES:
        return scene.error
    return _OUTCOMES.get(scene.state, "expired")


def _end(scene: Scene, outcome: str, onward: str = "") -> Landing:
    """The page at the end. It closes where it is a popup with nothing left to read."""
    is_read = outcome in ("done", "done_here", "register_ask", "denied")
    return Landing(
        outcome,
        scene.lang,
        onward=onward,
        closes=scene.kind is Kind.WEBSITE and is_read,
        reference=short_id(scene.scene_str),
    )


def own_path(text: str | None) -> str:
    """`text` if it is a path of this site, where a browser may go after a login; "" for none.

    Raises:
        ApiError: ``bad_request``: it may lead elsewhere.
    """
    if not text:
        return ""
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    # All layers of encoding: a second decoding elsewhere would turn /%2fevil into //evil.
    while (plain := unquote(path)) != path:
        path = plain
    leaves = "//" in path or "\\" in path or ".." in path or not path.isprintable()
    if len(text) > MAX_PATH or not _PATH_CHARACTERS.fullmatch(text) or leaves:
        raise ApiError("bad_request", "next must be a path of this site.", field="next")
    return text


async def single_flight(
    scenes: SceneStore, key: str, ttl_seconds: float, work: Callable[[], Awaitable[str]]
) -> str:
    """The result of `work`, which only the first of several callers for `key` does, on any node.

    The result is remembered for `ttl_seconds`. Where the first caller's work raises, or its result
    cannot be kept, the next caller does it again: so `work` may be done twice, and must bear it.

    Raises:
        ApiError: ``overloaded`` where the first caller does not end (its node was killed).
    """
    # Phones, prefetching and gateways request a callback twice, and WeChat accepts a code once.
    me = secrets.token_hex(8)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while await scenes.remember(f"turn:{key}", me, TURN_SECONDS) != me:
                if (result := await scenes.recall(f"result:{key}")) is not None:
                    return result
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise ApiError("overloaded", "Please try again.", retry_after=1) from None
    if (kept := await scenes.recall(f"result:{key}")) is not None:
        return kept  # the first caller's turn has expired, long after its result was kept
    try:
        result = await work()
        await scenes.replace(f"result:{key}", result, ttl_seconds)
    except ScanpushError:
        # After `TURN_SECONDS` the turn may be another caller's.
        if await scenes.recall(f"turn:{key}") == me:
            await scenes.take(f"turn:{key}")
        raise
    return result


def _hash(secret: str) -> str:
    return secret_hash(secret).hex()


def _same(kept: str, cookie: str) -> bool:
    return bool(cookie) and hmac.compare_digest(kept, _hash(cookie))


def _journey_key(state: str) -> str:
    return f"oauth:{_hash(state)}"


def _asked_key(value: str) -> str:
    return f"oauth_ask:{_hash(value)}"


def _kept(record: _Journey | _Asked) -> str:
    return json.dumps(asdict(record), ensure_ascii=False)
