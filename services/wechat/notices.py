"""The login notice: one template message after each login, whose failure changes nothing.

Facts: WeChat's page "Send template message": category templates with typed keys (``thing1``,
``time2``) whose values are checked for kind and length (47003), no ``first``, ``remark`` or
colours any more; the same client_msg_id to the same person is sent once within ten minutes.
"""

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from services.errors import StoreUnavailable, WeChatError, WeChatRefused
from services.ids import OpenId, SceneStr
from services.tasks import Supervisor
from services.wechat.official_account import OfficialAccountClient
from services.wechat.replies import BEIJING, inert

log = logging.getLogger("scanpush.notices")

MOST_IN_FLIGHT = 200
"""Notices in flight; more are dropped with a warning: logins go before."""

LONGEST: Mapping[str, int] = MappingProxyType(
    {
        "thing": 20,
        "short_thing": 5,
        "phrase": 5,
        "name": 10,
        "character_string": 32,
        "letter": 32,
        "number": 32,
        "symbol": 5,
        "const": 20,
        "time": 32,
        "date": 32,
        "phone_number": 17,
        "car_number": 8,
        "amount": 16,
    }
)
"""Longest value of each type of key, in characters."""

_KEY = re.compile(r"([a-z_]+?)_?[0-9]*")
_ASCII_TYPES = frozenset({"character_string", "letter", "number", "phone_number"})


def fill(fields: Mapping[str, str], **values: str) -> dict[str, str]:
    """The data of a notice: each field's text with its placeholders filled in, fit for its key.

    A value is cut to what its type allows, and never empty, since WeChat refuses the whole
    message otherwise. Values are plain text: braces inside them mean nothing.
    """
    data = {}
    for key, text in fields.items():
        value = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)
        found = _KEY.fullmatch(key)
        kind = found[1] if found else ""
        if kind in _ASCII_TYPES:
            value = "".join(c for c in value if c.isascii())
        data[key] = inert(value, LONGEST.get(kind, 20)) or "-"
    return data


def notice_time(now: float) -> str:
    """`now` in the form that keys of type time and date take, in `BEIJING`."""
    at = datetime.fromtimestamp(now, BEIJING)
    return f"{at.year}年{at.month}月{at.day}日 {at:%H:%M}"


class Notices:
    """Sends one account's login notices.

    Args:
        template_id: as the account's console shows it.
        fields: key of the template to text, from the settings.
        site: what ``{site}`` stands for.
    """

    def __init__(
        self,
        api: OfficialAccountClient,
        supervisor: Supervisor,
        *,
        template_id: str,
        fields: Mapping[str, str],
        site: str,
    ) -> None:
        self._api = api
        self._supervisor = supervisor
        self._template_id = template_id
        self._fields = fields
        self._site = site
        self._in_flight = 0

    def send_later(self, openid: OpenId, scene_str: SceneStr, name: str, now: float) -> None:
        """Send the notice of this login in the background. Never raises, never waits."""
        if self._in_flight >= MOST_IN_FLIGHT:
            log.warning("login notice dropped: %d are in flight", self._in_flight)
            return
        data = fill(self._fields, site=self._site, time=notice_time(now), name=name)
        self._in_flight += 1
        self._supervisor.spawn(self._send(openid, scene_str, data), name="login notice")

    async def _send(self, openid: OpenId, scene_str: SceneStr, data: Mapping[str, str]) -> None:
        try:
            # The scene is the login: a repeat of it, also on another node, is sent once.
            msgid = await self._api.send_template(
                openid, self._template_id, data, scene_str.replace("-", "")
            )
        except (WeChatError, StoreUnavailable) as error:
            errcode = error.errcode if isinstance(error, WeChatRefused) else None
            log.warning(
                "login notice not accepted: %s",
                error,
                extra={"scene_str": scene_str, "errcode": errcode},
            )
        else:
            log.info("login notice accepted", extra={"scene_str": scene_str, "msgid": msgid})
        finally:
            self._in_flight -= 1
