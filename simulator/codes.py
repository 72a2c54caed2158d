"""Parametric QR codes, which qrcode/create makes and a phone scans, and short links.

Facts: WeChat's pages "Generating a parametric QR code", "Long link to short link" and "Short key
hosting" (shorten/gen).
"""

import base64
import random
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from simulator.clock import TurnableClock
from simulator.identifiers import url_safe
from simulator.refusals import Refusal
from simulator.state import State

MAX_EXPIRE_SECONDS = 2_592_000
DEFAULT_EXPIRE_SECONDS = 60
MAX_PERMANENT_CODES = 100_000
MAX_SCENE_ID = 2**32 - 1
MAX_PERMANENT_SCENE_ID = 100_000
KEPT_AFTER_EXPIRY_SECONDS = 600

_TEMPORARY = ("QR_SCENE", "QR_STR_SCENE")
_PERMANENT = ("QR_LIMIT_SCENE", "QR_LIMIT_STR_SCENE")
_NUMERIC = ("QR_SCENE", "QR_LIMIT_SCENE")


@dataclass(frozen=True)
class Code:
    """One parametric code. `expires_at` is None for a permanent one."""

    code_id: str
    ticket: str
    app_id: str
    scene: str
    numeric: bool
    expire_seconds: int
    expires_at: float | None

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class Codes:
    """All codes of all accounts, forgotten ten minutes after their end."""

    def __init__(self, clock: TurnableClock, rng: random.Random, state: State) -> None:
        self._clock = clock
        self._rng = rng
        self._state = state
        self._by_id: dict[str, Code] = {}
        self._by_ticket: dict[str, Code] = {}
        self._latest: dict[str, Code] = {}
        self._permanent: dict[tuple[str, str], Code] = {}
        self._ends: deque[Code] = deque()
        for document in state.documents("codes").values():
            self._enter(Code(**document))
        self._forget_old()

    def create(self, app_id: str, request: Mapping[str, Any]) -> Code:
        """Make the code that `request` (the JSON of qrcode/create) asks for.

        Raises:
            Refusal: as WeChat refuses: 40052, 40053, 40097, 45029.
        """
        self._forget_old()
        action = request.get("action_name")
        if action not in (*_TEMPORARY, *_PERMANENT):
            raise Refusal(40052)
        numeric = action in _NUMERIC
        scene = _scene(request, action)
        # A permanent code has no use for expire_seconds, so it is not even checked.
        if action in _PERMANENT:
            return self._permanent_code(app_id, scene, numeric)
        expire = request.get("expire_seconds", DEFAULT_EXPIRE_SECONDS)
        # `type`, not isinstance: JSON's true is an int to Python, and a wrong type to WeChat.
        if type(expire) is not int or not 1 <= expire <= MAX_EXPIRE_SECONDS:
            raise Refusal(40097)
        return self._new(app_id, scene, numeric, expire, self._clock.now() + expire)

    def _permanent_code(self, app_id: str, scene: str, numeric: bool) -> Code:
        # The same scene gives the same code again, which does not count towards the limit.
        known = self._permanent.get((app_id, scene))
        if known is not None:
            return known
        if sum(1 for owner, _ in self._permanent if owner == app_id) >= MAX_PERMANENT_CODES:
            raise Refusal(45029, "qrcode count out of limit")
        return self._new(app_id, scene, numeric, 0, None)

    def _new(
        self, app_id: str, scene: str, numeric: bool, expire: int, expires_at: float | None
    ) -> Code:
        code_id = "02" + url_safe(self._rng, 20)
        ticket = _ticket(app_id, code_id, int(self._clock.now()), expire)
        code = Code(code_id, ticket, app_id, scene, numeric, expire, expires_at)
        self._enter(code)
        self._state.put("codes", code_id, asdict(code))
        return code

    def _enter(self, code: Code) -> None:
        self._by_id[code.code_id] = self._by_ticket[code.ticket] = self._latest[code.scene] = code
        if code.expires_at is None:
            self._permanent[code.app_id, code.scene] = code
        else:
            # Permanent codes are never forgotten, so only temporary ones are queued for it.
            self._ends.append(code)

    def by_id(self, code_id: str) -> Code | None:
        return self._by_id.get(code_id)

    def by_ticket(self, ticket: str) -> Code | None:
        return self._by_ticket.get(ticket)

    def by_scene(self, scene: str) -> Code | None:
        """The newest code of this scene, of any account."""
        return self._latest.get(scene)

    def _forget_old(self) -> None:
        """Drop what expired long ago. Ends are only roughly sorted, which is enough."""
        horizon = self._clock.now() - KEPT_AFTER_EXPIRY_SECONDS
        while self._ends and self._ends[0].expired(horizon):
            code = self._ends.popleft()
            del self._by_id[code.code_id], self._by_ticket[code.ticket]
            self._state.drop("codes", code.code_id)
            if self._latest.get(code.scene) is code:
                del self._latest[code.scene]


