"""Tokens and the people they are about: the keys to check a token with, the person of a token, and
what turns a ticket into a login: registration by form, and the exchange of a kiosk's code."""

from handlers.api_request import required_text
from handlers.base import BaseHandler, PublicHandler
from handlers.operator import OperatorHandler
from handlers.sessions import bearer_claims, unauthorized_token
from services.errors import ApiError, TokenError, TokenExpired
from services.tokens.claims import Purpose
from services.tokens.issuer import MAX_TOKEN_CHARACTERS
from services.tokens.verifier import JWKS_MAX_AGE_SECONDS

TOLERANCE_SECONDS = 60
"""How much older than its user a token may say it is: tokens are backdated, and clocks differ."""


class JwksHandler(PublicHandler):
    """``GET /.well-known/jwks.json`` (RFC 7517): public keys, for any origin."""

    async def get(self) -> None:
        self.set_header("Cache-Control", f"public, max-age={JWKS_MAX_AGE_SECONDS}")
        self.write_json(await self.container.verifier.jwks())


class MeHandler(BaseHandler):
    """``GET /api/me``: the person that a valid token is about."""

    async def get(self) -> None:
        self.share_with_origin()
        claims = await bearer_claims(self)
        # A valid token may outlive the record of its person, and their welcome. Where the id of a
        # removed person was given again, by the operator's own system, it is of the one before.
        user = await self.container.backend.users.get(claims.subject)
        if user is None or user.banned or claims.iat + TOLERANCE_SECONDS < user.created_at:
            raise unauthorized_token()
        self.write_json(
            {
                "id": user.id,
                "name": user.name,
                "avatar": user.avatar,
                "account": user.account,
                "created_at": int(user.created_at),
                "last_login_at": int(user.last_login_at),
            }
        )


class RegisterHandler(BaseHandler):
    """``POST /api/register``: the form of a new person, with the page's registration token."""

    async def post(self) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        body = self.asked.json_object()
        token = required_text(body, "registration_token", MAX_TOKEN_CHARACTERS)
        state = await self.container.registration.register(token, body)
        self.write_json({"state": state.value})


class ExchangeHandler(OperatorHandler):
    """``POST /api/exchange``: a kiosk's exchange code for the login, once."""

    async def post(self) -> None:
        code = required_text(self.asked.json_object(), "exchange_code", MAX_TOKEN_CHARACTERS)
        try:
            ticket = await self.container.verifier.verify_ticket(
                Purpose.EXCHANGE, code, self.container.clock.now()
            )
        except TokenExpired:
            raise _gone() from None
        except TokenError:
            raise ApiError(
                "bad_request", "This is no exchange code.", field="exchange_code"
            ) from None
        # The ticket names one state of its scene: the store lets one exchange through.
        login = await self.container.login.exchange(ticket.scene_str, ticket.seq)
        if login is None:
            raise _gone()
        self.write_json({"login": login})


def _gone() -> ApiError:
    return ApiError("gone", "This exchange code was used, or its time is up.")
