"""Where a browser may be sent on to after a login: a path of our own site and nothing else."""

import re
from urllib.parse import unquote

from services.errors import ApiError

MAX_PATH = 512

_ALLOWED = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?#]*")
"""The characters of a path, query and fragment (RFC 3986, section 3.3 and 3.4): no backslash,
which browsers read as a slash, no control character, which they leave out."""


def own_path(text: str | None) -> str:
    """`text` if it is a path of this site, an empty string for none.

    Raises:
        ApiError: ``bad_request``: it may lead elsewhere. Also what only a careless second decoding
            would make lead elsewhere is refused (``/%2fevil``, ``/%5cevil``).
    """
    if not text:
        return ""
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    plain = _decoded(path)
    leaves = "//" in plain or "\\" in plain or ".." in plain or not plain.isprintable()
    if len(text) > MAX_PATH or not _ALLOWED.fullmatch(text) or leaves:
        raise ApiError("bad_request", "next must be a path of this site.", field="next")
    return text


def _decoded(path: str) -> str:
    """`path` decoded until nothing changes any more: every layer of encoding is looked through."""
    while (plain := unquote(path)) != path:
        path = plain
    return path
