"""Authorization codes and what they stand for.

A code is a secret of 256 bits, kept by its hash in the store of scenes (`KeyValues`). It works
once; what it brought is found again by `family` when it is used a second time.
"""

import json
import secrets
from typing import NamedTuple

from services.ids import UserId, base64url, secret_hash
from services.key_values import KeyValues
from services.sessions.states import SessionId

CODE_SECONDS = 60.0
"""How long an authorization code works (RFC 6749, section 4.1.2: ten minutes at most)."""

_USED = "used "


class Grant(NamedTuple):
    """What an authorization code, or the code of a device, stands for: one person's consent to one
    client."""

    client: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    """S256 (RFC 7636, section 4.2); empty: the client sent none."""
    session: SessionId
    """The browser session; of a device, which has none, `family` of its code."""
    user_id: UserId
    account: str
    amr: str
    """With blanks between."""
    auth_at: float
    kind: str = ""
    """The login kind, for the person's list of sessions."""
    label: str = ""
    """What the person knows the session by."""


class Code(NamedTuple):
    """A code as it is kept."""

    grant: Grant
    is_used: bool


class Codes:
    """Authorization codes. Every method raises `StoreUnavailable`.

    Args:
        used_seconds: how long a used code is remembered: as long as a token that it brought lives.
    """

    def __init__(self, store: KeyValues, *, used_seconds: float) -> None:
        self._store = store
        self._used_seconds = used_seconds

    async def issue(self, grant: Grant) -> str:
        """A code for that grant."""
        code = secrets.token_urlsafe(32)
        await self._store.remember(code_key(family(code)), json.dumps(grant), CODE_SECONDS)
        return code

    async def look(self, code: str) -> Code | None:
        """What `code` stands for; None where it never was, or its time is up."""
        kept = await self._store.recall(code_key(family(code)))
        if kept is None:
            return None
        return Code(Grant(*json.loads(kept.removeprefix(_USED))), kept.startswith(_USED))

    async def use(self, code: str, grant: Grant) -> bool:
        """Use the code that `look` has found: True for one of any number of callers."""
        used = f"{_USED}{json.dumps(grant)}"
        before = await self._store.replace(code_key(family(code)), used, self._used_seconds)
        return before is not None and not before.startswith(_USED)

    async def end(self, family_id: SessionId) -> None:
        """Have the access tokens of that family end: its code came twice, or they are revoked."""
        await self._store.remember(_ended_key(family_id), "1", self._used_seconds)

    async def is_ended(self, family_id: SessionId) -> bool:
        """Whether `end` was called for that family."""
        return await self._store.recall(_ended_key(family_id)) is not None


def family(code: str) -> SessionId:
    """The id of the session that a code brings: known again when the code is used twice.

    It is in the access tokens (``jti``) and proves nothing: a digest does not lead to its code.
    """
    digest = secret_hash(f"family:{code}")[:16]
    return SessionId(base64url(digest))


def code_key(family_id: SessionId) -> str:
    """Under which a code that brings that family is kept."""
    return f"oidc-code:{family_id}"


def _ended_key(family_id: SessionId) -> str:
    return f"oidc-ended:{family_id}"
