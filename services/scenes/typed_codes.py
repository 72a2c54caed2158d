"""Login codes that a person types into the account's chat instead of scanning.

For accounts that may not make parametric codes. `give` hands out a code for a page, `read` finds
one in a message, `guess` looks it up. A code is short, so it lives as briefly as its scene, is used
once, and each person may guess a few times only (RFC 8628, sections 5.1 and 6.1).
"""

import secrets
import unicodedata
from typing import Literal

from services.errors import ApiError
from services.ids import LETTERS, OpenId, SceneStr, is_scene_str
from services.scenes.store import SceneStore

DIGITS = "0123456789"

MOST_GUESSES = 5
GUESS_SECONDS = 600
"""How many wrong codes a person may send in that time."""

SHOWN_SECONDS = 1800
"""How long after a code was given out a message of that form counts as one: the longest life of a
scene, so that the author of a code that has just ended is told so."""

MOST_DRAWS = 20
"""Codes drawn until one is free. With half of all taken, one page in a million finds none."""


class TypedCodes:
    """Gives out codes and finds the scenes behind them, for one server.

    Args:
        length: characters of a code.
        alphabet: which characters.
    """

    def __init__(
        self, scenes: SceneStore, length: int, alphabet: Literal["digits", "letters"]
    ) -> None:
        self._scenes = scenes
        self._length = length
        self._alphabet = DIGITS if alphabet == "digits" else LETTERS

    async def give(self, account: str, scene_str: SceneStr, life_seconds: float) -> str:
        """A code that no other waiting scene of the account has.

        Raises:
            ApiError: ``overloaded``: nearly all codes of this length are taken.
            StoreUnavailable: it cannot be kept.
        """
        await self._scenes.replace(f"codes_shown:{account}", "1", SHOWN_SECONDS)
        for _ in range(MOST_DRAWS):
            code = "".join(secrets.choice(self._alphabet) for _ in range(self._length))
            kept = await self._scenes.remember(_code_key(account, code), scene_str, life_seconds)
            if kept == scene_str:
                return code
        raise ApiError("overloaded", "No login code is free.", retry_after=5)

    def read(self, text: str) -> str | None:
        """The code in a message, if the whole message looks like one; full-width counts too."""
        plain = unicodedata.normalize("NFKC", text).strip().upper().replace(" ", "")
        plain = plain.replace("-", "")
        fits = len(plain) == self._length and all(c in self._alphabet for c in plain)
        return plain if fits else None

    async def expected(self, account: str) -> bool:
        """Whether any page of the account has shown a code lately."""
        return await self._scenes.recall(f"codes_shown:{account}") is not None

    async def guess(
        self, account: str, openid: OpenId, code: str, *, message: str
    ) -> SceneStr | None:
        """The scene behind a code; None for a wrong one.

        Each message counts once, however often and on however many nodes it is delivered. Right
        codes do not count against the person, and do not give wrong ones back.

        Args:
            message: names the message, for all its deliveries.

        Raises:
            ApiError: ``rate_limited`` after too many wrong ones by the same person.
            StoreUnavailable: nothing is known of the code; the guess may be counted.
        """
        delivery = secrets.token_hex(8)
        # Both counts belong to one window, so that neither outlives the other.
        window = await self._scenes.remember(
            f"code_window:{account}:{openid}", delivery, GUESS_SECONDS
        )
        tries, hits = f"code_tries:{window}", f"code_hits:{window}"
        first = await self._scenes.remember(f"try:{message}", delivery, GUESS_SECONDS) == delivery
        # Counted before the code is looked up, so that guesses at the same moment gain nothing.
        tried = (
            await self._scenes.count(tries, 2 * GUESS_SECONDS)
            if first
            else int(await self._scenes.recall(tries) or 0)
        )
        if tried - int(await self._scenes.recall(hits) or 0) > MOST_GUESSES:
            raise ApiError("rate_limited", "Too many wrong codes.")
        found = await self._scenes.recall(_code_key(account, code))
        if found is None or not is_scene_str(found):
            return None
        if first:
            await self._scenes.count(hits, 2 * GUESS_SECONDS)
        return SceneStr(found)


def _code_key(account: str, code: str) -> str:
    return f"code:{account}:{code}"
