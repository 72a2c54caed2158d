"""The words of the simulator's pages, in Chinese and English."""

from collections.abc import Mapping
from types import MappingProxyType

ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        "title": "Simulated phone",
        "badge": "WeChat is simulated here",
        "badge_more": "No real WeChat, account or person is involved.",
        "who": "Whose phone is this?",
        "suggestions": "Alice,Bob,Chen",
        "nameless": "Since 2021 WeChat tells a site no name with a scan: the login page says "
        "“WeChat user”. A pop-up login passes the name on.",
        "name": "Another name",
        "use": "Use",
        "change": "Change",
        "you": "This is the phone of",
        "scan": "Scan",
        "scan_follow": "Scan and follow",
        "scan_hint": "You already follow this account. WeChat would open its chat after the scan.",
        "follow_hint": "You do not follow this account yet. WeChat asks a newcomer to follow it.",
        "expired": "This QR code has expired. Use the new one on the login page.",
        "unknown": "This QR code is not known here: the simulator was started again without its "
        "state. Reload the login page.",
        "no_code": "The button “Open the simulated phone” of a login page brings its code here. Or "
        "follow the account and write to it.",
        "follow": "Follow",
        "unfollow": "Unfollow",
        "chat": "Chat",
        "empty": "No messages yet.",
        "write": "Write a message",
        "send": "Send",
        "busy": "Sending …",
        "sent": "The scan was delivered. Look at the login page.",
        "failed": "The server did not answer as WeChat expects",
        "offline": "The simulator does not answer. Is it still running?",
        "notice": "Service notice",
        "scripts": "This page needs JavaScript.",
        "account": "Simulated account",
        "mini_program": "Simulated mini program",
        "website": "Simulated website app",
        "goes_to": "Afterwards the browser goes to",
        "wechat_only": "Open the link in WeChat",
        "wechat_only_more": "This simulator was told to serve only WeChat's own browser.",
        "consent_base": "This site wants to know which follower you are, nothing else.",
        "consent_profile": "This site wants your nickname and avatar.",
        "consent_website": "Log in to this website with your WeChat account?",
        "consent_mini": "Allow the login on the other screen?",
        "mini_open": "The code opens this mini program.",
        "open": "Open",
        "allow": "Allow",
        "deny": "Deny",
        "allowed": "Allowed",
        "allowed_more": "Go on at the other screen. This page may be closed.",
        "refused": "Denied",
        "refused_more": "Nothing was passed on. This page may be closed.",
        "over": "Over",
        "over_more": "This code has expired or was used. Load the page with the code again.",
        "not_possible": "That was not possible",
        "website_title": "WeChat login",
        "website_code": "QR code for the phone",
        "website_scan": "Scan to log in to",
        "website_scanned": "Scanned. Confirm it on the phone.",
        "open_phone": "Open the simulated phone",
    }
)

CHINESE: Mapping[str, str] = MappingProxyType(
    {
        "title": "模拟手机",
        "badge": "这里的微信是模拟的",
        "badge_more": "不涉及真实的微信、账号或个人。",
        "who": "这是谁的手机？",
        "suggestions": "小明,丽丽,阿强",
        "nameless": "自 2021 年起，扫码时微信不再向网站提供昵称，所以登录页显示“微信用户”；弹窗登录会提供昵称。",
        "name": "其他名字",
        "use": "确定",
        "change": "换人",
        "you": "当前手机：",
        "scan": "扫码",
        "scan_follow": "扫码并关注",
        "scan_hint": "你已关注该公众号，扫码后微信会打开与它的会话。",
        "follow_hint": "你尚未关注该公众号，微信会请新用户先关注。",
        "expired": "二维码已过期，请使用登录页上的新二维码。",
        "unknown": "这里没有这个二维码：模拟器重新启动过，没有保留之前的状态。请刷新登录页。",
        "no_code": "登录页上的“打开模拟手机”按钮会把二维码带到这里；也可以关注公众号，给它发消息。",
        "follow": "关注",
        "unfollow": "取消关注",
        "chat": "会话",
        "empty": "还没有消息。",
        "write": "输入消息",
        "send": "发送",
        "busy": "正在发送…",
        "sent": "扫码已送达，请看登录页。",
        "failed": "服务器的回答不符合微信的要求",
        "offline": "模拟器没有回应，它还在运行吗？",
        "notice": "服务通知",
        "scripts": "本页需要 JavaScript。",
        "account": "模拟公众号",
        "mini_program": "模拟小程序",
        "website": "模拟网站应用",
        "goes_to": "之后浏览器将前往",
        "wechat_only": "请在微信客户端打开链接",
        "wechat_only_more": "此模拟器被设置为只接受微信内置浏览器。",
        "consent_base": "该网站想知道你是哪位关注者，不获取其他信息。",
        "consent_profile": "该网站申请获取你的昵称和头像。",
        "consent_website": "使用你的微信账号登录该网站？",
        "consent_mini": "允许在另一个屏幕上登录？",
        "mini_open": "该码将打开此小程序。",
        "open": "打开",
        "allow": "允许",
        "deny": "拒绝",
        "allowed": "已允许",
        "allowed_more": "请回到另一个屏幕继续，本页可以关闭。",
        "refused": "已拒绝",
        "refused_more": "没有提供任何信息，本页可以关闭。",
        "over": "已失效",
        "over_more": "该码已过期或已使用，请刷新显示它的页面。",
        "not_possible": "操作未成功",
        "website_title": "微信登录",
        "website_code": "供手机扫描的二维码",
        "website_scan": "扫码登录",
        "website_scanned": "已扫描，请在手机上确认。",
        "open_phone": "打开模拟手机",
    }
)


def language_of(accept_language: str) -> str:
    """``zh-CN`` or ``en``: whichever the browser's list (RFC 9110, 12.5.4) prefers."""
    best, language = 0.0, "en"
    # Only the primary subtag counts: zh-TW and zh-Hans are Chinese, en-GB is English.
    for part in accept_language.lower().split(","):
        tag, _, weight = part.strip().partition(";q=")
        candidate = {"zh": "zh-CN", "en": "en"}.get(tag.split("-")[0])
        try:
            quality = float(weight or "1")
        except ValueError:
            continue
        if candidate and quality > best:
            best, language = quality, candidate
    return language


def texts(language: str) -> dict[str, str]:
    """The words of one language, a plain dict for templates and JSON."""
    return dict(CHINESE if language == "zh-CN" else ENGLISH)
