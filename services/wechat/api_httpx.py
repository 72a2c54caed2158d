"""WeChat's API over httpx, for one account."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from services.clock import Clock
from services.errors import WeChatRefused, WeChatUnavailable
from services.ids import OpenId
from services.supervisor import Supervisor
from services.wechat.answers import text_of, unionid_of
from services.wechat.api import Follower, QrCode
from services.wechat.calls import Answer, Calls
from services.wechat.credentials import Credentials, CredentialStore
from services.wechat.errcodes import TOKEN_INVALID
from services.wechat.token_sources import ClassicToken, StableToken

T = TypeVar("T")

MAX_SCENE_STR = 64
MAX_EXPIRE_SECONDS = 2_592_000
"""Thirty days (WeChat: "Generating a Parametric QR Code")."""


def authorized(
    calls: Calls,
    store: CredentialStore,
    clock: Clock,
    supervisor: Supervisor,
    *,
    app_id: str,
    app_secret: str,
    credential: Literal["stable", "classic"] = "stable",
    on_renewed: Callable[[float], None] | None = None,
) -> "Authorized":
    """Calls with the access_token of one app_id (an account's or a mini program's)."""
    kind = StableToken if credential == "stable" else ClassicToken
    source = kind(calls, clock, app_id, app_secret)
    return Authorized(calls, Credentials(source, store, clock, supervisor, on_renewed=on_renewed))


class Authorized:
    """Calls that need an access_token: with it, and once more with another if it is refused."""

    def __init__(self, calls: Calls, credentials: Credentials) -> None:
        self._calls = calls
        self._credentials = credentials

    async def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """As `Calls.json`, with access_token added to the query."""

        async def call(token: str) -> dict[str, Any]:
            return await self._calls.json(
                method,
                path,
                query={"access_token": token, **(query or {})},
                body=body,
                repeatable=repeatable,
            )

        return await self._with_token(call)

    async def picture(self, path: str, body: Mapping[str, Any]) -> Answer:
        """As `Calls.picture`."""

        async def call(token: str) -> Answer:
            return await self._calls.picture(path, query={"access_token": token}, body=body)

        return await self._with_token(call)

    async def _with_token(self, call: Callable[[str], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._calls.timeout_seconds):
                token = await self._credentials.get()
                try:
                    return await call(token)
                except WeChatRefused as refusal:
                    if refusal.errcode not in TOKEN_INVALID:
                        raise
                await self._credentials.invalidate(token)
                return await call(await self._credentials.get())
        except TimeoutError:
            raise WeChatUnavailable("time-out") from None


class HttpxWeChatAPI:
    """`WeChatAPI` for one Official Account."""

    def __init__(self, authorized: Authorized) -> None:
        self._authorized = authorized

    async def create_qr_code(self, scene_str: str, expire_seconds: int) -> QrCode:
        if not 1 <= len(scene_str) <= MAX_SCENE_STR:
            raise ValueError(f"scene_str has 1 to {MAX_SCENE_STR} characters")
        if not 1 <= expire_seconds <= MAX_EXPIRE_SECONDS:
            raise ValueError(f"expire_seconds is 1 to {MAX_EXPIRE_SECONDS}")
        answer = await self._authorized.json(
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
        answer = await self._authorized.json(
            "GET", "/cgi-bin/user/info", query={"openid": openid, "lang": "zh_CN"}
        )
        return Follower(
            openid=openid,
            subscribed=answer.get("subscribe") == 1,
            unionid=unionid_of(answer),
        )

    async def send_template(
        self, openid: OpenId, template_id: str, data: Mapping[str, str], client_msg_id: str
    ) -> str:
        answer = await self._authorized.json(
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
