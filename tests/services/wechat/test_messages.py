"""From bytes to events, however hostile the bytes."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import AppId
from services.wechat import messages
from services.wechat.messages import MAX_TEXT, Unreadable, document, parse
from tests.services.wechat import vectors

OPENID = "oFakeUser0000000000000000001"
SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
APP = AppId("wx1234567890abcdef")
SENT = 1_764_430_000


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


@pytest.mark.parametrize("sender", ["", "o A", "o|A", "o" * 129, "o+X=", "清", "o\x02A"], ids=repr)
def test_no_sender(sender: str) -> None:
    """A sender that is no WeChat name is no person whom anything could be done for."""
    event = parse(xml(Event="SCAN", EventKey=SCENE, FromUserName=sender))
    assert isinstance(event, Unreadable) and event.openid == ""


@pytest.mark.parametrize(
    ("written", "created"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000.0", 1_700_000_000),
        ("1700000000123", 1_700_000_000),
        (" 1700000000\n", 1_700_000_000),
        ("１７０００００００１", 1_700_000_001),
        ("", SENT),
        ("-1", SENT),
        ("0", SENT),
        ("nan", SENT),
        ("inf", SENT),
        ("yesterday", SENT),
        ("9" * 21, SENT),
        ("9" * 20_000, SENT),
        ("17000\x0200000", SENT),
    ],
)
def test_create_time(written: str, created: int) -> None:
    """A number in any spelling counts; without one, the time that WeChat signed does."""
    event = parse(xml(Event="SCAN", EventKey=SCENE, CreateTime=written), SENT)
    assert isinstance(event, messages.ScanEvent) and event.created == created


def test_no_create_time() -> None:
    """The field may be missing altogether."""
    body = xml(Event="SCAN", EventKey=SCENE).replace(
        b"<CreateTime><![CDATA[1700000000]]></CreateTime>", b""
    )
    assert parse(body, SENT).created == SENT


@pytest.mark.parametrize(
    "change",
    [
        {"ToUserName": ""},
        {"ToUserName": "gh 1"},
        {"MsgId": "1" * 20_000},
        {"Ticket": "a\x02b\ufffe"},
        {"Remark": "a]]>b"},
        {"Remark": "<![CDATA[a]]>"},
        {"Remark": "]]>&nbsp;&#2;& &#xD800;<![CDATA["},
        {"Remark": "]]></Other>"},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_spoilt_fields_beside_a_scan(change: Mapping[str, str]) -> None:
    """What a login does not need stops none, unless no elements can be told apart any more."""
    event = parse(xml(Event="SCAN", EventKey=SCENE, **change))
    if change == {"Remark": "]]></Other>"}:
        assert isinstance(event, Unreadable)
    else:
        assert event.scene == SCENE


@pytest.mark.parametrize("spoilt", [b"\xe6\xb8", b"\xff", b"\xed\xa0\xbd", b"\xc0\xbc/xml>", b"\0"])
def test_no_utf_8_beside_a_scan(spoilt: bytes) -> None:
    """Bytes that are no character stand for none, and never for a tag."""
    body = xml(Event="SCAN", EventKey=SCENE, Remark="清").replace("清".encode(), spoilt)
    assert parse(body).scene == SCENE


@pytest.mark.parametrize(
    "key", [[], {}, False, None, "", 0, True, 1.5, [""], [[]], [1], {"a": 1}, {"scene": SCENE}]
)
def test_json_without_event_key(key: object) -> None:
    """Some languages write an empty list, an empty record or ``false`` for nothing: what is no text
    is a follow without a scene."""
    fields = {**json.loads(vectors.A.message), "Event": "subscribe", "EventKey": key}
    event = parse(json.dumps(fields).encode())
    assert isinstance(event, messages.SubscribeEvent) and event.scene is None


@pytest.mark.parametrize("created", [1.7e9, 1700000000.0, "1700000000.0", 1700000000123])
def test_json_create_time(created: object) -> None:
    """A number may be a double, or a text."""
    fields = {**json.loads(vectors.A.message), "CreateTime": created}
    assert parse(json.dumps(fields).encode(), SENT).created == 1_700_000_000


@pytest.mark.parametrize(
    "spoilt", ["\x02", "\t", "\n", "\x1d", "\\ud83d", "\\ude00", "\\u0000", "\x7f"]
)
def test_json_controls(spoilt: str) -> None:
    """Raw controls and half characters in a text leave it a text."""
    body = vectors.A.message.replace(b'"event"', b'"text"').replace(
        b'"debug_str":"', b'"Content":"a' + spoilt.encode()
    )
    event = parse(body)
    assert isinstance(event, messages.TextMessage) and not isinstance(event, Unreadable)
    assert event.text.encode().endswith(b"hello world")


@pytest.mark.parametrize(
    "spoilt",
    [
        r"\x02",
        r"\'",
        r"\u12",
        r"\ud8",
        r"a\ b",
        "a\\\nb",
        r"C:\Dir\\",
        r"\\\x",
        '", "Digits": ' + "9" * 5000 + ', "Z": "',
        '", "Digits": -' + "9" * 5000 + ', "Z": "',
    ],
    ids=lambda spoilt: repr(spoilt)[:20],
)
def test_json_beside_a_scan(spoilt: str) -> None:
    """Backslashes that escape nothing, and numbers of any length, leave a scan a scan."""
    fields = {**json.loads(vectors.A.message), "Event": "SCAN", "EventKey": SCENE, "Remark": "@"}
    body = json.dumps(fields).replace("@", spoilt)
    assert parse(body.encode()).scene == SCENE


@pytest.mark.parametrize("spoilt", ["\\", "\\x\\", "\\\\\\", '\\x\\\\"', '\\x","a":"'])
def test_a_backslash_ends_no_text(spoilt: str) -> None:
    """What the text would end or begin where escapes are mended, it does not."""
    fields = {"Title": "@", "Note": ',"EventKey":"x","Z":"', "Event": "SCAN", "EventKey": SCENE}
    body = json.dumps({**json.loads(vectors.A.message), **fields}, separators=(",", ":"))
    # As a writer does it that escapes nothing.
    event = parse(body.replace('\\"', '"').replace("@", spoilt).encode())
    assert isinstance(event, Unreadable)


def test_long_texts() -> None:
    """What is too long for an answer is none, also if it begins like one."""
    for content, read in (("1" + " " * MAX_TEXT + "no", ""), ("1" * MAX_TEXT, "1" * MAX_TEXT)):
        event = parse(xml(MsgType="text", Content=content))
        assert isinstance(event, messages.TextMessage) and event.text == read


def test_long_event_key() -> None:
    """A key of any length is read; no scene has one."""
    assert len(parse(xml(Event="scancode_push", EventKey="k" * 3000)).event_key) == 3000


def test_nested_event_key_of_an_unknown_event() -> None:
    """An event that is no login may use the names as it likes."""
    body = xml(Event="future").replace(b"</xml>", b"<EventKey><a>1</a></EventKey></xml>")
    assert type(parse(body)) is messages.OtherEvent


@pytest.mark.parametrize(
    "content",
    [
        b"]]>",
        b"<b>",
        b"]]></xml>",
        b"]]><!--",
        b"<a><![CDATA[x]]></a>",
        b"]]>&",
        b"]]><?x",
        b"]]><b>",
    ],
)
def test_sender_of_an_unreadable_text(content: bytes) -> None:
    """Who wrote it is still known, so that they can be asked again."""
    body = xml(MsgType="text", MsgId="7", Content="@").replace(b"@", content)
    event = parse(body)
    assert isinstance(event, messages.TextMessage)
    assert (event.openid, event.to_user, event.msg_type) == (OPENID, "gh_97417a04a28d", "text")
    assert (event.created, event.msg_id) == (1700000000, "7")


@pytest.mark.parametrize(
    "content",
    [
        b"]]><FromUserName>oB</FromUserName>",
        b"]]></Content><FromUserName><![CDATA[oB]]></FromUserName><Content><![CDATA[</b>",
        b'FromUserName]]></b>"FromUserName":"oB",',
        b"]]></Content></xml><xml><FromUserName>oB</FromUserName>",
    ],
)
def test_a_spelt_sender_makes_the_sender_unknown(content: bytes) -> None:
    """An unreadable text that names the field leaves open who wrote it."""
    event = parse(xml(MsgType="text", Content="@").replace(b"@", content))
    assert isinstance(event, Unreadable) and event.openid == ""


def test_sender_of_unreadable_json() -> None:
    """By the bytes, as in XML, and unknown once the text spells the field."""
    for text, openid in (('a"b', "oA"), ('a","FromUserName":"oB', "")):
        body = '{"ToUserName":"gh_1","FromUserName":"oA","CreateTime":1,"MsgType":"text",'
        event = parse(f'{body}"Content":"{text}"}}'.encode())
        assert isinstance(event, Unreadable) and event.openid == openid


def test_double_field() -> None:
    """Two senders in one body: neither is believed."""
    body = xml(Event="SCAN").replace(b"</xml>", b"<FromUserName>oB</FromUserName></xml>")
    event = parse(body)
    assert isinstance(event, Unreadable) and event.openid == ""


@pytest.mark.parametrize("value", [{"$ne": None}, ["oA"], True, 1.5, "\ud800"], ids=repr)
def test_json_types(value: object) -> None:
    """Objects, lists and half characters never pass as a name."""
    record = {"ToUserName": "gh_1", "CreateTime": 1, "MsgType": "text", "FromUserName": value}
    event = parse(json.dumps(record).encode())
    assert isinstance(event, Unreadable) and event.openid == ""


@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    """Whatever arrives, `parse` returns an event with a key that every store takes."""
    for candidate in (body, b"<xml>" + body + b"</xml>", b'{"MsgType":"' + body + b'"}'):
        assert parse(candidate, SENT).outcome_key(APP).encode()


@given(st.binary(max_size=60))
def test_any_bytes_beside_a_scan(spoilt: bytes) -> None:
    """Bytes in a field that nothing reads: the scan, or nothing; never another person or scene."""
    body = xml(Event="SCAN", EventKey=SCENE, Remark="@").replace(b"@", spoilt)
    event = parse(body, SENT)
    assert isinstance(event, Unreadable) or (event.openid, event.scene) == (OPENID, SCENE)
    if b"<" not in spoilt:
        assert event.scene == SCENE


@given(st.text(st.characters(exclude_characters="<&\r", exclude_categories=["Cs", "Cc"])))
def test_mending_changes_nothing_that_is_well_formed(written: str) -> None:
    """The second reading equals the first where the first succeeds."""
    body = xml(Event="VIEW", EventKey=written.replace("]]>", ""), A="&nbsp;", B="]] >")
    assert document(messages._mended(body)) == document(body)


@given(
    st.dictionaries(
        st.sampled_from(["MsgType", "Event", "EventKey", "MsgId", "OpenID", "Content", "Status"]),
        st.none() | st.text(max_size=60) | st.integers() | st.lists(st.integers(), max_size=2),
    )
)
def test_any_json_record(fields: dict[str, object]) -> None:
    """Any mixture of fields is read or refused, and what is read has a key."""
    record = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, **fields}
    assert parse(json.dumps(record).encode()).outcome_key(APP).encode()
