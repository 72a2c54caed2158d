"""The reply to a callback: the sentence, its XML (or JSON), and its envelope in safe mode.

Also what every text shown to people is made of: the nearest language, values made harmless
(`inert`), and times in WeChat's own zone.

Pure. Facts: WeChat's pages "Passive replies" (text, sender and receiver swapped) and "Message
encryption" (the sealed reply's four elements).
"""

import functools
import json
import string
import unicodedata
from datetime import datetime, timedelta, timezone

from services.wechat.crypto import Cipher, signature
from services.wechat.messages import NOT_XML, Event
from services.wechat.reply_texts import AGO, LANGUAGES, TEXTS, THIS_SITE

SUCCESS = b"success"
"""The answer that says nothing to the person; it is never encrypted."""

MAX_CONTENT_BYTES = 2048
"""Longest text of a passive reply."""

MAX_VALUE = 60
"""Longest value filled into a sentence, in characters."""

BEIJING = timezone(timedelta(hours=8))
"""WeChat's own time zone: the one its users read, and in which it counts its days."""

_JOINERS = "\u200c\u200d"


def language(tag: str) -> str:
    """The nearest of `LANGUAGES` to a language tag; English when none is near."""
    tag = tag.strip().replace("_", "-").lower()
    for known in LANGUAGES:
        if tag == known.lower():
            return known
    if tag.startswith("zh"):
        traditional = any(part in tag for part in ("-hant", "-tw", "-hk", "-mo"))
        return "zh-TW" if traditional else "zh-CN"
    return "ja" if tag.startswith("ja") else "en"


def text(outcome: str, lang: str, **values: str) -> str:
    """The sentence for `outcome` (a key of `TEXTS`) in the nearest language.

    Values come from people and browsers: each is made one short inert line. A line whose value is
    missing or empty is left out; a missing `site` becomes "this site".

    Raises:
        KeyError: no such outcome.
    """
    lang = language(lang)
    known = {name: inert(value) for name, value in values.items()}
    known["site"] = known.get("site") or THIS_SITE[lang]
    return "\n".join(
        line.format_map(known)
        for line, names in _lines(outcome, lang)
        if all(known.get(name) for name in names)
    )


@functools.lru_cache(maxsize=None)
def _lines(outcome: str, lang: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each line of a sentence with the names it needs."""
    return tuple(
        (line, tuple(name for _, name, _, _ in string.Formatter().parse(line) if name))
        for line in TEXTS[outcome][lang].split("\n")
    )


def inert(value: str, longest: int = MAX_VALUE) -> str:
    """`value` as one line without control or direction characters, at most `longest` long.

    Emoji keep their joiners. It is still a stranger's text: escape it where it is shown.
    """
    if len(value) <= longest and value.isprintable():
        return " ".join(value.split())
    # Bounded work on a hostile text; blanks and controls fall away, so more is read than kept.
    kept = (
        c if c in _JOINERS or unicodedata.category(c)[0] not in "CZ" else " "
        for c in value[: longest * 8]
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def beijing_time(now: float) -> str:
    """`now` in `BEIJING`, with the zone named."""
    return datetime.fromtimestamp(now, BEIJING).strftime("%Y-%m-%d %H:%M (UTC+8)")


def ago(seconds: float, lang: str) -> str:
    """How long ago that was, in words that need no time zone: whole minutes, hours or days."""
    now, minutes, hours, days = AGO[language(lang)]
    if seconds < 60:
        return now
    if seconds < 3600:
        return minutes.format(n=int(seconds // 60))
    if seconds < 86_400:
        return hours.format(n=int(seconds // 3600))
    return days.format(n=int(seconds // 86_400))


def text_reply(event: Event, content: str, now: float, *, as_json: bool = False) -> bytes:
    """The body that shows `content` to the person who caused `event`."""
    encoded = content.encode("utf-8", "replace")
    if len(encoded) > MAX_CONTENT_BYTES:
        content = encoded[:MAX_CONTENT_BYTES].decode("utf-8", "ignore")
    if as_json:
        return _json(
            ToUserName=event.openid,
            FromUserName=event.to_user,
            CreateTime=int(now),
            MsgType="text",
            Content=content,
        )
    return (
        f"<xml><ToUserName>{_cdata(event.openid)}</ToUserName>"
        f"<FromUserName>{_cdata(event.to_user)}</FromUserName>"
        f"<CreateTime>{int(now)}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content>{_cdata(content)}</Content></xml>"
    ).encode()


def sealed_reply(
    reply: bytes,
    cipher: Cipher,
    callback_token: str,
    nonce: str,
    now: float,
    random16: bytes,
    *,
    as_json: bool = False,
) -> bytes:
    """`reply` in the envelope of safe mode, signed over its own time and the callback's nonce."""
    encrypted = cipher.encrypt(reply, random16)
    timestamp = str(int(now))
    signed = signature(callback_token, timestamp, nonce, encrypted)
    if as_json:
        return _json(Encrypt=encrypted, MsgSignature=signed, TimeStamp=int(now), Nonce=nonce)
    # Base64 and hexadecimal digits: nothing in them could need `_cdata`.
    return (
        f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt>"
        f"<MsgSignature><![CDATA[{signed}]]></MsgSignature>"
        f"<TimeStamp>{timestamp}</TimeStamp><Nonce>{_cdata(nonce)}</Nonce></xml>"
    ).encode()


def _json(**fields: str | int) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")


def _cdata(value: str) -> str:
    """`value` as character data: the end mark is split, what XML forbids becomes a mark."""
    allowed = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
    return "<![CDATA[" + allowed.replace("]]>", "]]]]><![CDATA[>") + "]]>"
