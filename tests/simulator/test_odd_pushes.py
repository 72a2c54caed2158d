"""The odd and the hostile pushes that a test may order."""

from typing import Any

import pytest
import xmltodict

from services.wechat.crypto import Cipher, CryptoError, signature
from simulator import PushOptions, SimulatedWeChat
from tests.simulator.conftest import CallbackServer, Caller


@pytest.mark.gen_test
async def test_bad_signature(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """Both signatures are wrong, everything else is right."""
    await wechat.phones.follow("alice", options=PushOptions(bad_signature=True))
    account, query = wechat.config.accounts[0], server.pushes[0].query
    right = signature(account.callback_token, query["timestamp"], query["nonce"])
    assert query["signature"] != right and len(query["signature"]) == 40
    with pytest.raises(AssertionError):
        server.pushes[0].message(account)


@pytest.mark.gen_test
async def test_wrong_app_id(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """The signature is right, but the text ends in another app_id."""
    await wechat.phones.follow("alice", options=PushOptions(wrong_app_id=True))
    account = wechat.config.accounts[0]
    encrypt = xmltodict.parse(server.pushes[0].body)["xml"]["Encrypt"]
    with pytest.raises(CryptoError):
        Cipher(account.encoding_aes_key, account.app_id).decrypt(encrypt)


@pytest.mark.gen_test
async def test_plaintext_downgrade(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """In safe mode a message in clear with only the plain signature."""
    await wechat.phones.follow("alice", options=PushOptions(plaintext_downgrade=True))
    push = server.pushes[0]
    assert "FromUserName" in push.body and "msg_signature" not in push.query


@pytest.mark.gen_test
@pytest.mark.parametrize("where", ["inner", "outer"])
async def test_doctype(wechat: SimulatedWeChat, server: CallbackServer, where: str) -> None:
    """A DOCTYPE with entities, around Encrypt or inside it."""
    await wechat.phones.follow("alice", options=PushOptions(doctype=where))
    account = wechat.config.accounts[0]
    body = server.pushes[0].body
    if where == "inner":
        encrypt = xmltodict.parse(body)["xml"]["Encrypt"]
        body = Cipher(account.encoding_aes_key, account.app_id).decrypt(encrypt).decode()
    assert body.startswith("<!DOCTYPE")


@pytest.mark.gen_test
async def test_stale_timestamp(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """A rightly signed push of long ago."""
    await wechat.phones.follow("alice", options=PushOptions(stale_seconds=3600))
    stale = int(wechat.world.clock.now()) - int(server.pushes[0].query["timestamp"])
    assert 3590 <= stale <= 3610
    server.pushes[0].message(wechat.config.accounts[0])


@pytest.mark.gen_test
async def test_hostile_pushes_are_tried_once(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """A refused hostile push is the expected end of it: no retry, no complaint in the chat."""
    server.statuses = [403]
    delivery = await wechat.phones.follow("alice", options=PushOptions(bad_signature=True))
    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 1, 403)
    assert wechat.world.chats.lines("alice", wechat.config.accounts[0].app_id) == []


@pytest.mark.gen_test
async def test_shapes(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """Lower-case events, an empty EventKey, and replaced fields."""
    odd = PushOptions(lower_case_event=True, empty_event_key=True, fields={"Extra": "1"})
    await wechat.phones.event("alice", "SCAN", {"EventKey": "x"}, options=odd)
    message = server.pushes[0].message(wechat.config.accounts[0])
    assert (message["Event"], message["EventKey"], message["Extra"]) == ("scan", None, "1")


@pytest.mark.gen_test
async def test_retry_may_be_encrypted_again(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """With `reencrypt` a retry says the same in another ciphertext."""
    server.hang = 1
    await wechat.phones.follow("alice", options=PushOptions(reencrypt=True))
    account = wechat.config.accounts[0]
    first, second = server.pushes
    assert first.body != second.body and first.message(account) == second.message(account)


@pytest.mark.gen_test
async def test_scan_after_follow(caller: Caller, server: CallbackServer) -> None:
    """One scan of a newcomer may bring subscribe and SCAN."""
    code = await caller.code("scene-1")
    both = {"scan_after_follow": True}
    await caller.control("scan", {"url": code["url"], "person": "alice", "options": both})
    messages = [push.message(caller.account) for push in server.pushes]
    assert [message["EventKey"] for message in messages] == ["qrscene_scene-1", "scene-1"]


@pytest.mark.gen_test
async def test_not_waiting(caller: Caller, server: CallbackServer) -> None:
    """With `wait` False the caller is answered before the push is."""
    server.hang = 1
    answer = await caller.control("follow", {"person": "alice", "options": {"wait": False}})
    await server.received(1)
    assert answer.json()["outcome"] == "queued"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "action, body, expected",
    [
        ("menu", {"key": "V1"}, {"Event": "CLICK", "EventKey": "V1"}),
        ("menu", {"key": "http://x/", "view": True}, {"Event": "VIEW", "EventKey": "http://x/"}),
        ("event", {"event": "LOCATION", "fields": {"Latitude": "1.5"}}, {"Latitude": "1.5"}),
        ("follow", {"event_key": "last_trade_no_1"}, {"EventKey": "last_trade_no_1"}),
        ("unfollow", {}, {"Event": "unsubscribe"}),
    ],
)
async def test_other_events(
    caller: Caller, server: CallbackServer, action: str, body: Any, expected: dict[str, str]
) -> None:
    """Menus, locations, payments and leaving arrive with their fields."""
    answer = await caller.control(action, {"person": "alice", **body})
    message = server.pushes[0].message(caller.account)
    assert answer.json()["outcome"] == "answered"
    assert expected.items() <= message.items()


@pytest.mark.gen_test
async def test_messages_need_a_follower(caller: Caller, server: CallbackServer) -> None:
    """A person who does not follow cannot write; a follower's image arrives with a MsgId."""
    image = {"person": "alice", "fields": {"MsgType": "image", "PicUrl": "http://x/"}}
    before = (await caller.control("message", image)).json()["outcome"]
    await caller.control("follow", {"person": "alice"})
    await caller.control("message", image)
    message = server.pushes[-1].message(caller.account)
    assert before == "not_followed" and message["MsgType"] == "image"
    assert int(message["MsgId"]) > 0


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "path, body",
    [
        ("scan", {}),
        ("scan", {"person": "a", "options": {"nonsense": 1}}),
        ("follow", {"person": "a", "account": "wx0000000000000000"}),
        ("faults", {"errcode": 1}),
        ("faults", {"path": "/x", "nonsense": 1}),
        ("clock", {"advance": -1}),
        ("clock", []),
        ("people", {"person": "a", "openid": "x"}),
    ],
)
async def test_mistaken_controls(caller: Caller, path: str, body: Any) -> None:
    """A control that cannot be understood is 400 and says why."""
    answer = await caller.control(path, body)
    assert answer.status_code == 400 and answer.json()["error"]
