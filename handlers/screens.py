"""``/api/kiosks/pair``, by which a screen becomes one of the operator's, and what the operator does
with screens. All of it is 404 where no ``operator.token`` is set."""

import re
from collections.abc import Mapping
from typing import Any

from handlers.api_request import optional_text, required_text
from handlers.base import BaseHandler
from handlers.operator import OperatorHandler
from services.errors import ApiError
from services.screens.care import ScreenCare
from services.screens.pairing import Pairings
from services.settings.fields import NAME_PATTERN

LONGEST_LABEL = 64
LONGEST_NOTICE = 200

RESERVED = "pair"
"""No screen has this name: at its address the operator pairs."""


class PairingHandler(BaseHandler):
    """What a screen without a secret asks."""

    @property
    def pairings(self) -> Pairings:
        if self.container.pairings is None:
            raise ApiError("not_found", "There is nothing here: operator.token is not set.")
        return self.container.pairings


class PairHandler(PairingHandler):
    """``POST`` and ``GET /api/kiosks/pair``: a screen asks for a code, then for its name."""

    async def post(self) -> None:
        pairings = self.pairings
        self.asked.refuse_foreign_origin()
        user_agent = self.asked.headers.get("User-Agent", "")
        self.set_status(201)
        self.write_json(await pairings.begin(self.asked.address, user_agent))

    async def get(self) -> None:
        again = self.get_query_argument("again", "") == "1"
        paired = await self.pairings.poll(self.asked.bearer(), again=again)
        if paired is None:
            self.set_status(202)
        self.write_json(self.pairings.waiting if paired is None else paired)


class PairPictureHandler(PairingHandler):
    """``GET /api/kiosks/pair/qr.svg``: the QR code of a pending pairing, for screens whose
    engine is too old to draw it: the address at which the operator names the screen."""

    async def get(self) -> None:
        code = await self.pairings.code_of(self.asked.bearer(), self.asked.address)
        address = f"{self.asked.own_origin}/operator#pair={code}"
        self.set_header("Content-Type", "image/svg+xml")
        self.finish(await self.container.pictures.draw(address, "svg"))


class ScreensOperatorHandler(OperatorHandler):
    """What the operator asks about screens, and what they do with them."""

    @property
    def pairings(self) -> Pairings:
        assert self.container.pairings is not None  # there is a token, as `prepare` has seen
        return self.container.pairings

    @property
    def care(self) -> ScreenCare:
        assert self.container.screen_care is not None
        return self.container.screen_care


class OperatorPairHandler(ScreensOperatorHandler):
    """``GET /api/operator/kiosks/pair?code=``: who asks; ``POST``: give it a name."""

    parameters = ("code",)

    async def get(self) -> None:
        code = self.get_query_argument("code", "")
        self.write_json(await self.pairings.pending(code, self.asked.address))

    async def post(self) -> None:
        body = self.asked.json_object()
        paired = await self.pairings.pair(
            required_text(body, "code", 64),
            self.asked.address,
            name=_name(body),
            label=(optional_text(body, "label", LONGEST_LABEL) or "").strip(),
            keypad=_flag(body, "keypad") or False,
        )
        self.set_status(201)
        self.write_json(paired)


class KiosksHandler(ScreensOperatorHandler):
    """``GET /api/operator/kiosks``: every screen, and when it was seen."""

    async def get(self) -> None:
        self.write_json(await self.care.list())


class KioskHandler(ScreensOperatorHandler):
    """``PATCH`` and ``DELETE /api/operator/kiosks/<name>``: change a paired screen; revoke it."""

    async def patch(self, name: str) -> None:
        body, changes = self.asked.json_object(), dict[str, Any]()
        label, keypad = optional_text(body, "label", LONGEST_LABEL), _flag(body, "keypad")
        if label is not None:
            changes["label"] = label.strip()
        if keypad is not None:
            changes["keypad"] = keypad
        if body.get("name") is not None:
            changes["name"] = _name(body)
        if not changes:
            raise ApiError("bad_request", "label, name or keypad is missing.", field="label")
        await self.care.change(name, changes)
        self.set_status(204)

    async def delete(self, name: str) -> None:
        await self.care.revoke(name)
        self.set_status(204)


class KioskReloadHandler(ScreensOperatorHandler):
    """``POST /api/operator/kiosks/<name>/reload``: its page loads itself again."""

    async def post(self, name: str) -> None:
        await self.care.reload(name)
        self.set_status(204)


class KioskNoticeHandler(ScreensOperatorHandler):
    """``POST /api/operator/kiosks/<name>/notice``: its page shows a line, or with "" no more."""

    async def post(self, name: str) -> None:
        text = optional_text(self.asked.json_object(), "text", LONGEST_NOTICE)
        if text is None:
            raise ApiError("bad_request", "text is missing.", field="text")
        await self.care.notice(name, " ".join(text.split()))
        self.set_status(204)


class KioskSecretHandler(ScreensOperatorHandler):
    """``POST /api/operator/kiosks/<name>/secret``: a second secret, shown once."""

    async def post(self, name: str) -> None:
        secret = await self.care.new_secret(name)
        self.set_status(201)
        self.write_json(secret)


def _name(body: dict[str, Any]) -> str:
    name = required_text(body, "name", 64)
    if not re.fullmatch(NAME_PATTERN, name) or name == RESERVED:
        problem = "name must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit"
        raise ApiError("bad_request", f"{problem}, and not {RESERVED}.", field="name")
    return name


def _flag(body: Mapping[str, Any], field: str) -> bool | None:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise ApiError("bad_request", f"{field} must be true or false.", field=field)
    return value
