"""What the account says in the chat, per outcome and language.

`{site}`, `{browser}`, `{label}`, `{time}` and the others are filled in by `replies.text`; a line
whose value is missing is left out. Every sentence after a login names the site and says what to do
when the code was sent by another person: that is what helps against QRLjacking.
"""

from collections.abc import Mapping
from types import MappingProxyType

LANGUAGES = ("zh-CN", "zh-TW", "en", "ja")

THIS_SITE: Mapping[str, str] = MappingProxyType(
    {"zh-CN": "本网站", "zh-TW": "本網站", "en": "this site", "ja": "このサイト"}
)
"""Stands for the site where the operator named none."""

TEXTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "logged_in": {
            "zh-CN": "登录成功：您已登录 {site}。\n不是您本人要登录？请立即联系 {site}，"
            "并且不要扫描别人发来的二维码。",
            "zh-TW": "登入成功：您已登入 {site}。\n不是您本人要登入？請立即聯絡 {site}，"
            "並且不要掃描別人傳來的 QR Code。",
            "en": "You are now logged in to {site}.\nNot you? Contact {site} at once, and do not "
            "scan codes that others send you.",
            "ja": "{site} にログインしました。\n心当たりがない場合は、すぐに {site} へご連絡ください。"
            "他人から送られた QR コードは読み取らないでください。",
        },
        "registered": {
            "zh-CN": "欢迎！您已首次登录 {site}，账号已创建。\n不是您本人要登录？请立即联系 {site}，"
            "并且不要扫描别人发来的二维码。",
            "zh-TW": "歡迎！您已首次登入 {site}，帳號已建立。\n不是您本人要登入？請立即聯絡 {site}，"
            "並且不要掃描別人傳來的 QR Code。",
            "en": "Welcome! This is your first login to {site}; your account is ready.\nNot you? "
            "Contact {site} at once, and do not scan codes that others send you.",
            "ja": "ようこそ。{site} に初めてログインし、アカウントを作成しました。\n心当たりがない場合は、"
            "すぐに {site} へご連絡ください。他人から送られた QR コードは読み取らないでください。",
        },
        "already_used": {
            "zh-CN": "这个二维码已被其他人使用。请刷新 {site} 的页面，重新扫描新的二维码。",
            "zh-TW": "這個 QR Code 已被其他人使用。請重新整理 {site} 的頁面，再掃描新的 QR Code。",
            "en": "Somebody else has already used this code. Refresh the page of {site} and scan "
            "the new one.",
            "ja": "この QR コードはすでに他の人が使用しました。{site} のページを更新し、"
            "新しい QR コードを読み取ってください。",
        },
        "repeated": {
            "zh-CN": "您已通过这个二维码登录 {site}，无需重复操作。",
            "zh-TW": "您已透過這個 QR Code 登入 {site}，無需重複操作。",
            "en": "You are already logged in to {site} with this code; nothing more to do.",
            "ja": "この QR コードで {site} にログイン済みです。再度の操作は不要です。",
        },
        "expired": {
            "zh-CN": "二维码已过期，请刷新 {site} 的页面后重新扫描。",
            "zh-TW": "QR Code 已過期，請重新整理 {site} 的頁面後再掃描。",
            "en": "This code has expired. Refresh the page of {site} and scan again.",
            "ja": "QR コードの有効期限が切れました。{site} のページを更新してもう一度読み取ってください。",
        },
        "cancelled": {
            "zh-CN": "{site} 的这次登录已在网页上取消。",
            "zh-TW": "{site} 的這次登入已在網頁上取消。",
            "en": "This login to {site} was cancelled on the page.",
            "ja": "{site} へのこのログインはページ上でキャンセルされました。",
        },
        "denied": {
            "zh-CN": "{site} 的这次登录已被拒绝。如需登录，请刷新页面后重新扫描。",
            "zh-TW": "{site} 的這次登入已被拒絕。如需登入，請重新整理頁面後再掃描。",
            "en": "This login to {site} was denied. To log in, refresh the page and scan again.",
            "ja": "{site} へのこのログインは拒否されました。ログインするにはページを更新して"
            "もう一度読み取ってください。",
        },
        "failed": {
            "zh-CN": "登录 {site} 时出了点问题，请刷新页面后再试一次。",
            "zh-TW": "登入 {site} 時發生問題，請重新整理頁面後再試一次。",
            "en": "Something went wrong with the login to {site}. Please refresh the page and try "
            "again.",
            "ja": "{site} へのログイン中に問題が発生しました。ページを更新してもう一度お試しください。",
        },
        "confirm_ask": {
            "zh-CN": "有人请求以您的身份登录 {site}。\n浏览器（自称）：{browser}\n屏幕：{label}\n"
            "时间：{time}\n回复 1 允许，回复 0 拒绝。\n不是您本人在操作？请回复 0。",
            "zh-TW": "有人請求以您的身分登入 {site}。\n瀏覽器（自稱）：{browser}\n螢幕：{label}\n"
            "時間：{time}\n回覆 1 允許，回覆 0 拒絕。\n不是您本人在操作？請回覆 0。",
            "en": "Somebody asks to log in to {site} as you.\nBrowser (as it claims): {browser}\n"
            "Screen: {label}\nTime: {time}\nReply 1 to allow, 0 to deny.\nNot you? Reply 0.",
            "ja": "{site} へあなたとしてログインする要求があります。\nブラウザー（自称）：{browser}\n"
            "画面：{label}\n時刻：{time}\n許可するには 1、拒否するには 0 と返信してください。\n"
            "心当たりがない場合は 0 と返信してください。",
        },
        "number_ask": {
            "zh-CN": "有人请求以您的身份登录 {site}。\n浏览器（自称）：{browser}\n屏幕：{label}\n"
            "时间：{time}\n数字：{number}\n请在您扫码的页面上亲自输入这个数字，不要告诉任何人。\n"
            "不是您本人在操作？请回复 0。",
            "zh-TW": "有人請求以您的身分登入 {site}。\n瀏覽器（自稱）：{browser}\n螢幕：{label}\n"
            "時間：{time}\n數字：{number}\n請在您掃碼的頁面上親自輸入這個數字，不要告訴任何人。\n"
            "不是您本人在操作？請回覆 0。",
            "en": "Somebody asks to log in to {site} as you.\nBrowser (as it claims): {browser}\n"
            "Screen: {label}\nTime: {time}\nNumber: {number}\nType it yourself on the page whose "
            "code you scanned, and tell it to no other person.\nNot you? Reply 0.",
            "ja": "{site} へあなたとしてログインする要求があります。\nブラウザー（自称）：{browser}\n"
            "画面：{label}\n時刻：{time}\n数字：{number}\nコードを表示したページに、この数字をご自身で入力して"
            "ください。他の人には教えないでください。\n心当たりがない場合は 0 と返信してください。",
        },
        "number_wrong": {
            "zh-CN": "页面上输入的数字不对，没有人以您的身份登录 {site}。\n"
            "如果是您本人，请刷新页面后重新扫描。如果不是，请不要扫描别人发来的二维码。",
            "zh-TW": "頁面上輸入的數字不對，沒有人以您的身分登入 {site}。\n"
            "如果是您本人，請重新整理頁面後再掃描。如果不是，請不要掃描別人傳來的 QR Code。",
            "en": "A wrong number was typed on the page: nobody was logged in to {site} as you.\n"
            "If it was you, refresh the page and scan again. If not, do not scan codes that others "
            "send you.",
            "ja": "ページに入力された数字が違うため、{site} へのログインは行われていません。\n"
            "ご本人の場合は、ページを更新してもう一度読み取ってください。心当たりがない場合は、"
            "他人から送られた QR コードを読み取らないでください。",
        },
        "confirm_allowed": {
            "zh-CN": "已允许：您已登录 {site}。",
            "zh-TW": "已允許：您已登入 {site}。",
            "en": "Allowed: you are now logged in to {site}.",
            "ja": "許可しました。{site} にログインしました。",
        },
        "confirm_denied": {
            "zh-CN": "已拒绝：没有人以您的身份登录 {site}。",
            "zh-TW": "已拒絕：沒有人以您的身分登入 {site}。",
            "en": "Denied: nobody was logged in to {site} as you.",
            "ja": "拒否しました。{site} へのログインは行われていません。",
        },
        "register_ask": {
            "zh-CN": "请回到 {site} 的页面，填写资料完成注册。\n不是您本人在操作？请忽略此消息。",
            "zh-TW": "請回到 {site} 的頁面，填寫資料完成註冊。\n不是您本人在操作？請忽略此訊息。",
            "en": "Please go back to the page of {site} and complete your registration.\nNot you? "
            "Ignore this message.",
            "ja": "{site} のページに戻り、登録を完了してください。\n"
            "心当たりがない場合は、このメッセージを無視してください。",
        },
        "not_registered": {
            "zh-CN": "您的微信还没有 {site} 的账号，无法登录。请联系 {site} 开通。",
            "zh-TW": "您的微信還沒有 {site} 的帳號，無法登入。請聯絡 {site} 開通。",
            "en": "There is no account of {site} for your WeChat, so you cannot log in. Please "
            "contact {site}.",
            "ja": "あなたの WeChat に対応する {site} のアカウントがないため、ログインできません。"
            "{site} にお問い合わせください。",
        },
        "banned": {
            "zh-CN": "您在 {site} 的账号已被封禁，无法登录。如有疑问，请联系 {site}。",
            "zh-TW": "您在 {site} 的帳號已被停權，無法登入。如有疑問，請聯絡 {site}。",
            "en": "{site} has blocked your account, so you cannot log in. If you think this is a "
            "mistake, please contact {site}.",
            "ja": "{site} でのご利用が停止されているため、ログインできません。お心当たりがない場合は "
            "{site} にお問い合わせください。",
        },
        "code_unknown": {
            "zh-CN": "登录码不正确或已过期，请核对 {site} 页面上的登录码后重新发送。",
            "zh-TW": "登入碼不正確或已過期，請核對 {site} 頁面上的登入碼後重新傳送。",
            "en": "This login code is wrong or has expired. Check the code on the page of {site} "
            "and send it again.",
            "ja": "ログインコードが正しくないか、期限切れです。{site} のページのコードを確認して"
            "もう一度送信してください。",
        },
        "sessions_listed": {
            "zh-CN": "您在 {site} 的登录：",
            "zh-TW": "您在 {site} 的登入：",
            "en": "You are logged in to {site} on:",
            "ja": "{site} にログイン中の端末：",
        },
        "session_line": {
            "zh-CN": "{number}. {label}，{begun}登录，{used}用过",
            "zh-TW": "{number}. {label}，{begun}登入，{used}用過",
            "en": "{number}. {label}, since {begun}, last used {used}",
            "ja": "{number}. {label}（ログイン：{begun}、最終利用：{used}）",
        },
        "sessions_more": {
            "zh-CN": "另有 {number} 个更早的登录",
            "zh-TW": "另有 {number} 個更早的登入",
            "en": "and {number} older ones",
            "ja": "ほかに以前のログインが {number} 件",
        },
        "sessions_hint": {
            "zh-CN": "回复“退出 1”退出第 1 个。最近的登录不是您本人？回复“不是我”。",
            "zh-TW": "回覆「登出 1」登出第 1 個。最近的登入不是您本人？回覆「不是我」。",
            "en": "Reply “end 1” to log out number 1. Is the latest login not yours? Reply "
            "“not me”.",
            "ja": "「ログアウト 1」と返信すると 1 番をログアウトします。"
            "最新のログインに心当たりがない場合は「私ではない」と返信してください。",
        },
        "sessions_none": {
            "zh-CN": "您在 {site} 没有任何登录。",
            "zh-TW": "您在 {site} 沒有任何登入。",
            "en": "You are not logged in to {site} anywhere.",
            "ja": "{site} にログイン中の端末はありません。",
        },
        "session_ended": {
            "zh-CN": "已退出 {site}：{label}。",
            "zh-TW": "已登出 {site}：{label}。",
            "en": "Logged out of {site}: {label}.",
            "ja": "{site} からログアウトしました：{label}",
        },
        "session_unknown": {
            "zh-CN": "没有这个编号。请先回复“设备”，查看最新的列表。",
            "zh-TW": "沒有這個編號。請先回覆「裝置」，查看最新的清單。",
            "en": "There is no such number. Reply “devices” for the current list.",
            "ja": "その番号はありません。「端末」と返信して最新の一覧をご確認ください。",
        },
        "not_me_ended": {
            "zh-CN": "已退出您最近的登录：{label}，{begun}。我们已通知 {site}。\n"
            "回复“设备”查看其余的登录。请不要扫描别人发来的二维码。",
            "zh-TW": "已登出您最近的登入：{label}，{begun}。我們已通知 {site}。\n"
            "回覆「裝置」查看其餘的登入。請不要掃描別人傳來的 QR Code。",
            "en": "Your latest login is over: {label}, {begun}. {site} has been told.\n"
            "Reply “devices” to see the others. Do not scan codes that others send you.",
            "ja": "最新のログインを終了しました：{label}、{begun}。{site} に通知しました。\n"
            "ほかのログインは「端末」と返信して確認できます。"
            "他人から送られた QR コードは読み取らないでください。",
        },
        "not_me_none": {
            "zh-CN": "您在 {site} 没有可以退出的登录。如有疑问，请联系 {site}。",
            "zh-TW": "您在 {site} 沒有可以登出的登入。如有疑問，請聯絡 {site}。",
            "en": "There is no login to {site} to end. If you are in doubt, contact {site}.",
            "ja": "終了できる {site} のログインはありません。ご不明な点は {site} にお問い合わせください。",
        },
        "code_locked": {
            "zh-CN": "尝试次数过多，请稍后再试。",
            "zh-TW": "嘗試次數過多，請稍後再試。",
            "en": "Too many attempts. Please try again later.",
            "ja": "試行回数が多すぎます。しばらくしてからもう一度お試しください。",
        },
    }
)

AGO: Mapping[str, tuple[str, str, str, str]] = MappingProxyType(
    {
        "zh-CN": ("刚刚", "{n} 分钟前", "{n} 小时前", "{n} 天前"),
        "zh-TW": ("剛剛", "{n} 分鐘前", "{n} 小時前", "{n} 天前"),
        "en": ("just now", "{n} min ago", "{n} h ago", "{n} d ago"),
        "ja": ("たった今", "{n} 分前", "{n} 時間前", "{n} 日前"),
    }
)
"""How long ago: less than a minute, an hour, a day, and more."""
