"""C34: a verified push is never refused for its text, and its text supplies nothing."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from services.scenes.callbacks import CallbackRequest
from services.wechat.replies import SUCCESS, text
from simulator.messages import PushRequest, xml_document
from tests.flows.chatter import Chatter
from tests.flows.other_system import other_system
from tests.pushes import Sender, query_of
from tests.stack import ON_LOOP, Page, Stack

MODES = ["safe", "compatible", "plaintext"]
LANGUAGE = "zh-CN"


def document(sender: Sender, now: float, marked: bytes = b"", **fields: str | int) -> bytes:
    """A message of alice's in XML; `marked` replaces every ``@`` in it."""
    event = {**sender.event("", "alice", now), **fields}
    return xml_document(event).encode().replace(b"@", marked)


def push_of(sender: Sender, message: bytes, now: float) -> PushRequest:
    """As WeChat sends it: compatible mode has the same fields in the envelope once more."""
    beside = b""
    if sender.account.mode == "compatible":
        start, end = (1, -1) if message.startswith(b"{") else (5, -6)
        beside = message[start:end] + (b"," if start == 1 else b"")
    return sender.sealed_bytes(message, now, beside=beside)


CONTROLS = [b"\x00", b"\x02", b"\x08", b"\x0b", b"\x10", b"\x1b", b"\x1d", b"\x7f", b"\xef\xbf\xbe"]
MARKUP = [
    b"]]>",
    b"]]>]]>",
    b"<a><![CDATA[x]]></a>",
    b"]]><b>1</b><![CDATA[",
    b"]]><b><![CDATA[",
    b"]]><!--",
    b"]]>&nbsp;<![CDATA[",
    b"]]>&#2;&#xD800;<![CDATA[",
    b"]]>Tom & Jerry",
    b"]]></Content></xml>",
    b"<!DOCTYPE html>]]>",
]
NO_UTF_8 = [
    b"\xe6\xb8\x85\xe6\xb8",
    b"\xff",
    b"\xed\xa0\xbd",
    b"\xc0\xbc",
    b"\xc4\xe3\xba\xc3",
    b"\xf0\x9f",
]
TEXTS = [*CONTROLS, *MARKUP, *NO_UTF_8, b"a" * 30_000]


@pytest.mark.parametrize("mode", MODES)
@ON_LOOP
async def test_any_text_is_answered_and_passed_on(tmp_path: Path, mode: str) -> None:
    """200 and byte for byte to the other system; afterwards a scan logs in."""
    async with other_system() as system:
        account = {"mode": mode, "forward_url": system.url}
        async with Stack(tmp_path, wechat={"accounts": {"default": account}}) as stack:
            page, sender, sent = await stack.begin(), stack.sender(), []
            for number, content in enumerate(TEXTS):
                fields = {"MsgType": "text", "Content": "a@b", "MsgId": number}
                if mode == "compatible":
                    content = content[:15_000]
                push = push_of(sender, document(sender, stack.now, content, **fields), stack.now)
                answer = await sender.send(push)
                assert (answer.status_code, answer.content) == (200, b"success"), content
                sent.append(push.body)
            assert [request.body for request in system.seen] == sent
            assert await page.state() == "waiting"
            await sender.send(stack.scan_of(page))
            assert await page.state() == "authorized"


@pytest.mark.parametrize("mode", MODES)
@ON_LOOP
async def test_who_is_asked_is_asked_again(tmp_path: Path, mode: str) -> None:
    """A text that cannot be read is no answer, however it begins; the next one is."""
    wechat = {"accounts": {"default": {"mode": mode}}}
    async with Stack(tmp_path, wechat=wechat, login={"confirm": "always"}) as stack:
        page, alice, sender = await stack.begin(), Chatter(stack), stack.sender()
        question = await alice.scans(page)
        for number, content in enumerate(TEXTS):
            fields = {"MsgType": "text", "Content": "1@", "MsgId": number}
            if mode == "compatible":
                content = content[:15_000]
            push = push_of(sender, document(sender, stack.now, content, **fields), stack.now)
            for _ in range(2):
                assert sender.read(await sender.send(push), "alice").text == question, content
            assert await page.state() == "confirming"
        assert await alice.says("1") != question
        assert await page.state() == "authorized"


