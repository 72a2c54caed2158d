"""Who a token belongs to, and the keys to check it with."""

from handlers.base import BaseHandler
from services.errors import ApiError, TokenError


class JwksHandler(BaseHandler):
    """``GET /.well-known/jwks.json`` (RFC 7517), for everybody."""

    def get(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cache-Control", "public, max-age=300")
        self.write_json(self.container.issuer.jwks())


class MeHandler(BaseHandler):
    """``GET /api/me``: the person a valid token speaks of."""

    async def get(self) -> None:
        self.share_with_origin()
        try:
            claims = self.container.issuer.verify(self.bearer(), self.container.clock.now())
        except TokenError:
            raise ApiError("unauthorized", "The token is missing or not valid.") from None
        user = await self.container.backend.users.get(claims.subject)
        if user is None:
            raise ApiError("unauthorized", "The token is missing or not valid.")
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
