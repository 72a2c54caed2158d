"""Pairing: a screen shows a code, the operator types it and gives the screen its name.

A pending pairing is one small value of the scene store, under its code. What proves that a caller
is the screen is its pair token; the screen's secret is derived from it, so that the server keeps
nothing but the secret's hash. It is told once; a screen whose answer got lost says that it asks
again, and gets the same one. That is over when the secret was used: who took it from the network
has to be faster than the screen, and is then seen as the screen that is paired and does not come
up.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.clock import Clock
from services.errors import ApiError
from services.ids import (
    LETTER_CODE_LENGTH,
    LETTERS,
    base64url,
    letter_code_of,
    new_letter_code,
    secret_hash,
)
from services.key_values import KeyValues
from services.origins import screen_browser
from services.rate_limits import RateLimits
from services.screens.directory import Screens, name_taken
from services.screens.store import Screen, new_id

INTERVAL_SECONDS = 3
MOST_PENDING = 2000
"""Pairings begun within the life of one, or codes would become easy to guess and the store would
fill. It is the share of more than sixty addresses: a few cannot keep all others from pairing."""

TRIES = 5

TOLD_SECONDS = 86_400
"""How long it is known that a screen was told its secret; most use it a second later."""

PAIR_SECONDS = 10
"""How long the pairing of one operator keeps others out, should it not come to its end."""

_TOKEN = re.compile(rf"[{LETTERS}]{{{LETTER_CODE_LENGTH}}}\.[A-Za-z0-9_-]{{43}}")


class Pairings:
    """Pairings that wait for the operator.

    Args:
        values: the store of all nodes.
        told: tells all nodes of a new screen.
        ttl_seconds: for how long a code can be used.
    """

    def __init__(
        self,
        values: KeyValues,
        screens: Screens,
        limits: RateLimits,
        clock: Clock,
        told: Callable[[], Awaitable[None]],
        *,
        ttl_seconds: int,
    ) -> None:
        self._values = values
        self._screens = screens
        self._limits = limits
        self._clock = clock
        self._told = told
        self._ttl_seconds = ttl_seconds

    waiting: Mapping[str, Any] = {"interval": INTERVAL_SECONDS}
    """What a screen is told while the operator has not named it."""

    # The screen's side.

    async def begin(self, address: str, user_agent: str) -> Mapping[str, Any]:
        """The document of ``POST /api/kiosks/pair``.

        Raises:
            ApiError: ``rate_limited``, ``overloaded``.
            StoreUnavailable
        """
        await self._limits.spend("pairings", address)
        now = self._clock.now()
        window = f"pairings:{now // self._ttl_seconds:.0f}"
        if await self._values.count(window, 2 * self._ttl_seconds) > MOST_PENDING:
            raise ApiError("overloaded", "Too many screens wait for the operator.", retry_after=60)
        browser = screen_browser(user_agent)
        for _ in range(TRIES):
            code = new_letter_code()
            token = f"{code}.{secrets.token_urlsafe(32)}"
            hashed = secret_hash(secret_of(token)).hex()
            value = json.dumps([hashed, address, browser, now], ensure_ascii=False)
            if await self._values.remember(_key(code), value, self._ttl_seconds) == value:
                return {
                    "code": code,
                    "pair_token": token,
                    "expires_in": self._ttl_seconds,
                    "interval": INTERVAL_SECONDS,
                }
        raise ApiError("overloaded", "No code is free.", retry_after=60)

    async def poll(self, token: str, *, again: bool) -> Mapping[str, Any] | None:
        """The document of ``GET /api/kiosks/pair`` once the operator has named the screen; None
        before that.

        Args:
            again: the screen may have lost the answer with its secret.

        Raises:
            ApiError: ``unauthorized`` for what is no pair token; ``gone`` when the pairing has
                ended: its time is up, its secret was told (unless `again`) or used, or the screen
                was revoked.
            StoreUnavailable
        """
        screen, is_pending = await self._asked(token)
        if screen is not None and not screen.begun_at:
            # Counted in any case: who asks again has been told as well.
            told = f"{_key(token[:LETTER_CODE_LENGTH])}:told:{screen.secret_hash.hex()[:16]}"
            times = await self._values.count(told, TOLD_SECONDS)
            if again or times == 1:
                return {"name": screen.name, "secret": secret_of(token), "label": screen.label}
        if is_pending:
            return None
        raise _ended()

    async def code_of(self, token: str, address: str) -> str:
        """The code of a pairing that is pending, for a picture.

        Raises:
            ApiError: as `poll`; ``gone`` also where the operator has named the screen;
                ``rate_limited``: without ``server.public_url`` the picture is another one for each
                Host, and who asks under thousands would keep all visitors' codes from being drawn.
            StoreUnavailable
        """
        _, is_pending = await self._asked(token)
        if not is_pending:
            raise _ended()
        await self._limits.spend("pictures", address)
        return token[:LETTER_CODE_LENGTH]

    async def _asked(self, token: str) -> tuple[Screen | None, bool]:
        """The screen of that pair token, once it is named; and whether it still waits for that."""
        if _TOKEN.fullmatch(token) is None:
            raise ApiError("unauthorized", "The pair token is missing or wrong.")
        hashed = secret_hash(secret_of(token))
        # First, for the screen is kept before the pending value is taken away.
        pending = await self._values.recall(_key(token[:LETTER_CODE_LENGTH]))
        screen = await self._screens.store.of_secret(hashed)
        return screen, (
            screen is None
            and pending is not None
            and hmac.compare_digest(json.loads(pending)[0], hashed.hex())
        )

    # The operator's side.

    async def pending(self, code: str, address: str) -> Mapping[str, Any]:
        """Who asks with that code: the document of ``GET /api/operator/kiosks/pair``.

        Raises:
            ApiError: ``not_found``; ``rate_limited`` after too many codes from that address.
            StoreUnavailable
        """
        code, (_, asks_from, browser, since) = await self._find(code, address)
        left = since + self._ttl_seconds - self._clock.now()
        return {
            "code": code,
            "address": asks_from,
            "browser": browser,
            "since": since,
            "expires_in": max(0, int(left)),
        }

    async def pair(
        self, code: str, address: str, *, name: str, label: str, keypad: bool
    ) -> Mapping[str, Any]:
        """Make the screen that shows that code one of the operator's; its document.

        Raises:
            ApiError: as `pending`; ``conflict`` where the name is taken.
            StoreUnavailable
        """
        if name in self._screens.configured:
            raise ApiError("conflict", "config.yaml has a screen of that name.", field="name")
        code, (hashed, *_) = await self._find(code, address)
        screen_id, paired_at = new_id(), self._clock.now()
        screen = Screen(
            screen_id, name, label, keypad, secret_hash=bytes.fromhex(hashed), paired_at=paired_at
        )
        # Of two operators at once one goes on: the screen gets one name.
        lock = f"{_key(code)}:paired"
        if await self._values.remember(lock, screen_id, PAIR_SECONDS) != screen_id:
            raise _unknown_code()
        is_paired = False
        try:
            is_paired = await self._screens.store.pair(screen)
        finally:
            if not is_paired:
                # The operator tries again, with another name or when the store is back.
                await self._values.take(lock)
        if not is_paired:
            raise name_taken()
        # Last, so that the screen finds the one or the other whenever it asks.
        await self._values.take(_key(code))
        await self._told()
        return {"name": name, "label": label}

    async def _find(self, text: str, address: str) -> tuple[str, tuple[str, str, str, float]]:
        """The code as it is kept, and its pairing. Each try counts, right or wrong."""
        await self._limits.spend("pair_codes", address)
        code = letter_code_of(text)
        kept = None if code is None else await self._values.recall(_key(code))
        pairing = json.loads(kept) if kept else None
        # A failure may have left the value of a screen that was paired.
        if (
            code is None
            or pairing is None
            or await self._screens.store.of_secret(bytes.fromhex(pairing[0]))
        ):
            raise _unknown_code()
        return code, tuple(pairing)


def secret_of(pair_token: str) -> str:
    """The secret of the screen that has this pair token."""
    digest = hmac.digest(pair_token.encode(), b"scanpush: secret of a screen", hashlib.sha256)
    return base64url(digest)


def _key(code: str) -> str:
    return f"pairing:{code}"


def _ended() -> ApiError:
    return ApiError("gone", "This pairing has ended; begin a new one.")


def _unknown_code() -> ApiError:
    return ApiError("not_found", "No screen shows that code now.", field="code")