JSON_TEXTS = [
    '"a\x02b"',
    '"a\x1db"',
    '"a\tb"',
    '"a\nb"',
    '"\\u0002"',
    '"\\ud83d"',
    '"\\ude00\\ud83d"',
    '"a"b"',
    '"\\x"',
    "1.5",
    "1e999",
    "NaN",
    "true",
    "false",
    "null",
    "[]",
    '["1"]',
    "{}",
    '{"a":{"b":[1,{"c":2}]}}',
    "",
    "9" * 5000,
    "[" * 20_000,
]


@pytest.mark.parametrize("mode", MODES)
@ON_LOOP
async def test_any_json_is_answered(tmp_path: Path, mode: str) -> None:
    """Raw controls, halves of characters and every other type, wherever they stand."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        page, sender = await stack.begin(), stack.sender(data_format="json")
        names = ("Content", "EventKey", "CreateTime", "FromUserName", "MsgType", "Event", "MsgId")
        for name in names:
            for value in JSON_TEXTS:
                if len(value) > 10_000 and (name, mode) == ("MsgId", "compatible"):
                    continue
                event = {**sender.event("subscribe", "alice", stack.now), name: "@"}
                if name in ("Content", "MsgId"):
                    event["MsgType"] = "text"
                message = json.dumps(event).replace('"@"', value).encode()
                answer = await sender.send(push_of(sender, message, stack.now))
                assert (answer.status_code, answer.content) == (200, b"success"), (name, value)
        half = json.dumps(event).encode().replace(b'"[', b'"\xe6\xb8')
        assert (await sender.send(push_of(sender, half, stack.now))).status_code == 200
        assert await page.state() == "waiting"


SPOILT = [
    *({"Remark": "a@b"} | {"": c.decode("latin-1")} for c in (*CONTROLS, *NO_UTF_8)),
    {"Remark": "]]>&nbsp;<![CDATA["},
    {"Remark": "]]>&#2;<![CDATA["},
    {"Remark": "]]>Tom & Jerry<![CDATA["},
    {"Remark": "a]]>b"},
    {"Remark": "<![CDATA[a]]>"},
    {"Remark": "b" * 20_000},
    {"Ticket": ""},
    {"CreateTime": ""},
    {"CreateTime": "1764430000.0"},
    {"CreateTime": "yesterday"},
    {"CreateTime": "9" * 400},
    {"MsgId": "1" * 400},
]


@pytest.mark.parametrize("mode", MODES)
@ON_LOOP
async def test_a_scan_logs_in_whatever_else_is_spoilt(tmp_path: Path, mode: str) -> None:
    """A field that a login does not need stops none."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        sender = stack.sender()
        for fields in SPOILT:
            fields = dict(fields)
            marked = fields.pop("", "").encode("latin-1")
            page = await stack.begin()
            event = {"Event": "SCAN", "EventKey": page.scene_str, **fields}
            push = push_of(sender, document(sender, stack.now, marked, **event), stack.now)
            answer = await sender.send(push)
            assert answer.status_code == 200, (fields, marked)
            assert await page.state() == "authorized", (fields, marked)


@ON_LOOP
async def test_a_scan_without_the_account_s_name_logs_in(tmp_path: Path) -> None:
    """There is no reply then, for it would have no sender."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        event = {"Event": "SCAN", "EventKey": page.scene_str, "ToUserName": "gh x"}
        answer = await sender.send(push_of(sender, document(sender, stack.now, **event), stack.now))
        assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "authorized"


AROUND = [
    (b"\n", b""),
    (b"\r\n\r\n ", b"\n"),
    (b"\xef\xbb\xbf", b""),
    (b"\n\xef\xbb\xbf\n", b"\0"),
    (b"\0", b"\0\0\0"),
    (b"", b"\x1a"),
    (b"", b"\xef\xbb\xbf"),
    (b"\xc2\xa0\xe3\x80\x80", b"\xe2\x80\x8b\xff"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data_format", ["xml", "json"])
@ON_LOOP
async def test_bytes_around_the_document(tmp_path: Path, mode: str, data_format: str) -> None:
    """Blank lines before the declaration, byte order marks and NULs, inside and outside."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        sender = stack.sender(data_format=data_format)
        for before, behind in AROUND:
            for inside in (True, False):
                page = await stack.begin()
                event = sender.event("SCAN", "alice", stack.now, EventKey=page.scene_str)
                message = json.dumps(event).encode()
                if data_format == "xml":
                    message = b'<?xml version="1.0"?>' + xml_document(event).encode()
                if inside:
                    push = sender.sealed_bytes(before + message + behind, stack.now)
                else:
                    push = sender.sealed_bytes(message, stack.now, around=(before, behind))
                answer = await sender.send(push)
                assert answer.status_code == 200, (before, behind, inside)
                assert await page.state() == "authorized", (before, behind, inside)


