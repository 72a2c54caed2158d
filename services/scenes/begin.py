"""Begin a scene: what a page asks for, and what it is shown.

`BeginService.begin` spends the address's limit, has a code made or takes one that is ready, stores
the scene and answers with its secrets. What differs by login kind is in one `SceneCode` class for
each: the code, what the scene keeps of it, and what the page is told about it. A kind that the
container builds no class for is not offered. `Kiosks` are the public screens that the operator put
up, known by their secrets.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from services.clock import Clock
from services.errors import ApiError
from services.ids import SceneStr, WatchToken, new_scene_str, secret_hash
from services.metrics import Metrics
from services.origins import screen_browser
from services.rate_limits import RateLimits
from services.scenes.codes_ahead import AccountCodes
from services.scenes.states import NO_DETAILS, OPEN, Kind, Move, Scene, State
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.screens.directory import Screens
from services.screens.store import Beginning, ScreenStore
from services.settings.models import KioskSettings
from services.wechat.accounts import Account, Accounts
from services.wechat.official_account import show_qr_url
from services.wechat.reply_texts import LANGUAGES

_BEGIN_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
"""32 random bytes in base64url, as `secrets.token_urlsafe` writes them."""


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
    page: str = ""
    """The version of a kiosk's page, as that says."""
    details: Mapping[str, str] = field(default_factory=lambda: NO_DETAILS)
    """What the scene keeps besides: of the authorization that its login is for."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A new scene, with the answer to its page.

    The watch token (in the document) and the begin cookie are secrets that are sent once; the store
    has their hashes only.
    """

    scene: Scene
    begin_cookie: str
    document: Mapping[str, Any]


class BeginService:
    """Begins scenes.

    Args:
        codes: the login kinds this server offers.
        scene_ttl_seconds: the life of a scene that is not a kiosk's.
    """

    def __init__(
        self,
        accounts: Accounts,
        scenes: SceneStore,
        limits: RateLimits,
        clock: Clock,
        metrics: Metrics,
        codes: "SceneCodes",
        kiosks: "Kiosks",
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
        try:
            kind = Kind(request.kind or Kind.OFFICIAL_ACCOUNT)
            code = self._codes[kind]
        except (ValueError, KeyError):
            raise ApiError("unknown_kind", "This server has no such login.", field="kind") from None
        # Before the kiosk's secret is compared, so that guesses are limited as well.
        await self._limits.spend("scenes", request.address)
        life, details, kiosk = self._scene_ttl_seconds, {}, None
        if request.kiosk is not None:
            kiosk = await self._kiosks.admit(request.kiosk, request.kiosk_secret)
            life, details = self._kiosks.ttl_seconds, {"kiosk": kiosk.name}
        # The code comes first: a scene without one could not be shown, and a code without a scene
        # is answered like an expired one.
        scene_str, kept = await code.prepare(CodeRequest(account, life, request.origin))
        watch_token = WatchToken(secrets.token_urlsafe(32))
        # A browser keeps one begin cookie for all its scenes, so that two of its tabs do not take
        # each other's away. A value of another form is not one that this server has set.
        begin_cookie = request.begin_cookie or ""
        if _BEGIN_COOKIE.fullmatch(begin_cookie) is None:
            begin_cookie = secrets.token_urlsafe(32)
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
                details={
                    **kept,
                    **details,
                    **request.details,
                    "user_agent": request.user_agent[:256],
                },
            )
        )
        shown = NO_DETAILS if kiosk is None else await self._note(scene, kiosk, request)
        self._metrics.scene_begun(kind)
        document = {
            "scene_str": scene_str,
            "watch_token": watch_token,
            "state": scene.state.value,
            "seq": scene.seq,
            "expires_in": life,
            "ws": f"/ws/{scene_str}",
            "status": f"/api/scenes/{scene_str}",
            "poll_interval": self._poll_interval_seconds,
            **code.document(scene, life),
            **shown,
        }
        return Begun(scene, begin_cookie, document)

    async def _note(self, scene: Scene, kiosk: "Kiosk", request: BeginRequest) -> Mapping[str, Any]:
        """What the answer to a kiosk's page has besides."""
        browser = screen_browser(request.user_agent)
        beginning = Beginning(scene.scene_str, scene.created_at, request.page, browser)
        if await self._kiosks.begun(kiosk, beginning):
            return self._kiosks.document(kiosk, scene)
        # Revoked after it was admitted; `ScreenCare.revoke` ends the scenes that were noted.
        await self._scenes.advance(scene.scene_str, Move(State.CANCELLED, OPEN))
        raise _unknown_kiosk()


def begun_here(scene: Scene, begin_cookie: str | None) -> bool:
    """Whether this browser began the scene: the condition for finishing it without asking."""
    return bool(begin_cookie) and hmac.compare_digest(
        scene.begin_hash, secret_hash(begin_cookie or "")
    )


class Kiosk(NamedTuple):
    """A kiosk that has shown its secret; `secret` is empty for one of the settings."""

    name: str
    label: str
    secret: str = ""


