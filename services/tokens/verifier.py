"""Keys among nodes and over time: a token that one node has signed is good everywhere, at once.

`KeyRotation` decides with which key this node signs: never with one that verifiers cannot know yet.
`SharedKeys` and `Verifier` make a token that one node has signed good on every other.

Nodes that share ``jwt.key_file`` need nothing else. The others share one document,
in the store of all nodes: each adds its own public keys to what it finds there before it serves,
and trusts all of them. A node whose addition was overwritten sees that, and adds it again.

The nodes read the document every two seconds, and at once when they meet a key they do not know
(`SharedKeys.look`): the key of a node that has just started is known as soon as it is needed.

A writer to the store can add a key. The store already holds every login, so that is no new power.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable, UnknownKey
from services.key_values import KeyValues
from services.tokens.claims import Purpose, Ticket, VerifiedClaims
from services.tokens.issuer import Issuer
from services.tokens.keys import Key

log = logging.getLogger("scanpush.tokens")

JWKS_MAX_AGE_SECONDS = 300
"""How long the JWKS may be cached (``Cache-Control`` of its route)."""

KEY = "jwks"

PUBLISHED = "jwk-published"
"""Under this and a key's name the store keeps when the key was published first."""

PUBLISHED_KEPT_SECONDS = 366 * 86400
"""Longer than keys are rotated. A key whose time is forgotten is waited for again, no more."""

ROTATION_SECONDS = 30
"""Between two looks whether a key's time has come."""

EXCHANGE_SECONDS = 2

RENEW_SECONDS = 600
"""How often a node says again that its keys are in use."""

LOOK_PAUSE_SECONDS = 0.2
"""Between two looks at the store: a flood of tokens with unknown keys causes no more than that."""

LOOK_SECONDS = 1
"""For one look, the pause before it included."""

Known = Mapping[str, tuple[float, Mapping[str, Any]]]
"""By name of the key: until when its tokens can be valid, and the public JSON Web Key."""


class KeyRotation:
    """Has `issuer` sign with the newest key of an algorithm that has been published for long
    enough.

    Verifiers keep the JWKS for a while, so that they refuse a token of a key which was published a
    moment ago. When a key was published first is kept in the store, for all nodes and over
    restarts. Where no key has been published for long enough, the oldest signs: it is the one that
    verifiers may know.

    Args:
        keys: those of one algorithm, newest first; at least one.
        publish_ahead_seconds: for how long a key is published before it signs.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        issuer: Issuer,
        store: KeyValues,
        clock: Clock,
        *,
        publish_ahead_seconds: float,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._store = store
        self._clock = clock
        self._publish_ahead_seconds = publish_ahead_seconds
        self._signs_at: dict[str, float] = {}
        self._signing: Key | None = None

    async def begin(self) -> None:
        """To be called when this node's keys can be fetched: decides which of them signs.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        # A key that is alone signs in any case, and needs no entry.
        for key in self._keys if len(self._keys) > 1 else ():
            now = str(self._clock.now())
            name = f"{PUBLISHED}:{key.kid}"
            published_at = await self._store.remember(name, now, PUBLISHED_KEPT_SECONDS)
            self._signs_at[key.kid] = float(published_at) + self._publish_ahead_seconds
        self.choose()
        if self._signing is not self._keys[0]:
            log.info("a new key is published, and signs later", extra={"kid": self._keys[0].kid})

    def choose(self) -> None:
        """Sign with the key whose time it is."""
        now = self._clock.now()
        ready = (key for key in self._keys if self._signs_at.get(key.kid, now) <= now)
        key = next(ready, self._keys[-1])
        if self._signing not in (None, key):
            log.info("another key signs now", extra={"kid": key.kid})
        self._signing = key
        self._issuer.sign_with(key)

    async def choose_in_time(self) -> None:
        """For a background task, which ends when the newest key signs."""
        while self._signing is not self._keys[0]:
            left = self._signs_at[self._keys[0].kid] - self._clock.now()
            await asyncio.sleep(min(max(left, 0), ROTATION_SECONDS))
            self.choose()


