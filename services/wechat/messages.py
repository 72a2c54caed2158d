"""The body of a callback: from untrusted bytes to fields, from fields to an event.

Pure. `document` reads XML, or JSON where the console is set so, under strict bounds; `parse` makes
an event of the fields. xmltodict builds the record; where anything could hurt it, one pass of
expat before that refuses it (OWASP's page on XML external entities: entity bombs work on Python's
own parsers). The body decides nothing about its own authenticity: that is `callback.CallbackGate`'s
part, before `parse` is called.

Two promises meet in `parse`. WeChat stops calling an account whose server answers with errors, so
what followers write must not lead to one: every verified body is an event, at worst `Unreadable`.
And a text that a person wrote never supplies a field: WeChat puts it into CDATA as it is, so a text
that ends the CDATA can spell elements, and where one does, the whole body is `Unreadable`.

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
from xml.sax.saxutils import escape  # nosec B406  # it writes, and parses nothing

import xmltodict

from services.errors import ScanpushError
from services.ids import AppId, OpenId, UnionId

MAX_DEPTH = 8
"""Deepest nesting that is read; WeChat's own deepest message has four levels."""

MAX_ELEMENTS = 2_000
"""Most elements that are read: some 2 ms. Lists of subscribe messages have hundreds."""

MAX_TEXT = 200
"""Longest text of a message that can be an answer or a code, in characters."""

SCENE_PREFIX = "qrscene_"
"""What stands before the scene when the person follows by the scan, and only then."""

Fields = Mapping[str, Any]
"""One body's fields by name: text, or (JSON) numbers, or nested things that nothing here reads."""

AROUND = bytes(range(33)) + bytes(range(0x7F, 0x100))
"""What relays leave around a document: blanks in ASCII and beyond, NULs, other controls, byte order
marks. A document begins and ends with a character of none of these bytes."""

_NAME = re.compile(r"[A-Za-z0-9_@.\-]{1,128}")
_LONG_KEY = 128
_REVOKES = ("user_authorization_revoke", "user_authorization_cancellation")
_FLAT = ("scan", "subscribe", "unsubscribe", "templatesendjobfinish", *_REVOKES)
"""Events that mean something to the server. None of them has elements within its fields."""

_MOST_SECONDS = 1e11
"""Beyond the year 5000: a CreateTime from here on counts milliseconds."""

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What a document may not hold (XML 1.0, section 2.2)."""

_CDATA_OR_SPOILT = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos);)|\]\]>", re.DOTALL
)
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})|\\')
_ENCRYPT = re.compile(
    rb'(?:<Encrypt>\s*(?:<!\[CDATA\[\s*)?|"Encrypt"\s*:\s*")([A-Za-z0-9+/=\\]{44,})'
)
"""In safe mode's envelope. The shortest ciphertext has 32 bytes."""

_FIELD = (
    r"<{0}>\s*(?:<!\[CDATA\[)?([A-Za-z0-9_@.\-]{{1,128}})(?:\]\]>)?\s*</{0}>"
    r'|"{0}"\s*:\s*(?:"([A-Za-z0-9_@.\-]{{1,128}})"|([0-9]{{1,20}}))\s*[,}}]'
)


