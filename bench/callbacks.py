"""WeChat's side of a login for the benchmarks: callbacks signed and encrypted beforehand."""

import os
import secrets
import time
from collections.abc import Callable, Sequence

from bench.kit import wire
from bench.kit.crew import reason
from bench.kit.http import HttpPool
from bench.kit.loop import Loop
from services.wechat import crypto

APP_ID = "wxbe4c4be4c4be4c4b"
ACCOUNT = "gh_be4c4be4c4be"
CALLBACK_TOKEN = "benchmarks"
ENCODING_AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
CALLBACK_PATH = "/wechat/callback"

EVENT = (
    "<xml><ToUserName><![CDATA[{account}]]></ToUserName>"
    "<FromUserName><![CDATA[{openid}]]></FromUserName><CreateTime>{now}</CreateTime>"
    "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event>"
    "<EventKey><![CDATA[{scene_str}]]></EventKey><Ticket><![CDATA[{ticket}]]></Ticket></xml>"
)
TICKET = "gQbench" + "t" * 89
"""As long as WeChat's tickets are."""


def openid(person: int) -> str:
    """28 characters, like WeChat's."""
    return f"oBench{person:022d}"


class Callbacks:
    """A `Scanner`: sends what WeChat would send when a code is scanned, in safe mode.

    `prepare` does the cryptography before the clock starts, so that the driver stays cheap. What
    was prepared must be sent within the server's `timestamp_window_seconds`. The people's numbers
    begin with `first`.
    """

    def __init__(
        self, loop: Loop, target: wire.Target, links: int, people: int, first: int = 0
    ) -> None:
        self._loop = loop
        self._target = target
        self._people = people
        self._first = first
        self._turn = 0
        self._cipher = crypto.Cipher(ENCODING_AES_KEY, APP_ID)
        self._prepared: dict[str, bytes] = {}
        self.http = HttpPool(loop, target, links, timeout_seconds=10)
        self.seconds: list[float] = []

    def prepare(self, scenes: Sequence[str]) -> None:
        """Encrypt and sign one callback for each scene; people take turns."""
        for scene_str in scenes:
            self._turn = (self._turn + 1) % self._people
            self._prepared[scene_str] = self.request(scene_str, openid(self._first + self._turn))

    def request(self, scene_str: str, person: str) -> bytes:
        """The bytes of one callback."""
        now = str(int(time.time()))
        nonce = str(secrets.randbelow(10**10))
        event = EVENT.format(
            account=ACCOUNT, openid=person, now=now, scene_str=scene_str, ticket=TICKET
        )
        text = self._cipher.encrypt(event.encode(), os.urandom(16))
        query = (
            f"signature={crypto.signature(CALLBACK_TOKEN, now, nonce)}&timestamp={now}"
            f"&nonce={nonce}&openid={person}&encrypt_type=aes"
            f"&msg_signature={crypto.signature(CALLBACK_TOKEN, now, nonce, text)}"
        )
        body = (
            f"<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName>"
            f"<Encrypt><![CDATA[{text}]]></Encrypt></xml>"
        )
        headers = ["User-Agent: Mozilla/4.0", "Accept: */*", "Content-Type: text/xml"]
        path = f"{self._target.path}{CALLBACK_PATH}?{query}"
        return wire.http_request("POST", path, self._target, body.encode(), headers)

    def scan(self, scene_str: str, failed: Callable[[str], None]) -> None:
        """See `Scanner`."""
        request = self._prepared.pop(scene_str, None)
        if request is None:
            self.prepare([scene_str])
            request = self._prepared.pop(scene_str)
        sent = self._loop.now()

        def answered(status: int, body: bytes, now: float) -> None:
            self.seconds.append(now - sent)
            if status != 200:
                failed(reason(status, body))

        self.http.ask(request, answered)
