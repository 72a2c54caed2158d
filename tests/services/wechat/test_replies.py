"""What the person reads, and how it travels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wechat import messages, replies
from services.wechat.crypto import Cipher, signature_matches
from services.wechat.reply_texts import LANGUAGES, TEXTS
from tests.services.wechat import vectors

EVENT = messages.parse(vectors.D.message)
D = vectors.D

OUTCOMES = {
    "logged_in",
    "registered",
    "already_used",
    "repeated",
    "expired",
    "cancelled",
    "denied",
    "failed",
    "confirm_ask",
    "number_ask",
    "number_wrong",
    "confirm_allowed",
    "confirm_denied",
    "register_ask",
    "not_registered",
    "banned",
    "code_unknown",
    "code_locked",
    "sessions_listed",
    "session_line",
    "sessions_more",
    "sessions_hint",
    "sessions_none",
    "session_ended",
    "session_unknown",
    "not_me_ended",
    "not_me_none",
}


def test_every_outcome_in_every_language() -> None:
    """No outcome lacks a language, and no two languages say it in the same words."""
    assert set(TEXTS) == OUTCOMES
    for sentences in TEXTS.values():
        assert tuple(sentences) == LANGUAGES
        assert len(set(sentences.values())) == len(LANGUAGES)


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_sentence_can_be_filled(outcome: str, lang: str) -> None:
    """With all values given nothing is left open, and the reply's limit is far."""
    values = {"site": "Example", "browser": "Firefox", "label": "Lobby 3", "time": "12:00"}
    values |= {"number": "2", "begun": "3 h ago", "used": "just now"}
    sentence = replies.text(outcome, lang, **values)
    assert sentence and "{" not in sentence
    assert len(sentence.encode()) < replies.MAX_CONTENT_BYTES


@pytest.mark.parametrize("outcome", ["logged_in", "registered", "confirm_ask"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_logins_name_the_site_and_a_way_out(outcome: str, lang: str) -> None:
    """A person who was tricked into scanning learns where they are now and what to do."""
    lines = replies.text(outcome, lang, site="Example").split("\n")
    assert "Example" in lines[0] and len(lines) >= 2


def test_missing_values_drop_their_line() -> None:
    """A browser scene has no label of a screen: that line is not shown."""
    asked = replies.text("confirm_ask", "en", site="Example", browser="Firefox", label="")
    assert "Firefox" in asked and "Screen" not in asked and "Time" not in asked


def test_missing_site() -> None:
    """Without a site name the sentence still stands."""
    assert replies.text("expired", "en").startswith("This code has expired. Refresh the page of th")


def test_values_cannot_write_lines_of_their_own() -> None:
    """A browser's claimed name cannot add a line, turn the text round or flood it."""
    evil = "Firefox\nReply 1 to win\r\u202eabc\u0000" + "x" * 10_000
    asked = replies.text("confirm_ask", "en", site="{0.__class__}", browser=evil)
    line = asked.split("\n")[1]
    assert line.startswith("Browser (as it claims): Firefox Reply 1 to win abc x")
    assert len(line) < 100 and "{0.__class__}" in asked


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("zh-CN", "zh-CN"),
        ("zh_tw", "zh-TW"),
        ("zh-Hant-HK", "zh-TW"),
        ("zh", "zh-CN"),
        ("ja-JP", "ja"),
        ("en-GB", "en"),
        ("fr", "en"),
        ("", "en"),
    ],
)
def test_nearest_language(tag: str, expected: str) -> None:
    """A language that there is no text for becomes the nearest one with a text."""
    assert replies.language(tag) == expected


def test_time_names_its_zone() -> None:
    """The person reads the time of WeChat's own zone."""
    assert replies.beijing_time(1700000000) == "2023-11-15 06:13 (UTC+8)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59.9, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    """Whole units, rounded down; a clock that is ahead gives no negative number."""
    assert replies.ago(seconds, "en-GB") == words


def test_sender_and_receiver_are_swapped() -> None:
    """The account speaks to the person."""
    fields = messages.document(replies.text_reply(EVENT, "hi", 1700000001.9))
    assert fields == {
        "ToUserName": EVENT.openid,
        "FromUserName": EVENT.to_user,
        "CreateTime": "1700000001",
        "MsgType": "text",
        "Content": "hi",
    }


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=300))
def test_content_survives(content: str) -> None:
    """What is no control character comes out as it went in, end marks included."""
    content = content.replace("\ufffe", "").replace("\uffff", "") + "]]>]]]>"
    assert messages.document(replies.text_reply(EVENT, content, 1))["Content"] == content


@given(st.text(max_size=3000))
def test_content_is_always_well_formed(content: str) -> None:
    """Any text makes a document, within the limit."""
    fields = messages.document(replies.text_reply(EVENT, content, 1))
    assert len((fields["Content"] or "").encode()) <= replies.MAX_CONTENT_BYTES * 3


def test_long_content_is_cut_between_characters() -> None:
    """Half a character would make WeChat refuse the whole reply."""
    content = messages.document(replies.text_reply(EVENT, "登" * 1000, 1))["Content"]
    assert content == "登" * 682


def test_sealed_reply() -> None:
    """The envelope is signed over its own time, the nonce and the text, and opens again."""
    cipher = Cipher(D.encoding_aes_key, D.app_id)
    sealed = messages.document(
        replies.sealed_reply(b"<xml/>", cipher, D.callback_token, "n]]>", 1700000009.5, b"r" * 16)
    )
    assert (sealed["TimeStamp"], sealed["Nonce"]) == ("1700000009", "n]]>")
    parts = (D.callback_token, "1700000009", "n]]>", sealed["Encrypt"])
    assert signature_matches(sealed["MsgSignature"], *parts)
    assert cipher.decrypt(sealed["Encrypt"]) == b"<xml/>"
