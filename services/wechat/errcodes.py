"""The errcodes of WeChat, what each means, and what the client does about it: one table.

A test holds docs/errors.md to it. WeChat answers errors as HTTP 200 with ``errcode`` and
``errmsg``; only the number is matched, for the texts change. Sources: the error tables of the
WeChat pages of each interface, as collected in the table's rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Action(StrEnum):
    """What the client does about an errcode, without being asked."""

    RETRY = "retry"
    """Wait a little and ask again, two or three times, inside the time-out."""
    REFRESH = "refresh"
    """Get another access_token and ask once more, exactly once."""
    ALARM = "alarm"
    """Only the operator can fix it: an error in the log, and the client is told."""
    BACK_OFF = "back_off"
    """Too much was asked: the client is told to come back later."""
    CALLER = "caller"
    """What the page sent is invalid (a code, an openid): the page is told, the operator is not."""
    REAUTHORISE = "reauthorise"
    """The person must go through WeChat's consent again."""
    NOTICE = "notice"
    """A login notice could not be delivered; the login itself stands."""
    BUG = "bug"
    """The server asked wrongly: an error in the log."""
    PAGE = "page"
    """Shown by WeChat on its own page; it never reaches the server."""


@dataclass(frozen=True, slots=True)
class Errcode:
    """One row.

    Args:
        errcode: WeChat's number.
        meaning: in a few words.
        code: the error code the page gets (`errors.STATUS`), empty where none is ever answered.
        action: what the client does.
    """

    errcode: int
    meaning: str
    code: str
    action: Action

    @property
    def alarming(self) -> bool:
        """Whether the operator has to know at once."""
        return self.action in (Action.ALARM, Action.BUG)


