"""WeChat's errcodes in the doctor's words: what each means, to which check it belongs, and which
advice helps.

The English meanings are those of services/wechat/errcodes.py; a test holds that none is missing.
"""

import ipaddress
import re
from collections.abc import Mapping
from types import MappingProxyType

from doctor.findings import Finding, State
from doctor.texts import ADVICE, APP_KEYS, SENTENCES, Said
from services.errors import WeChatRefused
from services.wechat.errcodes import look_up

ERRCODES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        -1: ("wait", "微信系统繁忙"),
        40001: ("keys", "access_token 无效，或密钥不对"),
        40014: ("token", "access_token 格式不对"),
        42001: ("token", "access_token 已过期"),
        41001: ("token", "缺少 access_token"),
        40002: ("keys", "grant_type 不对"),
        40013: ("keys", "appid 不存在"),
        40125: ("keys", "AppSecret 不对"),
        41002: ("keys", "缺少 appid"),
        41004: ("keys", "缺少 secret"),
        40164: ("ip", "服务器的 IP 不在白名单里"),
        61004: ("ip", "服务器的 IP 不在白名单里"),
        61007: ("grant", "接口没有授权给第三方平台"),
        89503: ("ip_admin", "服务器的 IP 等待管理员确认"),
        89506: ("ip_admin", "服务器的 IP 被拒绝，24 小时内无效"),
        89507: ("ip_admin", "服务器的 IP 被拒绝，1 小时内无效"),
        40243: ("frozen", "AppSecret 已冻结"),
        50004: ("account", "禁止使用 token 接口"),
        50007: ("account", "账号已冻结"),
        48001: ("grant", "账号没有这个接口的权限"),
        45009: ("quota", "当天额度用完"),
        45011: ("wait", "这一分钟内调用太频繁"),
        45029: ("quota", "永久二维码已用完"),
        48006: ("quota", "本月清零额度的次数用完"),
        43001: ("report", "应当用 GET"),
        43002: ("report", "应当用 POST"),
        47001: ("report", "JSON 格式不对"),
        40003: ("person", "openid 不存在，或属于别的账号"),
        40032: ("report", "一次传的 openid 太多"),
        41009: ("report", "缺少 openid"),
        40052: ("report", "action_name 不对"),
        40053: ("report", "action_info 不对"),
        45103: ("grant", "不支持这种调用方"),
        40029: ("person", "code 无效，或属于别的 appid"),
        40163: ("person", "code 已经用过"),
        41008: ("person", "缺少 code"),
        42003: ("person", "code 已过期"),
        40030: ("person", "refresh_token 无效"),
        42002: ("person", "refresh_token 已过期"),
        41003: ("report", "缺少 refresh_token"),
        42007: ("person", "用户改了密码，授权失效"),
        40226: ("person", "高风险用户，登录被拦截"),
        40097: ("report", "参数不对"),
        40129: ("report", "scene 不允许"),
        40169: ("report", "scene 太长，或不是 JSON"),
        41030: ("page", "页面不存在或未发布"),
        85096: ("report", "用了保留参数 scancode_time"),
        87009: ("report", "会话签名不对"),
        40008: ("template", "消息类型不对"),
        40036: ("template", "template_id 长度不对"),
        40037: ("template", "template_id 不存在"),
        40039: ("template", "url 太长"),
        40247: ("template", "旧类型的模板"),
        40249: ("template", "禁止营销内容"),
        43004: ("person", "用户没有关注"),
        43116: ("template", "模板已被封禁"),
        47003: ("template", "有的值与字段类型不符"),
        40201: ("server", "后台没有设置服务器地址"),
        40202: ("report", "action 不对"),
        40203: ("report", "operator 不对"),
        10003: ("domain", "redirect_uri 与后台的域名不一致"),
        10004: ("account", "账号被封禁"),
        10005: ("grant", "账号没有这个 scope 的权限"),
        10006: ("person", "用户要先关注测试号"),
        10009: ("wait", "操作太频繁"),
        10010: ("report", "scope 为空"),
        10011: ("report", "redirect_uri 为空"),
        10012: ("report", "appid 为空"),
        10013: ("report", "state 为空"),
        10015: ("grant", "没有授权给第三方平台"),
        10016: ("grant", "这里用了开放平台的 appid"),
        76022: ("grant", "没有查询或调用这个接口的权限"),
    }
)
"""The key of `ADVICE` under which an errcode falls (its group), and its meaning in Chinese
(docs/zh-CN/errors.md)."""

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "keys": "credentials",
        "frozen": "credentials",
        "account": "credentials",
        "token": "credentials",
        "ip": "ip_list",
        "ip_admin": "ip_list",
        "grant": "account_type",
        "quota": "quota",
        "server": "console_url",
        "template": "template",
    }
)
"""What a group's errcodes speak of, in whatever call they come; the others of their own call."""

_MEANINGS = {76022: "the account may not call, or not ask about, this interface"}
"""Of errcodes that only the doctor's own calls (openapi/quota/get) come upon."""

_ADDRESS = re.compile(r"\binvalid ip (?:::ffff:)?([0-9A-Fa-fx.:]{3,45})")


def is_about_address(refusal: WeChatRefused) -> bool:
    """Whether WeChat refuses the address of the caller, and not its credentials."""
    return _row(refusal)[0] in ("ip", "ip_admin")


def address_in(errmsg: str) -> str:
    """The caller's address, which the text of 40164 names; empty where it does not."""
    found = _ADDRESS.search(errmsg)
    if found is None:
        return ""
    try:
        # WeChat's own examples hide a part of it behind an x.
        ipaddress.ip_address(found[1].replace("x", "1"))
    except ValueError:
        return ""
    return found[1]


def problem(refusal: WeChatRefused) -> Said:
    """The errcode and its meaning, with WeChat's own text, which the client has scrubbed."""
    number = refusal.errcode
    english = _MEANINGS.get(number) or look_up(number).meaning
    chinese = _row(refusal)[1]
    return Said(
        f"errcode {number}, {english} (WeChat: {refusal.errmsg})",
        f"errcode {number}，{chinese}（微信原文：{refusal.errmsg}）",
    )


def refused(check: str, refusal: WeChatRefused, account: str = "", *, of_app: str = "") -> Finding:
    """The finding that an errcode amounts to, wherever it came.

    Args:
        check: the check in whose call it came.
        of_app: the check of a mini program or website app, to which its errcodes belong.
    """
    group = _row(refusal)[0]
    about = of_app or CHECKS.get(group, check)
    said = problem(refusal)
    if group == "ip":
        address = address_in(refusal.errmsg) or SENTENCES["an_address"]
        values = {"problem": said, "address": address}
        return Finding(of_app or "ip_list", State.BAD, "ip_refused", values, account)
    if about == "account_type":
        return Finding(about, State.BAD, "account_type_bad", {"problem": said}, account)
    advice = APP_KEYS[of_app] if of_app and group == "keys" else ADVICE[group]
    return Finding(about, State.BAD, "errcode", {"problem": said}, account, advice)


def _row(refusal: WeChatRefused) -> tuple[str, str]:
    return ERRCODES.get(refusal.errcode, ("report", "不在对照表里"))
