"""The texts of ``/device``, where a person allows a device: a title and a sentence each."""

from collections.abc import Mapping
from types import MappingProxyType

from services.oidc.texts import Words
from services.wechat.reply_texts import LANGUAGES


def _words(*pairs: tuple[str, str]) -> Words:
    return MappingProxyType(dict(zip(LANGUAGES, pairs, strict=True)))


PAGES: Mapping[str, Words] = MappingProxyType(
    {
        "enter": _words(
            ("输入设备上的代码", "代码有八个字母，显示在要登录的设备上。"),
            ("輸入裝置上的代碼", "代碼有八個字母，顯示在要登入的裝置上。"),
            ("Enter the code on your device", "It has eight letters, on the screen that you want "
             "to log in."),
            ("機器に表示されたコードを入力", "ログインする機器の画面に、8 文字のコードが表示されています。"),
        ),
        "question": _words(
            ("允许这台设备登录？", "允许后，显示这个代码的设备将以您的身份登录。"),
            ("允許這台裝置登入？", "允許後，顯示這個代碼的裝置將以您的身分登入。"),
            ("Allow this device?", "The device that shows this code will be logged in as you."),
            ("この機器を許可しますか？", "このコードを表示している機器が、あなたとしてログインします。"),
        ),
        "allowed": _words(
            ("设备已登录", "请回到设备上继续。"),
            ("裝置已登入", "請回到裝置上繼續。"),
            ("The device is logged in", "Go on at the device."),
            ("機器がログインしました", "機器の画面に戻って続けてください。"),
        ),
        "denied": _words(
            ("已拒绝", "设备没有登录。"),
            ("已拒絕", "裝置沒有登入。"),
            ("Refused", "The device is not logged in."),
            ("拒否しました", "機器はログインしていません。"),
        ),
        "taken": _words(
            ("已被他人使用", "其他人已经用自己的身份登录了这台设备。请在设备上重新开始。"),
            ("已被他人使用", "其他人已經用自己的身分登入了這台裝置。請在裝置上重新開始。"),
            ("Already used", "Another person has logged in at that device. Start again there."),
            ("使用済みです", "他の人がこの機器にログインしました。機器でやり直してください。"),
        ),
        "unknown": _words(
            ("代码不正确", "请对照设备屏幕上的代码再输入一次。代码十分钟内有效，过期后请在设备上重新开始。"),
            ("代碼不正確", "請對照裝置畫面上的代碼再輸入一次。代碼十分鐘內有效，過期後請在裝置上重新開始。"),
            ("That is not the code", "Compare it with the screen and try again. A code works for "
             "ten minutes; after that, start again at the device."),
            ("コードが違います", "機器の画面と見比べて、もう一度入力してください。コードの有効期間は 10 分です。"
             "過ぎた場合は機器でやり直してください。"),
        ),
        "not_logged_in": _words(
            ("没有登录", "没有允许任何设备。要继续，请再提交一次代码并登录。"),
            ("沒有登入", "沒有允許任何裝置。要繼續，請再送出一次代碼並登入。"),
            ("You are not logged in", "No device was allowed. To go on, send the code once more "
             "and log in."),
            ("ログインしていません", "どの機器も許可していません。続けるには、もう一度コードを送信してログインしてください。"),
        ),
    }
)  # fmt: skip

LABELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "zh-CN": {
            "client": "应用",
            "code": "设备上的代码",
            "warning": "只有这个代码正显示在您面前的设备上时才允许。如果代码或链接是别人发来的，请拒绝。",
            "allow": "允许",
            "deny": "拒绝",
            "go": "继续",
            "close": "关闭",
        },
        "zh-TW": {
            "client": "應用程式",
            "code": "裝置上的代碼",
            "warning": "只有這個代碼正顯示在您面前的裝置上時才允許。如果代碼或連結是別人傳來的，請拒絕。",
            "allow": "允許",
            "deny": "拒絕",
            "go": "繼續",
            "close": "關閉",
        },
        "en": {
            "client": "App",
            "code": "Code on the device",
            "warning": "Allow only if a device in front of you shows this code right now. If the "
            "code or a link was sent to you, refuse.",
            "allow": "Allow",
            "deny": "Refuse",
            "go": "Continue",
            "close": "Close",
        },
        "ja": {
            "client": "アプリ",
            "code": "機器のコード",
            "warning": "目の前の機器にこのコードが表示されている場合のみ許可してください。"
            "コードやリンクが他人から送られたものなら、拒否してください。",
            "allow": "許可する",
            "deny": "拒否する",
            "go": "続ける",
            "close": "閉じる",
        },
    }
)  # fmt: skip
