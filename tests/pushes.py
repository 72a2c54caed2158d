"""Pushes as WeChat makes them, one request at a time: for tests that say when and how often."""

import random
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from services.settings.models import AccountSettings
from services.wechat.crypto import Cipher, signature
from simulator.config import SimulatedAccount
from simulator.identifiers import openid_of
from simulator.messages import ORDINARY, PushOptions, PushRequest, Reply, Sealer, read_reply


class Sender:
    """Signs, encrypts and sends for one account, by its settings and without retries.

    Args:
        changes: what differs from the account as the server knows it (`mode`, `app_id`,
            `callback_token`, `encoding_aes_key`, `data_format`).
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, settings: AccountSettings, **changes: str
    ) -> None:
        account = SimulatedAccount(
            app_id=settings.app_id,
            app_secret="",
            callback_token=settings.callback_token.get_secret_value(),
            encoding_aes_key=settings.encoding_aes_key.get_secret_value(),
            callback_url=url,
            mode=settings.mode,
        )
        self.account = replace(account, **changes)
        self._http = http
        self._sealer = Sealer(self.account, random.Random())

    def openid(self, person: str) -> str:
        return openid_of(person, self.account.app_id)

    def event(
        self, event: str, person: str, now: float, **fields: str | int
    ) -> dict[str, str | int]:
        """The fields of one event; `fields` add to them or replace them."""
        return {
            "ToUserName": self.account.original_id,
            "FromUserName": self.openid(person),
            "CreateTime": int(now),
            "MsgType": "event",
            "Event": event,
            **fields,
        }

    def sealed(
        self, fields: Mapping[str, str | int], now: float, options: PushOptions = ORDINARY
    ) -> PushRequest:
        return self._sealer.seal(fields, int(now), options)

    def sealed_bytes(
        self,
        message: bytes,
        now: float,
        *,
        beside: bytes = b"",
        around: tuple[bytes, bytes] = (b"", b""),
    ) -> PushRequest:
        """A push of any bytes, signed and encrypted as the account's mode has it.

        Args:
            beside: stands before Encrypt in the envelope, as the plain fields of compatible mode.
            around: before and behind the body.
        """
        push = self.sealed({"ToUserName": self.account.original_id}, now)
        if self.account.mode != "plaintext":
            encrypt = Cipher(self.account.encoding_aes_key, self.account.app_id).encrypt(
                message, b"0123456789abcdef"
            )
            query = query_of(push)
            parts = self.account.callback_token, query["timestamp"], query["nonce"]
            push = with_query(push, msg_signature=signature(*parts, encrypt))
            envelope = (
                b'{%s"Encrypt":"%s"}'
                if message[:1] == b"{"
                else (b"<xml>%s<Encrypt><![CDATA[%s]]></Encrypt></xml>")
            )
            message = envelope % (beside, encrypt.encode())
        return replace(push, body=around[0] + message + around[1])

    async def send(self, request: PushRequest) -> httpx.Response:
        headers = {"Content-Type": request.content_type, "User-Agent": "Mozilla/4.0"}
        return await self._http.post(request.url, content=request.body, headers=headers)

    def read(self, answer: httpx.Response, person: str) -> Reply:
        """The reply, checked as strictly as WeChat does."""
        assert answer.status_code == 200, answer.text
        return read_reply(answer.content, self.account, self.openid(person))


def with_query(request: PushRequest, **changes: str | None) -> PushRequest:
    """The same push with other query arguments; None leaves one out."""
    parts = urlsplit(request.url)
    query = dict(parse_qsl(parts.query)) | changes
    kept = {key: value for key, value in query.items() if value is not None}
    return replace(request, url=parts._replace(query=urlencode(kept)).geturl())


def query_of(request: PushRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query))
