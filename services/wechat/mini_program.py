"""The mini program's doors: who is behind a wx.login code, and codes that open the program.

Facts: WeChat's pages "code2Session" and "getUnlimitedQRCode". session_key is dropped the moment
it arrives: it is no part of any value here, so it cannot be stored, logged or sent.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from services.errors import WeChatRefused
from services.ids import AppId, OpenId, UnionId
from services.wechat.access_token import Authorized
from services.wechat.client import Calls, openid_of, unionid_of
from services.wechat.oauth import CODE

_SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}")


@dataclass(frozen=True, slots=True)
class MiniProgramPerson:
    """Who ran wx.login."""

    openid: OpenId
    unionid: UnionId | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as WeChat drew it."""

    content_type: str
    body: bytes


class MiniProgramAPI(Protocol):
    """What we ask of WeChat for the mini program.

    Raises `errors.WeChatUnavailable`, `errors.WeChatRefused` or `errors.StoreUnavailable` (see
    `WeChatAPI`), and only those; a code that is no good, and a person WeChat calls high-risk, have
    the error code ``bad_request``.
    """

    app_id: AppId

    async def code_to_session(self, js_code: str) -> MiniProgramPerson:
        """Whose wx.login `js_code` is. A code is good once, for five minutes."""

    async def mini_program_code(self, scene: str) -> Picture:
        """A code that opens the program with `scene`: at most 32 characters, so 32 hex digits."""


class HttpxMiniProgram:
    """`MiniProgramAPI` over httpx.

    Args:
        page: the page that opens, without a leading slash; empty for the program's first page.
        env_version: ``trial`` or ``develop`` while the program is not published.
    """

    def __init__(
        self,
        calls: Calls,
        authorized: Authorized,
        *,
        app_id: str,
        app_secret: str,
        page: str = "",
        env_version: Literal["release", "trial", "develop"] = "release",
    ) -> None:
        self.app_id = AppId(app_id)
        self._app_secret = app_secret
        self._calls = calls
        self._authorized = authorized
        self._options: dict[str, Any] = {"env_version": env_version}
        if page:
            # Checked by WeChat against the published version only.
            self._options |= {"page": page, "check_path": env_version == "release"}

    async def code_to_session(self, js_code: str) -> MiniProgramPerson:
        if CODE.fullmatch(js_code) is None:
            raise WeChatRefused(40029, "not a code", "bad_request")
        answer = await self._calls.json(
            "GET",
            "/sns/jscode2session",
            query={
                "appid": self.app_id,
                "secret": self._app_secret,
                "js_code": js_code,
                "grant_type": "authorization_code",
            },
            repeatable=False,
        )
        return MiniProgramPerson(openid_of(answer), unionid_of(answer))

    async def mini_program_code(self, scene: str) -> Picture:
        if _SCENE.fullmatch(scene) is None:
            raise ValueError("scene is 1 to 32 characters that WeChat allows")
        answer = await self._authorized.picture(
            "/wxa/getwxacodeunlimit", {"scene": scene, **self._options}
        )
        return Picture(answer.content_type.partition(";")[0].strip(), answer.body)
