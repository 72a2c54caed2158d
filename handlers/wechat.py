"""``/wechat/callback[/<account>]``: the one address WeChat is told."""

from handlers.base import BaseHandler
from services.errors import ApiError
from services.scenes.callbacks import Push
from services.wechat.accounts import Account
from services.wechat.forwarder import HOPS_HEADER

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
        hops = self.request.headers.get(HOPS_HEADER, "")
        push = Push(
            query=self.query(),
            raw_query=self.request.query,
            body=self.request.body,
            content_type=self.request.headers.get("Content-Type", ""),
            hops=int(hops) if hops.isascii() and hops.isdigit() and len(hops) < 4 else 0,
        )
        reply = await self.container.callbacks.receive(self.account(name), push)
        own_type = _REPLY_TYPES.get(reply.body[:1], "text/plain")
        self.answer(reply.body, reply.content_type or own_type)

    def answer(self, body: bytes, content_type: str) -> None:
        self.set_header("Content-Type", content_type)
        self.finish(body)
