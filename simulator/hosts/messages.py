"""api.weixin.qq.com, ``/cgi-bin``: what an account says and shows: custom, template and subscribe
messages, its menu, and the media in them.
"""

from typing import Any
from urllib.parse import quote

from tornado.web import HTTPError, RequestHandler

from simulator.config import SimulatedAccount, SimulatedApp
from simulator.hosts.base import CredentialHandler
from simulator.notices import Notice
from simulator.refusals import Refusal
from simulator.world import World


class CustomMessageHandler(CredentialHandler):
    """``POST /cgi-bin/message/custom/send``."""

    method = "POST"
    needs = "verified"
    for_mini_programs = True

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        self.world.conversations.send(app.app_id, self.json_body())
        self.ok()


class TypingHandler(CredentialHandler):
    """``POST /cgi-bin/message/custom/typing``."""

    method = "POST"
    needs = "verified"
    for_mini_programs = True

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        self.world.conversations.type(app.app_id, request.get("touser"), request.get("command"))
        self.ok()


class SendTemplateHandler(CredentialHandler):
    """``POST /cgi-bin/message/template/send``: accepted now, its result pushed later."""

    method = "POST"
    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if not isinstance(app, SimulatedAccount):
            raise Refusal(48001)
        notice = self.world.notices.accept(app, self.json_body())
        # A repeat with the same client_msg_id is answered alike, and nothing is sent.
        if notice.fresh:
            self._deliver(app, notice)
        self.ok(msgid=notice.message_id)

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
        # Not awaited: the result of a notice comes later than the answer that accepted it.
        self.world.supervisor.spawn(event, name="TEMPLATESENDJOBFINISH")


class TemplatesHandler(CredentialHandler):
    """``GET /cgi-bin/template/get_all_private_template``: the templates that may be sent."""

    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        templates = [
            {
                "template_id": template.template_id,
                "title": "simulated",
                "primary_industry": "",
                "deputy_industry": "",
                "content": "".join(f"{key}:{{{{{key}.DATA}}}}\n" for key in template.keys),
                "example": "",
            }
            for template in app.templates
        ]
        self.answer({"template_list": templates})


class SubscribeTemplatesHandler(CredentialHandler):
    """``GET /wxaapi/newtmpl/gettemplate``: the templates of subscribe messages."""

    needs = "verified"
    for_mini_programs = True

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        templates: list[dict[str, Any]] = [
            {
                "priTmplId": template.template_id,
                "title": "simulated",
                "content": "".join(f"{key}:{{{{{key}.DATA}}}}\n" for key in template.keys),
                "example": "",
                "type": 2,
            }
            for template in app.templates
        ]
        self.ok(data=templates)


class SubscribeMessageHandler(CredentialHandler):
    """``POST /cgi-bin/message/subscribe/send`` (mini programs) and ``bizsend`` (accounts).

    Each uses up one consent of the person, which ``/simulator/subscribe`` gives.
    """

    method = "POST"
    needs = "verified"
    for_mini_programs = True

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        # Each kind of app has its own path.
        if self.wechat_path.endswith("/bizsend") != isinstance(app, SimulatedAccount):
            raise Refusal(48001)
        notice = self.world.notices.accept_subscribed(app, self.json_body())
        self.world.chats.add(notice.person.name, app.app_id, "account", notice.text, "notice")
        self.ok(msgid=notice.message_id)


class CreateMenuHandler(CredentialHandler):
    """``POST /cgi-bin/menu/create``."""

    method = "POST"
    needs = "service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        self.world.menus.create(app.app_id, self.json_body())
        self.ok()


class MenuHandler(CredentialHandler):
    """``GET /cgi-bin/menu/get|delete`` and ``get_current_selfmenu_info``."""

    needs = "service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        menus, action = self.world.menus, self.wechat_path.rpartition("/")[2]
        if action == "get":
            self.answer({"menu": menus.get(app.app_id)})
        elif action == "delete":
            menus.delete(app.app_id)
            self.ok()
        else:
            self.answer(menus.shown(app.app_id))


class UploadHandler(CredentialHandler):
    """``POST /cgi-bin/media/upload?type=``: a form with the file in ``media``."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        kind = self.get_query_argument("type", "") or self.get_body_argument("type", "")
        files = self.request.files.get("media")
        if not files:
            raise Refusal(41005)
        medium = self.world.media.upload(app.app_id, kind, files[0].filename, files[0].body)
        name = "thumb_media_id" if kind == "thumb" else "media_id"
        self.answer({"type": kind, name: medium.media_id, "created_at": medium.created})


class DownloadHandler(CredentialHandler):
    """``GET /cgi-bin/media/get?media_id=``: the file; of a video only its address."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        media_id = self.get_query_argument("media_id", "")
        if not media_id:
            raise Refusal(41006)
        medium = self.world.media.get(app.app_id, media_id)
        # The address of a video needs no credential, so it is asked for in two steps.
        if medium.kind == "video":
            host = f"{self.request.protocol}://{self.request.host}"
            self.answer({"video_url": f"{host}/video/{medium.media_id}"})
            return
        # Percent-encoded: a file may have any name, and a header may not.
        filename = quote(medium.filename, safe="")
        self.set_header("Content-Disposition", f'attachment; filename="{filename}"')
        self.give(medium.body, medium.content_type)


class VideoHandler(RequestHandler):
    """``/video/<media_id>``: where the answer of media/get leads for a video."""

    def initialize(self, world: World) -> None:
        self.world = world

    def get(self, media_id: str) -> None:
        medium = self.world.media.find(media_id)
        if medium is None or medium.kind != "video":
            raise HTTPError(404)
        self.set_header("Content-Type", medium.content_type)
        self.finish(medium.body)
