"""The documents of a push: what WeChat sends, signed and encrypted for each mode, and which replies
it accepts, read as strictly as WeChat reads them.

Facts: WeChat's pages "Receiving event pushes", "Server configuration", "Message encryption",
"Passive user reply".
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.parsers.expat import ExpatError

import xmltodict

from services.wechat.crypto import Cipher, CryptoError, signature
from simulator.config import SimulatedAccount
from simulator.identifiers import url_safe

Fields = Mapping[str, str | int]
"""One message by WeChat's field names; numbers are written without CDATA."""

DOCTYPE = '<!DOCTYPE xml [<!ENTITY lol "lol"><!ENTITY far SYSTEM "file:///etc/hostname">]>'
WRONG_APP_ID = "wx00000000deadbeef"


@dataclass(frozen=True)
class PushOptions:
    """How one push differs from an ordinary one. The defaults are the ordinary one.

    Order and number: `duplicate` more identical requests at the same time; `same_second_pair`
    sends a LOCATION event of the same second beside it; `delay` seconds before the first try;
    `hold` keeps it until `release`; `scan_after_follow` sends SCAN after subscribe as well.
    Shape: `lower_case_event`, `empty_event_key`, `create_time`, `fields` replaces or adds.
    Hostile: `bad_signature`, `wrong_app_id`, `plaintext_downgrade`, `doctype` ("inner": in the
    message, "outer": around Encrypt), `stale_seconds`. `attempts` overrides the number of tries
    (hostile pushes are tried once), `reencrypt` encrypts each try separately, `wait` False answers
    the caller at once.
    """

    duplicate: int = 0
    same_second_pair: bool = False
    delay: float = 0.0
    hold: bool = False
    scan_after_follow: bool = False
    lower_case_event: bool = False
    empty_event_key: bool = False
    create_time: int | None = None
    fields: Mapping[str, str | int] | None = None
    bad_signature: bool = False
    wrong_app_id: bool = False
    plaintext_downgrade: bool = False
    doctype: str = ""
    stale_seconds: int = 0
    attempts: int | None = None
    reencrypt: bool = False
    wait: bool = True

    @property
    def hostile(self) -> bool:
        return bool(
            self.bad_signature
            or self.wrong_app_id
            or self.plaintext_downgrade
            or self.doctype
            or self.stale_seconds
        )


ORDINARY = PushOptions()


@dataclass(frozen=True)
class PushRequest:
    """One POST, ready to be sent as often as needed."""

    url: str
    body: bytes
    content_type: str


def cdata(text: str) -> str:
    """`text` as CDATA; a ``]]>`` inside is split over two sections."""
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def xml_document(fields: Fields) -> str:
    """``<xml>`` with one element per field: strings in CDATA, numbers bare."""
    elements = (
        f"<{name}>{value if isinstance(value, int) else cdata(value)}</{name}>"
        for name, value in fields.items()
    )
    return f"<xml>{''.join(elements)}</xml>"


def shaped(fields: Fields, options: PushOptions) -> Fields:
    """The message with the options about its shape applied."""
    message = dict(fields)
    if options.lower_case_event and isinstance(event := message.get("Event"), str):
        message["Event"] = event.lower()
    if options.empty_event_key:
        message["EventKey"] = ""
    if options.create_time is not None:
        message["CreateTime"] = options.create_time
    return message | dict(options.fields or {})


