"""``GET /wechat/callback[/<account>]``: WeChat's configuration check. Pushes: callback_desk.py."""

from handlers.base import BaseHandler
from handlers.callback_desk import named_account


class CallbackHandler(BaseHandler):
    """Answers the check; a POST never comes this far."""

    def query(self) -> dict[str, str]:
        return {
            key: values[-1].decode("utf-8", "replace")
            for key, values in self.request.query_arguments.items()
        }

    def get(self, name: str | None = None) -> None:
        gate = named_account(self.container, self.request.path).gate
        self.set_header("Content-Type", "text/plain")
        self.finish(gate.check_configuration(self.query()))

    def post(self, name: str | None = None) -> None:
        """Only so that ``Allow`` names it."""
        raise AssertionError("the door answers pushes")
