"""Log-out: asked for by a client (RP-initiated), and told to the clients (back channel).

`ClientLogouts` is the one place that every end of a session reaches, whatever ended it: it tells
the clients that were logged in under it. `LogoutService` is ``/oauth/logout``.

Sources: OpenID Connect RP-Initiated Logout 1.0, OpenID Connect Back-Channel Logout 1.0.
"""

import asyncio
import logging
import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import httpx

from services.clock import Clock
from services.errors import ExchangeFailed
from services.http_client import post
from services.ids import UserId, base64url, secret_hash
from services.oidc.authorize import Parameters, Response, Unshown
from services.oidc.clients import Client, Clients
from services.oidc.sessions import BrowserSessions, Hint, IdTokenHints
from services.sessions.service import SessionService
from services.sessions.states import BROWSER, Session, SessionId
from services.sessions.store import SessionStore
from services.tasks import Supervisor
from services.tokens.issuer import Issuer

log = logging.getLogger("scanpush.oidc")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""The member of ``events`` that makes a log-out token one (Back-Channel Logout, section 2.4)."""

TOKEN_SECONDS = 120
"""The life that Back-Channel Logout, section 2.4, recommends at most."""

TELL_SECONDS = 5.0
"""How long a client may take for its answer."""

PAUSES = (1.0, 5.0, 30.0)
"""Seconds before the further tries to tell a client, each made up to half longer."""

MOST_TELLING = 500
"""Log-outs being told at once; more are dropped with a warning."""


class ClientLogouts:
    """Tells clients that a person is logged out.

    Args:
        http: shared; redirects are not followed.
        issuer: the claim ``iss``.
        pauses: see `PAUSES`; a test makes them short.
    """

    def __init__(
        self,
        clients: Clients,
        store: SessionStore,
        signer: Issuer,
        http: httpx.AsyncBaseTransport,
        supervisor: Supervisor,
        clock: Clock,
        *,
        issuer: str,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._clients = clients
        self._store = store
        self._signer = signer
        self._http = http
        self._supervisor = supervisor
        self._clock = clock
        self._issuer = issuer
        self._pauses = pauses
        self._telling = 0

    async def note(self, session: Session, client_id: str) -> None:
        """A browser is about to log in at a client that wants to hear of its log-out.

        Kept as a session of the client below the browser's, which no token can refresh: it ends
        with the browser's, and so is among the ended ones.
        """
        client = self._clients.get(client_id)
        if client is None or not client.settings.backchannel_logout_uri:
            return
        digest = secret_hash(f"client {session.id} {client_id}")[:16]
        noted = session._replace(
            id=SessionId(base64url(digest)),
            client=client_id,
            parent=session.id,
            token_hash=b"",
        )
        await self._store.begin(noted, most_per_user=0, now=self._clock.now())

    def tell(self, ended: Sequence[Session]) -> None:
        """Tell the clients among `ended`, in the background.

        To be called with what a store says has ended by one call, by the node that called it. What
        is not told when this process ends is lost: the client's own tokens run out.
        """
        told = {}
        for session in ended:
            client = self._clients.get(session.client) if session.client != BROWSER else None
            if client is not None and client.settings.backchannel_logout_uri:
                told[client.id, session.parent or session.id] = client, session
        for (_, sid), (client, session) in told.items():
            if self._telling >= MOST_TELLING:
                log.warning(
                    "a client is not told of a log-out: %d are in flight",
                    self._telling,
                    extra={"client": client.id},
                )
                continue
            self._telling += 1
            self._supervisor.spawn(self._tell(client, sid, session.user_id), name="tell a log-out")

    async def _tell(self, client: Client, sid: SessionId, user_id: UserId) -> None:
        where = {"client": client.id}
        # The same at each try, so that the client knows a repeat.
        jti = secrets.token_urlsafe(16)
        try:
            # After the last try there is nothing to wait for.
            for pause in (*self._pauses, None):
                problem = await self._post(client, self._token(client, sid, user_id, jti))
                if not problem:
                    return
                log.warning("a client was not told of a log-out: %s", problem, extra=where)
                if pause is None or problem == "HTTP 400":
                    return
                await asyncio.sleep(pause * random.uniform(1.0, 1.5))
        finally:
            self._telling -= 1

    def _token(self, client: Client, sid: SessionId, user_id: UserId, jti: str) -> str:
        """Back-Channel Logout, section 2.4. It must not have a nonce, lest it be taken for an ID
        token."""
        now = int(self._clock.now())
        payload = {
            "iss": self._issuer,
            "sub": user_id,
            "aud": client.id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": jti,
            "sid": sid,
            "events": {EVENT: {}},
        }
        return self._signer.sign(payload, typ="logout+jwt", algorithm=client.id_token_alg)

    async def _post(self, client: Client, token: str) -> str:
        """Why the client did not take it; empty where it did."""
        try:
            response = await post(
                self._http,
                client.settings.backchannel_logout_uri,
                content=urlencode({"logout_token": token}).encode(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                seconds=TELL_SECONDS,
                longest=4096,
            )
        except ExchangeFailed as error:
            return str(error)
        return "" if 200 <= response.status < 300 else f"HTTP {response.status}"


class LoggedOut(NamedTuple):
    """The browser is logged out, and goes on to `address`; without one it stays."""

    address: str
    is_sent: bool
    """Whether it goes there by itself. Without proof of the client, a person follows a link."""
    lang: str


class LogoutQuestion(NamedTuple):
    """Whether the person wants to log out: no client has shown that it may end the session."""

    fields: Mapping[str, str]
    """For the form that brings the answer."""
    client: str
    """The name of the client that sent the browser; empty where it is not known."""
    lang: str


class _Asked(NamedTuple):
    client: Client | None
    address: str
    hint: Hint | None
    fields: Mapping[str, str]


class LogoutService:
    """``/oauth/logout``: what a client asks for, and what a person answers."""

    def __init__(
        self,
        clients: Clients,
        store: SessionStore,
        sessions: SessionService,
        browsers: BrowserSessions,
        hints: IdTokenHints,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._store = store
        self._sessions = sessions
        self._browsers = browsers
        self._hints = hints
        self._clock = clock

    async def begin(
        self, parameters: Parameters, session_cookie: str | None
    ) -> LoggedOut | LogoutQuestion:
        """What a browser gets that a client sends here.

        Raises:
            Unshown: the client or its address is not known, and nothing has ended.
        """
        asked = await self._asked(parameters)
        lang, hint = asked.fields.get("ui_locales", ""), asked.hint
        session = await self._browsers.of_cookie(session_cookie)
        if session is None and hint is None:
            return LoggedOut(asked.address, False, lang)
        # Also where the token is of another person: found somewhere, it must not log this one out.
        if session is not None and (
            hint is None or not await self._browsers.is_same(session.user_id, hint.subject)
        ):
            name = asked.client.name if asked.client is not None else ""
            return LogoutQuestion(asked.fields, name, lang)
        if session is not None:
            await self._sessions.end(session.id)
        if hint is not None and (session is None or session.id != hint.session):
            named = await self._store.get(hint.session, self._clock.now())
            if named is not None and await self._browsers.is_same(named.user_id, hint.subject):
                await self._sessions.end(named.id)
        return LoggedOut(asked.address, True, lang)

    async def confirm(self, parameters: Parameters, session_cookie: str | None) -> LoggedOut:
        """The person says yes, by the form of the question.

        Raises:
            Unshown: as `begin`.
        """
        asked = await self._asked(parameters)
        session = await self._browsers.of_cookie(session_cookie)
        if session is not None:
            await self._sessions.end(session.id)
        return LoggedOut(asked.address, True, asked.fields.get("ui_locales", ""))

    async def _asked(self, parameters: Parameters) -> _Asked:
        names = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales")
        fields = {name: value for name, value in parameters if value and name in names}
        if max(Counter(name for name, _ in parameters).values(), default=0) > 1:
            raise Unshown("a parameter came twice")
        token, client_id = fields.get("id_token_hint", ""), fields.get("client_id", "")
        hint = await self._hints.read(token) if token else None
        if hint is not None and client_id and hint.client != client_id:
            raise Unshown("the ID token is another client's")
        client = self._clients.get(client_id or (hint.client if hint is not None else ""))
        if client_id and client is None:
            raise Unshown("unknown client")
        uri, address = fields.get("post_logout_redirect_uri", ""), ""
        if uri:
            if client is None or uri not in client.settings.post_logout_redirect_uris:
                raise Unshown("unknown address")
            state = {"state": fields["state"]} if "state" in fields else {}
            address = Response(uri, "query", state).address if state else uri
        return _Asked(client, address, hint, fields)
