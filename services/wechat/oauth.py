"""Login by WeChat's web pages: their addresses, what a code grants, and whom a grant shows.

Inside WeChat the page is connect/oauth2/authorize, on a computer connect/qrconnect.

Facts: WeChat's pages "Web page authorisation" (the order of the parameters and the fragment are
checked by a pattern; snapshot mode) and "Website app login". A person's access_token, which a
grant holds, is not the account's (see `access_token`); neither ever reaches a browser.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit

from services.caches import Cache
from services.clock import Clock
from services.errors import ScanpushError, WeChatError, WeChatRefused, WeChatUnavailable
from services.ids import AppId, OpenId, UnionId
from services.tasks import Supervisor
from services.wechat.client import WeChatClient, openid_of, text_of, unionid_of
from services.wechat.replies import inert

Scope = Literal["snsapi_base", "snsapi_userinfo"]

CODE = re.compile(r"[A-Za-z0-9_\-.~+/=]{1,512}")
"""What a code may look like; anything else is not even asked about."""

REMEMBER_SECONDS = 60.0
"""How long an exchange is remembered: phones, prefetchers and gateways ask twice (40163)."""

MOST_REMEMBERED = 1000

MAX_NICKNAME = 64
MAX_AVATAR = 1024

_STATE = re.compile(r"[A-Za-z0-9]{1,128}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code grants. The token is left out of its text."""

    openid: OpenId
    scope: str
    unionid: UnionId | None = None
    is_snapshot: bool = False
    """WeChat showed a snapshot page to a virtual person: never to be logged in."""
    access_token: str = field(default="", repr=False)

    @property
    def with_profile(self) -> bool:
        """Whether name and picture may be asked for."""
        return "snsapi_userinfo" in self.scope or "snsapi_login" in self.scope


@dataclass(frozen=True, slots=True)
class Profile:
    """What a person lets the site see, made inert: see `clean_nickname`."""

    openid: OpenId
    unionid: UnionId | None
    nickname: str
    avatar: str


def authorize_url(open_base: str, app_id: str, redirect_uri: str, scope: Scope, state: str) -> str:
    """Where a page inside WeChat sends the person. Raises ValueError for a state WeChat refuses."""
    return (
        f"{open_base.rstrip('/')}/connect/oauth2/authorize?appid={quote(app_id, safe='')}"
        f"&redirect_uri={quote(redirect_uri, safe='')}&response_type=code&scope={scope}"
        f"&state={_state(state)}#wechat_redirect"
    )


def qrconnect_url(
    open_base: str, app_id: str, redirect_uri: str, state: str, lang: str = "cn"
) -> str:
    """Where a computer's browser shows WeChat's own code (also what wxLogin.js embeds)."""
    shown = "cn" if lang.lower().startswith(("cn", "zh")) else "en"
    return (
        f"{open_base.rstrip('/')}/connect/qrconnect?appid={quote(app_id, safe='')}"
        f"&redirect_uri={quote(redirect_uri, safe='')}&response_type=code&scope=snsapi_login"
        f"&state={_state(state)}&lang={shown}#wechat_redirect"
    )


def clean_nickname(nickname: object) -> str:
    """A name as one inert line (see `replies.inert`); empty for what is no text."""
    return inert(nickname, MAX_NICKNAME) if isinstance(nickname, str) else ""


def clean_avatar(url: object) -> str:
    """The address of a picture, or empty: only http and https, no user or password, bounded."""
    if not isinstance(url, str) or len(url) > MAX_AVATAR or not url.isascii():
        return ""
    if not url.isprintable() or any(c in url for c in "\"'<>\\ "):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    fine = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    return url if fine else ""


def _state(state: str) -> str:
    if _STATE.fullmatch(state) is None:
        raise ValueError("state is 1 to 128 letters and digits")
    return state


class OAuthClient:
    """Codes and grants of one app_id, over WeChat's sns interfaces.

    Raises `errors.WeChatUnavailable` or `errors.WeChatRefused`, and only those; a code that is no
    good has the error code ``bad_request``.
    """

    def __init__(
        self,
        client: WeChatClient,
        clock: Clock,
        supervisor: Supervisor,
        *,
        app_id: str,
        app_secret: str,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self.app_id = AppId(app_id)
        self._app_secret = app_secret
        self._client = client
        self._clock = clock
        self._supervisor = supervisor
        self._exchanges: Cache[bytes, tuple[float, asyncio.Task[Grant | WeChatError]]]
        self._exchanges = Cache(most_remembered)

    async def exchange(self, code: str) -> Grant:
        """What `code` grants. Asked twice within a minute, WeChat is asked once."""
        if CODE.fullmatch(code) is None:
            raise WeChatRefused(40029, "not a code", "bad_request")
        now = self._clock.monotonic()
        # By time as well, not only by number: the answers hold tokens.
        while self._exchanges and now - next(iter(self._exchanges.values()))[0] >= REMEMBER_SECONDS:
            self._exchanges.popitem(last=False)
        key = hashlib.sha256(code.encode()).digest()
        if key not in self._exchanges:
            task = self._supervisor.spawn(self._exchange(code, key), name="code exchange")
            self._exchanges.keep(key, (now, task))
        # Shielded: when the phone hangs up and asks again, the first answer is still the only one.
        result = await asyncio.shield(self._exchanges[key][1])
        if isinstance(result, ScanpushError):
            raise result.with_traceback(None)
        return result

    async def _exchange(self, code: str, key: bytes) -> Grant | WeChatError:
        """One exchange. A refusal is its result as well, for all who ask with this code."""
        query = {
            "appid": self.app_id,
            "secret": self._app_secret,
            "code": code,
            "grant_type": "authorization_code",
        }
        try:
            # A code is good once: a repeated call would spend it and lose the answer.
            answer = await self._client.json(
                "GET", "/sns/oauth2/access_token", query=query, repeatable=False
            )
            return Grant(
                openid=openid_of(answer),
                scope=str(answer.get("scope", "")),
                unionid=unionid_of(answer),
                # Documented as 1; any other sign of a snapshot is one too.
                is_snapshot=bool(answer.get("is_snapshotuser")),
                access_token=text_of(answer, "access_token"),
            )
        except WeChatUnavailable as error:
            # Not remembered: the person's own next try may find the code still good.
            self._exchanges.pop(key, None)
            return error
        except WeChatRefused as error:
            return error

    async def profile(self, grant: Grant) -> Profile:
        """Name, picture and unionid; the grant's scope must allow it."""
        query = {"access_token": grant.access_token, "openid": grant.openid, "lang": "zh_CN"}
        answer = await self._client.json("GET", "/sns/userinfo", query=query)
        if answer.get("openid") != grant.openid:
            raise WeChatUnavailable("the answer names another openid")
        return Profile(
            openid=grant.openid,
            unionid=unionid_of(answer) or grant.unionid,
            nickname=clean_nickname(answer.get("nickname")),
            avatar=clean_avatar(answer.get("headimgurl")),
        )
