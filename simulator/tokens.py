"""access_token, in both families (WeChat's pages "Get access token" and "... stable ...")."""

import random
from collections import deque
from dataclasses import dataclass

from simulator.clock import TurnableClock
from simulator.identifiers import url_safe
from simulator.refusals import Refusal

LIFE_SECONDS = 7_200
OVERLAP_SECONDS = 300
FORCED_PER_DAY = 20
FORCED_APART_SECONDS = 30


@dataclass
class AccessToken:
    """One credential. It works until `ends`; `replaced` tells 40001 from 42001 afterwards."""

    value: str
    app_id: str
    expires: float
    ends: float
    replaced: bool = False


class AccessTokens:
    """Issues and checks access tokens; the families ``token`` and ``stable_token`` are apart."""

    def __init__(self, clock: TurnableClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._issued = 0
        self._by_value: dict[str, AccessToken] = {}
        self._classic: dict[str, AccessToken] = {}
        self._stable: dict[str, AccessToken] = {}
        self._forced: dict[str, deque[float]] = {}

    def classic(self, app_id: str) -> tuple[str, int]:
        """A new token each time; the previous one works for five more minutes."""
        previous = self._classic.get(app_id)
        if previous is not None:
            previous.ends = min(previous.ends, self._clock.now() + OVERLAP_SECONDS)
            previous.replaced = True
        token = self._classic[app_id] = self._issue(app_id)
        return token.value, LIFE_SECONDS

    def stable(self, app_id: str, force_refresh: bool) -> tuple[str, int]:
        """The same token until five minutes before its end; then both work until then.

        `force_refresh` kills the present token at once, at most 20 times a day and 30 s apart;
        beyond that nothing is refreshed.
        """
        now = self._clock.now()
        token = self._stable.get(app_id)
        if token is not None and force_refresh and self._may_force(app_id, now):
            token.ends, token.replaced, token = now, True, None
        if token is None or token.expires - now < OVERLAP_SECONDS:
            token = self._stable[app_id] = self._issue(app_id)
        return token.value, round(token.expires - now)

    def _may_force(self, app_id: str, now: float) -> bool:
        forced = self._forced.setdefault(app_id, deque(maxlen=FORCED_PER_DAY))
        if forced and now - forced[-1] < FORCED_APART_SECONDS:
            return False
        if len(forced) == FORCED_PER_DAY and now - forced[0] < 86_400:
            return False
        forced.append(now)
        return True

    def _issue(self, app_id: str) -> AccessToken:
        self._issued += 1
        value = f"{80 + self._issued % 20}_{url_safe(self._rng, 147)}"
        expires = self._clock.now() + LIFE_SECONDS
        token = self._by_value[value] = AccessToken(value, app_id, expires, expires)
        self._forget_old()
        return token

    def _forget_old(self) -> None:
        horizon = self._clock.now() - LIFE_SECONDS
        for value in [v for v, token in self._by_value.items() if token.expires < horizon]:
            del self._by_value[value]

    def owner(self, value: str) -> str:
        """The app_id that this token speaks for.

        Raises:
            Refusal: 41001 missing, 40014 malformed, 40001 unknown or not the latest, 42001
                expired.
        """
        if not value:
            raise Refusal(41001)
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
            token.ends, token.replaced = min(token.ends, now), True
        self._stable.clear()
        self._classic.clear()
