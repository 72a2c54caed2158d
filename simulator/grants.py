"""One-time codes, and the credentials of single people that they are exchanged for.

Facts: WeChat's pages "Web page authorisation", "Website login" and "code2Session". This
access_token is another thing than that of `simulator.tokens`.
"""

import random
import string
from dataclasses import dataclass

from simulator.clock import TurnableClock
from simulator.identifiers import url_safe
from simulator.people import Person
from simulator.refusals import Refusal

CODE_SECONDS = 300
WEBSITE_CODE_SECONDS = 600
TOKEN_SECONDS = 7_200
REFRESH_SECONDS = 30 * 86_400
KEPT_SECONDS = 3_600

WEB_SCOPES = ("snsapi_base", "snsapi_userinfo", "snsapi_login")
MINI_PROGRAM_LOGIN = "wx.login"
PHONE_NUMBER = "getPhoneNumber"


@dataclass
class Grant:
    """What a person allowed: who, for which app, and for what (`scope`)."""

    app_id: str
    person: Person
    scope: str
    ends: float
    snapshot: bool = False
    used: bool = False


class Grants:
    """Codes, each good for one exchange."""

    def __init__(self, clock: TurnableClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._grants: dict[str, Grant] = {}

    def issue(self, app_id: str, person: Person, scope: str, snapshot: bool = False) -> str:
        """A new code: 32 letters and digits, five minutes (ten for a website)."""
        now = self._clock.now()
        for code in [c for c, old in self._grants.items() if old.ends + KEPT_SECONDS < now]:
            del self._grants[code]
        life = WEBSITE_CODE_SECONDS if scope == "snsapi_login" else CODE_SECONDS
        code = "".join(self._rng.choices(string.ascii_letters + string.digits, k=32))
        self._grants[code] = Grant(app_id, person, scope, now + life, snapshot)
        return code

    def redeem(self, app_id: str, code: str, *scopes: str) -> Grant:
        """Use the code, which this app must have got for one of these scopes.

        Raises:
            Refusal: 41008 missing, 40029 unknown or another app's, 40163 used, 42003 expired.
        """
        if not code:
            raise Refusal(41008)
        grant = self._grants.get(code)
        if grant is None or grant.app_id != app_id or grant.scope not in scopes:
            raise Refusal(40029)
        if grant.used:
            raise Refusal(40163)
        if self._clock.now() >= grant.ends:
            raise Refusal(42003)
        grant.used = True
        return grant


@dataclass
class UserToken:
    """An app's credential for one person."""

    value: str
    refresh_value: str
    grant: Grant
    openid: str
    ends: float
    refresh_ends: float


class UserTokens:
    """Credentials of single people: two hours, to be refreshed for thirty days."""

    def __init__(self, clock: TurnableClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._by_value: dict[str, UserToken] = {}
        self._by_refresh: dict[str, UserToken] = {}

    def issue(self, grant: Grant, openid: str) -> UserToken:
        now = self._clock.now()
        token = UserToken(
            f"{80 + self._rng.randrange(20)}_{url_safe(self._rng, 86)}",
            f"{80 + self._rng.randrange(20)}_{url_safe(self._rng, 86)}",
            grant,
            openid,
            now + TOKEN_SECONDS,
            now + REFRESH_SECONDS,
        )
        self._by_value[token.value] = self._by_refresh[token.refresh_value] = token
        return token

    def refresh(self, app_id: str, refresh_value: str) -> UserToken:
        """A valid access_token is only prolonged; an expired one is replaced.

        Raises:
            Refusal: 41003 missing, 40030 unknown or another app's, 42002 expired.
        """
        if not refresh_value:
            raise Refusal(41003)
        token = self._by_refresh.get(refresh_value)
        if token is None or token.grant.app_id != app_id:
            raise Refusal(40030)
        now = self._clock.now()
        if now >= token.refresh_ends:
            raise Refusal(42002)
        if now >= token.ends:
            self._by_value.pop(token.value, None)
            token.value = f"{80 + self._rng.randrange(20)}_{url_safe(self._rng, 86)}"
            self._by_value[token.value] = token
        token.ends = now + TOKEN_SECONDS
        return token

    def check(self, value: str, openid: str) -> UserToken:
        """The credential of this person.

        Raises:
            Refusal: 41001, 41009 missing, 40001 unknown, 42001 expired, 40003 not this person.
        """
        if not value:
            raise Refusal(41001)
        if not openid:
            raise Refusal(41009)
        token = self._by_value.get(value)
        if token is None:
            raise Refusal(40001)
        if self._clock.now() >= token.ends:
            raise Refusal(42001)
        if token.openid != openid:
            raise Refusal(40003)
        return token
