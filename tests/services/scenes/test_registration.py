"""What people type into the form, and what of it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import ApiError
from services.scenes.registration import (
    MOST_NAME,
    checked_email,
    checked_fields,
    checked_name,
    checked_phone,
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Alice", "Alice"),
        ("  Alice \t Liddell ", "Alice Liddell"),
        ("欧阳 娜娜", "欧阳 娜娜"),
        ("🐼", "🐼"),
        ("O'Neil-Smith", "O'Neil-Smith"),
        ("e\u0301", "é"),
        ("x" * MOST_NAME, "x" * MOST_NAME),
        ("x" * (MOST_NAME + 1), None),
        ("", None),
        ("   ", None),
        ("\u200b", None),
        ("evil\u202etxt", None),
        ("a\x00b", None),
        ("\ud800", None),
    ],
)
def test_names(typed: str, kept: str | None) -> None:
    """Of any script; neither empty nor able to change how others are shown."""
    assert checked_name(typed) == kept


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("13800138000", "13800138000"),
        ("+86 138-0013 8000", "+8613800138000"),
        ("（０１０）１２３４５６７８", "01012345678"),
        ("1234", None),
        ("1" * 16, None),
        ("+", None),
        ("12345+6", None),
        ("١٢٣٤٥٦٧٨", None),
        ("phone", None),
    ],
)
def test_phones(typed: str, kept: str | None) -> None:
    """Digits without decoration, full-width ones too; nothing else."""
    assert checked_phone(typed) == kept


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" al@example.org ", "al@example.org"),
        ("al+scan@mail.example.co.uk", "al+scan@mail.example.co.uk"),
        ("用户@example.org", "用户@example.org"),
        ("al@example", None),
        ("al@@example.org", None),
        ("al@example.org\r\nBcc: x@y.zz", None),
        ("<al@example.org>", None),
        ("al@-example.org", None),
        ("x" * 65 + "@example.org", None),
        ("a@" + "b" * 60 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 63 + ".org", None),
    ],
)
def test_emails(typed: str, kept: str | None) -> None:
    """The usual shape and length; whether it exists is not known."""
    assert checked_email(typed) == kept


def test_fields_that_are_not_configured_are_left_alone() -> None:
    """However odd they are."""
    assert checked_fields({"name": "Al", "phone": ["?"], "admin": True}, ["name"]) == {"name": "Al"}


def test_the_first_field_at_fault_is_named() -> None:
    """In the configured order, so that the form can go through them."""
    with pytest.raises(ApiError) as caught:
        checked_fields({"email": "?"}, ["phone", "email"])
    assert (caught.value.code, caught.value.field) == ("bad_request", "phone")


@given(st.text())
def test_whatever_is_typed_is_kept_short_and_printable_or_not_at_all(typed: str) -> None:
    """No control character, and nothing longer than it may be."""
    name = checked_name(typed)
    assert name is None or (0 < len(name) <= MOST_NAME and name.isprintable() or "\u200d" in name)
    phone = checked_phone(typed)
    assert phone is None or (phone.isascii() and len(phone) <= 16)
    checked_email(typed)
