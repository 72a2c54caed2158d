"""What is asked of WeChat for a mini program: the person behind a code, and codes that open it.

Facts: WeChat's pages "code2Session" and "getUnlimitedQRCode". session_key is dropped the moment
it arrives: it is no part of any value here, so it cannot be stored, logged or sent.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from services.errors import WeChatRefused
from services.ids import AppId, OpenId, UnionId
from services.wechat.access_token import AuthorizedClient
from services.wechat.client import WeChatClient, openid_of, unionid_of
from services.wechat.oauth import CODE

_SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}")
"""What getUnlimitedQRCode takes as ``scene``."""


@dataclass(frozen=True, slots=True)
class MiniProgramPerson:
    """The person who ran wx.login."""

    openid: OpenId
    unionid: UnionId | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as WeChat drew it."""

    content_type: str
    body: bytes


class MiniProgramClient:
    """WeChat's API with the secret and the access_token of one mini program.

    Raises `errors.WeChatUnavailable`, `errors.WeChatRefused` or `errors.StoreUnavailable` (see
    `OfficialAccountClient`), and only those; a code that is no good, and a person WeChat calls
    high-risk, have the error code ``bad_request``.

    Args:
        page: the page that opens, without a leading slash; empty for the program's first page.
        env_version: ``trial`` or ``develop`` while the program is not published.
    """

    def __init__(
        self,
        client: WeChatClient,
        authorized_client: AuthorizedClient,
        *,
        app_id: str,
        app_secret: str,
        page: str = "",
        env_version: Literal["release", "trial", "develop"] = "release",
    ) -> None:
        self.app_id = AppId(app_id)
        self._app_secret = app_secret
        self._client = client
        self._authorized_client = authorized_client
        self._options: dict[str, Any] = {"env_version": env_version}
        if page:
            # WeChat looks for the page in the published version only.
            self._options |= {"page": page, "check_path": env_version == "release"}

    async def code_to_session(self, js_code: str) -> MiniProgramPerson:
        """The person whose wx.login `js_code` is. A code is good once, for five minutes."""
        if CODE.fullmatch(js_code) is None:
            raise WeChatRefused(40029, "not a code", "bad_request")
        answer = await self._client.json(
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
        """The picture of a code that opens the program with `scene`.

        A scene's id fits in as 32 hexadecimal digits (`ids.scene_hex`).

        Raises:
            ValueError: WeChat would not take that scene.
        """
        if _SCENE.fullmatch(scene) is None:
            raise ValueError("scene is 1 to 32 characters that WeChat allows")
        answer = await self._authorized_client.picture(
            "/wxa/getwxacodeunlimit", {"scene": scene, **self._options}
        )
        return Picture(answer.content_type.partition(";")[0].strip(), answer.body)
