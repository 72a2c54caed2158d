"""What a browser does at the OpenID Provider: it asks for an authorization, logs in, comes back.

`AuthorizationService` answers authorization requests: with a code where the browser is logged in,
with a page to log in at where it is not, with an error for the client where neither may be.

A login on that page is a scene like any other. Once it is authorized, its page has a ticket, which
it posts: the ticket, the begin cookie of the browser that began the scene, and the pending login of
the same browser have to fit. The store lets one post through, which begins the browser session and
is answered with the code. Whatever ends in between costs the person another scan, and no more.
"""

import logging
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from services.clock import Clock
from services.errors import ApiError, TokenError
from services.logs import PacedLog, scrub_uri
from services.oidc import authorize
from services.oidc.authorize import AuthorizationRequest, Known, Parameters, Response, Unshown
from services.oidc.clients import Client, Clients
from services.oidc.grants import Codes, Grant
from services.oidc.logout import ClientLogouts
from services.oidc.requests import PendingLogin, PendingLogins, PushedRequests
from services.oidc.sessions import BrowserSessions, IdTokenHints
from services.scenes.begin import begun_here
from services.scenes.login import LoginService
from services.scenes.store import SceneStore
from services.sessions.states import Session
from services.tokens.claims import Purpose
from services.tokens.verifier import Verifier

log = logging.getLogger("scanpush.oidc")

_BEGIN_COOKIE_LENGTH = 43
"""Characters of 32 random bytes in base64url; what is shorter or longer is replaced."""

_MAX_LOGGED_ID = 64
_MAX_LOGGED_URI = 200


class LoginPage(NamedTuple):
    """The page that logs a browser in."""

    client: Client
    pending_id: str
    begin_cookie: str
    """For the browser to keep; without it the page's scene is of no use."""
    ui_locales: str


class Finished(NamedTuple):
    """The end of a login on that page."""

    response: Response | str
    """For the client; or a path of this server."""
    cookie: str
    """A new ``op_session``; empty where the browser has the right one."""