class Sealer:
    """Makes push requests for one account: its mode, its format, its keys."""

    def __init__(self, account: SimulatedAccount, rng: random.Random) -> None:
        self._account = account
        self._rng = rng
        self._cipher = Cipher(account.encoding_aes_key, account.app_id)
        self._foreign = Cipher(account.encoding_aes_key, WRONG_APP_ID)

    def seal(self, message: Fields, now: int, options: PushOptions = ORDINARY) -> PushRequest:
        """The request that brings `message` at the time `now`."""
        account = self._account
        timestamp, nonce = str(now - options.stale_seconds), self._nonce()
        query = {
            "signature": signature(account.callback_token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            # WeChat sends it along, but no signature covers it.
            "openid": str(message.get("FromUserName", "")),
        }
        text = self._document(message, inner=True, options=options)
        if account.mode == "plaintext" or options.plaintext_downgrade:
            body = text
        else:
            cipher = self._foreign if options.wrong_app_id else self._cipher
            encrypt = cipher.encrypt(text.encode(), url_safe(self._rng, 16).encode())
            query["encrypt_type"] = "aes"
            query["msg_signature"] = signature(account.callback_token, timestamp, nonce, encrypt)
            # Compatible mode sends the plain fields beside the encrypted ones.
            shown = (
                message if account.mode == "compatible" else {"ToUserName": message["ToUserName"]}
            )
            body = self._document({**shown, "Encrypt": encrypt}, inner=False, options=options)
        if options.bad_signature:
            # One character off: of the right length and alphabet, so that only a comparison tells.
            for key in [key for key in query if key.endswith("signature")]:
                query[key] = query[key][:-1] + ("0" if query[key][-1] != "0" else "1")
        kind = "text/xml" if account.data_format == "xml" else "application/json"
        return PushRequest(_with_query(account.callback_url, query), body.encode(), kind)

    def check_request(self, now: int) -> tuple[str, str]:
        """The URL of a configuration check and the echostr it must be answered with."""
        timestamp, nonce, echo = str(now), self._nonce(), str(self._rng.randrange(10**18, 10**19))
        query = {
            "signature": signature(self._account.callback_token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "echostr": echo,
        }
        return _with_query(self._account.callback_url, query), echo

    def _document(self, fields: Fields, inner: bool, options: PushOptions) -> str:
        if self._account.data_format == "json":
            return json.dumps(dict(fields), ensure_ascii=False)
        # JSON has no DOCTYPE: the option has no effect there.
        doctype = DOCTYPE if options.doctype == ("inner" if inner else "outer") else ""
        return doctype + xml_document(fields)

    def _nonce(self) -> str:
        return str(self._rng.randrange(10**8, 2 * 10**9))


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


MAX_CONTENT_BYTES = 2_048


class IllegalReply(Exception):
    """A body that WeChat would not accept: it tries again, and in the end tells the person."""


@dataclass(frozen=True)
class Reply:
    """An accepted answer. `text` is empty for ``success`` and for an empty body."""

    text: str = ""
    kind: str = ""
    encrypted: bool = False


def read_reply(body: bytes, account: SimulatedAccount, openid: str) -> Reply:
    """What the account answers to the person with this openid.

    Raises:
        IllegalReply: not empty, not ``success`` and no valid reply document; not encrypted in
            safe mode; wrong signature, key, addressee or length.
    """
    if body in (b"", b"success"):
        return Reply()
    # Everything else has to be a document: WeChat takes no other text for "no reply".
    document = _parse(body)
    encrypted = "Encrypt" in document
    if encrypted:
        document = _parse(_open(document, account))
    elif account.mode == "safe":
        raise IllegalReply("not encrypted in safe mode")
    # Checked on the inner document: the envelope of an encrypted reply has no addressee.
    if document.get("ToUserName") != openid or document.get("FromUserName") != account.original_id:
        raise IllegalReply("ToUserName and FromUserName are not those of the push, swapped")
    if not str(document.get("CreateTime", "")).isdigit():
        raise IllegalReply("CreateTime is not a number")
    return Reply(_content(document), str(document.get("MsgType", "")), encrypted)


def _content(document: dict[str, Any]) -> str:
    if document.get("MsgType") != "text":
        raise IllegalReply("not a text message")
    content = document.get("Content")
    if not isinstance(content, str) or not content:
        raise IllegalReply("no Content")
    if len(content.encode()) > MAX_CONTENT_BYTES:
        raise IllegalReply("Content is too long")
    return content


def _parse(body: bytes) -> dict[str, Any]:
    """The fields of an XML or JSON reply; which of them is told by the first character."""
    try:
        if body.startswith(b"{"):
            document = json.loads(body)
        else:
            # Spaces and line feeds at the ends of Content belong to the person's text.
            document = xmltodict.parse(body, strip_whitespace=False).get("xml")
    except (ExpatError, ValueError):
        raise IllegalReply("neither XML nor JSON") from None
    if not isinstance(document, dict):
        raise IllegalReply("not a reply document")
    return document


def _open(envelope: dict[str, Any], account: SimulatedAccount) -> bytes:
    encrypt, timestamp, nonce = (
        str(envelope.get(key, "")) for key in ("Encrypt", "TimeStamp", "Nonce")
    )
    expected = signature(account.callback_token, timestamp, nonce, encrypt)
    if envelope.get("MsgSignature") != expected:
        raise IllegalReply("wrong MsgSignature")
    try:
        return Cipher(account.encoding_aes_key, account.app_id).decrypt(encrypt)
    except CryptoError:
        raise IllegalReply("Encrypt cannot be decrypted") from None
