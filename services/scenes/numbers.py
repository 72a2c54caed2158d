"""The number of ``login.confirm: number``: two digits in the chat, which the page has to be told.

Where a code was relayed, the page with the field is the attacker's and the chat with the number the
victim's, so that the attacker has to guess (RFC 10027, "Cross-Device Flows: Security Best Current
Practice", names it among the confirmations).

The number is derived from a nonce of the scene, by `secrets`, with the AppSecret of its account as
the key: every node has that secret, and no store does. The scene keeps the nonce and a keyed hash
of the number, so that a repeat of the scan is answered with the same number, and a reader of the
store does not have it. A reply is kept with a mark in the number's place (`template_of`).
"""

import hmac
import re
import secrets
from collections.abc import Mapping

from services.ids import SceneStr
from services.scenes.states import Scene
from services.wechat.accounts import Account

NONCE = "number_nonce"
HASH = "number_hash"
"""Of a scene's details, both in hexadecimal digits."""

_NUMBER = re.compile(r"[0-9]{2}")
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
_TEMPLATE = re.compile(f"{_MARK}([0-9a-f-]{{36}}){_MARK}")


def is_number(value: object) -> bool:
    """Whether `value` is a text of two digits, which is what a page may send."""
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def details_of_new(account: Account, scene: Scene) -> Mapping[str, str]:
    """What the scene is to keep so that it has a number: a new one at each call."""
    nonce = secrets.token_hex(16)
    number = _number(account, scene.scene_str, nonce)
    return {NONCE: nonce, HASH: _hash(account, scene.scene_str, nonce, number)}


def number_of(account: Account, scene: Scene) -> str:
    """The number of a scene that has one, for the chat and for nothing else."""
    return _number(account, scene.scene_str, scene.details[NONCE])


def hash_of(account: Account, scene: Scene, number: str) -> str:
    """The keyed hash of a number that was typed for that scene."""
    return _hash(account, scene.scene_str, scene.details[NONCE], number)


def matches(scene: Scene, typed_hash: str) -> bool:
    """Whether that hash is the one of the scene's number; compared in constant time."""
    return hmac.compare_digest(scene.details[HASH], typed_hash)


def template_of(scene_str: SceneStr) -> str:
    """What stands for the number of that scene in a reply that is kept."""
    return f"{_MARK}{scene_str}{_MARK}"


def scene_in(reply: str) -> SceneStr | None:
    """The scene whose number is missing in a reply; None where none is."""
    found = _TEMPLATE.search(reply)
    return None if found is None else SceneStr(found[1])


def with_number(reply: str, number: str) -> str:
    return _TEMPLATE.sub(number, reply)


def _number(account: Account, scene_str: SceneStr, nonce: str) -> str:
    # 2**256 is no multiple of 100; what that takes from some numbers is nothing.
    return f"{int(_keyed(account, 'number', scene_str, nonce), 16) % 100:02}"


def _hash(account: Account, scene_str: SceneStr, nonce: str, number: str) -> str:
    return _keyed(account, "number hash", scene_str, nonce, number)


def _keyed(account: Account, purpose: str, *parts: str) -> str:
    """HMAC (RFC 2104); the purpose keeps it apart from other uses of the key."""
    key = account.settings.app_secret.get_secret_value().encode()
    message = "|".join((f"scanpush {purpose}", *parts)).encode()
    return hmac.digest(key, message, "sha256").hex()
