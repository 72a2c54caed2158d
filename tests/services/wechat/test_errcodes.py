"""The table of errcodes is whole and consistent with scanpush's error codes."""

import pytest

from services.errors import STATUS
from services.wechat import errcodes
from services.wechat.errcodes import TABLE, TOKEN_INVALID, Action, Errcode, look_up


def test_no_number_stands_twice() -> None:
    """A second row would silently hide the first."""
    assert len(TABLE) == len(errcodes._ROWS)


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: str(row.errcode))
def test_every_row_has_an_answer(row: Errcode) -> None:
    """Each errcode that can arrive maps to a code of the public contract."""
    assert row.meaning
    assert (row.code == "") is (row.action is Action.PAGE)
    assert row.action is Action.PAGE or STATUS[row.code] >= 400


def test_token_invalid() -> None:
    """Only these three are mended by another access_token."""
    assert TOKEN_INVALID == {40001, 40014, 42001}


@pytest.mark.parametrize(
    ("errcode", "code"),
    [
        (-1, "wechat_unavailable"),
        (40164, "wechat_ip_not_allowed"),
        (61004, "wechat_ip_not_allowed"),
        (40013, "wechat_credentials"),
        (40125, "wechat_credentials"),
        (40243, "wechat_credentials"),
        (45009, "wechat_quota"),
        (48001, "wechat_refused"),
        (40029, "bad_request"),
        (40163, "bad_request"),
        (40226, "bad_request"),
    ],
)
def test_codes_of_the_contract(errcode: int, code: str) -> None:
    """The pairs that the public contract names."""
    assert look_up(errcode).code == code


def test_unknown_errcode() -> None:
    """What WeChat invents tomorrow is a refusal that the operator sees."""
    assert look_up(99999).code == "wechat_refused"
    assert look_up(99999).alarming
