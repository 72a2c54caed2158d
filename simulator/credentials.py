"""What WeChat hands out and checks: an app's access_token, one-time codes, a person's tokens.

The access_token of an app and that of a single person share a name with WeChat and nothing else.
Facts: WeChat's pages "Get access token" and "Get stable access token", "Web page authorisation",
"Website login" and "code2Session".
"""

import random
import string
from collections import deque
from dataclasses import asdict, dataclass
from typing import Literal

from simulator.clock import TurnableClock
from simulator.identifiers import url_safe
from simulator.people import Person
from simulator.refusals import Refusal
from simulator.state import State

LIFE_SECONDS = 7_200
OVERLAP_SECONDS = 300
FORCED_PER_DAY = 20
FORCED_APART_SECONDS = 30


Family = Literal["classic", "stable"]


@dataclass
class AccessToken:
    """One credential. It works until `ends`; `replaced` tells 40001 from 42001 afterwards."""

    value: str
    app_id: str
    family: Family
    expires: float
    ends: float
    replaced: bool = False


class AccessTokens:
    """Issues and checks access tokens; the families ``token`` and ``stable_token`` are apart."""

    def __init__(self, clock: TurnableClock, rng: random.Random, state: State) -> None:
        self._clock = clock
        self._rng = rng
        self._state = state
        self._issued = 0
        self._by_value: dict[str, AccessToken] = {}
        self._latest: dict[tuple[str, Family], AccessToken] = {}
        self._forced: dict[str, deque[float]] = {}
        kept = [AccessToken(**document) for document in state.documents("access_tokens").values()]
        for token in sorted(kept, key=lambda token: token.expires):
            self._by_value[token.value] = token
            if not token.replaced:
                self._latest[token.app_id, token.family] = token

    def classic(self, app_id: str) -> tuple[str, int]:
        """A new token each time; the previous one works for five more minutes."""
        previous = self._latest.get((app_id, "classic"))
        if previous is not None:
            self._end(previous, self._clock.now() + OVERLAP_SECONDS)
        # Two nodes that each fetch one end each other's, which stable_token is there to avoid.
        return self._issue(app_id, "classic").value, LIFE_SECONDS

    def stable(self, app_id: str, force_refresh: bool) -> tuple[str, int]:
        """The same token until five minutes before its end; then both work until then.

        `force_refresh` kills the present token at once, at most 20 times a day and 30 s apart;
        beyond that nothing is refreshed.
        """
        now = self._clock.now()
        token = self._latest.get((app_id, "stable"))
        if token is not None and force_refresh and self._may_force(app_id, now):
            self._end(token, now)
            token = None
        if token is None or token.expires - now < OVERLAP_SECONDS:
            token = self._issue(app_id, "stable")
        return token.value, round(token.expires - now)

    def _may_force(self, app_id: str, now: float) -> bool:
        forced = self._forced.setdefault(app_id, deque(maxlen=FORCED_PER_DAY))
        if forced and now - forced[-1] < FORCED_APART_SECONDS:
            return False
        # The deque keeps the last twenty: the oldest of them decides whether a day has passed.
        if len(forced) == FORCED_PER_DAY and now - forced[0] < 86_400:
            return False
        forced.append(now)
        return True

    def _issue(self, app_id: str, family: Family) -> AccessToken:
        self._issued += 1
        # In the shape of real ones: two digits, an underscore, url-safe characters.
        value = f"{80 + self._issued % 20}_{url_safe(self._rng, 147)}"
        expires = self._clock.now() + LIFE_SECONDS
        token = AccessToken(value, app_id, family, expires, expires)
        self._by_value[value] = self._latest[app_id, family] = token
        self._state.put("access_tokens", value, asdict(token))
        self._forget_old()
        return token

    def _end(self, token: AccessToken, at: float) -> None:
        # `replaced`: afterwards it is "not the latest" (40001), not expired (42001).
        token.ends, token.replaced = min(token.ends, at), True
        self._state.put("access_tokens", token.value, asdict(token))

    def _forget_old(self) -> None:
        horizon = self._clock.now() - LIFE_SECONDS
        for value in [v for v, token in self._by_value.items() if token.expires < horizon]:
            del self._by_value[value]
            self._state.drop("access_tokens", value)

    def owner(self, value: str) -> str:
        """The app_id that this token speaks for.

        Raises:
            Refusal: 41001 missing, 40014 malformed, 40001 unknown or not the latest, 42001
                expired.
        """
        if not value:
            raise Refusal(41001)
        # By its shape alone, as it could not be any app's.
        if len(value) < 20 or "_" not in value:
            raise Refusal(40014)
        token = self._by_value.get(value)
        if token is None:
            raise Refusal(40001)
        if self._clock.now() >= token.ends:
            raise Refusal(40001 if token.replaced else 42001)
        return token.app_id

    def expire_all(self) -> None:
        """End every token now, as when an account's secret was reset (then 40001)."""
        now = self._clock.now()
        for token in self._by_value.values():
            self._end(token, now)
        self._latest.clear()


class Tickets:
    """The tickets of pages that use WeChat's scripts (``ticket/getticket``), two hours each."""

    def __init__(self, clock: TurnableClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._tickets: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, app_id: str, kind: str) -> tuple[str, int]:
        """The ticket and the rest of its life: the same for every caller until it ends.

        Raises:
            Refusal: 40097 for another kind than ``jsapi`` and ``wx_card``.
        """
        if kind not in ("jsapi", "wx_card"):
            raise Refusal(40097)
        now = self._clock.now()
        ticket, ends = self._tickets.get((app_id, kind), ("", 0.0))
        if now >= ends:
            ticket, ends = url_safe(self._rng, 86), now + LIFE_SECONDS
            self._tickets[app_id, kind] = ticket, ends
        return ticket, round(ends - now)


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
    """What a person allowed: the app, the person, and for what (`scope`)."""

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
        # Kept for an hour after their end, to tell an expired code (42003) from an unknown one.
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
        # Another app's code looks unknown, and stays good for the app that it belongs to.
        if grant is None or grant.app_id != app_id or grant.scope not in scopes:
            raise Refusal(40029)
        # Before the time: a used code is told from an expired one also after its end.
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
        # The refresh_token stays the same in either case, and is not prolonged.
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
