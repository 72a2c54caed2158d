"""What each kind of scene shows, and what it needs from WeChat for that: one class a kind.

A kind that is not in the mapping the container builds is not offered (`ApiError` ``unknown_kind``).

The screens that the operator put up, known by name and secret.

A kiosk begins scenes of a longer life and never gets a login: its scenes bring an exchange code,
which the operator's server redeems (``/api/exchange``).

Begin a scene: limits, a code from WeChat, a record in the store.
"""

import hmac
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from services.clock import Clock
from services.errors import ApiError, WeChatRefused
from services.ids import SceneStr, WatchToken, secret_hash
from services.metrics import Metrics
from services.rate_limits import RateLimits
from services.scenes.states import Kind, Scene, State
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.settings.models import KioskSettings
from services.wechat.accounts import Account, Accounts
from services.wechat.official_account import show_qr_url
from services.wechat.replies import BEIJING
from services.wechat.reply_texts import LANGUAGES

WECHAT_DAILY_CODES = 100_000
"""Temporary codes an account may make a day (WeChat: "Generating a Parametric QR Code")."""

WECHAT_LEAST_SECONDS = 60
"""The life WeChat is asked for is never less: its minimum is not documented."""

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """The scene that is about to begin. `origin` is the server's own, as the page reached it."""

    account: Account
    scene_str: SceneStr
    life: int
    origin: str


class SceneCode(Protocol):
    """One kind of scene."""

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        """What the scene keeps of its code.

        Raises:
            ApiError, WeChatError, StoreUnavailable: it has none now.
        """

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        """The kind's part of the answer to ``POST /api/scenes``."""


class OfficialAccountCode:
    """A parametric code of the account, drawn by us or by WeChat.

    Args:
        daily_code_reserve: codes of the day that are left for others; 0: not counted.
    """

    def __init__(
        self, scenes: SceneStore, clock: Clock, *, mp_base: str, daily_code_reserve: int
    ) -> None:
        self._scenes = scenes
        self._clock = clock
        self._mp_base = mp_base
        self._daily_code_reserve = daily_code_reserve

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        await self._within_daily_quota(wish.account)
        try:
            code = await wish.account.api.create_qr_code(
                wish.scene_str, max(WECHAT_LEAST_SECONDS, wish.life)
            )
        except WeChatRefused as refusal:
            if refusal.code == "wechat_quota":
                raise self._quota_used_up() from refusal
            raise
        return {"qr_content": code.url, "qr_ticket": code.ticket}

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        picture = show_qr_url(self._mp_base, scene.details["qr_ticket"])
        return {"qr": {**_drawn(scene, life), "wechat_image": picture}}

    async def _within_daily_quota(self, account: Account) -> None:
        """Keep a reserve, so that a flood of pages cannot use up the whole day's codes."""
        key = codes_key(account.name, self._clock.now())
        made = await self._scenes.count(key, 2 * 86_400)
        if self._daily_code_reserve and made > WECHAT_DAILY_CODES - self._daily_code_reserve:
            raise self._quota_used_up()

    def _quota_used_up(self) -> ApiError:
        now = datetime.fromtimestamp(self._clock.now(), BEIJING)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return ApiError(
            "wechat_quota",
            "The account's login codes for today are used up.",
            retry_after=max(1, int((midnight - now).total_seconds())),
        )


class WebCode:
    """A code that holds an address of ours, which WeChat's browser opens. It costs no quota."""

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        return {"qr_content": f"{wish.origin}/oauth/wechat/start?scene={wish.scene_str}"}

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"qr": _drawn(scene, life)}


class WebsiteCode:
    """No code of ours: the popup at `start` shows WeChat's own."""

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        return NOTHING

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"start": f"/oauth/website/start?scene={scene.scene_str}"}


class MiniProgramCode:
    """A picture by WeChat that opens the mini program. It is fetched when somebody looks at it
    (see `mini_program_pictures`): no login page waits for it, and bots spend none."""

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        return NOTHING

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        png = f"/api/scenes/{scene.scene_str}/qr.png"
        return {"qr": {"expires_in": shown_seconds(life), "png": png}}


class TypedCode:
    """A few characters that the person sends to the account."""

    def __init__(self, codes: TypedCodes) -> None:
        self._codes = codes

    async def details(self, wish: CodeRequest) -> Mapping[str, str]:
        return {"code": await self._codes.give(wish.account.name, wish.scene_str, wish.life)}

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"code": scene.details["code"]}


def codes_key(account: str, now: float) -> str:
    """Where the store counts the codes that an account has made on WeChat's day, in Beijing
    (unconfirmed; docs/errors.md, errcode 45009)."""
    return f"codes:{account}:{datetime.fromtimestamp(now, BEIJING).date()}"


SceneCodes = Mapping[Kind, SceneCode]
"""The kinds this server offers."""


