"""Hostile bodies are refused before anything is built from them."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wechat.messages import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    EventError,
    document,
    encrypted_text,
    text,
)
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
        pytest.param(b'{"a":1,"a":2}', id="json double"),
        pytest.param(b"<xml><a>1</a><a>2</a></xml>", id="double"),
        pytest.param(b"<xml><a>1</a><!-- c --><b>2</b></xml>", id="comment within"),
        pytest.param(b"<xml><a><?c ?>1</a></xml>", id="instruction within"),
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
    assert document(b"<xml><l>" + b"<a>1</a>" * (MAX_ELEMENTS - 2) + b"</l></xml>")
    with pytest.raises(EventError):
        document(b"<xml><l>" + b"<a>1</a>" * (MAX_ELEMENTS - 1) + b"</l></xml>")


def test_attributes_and_comments_around_are_nothing() -> None:
    """Only elements hold fields."""
    body = b"<?a b?><!-- c --><xml x='1'><a y='2'>v</a></xml><!-- d -->"
    assert document(body) == {"a": "v"}


@pytest.mark.parametrize(
    "around",
    [
        b"\n",
        b"\0\0",
        b"\xef\xbb\xbf",
        b"\r\n\xef\xbb\xbf \x1a",
        b"\xc2\xa0",
        b"\xe3\x80\x80",
        b"\xe2\x80\x8b",
        b"\xff\xfe",
        b"\xc2\x85",
        b"\xff\0",
    ],
)
@pytest.mark.parametrize("body", [b"<?xml version='1.0'?><xml><a>v</a></xml>", b'{"a":"v"}'])
def test_bytes_around(body: bytes, around: bytes) -> None:
    """Blanks of any kind, NULs and byte order marks before and behind are no part of the
    document."""
    assert document(around + body + around) == {"a": "v"}


def test_json_that_is_no_json() -> None:
    """Numbers that JSON does not have are nothing, bytes that are no character stand for one."""
    assert document(b'{"a":NaN,"b":-Infinity,"c":"\xe6\xb8\xff"}') == {
        "a": None,
        "b": None,
        "c": "\ufffd\ufffd",
    }


def test_doubles_within_a_json_list_are_nothing() -> None:
    """Only the record itself is read, and its whole numbers as text."""
    assert document(b'{"a":[{"b":1,"b":2}]}') == {"a": [{"b": "2"}]}


def test_a_huge_json_number_costs_nothing() -> None:
    """It is not converted."""
    assert document(b'{"CreateTime":' + b"9" * 60_000 + b"}") == {"CreateTime": "9" * 60_000}


@pytest.mark.parametrize(
    ("envelope", "found"),
    [
        (b"<xml><Encrypt><![CDATA[%s]]></Encrypt>", b"%s"),
        (b"<xml><Encrypt> %s </Encrypt>", b"%s"),
        (b'{"Content":"a"b","Encrypt" : "%s"}', b"%s"),
        (b"<Encrypt>" + b"B" * 44 + b"</Encrypt></b><Encrypt>%s</Encrypt>", b"%s"),
        (b"<xml><Encrypt>AAAA</Encrypt></b>", b""),
        (b"rubbish", b""),
        (b"<Encrypt>" * 7000, b""),
    ],
)
def test_encrypt_of_a_spoilt_envelope(envelope: bytes, found: bytes) -> None:
    """The longest text that stands there as Encrypt."""
    text = b"A" * 60 + b"+/=="
    assert encrypted_text(envelope.replace(b"%s", text)) == found.replace(b"%s", text).decode()


def test_escaped_encrypt() -> None:
    """JSON may write a slash as two characters."""
    assert encrypted_text(b'{"Encrypt":"' + b"a\\/" * 22 + b'"') == "a/" * 22


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
    fields = {"a": "1", "n": 7, "d": 7.0, "none": None, "l": [], "t": True, "f": 0.5, "r": {"a": 1}}
    read = [text(fields, name) for name in ("a", "n", "d", "none", "l", "absent")]
    assert read == ["1", "7", "7", "", "", ""]
    for name, longest in (("a", 0), ("t", None), ("f", None), ("r", None)):
        with pytest.raises(EventError):
            text(fields, name, longest)


@given(st.dictionaries(st.sampled_from("abc"), st.text(st.characters(categories=["L", "N"]))))
def test_fields_round_trip(fields: dict[str, str]) -> None:
    """What is written as fields is read as fields."""
    read = document(xml(**fields))
    assert {name: text(read, name) for name in fields} == fields
