"""The two ways to an access_token. Their tokens are isolated: one never invalidates the other.

Facts: WeChat's pages "Get stable access token" and "Get access token".
"""

from typing import Any

from services.clock import Clock
from services.errors import WeChatUnavailable
from services.wechat.answers import text_of
from services.wechat.calls import Calls
from services.wechat.credentials import Token

MAX_TOKEN = 2048
"""WeChat asks for room for 512 characters at least."""


class StableToken:
    """``cgi-bin/stable_token``: everybody who asks gets the same token until near its end.

    Forcing ends the present token at once, which all others notice by a 40001.
    """

    can_force = True

    def __init__(self, calls: Calls, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"stable:{app_id}"
        self._calls = calls
        self._clock = clock
        self._body = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> Token:
        asked_at = self._clock.now()
        answer = await self._calls.json(
            "POST", "/cgi-bin/stable_token", query={}, body={**self._body, "force_refresh": force}
        )
        return _token(answer, asked_at)


class ClassicToken:
    """``cgi-bin/token``: every call makes a new token, and the one before dies in 5 minutes."""

    can_force = False

    def __init__(self, calls: Calls, clock: Clock, app_id: str, app_secret: str) -> None:
        self.key = f"classic:{app_id}"
        self._calls = calls
        self._clock = clock
        self._query = {
            "grant_type": "client_credential",
            "appid": app_id,
            "secret": app_secret,
        }

    async def fetch(self, *, force: bool) -> Token:
        asked_at = self._clock.now()
        answer = await self._calls.json("GET", "/cgi-bin/token", query=self._query)
        return _token(answer, asked_at)


def _token(answer: dict[str, Any], asked_at: float) -> Token:
    value, expires_in = text_of(answer, "access_token", MAX_TOKEN), answer.get("expires_in")
    if not isinstance(expires_in, int) or expires_in <= 0:
        raise WeChatUnavailable("the answer has no expires_in")
    return Token(value, asked_at + expires_in)
