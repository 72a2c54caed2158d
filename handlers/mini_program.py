"""``/api/miniprogram/...``: what a mini program sends: its own login, or a scan and its answer."""

from handlers.api_request import optional_text, required_text
from handlers.base import BaseHandler
from services.errors import ApiError
from services.web_login.mini_program import MiniProgramLogin

MAX_CODE = 512
"""Characters of a code or a scene."""


class MiniProgramHandler(BaseHandler):
    """A request with a ``wx.login`` code."""

    def prepare(self) -> None:
        super().prepare()
        # A foreign Origin is named by pages of other sites, not by a mini program.
        self.asked.refuse_foreign_origin()

    @property
    def mini_program(self) -> MiniProgramLogin:
        mini_program = self.container.mini_program
        if mini_program is None:
            raise ApiError("not_found", "There is no mini program here.")
        return mini_program


class MiniProgramLoginHandler(MiniProgramHandler):
    """``POST /api/miniprogram/login {"code"}``: the mini program's own login."""

    async def post(self) -> None:
        body = self.asked.json_object()
        account = optional_text(body, "account")
        login = await self.mini_program.log_in(
            required_text(body, "code", MAX_CODE), account, self.asked.address
        )
        self.write_json({"login": login})


class MiniProgramScanHandler(MiniProgramHandler):
    """``POST /api/miniprogram/scan {"scene", "code"}``: the program was opened by a code."""

    async def post(self) -> None:
        body = self.asked.json_object()
        scene, code = required_text(body, "scene", MAX_CODE), required_text(body, "code", MAX_CODE)
        state = await self.mini_program.scan(scene, code, self.asked.address)
        self.write_json({"state": state.value})


class MiniProgramConfirmHandler(MiniProgramHandler):
    """``POST /api/miniprogram/confirm {"scene", "code", "allow"}``: the person decides."""

    async def post(self) -> None:
        body = self.asked.json_object()
        allow = body.get("allow")
        if not isinstance(allow, bool):
            raise ApiError("bad_request", "allow must be true or false.", field="allow")
        scene, code = required_text(body, "scene", MAX_CODE), required_text(body, "code", MAX_CODE)
        state = await self.mini_program.confirm(scene, code, allow, self.asked.address)
        self.write_json({"state": state.value})
