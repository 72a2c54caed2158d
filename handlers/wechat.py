"""``/wechat/callback[/<account>]``: the one address WeChat is told."""

from handlers.base import BaseHandler
from services.errors import ApiError
from services.wechat.accounts import Account

_REPLY_TYPES = {b"<": "application/xml; charset=utf-8", b"{": "application/json; charset=utf-8"}
"""By a reply's first byte: accounts may be set to XML or to JSON."""


class CallbackHandler(BaseHandler):
    """``GET`` answers WeChat's configuration check, ``POST`` takes its events and messages."""

    def account(self, name: str | None) -> Account:
        try:
            return self.container.accounts.named(name)
        except ApiError:
            raise ApiError("not_found", "There is nothing here.") from None

    def query(self) -> dict[str, str]:
        return {
            key: values[-1].decode("utf-8", "replace")
            for key, values in self.request.query_arguments.items()
        }

    def get(self, name: str | None = None) -> None:
        echo = self.account(name).gate.check_configuration(self.query())
        self.answer(echo, "text/plain")

    async def post(self, name: str | None = None) -> None:
        reply = await self.container.callbacks.receive(
            self.account(name), self.query(), self.request.body
        )
        self.answer(reply, _REPLY_TYPES.get(reply[:1], "text/plain"))

    def answer(self, body: bytes, content_type: str) -> None:
        self.set_header("Content-Type", content_type)
        self.finish(body)
