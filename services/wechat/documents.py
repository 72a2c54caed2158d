"""The body of a push, from hostile bytes to fields: XML, or JSON where the console is set so.

Pure. xmltodict builds the record; where anything could hurt it, one pass of expat before that
refuses it (OWASP's page on XML external entities: entity bombs work on Python's own parsers).
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn
from xml.parsers import expat

import xmltodict

from services.errors import ScanpushError

MAX_DEPTH = 8
"""Deepest nesting accepted; WeChat's own deepest message has four levels."""

MAX_ELEMENTS = 200
"""Most elements accepted; WeChat's own largest message has some thirty."""

_BOM = b"\xef\xbb\xbf"

Fields = Mapping[str, Any]
"""One body's fields by name: text, or (JSON) numbers, or nested things that we do not read."""


class EventError(ScanpushError):
    """A body that is not what WeChat sends. The text names the problem, never the content."""


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


def _is_suspect(body: bytes) -> bool:
    """Whether `body` could hold what `_Guard` refuses, by the bytes it would have to begin with.

    Both passes read it as UTF-8, so these stand there as they are or not at all. Nesting is not
    seen here, but with so few elements a deep tree is a small one, and refused when it is built.
    """
    return b"<!DOCTYPE" in body or b"<?" in body or body.count(b"<") > MAX_ELEMENTS


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


def _from_xml(body: bytes) -> Fields:
    guarded = _is_suspect(body)
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