LIST = "".join(
    f"<List><Id>{n}</Id><Status>accept</Status><Scene>1</Scene></List>" for n in range(600)
)
ODD = [
    *({"Event": "future", "FromUserName": name} for name in
      ("", "o+X=", "o X", "清", "o" * 200, "o\x02", "]]>", "<b/>", "o|x", "o\nx")),
    {"FromUserName": "o+X=", "MsgType": "image", "MsgId": 1},
    {"FromUserName": "", "MsgType": "text", "Content": "1"},
    {"Event": "scancode_push", "EventKey": "k" * 3000},
    {"Event": "VIEW", "EventKey": "https://example.com/?" + "&" * 20_000},
    {"Event": "future", "EventKey": "]]><a>1</a><b>2</b><![CDATA["},
    {"Event": "SCAN", "EventKey": "k" * 20_000},
    {"Event": "e" * 5000},
    {"MsgType": "location", "Label": "Hall\x02 3", "MsgId": 1},
    {"MsgType": "text", "CreateTime": "", "Content": "hi"},
    {"MsgType": "text", "CreateTime": "a word", "Content": "hi", "MsgId": "x" * 2000},
    {"MsgType": "", "Content": "hi"},
    {"MsgType": "m" * 5000},
    {"Event": "TEMPLATESENDJOBFINISH", "MsgID": "]]><a/><![CDATA[", "Status": "s" * 5000},
    {"Event": "user_authorization_revoke", "OpenID": "o X", "RevokeInfo": "]]><a/><![CDATA["},
    {"Event": "unsubscribe", "EventKey": "]]><a/><![CDATA["},
    {"Event": "subscribe_msg_popup_event", "SubscribeMsgPopupEvent": f"]]>{LIST[:30_000]}"},
    {"Event": "subscribe_msg_popup_event", "SubscribeMsgPopupEvent": f"]]>{LIST[:6_900]}<![CDATA["},
]  # fmt: skip


@ON_LOOP
async def test_odd_events_are_answered(tmp_path: Path) -> None:
    """Senders, times, kinds and lists that the server has never seen."""
    async with other_system() as system:
        account = {"mode": "plaintext", "forward_url": system.url}
        async with Stack(tmp_path, wechat={"accounts": {"default": account}}) as stack:
            page, sender = await stack.begin(), stack.sender()
            for fields in ODD:
                message = document(sender, stack.now, **fields)
                answer = await sender.send(push_of(sender, message, stack.now))
                assert (answer.status_code, answer.content) == (200, b"success"), fields
                assert system.seen[-1].body == message
            assert await page.state() == "waiting"


@ON_LOOP
async def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """As an outcome of its own, also where the person was asked again."""
    async with Stack(tmp_path, login={"confirm": "always"}) as stack:
        page, alice, sender = await stack.begin(), Chatter(stack), stack.sender()
        for _ in range(2):
            for content in (b"]]></b>", b"\x02"):
                fields = {"MsgType": "text", "Content": "@"}
                message = document(sender, stack.now, content, **fields)
                await sender.send(push_of(sender, message, stack.now))
            await alice.scans(page)
        exposed = stack.container.metrics.exposition()[0].decode()
        counted = {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
            if sample.name == "scanpush_callbacks_total"
        }
        assert counted["unreadable"] == 2


