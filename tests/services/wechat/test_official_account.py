"""What the server asks of WeChat for an account, and how a refused access_token is mended once."""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.errors import WeChatRefused, WeChatUnavailable
from services.ids import OpenId
from services.wechat.access_token import make_authorized_client
from services.wechat.official_account import Follower, OfficialAccountClient, QrCode, show_qr_url
from tests.services.wechat.fakes import APP_ID, APP_SECRET, Bench, bench

CREATE = "/cgi-bin/qrcode/create"
INFO = "/cgi-bin/user/info"
BATCH = "/cgi-bin/user/info/batchget"
SEND = "/cgi-bin/message/template/send"
SCENE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
GOOD = {"ticket": "gQ==", "expire_seconds": 180, "url": "http://weixin.qq.com/q/02"}


def api(b: Bench) -> OfficialAccountClient:
    return OfficialAccountClient(b.authorized())


@pytest.mark.gen_test
async def test_create_qr_code() -> None:
    """A temporary string scene, its life always sent."""
    async with bench() as b:
        b.wechat.script[CREATE] = [GOOD]
        assert await api(b).create_qr_code(SCENE, 180) == QrCode("gQ==", GOOD["url"])
        (seen,) = b.wechat.asked(CREATE)
        assert (seen.method, seen.query) == ("POST", {"access_token": "TOKEN_1"})
        assert seen.body == {
            "expire_seconds": 180,
            "action_name": "QR_STR_SCENE",
            "action_info": {"scene": {"scene_str": SCENE}},
        }


@pytest.mark.parametrize(("scene", "life"), [("", 60), ("x" * 65, 60), ("x", 0), ("x", 2592001)])
@pytest.mark.gen_test
async def test_create_out_of_range(scene: str, life: int) -> None:
    """What WeChat would refuse is not even asked."""
    async with bench() as b:
        with pytest.raises(ValueError):
            await api(b).create_qr_code(scene, life)
        assert b.wechat.seen == []


@pytest.mark.parametrize("answer", [{}, {"ticket": "t"}, {"ticket": "", "url": "u"}, {"url": 1}])
@pytest.mark.gen_test
async def test_create_without_result(answer: dict[str, Any]) -> None:
    """An answer without ticket or url is no answer."""
    async with bench() as b:
        b.wechat.script[CREATE] = [answer]
        with pytest.raises(WeChatUnavailable):
            await api(b).create_qr_code(SCENE, 180)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"subscribe": 1, "openid": "oA", "unionid": "uA"}, Follower(OpenId("oA"), True, "uA")),
        ({"subscribe": 1, "openid": "oA", "nickname": ""}, Follower(OpenId("oA"), True)),
        ({"subscribe": 0, "openid": "oA"}, Follower(OpenId("oA"), False)),
        ({"subscribe": 1, "unionid": ""}, Follower(OpenId("oA"), True)),
        ({"subscribe": 1, "unionid": 7}, Follower(OpenId("oA"), True)),
    ],
    ids=str,
)
@pytest.mark.gen_test
async def test_user_info(answer: dict[str, Any], expected: Follower) -> None:
    """Whether the person follows, and the unionid where there is one."""
    async with bench() as b:
        b.wechat.script[INFO] = [answer]
        assert await api(b).user_info(OpenId("oA")) == expected
        (seen,) = b.wechat.asked(INFO)
        assert seen.query == {"access_token": "TOKEN_1", "openid": "oA", "lang": "zh_CN"}


@pytest.mark.gen_test
async def test_send_template() -> None:
    """Typed values, without colours, once by client_msg_id."""
    async with bench() as b:
        b.wechat.script[SEND] = [{"errcode": 0, "errmsg": "ok", "msgid": 200228332}]
        sent = await api(b).send_template(OpenId("oA"), "tpl", {"thing1": "登录"}, SCENE)
        assert sent == "200228332"
        assert b.wechat.asked(SEND)[0].body == {
            "touser": "oA",
            "template_id": "tpl",
            "data": {"thing1": {"value": "登录"}},
            "client_msg_id": SCENE,
        }


@pytest.mark.gen_test
async def test_template_is_not_sent_twice() -> None:
    """An answer that was lost may have been a message that was sent."""
    async with bench() as b:
        b.wechat.script[SEND] = [httpx.ReadError("lost")]
        with pytest.raises(WeChatUnavailable):
            await api(b).send_template(OpenId("oA"), "tpl", {}, SCENE)
        assert len(b.wechat.asked(SEND)) == 1


@pytest.mark.parametrize("errcode", [40001, 40014, 42001])
@pytest.mark.gen_test
async def test_refused_token_is_replaced_once(errcode: int) -> None:
    """Another token, one more try, and the caller notices nothing."""
    async with bench() as b:
        b.wechat.script[CREATE] = [{"errcode": errcode, "errmsg": "bad token"}, GOOD]
        await api(b).create_qr_code(SCENE, 180)
        tokens = [seen.query["access_token"] for seen in b.wechat.asked(CREATE)]
        assert tokens == ["TOKEN_1", "TOKEN_2"]


