"""Login codes that a person types into the account's chat instead of scanning.

For accounts that may not make parametric codes. A code is short, so it lives as briefly as its
scene, is used once, and each person may guess a few times only (RFC 8628, sections 5.1 and 6.1).
"""

import secrets
import unicodedata
from typing import Literal

from services.errors import ApiError
from services.ids import OpenId, SceneStr, is_scene_str
from services.scenes.store import SceneStore

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words, and nothing that looks like a digit (RFC 8628, section 6.1)."""

DIGITS = "0123456789"

MOST_GUESSES = 5
GUESS_SECONDS = 600
TRIES = 20


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
        """A code that no other waiting scene of the account has."""
        await self._scenes.replace(f"codes_shown:{account}", "1", life_seconds)
        for _ in range(TRIES):
            code = "".join(secrets.choice(self._alphabet) for _ in range(self._length))
            kept = await self._scenes.remember(_key(account, code), scene_str, life_seconds)
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

    async def guess(self, account: str, openid: OpenId, code: str) -> SceneStr | None:
        """The scene behind a code; None for a wrong one.

        Raises:
            ApiError: ``rate_limited`` after too many wrong ones by the same person.
        """
        tries = f"code_tries:{account}:{openid}"
        if int(await self._scenes.recall(tries) or 0) >= MOST_GUESSES:
            raise ApiError("rate_limited", "Too many wrong codes.")
        found = await self._scenes.recall(_key(account, code))
        if found is None or not is_scene_str(found):
            await self._scenes.count(tries, GUESS_SECONDS)
            return None
        return SceneStr(found)


def _key(account: str, code: str) -> str:
    return f"code:{account}:{code}"