class EventError(ScanpushError):
    """A body that cannot be read. The text names the problem, never the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all callbacks have in common. Nothing of it depends on the account that was called."""

    openid: OpenId
    """The person, or for an account's own event the sender WeChat names."""
    to_user: str
    """The account's gh_ id: the sender of the reply. Empty where it cannot be read: no reply."""
    created: int
    """CreateTime, unix seconds; where it cannot be read, the time that WeChat signed."""
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
        key = self.event_key or self.msg_id
        if len(key) > _LONG_KEY:
            key = hashlib.sha256(key.encode()).hexdigest()
        if not self.event and self.msg_id:
            return f"{app_id}|{self.openid}|{key}"
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
    """Empty when it has more than `MAX_TEXT` characters: no answer is as long, no code either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(TextMessage):
    """A body of which at most sender, time and kind are known: a text that is no answer.

    `openid`, `to_user` and `msg_type` are empty where they are not known beyond doubt.
    """

    problem: str
    """Why, in a few fixed words."""


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


def parse(body: bytes, sent: int = 0) -> Event:
    """The event or message in a verified, decrypted body; `Unreadable` rather than an error.

    What is not needed may be spoilt: a scan is a scan whatever its other fields hold.

    Args:
        sent: the timestamp that WeChat signed, unix seconds.
    """
    try:
        try:
            fields = document(body)
        except EventError:
            if is_json(body):
                raise
            fields = _from_xml(_mended(body))
        return _event(fields, sent)
    except EventError as problem:
        return unreadable(body, sent, str(problem))


def unreadable(body: bytes, sent: int, problem: str) -> Unreadable:
    """What can be said of a body that cannot be read."""
    number = _lone(body, "CreateTime")
    return Unreadable(
        openid=OpenId(_lone(body, "FromUserName")),
        to_user=_lone(body, "ToUserName"),
        created=_created({"CreateTime": number}, sent),
        msg_type=_lone(body, "MsgType").lower(),
        msg_id=_lone(body, "MsgId") or hashlib.sha256(body).hexdigest(),
        text="",
        problem=problem,
    )


def _lone(body: bytes, name: str) -> str:
    """The value of a field whose name stands in its own tags and nowhere else, or empty.

    A text that spells the field makes it unknown: which of the two WeChat wrote is not decidable.
    """
    if not 0 < body.count(name.encode()) <= 2:
        return ""
    found = re.search(_FIELD.format(name).encode(), body)
    if found is None or found[0].count(name.encode()) != body.count(name.encode()):
        return ""
    return (found[1] or found[2] or found[3]).decode()


def _event(fields: Fields, sent: int) -> Event:
    msg_type = text(fields, "MsgType", 64).lower()
    event = text(fields, "Event", 128).lower() if msg_type == "event" else ""
    if isinstance(fields, _Nested) and (msg_type == "text" or event in _FLAT):
        # Two texts can wrap what is between them, and so hide that they supply a field.
        raise EventError("a text or another field holds elements")
    # Consent is taken back by the person in OpenID; FromUserName is a WeChat service there.
    revokes = event in _REVOKES
    sender = text(fields, "OpenID" if revokes and "OpenID" in fields else "FromUserName", 128)
    if _NAME.fullmatch(sender) is None:
        raise EventError("the sender is missing or no WeChat name")
    to_user = _any_text(fields, "ToUserName")
    common: dict[str, Any] = {
        "openid": OpenId(sender),
        "to_user": to_user if _NAME.fullmatch(to_user) else "",
        "created": _created(fields, sent),
        "msg_type": msg_type,
        "event": event,
    }
    if event in ("scan", "subscribe"):
        # Some languages write an absent text as a truth, a list or a record: no scene, then.
        key = _any_text(fields, "EventKey")
        if event == "scan":
            return ScanEvent(**common, event_key=key, scene=key or None)
        # Only the prefix makes it a scan: EventKey may be present and empty, or a trade number.
        scene = key.removeprefix(SCENE_PREFIX) if key.startswith(SCENE_PREFIX) else ""
        return SubscribeEvent(**common, event_key=key, scene=scene or None)
    common["msg_id"] = _any_text(fields, "MsgId") or _any_text(fields, "MsgID")
    if msg_type == "text":
        content = text(fields, "Content")
        return TextMessage(**common, text=content if len(content) <= MAX_TEXT else "")
    common["event_key"] = _any_text(fields, "EventKey")
    match event:
        case "unsubscribe":
            return UnsubscribeEvent(**common)
        case "templatesendjobfinish":
            return TemplateResult(**common, status=_any_text(fields, "Status")[:256])
    if revokes:
        return ConsentRevoked(
            **common,
            app_id=AppId(text(fields, "AppID", 64)) or None,
            unionid=UnionId(text(fields, "UnionID", 128)) or None,
            revoke_info=_any_text(fields, "RevokeInfo")[:256],
        )
    return OtherEvent(**common)


def _created(fields: Fields, sent: int) -> int:
    try:
        seconds = float(text(fields, "CreateTime"))
    except (EventError, ValueError):
        return sent
    if seconds >= _MOST_SECONDS:
        seconds /= 1000
    return int(seconds) if 1 <= seconds < _MOST_SECONDS else sent


def document(body: bytes) -> Fields:
    """The fields of one body, XML or JSON by its first non-blank byte.

    A DOCTYPE or an entity declaration, another encoding than UTF-8, nesting over `MAX_DEPTH` and
    more than `MAX_ELEMENTS` elements are refused, all but the nesting before a tree is built. The
    caller bounds the length (64 KiB for a callback). So is what lets texts supply fields: a field
    that stands there twice, and within XML a comment or an instruction, which hides what is between
    two texts. What stands `AROUND` the document is passed over.

    Raises:
        EventError: anything else than one flat or shallow record.
    """
    body = body.strip(AROUND)
    if body.startswith(b"<"):
        return _from_xml(body)
    if body.startswith(b"{"):
        return _from_json(body)
    raise EventError("neither XML nor JSON")


def is_json(body: bytes) -> bool:
    """Whether `document` would read it as JSON."""
    return body.lstrip(AROUND).startswith(b"{")


def text(fields: Fields, name: str, longest: int | None = None) -> str:
    """The text of one field; empty when it is absent or empty.

    Raises:
        EventError: it holds elements or another record, is too long, or a truth or a fraction.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        if isinstance(value, bool | list | dict):
            if value:
                raise EventError(f"{name} is not one text")
            return ""  # as some languages write an empty text
        if isinstance(value, float):
            if not value.is_integer():
                raise EventError(f"{name} is not one text")
            value = int(value)
        value = str(value)
    if longest is not None and len(value) > longest:
        raise EventError(f"{name} is too long")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            # JSON can spell half a surrogate pair, which no store would take.
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _any_text(fields: Fields, name: str) -> str:
    """The text of a field on which no login depends; empty when it is none."""
    try:
        return text(fields, name)
    except EventError:
        return ""