@pytest.mark.gen_test
async def test_refused_token_is_not_replaced_twice() -> None:
    """A second refusal is the answer: no loop."""
    async with bench() as b:
        b.wechat.script[CREATE] = [{"errcode": 40001, "errmsg": "bad"}] * 5
        with pytest.raises(WeChatRefused) as caught:
            await api(b).create_qr_code(SCENE, 180)
        assert caught.value.code == "wechat_credentials"
        assert len(b.wechat.asked(CREATE)) == 2


@pytest.mark.gen_test
async def test_other_refusals_keep_the_token(logs: Any) -> None:
    """48001 says nothing about the token."""
    logs.expect("48001")
    async with bench() as b:
        b.wechat.script[CREATE] = [{"errcode": 48001, "errmsg": "api unauthorized"}]
        with pytest.raises(WeChatRefused):
            await api(b).create_qr_code(SCENE, 180)
        assert b.wechat.tokens_made == 1


@pytest.mark.gen_test
async def test_time_out_counts_the_token_too(logs: Any) -> None:
    """However long each step takes, the whole ends with the time-out."""
    logs.expect("no new access_token")
    async with bench(timeout_seconds=0.05, spare_base="") as b:
        b.wechat.hanging = asyncio.Event()
        with pytest.raises(WeChatUnavailable):
            await api(b).user_info(OpenId("oA"))


@pytest.mark.gen_test
async def test_picture() -> None:
    """A picture comes as bytes; JSON instead of it is an errcode, also of the token."""
    picture = httpx.Response(200, content=b"\xff\xd8", headers={"Content-Type": "image/jpeg"})
    path = "/wxa/getwxacodeunlimit"
    async with bench() as b:
        b.wechat.script[path] = [{"errcode": 42001, "errmsg": "expired"}, picture]
        answer = await b.authorized().picture(path, {"scene": "a"})
        assert (answer.content_type, answer.body) == ("image/jpeg", b"\xff\xd8")
        assert len(b.wechat.asked(path)) == 2


@pytest.mark.gen_test
async def test_no_picture() -> None:
    """A friendly JSON answer without an errcode is still no picture."""
    async with bench() as b:
        with pytest.raises(WeChatUnavailable):
            await b.authorized().picture("/wxa/getwxacodeunlimit", {})


@pytest.mark.gen_test
async def test_accounts_are_apart() -> None:
    """Each account has an access_token of its own."""
    async with bench() as b:
        for app_id in (APP_ID, "wx00000000000000ff"):
            client = make_authorized_client(
                b.client, b.store, b.clock, b.supervisor, app_id=app_id, app_secret=APP_SECRET
            )
            await OfficialAccountClient(client).user_info(OpenId("oA"))
        asked = [seen.body["appid"] for seen in b.wechat.asked("/cgi-bin/stable_token")]
        assert asked == [APP_ID, "wx00000000000000ff"]


@pytest.mark.parametrize("ticket", ["gQ==", "a+b/c=", "a&b=c?#"])
def test_show_qr_url(ticket: str) -> None:
    """Every sign of a ticket that means something in an address is escaped."""
    url = show_qr_url("https://mp.weixin.qq.com/", ticket)
    assert url.startswith("https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=")
    assert parse_qs(urlsplit(url).query) == {"ticket": [ticket]}
    assert not set("+/#") & set(url.partition("ticket=")[2])


@pytest.mark.gen_test
async def test_one_follower_is_asked_about_by_user_info() -> None:
    """As ever."""
    async with bench() as b:
        b.wechat.script[INFO] = [{"subscribe": 1, "openid": "oA", "unionid": "uA"}]
        assert await api(b).followers([OpenId("oA")]) == [Follower(OpenId("oA"), True, "uA")]


@pytest.mark.gen_test
async def test_several_followers_are_asked_about_in_one_call() -> None:
    """Each by its openid, whatever the order; entries that fit no question are left out."""
    told = [
        {"subscribe": 0, "openid": "oB"},
        {"subscribe": 1, "openid": "oA", "unionid": "uA"},
        {"subscribe": 1, "openid": "oC", "unionid": 7},
        {"subscribe": 1, "openid": "oX", "unionid": "uX"},
        {"subscribe": 1},
        None,
    ]
    async with bench() as b:
        b.wechat.script[BATCH] = [{"user_info_list": told}]
        followers = await api(b).followers([OpenId(f"o{letter}") for letter in "ABCD"])
        got = [(one.openid, one.subscribed, one.unionid) for one in followers]
        assert got == [("oB", False, None), ("oA", True, "uA"), ("oC", True, None)]
        (seen,) = b.wechat.asked(BATCH)
        asked = [{"openid": f"o{letter}", "lang": "zh_CN"} for letter in "ABCD"]
        assert (seen.method, seen.body) == ("POST", {"user_list": asked})


@pytest.mark.parametrize("answer", [{}, {"user_info_list": {}}])
@pytest.mark.gen_test
async def test_followers_without_a_list(answer: dict[str, Any]) -> None:
    """An answer without it is no answer."""
    async with bench() as b:
        b.wechat.script[BATCH] = [answer]
        with pytest.raises(WeChatUnavailable):
            await api(b).followers([OpenId("oA"), OpenId("oB")])
