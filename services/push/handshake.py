"""The checks of an upgrade that need nothing but its request (RFC 6455 section 4.2)."""

import base64
import hashlib
import re
from dataclasses import dataclass

from tornado.httputil import HTTPHeaders, RequestStartLine

from services.errors import ApiError
from services.ids import SceneStr, WatchToken

PREFIX = "/ws/"
SUBPROTOCOL = "scanpush.v1"

_SCENE = re.compile(r"/ws/([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})")
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")
_TOKEN = re.compile(r"watch\.([A-Za-z0-9_-]{43})")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True)
class Offer:
    """A well-formed request for a socket; nothing in it is believed yet."""

    scene_str: SceneStr
    watch_token: WatchToken
    key: str


def forbidden() -> ApiError:
    """The one answer to a foreign origin, an unknown scene and a wrong token."""
    return ApiError("forbidden", "this socket is not yours to open")


def check_request(start_line: RequestStartLine, headers: HTTPHeaders) -> None:
    """Raise `ApiError` unless this is a WebSocket upgrade that we speak."""
    if start_line.method != "GET":
        raise ApiError("method_not_allowed", "a socket is opened with GET")
    if headers.get("Upgrade", "").lower() != "websocket" or not _has_token(
        headers.get("Connection", ""), "upgrade"
    ):
        raise ApiError("upgrade_required", "this address speaks WebSocket")
    if headers.get("Sec-Websocket-Version") != "13" or start_line.version != "HTTP/1.1":
        raise ApiError("upgrade_required", "WebSocket version 13 over HTTP/1.1, please")
    if not _KEY.fullmatch(headers.get("Sec-Websocket-Key", "")):
        raise ApiError("bad_request", "not a key", field="Sec-WebSocket-Key")


def read_offer(start_line: RequestStartLine, headers: HTTPHeaders) -> Offer:
    """What the request asks for. Raises `ApiError`: 400 without our subprotocol, else 403."""
    scene = _SCENE.fullmatch(start_line.path.partition("?")[0])
    offered = [name.strip() for name in headers.get("Sec-Websocket-Protocol", "").split(",")]
    tokens = [found for name in offered if (found := _TOKEN.fullmatch(name))]
    if scene is None or len(tokens) != 1:
        raise forbidden()
    if SUBPROTOCOL not in offered:
        raise ApiError("bad_request", "offer scanpush.v1", field="Sec-WebSocket-Protocol")
    return Offer(SceneStr(scene[1]), WatchToken(tokens[0][1]), headers.get("Sec-Websocket-Key", ""))


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


def _has_token(header: str, wanted: str) -> bool:
    return any(token.strip().lower() == wanted for token in header.split(","))
