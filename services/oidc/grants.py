"""What the OpenID Provider keeps for seconds or minutes: authorization codes, pushed requests.

Each is a secret of 256 bits that the store of scenes keeps by its hash (`KeyValues`).
"""

import base64
import json
import secrets
from typing import NamedTuple

from services.ids import UserId, secret_hash
from services.key_values import KeyValues
from services.sessions.states import SessionId

CODE_SECONDS = 60.0
"""How long an authorization code works (RFC 6749, section 4.1.2: ten minutes at most)."""


class Grant(NamedTuple):
    """What an authorization code stands for: one person's consent to one client."""

    client: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    """S256 (RFC 7636, section 4.2); empty: the client sent none."""
    session: SessionId
    """The browser session."""
    user_id: UserId
    account: str
    amr: str
    """With blanks between."""
    auth_at: float


class Codes:
    """Authorization codes."""

    def __init__(self, store: KeyValues) -> None:
        self._store = store

    async def issue(self, grant: Grant) -> str:
        """A code for that grant. Raises `StoreUnavailable`."""
        code = secrets.token_urlsafe(32)
        await self._store.remember(_key(code), json.dumps(grant), CODE_SECONDS)
        return code

    async def redeem(self, code: str) -> Grant | None:
        """The grant of `code`, for the first of any number of callers. Raises `StoreUnavailable`.

        Who comes later, or with a code that never was, gets None and asks `family`.
        """
        kept = await self._store.take(_key(code))
        return None if kept is None else Grant(*json.loads(kept))


def family(code: str) -> SessionId:
    """The id of the session that a code brings: known again when the code is used twice."""
    digest = secret_hash(f"family:{code}")[:16]
    return SessionId(base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


def _key(code: str) -> str:
    return f"oidc-code:{secret_hash(code).hex()}"
