"""The texts in WeChat's answers that we keep, store or send on: printable ASCII of a sane length.

Whatever answers in WeChat's place, an error page or a proxy, nothing else gets into a store or an
address: a lone surrogate, say, which JSON can carry, cannot be written anywhere.
"""

import re
from collections.abc import Mapping
from typing import Any

from services.errors import WeChatUnavailable
from services.ids import OpenId, UnionId

MAX_TEXT = 1024
MAX_ID = 128

_PRINTABLE = re.compile(r"[!-~]+")


def text_of(answer: Mapping[str, Any], name: str, most: int = MAX_TEXT) -> str:
    """The text of that name. Raises `WeChatUnavailable`: there is none."""
    value = answer.get(name)
    if not isinstance(value, str) or len(value) > most or not _PRINTABLE.fullmatch(value):
        raise WeChatUnavailable(f"the answer has no {name}")
    return value


def openid_of(answer: Mapping[str, Any]) -> OpenId:
    """Whom the answer is about. Raises `WeChatUnavailable`: nobody."""
    return OpenId(text_of(answer, "openid", MAX_ID))


def unionid_of(answer: Mapping[str, Any]) -> UnionId | None:
    """The person across the owner's apps; None where WeChat does not say, or says nonsense."""
    try:
        return UnionId(text_of(answer, "unionid", MAX_ID))
    except WeChatUnavailable:
        return None
