"""``/wechat/callback[/<account>]``: the one address WeChat is told."""

from handlers.base import BaseHandler
from services.errors import ApiError
from services.wechat.accounts import Account


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
        self.answer(echo)

    async def post(self, name: str | None = None) -> None:
        reply = await self.container.callbacks.receive(
            self.account(name), self.query(), self.request.body
        )
        self.answer(reply)

    def answer(self, body: bytes) -> None:
        is_xml = body.startswith(b"<xml>")
        self.set_header(
            "Content-Type", "application/xml; charset=utf-8" if is_xml else "text/plain"
        )
        self.finish(body)
