"""The body of a callback: from untrusted bytes to fields, from fields to an event.

Pure. `document` reads XML, or JSON where the console is set so, under strict bounds; `parse` makes
an event of the fields. xmltodict builds the record; where anything could hurt it, one pass of
expat before that refuses it (OWASP's page on XML external entities: entity bombs work on Python's
own parsers). The body decides nothing about its own authenticity: that is `callback.CallbackGate`'s
part, before `parse` is called.

Facts: WeChat's pages "Receiving event pushes", "Receiving standard messages" and "Consent
revocation"; wechatpy#178 (EventKey may be a trade number), Eric-Guo/wechat#55 (lower-case SCAN).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from xml.parsers import expat

import xmltodict

from services.errors import ScanpushError
from services.ids import AppId, OpenId, UnionId

MAX_DEPTH = 8
"""Deepest nesting accepted; WeChat's own deepest message has four levels."""

MAX_ELEMENTS = 200
"""Most elements accepted; WeChat's own largest message has some thirty."""

MAX_EVENT_KEY = 2048
"""Longest EventKey accepted, in characters: a menu's URL may have 1,024 bytes."""

SCENE_PREFIX = "qrscene_"
"""What stands before the scene when the person follows by the scan, and only then."""

Fields = Mapping[str, Any]
"""One body's fields by name: text, or (JSON) numbers, or nested things that nothing here reads."""

