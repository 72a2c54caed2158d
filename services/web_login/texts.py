"""The texts of the web login's pages by outcome and language: a title, and a sentence below."""

from collections.abc import Mapping
from types import MappingProxyType

from services.wechat.reply_texts import LANGUAGES

Words = Mapping[str, tuple[str, str]]


def _words(*pairs: tuple[str, str]) -> Words:
    return MappingProxyType(dict(zip(LANGUAGES, pairs, strict=True)))


OUTCOMES: Mapping[str, Words] = MappingProxyType(
    {
        "done": _words(
            ("登录成功", "请回到显示二维码的屏幕。"),
            ("登入成功", "請回到顯示 QR Code 的畫面。"),
            ("You are logged in", "Go back to the screen that showed the code."),
            ("ログインしました", "QR コードを表示していた画面に戻ってください。"),
        ),
        "done_here": _words(
            ("登录成功", "可以关闭此窗口。"),
            ("登入成功", "可以關閉此視窗。"),
            ("You are logged in", "You can close this window."),
            ("ログインしました", "このウィンドウを閉じてください。"),
        ),
        "register_ask": _words(
            ("还差一步", "请在登录页面填写资料，完成注册。"),
            ("還差一步", "請在登入頁面填寫資料，完成註冊。"),
            ("One more step", "Please complete your details on the login page."),
            ("あと一歩です", "ログイン画面で必要事項を入力してください。"),
        ),
        "denied": _words(
            ("已拒绝", "没有人因此登录。"),
            ("已拒絕", "沒有人因此登入。"),
            ("Refused", "Nobody was logged in."),
            ("拒否しました", "誰もログインしていません。"),
        ),
        "not_registered": _words(
            ("没有账号", "此微信在本网站没有账号，请联系网站。"),
            ("沒有帳號", "此微信在本網站沒有帳號，請聯絡網站。"),
            ("No account", "This WeChat has no account here. Please ask the site."),
            ("アカウントがありません", "この WeChat のアカウントは登録されていません。サイトへお問い合わせください。"),
        ),
        "banned": _words(
            ("账号已被封禁", "本网站已封禁您的账号。如有疑问，请联系网站。"),
            ("帳號已被停權", "本網站已將您的帳號停權。如有疑問，請聯絡網站。"),
            ("Account blocked", "This site has blocked your account. Please ask the site."),
            ("ご利用いただけません", "このサイトでのご利用が停止されています。サイトへお問い合わせください。"),
        ),
        "already_used": _words(
            ("已被他人使用", "其他人已使用此二维码，请刷新登录页面后重试。"),
            ("已被他人使用", "其他人已使用此 QR Code，請重新整理登入頁面後再試。"),
            ("Already used", "Another person used this code. Refresh the login page and retry."),
            ("使用済みです", "他の人がこのコードを使用しました。ログイン画面を更新してください。"),
        ),
        "expired": _words(
            ("已过期", "请刷新登录页面后重试。"),
            ("已過期", "請重新整理登入頁面後再試。"),
            ("Expired", "Refresh the login page and try again."),
            ("期限切れです", "ログイン画面を更新して、もう一度お試しください。"),
        ),
        "wrong_door": _words(
            ("登录方式不符", "这个登录要用另一种方式完成，请按登录页面的提示操作。"),
            ("登入方式不符", "這個登入要用另一種方式完成，請依登入頁面的提示操作。"),
            ("Not this way", "This login is finished another way. Follow the login page."),
            ("方法が異なります", "このログインは別の方法で行います。ログイン画面の案内に従ってください。"),
        ),
        "stale_link": _words(
            ("链接已失效", "此链接不是由这个浏览器打开的，或已用过。请从登录页面重新开始。"),
            ("連結已失效", "此連結不是由這個瀏覽器開啟的，或已用過。請從登入頁面重新開始。"),
            ("This link is over", "It was opened by another browser, or used before. Start "
             "again at the login page."),
            ("無効なリンクです", "このブラウザで開いたリンクではないか、使用済みです。ログイン画面からやり直してください。"),
        ),
        "code_refused": _words(
            ("微信未确认", "微信没有确认这次登录，请从登录页面重新开始。"),
            ("微信未確認", "微信沒有確認這次登入，請從登入頁面重新開始。"),
            ("WeChat did not confirm", "Please start again at the login page."),
            ("WeChat で確認できません", "ログイン画面からもう一度お試しください。"),
        ),
        "snapshot": _words(
            ("请使用完整服务", "当前是页面快照，无法登录。请点击底部的“使用完整服务”，再试一次。"),
            ("請使用完整服務", "目前是頁面快照，無法登入。請點選底部的「使用完整服務」，再試一次。"),
            ("Use the full service", "WeChat shows a snapshot of this page, which cannot log in. "
             "Tap “Use full service” below and try again."),
            ("完全なサービスをご利用ください", "ページのスナップショットではログインできません。"
             "下部の「完全なサービスを使用」をタップしてください。"),
        ),
        "unavailable": _words(
            ("暂时无法登录", "请稍后从登录页面重试。"),
            ("暫時無法登入", "請稍後從登入頁面再試。"),
            ("Not possible just now", "Please try again from the login page shortly."),
            ("一時的に利用できません", "しばらくしてからログイン画面でお試しください。"),
        ),
        "bad_request": _words(
            ("链接不正确", "请从登录页面重新开始。"),
            ("連結不正確", "請從登入頁面重新開始。"),
            ("Not a proper link", "Please start again at the login page."),
            ("リンクが正しくありません", "ログイン画面からやり直してください。"),
        ),
    }
)  # fmt: skip

QUESTION: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "zh-CN": {
            "title": "登录 {site}？",
            "warning": "只有您自己正在那块屏幕前登录时才允许。如果是别人发来的链接或二维码，请拒绝。",
            "browser": "浏览器（自称）",
            "screen": "屏幕",
            "time": "发起时间",
            "person": "微信昵称",
            "unknown": "未知",
            "allow": "允许登录",
            "deny": "拒绝",
            "close": "关闭",
        },
        "zh-TW": {
            "title": "登入 {site}？",
            "warning": "只有您自己正在那個畫面前登入時才允許。如果是別人傳來的連結或 QR Code，請拒絕。",
            "browser": "瀏覽器（自稱）",
            "screen": "畫面",
            "time": "發起時間",
            "person": "微信暱稱",
            "unknown": "未知",
            "allow": "允許登入",
            "deny": "拒絕",
            "close": "關閉",
        },
        "en": {
            "title": "Log in to {site}?",
            "warning": "Allow only if you are at that screen yourself, logging in. If a link "
            "or a code was sent to you, refuse.",
            "browser": "Browser (as reported)",
            "screen": "Screen",
            "time": "Requested at",
            "person": "WeChat name",
            "unknown": "unknown",
            "allow": "Allow",
            "deny": "Refuse",
            "close": "Close",
        },
        "ja": {
            "title": "{site} にログインしますか？",
            "warning": "ご自身がその画面の前でログインしている場合のみ許可してください。"
            "他人から送られたリンクやコードの場合は拒否してください。",
            "browser": "ブラウザ（自己申告）",
            "screen": "画面",
            "time": "開始時刻",
            "person": "WeChat の名前",
            "unknown": "不明",
            "allow": "許可する",
            "deny": "拒否する",
            "close": "閉じる",
        },
    }
)  # fmt: skip
