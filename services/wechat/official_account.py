"""What is asked of WeChat for one Official Account: codes, followers, template messages.

Facts: WeChat's pages "Generating a Parametric QR Code", "Get user basic information" and "Send
template message".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.errors import WeChatUnavailable
from services.ids import OpenId, UnionId
from services.wechat.access_token import AuthorizedClient
from services.wechat.client import text_of, unionid_of

MAX_SCENE_STR = 64
MAX_EXPIRE_SECONDS = 2_592_000
"""Thirty days (WeChat: "Generating a Parametric QR Code")."""

MAX_OPENIDS = 100
"""In one call (WeChat: "Get user basic information", batchget; more are errcode 40032)."""


@dataclass(frozen=True, slots=True)
class QrCode:
    """A temporary parametric code.

    Neither field is a secret, and neither is ever accepted as a key.
    """

    ticket: str
    url: str
    """What the picture holds."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What WeChat says about a person: no names and pictures since 2021-12-27."""

    openid: OpenId
    subscribed: bool
    unionid: UnionId | None = None
    """Only where the account is bound to an Open Platform account."""


class OfficialAccountClient:
    """WeChat's API with the access_token of one account.

    Every method raises `errors.WeChatUnavailable` or `errors.WeChatRefused` within the configured
    time-out, or `errors.StoreUnavailable` where the access_token cannot be had from the store of
    all nodes, and only those. Their texts hold no secret.
    """

    def __init__(self, client: AuthorizedClient) -> None:
        self._client = client

    async def create_qr_code(self, scene_str: str, expire_seconds: int) -> QrCode:
        """A temporary QR_STR_SCENE code. Each one counts against 100,000 a day."""
        if not 1 <= len(scene_str) <= MAX_SCENE_STR:
            raise ValueError(f"scene_str has 1 to {MAX_SCENE_STR} characters")
        if not 1 <= expire_seconds <= MAX_EXPIRE_SECONDS:
            raise ValueError(f"expire_seconds is 1 to {MAX_EXPIRE_SECONDS}")
        answer = await self._client.json(
            "POST",
            "/cgi-bin/qrcode/create",
            body={
                "expire_seconds": int(expire_seconds),
                "action_name": "QR_STR_SCENE",
                "action_info": {"scene": {"scene_str": scene_str}},
            },
        )
        return QrCode(ticket=text_of(answer, "ticket"), url=text_of(answer, "url"))

    async def user_info(self, openid: OpenId) -> Follower:
        """Whether the person follows, and their unionid."""
        answer = await self._client.json(
            "GET", "/cgi-bin/user/info", query={"openid": openid, "lang": "zh_CN"}
        )
        return _follower(openid, answer)

    async def followers(self, openids: Sequence[OpenId]) -> Sequence[Follower]:
        """`user_info` of 1 to `MAX_OPENIDS` people in one call.

        People of whom the answer says nothing are left out. One openid that is not of this account
        has WeChat refuse all of them, with errcode 40003.
        """
        if len(openids) == 1:
            return [await self.user_info(openids[0])]
        users = [{"openid": openid, "lang": "zh_CN"} for openid in openids]
        answer = await self._client.json(
            "POST", "/cgi-bin/user/info/batchget", body={"user_list": users}
        )
        found = answer.get("user_info_list")
        if not isinstance(found, list):
            raise WeChatUnavailable("the answer has no user_info_list")
        wanted = set(openids)
        return [
            _follower(OpenId(one["openid"]), one)
            for one in found
            if isinstance(one, dict) and one.get("openid") in wanted
        ]

    async def send_template(
        self, openid: OpenId, template_id: str, data: Mapping[str, str], client_msg_id: str
    ) -> str:
        """Send a template message and return its msgid: accepted, not yet delivered.

        The same `client_msg_id` to the same person is sent once within ten minutes.
        """
        answer = await self._client.json(
            "POST",
            "/cgi-bin/message/template/send",
            body={
                "touser": openid,
                "template_id": template_id,
                "data": {key: {"value": value} for key, value in data.items()},
                "client_msg_id": client_msg_id,
            },
            repeatable=False,
        )
        return str(answer.get("msgid", ""))

    async def send_text(self, openid: OpenId, content: str) -> None:
        """Write to a person who was here lately (WeChat: "Send customer service messages").

        Verified accounts may (48001 for others), within minutes of a scan and two days of a message
        (45015 later). A call whose answer is lost is not repeated.
        """
        await self._client.json(
            "POST",
            "/cgi-bin/message/custom/send",
            body={"touser": openid, "msgtype": "text", "text": {"content": content}},
            repeatable=False,
        )


def _follower(openid: OpenId, answer: Mapping[str, Any]) -> Follower:
    subscribed = answer.get("subscribe") == 1
    return Follower(openid=openid, subscribed=subscribed, unionid=unionid_of(answer))


def show_qr_url(mp_base: str, ticket: str) -> str:
    """Where WeChat itself draws the code. Tickets hold ``=``, ``+`` and ``/``: all are escaped."""
    return f"{mp_base.rstrip('/')}/cgi-bin/showqrcode?ticket={quote(ticket, safe='')}"
