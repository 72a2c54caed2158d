"""Verification on any node: what another node has signed counts from its first token on."""

import logging

from services.errors import StoreUnavailable, UnknownKey
from services.tokens.issuer import Issuer, Purpose, Ticket, VerifiedClaims
from services.tokens.shared_keys import SharedKeys

log = logging.getLogger("scanpush.tokens")


class Verifier:
    """`Issuer`'s verification, which asks the store before it refuses a key it does not know.

    Args:
        shared_keys: None where no other node has keys of its own.
    """

    def __init__(self, issuer: Issuer, shared_keys: SharedKeys | None) -> None:
        self._issuer = issuer
        self._shared_keys = shared_keys

    async def verify(self, token: str, now: float) -> VerifiedClaims:
        """As `Issuer.verify`.

        Raises:
            TokenError: it is not ours, or not valid.
            StoreUnavailable: whether the key is another node's cannot be said now.
        """
        try:
            return self._issuer.verify(token, now)
        except UnknownKey:
            await self._look()
        return self._issuer.verify(token, now)

    async def verify_ticket(self, purpose: Purpose, ticket: str, now: float) -> Ticket:
        """As `Issuer.verify_ticket`.

        Raises:
            TokenExpired: it was good once.
            TokenError: it never was.
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
