"""What a phone does reaches the callback URL as WeChat would send it."""

from collections.abc import Callable

import pytest

from simulator import PushOptions, SimulatedWeChat
from tests.simulator.conftest import CallbackServer, Caller, passive_reply

SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
MODES = ("plaintext", "compatible", "safe")


async def code_of(wechat: SimulatedWeChat) -> None:
    wechat.world.codes.create(
        wechat.config.accounts[0].app_id,
        {
            "expire_seconds": 60,
            "action_name": "QR_STR_SCENE",
            "action_info": {"scene": {"scene_str": SCENE}},
        },
    )


@pytest.mark.gen_test
@pytest.mark.parametrize("mode", MODES)
async def test_newcomer_follows_with_the_scene(
    mode: str, server: CallbackServer, make_wechat: Callable[..., SimulatedWeChat]
) -> None:
    """A person who does not follow yet arrives as subscribe with qrscene_, in every mode."""
    wechat = make_wechat(mode=mode)
    await code_of(wechat)
    delivery = await wechat.phones.scan("alice", scene_str=SCENE)
    message = server.pushes[0].message(wechat.config.accounts[0])
    assert (delivery.outcome, delivery.delivered) == ("answered", 1)
    assert (message["Event"], message["EventKey"]) == ("subscribe", f"qrscene_{SCENE}")
    assert message["Ticket"].startswith("gQ")


@pytest.mark.gen_test
@pytest.mark.parametrize("mode", MODES)
async def test_follower_scans(
    mode: str, server: CallbackServer, make_wechat: Callable[..., SimulatedWeChat]
) -> None:
    """A follower arrives as SCAN with the bare scene and the same openid."""
    wechat = make_wechat(mode=mode)
    account = wechat.config.accounts[0]
    await code_of(wechat)
    await wechat.phones.follow("alice")
    await wechat.phones.scan("alice", scene_str=SCENE)
    follow, scan = (push.message(account) for push in server.pushes)
    assert (scan["Event"], scan["EventKey"]) == ("SCAN", SCENE)
    assert scan["FromUserName"] == follow["FromUserName"]
    assert "EventKey" not in follow


@pytest.mark.gen_test
async def test_safe_mode_shows_nothing_in_clear(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """In safe mode the body holds only ToUserName and Encrypt, the query says aes."""
    await wechat.phones.follow("alice")
    push = server.pushes[0]
    assert "FromUserName" not in push.body and push.query["encrypt_type"] == "aes"
    assert push.content_type == "text/xml"


@pytest.mark.gen_test
async def test_expired_and_unknown_codes_send_nothing(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """Scanning an expired or an unknown code pushes nothing."""
    await code_of(wechat)
    wechat.world.clock.advance(61)
    assert (await wechat.phones.scan("alice", scene_str=SCENE)).outcome == "expired"
    assert (await wechat.phones.scan("alice", url="http://x/q/none")).outcome == "unknown_code"
    assert server.pushes == []


@pytest.mark.gen_test
async def test_silence_is_retried(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """No answer in time brings the identical request again."""
    server.hang = 1
    delivery = await wechat.phones.follow("alice")
    assert (delivery.outcome, delivery.attempts) == ("answered", 2)
    assert server.pushes[0] == server.pushes[1]


@pytest.mark.gen_test
async def test_three_failures_tell_the_person(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """After three refused tries WeChat gives up and complains in the chat."""
    server.statuses = [500, 500, 500]
    delivery = await wechat.phones.follow("alice")
    lines = wechat.world.chats.lines("alice", wechat.config.accounts[0].app_id)
    assert (delivery.outcome, delivery.attempts, delivery.status) == ("failed", 3, 500)
    assert [line.sender for line in lines] == ["system"]


@pytest.mark.gen_test
async def test_html_is_an_illegal_answer(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """A body that is no reply counts as a failure and is tried again."""
    server.answer = lambda push: "<html>ok</html>" if len(server.pushes) == 1 else "success"
    assert (await wechat.phones.follow("alice")).attempts == 2


@pytest.mark.gen_test
async def test_encrypted_reply_is_read(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """A reply is verified, decrypted and shown in the person's chat, line breaks included."""
    account = wechat.config.accounts[0]
    server.answer = lambda push: passive_reply(account, push, "登录成功\n]]> & <b>")
    delivery = await wechat.phones.follow("alice")
    lines = wechat.world.chats.lines("alice", account.app_id)
    assert delivery.reply == lines[0].text == "登录成功\n]]> & <b>"


@pytest.mark.gen_test
async def test_safe_mode_refuses_a_clear_reply(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """In safe mode an unencrypted reply is illegal."""
    account = wechat.config.accounts[0]
    server.answer = lambda push: passive_reply(account, push, "hello", encrypt=False)
    delivery = await wechat.phones.follow("alice", options=PushOptions(attempts=1))
    assert (delivery.outcome, delivery.problem) == ("failed", "not encrypted in safe mode")


@pytest.mark.gen_test
async def test_duplicates_are_identical(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """A duplicated push is the same request, signature and all."""
    delivery = await wechat.phones.follow("alice", options=PushOptions(duplicate=3))
    assert delivery.delivered == 4
    assert all(push == server.pushes[0] for push in server.pushes)


@pytest.mark.gen_test
async def test_held_pushes_arrive_in_reverse(
    wechat: SimulatedWeChat, server: CallbackServer
) -> None:
    """What was held is released newest first, with its old CreateTime."""
    held = PushOptions(hold=True)
    await wechat.phones.follow("alice", options=held)
    wechat.world.clock.advance(5)
    await wechat.phones.unfollow("alice", options=held)
    assert server.pushes == []
    await wechat.phones.release()
    messages = [push.message(wechat.config.accounts[0]) for push in server.pushes]
    assert [message["Event"] for message in messages] == ["unsubscribe", "subscribe"]
    assert int(messages[0]["CreateTime"]) - int(messages[1]["CreateTime"]) == 5


@pytest.mark.gen_test
async def test_same_second_pair(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """Two events of one person in one second differ only in what they are."""
    await wechat.phones.follow("alice", options=PushOptions(same_second_pair=True))
    account = wechat.config.accounts[0]
    messages = [push.message(account) for push in server.pushes]
    assert {message["Event"] for message in messages} == {"subscribe", "LOCATION"}
    assert len({(m["FromUserName"], m["CreateTime"]) for m in messages}) == 1


@pytest.mark.gen_test
async def test_many_failures_suspend_the_account(
    make_wechat: Callable[..., SimulatedWeChat], server: CallbackServer
) -> None:
    """After too many failures nothing is pushed for a minute, then again."""
    wechat = make_wechat(mark_fail_after=2, push_attempts=1)
    server.statuses = [500, 500]
    await wechat.phones.follow("alice")
    await wechat.phones.follow("bob")
    assert (await wechat.phones.follow("carol")).outcome == "suspended"
    wechat.world.clock.advance(60)
    assert (await wechat.phones.follow("dave")).outcome == "answered"


@pytest.mark.gen_test
async def test_configuration_check(wechat: SimulatedWeChat, server: CallbackServer) -> None:
    """The console's check passes when the echostr comes back."""
    assert await wechat.world.pusher.check(wechat.config.accounts[0])


@pytest.mark.gen_test
async def test_scan_over_the_control_api(caller: Caller, server: CallbackServer) -> None:
    """A test may order a scan over HTTP and gets the delivery."""
    code = await caller.code()
    answer = await caller.control("scan", {"url": code["url"], "person": "alice"})
    assert answer.json()["outcome"] == "answered"
    assert len(server.pushes) == 1
