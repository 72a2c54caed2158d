"""Ids in the shapes that WeChat gives them."""

import base64
import hashlib
import random
import string

URL_SAFE = string.ascii_letters + string.digits + "-_"


def url_safe(rng: random.Random, length: int) -> str:
    """`length` random url-safe characters."""
    return "".join(rng.choices(URL_SAFE, k=length))


def openid_of(person: str, app_id: str) -> str:
    """The person's openid for one app: 28 characters, always the same, as in ``oX...``."""
    return _derived("openid", app_id, person)


def unionid_of(person: str, open_platform: str) -> str:
    """The person's unionid within one Open Platform account, shaped like an openid."""
    return _derived("unionid", open_platform, person)


def _derived(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    return "o" + base64.urlsafe_b64encode(digest).decode("ascii")[:27]
