"""WeChat's errcodes as this simulator answers them, with a text in WeChat's own manner.

Facts: WeChat's page "Global return codes" and the tables of each interface.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

ERRMSG: Mapping[int, str] = MappingProxyType(
    {
        -1: "system error",
        40001: "invalid credential, access_token is invalid or not latest, "
        "could get access_token by getStableAccessToken",
        40002: "invalid grant_type",
        40003: "invalid openid",
        40004: "invalid media type",
        40005: "invalid file type",
        40006: "invalid media size",
        40007: "invalid media_id",
        40008: "invalid message type",
        40009: "invalid image size",
        40010: "invalid voice size",
        40011: "invalid video size",
        40012: "invalid thumb size",
        40013: "invalid appid",
        40014: "invalid access_token",
        40016: "invalid button size",
        40017: "invalid button type",
        40018: "invalid button name size",
        40019: "invalid button key size",
        40020: "invalid button url size",
        40023: "invalid sub button size",
        40024: "invalid sub button type",
        40025: "invalid sub button name size",
        40026: "invalid sub button key size",
        40027: "invalid sub button url size",
        40029: "invalid code",
        40030: "invalid refresh_token",
        40032: "invalid openid list size",
        40035: "invalid parameter",
        40037: "invalid template_id",
        40039: "invalid url size",
        40052: "invalid action name",
        40053: "invalid action info",
        40066: "invalid url",
        40097: "invalid args",
        40125: "invalid appsecret",
        40129: "invalid scene",
        40163: "code been used",
        40164: "invalid ip, not in whitelist",
        40169: "invalid length for scene, or the data is not json string",
        40201: "callback url not set",
        40202: "invalid action",
        40203: "invalid check_operator",
        40243: "the appsecret is frozen",
        41001: "access_token missing",
        41002: "appid missing",
        41003: "refresh_token missing",
        41004: "appsecret missing",
        41005: "media data missing",
        41006: "media_id missing",
        41008: "missing code",
        41009: "missing openid",
        41030: "invalid page",
        42001: "access_token expired",
        42002: "refresh_token expired",
        42003: "code expired",
        43001: "require GET method",
        43002: "require POST method",
        43004: "require subscribe",
        43101: "user refuse to accept the msg",
        44002: "empty post data",
        44003: "empty news data",
        44004: "empty content",
        45002: "content size out of limit",
        45008: "article size out of limit",
        45009: "reach max api daily quota limit",
        45011: "api minute-quota reach limit, must slower, retry next minute",
        45015: "response out of time limit or subscription is canceled",
        45047: "out of response count limit",
        45056: "too many tag now, no need to add new",
        45058: "can't modify sys tag",
        45059: "can not add the user with too many tags",
        45072: "invalid command",
        45080: "need user interaction",
        45081: "already in typing state",
        45157: "invalid tag name",
        45158: "tag name too long",
        45159: "invalid tag",
        46003: "menu no exist",
        47001: "data format error",
        47003: "argument invalid!",
        48001: "api unauthorized",
        48006: "forbid to clear quota because of reaching the limit",
        76021: "cgi_path not found, please check",
        76022: "could not use this cgi_path, no permission",
        87009: "invalid signature",
    }
)
"""Documented texts; only the number is a contract (errcodes are matched by number)."""


class Refusal(Exception):
    """An errcode: WeChat answers it as JSON with HTTP status 200.

    Args:
        errcode: the number.
        detail: replaces the usual text.
    """

    def __init__(self, errcode: int, detail: str = "") -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.detail = detail or ERRMSG.get(errcode, "simulated error")


def refusal_document(refusal: Refusal, now: float, rng: random.Random) -> dict[str, object]:
    """The answer's JSON, ending in a ``rid`` whose first group is the Unix time in hex."""
    rid = f"{int(now):08x}-{rng.getrandbits(32):08x}-{rng.getrandbits(32):08x}"
    return {"errcode": refusal.errcode, "errmsg": f"{refusal.detail} rid: {rid}"}