class Guarded:
    """A server with an account for each mode: alice writes, bob is being asked about a scene, and
    another scene waits. Pushes go to the service itself, for there are many."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        accounts = {"default": {"mode": "safe"}, **{mode: {"mode": mode} for mode in MODES[1:]}}
        self.stack = Stack(folder, wechat={"accounts": accounts}, login={"confirm": "always"})
        self.pages: dict[str, tuple[Page, Page]] = {}
        self.run = self.loop.run_until_complete
        self.run(self._open())

    async def _open(self) -> None:
        await self.stack.__aenter__()
        for account in ("default", *MODES[1:]):
            waiting = await self.stack.begin(account=account)
            asked = await self.stack.begin(account=account)
            bob = Chatter(self.stack, "bob", account)
            await bob.scans(asked)
            self.pages[account] = waiting, asked

    async def states(self, account: str) -> list[str]:
        scenes = [await self.stack.scene(page) for page in self.pages[account]]
        return [scene.state.value for scene in scenes if scene is not None]

    async def deliver(self, account: str, push: PushRequest) -> bytes:
        reply = await self.stack.container.callbacks.receive(
            self.stack.container.accounts.named(account),
            CallbackRequest(query_of(push), "", push.body, push.content_type),
        )
        return reply.body

    def close(self) -> None:
        self.run(self.stack.__aexit__(None, None, None))
        self.loop.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("texts"))
    yield guarded
    guarded.close()


# Marks for what only the test knows: the scenes and the people.
SCENE, ASKED, BOB = "{scene}", "{asked}", "{bob}"
NAMES = ["Content", "Title", "Description", "Remark", "Event", "EventKey", "MsgType", "Ticket"]
NAMES += ["FromUserName", "xml", "Z", "CreateTime", "Encrypt"]
VALUES = [SCENE, "qrscene_" + SCENE, ASKED, BOB, "SCAN", "subscribe", "event", "text", "1", "0"]
ends = st.sampled_from(NAMES).flatmap(
    lambda name: st.sampled_from([f"<{name}>", f"</{name}>", f"]]></{name}>", f"<{name}><![CDATA["])
)
elements = st.builds(
    lambda name, value, form: form.format(name, value),
    st.sampled_from(NAMES),
    st.sampled_from(VALUES),
    st.sampled_from(
        ["<{0}>{1}</{0}>", "<{0}><![CDATA[{1}]]></{0}>", '"{0}":"{1}",', '","{0}":"{1}']
    ),
)
marks = st.sampled_from(
    [
        "]]>",
        "<![CDATA[",
        "<!--",
        "-->",
        "<?a",
        "?>",
        "&",
        "&#60;",
        "\x02",
        "\xe6",
        "\0",
        '"',
        "\\",
        "1",
    ]
    + ["<!DOCTYPE x [<!ENTITY a 'b'>]>", "</xml>", "<xml>", "\n", '"}', '{"']
)
texts = st.lists(ends | elements | marks | st.text(max_size=4), max_size=12).map("".join)
SPLICED = (
    f"<MsgType>event</MsgType><Event>SCAN</Event><EventKey>{SCENE}</EventKey>"
    f"<FromUserName>{BOB}</FromUserName>"
)
# By the order in which WeChat sends them, and what stands in them where a text does not.
SKELETONS = {
    "text": {"MsgType": "text", "Content": None, "MsgId": "7"},
    "link": {"MsgType": "link", "Title": None, "Description": None, "Url": None},
    "push": {"MsgType": "event", "Event": "scancode_push", "EventKey": "k", "Remark": None},
    "follow": {"MsgType": "event", "Event": "subscribe", "Title": None, "Description": None},
    "scan": {"Title": None, "MsgType": "event", "Event": "SCAN", "Description": None},
}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    skeleton=st.sampled_from(sorted(SKELETONS)),
    written=st.lists(texts, min_size=3, max_size=3),
    account=st.sampled_from(["default", *MODES[1:]]),
    as_json=st.booleans(),
)
@example("text", [f"]]></Content>{SPLICED}<Content><![CDATA["] * 3, "default", False)
@example("text", [f"]]>{SPLICED}<![CDATA["] * 3, "plaintext", False)
@example("text", [f"]]></Content>{SPLICED}<!--"] * 3, "compatible", False)
@example("text", [f"1]]></Content><FromUserName>{BOB}</FromUserName>"] * 3, "plaintext", False)
@example("scan", ["", f'","EventKey":"{SCENE}', ""], "plaintext", True)
@example(
    "follow",
    [f"]]></Title><EventKey>qrscene_{SCENE}</EventKey><!--", "--><Description><![CDATA[", ""],
    "default",
    False,
)
@example(
    "follow",
    [
        f"]]></Title><EventKey>qrscene_{SCENE}</EventKey><Z><Title><![CDATA[",
        "]]></Description></Z><Description><![CDATA[",
        "",
    ],
    "default",
    False,
)
@example(
    "follow",
    [f"]]></Title><EventKey>qrscene_{SCENE}</EventKey><Title><![CDATA[", "", ""],
    "default",
    False,
)
@example("scan", [f"]]></Title><EventKey>{SCENE}</EventKey><Title><![CDATA["] * 3, "default", False)
@example("text", [f"]]></Content><Encrypt>{'A' * 64}</Encrypt>"] * 3, "compatible", False)
def test_a_text_supplies_nothing(
    guarded: Guarded, skeleton: str, written: list[str], account: str, as_json: bool
) -> None:
    """Whatever people write, put into the push as WeChat does: 200, and no scene moves."""
    stack, sender = guarded.stack, guarded.stack.sender(account)
    waiting, asked = guarded.pages[account]
    fields, pieces = [], iter(written)
    common = {name: str(value) for name, value in sender.event("", "alice", stack.now).items()}
    del common["MsgType"], common["Event"]
    for name, value in {**common, **SKELETONS[skeleton]}.items():
        value = next(pieces) if value is None else value
        # In CDATA a text stands as it is. In JSON it is escaped: what ends a string there can make
        # a body that WeChat itself might have sent.
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        written_in_xml = f"<{name}><![CDATA[{value}]]></{name}>"
        fields.append(f'"{name}":"{escaped}"' if as_json else written_in_xml)
    message = "{" + ",".join(fields) + "}" if as_json else f"<xml>{''.join(fields)}</xml>"
    for mark, value in ((SCENE, waiting.scene_str), (ASKED, asked.scene_str)):
        message = message.replace(mark, value)
    message = message.replace(BOB, sender.openid("bob"))
    # One of the marks is half of a character in UTF-8, which only bytes can be.
    body = message.encode("utf-8", "surrogatepass").replace("\xe6".encode(), b"\xe6")
    push = push_of(sender, body, stack.now)

    before = guarded.run(guarded.states(account))
    assert before == ["waiting", "confirming"]
    answer = guarded.run(guarded.deliver(account, push))
    assert guarded.run(guarded.states(account)) == before
    # Alice is not being asked, so that even a question about bob's scene would be too much.
    assert answer == SUCCESS


@pytest.mark.parametrize("mode", ["default", *MODES[1:]])
def test_a_name_that_stands_twice_in_json_supplies_nothing(guarded: Guarded, mode: str) -> None:
    """Where a writer does not escape what people write."""
    stack, sender = guarded.stack, guarded.stack.sender(mode)
    waiting, _ = guarded.pages[mode]
    for content in (
        f'1","FromUserName":"{sender.openid("bob")}',
        f'","MsgType":"event","Event":"SCAN","EventKey":"{waiting.scene_str}',
    ):
        event = sender.event("", "alice", stack.now, MsgType="text", Content="@", MsgId="7")
        message = json.dumps(event).replace("@", content).encode()
        before = guarded.run(guarded.states(mode))
        push = push_of(sender, message, stack.now)
        assert guarded.run(guarded.deliver(mode, push)) == SUCCESS
        assert guarded.run(guarded.states(mode)) == before == ["waiting", "confirming"]


@ON_LOOP
async def test_the_question_is_repeated_to_the_writer_alone(tmp_path: Path) -> None:
    """An unreadable text that names bob as its sender answers no question of his."""
    async with Stack(tmp_path, login={"confirm": "always"}) as stack:
        page, bob, sender = await stack.begin(), Chatter(stack, "bob"), stack.sender()
        assert await bob.scans(page) != text("expired", LANGUAGE)
        for content in (
            f"]]></Content><FromUserName><![CDATA[{bob.openid}]]></FromUserName></b>",
            f"]]><FromUserName>{bob.openid}</FromUserName>",
        ):
            fields = {"MsgType": "text", "Content": "@"}
            message = document(sender, stack.now, content.encode(), **fields)
            answer = await sender.send(push_of(sender, message, stack.now))
            assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "confirming"