class Kiosks:
    """Screens in public, whose pages never get a login: those of the settings, and paired ones.

    Their scenes live longer and bring an exchange code, which the operator's server redeems
    (``/api/exchange``).

    Args:
        kiosks: the screens of the settings.
        screens: the paired ones; None where there is no operator who could pair any.
        kept: knows those too that were paired while there was one.
        ttl_seconds: the life of their scenes.
    """

    def __init__(
        self,
        kiosks: Mapping[str, KioskSettings],
        screens: Screens | None,
        kept: ScreenStore,
        ttl_seconds: int,
    ) -> None:
        self._kiosks = kiosks
        self._screens = screens
        self._kept = kept
        self.ttl_seconds = ttl_seconds

    async def admit(self, name: str, secret: str) -> Kiosk:
        """The kiosk, for a page that has its secret.

        A secret of the settings is compared in constant time. A paired screen is found by its
        secret alone: its page goes on under the name it knows when the operator has changed it. An
        unknown kiosk is answered like a wrong secret.

        Raises:
            ApiError: ``unauthorized``, at which a paired screen forgets its secret; ``not_found``
                for one that may begin again when there is an operator.
            StoreUnavailable
        """
        configured = self._kiosks.get(name)
        if configured is not None:
            expected = configured.secret.get_secret_value().encode()
            same = hmac.compare_digest(expected, secret.encode("utf-8", "surrogatepass"))
            if expected and same:
                return Kiosk(name, configured.label or name)
        elif secret:
            screen = await self._kept.of_secret(secret_hash(secret))
            if screen is not None and screen.name not in self._kiosks:
                if self._screens is None:
                    message = "Paired screens are off: operator.token is not set."
                    raise ApiError("not_found", message)
                return Kiosk(screen.name, screen.label or screen.name, secret)
        raise _unknown_kiosk()

    async def begun(self, kiosk: Kiosk, beginning: Beginning) -> bool:
        """Note the scene; False where the kiosk was revoked meanwhile."""
        if self._screens is None:
            return True
        if kiosk.secret:
            return await self._screens.begun(kiosk.secret, beginning) is not None
        self._screens.begun_at(kiosk.name, beginning)
        return True

    def document(self, kiosk: Kiosk, scene: Scene) -> Mapping[str, Any]:
        """What its page is told with a new scene."""
        screen = None if self._screens is None else self._screens.of_page(scene.details)
        label = {"label": kiosk.label}
        return label if screen is None else {**label, "screen": screen}


def _unknown_kiosk() -> ApiError:
    return ApiError("unauthorized", "Unknown kiosk, or wrong or missing secret.")


# The login kinds.


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """The scene that is about to begin. `origin` is the server's own, as the page reached it."""

    account: Account
    life: int
    origin: str


class Prepared(NamedTuple):
    """The id of the scene, and what it keeps of its code in its `Scene.details`."""

    scene_str: SceneStr
    details: Mapping[str, str]


class SceneCode(Protocol):
    """What one kind of scene shows, and what it needs for that."""

    async def prepare(self, request: CodeRequest) -> Prepared:
        """Have the code made, or take one that is ready.

        Raises:
            ApiError, WeChatError, StoreUnavailable: it has none now.
        """

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        """The kind's part of the answer to ``POST /api/scenes``."""


SceneCodes = Mapping[Kind, SceneCode]


class OfficialAccountCode:
    """A parametric code of the account; this server and WeChat both offer a picture of it.

    Args:
        codes: of each account, by its name.
    """

    def __init__(self, codes: Mapping[str, AccountCodes], *, mp_base: str) -> None:
        self._codes = codes
        self._mp_base = mp_base

    async def prepare(self, request: CodeRequest) -> Prepared:
        code = await self._codes[request.account.name].give(request.life)
        return Prepared(code.scene_str, {"qr_content": code.url, "qr_ticket": code.ticket})

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        picture = show_qr_url(self._mp_base, scene.details["qr_ticket"])
        return {"qr": {**_drawn(scene, life), "wechat_image": picture}}


class WebCode:
    """A code that holds an address of this server, which WeChat's browser opens. It costs no
    quota."""

    async def prepare(self, request: CodeRequest) -> Prepared:
        scene_str = new_scene_str()
        address = f"{request.origin}/oauth/wechat/start?scene={scene_str}"
        return Prepared(scene_str, {"qr_content": address})

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"qr": _drawn(scene, life)}


class WebsiteCode:
    """No code from this server: the popup at `start` shows WeChat's own."""

    async def prepare(self, request: CodeRequest) -> Prepared:
        return Prepared(new_scene_str(), NO_DETAILS)

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"start": f"/oauth/website/start?scene={scene.scene_str}"}


class MiniProgramCode:
    """WeChat's picture of a code that opens the mini program."""

    async def prepare(self, request: CodeRequest) -> Prepared:
        # Nothing is fetched yet. `MiniProgramPictures` does it when the picture is looked at: no
        # login page waits for WeChat, and bots spend no call.
        return Prepared(new_scene_str(), NO_DETAILS)

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        png = f"/api/scenes/{scene.scene_str}/qr.png"
        return {"qr": {"expires_in": shown_seconds(life), "png": png}}


class TypedCode:
    """A few characters that the person sends to the account."""

    def __init__(self, codes: TypedCodes) -> None:
        self._codes = codes

    async def prepare(self, request: CodeRequest) -> Prepared:
        scene_str = new_scene_str()
        code = await self._codes.give(request.account.name, scene_str, request.life)
        return Prepared(scene_str, {"code": code})

    def document(self, scene: Scene, life: int) -> dict[str, Any]:
        return {"code": scene.details["code"]}


def shown_seconds(life: int) -> int:
    """For how long a page shows a code: less than the scene lives, because a person who scans at
    the last moment still needs time to follow the account."""
    return max(1, life - 30, life // 2)


def _drawn(scene: Scene, life: int) -> dict[str, Any]:
    """A code that this server draws (`Pictures`)."""
    path = f"/api/scenes/{scene.scene_str}"
    return {
        "content": scene.details["qr_content"],
        "expires_in": shown_seconds(life),
        "svg": f"{path}/qr.svg",
        "png": f"{path}/qr.png",
    }
