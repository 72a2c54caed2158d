"""``/api/miniprogram/...``: what a mini program sends (design 4.7)."""

from typing import Any

from handlers.base import BaseHandler, optional_text
from services.errors import ApiError
from services.web_login.mini_program import MiniProgramLogin

MAX_CODE = 512


class MiniProgramHandler(BaseHandler):
    """A request with a ``wx.login`` code."""

    def prepare(self) -> None:
        super().prepare()
        self.refuse_foreign_origin()

    @property
    def door(self) -> MiniProgramLogin:
        door = self.container.doors.mini_program
        if door is None:
            raise ApiError("not_found", "There is no mini program here.")
        return door


class MiniProgramLoginHandler(MiniProgramHandler):
    """``POST /api/miniprogram/login {"code"}``: the mini program's own login."""

    async def post(self) -> None:
        body = self.json_object()
        account = optional_text(body, "account")
        login = await self.door.log_in(_text(body, "code"), account, self.address)
        self.write_json({"login": login})


class MiniProgramScanHandler(MiniProgramHandler):
    """``POST /api/miniprogram/scan {"scene", "code"}``: the program was opened by a code."""

    async def post(self) -> None:
        body = self.json_object()
        scene, code = _text(body, "scene"), _text(body, "code")
        state = await self.door.scan(scene, code, self.address)
        self.write_json({"state": state.value})


class MiniProgramConfirmHandler(MiniProgramHandler):
    """``POST /api/miniprogram/confirm {"scene", "code", "allow"}``: the person decides."""

    async def post(self) -> None:
        body = self.json_object()
        allow = body.get("allow")
        if not isinstance(allow, bool):
            raise ApiError("bad_request", "allow must be true or false.", field="allow")
        scene, code = _text(body, "scene"), _text(body, "code")
        state = await self.door.confirm(scene, code, allow, self.address)
        self.write_json({"state": state.value})


def _text(body: dict[str, Any], field: str) -> str:
    text = optional_text(body, field, MAX_CODE)
    if not text:
        raise ApiError("bad_request", f"{field} is missing.", field=field)
    return text
