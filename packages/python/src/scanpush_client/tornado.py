"""Tornado: a mixin that lets a handler answer only requests with a valid login token.

class Me(TokenRequired, RequestHandler):
    def get(self) -> None:
        self.write({"id": self.login.sub})

Application([("/me", Me)], scanpush=AsyncScanpush("https://login.example.com"))
"""

from inspect import isawaitable

from tornado.web import RequestHandler

from scanpush_client.bearer import bearer_token, refusal
from scanpush_client.client import AsyncScanpush
from scanpush_client.tokens import InvalidToken, LoginClaims, Unavailable


class TokenRequired(RequestHandler):
    """Stands before `RequestHandler` among the bases.

    The application's setting ``scanpush`` is an `AsyncScanpush`. Without a valid token the answer
    is 401, or 503 where keys cannot be had, and no method of the handler runs, but for ``options``:
    browsers ask their preflight requests without a token. The ``prepare`` of the next base runs
    after the token was verified.
    """

    login: LoginClaims

    async def prepare(self) -> None:
        if self.request.method != "OPTIONS":
            scanpush: AsyncScanpush = self.settings["scanpush"]
            token = bearer_token(self.request.headers.get("Authorization"))
            try:
                self.login = await scanpush.verify(token)
            except (InvalidToken, Unavailable) as error:
                answer = refusal(error, token)
                self.set_status(answer.status)
                for name, value in answer.headers.items():
                    self.set_header(name, value)
                self.finish(answer.document())
                return
        waiting = super().prepare()
        if isawaitable(waiting):
            await waiting
