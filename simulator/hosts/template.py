"""api.weixin.qq.com, ``/cgi-bin/message/template``: the login notice."""

from simulator.config import SimulatedAccount, SimulatedApp
from simulator.hosts.base import CredentialHandler
from simulator.notices import Notice
from simulator.refusals import Refusal


class SendTemplateHandler(CredentialHandler):
    """``POST /cgi-bin/message/template/send``: accepted now, its result pushed later."""

    method = "POST"
    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if not isinstance(app, SimulatedAccount):
            raise Refusal(48001)
        notice = self.world.notices.accept(app, self.json_body())
        if notice.fresh:
            self._deliver(app, notice)
        self.answer({"errcode": 0, "errmsg": "ok", "msgid": notice.message_id})

    def _deliver(self, account: SimulatedAccount, notice: Notice) -> None:
        """Show it in the chat, then push TEMPLATESENDJOBFINISH without waiting for it."""
        person, status = notice.person, "success"
        if person.blocks_notices:
            status = "failed:user block"
        else:
            self.world.chats.add(person.name, account.app_id, "account", notice.text, "notice")
        fields: dict[str, str | int] = {"MsgID": notice.message_id, "Status": status}
        event = self.world.phones.event(
            person.name, "TEMPLATESENDJOBFINISH", fields, account.app_id
        )
        self.world.supervisor.spawn(event, name="TEMPLATESENDJOBFINISH")
