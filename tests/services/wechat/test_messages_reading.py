"""Hostile bodies are refused before anything is built from them."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wechat.messages import MAX_DEPTH, MAX_ELEMENTS, EventError, document, text
from tests.services.wechat.test_messages import xml

LAUGHS = b"<!DOCTYPE x [<!ENTITY a 'ha'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(10)
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(LAUGHS + b"]><xml><a>&k;</a></xml>", id="billion laughs"),
        pytest.param(
            b"<!DOCTYPE x [<!ENTITY a '" + b"a" * 30000 + b"'>]><xml>" + b"&a;" * 9000 + b"</xml>",
            id="quadratic blow-up",
        ),
        pytest.param(
            b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><xml><a>&e;</a></xml>",
            id="external entity",
        ),
        pytest.param(b"<!DOCTYPE x SYSTEM 'http://127.0.0.1/x.dtd'><xml/>", id="external dtd"),
        pytest.param(b"<!DOCTYPE xml><xml><a>1</a></xml>", id="bare doctype"),
        pytest.param(b"<xml>" + b"<a>" * 10_000, id="10k deep"),
        pytest.param(b"<xml>" + b"<a/>" * 10_000 + b"</xml>", id="10k elements"),
        pytest.param(b"<xml><![CDATA[" + b"a" * 1_000_000 + b"]]></xml>", id="1 MB CDATA"),
        pytest.param("<?xml version='1.0' encoding='UTF-16'?><xml/>".encode("utf-16"), id="utf-16"),
        pytest.param(
            b"<?xml version='1.0' encoding='gb2312'?>" + xml(Event="SCAN"), id="declared gb2312"
        ),
        pytest.param("<xml><a>登录</a></xml>".encode("gb2312"), id="gb2312"),
        pytest.param(b"[" * 60_000, id="json array"),
        pytest.param(b'{"a":' * 10_000, id="deep json"),
        pytest.param(b'{"CreateTime":' + b"9" * 60_000 + b"}", id="huge json number"),
        pytest.param(b'{"CreateTime":NaN}', id="json NaN"),
        pytest.param(b'{"a":1,"a":2}', id="json double"),
        pytest.param(b'{"a":"\xff"}', id="json not utf-8"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<xml/>", id="empty record"),
        pytest.param(b"<xml>text</xml>", id="record of text"),
        pytest.param(b"<html><body/></html>", id="other record"),
        pytest.param(b"<xml><a>&undefined;</a></xml>", id="unknown entity"),
        pytest.param(b"<xml><a>\0</a></xml>", id="nul"),
        pytest.param(b"<xml></xml><xml></xml>", id="two records"),
        pytest.param(b"<xml><a></xml>", id="not well-formed"),
    ],
)
def test_hostile_documents(body: bytes) -> None:
    """Refused in little memory, with one kind of error that quotes nothing."""
    tracemalloc.start()
    with pytest.raises(EventError) as caught:
        document(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert len(str(caught.value)) < 80


def test_bounds_are_inclusive() -> None:
    """As deep and as many as allowed still pass."""
    depth = MAX_DEPTH - 1
    assert document(b"<xml>" + b"<a>" * depth + b"</a>" * depth + b"</xml>")
    assert document(b"<xml>" + b"<a>1</a>" * (MAX_ELEMENTS - 1) + b"</xml>")


def test_attributes_and_comments_are_nothing() -> None:
    """Only elements hold fields."""
    assert document(b"<xml x='1'><!-- c --><a y='2'>v</a></xml>") == {"a": "v"}


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", "utf8"])
def test_declared_encoding(encoding: str) -> None:
    """UTF-8 may be said aloud."""
    body = f"<?xml version='1.0' encoding='{encoding}'?><xml><a>登</a></xml>".encode()
    assert document(body) == {"a": "登"}


def test_character_data_that_is_split() -> None:
    """Our own way of writing an end mark is read back."""
    assert document(b"<xml><a><![CDATA[]]]]><![CDATA[>]]></a></xml>") == {"a": "]]>"}


def test_text_of_a_field() -> None:
    """Absent is empty; numbers of JSON count; what is too long does not."""
    fields = {"a": "1", "n": 7, "none": None, "t": True}
    assert [text(fields, name) for name in ("a", "n", "none", "absent")] == ["1", "7", "", ""]
    for name, longest in (("a", 0), ("t", None)):
        with pytest.raises(EventError):
            text(fields, name, longest)


@given(st.dictionaries(st.sampled_from("abc"), st.text(st.characters(categories=["L", "N"]))))
def test_fields_round_trip(fields: dict[str, str]) -> None:
    """What is written as fields is read as fields."""
    read = document(xml(**fields))
    assert {name: text(read, name) for name in fields} == fields
