"""From bytes to events, however hostile the bytes."""

import contextlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import AppId
from services.wechat import messages
from services.wechat.messages import EventError, parse
from tests.services.wechat import vectors

OPENID = "oFakeUser0000000000000000001"
SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
APP = AppId("wx1234567890abcdef")


def xml(**fields: str) -> bytes:
    """A push as WeChat writes it, with the common fields filled in."""
    common = {
        "ToUserName": "gh_97417a04a28d",
        "FromUserName": OPENID,
        "CreateTime": "1700000000",
        "MsgType": "event",
    }
    inner = "".join(f"<{k}><![CDATA[{v}]]></{k}>" for k, v in {**common, **fields}.items())
    return f"<xml>{inner}</xml>".encode()


def test_follow_by_scan() -> None:
    """A subscribe with the prefix brings the scene, stripped once."""
    event = parse(vectors.D.message)
    assert isinstance(event, messages.SubscribeEvent)
    assert (event.openid, event.to_user, event.created) == (OPENID, "gh_97417a04a28d", 1700000000)
    assert (event.event, event.scene) == ("subscribe", SCENE)


def test_prefix_is_stripped_once() -> None:
    """A scene may itself hold underscores and even the prefix."""
    assert parse(xml(Event="subscribe", EventKey="qrscene_qrscene_a_b")).scene == "qrscene_a_b"


@pytest.mark.parametrize("key", ["", "qrscene_", "last_trade_no_4001", "scanbarcode|1|2", SCENE])
def test_follow_without_scene(key: str) -> None:
    """Without the prefix, or with nothing after it, no code brought the person."""
    event = parse(xml(Event="subscribe", EventKey=key))
    assert isinstance(event, messages.SubscribeEvent)
    assert event.scene is None


def test_follow_without_event_key() -> None:
    """EventKey may be absent altogether."""
    assert parse(xml(Event="subscribe")).scene is None


@pytest.mark.parametrize("name", ["SCAN", "scan", "Scan"])
def test_scan_in_any_case(name: str) -> None:
    """A follower's scan brings the bare scene, however the event is spelt."""
    event = parse(xml(Event=name, EventKey=SCENE, MsgType="Event"))
    assert isinstance(event, messages.ScanEvent)
    assert (event.event, event.scene) == ("scan", SCENE)


def test_scan_without_key() -> None:
    """A scan that names nothing is a scan without a scene."""
    assert parse(xml(Event="SCAN", EventKey="")).scene is None


def test_unsubscribe() -> None:
    """Unfollowing is an event of its own."""
    assert isinstance(parse(xml(Event="unsubscribe", EventKey="")), messages.UnsubscribeEvent)


def test_text_message() -> None:
    """A text keeps its words and its message id."""
    event = parse(xml(MsgType="text", Content="１２３ 你好", MsgId="23456789012345678"))
    assert isinstance(event, messages.TextMessage)
    assert (event.text, event.msg_id, event.event) == ("１２３ 你好", "23456789012345678", "")


@pytest.mark.parametrize(("status", "delivered"), [("success", True), ("failed:user block", False)])
def test_template_result(status: str, delivered: bool) -> None:
    """The result of a notice carries the id that sending it answered."""
    event = parse(xml(Event="TEMPLATESENDJOBFINISH", MsgID="200228332", Status=status))
    assert isinstance(event, messages.TemplateResult)
    assert (event.msg_id, event.delivered) == ("200228332", delivered)


def test_consent_revoked() -> None:
    """The person is in OpenID, not in FromUserName."""
    event = parse(
        xml(Event="user_authorization_revoke", OpenID="oA", AppID="wx1", RevokeInfo="205")
    )
    assert isinstance(event, messages.ConsentRevoked)
    assert (event.openid, event.app_id, event.unionid) == ("oA", "wx1", None)
    assert event.revoke_info == "205"


@pytest.mark.parametrize(
    "fields",
    [
        {"Event": "LOCATION", "Latitude": "23.1", "Longitude": "113.3"},
        {"Event": "VIEW", "EventKey": "https://example.org/" + "a" * 1000},
        {"MsgType": "image", "PicUrl": "https://example.org/a.jpg", "MsgId": "1"},
        {"Event": ""},
    ],
    ids=["location", "view", "image", "nameless"],
)
def test_everything_else(fields: Mapping[str, str]) -> None:
    """What is no part of a login is still read, and harmless."""
    assert isinstance(parse(xml(**fields)), messages.OtherEvent)


