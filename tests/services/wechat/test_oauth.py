"""Web logins: addresses as WeChat checks them, codes exchanged once, names made inert."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.errors import WeChatRefused, WeChatUnavailable
from services.ids import OpenId
from services.wechat import oauth
from services.wechat.oauth import Grant, OAuthClient
from tests.services.wechat.fakes import APP_ID, APP_SECRET, Bench, bench, eventually

EXCHANGE = "/sns/oauth2/access_token"
INFO = "/sns/userinfo"
GOOD = {
    "access_token": "ACCESS_TOKEN_OF_A_PERSON",
    "expires_in": 7200,
    "refresh_token": "REFRESH_TOKEN_OF_A_PERSON",
    "openid": "oA",
    "scope": "snsapi_userinfo",
    "unionid": "uA",
}
GRANT = Grant(OpenId("oA"), "snsapi_userinfo", access_token="T")


def oauth_client(b: Bench, **options: int) -> OAuthClient:
    return OAuthClient(
        b.client, b.clock, b.supervisor, app_id=APP_ID, app_secret=APP_SECRET, **options
    )


def test_authorize_url() -> None:
    """WeChat checks the order of the parameters and the fragment by a pattern."""
    url = oauth.authorize_url(
        "https://open.weixin.qq.com/", "wx1", "https://a.example/cb?x=1&y=ü", "snsapi_base", "ab1"
    )
    assert url == (
        "https://open.weixin.qq.com/connect/oauth2/authorize?appid=wx1"
        "&redirect_uri=https%3A%2F%2Fa.example%2Fcb%3Fx%3D1%26y%3D%C3%BC"
        "&response_type=code&scope=snsapi_base&state=ab1#wechat_redirect"
    )


@pytest.mark.parametrize(("lang", "shown"), [("zh-CN", "cn"), ("zh-TW", "cn"), ("ja", "en")])
def test_qrconnect_url(lang: str, shown: str) -> None:
    """The website's scope is fixed, and there are two languages."""
    url = oauth.qrconnect_url("https://open.weixin.qq.com", "wx1", "https://a.example/", "s", lang)
    parts = urlsplit(url)
    assert (parts.path, parts.fragment) == ("/connect/qrconnect", "wechat_redirect")
    assert parse_qsl(parts.query) == [
        ("appid", "wx1"),
        ("redirect_uri", "https://a.example/"),
        ("response_type", "code"),
        ("scope", "snsapi_login"),
        ("state", "s"),
        ("lang", shown),
    ]


@pytest.mark.parametrize("state", ["", "a" * 129, "a-b", "a&b", "ä", "a\n"])
def test_state_that_wechat_refuses(state: str) -> None:
    """Only letters and digits, at most 128."""
    with pytest.raises(ValueError):
        oauth.authorize_url("https://o", "wx1", "https://a.example/", "snsapi_base", state)


@pytest.mark.gen_test
async def test_exchange() -> None:
    """A code becomes a grant."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [GOOD]
        grant = await oauth_client(b).exchange("CODE")
        assert (grant.openid, grant.unionid, grant.is_snapshot) == ("oA", "uA", False)
        assert grant.with_profile
        (seen,) = b.wechat.seen
        assert seen.query == {
            "appid": APP_ID,
            "secret": APP_SECRET,
            "code": "CODE",
            "grant_type": "authorization_code",
        }


@pytest.mark.gen_test
async def test_silent_scope() -> None:
    """snsapi_base brings an openid and no right to a name."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [{"access_token": "T", "openid": "oA", "scope": "snsapi_base"}]
        grant = await oauth_client(b).exchange("CODE")
        assert (grant.unionid, grant.with_profile) == (None, False)


@pytest.mark.parametrize("mark", [1, "1", True])
@pytest.mark.gen_test
async def test_snapshot_person(mark: object) -> None:
    """The virtual person of snapshot mode is marked, however it is spelt."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [{**GOOD, "is_snapshotuser": mark}]
        assert (await oauth_client(b).exchange("CODE")).is_snapshot


@pytest.mark.gen_test
async def test_code_is_exchanged_once() -> None:
    """Phones, prefetchers and gateways ask twice; WeChat is asked once (40163)."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [GOOD, {"errcode": 40163, "errmsg": "code been used"}]
        asked = oauth_client(b)
        grants = await asyncio.gather(*(asked.exchange("CODE") for _ in range(5)))
        assert {grant.openid for grant in grants} == {"oA"}
        assert await asked.exchange("CODE") == grants[0]
        assert len(b.wechat.seen) == 1


@pytest.mark.gen_test
async def test_exchange_outlives_its_caller() -> None:
    """The phone hangs up and asks again: the code is not lost with the first request."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [GOOD]
        b.wechat.hanging = asyncio.Event()
        asked = oauth_client(b)
        first = asyncio.ensure_future(asked.exchange("CODE"))
        await eventually(lambda: bool(b.wechat.seen))
        first.cancel()
        b.wechat.hanging.set()
        assert (await asked.exchange("CODE")).openid == "oA"
        assert len(b.wechat.seen) == 1


@pytest.mark.gen_test
async def test_exchange_is_forgotten() -> None:
    """After a minute the code is WeChat's matter again, and nothing is kept."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [GOOD, {"errcode": 40163, "errmsg": "code been used"}]
        asked = oauth_client(b)
        await asked.exchange("CODE")
        b.clock.seconds = 61
        with pytest.raises(WeChatRefused) as caught:
            await asked.exchange("CODE")
        assert caught.value.code == "bad_request"
        assert len(asked._exchanges) == 1


