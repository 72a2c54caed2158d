"""Which messages are words about sessions, and which are not."""

import pytest

from services.ids import LETTERS
from services.scenes.chat import ALLOW, DENY, plain
from services.scenes.session_words import _WORDS, Wish, read
from services.scenes.typed_codes import DIGITS
from services.wechat.reply_texts import LANGUAGES, TEXTS


@pytest.mark.parametrize(
    ("message", "wish", "number"),
    [
        ("设备", Wish.LIST, 0),
        (" 設備。", Wish.LIST, 0),
        ("裝置", Wish.LIST, 0),
        ("devices", Wish.LIST, 0),
        ("Devices!", Wish.LIST, 0),
        ("ＤＥＶＩＣＥＳ", Wish.LIST, 0),
        ("端末", Wish.LIST, 0),
        ("ﾃﾞﾊﾞｲｽ", Wish.LIST, 0),
        ("退出 2", Wish.END, 2),
        ("退出２", Wish.END, 2),
        ("退出\u3000１２", Wish.END, 12),
        ("登出 2", Wish.END, 2),
        ("end 2", Wish.END, 2),
        ("END  2.", Wish.END, 2),
        ("ログアウト 3", Wish.END, 3),
        ("終了3", Wish.END, 3),
        ("end 0", Wish.END, 0),
        ("不是我", Wish.NOT_ME, 0),
        ("不是我！", Wish.NOT_ME, 0),
        ("not me", Wish.NOT_ME, 0),
        ("Not  Me.", Wish.NOT_ME, 0),
        ("私ではない", Wish.NOT_ME, 0),
    ],
)
def test_a_word_is_read_however_it_is_typed(message: str, wish: Wish, number: int) -> None:
    """Full-width characters, capitals, blanks and full stops make no difference."""
    request = read(plain(message))
    assert request is not None and (request.wish, request.number) == (wish, number)


@pytest.mark.parametrize(
    "message",
    [
        *("", "device", "my devices", "设备 2", "devices 1", "退出", "end", "end two", "end -2"),
        *("end 2 now", "end 1234", "weekend 2", "the end 2", "退出 2 3", "end 2\n3", "2"),
        *("not me 2", "it was not me", "不是我的", "不是", "end ٢", "登出 " + "2" * 5000),
        "devices " * 1000,
    ],
)
def test_anything_else_is_none(message: str) -> None:
    """It goes where every other message goes."""
    assert read(plain(message)) is None


def test_no_word_means_something_else() -> None:
    """Neither an answer to the question, nor anything that a typed code could be."""
    words = {word for languages in _WORDS.values() for some in languages.values() for word in some}
    assert not words & (ALLOW | DENY)
    assert all(plain(word) == word for word in words)
    for word in words:
        assert not set(word.upper()) <= set(DIGITS) | set(LETTERS)


def test_every_language_has_its_words() -> None:
    """And its replies quote words that are read as what they say."""
    for languages in _WORDS.values():
        assert set(languages) == set(LANGUAGES)
    for lang, list_word, end_word, not_me in (
        ("zh-CN", "设备", "退出 1", "不是我"),
        ("zh-TW", "裝置", "登出 1", "不是我"),
        ("en", "devices", "end 1", "not me"),
        ("ja", "端末", "ログアウト 1", "私ではない"),
    ):
        hint = TEXTS["sessions_hint"][lang]
        assert end_word in hint and not_me in hint
        assert (
            list_word in TEXTS["session_unknown"][lang] and list_word in TEXTS["not_me_ended"][lang]
        )
        for word, wish in ((list_word, Wish.LIST), (end_word, Wish.END), (not_me, Wish.NOT_ME)):
            request = read(plain(word))
            assert request is not None and request.wish is wish
            assert request.language(lang) == lang


def test_the_reply_is_in_the_language_of_the_word() -> None:
    """That of the account where the word is of it, too."""
    common, english = read("不是我"), read("not me")
    assert common is not None and english is not None
    assert [common.language(lang) for lang in LANGUAGES] == ["zh-CN", "zh-TW", "zh-CN", "zh-CN"]
    assert {english.language(lang) for lang in LANGUAGES} == {"en"}
