"""Begin a scene: limits, a code from WeChat, a record in the store."""

import hmac
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from services.clock import Clock
from services.errors import ApiError, WeChatRefused
from services.ids import SceneStr, WatchToken
from services.metrics import Metrics
from services.rate_limits import RateLimits
from services.scenes.login import secret_hash
from services.scenes.states import Kind, Scene, State
from services.scenes.store import SceneStore
from services.wechat.accounts import Account, Accounts
from services.wechat.api import show_qr_url

WECHAT_DAILY_CODES = 100_000
"""Temporary codes an account may make a day (WeChat: "Generating a Parametric QR Code")."""

WECHAT_LEAST_SECONDS = 60
"""The life WeChat is asked for is never less: its minimum is not documented."""

BEIJING = timezone(timedelta(hours=8))
"""WeChat counts its days there (unconfirmed; see docs)."""

LANGUAGES = ("zh-CN", "zh-TW", "en", "ja")

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
        *,
        mp_base: str,
        scene_ttl_seconds: int,
        poll_interval_seconds: int,
        daily_code_reserve: int,
    ) -> None:
        self._accounts = accounts
        self._scenes = scenes
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._mp_base = mp_base
        self._scene_ttl_seconds = scene_ttl_seconds
        self._poll_interval_seconds = poll_interval_seconds
        self._daily_code_reserve = daily_code_reserve

    async def begin(self, request: BeginRequest) -> Begun:
        """Make one scene, or raise `ApiError` or `WeChatError` and leave nothing behind."""
        account = self._accounts.named(request.account)
        kind = _kind(request.kind)
        await self._within_limits(request.address)
        scene_str = SceneStr(str(uuid.uuid4()))
        life = self._scene_ttl_seconds
        details = await self._official_account_code(account, scene_str, life)
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
                details={**details, "user_agent": request.user_agent[:256]},
            )
        )
        self._metrics.scene_begun(kind)
        return Begun(scene, watch_token, begin_cookie, self._document(scene, watch_token, life))

    async def _within_limits(self, address: str) -> None:
        wait = await self._limits.allow("scenes", address)
        if wait is not None:
            self._metrics.rate_limited("scenes")
            raise ApiError(
                "rate_limited", "Too many login codes from this address.", retry_after=int(wait) + 1
            )

    async def _official_account_code(
        self, account: Account, scene_str: SceneStr, life: int
    ) -> dict[str, str]:
        await self._within_daily_quota(account)
        try:
            code = await account.api.create_qr_code(scene_str, max(WECHAT_LEAST_SECONDS, life))
        except WeChatRefused as refusal:
            if refusal.code == "wechat_quota":
                raise self._quota_used_up() from refusal
            raise
        return {"qr_content": code.url, "qr_ticket": code.ticket}

    async def _within_daily_quota(self, account: Account) -> None:
        """Keep a reserve, so that a flood of pages cannot use up the whole day's codes."""
        day = datetime.fromtimestamp(self._clock.now(), BEIJING).date()
        made = await self._scenes.count(f"codes:{account.name}:{day}", 2 * 86_400)
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

    def _document(self, scene: Scene, watch_token: WatchToken, life: int) -> dict[str, Any]:
        path = f"/api/scenes/{scene.scene_str}"
        return {
            "scene_str": scene.scene_str,
            "watch_token": watch_token,
            "state": scene.state.value,
            "seq": scene.seq,
            "expires_in": life,
            "qr": {
                "content": scene.details["qr_content"],
                "expires_in": max(1, life - 30, life // 2),
                "svg": f"{path}/qr.svg",
                "png": f"{path}/qr.png",
                "wechat_image": show_qr_url(self._mp_base, scene.details["qr_ticket"]),
            },
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


def _kind(wanted: str | None) -> Kind:
    try:
        kind = Kind(wanted or Kind.OFFICIAL_ACCOUNT)
    except ValueError:
        raise ApiError("unknown_kind", "There is no such kind of scene.", field="kind") from None
    if kind is not Kind.OFFICIAL_ACCOUNT:
        raise ApiError("unknown_kind", "This server offers no such kind of scene.", field="kind")
    return kind