@pytest.mark.gen_test
async def test_memory_of_exchanges_is_bounded() -> None:
    """A flood of codes cannot fill the memory."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [GOOD] * 20
        asked = oauth_client(b, most_remembered=10)
        for number in range(20):
            await asked.exchange(f"CODE{number}")
        assert len(asked._exchanges) == 10


@pytest.mark.parametrize("code", ["", "a b", "a\n", "é", "x" * 513, "<script>"])
@pytest.mark.gen_test
async def test_what_is_no_code(code: str) -> None:
    """WeChat is not even asked."""
    async with bench() as b:
        with pytest.raises(WeChatRefused) as caught:
            await oauth_client(b).exchange(code)
        assert caught.value.code == "bad_request"
        assert b.wechat.seen == []


@pytest.mark.parametrize("errcode", [40029, 40163, 41008, 42003])
@pytest.mark.gen_test
async def test_refused_codes(errcode: int) -> None:
    """A code that is no good is the sender's mistake, not an outage."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [{"errcode": errcode, "errmsg": "no"}]
        with pytest.raises(WeChatRefused) as caught:
            await oauth_client(b).exchange("CODE")
        assert caught.value.code == "bad_request"


@pytest.mark.parametrize("fault", ["busy", "broken"])
@pytest.mark.gen_test
async def test_exchange_is_never_repeated(fault: str) -> None:
    """Whatever fails after sending, the code may be used up: no second try on any host."""
    async with bench() as b:
        b.wechat.busy = 9 * (fault == "busy")
        b.wechat.broken = {"api.weixin.qq.com"} if fault == "broken" else set()
        with pytest.raises(WeChatUnavailable):
            await oauth_client(b).exchange("CODE")
        assert len(b.wechat.seen) == 1


@pytest.mark.gen_test
async def test_person_may_try_again_after_an_outage() -> None:
    """A failed connection is not remembered against the code."""
    async with bench(spare_base="") as b:
        b.wechat.unreachable = {"api.weixin.qq.com"}
        asked = oauth_client(b)
        with pytest.raises(WeChatUnavailable):
            await asked.exchange("CODE")
        b.wechat.unreachable = set()
        b.wechat.script[EXCHANGE] = [GOOD]
        assert (await asked.exchange("CODE")).openid == "oA"


@pytest.mark.parametrize("answer", [{}, {"openid": "oA"}, {"access_token": "T"}, {"openid": 1}])
@pytest.mark.gen_test
async def test_exchange_without_result(answer: dict[str, Any]) -> None:
    """An answer that names no person grants nothing."""
    async with bench() as b:
        b.wechat.script[EXCHANGE] = [answer]
        with pytest.raises(WeChatUnavailable):
            await oauth_client(b).exchange("CODE")


@pytest.mark.gen_test
async def test_profile() -> None:
    """Name, picture and unionid of the person the grant is about."""
    picture = "https://thirdwx.qlogo.cn/mmopen/a/132"
    async with bench() as b:
        b.wechat.script[INFO] = [
            {"openid": "oA", "nickname": "小\u0001明 👩\u200d🚀", "headimgurl": picture}
        ]
        profile = await oauth_client(b).profile(GRANT)
        assert (profile.nickname, profile.avatar) == ("小 明 👩\u200d🚀", picture)


@pytest.mark.gen_test
async def test_profile_of_another_person() -> None:
    """An answer about another openid is no answer."""
    async with bench() as b:
        b.wechat.script[INFO] = [{"openid": "oB", "nickname": "x"}]
        with pytest.raises(WeChatUnavailable):
            await oauth_client(b).profile(GRANT)


@pytest.mark.parametrize(
    ("nickname", "shown"),
    [
        ("x" * 10_000, "x" * 63 + "…"),
        ("a\u202eb\u2066c", "a b c"),
        ("  a \r\n b\t", "a b"),
        ("\x00\x1b[31m", "[31m"),
        (None, ""),
        ({"$ne": 1}, ""),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_nicknames(nickname: object, shown: str) -> None:
    """One line, no control or direction characters, bounded; escaping is the page's part."""
    assert oauth.clean_nickname(nickname) == shown


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "//evil.example/a",
        "https://user@evil.example/a",
        'https://a.example/"onerror=',
        "https://a.example/\n",
        "http://[",
        "https://" + "a" * 2000,
        "https:///a",
        7,
        "",
    ],
)
def test_avatars_that_are_none(url: object) -> None:
    """Only plain addresses of pictures get through."""
    assert oauth.clean_avatar(url) == ""


@pytest.mark.gen_test
async def test_no_secret_in_errors() -> None:
    """Errors name neither code nor secret."""
    async with bench() as b:
        text = f"invalid {APP_SECRET} SECRET_CODE_SECRET_CODE_SECRET"
        b.wechat.script[EXCHANGE] = [{"errcode": 40029, "errmsg": text}]
        with pytest.raises(WeChatRefused) as caught:
            await oauth_client(b).exchange("SECRET_CODE_SECRET_CODE_SECRET")
        assert "SECRET" not in str(caught.value) and APP_SECRET not in str(caught.value)


def test_grants_do_not_show_their_tokens() -> None:
    """Even printed by accident a grant keeps its secret."""
    assert "ACCESS" not in repr(Grant(OpenId("oA"), "s", access_token="ACCESS"))