def test_nested_fields_are_tolerated() -> None:
    """Menus send records within the record."""
    body = xml(Event="pic_weixin", EventKey="6").replace(
        b"</xml>",
        b"<SendPicsInfo><Count>1</Count><PicList><item><PicMd5Sum>5a</PicMd5Sum></item></PicList>"
        b"</SendPicsInfo></xml>",
    )
    assert parse(body).event == "pic_weixin"


def test_json_body() -> None:
    """Vector A is JSON: told by its first byte, not by a header."""
    event = parse(vectors.A.message)
    assert (event.event, event.created) == ("debug_demo", 1714112445)


def test_byte_order_mark_and_blanks() -> None:
    """What a proxy may put in front changes nothing."""
    assert parse(b"\xef\xbb\xbf" + xml(Event="SCAN", EventKey="a")).scene == "a"
    assert parse(b"\n " + vectors.A.message).event == "debug_demo"


def test_outcome_key_of_an_event() -> None:
    """The same second, person and name but another EventKey is another event."""
    one, other = (parse(xml(Event="SCAN", EventKey=key)) for key in ("a", "b"))
    assert one.outcome_key(APP) == f"{APP}|{OPENID}|1700000000|scan|a"
    assert other.outcome_key(APP) != one.outcome_key(APP)


def test_outcome_key_of_a_message() -> None:
    """A message counts by its sender and MsgId; CreateTime may differ between deliveries."""
    one = parse(xml(MsgType="text", Content="1", MsgId="7"))
    again = parse(xml(MsgType="text", Content="1", MsgId="7", CreateTime="1700000001"))
    another = parse(xml(MsgType="text", Content="1", MsgId="7", FromUserName="oB"))
    assert one.outcome_key(APP) == again.outcome_key(APP) == f"{APP}|{OPENID}|7"
    assert another.outcome_key(APP) != one.outcome_key(APP)


def test_outcome_key_is_bounded() -> None:
    """A long EventKey enters as its hash, still telling two apart."""
    keys = {
        parse(xml(Event="VIEW", EventKey="u" * 2000 + end)).outcome_key(APP) for end in ("1", "2")
    }
    assert len(keys) == 2
    assert all(len(key) < 256 for key in keys)


def test_two_notices_in_one_second() -> None:
    """Results of two notices differ by MsgID alone."""
    keys = {
        parse(xml(Event="TEMPLATESENDJOBFINISH", MsgID=i, Status="success")).outcome_key(APP)
        for i in "12"
    }
    assert len(keys) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"FromUserName": ""},
        {"FromUserName": "o A"},
        {"FromUserName": "o|A"},
        {"FromUserName": "o" * 129},
        {"ToUserName": ""},
        {"CreateTime": ""},
        {"CreateTime": "-1"},
        {"CreateTime": "1.5"},
        {"CreateTime": "１７０００"},
        {"CreateTime": "9" * 21},
        {"EventKey": "k" * 2049},
        {"MsgId": "1" * 65},
    ],
    ids=str,
)
def test_wrong_fields(change: Mapping[str, str]) -> None:
    """A field of the wrong kind or length refuses the whole push."""
    with pytest.raises(EventError):
        parse(xml(Event="SCAN", **change))


def test_double_field() -> None:
    """Two senders in one body: neither is believed."""
    body = xml(Event="SCAN").replace(b"</xml>", b"<FromUserName>oB</FromUserName></xml>")
    with pytest.raises(EventError):
        parse(body)


@pytest.mark.parametrize("value", [{"$ne": None}, ["oA"], True, 1.5, "\ud800"], ids=repr)
def test_json_types(value: object) -> None:
    """Objects, lists and half characters never pass as a name."""
    record = {"ToUserName": "gh_1", "CreateTime": 1, "MsgType": "text", "FromUserName": value}
    with pytest.raises(EventError):
        parse(json.dumps(record).encode())


@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    """Whatever arrives, `parse` returns an event or raises `EventError`."""
    for candidate in (body, b"<xml>" + body + b"</xml>", b'{"MsgType":"' + body + b'"}'):
        with contextlib.suppress(EventError):
            assert parse(candidate).openid


@given(
    st.dictionaries(
        st.sampled_from(["MsgType", "Event", "EventKey", "MsgId", "OpenID", "Content", "Status"]),
        st.none() | st.text(max_size=60) | st.integers() | st.lists(st.integers(), max_size=2),
    )
)
def test_any_json_record(fields: dict[str, object]) -> None:
    """Any mixture of fields is read or refused, and what is read has a key."""
    record = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, **fields}
    try:
        event = parse(json.dumps(record).encode())
    except EventError:
        return
    assert event.outcome_key(APP).encode()
