"""``/api/token/...`` and ``/api/sessions``: renew a login, end it, list a person's sessions.

All of it is 404 where ``sessions.refresh_ttl_seconds`` is 0.
"""

import re

from handlers.api_request import ApiRequest, answer, required_text
from handlers.base import BaseHandler, write_response
from handlers.http_messages import HotRoute, HttpResponse
from services.container import Container
from services.errors import ApiError, TokenError
from services.scenes.status import login_fields
from services.sessions.service import SessionService
from services.sessions.states import SessionId
from services.sessions.tokens import MAX_CHARACTERS
from services.tokens.claims import VerifiedClaims

_TARGET = re.compile(r"/api/token/refresh(?:\?.*)?")


async def refresh(asked: ApiRequest) -> HttpResponse:
    """The answer to ``POST /api/token/refresh``: the login document with a new pair.

    Raises:
        ApiError, StoreUnavailable: there is none.
    """
    container = asked.container
    sessions = _sessions(container)
    asked.refuse_foreign_origin()
    token = required_text(asked.json_object(), "refresh_token", MAX_CHARACTERS)
    session, refresh_token, claims = await sessions.refresh(token, asked.address)
    access_token = container.issuer.mint(
        subject=session.user_id,
        claims=claims,
        account=session.account,
        amr=session.amr.split(),
        sid=session.id,
    )
    document = login_fields(
        session.user_id, claims, container.clock.now(), access_token, refresh_token
    )
    return asked.respond(document, headers=asked.cors_headers())


def hot_route(container: Container) -> HotRoute:
    """``POST /api/token/refresh`` without a RequestHandler: with short tokens it is the request
    that comes most often."""
    return HotRoute("POST", _TARGET, lambda request: answer(container, request, refresh))


class RefreshHandler(BaseHandler):
    """``/api/token/refresh``: the POST where Tornado's own connections serve it."""

    async def post(self) -> None:
        write_response(self, await refresh(self.asked))


class RevokeHandler(BaseHandler):
    """``POST /api/token/revoke``: ends the session of a refresh token. 204 whatever was sent, so
    that nothing can be learned of tokens by it."""

    async def post(self) -> None:
        sessions = _sessions(self.container)
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        token = self.asked.json_object().get("refresh_token")
        if isinstance(token, str):
            await sessions.revoke(token, self.asked.address)
        self.set_status(204)


class SessionsHandler(BaseHandler):
    """``/api/sessions``: list the sessions of the token's person, or end all but the token's."""

    async def get(self) -> None:
        self.share_with_origin()
        sessions, claims = await _person(self)
        self.write_json(
            {
                "sessions": [
                    {
                        "id": session.id,
                        "current": session.id == claims.sid,
                        "account": session.account,
                        "label": session.label,
                        "begun_at": int(session.begun_at),
                        "used_at": int(session.used_at),
                    }
                    for session in await sessions.of_user(claims.subject)
                ]
            }
        )

    async def delete(self) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        sessions, claims = await _person(self)
        await sessions.end_of_user(claims.subject, except_id=SessionId(claims.sid))
        self.set_status(204)


class SessionHandler(BaseHandler):
    """``DELETE /api/sessions/<id>``: end one session of the token's person."""

    async def delete(self, text: str) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        sessions, claims = await _person(self)
        if not await sessions.end_own(claims.subject, SessionId(text)):
            raise ApiError("not_found", "There is no such session.")
        self.set_status(204)


def _sessions(container: Container) -> SessionService:
    sessions = container.login_sessions
    if sessions is None:
        raise ApiError("not_found", "There is nothing here.")
    return sessions


async def _person(handler: BaseHandler) -> tuple[SessionService, VerifiedClaims]:
    """The sessions, and what the request's valid token says."""
    return _sessions(handler.container), await bearer_claims(handler)


async def bearer_claims(handler: BaseHandler) -> VerifiedClaims:
    """What the request's login token says, whose session has not ended.

    Raises:
        ApiError: ``unauthorized``.
        StoreUnavailable: that cannot be said now.
    """
    container = handler.container
    try:
        claims = await container.verifier.verify(handler.asked.bearer(), container.clock.now())
    except TokenError:
        raise unauthorized_token() from None
    sessions = container.login_sessions
    if claims.sid and sessions is not None and await sessions.get(SessionId(claims.sid)) is None:
        raise unauthorized_token()
    return claims


def unauthorized_token() -> ApiError:
    """One and the same answer for a token that is missing, not valid, or of an ended session."""
    return ApiError("unauthorized", "The token is missing or not valid.")
