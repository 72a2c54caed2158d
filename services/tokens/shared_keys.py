"""Public keys of all nodes, through the store: a token of one node is good on every other.

Nodes that share ``jwt.key_file`` have nothing to tell each other. Others keep one document in the
store: each node adds its own public keys to what it finds there, and trusts all of them. Two that
write at once may lose an addition; its owner, and whoever has seen it before, adds it again two
seconds later.

Whoever can write to the store can add a key. The store already holds every login, so that is no
new power.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable
from services.scenes.store import SceneStore
from services.tokens.issuer import Issuer

log = logging.getLogger("scanpush.tokens")

KEY = "jwks"

EXCHANGE_SECONDS = 2

RENEW_SECONDS = 600
"""How often a node says again that its keys are in use."""

Known = Mapping[str, tuple[float, Mapping[str, Any]]]
"""By name of the key: until when its tokens can be valid, and the public JSON Web Key."""


class SharedKeys:
    """Exchanges this node's public keys with the others'.

    Args:
        keep_seconds: how long a key outlives its node: as long as a token of it may be valid.
    """

    def __init__(
        self, issuer: Issuer, store: SceneStore, clock: Clock, *, keep_seconds: float
    ) -> None:
        self._issuer = issuer
        self._store = store
        self._clock = clock
        self._keep_seconds = keep_seconds + RENEW_SECONDS
        self._own = {jwk["kid"]: jwk for jwk in issuer.jwks()["keys"]}
        self._seen: Known = {}

    async def introduce(self) -> None:
        """Exchange for the first time, and let the others learn of a key that they did not know.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        found = await self._exchange()
        if found and not found.keys() >= self._own.keys():
            await asyncio.sleep(1.5 * EXCHANGE_SECONDS)

    async def exchange_forever(self) -> None:
        """For a background task. A store that is away is others' to report."""
        while True:
            await asyncio.sleep(EXCHANGE_SECONDS)
            try:
                await self._exchange()
            except StoreUnavailable as error:
                log.debug("the other nodes' keys are unknown: %s", error)

    async def _exchange(self) -> Known:
        """Returns what was in the store before."""
        now = self._clock.now()
        found = _parsed(await self._store.recall(KEY), now)
        ends = now + self._keep_seconds
        known = {**self._seen, **found}
        for kid, jwk in self._own.items():
            if kid not in found or found[kid][0] < ends - RENEW_SECONDS:
                known[kid] = (ends, jwk)
        known = {kid: entry for kid, entry in known.items() if entry[0] > now}
        if known != found:
            await self._store.replace(KEY, json.dumps(known), self._keep_seconds)
        self._seen = known
        self._issuer.trust(jwk for _, jwk in known.values())
        return found


def _parsed(text: str | None, now: float) -> Known:
    """What the store holds; nothing where another version wrote what we do not understand."""
    try:
        document = json.loads(text) if text else {}
        entries = {str(kid): (float(ends), dict(jwk)) for kid, (ends, jwk) in document.items()}
    except (ValueError, TypeError, AttributeError):
        log.warning("the shared keys were not understood and are written anew")
        return {}
    return {kid: entry for kid, entry in entries.items() if entry[0] > now}
