"""Reading what our server answers to a push, as strictly as WeChat does.

Facts: WeChat's pages "Passive user reply" and "Message encryption".
"""

import json
from dataclasses import dataclass
from typing import Any
from xml.parsers.expat import ExpatError

import xmltodict

from services.wechat.crypto import Cipher, CryptoError, signature
from simulator.config import SimulatedAccount

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
    document = _parse(body)
    encrypted = "Encrypt" in document
    if encrypted:
        document = _parse(_open(document, account))
    elif account.mode == "safe":
        raise IllegalReply("not encrypted in safe mode")
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
