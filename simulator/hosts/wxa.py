"""api.weixin.qq.com, ``/wxa``: mini-program codes, phone numbers, sessions."""

import re
from typing import Any
from urllib.parse import urlencode

from simulator.config import SimulatedAccount, SimulatedApp
from simulator.credentials import PHONE_NUMBER
from simulator.hosts.base import CredentialHandler
from simulator.pictures import qr_jpeg, qr_png
from simulator.refusals import Refusal

_SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]+")
MAX_SCENE = 32


class MiniProgramHandler(CredentialHandler):
    """An interface for mini programs; other apps are not granted it."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if app.app_id not in self.world.mini_program_apps:
            raise Refusal(48001)
        await self.call_for_mini_program(self.world.mini_program_apps[app.app_id])

    async def call_for_mini_program(self, app: SimulatedApp) -> None:
        """Do what the interface does for this mini program."""
        raise NotImplementedError


class UnlimitedCodeHandler(MiniProgramHandler):
    """``POST /wxa/getwxacodeunlimit``: a picture, or JSON for an error."""

    method = "POST"

    async def call_for_mini_program(self, app: SimulatedApp) -> None:
        # This interface has an errcode of its own for a body that is no JSON.
        try:
            arguments = self.json_body()
        except Refusal:
            raise Refusal(40169) from None
        scene, page = _scene(arguments), _page(arguments, app)
        if arguments.get("env_version", "release") not in ("release", "trial", "develop"):
            raise Refusal(40097)
        width = arguments.get("width", 430)
        if type(width) is not int or not 280 <= width <= 1280:
            raise Refusal(40097)
        query = urlencode({"scene": scene} | ({"page": page} if page else {}))
        # An ordinary QR code, not WeChat's round one: any camera leads to the simulated page.
        content = f"{self.world.phone_base}/m/{app.app_id}?{query}"
        if arguments.get("is_hyaline") is True:
            self.give(qr_png(content, width, transparent=True), "image/png")
        else:
            self.give(qr_jpeg(content, width), "image/jpeg")


def _scene(arguments: dict[str, Any]) -> str:
    scene = arguments.get("scene")
    if not isinstance(scene, str) or not scene:
        raise Refusal(40129)
    if len(scene) > MAX_SCENE:
        raise Refusal(40169)
    # "&" is listed as legal and refused all the same (a community thread).
    if _SCENE.fullmatch(scene) is None or "&" in scene:
        raise Refusal(40129)
    return scene


def _page(arguments: dict[str, Any], app: SimulatedApp) -> str:
    page = arguments.get("page", "")
    if not isinstance(page, str) or page.startswith("/") or "?" in page:
        raise Refusal(41030)
    # Without a list of pages every page counts as published.
    published = not app.pages or page in app.pages
    if page and arguments.get("check_path", True) and not published:
        raise Refusal(41030)
    return page


class PhoneNumberHandler(MiniProgramHandler):
    """``POST /wxa/business/getuserphonenumber``."""

    method = "POST"

    async def call_for_mini_program(self, app: SimulatedApp) -> None:
        code = str(self.json_body().get("code", ""))
        # The scope keeps a wx.login code from being exchanged for a number.
        person = self.world.grants.redeem(app.app_id, code, PHONE_NUMBER).person
        self.answer(
            {
                "errcode": 0,
                "errmsg": "ok",
                "phone_info": {
                    "phoneNumber": person.phone_number,
                    "purePhoneNumber": person.phone_number,
                    "countryCode": "86",
                    "watermark": {
                        "timestamp": int(self.world.clock.now()),
                        "appid": app.app_id,
                    },
                },
            }
        )


class CheckSessionHandler(MiniProgramHandler):
    """``GET /wxa/checksession``."""

    async def call_for_mini_program(self, app: SimulatedApp) -> None:
        openid = self.get_query_argument("openid", "")
        person = self.world.people.by_openid(app.app_id, openid)
        if person is None:
            raise Refusal(40003)
        signature = self.get_query_argument("signature", "")
        if self.get_query_argument("sig_method", "") != "hmac_sha256":
            raise Refusal(40097)
        if not self.world.mini_programs.session_matches(person, app, signature):
            raise Refusal(87009)
        self.answer({"errcode": 0, "errmsg": "ok"})
