"""The parts of an upgrade that need nothing but its request (RFC 6455, section 4.2)."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.errors import ApiError
from services.ids import SceneStr, WatchToken, is_scene_str

Headers = Mapping[str, str]
"""Request headers under the names that Tornado gives them: ``Sec-Websocket-Key``."""

PREFIX = "/ws/"
SUBPROTOCOL = "scanpush.v1"

_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")
_TOKEN = re.compile(r"watch\.([A-Za-z0-9_-]{43})")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# Not frozen, because one of each is made per handshake, and a frozen one takes three times as long.


@dataclass(slots=True)
class UpgradeRequest:
    """The head of an HTTP request."""

    method: str
    path: str
    version: str
    headers: Headers = field(repr=False)
    remote_ip: str


@dataclass(slots=True)
class Offer:
    """A well-formed request for a socket; nothing in it is believed yet."""

    scene_str: SceneStr
    watch_token: WatchToken = field(repr=False)
    key: str
    address: str


FOREIGN_ORIGIN = "foreign_origin"
OTHER_SCHEME = "other_scheme"
NO_SUBPROTOCOL = "no_subprotocol"
"""Causes of `forbidden`, for log and metrics. The last two are most likely a proxy's doing: the
Origin is the server's own but for its scheme, or Sec-WebSocket-Protocol did not arrive."""


def forbidden(cause: str = "") -> ApiError:
    """The one answer to a foreign origin, an unknown scene and a wrong token."""
    return ApiError("forbidden", "this socket is not yours to open", cause=cause)


def check_request(request: UpgradeRequest) -> None:
    """Raise `ApiError` unless this is a WebSocket upgrade that the server supports."""
    headers = request.headers
    if request.method != "GET":
        raise ApiError("method_not_allowed", "a socket is opened with GET")
    if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in _members(
        headers.get("Connection", "").lower()
    ):
        raise ApiError("upgrade_required", "this address speaks WebSocket")
    if headers.get("Sec-Websocket-Version") != "13" or request.version != "HTTP/1.1":
        raise ApiError("upgrade_required", "WebSocket version 13 over HTTP/1.1, please")
    if not _KEY.fullmatch(headers.get("Sec-Websocket-Key", "")):
        raise ApiError("bad_request", "not a key", field="Sec-WebSocket-Key")


def read_offer(request: UpgradeRequest, address: str) -> Offer:
    """What the request asks for.

    Raises:
        ApiError: ``forbidden`` where path or token do not have the form of a real one, or the
            subprotocol ``scanpush.v1`` is not offered.
    """
    scene_str = request.path.partition("?")[0].removeprefix(PREFIX)
    names = request.headers.get("Sec-Websocket-Protocol", "")
    offered = _members(names)
    tokens = [found for name in offered if (found := _TOKEN.fullmatch(name))]
    if not is_scene_str(scene_str) or len(tokens) != 1 or SUBPROTOCOL not in offered:
        raise forbidden("" if names else NO_SUBPROTOCOL)
    return Offer(
        SceneStr(scene_str),
        WatchToken(tokens[0][1]),
        request.headers["Sec-Websocket-Key"],
        address,
    )


def switching_protocols(key: str) -> bytes:
    """The 101 answer. Extensions are never negotiated: compression costs 161 KB a socket."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n"
        b"Sec-WebSocket-Protocol: scanpush.v1\r\n"
        b"\r\n"
    )


def _members(header: str) -> list[str]:
    """The members of a header that is a list (RFC 9110, section 5.6.1)."""
    return [member.strip() for member in header.split(",")]