def _scene(request: Mapping[str, Any], action: str) -> str:
    """The scene as text: ``scene_id`` or ``scene_str``, as the action wants it."""
    info = request.get("action_info")
    scene = info.get("scene") if isinstance(info, dict) else None
    if not isinstance(scene, dict):
        raise Refusal(40053)
    if action in _NUMERIC:
        number = scene.get("scene_id")
        if type(number) is not int or number < 1:
            raise Refusal(40053)
        if action == "QR_LIMIT_SCENE" and number > MAX_PERMANENT_SCENE_ID:
            raise Refusal(40053)
        # A number over 32 bits came back as 4294967295 (threads of that time).
        return str(min(number, MAX_SCENE_ID))
    text = scene.get("scene_str")
    if not isinstance(text, str) or not 1 <= len(text) <= 64:
        raise Refusal(40053)
    return text


def _ticket(app_id: str, code_id: str, created: int, expire: int) -> str:
    """96 characters in the shape of real tickets: anyone can decode one, so it is no secret."""
    account = int.from_bytes(app_id.encode()[-8:], "little")
    url = f"http://weixin.qq.com/q/{code_id}".encode() + b"\0"
    # Tag, length, value: what a real ticket decodes to.
    fields = [(1, url), (2, struct.pack("<I", created)), (3, struct.pack("<I", expire))]
    raw = b"\x81\x01" + account.to_bytes(10, "little")
    raw += b"".join(bytes([tag, len(value)]) + value for tag, value in fields)
    return base64.b64encode(raw).decode("ascii")


MAX_SHORT_SECONDS = 2_592_000
MAX_LONG_DATA = 4_096
SHORT_LINKS = "https://w.url.cn/s/"


class ShortLinks:
    """Long texts by a short key (shorten/gen), for at most thirty days."""

    def __init__(self, clock: TurnableClock, rng: random.Random, state: State) -> None:
        self._clock = clock
        self._rng = rng
        self._state = state
        self._links: dict[str, dict[str, Any]] = state.documents("short_links")

    def shorten(self, app_id: str, long_data: object, expire_seconds: object) -> str:
        """The key of this text.

        Raises:
            Refusal: 40097 for no text, a text over four kilobytes, or a life over thirty days.
        """
        # `type`, not isinstance: JSON's true is an int to Python, and a wrong type to WeChat.
        if type(expire_seconds) is not int or not 1 <= expire_seconds <= MAX_SHORT_SECONDS:
            raise Refusal(40097)
        if not isinstance(long_data, str) or not 1 <= len(long_data.encode()) <= MAX_LONG_DATA:
            raise Refusal(40097)
        key = url_safe(self._rng, 15)
        created = int(self._clock.now())
        link = {
            "app_id": app_id,
            "long_data": long_data,
            "create_time": created,
            "expire_seconds": expire_seconds,
        }
        self._links[key] = link
        self._state.put("short_links", key, link)
        return key

    def fetch(self, app_id: str, key: object) -> dict[str, Any]:
        """The text of this key, its time of creation and the rest of its life.

        Raises:
            Refusal: 40097 for a key that is unknown, another app's or over.
        """
        link = self._links.get(key) if isinstance(key, str) else None
        if link is None or link["app_id"] != app_id:
            raise Refusal(40097)
        left = link["create_time"] + link["expire_seconds"] - int(self._clock.now())
        if left <= 0:
            raise Refusal(40097)
        return {
            "long_data": link["long_data"],
            "create_time": link["create_time"],
            "expire_seconds": left,
        }
