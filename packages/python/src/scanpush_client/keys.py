"""The public keys of a scanpush: which one verifies, and when to ask for them again.

`KeyCache` decides and does no input or output; `Scanpush` and `AsyncScanpush` ask. A key set is
used for as long as its ``Cache-Control: max-age`` says (RFC 9111, section 5.2.2.1), and for up to a
day more while scanpush does not answer: a restart of the login server logs no one out. A token of
an unknown key asks at once, but not more than once in ten seconds: who sends invented keys causes
no flood.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

import jwt

from scanpush_client.tokens import Algorithm

ASK_AGAIN_SECONDS = 10.0
"""The least time between two requests for the key set, answered or not."""

STALE_SECONDS = 86_400.0
"""How long keys are used after their time while scanpush does not answer."""

LEAST_MAX_AGE, USUAL_MAX_AGE, MOST_MAX_AGE = 60.0, 300.0, 86_400.0
"""Bounds of ``max-age``, and what counts without one, in seconds."""

KINDS: Mapping[tuple[str, str | None], Algorithm] = MappingProxyType(
    {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA", ("RSA", None): "RS256"}
)
"""The one algorithm of each kind of key (RFC 8725, section 3.1)."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})", re.IGNORECASE)


class Ask(Enum):
    """Whether the key set is to be asked for before a key is used."""

    NO = "no"
    MAY = "may"
    """The keys are past their time and go on serving: one caller asks."""
    MUST = "must"


@dataclass(frozen=True, slots=True)
class Found:
    """A key, if there is one, and whether to ask first.

    `complete` tells whether scanpush answered when it was last asked: without a key, there is none
    of that name then.
    """

    key: Any
    ask: Ask
    complete: bool


class KeyCache:
    """The keys of one key set by algorithm and name. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._keys: Mapping[tuple[Algorithm, str], Any] = {}
        self._fresh_until = self._usable_until = float("-inf")
        self._ask_from = float("-inf")
        self._complete = False

    def find(self, kid: str, algorithm: Algorithm, now: float) -> Found:
        """The key of that name, for that algorithm only."""
        key = self._keys.get((algorithm, kid)) if now < self._usable_until else None
        if now < self._ask_from or (key is not None and now < self._fresh_until):
            ask = Ask.NO
        else:
            ask = Ask.MUST if key is None else Ask.MAY
        return Found(key, ask, self._complete)

    def asked(self, now: float) -> None:
        """A request for the key set goes out, whatever becomes of it."""
        self._ask_from = now + ASK_AGAIN_SECONDS
        self._complete = False

    def given_up(self) -> None:
        """The caller that asked went away: the next one may ask at once."""
        self._ask_from = float("-inf")

    def keep(self, document: object, cache_control: str, now: float) -> None:
        """Use the keys of `document`, a JSON Web Key Set, in place of those before.

        Keys that are of no use here are passed over: others may share the set.

        Raises:
            ValueError: it is no key set.
        """
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise ValueError("not a JSON Web Key Set")
        keys: dict[tuple[Algorithm, str], Any] = {}
        for jwk in document["keys"]:
            if not isinstance(jwk, dict) or not isinstance(kid := jwk.get("kid"), str):
                continue
            algorithm = next((a for (kty, crv), a in KINDS.items() if _is_of(jwk, kty, crv)), None)
            if algorithm is None or jwk.get("alg", algorithm) != algorithm:
                continue
            if jwk.get("use", "sig") != "sig":
                continue
            try:
                keys[algorithm, kid] = jwt.PyJWK(jwk, algorithm).key
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
        said = _MAX_AGE.search(cache_control)
        max_age = float(said[1]) if said else USUAL_MAX_AGE
        self._fresh_until = now + min(max(max_age, LEAST_MAX_AGE), MOST_MAX_AGE)
        self._usable_until = self._fresh_until + STALE_SECONDS
        self._keys, self._complete = keys, True


def _is_of(jwk: Mapping[str, object], kty: str, crv: str | None) -> bool:
    return jwk.get("kty") == kty and jwk.get("crv") == crv
