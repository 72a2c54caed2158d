"""The texts of the OpenID Provider's small pages, by language: a title, and a sentence below."""

from collections.abc import Mapping
from types import MappingProxyType

from services.wechat.reply_texts import LANGUAGES

Words = Mapping[str, tuple[str, str]]


def _words(*pairs: tuple[str, str]) -> Words:
    return MappingProxyType(dict(zip(LANGUAGES, pairs, strict=True)))


PAGES: Mapping[str, Words] = MappingProxyType(
    {
        "bad_request": _words(
            ("无法继续登录", "发来的请求不正确，或者已经用过。请回到原来的网站重新开始；如果还是这样，请告诉网站的管理员。"),
            ("無法繼續登入", "傳來的請求不正確，或者已經用過。請回到原來的網站重新開始；如果還是這樣，請告訴網站的管理員。"),
            ("This login cannot go on", "The request is not correct, or was used before. Go back "
             "to the site and start again. If that does not help, tell its administrator."),
            ("ログインを続けられません", "リクエストが正しくないか、使用済みです。元のサイトに戻ってやり直してください。"
             "それでも解決しない場合は、サイトの管理者にお知らせください。"),
        ),
        "unavailable": _words(
            ("暂时无法登录", "请稍后重新加载本页。"),
            ("暫時無法登入", "請稍後重新載入本頁。"),
            ("Not possible just now", "Please reload this page shortly."),
            ("一時的に利用できません", "しばらくしてから、このページを再読み込みしてください。"),
        ),
        "log_out": _words(
            ("要退出登录吗？", "退出后，这个浏览器再登录任何网站都要重新扫码，通过它登录的网站也会一起退出。"),
            ("要登出嗎？", "登出後，這個瀏覽器再登入任何網站都要重新掃碼，透過它登入的網站也會一起登出。"),
            ("Log out?", "This browser will need another scan to log in anywhere, and the sites it "
             "logged in to are told to log you out as well."),
            ("ログアウトしますか？", "このブラウザは次のログインでもう一度スキャンが必要になり、ログイン中のサイトもログアウトされます。"),
        ),
        "log_out_bad_request": _words(
            ("没有退出登录", "网站发来的请求不正确，您仍然是登录状态。请告诉网站的管理员。"),
            ("沒有登出", "網站傳來的請求不正確，您仍然是登入狀態。請告訴網站的管理員。"),
            ("You are not logged out", "The site's request is not correct, and nothing has "
             "changed. Please tell its administrator."),
            ("ログアウトしていません", "サイトからのリクエストが正しくないため、ログインしたままです。サイトの管理者にお知らせください。"),
        ),
        "logged_out": _words(
            ("已退出登录", "这个浏览器下次登录需要重新扫码。"),
            ("已登出", "這個瀏覽器下次登入需要重新掃碼。"),
            ("You are logged out", "This browser will need another scan to log in."),
            ("ログアウトしました", "このブラウザで次にログインするときは、もう一度スキャンが必要です。"),
        ),
        "still_logged_in": _words(
            ("没有退出登录", "您仍然是登录状态，可以关闭本页。"),
            ("沒有登出", "您仍然是登入狀態，可以關閉本頁。"),
            ("You are still logged in", "Nothing has changed. You can close this page."),
            ("ログインしたままです", "何も変更していません。このページを閉じてかまいません。"),
        ),
        "onward": _words(
            ("正在返回网站", "如果页面没有自动跳转，请点击下面的按钮。"),
            ("正在返回網站", "如果頁面沒有自動跳轉，請點選下面的按鈕。"),
            ("Going back to the site", "If nothing happens, press the button."),
            ("サイトに戻ります", "自動的に移動しない場合は、下のボタンを押してください。"),
        ),
    }
)  # fmt: skip

BUTTONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "zh-CN": {
            "yes": "退出登录",
            "no": "取消",
            "back": "返回网站",
            "go": "继续",
            "site": "网站",
        },
        "zh-TW": {"yes": "登出", "no": "取消", "back": "返回網站", "go": "繼續", "site": "網站"},
        "en": {
            "yes": "Log out",
            "no": "Cancel",
            "back": "Back to the site",
            "go": "Continue",
            "site": "Site",
        },
        "ja": {
            "yes": "ログアウト",
            "no": "キャンセル",
            "back": "サイトに戻る",
            "go": "続ける",
            "site": "サイト",
        },
    }
)
