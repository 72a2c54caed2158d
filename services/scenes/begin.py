"""Begin a scene: limits, a code from WeChat, a record in the store."""

import hmac
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.clock import Clock
from services.errors import ApiError
from services.ids import SceneStr, WatchToken
from services.metrics import Metrics
from services.rate_limits import RateLimits
from services.scenes.codes import SceneCode, SceneCodes, Wish
from services.scenes.kiosks import Kiosks
from services.scenes.login import secret_hash
from services.scenes.states import Kind, Scene, State
from services.scenes.store import SceneStore
from services.wechat.accounts import Accounts
from services.wechat.reply_texts import LANGUAGES

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
        details = await code.details(Wish(account, scene_str, life, request.origin))
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
