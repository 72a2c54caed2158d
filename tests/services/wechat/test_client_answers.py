"""services.wechat.answers: only what can be stored and sent is taken for an answer."""

from typing import Any

import pytest

from services.errors import WeChatUnavailable
from services.wechat.client import MAX_ID, MAX_TEXT, openid_of, text_of, unionid_of

NO_TEXT = [None, 5, True, [], {}, "", "a b", "a\n", "\0", "é", "\ud800", "x" * (MAX_TEXT + 1)]


@pytest.mark.parametrize("value", NO_TEXT, ids=lambda value: ascii(value)[:12])
def test_nonsense_is_no_answer(value: Any) -> None:
    """It is WeChat's failure, not the caller's; a unionid that is none is only not known."""
    for read in (lambda answer: text_of(answer, "openid"), openid_of):
        with pytest.raises(WeChatUnavailable, match="openid"):
            read({"openid": value})
    assert unionid_of({"unionid": value}) is None


def test_what_wechat_sends_is_taken_as_it_is() -> None:
    """Whatever printable characters it is made of, up to the longest."""
    answer = {"openid": "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", "unionid": "~" * MAX_ID}
    assert openid_of(answer) == answer["openid"] and unionid_of(answer) == answer["unionid"]
    assert text_of({"url": "x" * MAX_TEXT}, "url") == "x" * MAX_TEXT


def test_what_is_missing_is_told_by_name() -> None:
    """For the operator's log."""
    with pytest.raises(WeChatUnavailable, match="ticket"):
        text_of({}, "ticket")
