"""What the OpenID Provider keeps of a request until its person has logged in, for all nodes.

- A **pushed request** (RFC 9126): a client's own, by a reference that it hands to the browser.
- A **pending login**: what a page of this server logs a browser in for. Its id is in the page and
  in the scene's details; it proves nothing without the browser's cookie.
"""

import hmac
import json
import secrets
from typing import Any, NamedTuple

from services.ids import base64url, secret_hash
from services.key_values import KeyValues
from services.oidc.authorize import PUSHED, AuthorizationRequest, Parameters

PUSHED_SECONDS = 600
"""How long a pushed request can be used, and its page reloaded: no more than RFC 9126, section 2.2,
has in mind."""

PENDING_SECONDS = 3600.0
"""How long a page may stand open. Reloaded, it has as long again."""

ID_LENGTH = 43


class PendingLogin(NamedTuple):
    """What a browser logs in for: a client's request, or a page of this server."""

    client: str
    """By whose login kinds, and under whose name."""
    request: AuthorizationRequest | None
    pushed: str = ""
    """The reference of the pushed request that is spent with it."""
    next: str = ""
    """Without a request: the path of this server that is shown afterwards."""


class PushedRequests:
    """Requests that clients push. Every method raises `StoreUnavailable`."""

    def __init__(self, store: KeyValues) -> None:
        self._store = store

    async def push(self, client: str, parameters: Parameters) -> str:
        """Keep a client's request. Returns its reference, the ``request_uri``."""
        reference = PUSHED + secrets.token_urlsafe(32)
        kept = json.dumps([client, list(parameters)], ensure_ascii=False)
        await self._store.remember(_pushed_key(reference), kept, PUSHED_SECONDS)
        return reference

    async def look(self, reference: str, client: str) -> Parameters | None:
        """The request, for its own client (RFC 9126, section 4), until it is spent."""
        kept = await self._store.recall(_pushed_key(reference))
        pushed_by, parameters = json.loads(kept) if kept else ("", [])
        return [(name, value) for name, value in parameters] if pushed_by == client else None

    async def spend(self, reference: str) -> bool:
        """Use the request: True for one of any number of callers."""
        return await self._store.take(_pushed_key(reference)) is not None


class PendingLogins:
    """Pending logins, each bound to a browser. Every method raises `StoreUnavailable`."""

    def __init__(self, store: KeyValues) -> None:
        self._store = store

    async def keep(self, pending: PendingLogin, begin_cookie: str) -> str:
        """Keep it for the browser of that cookie. Returns its id.

        The same for the same browser gets the same id, so that a page which is reloaded goes on
        with the scene that it has.
        """
        kept = json.dumps([secret_hash(begin_cookie).hex(), pending], ensure_ascii=False)
        # The cookie is a secret of 256 bits, and so the id cannot be guessed.
        digest = secret_hash(f"pending {begin_cookie} {kept}")
        pending_id = base64url(digest)
        await self._store.replace(_pending_key(pending_id), kept, PENDING_SECONDS)
        return pending_id

    async def look(self, pending_id: str, begin_cookie: str | None) -> PendingLogin | None:
        """What the browser of that cookie logs in for; None for another browser, too."""
        if len(pending_id) != ID_LENGTH or not begin_cookie:
            return None
        kept = await self._store.recall(_pending_key(pending_id))
        if kept is None:
            return None
        browser, (client, request, *rest) = json.loads(kept)
        if not hmac.compare_digest(browser, secret_hash(begin_cookie).hex()):
            return None
        return PendingLogin(client, _restored(request), *rest)


def _restored(request: list[Any] | None) -> AuthorizationRequest | None:
    return None if request is None else AuthorizationRequest(*request)


def _pushed_key(reference: str) -> str:
    return f"oidc-par:{secret_hash(reference).hex()}"


def _pending_key(pending_id: str) -> str:
    return f"oidc-pending:{pending_id}"