def encrypted_text(envelope: bytes) -> str:
    """The text of Encrypt in an envelope that `document` does not read; empty without one.

    Compatible mode writes the message's fields beside Encrypt, and whatever a text of theirs spells
    is in Encrypt as well, which is therefore longer. Only its signature says that it is WeChat's.
    """
    found: list[bytes] = _ENCRYPT.findall(envelope)
    return max(found, key=len).decode().replace("\\/", "/") if found else ""


def _mended(body: bytes) -> bytes:
    """XML with what spoils only the text around it made harmless; elements stay as they are.

    Replaced, never removed: two pieces of a tag that come together would make one.
    """
    written = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", body.strip(AROUND).decode(errors="replace"))
    # Outside of CDATA: references that stand for nothing, and ends of CDATA that was not begun.
    return _CDATA_OR_SPOILT.sub(
        lambda found: found[0] if found[0][0] == "<" else escape(found[0]), written
    ).encode()


class _Nested(dict[str, Any]):
    """A record of XML in which a field holds elements."""


def _from_xml(body: bytes) -> Fields:
    # What `_Guard` refuses begins with these bytes. Both passes read the body as UTF-8, so they
    # stand there as they are or not at all. Nesting is not seen here, but with so few elements a
    # deep tree is a small one, and refused once it is built.
    guarded = (
        b"<!DOCTYPE" in body or b"<!--" in body or b"<?" in body or body.count(b"<") > MAX_ELEMENTS
    )
    if guarded:
        _Guard().check(body)
    try:
        root = xmltodict.parse(body, encoding="UTF-8", xml_attribs=False, disable_entities=True)
    except (expat.ExpatError, ValueError):
        raise EventError("not well-formed XML in UTF-8") from None
    fields = root.get("xml")
    if not isinstance(fields, dict):
        raise EventError("no record named xml")
    if not any(isinstance(value, dict | list) for value in fields.values()):
        return fields
    if any(isinstance(value, list) for value in fields.values()):
        raise EventError("a field stands there twice")
    if not guarded:
        _Guard().check(body)
    return _Nested(fields)


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
        parser.CommentHandler = self._refuse_hiding
        parser.ProcessingInstructionHandler = self._refuse_hiding
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

    def _refuse_hiding(self, *args: object) -> None:
        if self._depth:
            raise EventError("a comment or an instruction")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise EventError("too deep or too many elements")

    def _end(self, name: str) -> None:
        self._depth -= 1


def _from_json(body: bytes) -> Fields:
    written = body.decode(errors="replace")
    try:
        # It begins with a brace, so what comes out is a record.
        record: dict[str, Any] = _DECODER.decode(written)
    except ValueError:
        # Again, with backslashes that escape nothing as themselves: that ends or begins no text.
        escaped = _ESCAPE.sub(lambda found: found[0] if found[0][1:] else r"\\", written)
        try:
            record = _DECODER.decode(escaped)
        except (ValueError, RecursionError):
            raise EventError("not JSON in UTF-8") from None
    except RecursionError:
        raise EventError("too deep") from None
    if isinstance(record, _Doubled):
        raise EventError("a field stands there twice")
    return record


class _Doubled(dict[str, Any]):
    """A record in which a name stands twice."""


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    return record if len(record) == len(pairs) else _Doubled(record)


# Not strict: WeChat's and relays' writers leave line feeds and other controls as they are. Whole
# numbers stay text: Python refuses to read one of more than 4,300 digits.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_record, parse_constant=lambda name: None, parse_int=str, strict=False
)
