"""The kinds of ids and secrets, so that mypy refuses one in another's place, and a scene's id in
its forms: text, sixteen bytes (what the hub keeps), and 32 digits (what a mini-program code holds).
And the codes that people read from one screen and type on another.
"""

import base64
import hashlib
import re
import secrets
import unicodedata
import uuid
from typing import NewType

SceneStr = NewType("SceneStr", str)
"""A scene's public id: a lower-case version-4 UUID with hyphens. It proves nothing."""

WatchToken = NewType("WatchToken", str)
"""The secret of the browser that began a scene: 43 url-safe characters, 256 bits."""

AppId = NewType("AppId", str)
"""WeChat's name of one account, mini program or website app (its wire name: appid)."""

OpenId = NewType("OpenId", str)
"""One person within one `AppId`."""

UnionId = NewType("UnionId", str)
"""One person across all the `AppId`s of one Open Platform account; may be unknown."""

UserId = NewType("UserId", str)
"""The id scanpush gives a person: the `sub` of the token."""

_SCENE_STR = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SCENE_HEX = re.compile(r"[0-9a-f]{32}")


def new_scene_str() -> SceneStr:
    return SceneStr(str(uuid.uuid4()))


def is_scene_str(text: str) -> bool:
    """Whether `text` is a lower-case version-4 UUID with hyphens."""
    return _SCENE_STR.fullmatch(text) is not None


def scene_key(scene_str: SceneStr) -> bytes:
    """The sixteen bytes of a UUID written with hyphens. Raises `ValueError` on anything else."""
    key = bytes.fromhex(scene_str.replace("-", ""))
    if len(key) != 16:
        raise ValueError("a scene_str is a UUID")
    return key


def scene_str_of(key: bytes) -> SceneStr:
    """The `SceneStr` of those sixteen bytes."""
    digits = key.hex()
    return SceneStr(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


def scene_hex(scene_str: SceneStr) -> str:
    """A scene_str as a mini-program code can hold it: 32 characters."""
    return scene_str.replace("-", "")


def scene_of(text: str) -> SceneStr | None:
    """A scene_str from either of its forms; None for anything else."""
    text = str(uuid.UUID(text)) if _SCENE_HEX.fullmatch(text) else text
    return SceneStr(text) if is_scene_str(text) else None


SHORT_DIGITS = 8


def short_id(scene_str: str) -> str:
    """What pages call the scene, for a person who asks for help: its first `SHORT_DIGITS`."""
    return f"{scene_str[:4]}-{scene_str[4:SHORT_DIGITS]}".upper()


def scene_prefix(text: str) -> str | None:
    """The beginning of a scene_str that people read out, as in ``1A2B-3C4D``: any case, with or
    without hyphens. None for what is not 4 to 32 hexadecimal digits.

    The short id that pages show is the first `SHORT_DIGITS`.
    """
    digits = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        return None
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(part for part in parts if part)


LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Of codes that people type. No vowels, so no words, and nothing that looks like a digit (RFC 8628,
section 6.1)."""

LETTER_CODE_LENGTH = 8
"""34.6 bits: to be guessed by few tries only, each of which is counted."""


def new_letter_code() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(LETTER_CODE_LENGTH))


def letter_code_of(text: str) -> str | None:
    """The letter code that a person typed, in any case, full width too, with or without hyphen and
    blanks (RFC 8628, section 6.1); None if it is none."""
    plain = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text[:64])).upper()
    fits = len(plain) == LETTER_CODE_LENGTH and all(letter in LETTERS for letter in plain)
    return plain if fits else None


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret: its SHA-256."""
    # Without a salt, because the secrets hashed here have 256 random bits.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