_ROWS = (
    Errcode(-1, "WeChat is busy", "wechat_unavailable", Action.RETRY),
    # access_token and configuration
    Errcode(40001, "access_token invalid, or wrong secret", "wechat_credentials", Action.REFRESH),
    Errcode(40014, "access_token malformed", "wechat_credentials", Action.REFRESH),
    Errcode(42001, "access_token expired", "wechat_credentials", Action.REFRESH),
    Errcode(41001, "access_token missing", "wechat_refused", Action.BUG),
    Errcode(40002, "wrong grant_type", "wechat_refused", Action.BUG),
    Errcode(40013, "no such appid", "wechat_credentials", Action.ALARM),
    Errcode(40125, "wrong AppSecret", "wechat_credentials", Action.ALARM),
    Errcode(41002, "appid missing", "wechat_credentials", Action.ALARM),
    Errcode(41004, "secret missing", "wechat_credentials", Action.ALARM),
    Errcode(40164, "our IP is not in the allow list", "wechat_ip_not_allowed", Action.ALARM),
    Errcode(61004, "our IP is not in the allow list", "wechat_ip_not_allowed", Action.ALARM),
    Errcode(61007, "interface not granted to the third party", "wechat_refused", Action.ALARM),
    Errcode(89503, "our IP waits for the admin", "wechat_ip_not_allowed", Action.ALARM),
    Errcode(89506, "our IP was refused for 24 hours", "wechat_ip_not_allowed", Action.ALARM),
    Errcode(89507, "our IP was refused for an hour", "wechat_ip_not_allowed", Action.ALARM),
    Errcode(40243, "AppSecret is frozen", "wechat_credentials", Action.ALARM),
    Errcode(50004, "token interface forbidden", "wechat_credentials", Action.ALARM),
    Errcode(50007, "account is frozen", "wechat_credentials", Action.ALARM),
    Errcode(48001, "interface not granted to this account", "wechat_refused", Action.ALARM),
    # quotas
    Errcode(45009, "daily quota used up", "wechat_quota", Action.ALARM),
    Errcode(45011, "too often in this minute", "wechat_quota", Action.BACK_OFF),
    Errcode(45029, "no permanent codes left", "wechat_quota", Action.ALARM),
    Errcode(48006, "quota cleared too often this month", "wechat_quota", Action.ALARM),
    # how the server asks
    Errcode(43001, "GET is needed", "wechat_refused", Action.BUG),
    Errcode(43002, "POST is needed", "wechat_refused", Action.BUG),
    Errcode(47001, "malformed JSON", "wechat_refused", Action.BUG),
    Errcode(40003, "openid unknown, or of another account", "wechat_refused", Action.CALLER),
    Errcode(40032, "too many openids at once", "wechat_refused", Action.BUG),
    Errcode(41009, "openid missing", "wechat_refused", Action.BUG),
    # parametric codes
    Errcode(40052, "wrong action_name", "wechat_refused", Action.BUG),
    Errcode(40053, "wrong action_info", "wechat_refused", Action.BUG),
    Errcode(45103, "caller not supported", "wechat_refused", Action.ALARM),
    # web and website login
    Errcode(40029, "code invalid or of another appid", "bad_request", Action.CALLER),
    Errcode(40163, "code was used", "bad_request", Action.CALLER),
    Errcode(41008, "code missing", "bad_request", Action.CALLER),
    Errcode(42003, "code expired", "bad_request", Action.CALLER),
    Errcode(40030, "refresh_token invalid", "wechat_refused", Action.REAUTHORISE),
    Errcode(42002, "refresh_token expired", "wechat_refused", Action.REAUTHORISE),
    Errcode(41003, "refresh_token missing", "wechat_refused", Action.BUG),
    Errcode(42007, "password changed, consent void", "wechat_refused", Action.REAUTHORISE),
    # mini program
    Errcode(40226, "high-risk person, login blocked", "bad_request", Action.CALLER),
    Errcode(40097, "wrong argument", "wechat_refused", Action.BUG),
    Errcode(40129, "scene not allowed", "wechat_refused", Action.BUG),
    Errcode(40169, "scene too long, or no JSON", "wechat_refused", Action.BUG),
    Errcode(41030, "page missing or unpublished", "wechat_refused", Action.ALARM),
    Errcode(85096, "reserved argument scancode_time", "wechat_refused", Action.BUG),
    Errcode(87009, "wrong session signature", "wechat_refused", Action.BUG),
    # template messages
    Errcode(40008, "wrong kind of message", "wechat_refused", Action.BUG),
    Errcode(40036, "template_id of wrong length", "wechat_refused", Action.ALARM),
    Errcode(40037, "no such template_id", "wechat_refused", Action.ALARM),
    Errcode(40039, "url too long", "wechat_refused", Action.BUG),
    Errcode(40247, "old kind of template", "wechat_refused", Action.ALARM),
    Errcode(40249, "marketing is forbidden", "wechat_refused", Action.ALARM),
    Errcode(43004, "the person does not follow", "wechat_refused", Action.NOTICE),
    Errcode(43116, "template is blocked", "wechat_refused", Action.ALARM),
    Errcode(47003, "a value does not fit its key's type", "wechat_refused", Action.ALARM),
    # callback diagnostics
    Errcode(40201, "no server address set at the console", "wechat_refused", Action.ALARM),
    Errcode(40202, "wrong action", "wechat_refused", Action.BUG),
    Errcode(40203, "wrong operator", "wechat_refused", Action.BUG),
    # shown by WeChat on its authorisation page
    Errcode(10003, "redirect_uri is not of the console's domain", "", Action.PAGE),
    Errcode(10004, "account is banned", "", Action.PAGE),
    Errcode(10005, "scope not granted to this account", "", Action.PAGE),
    Errcode(10006, "the person must follow the test account", "", Action.PAGE),
    Errcode(10009, "too often", "", Action.PAGE),
    Errcode(10010, "scope is empty", "", Action.PAGE),
    Errcode(10011, "redirect_uri is empty", "", Action.PAGE),
    Errcode(10012, "appid is empty", "", Action.PAGE),
    Errcode(10013, "state is empty", "", Action.PAGE),
    Errcode(10015, "not authorised to the third party", "", Action.PAGE),
    Errcode(10016, "appid of the Open Platform used here", "", Action.PAGE),
)

TABLE: Mapping[int, Errcode] = MappingProxyType({row.errcode: row for row in _ROWS})

TOKEN_INVALID = frozenset(n for n, row in TABLE.items() if row.action is Action.REFRESH)
"""Exactly those that another access_token may mend (WxJava, wechatpy: the same three)."""


def look_up(errcode: int) -> Errcode:
    """The row of `errcode`; an unknown one is a plain refusal that the operator should see."""
    known = TABLE.get(errcode)
    return known or Errcode(errcode, "not in our table", "wechat_refused", Action.ALARM)
