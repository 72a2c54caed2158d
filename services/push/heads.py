"""The head of an HTTP request of the plainest form, if a connection begins with all of it.

This is no HTTP parser: whatever is not plain is None, and a real parser decides about it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

Headers = Mapping[str, str]
"""Request headers under the names Tornado gives them: ``Sec-Websocket-Key``."""

_PLAIN = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [ -~]*\r\n)+)\r\n"
)


# Browsers send the same dozen names in every head.
_titled = lru_cache(maxsize=512)(str.title)


@dataclass(slots=True)
class Head:
    """A whole request head; its body, if it has one, begins after `length` bytes."""

    method: str
    target: str
    headers: Headers = field(repr=False)
    length: int


def plain_head(data: bytes) -> Head | None:
    """Read the head that `data` begins with.

    None for everything that is not plain: an unfinished head, another version than HTTP/1.1, no
    Host, a header twice, folded lines, other white space, bytes outside ASCII.
    """
    match = _PLAIN.match(data)
    if match is None:
        return None
    lines = [line.partition(": ") for line in match[3].decode("ascii").split("\r\n")[:-1]]
    headers = {_titled(name): value.strip() for name, _, value in lines}
    if len(headers) < len(lines) or "Host" not in headers:
        return None
    return Head(match[1].decode("ascii"), match[2].decode("ascii"), headers, match.end())
