"""What each kind of scene shows, and what it needs from WeChat for that: one class a kind.

A kind that is not in the mapping the container builds is not offered (`ApiError` ``unknown_kind``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Protocol

from services.clock import Clock
from services.errors import ApiError, WeChatRefused
from services.ids import SceneStr
from services.scenes.states import Kind, Scene
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.wechat.accounts import Account
from services.wechat.api import show_qr_url

WECHAT_DAILY_CODES = 100_000
"""Temporary codes an account may make a day (WeChat: "Generating a Parametric QR Code")."""

WECHAT_LEAST_SECONDS = 60
"""The life WeChat is asked for is never less: its minimum is not documented."""

BEIJING = timezone(timedelta(hours=8))
"""WeChat counts its days there (unconfirmed; docs/errors.md, errcode 45009)."""

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wish:
    """The scene that is about to begin. `origin` is the server's own, as the page reached it."""

    account: Account
    scene_str: SceneStr
    life: int
    origin: str


class SceneCode(Protocol):
    """One kind of scene."""

    async def details(self, wish: Wish) -> Mapping[str, str]:
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

    async def details(self, wish: Wish) -> Mapping[str, str]:
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

    async def details(self, wish: Wish) -> Mapping[str, str]:
        return {"qr_content": f"{wish.origin}/oauth/wechat/start?scene={wish.scene_str}"}

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"qr": _drawn(scene, life)}


class WebsiteCode:
    """No code of ours: the popup at `start` shows WeChat's own."""

    async def details(self, wish: Wish) -> Mapping[str, str]:
        return NOTHING

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"start": f"/oauth/website/start?scene={scene.scene_str}"}


class MiniProgramCode:
    """A picture by WeChat that opens the mini program. It is fetched when somebody looks at it
    (see `mini_program_pictures`): no login page waits for it, and bots spend none."""

    async def details(self, wish: Wish) -> Mapping[str, str]:
        return NOTHING

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        png = f"/api/scenes/{scene.scene_str}/qr.png"
        return {"qr": {"expires_in": shown_seconds(life), "png": png}}


class TypedCode:
    """A few characters that the person sends to the account."""

    def __init__(self, codes: TypedCodes) -> None:
        self._codes = codes

    async def details(self, wish: Wish) -> Mapping[str, str]:
        return {"code": await self._codes.give(wish.account.name, wish.scene_str, wish.life)}

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"code": scene.details["code"]}


def codes_key(account: str, now: float) -> str:
    """Where the store counts the codes that an account has made on WeChat's day."""
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
