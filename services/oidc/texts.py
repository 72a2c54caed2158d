"""The texts of the OpenID Provider's small pages, by language: a title, and a sentence below."""

from collections.abc import Mapping
from types import MappingProxyType

from services.wechat.reply_texts import LANGUAGES

Words = Mapping[str, tuple[str, str]]


def _words(*pairs: tuple[str, str]) -> Words:
    return MappingProxyType(dict(zip(LANGUAGES, pairs, strict=True)))


def _each(*texts: str) -> Mapping[str, str]:
    return MappingProxyType(dict(zip(LANGUAGES, texts, strict=True)))


PAGES: Mapping[str, Words] = MappingProxyType(
    {
        "bad_request": _words(
            ("无法继续登录", "网站发来的请求不正确。请回到原来的网站重新开始；如果还是这样，请告诉网站的管理员。"),
            ("無法繼續登入", "網站傳來的請求不正確。請回到原來的網站重新開始；如果還是這樣，請告訴網站的管理員。"),
            ("This login cannot go on", "The site's request is not correct. Go back to the site "
             "and start again. If that does not help, tell its administrator."),
            ("ログインを続けられません", "サイトからのリクエストが正しくありません。元のサイトに戻ってやり直してください。"
             "それでも解決しない場合は、サイトの管理者にお知らせください。"),
        ),
        "over": _words(
            ("无法继续登录", "这次登录已经用过、已过期，或者是在另一个浏览器里开始的。请回到原来的网站重新开始。"),
            ("無法繼續登入", "這次登入已經用過、已過期，或者是在另一個瀏覽器裡開始的。請回到原來的網站重新開始。"),
            ("This login cannot go on", "It was used before, has expired, or began in another "
             "browser. Go back to the site and start again."),
            ("ログインを続けられません", "このログインは使用済みか、期限切れか、別のブラウザで始めたものです。"
             "元のサイトに戻ってやり直してください。"),
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

CAUSES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "client": _each(
            "致管理员：oidc.clients 里没有请求中的 client_id。",
            "致管理員：oidc.clients 裡沒有請求中的 client_id。",
            "For the administrator: the client_id of the request is not in oidc.clients.",
            "管理者の方へ：リクエストの client_id が oidc.clients にありません。",
        ),
        "no_redirect_uri": _each(
            "致管理员：请求中没有 redirect_uri。",
            "致管理員：請求中沒有 redirect_uri。",
            "For the administrator: the request has no redirect_uri.",
            "管理者の方へ：リクエストに redirect_uri がありません。",
        ),
        "redirect_uri": _each(
            "致管理员：请求中的 redirect_uri 没有登记；它必须与该客户端 redirect_uris 中的某一项逐字符相同。日志里有收到的值。",
            "致管理員：請求中的 redirect_uri 沒有登記；它必須與該用戶端 redirect_uris 中的某一項逐字元相同。日誌裡有收到的值。",
            "For the administrator: the redirect_uri of the request is not registered. It must be "
            "one of the client's redirect_uris, character by character. The log has what came.",
            "管理者の方へ：リクエストの redirect_uri は登録されていません。クライアントの redirect_uris の"
            "いずれかと一字一句同じである必要があります。受け取った値はログにあります。",
        ),
        "over": _each(
            "致管理员：请求已经用过、已过期，或者来自另一个浏览器或客户端。",
            "致管理員：請求已經用過、已過期，或者來自另一個瀏覽器或用戶端。",
            "For the administrator: the request was used or has expired, or is of another browser "
            "or client.",
            "管理者の方へ：リクエストが使用済みか期限切れか、別のブラウザまたはクライアントのものです。",
        ),
    }
)  # fmt: skip
"""By `authorize.Cause`: a line for the administrator of the client's site."""

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