_BOM = b"\xef\xbb\xbf"
_NAME = re.compile(r"[A-Za-z0-9_@.\-]{1,128}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_LONG_KEY = 128


class EventError(ScanpushError):
    """A body that is not what WeChat sends. The text names the problem, never the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all callbacks have in common. Nothing of it depends on the account that was called."""

    openid: OpenId
    """The person, or for an account's own event the sender WeChat names."""
    to_user: str
    """The account's gh_ id: the sender of the reply."""
    created: int
    """CreateTime, unix seconds."""
    msg_type: str
    """``event`` or the kind of message, in lower case."""
    event: str = ""
    """The event's name in lower case; empty for a message."""
    event_key: str = ""
    scene: str | None = None
    """The scene that was scanned, as it stands in the code; None without a code."""
    msg_id: str = ""

    def outcome_key(self, app_id: AppId) -> str:
        """The same for every delivery of one callback, and for no other of this account."""
        # CreateTime alone collides within a second, and MsgId between people (WxJava#333, #2705),
        # so an event counts with its name and EventKey, and a message with its sender.
        if not self.event and self.msg_id:
            return f"{app_id}|{self.openid}|{self.msg_id}"
        key = self.event_key or self.msg_id
        if len(key) > _LONG_KEY:
            key = hashlib.sha256(key.encode()).hexdigest()
        return f"{app_id}|{self.openid}|{self.created}|{self.event or self.msg_type}|{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanEvent(Event):
    """A follower scanned a parametric code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeEvent(Event):
    """A person follows now; with a scene when a parametric code led to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeEvent(Event):
    """A person follows no longer; WeChat asks that their data be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage(Event):
    """A text written in the account's chat."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateResult(Event):
    """What became of a template message (`msg_id` is what sending it answered)."""

    status: str
    """``success``, ``failed:user block`` or ``failed: system failed``."""

    @property
    def delivered(self) -> bool:
        return self.status == "success"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRevoked(Event):
    """A person took back what they granted to web pages, or closed their WeChat account.

    `openid` is the person (the field OpenID: FromUserName is a WeChat service here).
    """

    app_id: AppId | None
    """For which app_id, where WeChat says so; check it against the account's."""
    unionid: UnionId | None
    revoke_info: str
    """WeChat's numbers of what was taken back; empty for a closed account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent(Event):
    """Everything that is no part of a login: menus, locations, pictures, ..."""


def parse(body: bytes) -> Event:
    """The event or message in a verified, decrypted body.

    Raises:
        EventError: a field that every callback has is missing, double, or not of its kind.
    """
    fields = document(body)
    msg_type = text(fields, "MsgType", 64).lower()
    common: dict[str, Any] = {
        "openid": OpenId(_name(fields, "FromUserName")),
        "to_user": _name(fields, "ToUserName"),
        "created": _number(fields, "CreateTime"),
        "msg_type": msg_type,
        "msg_id": text(fields, "MsgId", 64) or text(fields, "MsgID", 64),
    }
    if msg_type == "text":
        return TextMessage(**common, text=text(fields, "Content"))
    if msg_type != "event":
        return OtherEvent(**common)
    event = text(fields, "Event", 128).lower()
    key = text(fields, "EventKey", MAX_EVENT_KEY)
    common |= {"event": event, "event_key": key}
    match event:
        case "scan":
            return ScanEvent(**common, scene=key or None)
        case "subscribe":
            # Only the prefix makes it a scan: EventKey may be present and empty, or a trade number.
            scene = key.removeprefix(SCENE_PREFIX) if key.startswith(SCENE_PREFIX) else ""
            return SubscribeEvent(**common, scene=scene or None)
        case "unsubscribe":
            return UnsubscribeEvent(**common)
        case "templatesendjobfinish":
            return TemplateResult(**common, status=text(fields, "Status", 256))
        case "user_authorization_revoke" | "user_authorization_cancellation":
            if "OpenID" in fields:
                common["openid"] = OpenId(_name(fields, "OpenID"))
            return ConsentRevoked(
                **common,
                app_id=AppId(text(fields, "AppID", 64)) or None,
                unionid=UnionId(text(fields, "UnionID", 128)) or None,
                revoke_info=text(fields, "RevokeInfo", 256),
            )
    return OtherEvent(**common)


def _name(fields: Fields, field: str) -> str:
    value = text(fields, field, 128)
    if _NAME.fullmatch(value) is None:
        raise EventError(f"{field} is missing or no WeChat name")
    return value


def _number(fields: Fields, field: str) -> int:
    value = text(fields, field, 20)
    if _NUMBER.fullmatch(value) is None:
        raise EventError(f"{field} is missing or no number")
    return int(value)


def document(body: bytes) -> Fields:
    """The fields of one body, XML or JSON by its first non-blank byte.

    A DOCTYPE or an entity declaration, another encoding than UTF-8, nesting over `MAX_DEPTH` and
    more than `MAX_ELEMENTS` elements are refused, all but the nesting before a tree is built. The
    caller bounds the length (64 KiB for a callback).

    Raises:
        EventError: anything else than one flat or shallow record.
    """
    body = body.removeprefix(_BOM)
    first = body.lstrip(b" \t\r\n")[:1]
    if first == b"<":
        return _from_xml(body)
    if first == b"{":
        return _from_json(body)
    raise EventError("neither XML nor JSON")


def text(fields: Fields, name: str, longest: int | None = None) -> str:
    """The text of one field; empty when it is absent or empty.

    Raises:
        EventError: it stands there twice, holds elements, is too long or is no proper text.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        raise EventError(f"{name} is not one short text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            # JSON can spell half a surrogate pair, which no store would take.
            raise EventError(f"{name} is not proper Unicode") from None
    return value


def _from_xml(body: bytes) -> Fields:
    # What `_Guard` refuses begins with these bytes. Both passes read the body as UTF-8, so they
    # stand there as they are or not at all. Nesting is not seen here, but with so few elements a
    # deep tree is a small one, and refused once it is built.
    guarded = b"<!DOCTYPE" in body or b"<?" in body or body.count(b"<") > MAX_ELEMENTS
    if guarded:
        _Guard().check(body)
    try:
        root = xmltodict.parse(body, encoding="UTF-8", xml_attribs=False, disable_entities=True)
    except (expat.ExpatError, ValueError):
        raise EventError("not well-formed XML in UTF-8") from None
    fields = root.get("xml")
    if not isinstance(fields, dict):
        raise EventError("no record named xml")
    if not guarded and any(isinstance(value, dict | list) for value in fields.values()):
        _Guard().check(body)
    return fields


class _Guard:
    """A first pass over XML that builds nothing and refuses what could hurt the second."""

    def __init__(self) -> None:
        self._depth = 0
        self._elements = 0

    def check(self, body: bytes) -> None:
        # Naming the encoding overrides the declaration, so that both passes read the same.
        parser = expat.ParserCreate("UTF-8")
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(body, True)
        except expat.ExpatError:
            raise EventError("not well-formed XML in UTF-8") from None

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
            raise EventError("not declared as UTF-8")

    def _refuse_doctype(self, *args: object) -> NoReturn:
        raise EventError("a document type or entity declaration")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise EventError("too deep or too many elements")

    def _end(self, name: str) -> None:
        self._depth -= 1


def _from_json(body: bytes) -> Fields:
    try:
        # It begins with a brace, so what comes out is a record.
        record: dict[str, Any] = json.loads(
            body.decode(), object_pairs_hook=_no_doubles, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise EventError("not JSON in UTF-8, or too deep") from None
    return record


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise EventError("a field stands there twice")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise EventError("a number that JSON does not have")