def shown_seconds(life: int) -> int:
    """For how long a page shows a code: less than the scene lives, because whoever scans last
    still needs time to follow the account."""
    return max(1, life - 30, life // 2)


def _drawn(scene: Scene, life: int) -> dict[str, Any]:
    path = f"/api/scenes/{scene.scene_str}"
    return {
        "content": scene.details["qr_content"],
        "expires_in": shown_seconds(life),
        "svg": f"{path}/qr.svg",
        "png": f"{path}/qr.png",
    }


class Kiosks:
    """The configured kiosks.

    Args:
        ttl_seconds: the life of their scenes.
    """

    def __init__(self, kiosks: Mapping[str, KioskSettings], ttl_seconds: int) -> None:
        self._kiosks = kiosks
        self.ttl_seconds = ttl_seconds

    def label(self, name: str, secret: str) -> str:
        """What people call the kiosk of that name, for who shows its secret.

        Compared in constant time; an unknown kiosk is answered like a wrong secret.

        Raises:
            ApiError: ``unauthorized``.
        """
        kiosk = self._kiosks.get(name)
        expected = kiosk.secret.get_secret_value() if kiosk is not None else ""
        same = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "surrogatepass"))
        if kiosk is None or not expected or not same:
            raise ApiError("unauthorized", "Unknown kiosk, or wrong or missing secret.")
        return kiosk.label or name


_BEGIN_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """What a page asks for, already checked for type."""

    address: str
    account: str | None = None
    kind: str | None = None
    lang: str | None = None
    begin_cookie: str | None = None
    user_agent: str = ""
    origin: str = ""
    """The server's own origin, as the page reached it."""
    kiosk: str | None = None
    kiosk_secret: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A new scene with the two secrets that are shown once and stored as hashes."""

    scene: Scene
    watch_token: WatchToken
    begin_cookie: str
    document: Mapping[str, Any]


class BeginService:
    """Makes scenes. A scene is stored only after its code exists."""

    def __init__(
        self,
        accounts: Accounts,
        scenes: SceneStore,
        limits: RateLimits,
        clock: Clock,
        metrics: Metrics,
        codes: SceneCodes,
        kiosks: Kiosks,
        *,
        scene_ttl_seconds: int,
        poll_interval_seconds: int,
    ) -> None:
        self._accounts = accounts
        self._scenes = scenes
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._codes = codes
        self._kiosks = kiosks
        self._scene_ttl_seconds = scene_ttl_seconds
        self._poll_interval_seconds = poll_interval_seconds

    async def begin(self, request: BeginRequest) -> Begun:
        """Make one scene, or leave nothing behind.

        Raises:
            ApiError, WeChatError, StoreUnavailable: the page may try again.
        """
        account = self._accounts.named(request.account)
        kind, code = self._code(request.kind)
        await self._limits.spend("scenes", request.address)
        scene_str = SceneStr(str(uuid.uuid4()))
        life, screen, label = self._screen(request)
        details = await code.details(CodeRequest(account, scene_str, life, request.origin))
        watch_token = WatchToken(secrets.token_urlsafe(32))
        begin_cookie = _reusable(request.begin_cookie) or secrets.token_urlsafe(32)
        now = self._clock.now()
        scene = await self._scenes.create(
            Scene(
                scene_str=scene_str,
                state=State.WAITING,
                seq=1,
                kind=kind,
                account=account.name,
                lang=request.lang if request.lang in LANGUAGES else account.settings.language,
                created_at=now,
                changed_at=now,
                ends_at=now + life,
                watch_hash=secret_hash(watch_token),
                begin_hash=secret_hash(begin_cookie),
                details={**details, **screen, "user_agent": request.user_agent[:256]},
            )
        )
        self._metrics.scene_begun(kind)
        document = self._document(scene, watch_token, life) | code.document(scene, life) | label
        return Begun(scene, watch_token, begin_cookie, document)

    def _code(self, wanted: str | None) -> tuple[Kind, SceneCode]:
        try:
            kind = Kind(wanted or Kind.OFFICIAL_ACCOUNT)
            return kind, self._codes[kind]
        except (ValueError, KeyError):
            raise ApiError("unknown_kind", "This server has no such login.", field="kind") from None

    def _screen(self, request: BeginRequest) -> tuple[int, dict[str, str], dict[str, str]]:
        """The scene's life, and for a kiosk what is stored of it and what its page is told."""
        if request.kiosk is None:
            return self._scene_ttl_seconds, {}, {}
        label = self._kiosks.label(request.kiosk, request.kiosk_secret)
        return self._kiosks.ttl_seconds, {"kiosk": request.kiosk}, {"label": label}

    def _document(self, scene: Scene, watch_token: WatchToken, life: int) -> dict[str, Any]:
        path = f"/api/scenes/{scene.scene_str}"
        return {
            "scene_str": scene.scene_str,
            "watch_token": watch_token,
            "state": scene.state.value,
            "seq": scene.seq,
            "expires_in": life,
            "ws": f"/ws/{scene.scene_str}",
            "status": path,
            "poll_interval": self._poll_interval_seconds,
        }


def begun_here(scene: Scene, begin_cookie: str | None) -> bool:
    """Whether this browser began the scene: the condition for finishing it without asking."""
    return bool(begin_cookie) and hmac.compare_digest(
        scene.begin_hash, secret_hash(begin_cookie or "")
    )


def _reusable(begin_cookie: str | None) -> str | None:
    """The browser's own value if it has the form of ours; anything else is replaced."""
    return begin_cookie if begin_cookie and _BEGIN_COOKIE.fullmatch(begin_cookie) else None