class SharedKeys:
    """Exchanges this node's public keys with the others'.

    Args:
        keep_seconds: how long a key outlives its node: as long as a token of it may be valid.
    """

    def __init__(
        self, issuer: Issuer, store: KeyValues, clock: Clock, *, keep_seconds: float
    ) -> None:
        self._issuer = issuer
        self._store = store
        self._clock = clock
        self._keep_seconds = keep_seconds + RENEW_SECONDS
        self._own = {jwk["kid"]: jwk for jwk in issuer.jwks()["keys"]}
        self._seen: Known = {}
        self._looking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answered_at = float("-inf")

    async def introduce(self) -> None:
        """Exchange for the first time: from now on the others find this node's keys.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        await self._exchange()

    async def exchange_forever(self) -> None:
        """For a background task. That a store is away is reported elsewhere, by what needs it."""
        while True:
            await asyncio.sleep(EXCHANGE_SECONDS)
            try:
                await self._exchange()
            except StoreUnavailable as error:
                log.debug("the other nodes' keys are unknown: %s", error)

    async def look(self) -> None:
        """Trust every key that was in the store when this was called.

        Any number of callers share a look, and one look follows another after a pause.

        Raises:
            StoreUnavailable: the store did not answer in time.
        """
        called_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._looking:
                if self._answered_at <= called_at:
                    await self._look()
        except TimeoutError:
            raise StoreUnavailable("the other nodes' keys are not known in time") from None

    async def _look(self) -> None:
        await asyncio.sleep(self._asked_at + LOOK_PAUSE_SECONDS - self._clock.monotonic())
        self._asked_at = asked_at = self._clock.monotonic()
        self._learn(self._parsed(await self._store.recall(KEY)))
        # The time of the question: a key written while the store answered may be missing.
        self._answered_at = asked_at

    async def _exchange(self) -> None:
        """Learn what the store holds, and leave there all that this node knows."""
        text = await self._store.recall(KEY)
        held = self._parsed(text)
        self._learn(held)
        # Again when another node wrote in between: its keys are added to what is written.
        while (wanted := self._wanted()) != held:
            written = json.dumps(wanted)
            before = await self._store.replace(KEY, written, self._keep_seconds)
            if before != text:
                self._learn(self._parsed(before))
            text, held = written, wanted

    def _learn(self, found: Known) -> None:
        """Add `found` to what is known and trusted; of two ends of a key the later one counts."""
        seen = dict(self._seen)
        for kid, entry in found.items():
            if kid not in seen or seen[kid][0] < entry[0]:
                seen[kid] = entry
        now = self._clock.now()
        self._seen = {kid: entry for kid, entry in seen.items() if entry[0] > now}
        self._issuer.trust(jwk for _, jwk in self._seen.values())

    def _wanted(self) -> Known:
        """What the store should hold: all that is known, this node's own keys with time left."""
        ends = self._clock.now() + self._keep_seconds
        known = dict(self._seen)
        for kid, jwk in self._own.items():
            if kid not in known or known[kid][0] < ends - RENEW_SECONDS:
                known[kid] = (ends, jwk)
        self._seen = known
        return known

    def _parsed(self, text: str | None) -> Known:
        """What the store holds; nothing where another version wrote something else."""
        try:
            document = json.loads(text) if text else {}
            entries = {str(kid): (float(ends), dict(jwk)) for kid, (ends, jwk) in document.items()}
        except (ValueError, TypeError, AttributeError):
            log.warning("the shared keys are not valid and are replaced")
            return {}
        now = self._clock.now()
        return {kid: entry for kid, entry in entries.items() if entry[0] > now}


class Verifier:
    """`Issuer`'s verification; the store is asked before an unknown key is refused.

    Args:
        shared_keys: None where no other node has keys of its own.
    """

    def __init__(self, issuer: Issuer, shared_keys: SharedKeys | None) -> None:
        self._issuer = issuer
        self._shared_keys = shared_keys

    async def verify(self, token: str, now: float) -> VerifiedClaims:
        """As `Issuer.verify`.

        Raises:
            TokenError: no node has signed it, or it is not valid.
            StoreUnavailable: whether the key is another node's cannot be said now.
        """
        try:
            return self._issuer.verify(token, now)
        except UnknownKey:
            await self._look()
        return self._issuer.verify(token, now)

    async def opened(self, token: str, typ: str) -> Mapping[str, Any]:
        """As `Issuer.opened`.

        Raises:
            TokenError: no node has signed it, or it is of another type.
            StoreUnavailable: whether the key is another node's cannot be said now.
        """
        try:
            return self._issuer.opened(token, typ)
        except UnknownKey:
            await self._look()
        return self._issuer.opened(token, typ)

    async def verify_ticket(self, purpose: Purpose, ticket: str, now: float) -> Ticket:
        """As `Issuer.verify_ticket`.

        Raises:
            TokenExpired: it was valid, and its time is over.
            TokenError: it is not valid.
            StoreUnavailable: whether the key is another node's cannot be said now.
        """
        try:
            return self._issuer.verify_ticket(purpose, ticket, now)
        except UnknownKey:
            await self._look()
        return self._issuer.verify_ticket(purpose, ticket, now)

    async def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys of all nodes; those known so far while the store does not answer."""
        try:
            await self._look()
        except StoreUnavailable as error:
            log.info("keys of other nodes may be missing from the JWKS: %s", error)
        return self._issuer.jwks()

    async def _look(self) -> None:
        if self._shared_keys is not None:
            await self._shared_keys.look()