class AuthorizationService:
    """The authorization endpoint.

    Args:
        issuer: the claim ``iss``, which every answer carries.
        session_ttl_seconds: how long after a login a browser needs no other.
    """

    def __init__(
        self,
        clients: Clients,
        codes: Codes,
        pushed: PushedRequests,
        pending: PendingLogins,
        sessions: BrowserSessions,
        scenes: SceneStore,
        login: LoginService,
        verifier: Verifier,
        hints: IdTokenHints,
        logouts: ClientLogouts,
        clock: Clock,
        *,
        issuer: str,
        session_ttl_seconds: float,
    ) -> None:
        self._clients = clients
        self._codes = codes
        self._pushed = pushed
        self._pending = pending
        self._sessions = sessions
        self._scenes = scenes
        self._login = login
        self._verifier = verifier
        self._hints = hints
        self._logouts = logouts
        self._clock = clock
        self._issuer = issuer
        self._session_ttl_seconds = session_ttl_seconds
        self._paced_log = PacedLog(log)

    async def push(self, client: Client, parameters: Parameters) -> str:
        """Keep a client's request (RFC 9126). Returns its ``request_uri``.

        Raises:
            Unshown, Refused: it could not be granted.
        """
        self._parsed(parameters)
        return await self._pushed.push(client.id, parameters)

    async def begin(
        self, parameters: Parameters, session_cookie: str | None
    ) -> Response | PendingLogin:
        """What a browser gets that brings a client's request; where its person has to log in, what
        for: `page` makes the page for it.

        Raises:
            Unshown: nothing may be sent to a client.
        """
        try:
            request, pushed = await self._requested(parameters)
        except authorize.Refused as refused:
            return authorize.refusal(refused, self._issuer)
        client = self._client(request.client)
        session = await self._sessions.of_cookie(session_cookie)
        known = None
        if session is not None:
            is_hinted = await self._is_hinted(request, session)
            known = Known(session.auth_at, session.kind, is_hinted)
        needs_login = authorize.needs_login(
            request,
            known,
            client,
            self._clock.now(),
            session_ttl_seconds=self._session_ttl_seconds,
        )
        if session is not None and not needs_login:
            return await self._grant(request, pushed, session)
        if request.prompt == "none":
            return authorize.denied(
                request, "login_required", "the person has to log in", self._issuer
            )
        return PendingLogin(client.id, request, pushed)

    async def posted(self, parameters: Parameters) -> Response | str:
        """Where a browser goes that brings a client's request by POST: the same request by GET.

        Browsers leave out the cookies that say who is logged in: they are Lax, and the form is
        another site's.

        Raises:
            Unshown: nothing may be sent to a client.
        """
        try:
            request, pushed = await self._requested(parameters)
        except authorize.Refused as refused:
            return authorize.refusal(refused, self._issuer)
        reference = pushed or await self._pushed.push(request.client, parameters)
        query = urlencode({"client_id": request.client, "request_uri": reference})
        return f"/oauth/authorize?{query}"

    async def page(self, pending: PendingLogin, begin_cookie: str | None) -> LoginPage:
        """A page that logs the browser in for `pending`."""
        cookie = begin_cookie or ""
        if len(cookie) != _BEGIN_COOKIE_LENGTH:
            cookie = secrets.token_urlsafe(32)
        pending_id = await self._pending.keep(pending, cookie)
        return self._page(pending, pending_id, cookie)

    async def resume(self, pending_id: str, begin_cookie: str | None) -> LoginPage:
        """The page once more, for a browser that comes back from WeChat's.

        Raises:
            Unshown: it is over, or another browser's.
        """
        pending = await self._pending.look(pending_id, begin_cookie)
        if pending is None:
            raise Unshown("no such pending login", "over")
        return self._page(pending, pending_id, begin_cookie or "")

    async def scene_details(
        self, pending_id: str, kind: str | None, begin_cookie: str | None
    ) -> Mapping[str, str]:
        """What a scene keeps that is begun on the page of that pending login.

        Raises:
            ApiError: ``bad_request``, ``unknown_kind``.
        """
        pending = await self._pending.look(pending_id, begin_cookie)
        if pending is None:
            raise ApiError(
                "bad_request", "No pending login of this browser; load the page.", field="authorize"
            )
        client = self._client(pending.client)
        if (kind or "official_account") not in client.kinds:
            raise ApiError("unknown_kind", "Not a login of this client.", field="kind")
        return {"authorize": pending_id, "site": client.name}

    async def finish(
        self, ticket: str, session_cookie: str | None, begin_cookie: str | None
    ) -> Finished | None:
        """The answer to a page that posts the ticket of its scene. None where the login is not to
        be had, used already for example: the page begins once more.

        Raises:
            Unshown: the ticket is another browser's.
        """
        try:
            asked = await self._verifier.verify_ticket(Purpose.AUTHORIZE, ticket, self._clock.now())
        except TokenError:
            return None
        scene = await self._scenes.get(asked.scene_str)
        if scene is None:
            return None
        if not begun_here(scene, begin_cookie):
            raise Unshown("the scene was begun in another browser", "over")
        pending = await self._pending.look(scene.details.get("authorize", ""), begin_cookie)
        if pending is None or scene.kind.value not in self._client(pending.client).kinds:
            return None
        taken = await self._login.take(asked.scene_str, asked.seq)
        if taken is None:
            return None
        before = await self._sessions.of_cookie(session_cookie)
        logged_in = await self._sessions.log_in(taken, before)
        request = pending.request
        if logged_in is None:
            return Finished(self._denied(pending, "the person may not log in"), "")
        session, cookie = logged_in
        if request is None:
            return Finished(pending.next, cookie)
        if not await self._is_hinted(request, session):
            # Another person than the client named. They are logged in here, and not there.
            response = authorize.denied(
                request, "login_required", "another person logged in", self._issuer
            )
            return Finished(response, cookie)
        return Finished(await self._grant(request, pending.pushed, session), cookie)

    async def refuse(
        self, pending_id: str, begin_cookie: str | None, *, barred: bool = False
    ) -> Response | str:
        """The answer for a person who does not log in.

        Args:
            barred: the page says that they may not, being banned for example. It is believed: the
                client is told of it, and nothing else depends on it.

        Raises:
            Unshown: the pending login is over, or another browser's.
        """
        pending = await self._pending.look(pending_id, begin_cookie)
        if pending is None:
            raise Unshown("no such pending login", "over")
        description = "the person may not log in" if barred else "the person did not log in"
        return self._denied(pending, description)

    def _denied(self, pending: PendingLogin, description: str) -> Response | str:
        if pending.request is None:
            return pending.next
        return authorize.denied(pending.request, "access_denied", description, self._issuer)

    def _page(self, pending: PendingLogin, pending_id: str, begin_cookie: str) -> LoginPage:
        request = pending.request
        return LoginPage(
            self._client(pending.client),
            pending_id,
            begin_cookie,
            "" if request is None else request.ui_locales,
        )

    async def _requested(self, parameters: Parameters) -> tuple[AuthorizationRequest, str]:
        """The request, and the reference under which it was pushed."""
        references = [value for name, value in parameters if name == "request_uri"]
        if len(references) != 1 or not references[0].startswith(authorize.PUSHED):
            return self._parsed(parameters), ""
        # Of a pushed request, nothing in the address counts but its reference and its client (RFC
        # 9126, section 4; RFC 9101, section 5).
        named = [value for name, value in parameters if name == "client_id"]
        pushed = await self._pushed.look(references[0], named[0]) if len(named) == 1 else None
        if pushed is None:
            raise Unshown("no such pushed request", "over")
        return self._parsed(pushed), references[0]

    def _parsed(self, parameters: Parameters) -> AuthorizationRequest:
        """`authorize.parsed`; what a client has to mend is in the log."""
        try:
            return authorize.parsed(parameters, self._clients)
        except Unshown as problem:
            client, uri = problem.client, scrub_uri(problem.redirect_uri)[:_MAX_LOGGED_URI]
            if problem.cause == "client":
                text = "no client of that id in oidc.clients"
                self._paced_log.log(logging.WARNING, text, client=client[:_MAX_LOGGED_ID])
            elif problem.cause == "no_redirect_uri":
                text = f"client {client} named no redirect_uri"
                self._paced_log.log(logging.WARNING, text)
            elif problem.cause == "redirect_uri":
                text = f"client {client} asked for a redirect_uri that is not registered"
                self._paced_log.log(logging.WARNING, text, redirect_uri=uri)
            raise

    def _client(self, client_id: str) -> Client:
        client = self._clients.get(client_id)
        if client is None:
            raise Unshown("unknown client", "client", client=client_id)
        return client

    async def _is_hinted(self, request: AuthorizationRequest, session: Session) -> bool:
        """Whether the session is of the person whom the client expects, if it named one."""
        if not request.id_token_hint:
            return True
        hint = await self._hints.read(request.id_token_hint)
        # One that cannot be read names no person who could be logged in.
        if hint is None or hint.client != request.client:
            return False
        return await self._sessions.is_same(hint.subject, session.user_id)

    async def _grant(
        self, request: AuthorizationRequest, pushed: str, session: Session
    ) -> Response:
        await self._logouts.note(session, request.client)
        code = await self._codes.issue(
            Grant(
                client=request.client,
                redirect_uri=request.redirect_uri,
                scope=request.scope,
                nonce=request.nonce,
                code_challenge=request.code_challenge,
                session=session.id,
                user_id=session.user_id,
                account=session.account,
                amr=session.amr,
                auth_at=session.auth_at,
                kind=session.kind,
                label=session.label,
            )
        )
        # Behind the code: whatever ends this process in between leaves a request that still works.
        if pushed and not await self._pushed.spend(pushed):
            raise Unshown("the pushed request was used already", "over")
        return authorize.granted(request, code, self._issuer)
