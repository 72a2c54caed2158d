"""Which person a browser is logged in as, and which one a client takes it for.

A browser session is a session of services/sessions; the cookie ``op_session`` proves it with
"<session id>.<secret>". Its id is the claim ``sid`` of its clients' tokens.
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from services.clock import Clock
from services.errors import TokenError
from services.ids import UserId, secret_hash
from services.oidc.clients import Clients
from services.origins import summary
from services.people.store import UserStore
from services.scenes.states import Scene
from services.sessions.service import SessionService
from services.sessions.states import BROWSER, Session, SessionId
from services.sessions.store import SessionStore
from services.tokens.verifier import Verifier

_SECRET_LENGTH = 43
"""32 random bytes in base64url, as `secrets.token_urlsafe` writes them."""


class BrowserSessions:
    """The browsers that are logged in here.

    Args:
        ttl_seconds: how long after a login a browser needs no other.
        refresh_ttl_seconds: how long clients may stay logged in with refresh tokens; 0: not at all.
            Their sessions end with the browser's, which therefore is kept as long.
    """

    def __init__(
        self,
        store: SessionStore,
        sessions: SessionService,
        users: UserStore,
        clock: Clock,
        *,
        amr: Sequence[str],
        ttl_seconds: float,
        refresh_ttl_seconds: float,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._users = users
        self._clock = clock
        self._amr = " ".join(amr)
        self._life_seconds = max(ttl_seconds, refresh_ttl_seconds)

    async def of_cookie(self, cookie: str | None) -> Session | None:
        """The session that the browser of that cookie has."""
        session_id, _, secret = (cookie or "").partition(".")
        if len(secret) != _SECRET_LENGTH:
            return None
        session = await self._store.get(SessionId(session_id), self._clock.now())
        if session is None or session.client != BROWSER:
            return None
        return session if hmac.compare_digest(session.token_hash, secret_hash(secret)) else None

    async def log_in(self, scene: Scene, before: Session | None) -> tuple[Session, str] | None:
        """The session of the browser in which that scene's person logged in just now, and its new
        cookie, empty where it keeps the one it has. None for a person who may not log in.

        Args:
            before: the session that the browser had. The same person goes on with it. Another one
                gets a session of another id, and that one ends: this browser has lost it.
        """
        assert scene.user_id is not None and scene.claims is not None
        now, auth_at = self._clock.now(), float(scene.claims.iat)
        if before is not None and await self.is_same(before.user_id, scene.user_id):
            # Time and way belong together: a client that takes only some login kinds must not take
            # the time of another for one of its own.
            await self._store.prove(before.id, auth_at, scene.kind.value)
            if auth_at >= before.auth_at:
                before = before._replace(auth_at=auth_at, kind=scene.kind.value)
            return before, ""
        secret = secrets.token_urlsafe(32)
        session = Session(
            id=SessionId(secrets.token_urlsafe(16)),
            user_id=scene.user_id,
            client=BROWSER,
            parent=None,
            account=scene.account,
            kind=scene.kind.value,
            label=summary(scene.details.get("user_agent", "")),
            amr=self._amr,
            scope="",
            begun_at=now,
            auth_at=auth_at,
            used_at=now,
            ends_at=now + self._life_seconds,
            generation=1,
            token_hash=secret_hash(secret),
        )
        await self._sessions.begin(session)
        # The store begins none for a person who was banned meanwhile.
        if await self._store.get(session.id, now) is None:
            return None
        if before is not None:
            await self._sessions.end(before.id)
        return session, f"{session.id}.{secret}"

    async def is_same(self, one: UserId, other: UserId) -> bool:
        """Whether both ids are of one person: two users may have been joined since."""
        if one == other:
            return True
        users = [await self._users.get(one), await self._users.get(other)]
        return users[0] is not None and users[1] is not None and users[0].id == users[1].id


class Hint(NamedTuple):
    """What an ID token says that a client sends back."""

    client: str
    subject: UserId
    session: SessionId


class IdTokenHints:
    """Reads the parameter ``id_token_hint``."""

    def __init__(self, verifier: Verifier, clients: Clients, *, issuer: str) -> None:
        self._verifier = verifier
        self._clients = clients
        self._issuer = issuer

    async def read(self, token: str) -> Hint | None:
        """What an ID token says that this server signed, though it may have expired (OpenID
        Connect RP-Initiated Logout, section 2); None for any other text.

        Raises:
            StoreUnavailable: whether it is another node's cannot be said now.
        """
        try:
            claims = await self._verifier.opened(token, "JWT")
        except TokenError:
            return None
        names = [claims.get(name) for name in ("aud", "sub", "sid")]
        if claims.get("iss") != self._issuer or not all(isinstance(name, str) for name in names):
            return None
        client, subject, session = map(str, names)
        # This server's own tokens are of the same type, and are for no client.
        if self._clients.get(client) is None:
            return None
        return Hint(client, UserId(subject), SessionId(session))
