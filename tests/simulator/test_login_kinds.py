"""Web authorisation, website login, mini programs and notices, as WeChat's pages say."""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from simulator import SimulatedWeChat
from simulator.config import MINI_PROGRAM_APP_ID, NOTICE_TEMPLATE, WEBSITE_APP_ID
from tests.simulator.conftest import CallbackServer, Caller

BACK = "http://site.example/oauth/callback?from=1"


def authorize_url(caller: Caller, **changes: str) -> str:
    """A link in the required order."""
    query = {
        "appid": caller.account.app_id,
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "snsapi_userinfo",
        "state": "s1",
    }
    link = f"{caller.wechat.open_base}/connect/oauth2/authorize?"
    return link + urlencode(query | changes)


async def redirect_of(caller: Caller, url: str, **more: Any) -> dict[str, str]:
    """What the site gets back after the person decided."""
    answer = await caller.control("authorize", {"url": url, "person": "alice", **more})
    query = parse_qs(urlsplit(answer.json()["redirect"]).query)
    return {name: values[0] for name, values in query.items()}


async def exchange(caller: Caller, code: str, app: Any = None) -> dict[str, Any]:
    app = app or caller.account
    query = {"appid": app.app_id, "secret": app.app_secret, "code": code}
    answer = await caller.http.get(
        f"{caller.wechat.api_base}/sns/oauth2/access_token",
        params=query | {"grant_type": "authorization_code"},
    )
    assert answer.headers["Content-Type"].startswith("text/plain")
    document: dict[str, Any] = answer.json()
    return document


async def sns(caller: Caller, path: str, **query: str) -> httpx.Response:
    return await caller.http.get(f"{caller.wechat.api_base}/sns/{path}", params=query)


@pytest.mark.gen_test
async def test_code_becomes_a_profile(caller: Caller) -> None:
    """Consent gives a code, the code credentials, and these the profile with raw controls."""
    await caller.control("people", {"person": "alice", "nickname": "A\u0001🐼"})
    back = await redirect_of(caller, authorize_url(caller))
    assert (back["from"], back["state"]) == ("1", "s1")
    token = await exchange(caller, back["code"])
    query = {"access_token": token["access_token"], "openid": token["openid"]}
    profile = await sns(caller, "userinfo", **query)
    assert '"nickname": "A\u0001🐼"' in profile.content.decode()
    assert token["unionid"] in profile.text
    assert (await sns(caller, "auth", **query)).json()["errcode"] == 0


@pytest.mark.gen_test
async def test_base_scope_gives_only_an_openid(caller: Caller) -> None:
    """snsapi_base has no unionid and no profile."""
    back = await redirect_of(caller, authorize_url(caller, scope="snsapi_base"))
    token = await exchange(caller, back["code"])
    assert "unionid" not in token
    query = {"access_token": token["access_token"], "openid": token["openid"]}
    assert (await sns(caller, "userinfo", **query)).json()["errcode"] == 48001


@pytest.mark.gen_test
async def test_codes_work_once_and_for_their_app(caller: Caller) -> None:
    """A second exchange is 40163, another app's code 40029, an old one 42003."""
    code = (await redirect_of(caller, authorize_url(caller)))["code"]
    website = caller.wechat.config.websites[0]
    assert (await exchange(caller, code, website))["errcode"] == 40029
    await exchange(caller, code)
    assert (await exchange(caller, code))["errcode"] == 40163
    late = (await redirect_of(caller, authorize_url(caller)))["code"]
    caller.wechat.world.clock.advance(300)
    assert (await exchange(caller, late))["errcode"] == 42003
    assert (await exchange(caller, ""))["errcode"] == 41008


@pytest.mark.gen_test
async def test_refreshing(caller: Caller) -> None:
    """A refresh prolongs a valid credential and replaces an expired one, for thirty days."""
    token = await exchange(caller, (await redirect_of(caller, authorize_url(caller)))["code"])
    query = {
        "appid": caller.account.app_id,
        "grant_type": "refresh_token",
        "refresh_token": token["refresh_token"],
    }
    same = (await sns(caller, "oauth2/refresh_token", **query)).json()
    caller.wechat.world.clock.advance(7_200)
    other = (await sns(caller, "oauth2/refresh_token", **query)).json()
    caller.wechat.world.clock.advance(30 * 86_400)
    over = (await sns(caller, "oauth2/refresh_token", **query)).json()
    assert same["access_token"] == token["access_token"] != other["access_token"]
    assert over["errcode"] == 42002


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "changes, number",
    [
        ({"scope": ""}, 10010),
        ({"redirect_uri": ""}, 10011),
        ({"appid": ""}, 10012),
        ({"state": ""}, 10013),
        ({"redirect_uri": "http://evil.example/"}, 10003),
        ({"appid": WEBSITE_APP_ID}, 10016),
        ({"scope": "snsapi_login"}, 10005),
        ({"state": "s" * 129}, 40128),
    ],
)
async def test_error_pages(
    make_wechat: Callable[..., SimulatedWeChat], changes: dict[str, str], number: int
) -> None:
    """Each mistake in the link has its error page."""
    caller = Caller(make_wechat(web_domain="site.example"))
    page = await caller.http.get(authorize_url(caller, **changes))
    await caller.http.aclose()
    assert page.status_code == 200 and str(number) in page.text


@pytest.mark.gen_test
async def test_wrong_order_is_a_blank_page(caller: Caller) -> None:
    """A link whose parameters are in another order shows nothing at all."""
    parts = urlsplit(authorize_url(caller))
    turned = "&".join(reversed(parts.query.split("&")))
    page = await caller.http.get(f"{caller.wechat.url}{parts.path}?{turned}")
    assert (page.status_code, page.content) == (200, b"")


@pytest.mark.gen_test
async def test_browser_that_is_known_goes_on_silently(caller: Caller) -> None:
    """With a person at the phone snsapi_base redirects at once; snsapi_userinfo asks."""
    caller.http.cookies.set("simulated_person", "alice")
    silent = await caller.http.get(authorize_url(caller, scope="snsapi_base"))
    asked = await caller.http.get(authorize_url(caller))
    assert silent.status_code == 302 and silent.headers["Location"].startswith(BACK)
    assert asked.status_code == 200 and 'name="allow"' in asked.text


@pytest.mark.gen_test
async def test_consent_page_redirects(caller: Caller) -> None:
    """Allowing on the page goes back with a code; denying goes nowhere."""
    url = authorize_url(caller)
    allowed = await caller.http.post(url, data={"person": "小明", "allow": "1"})
    denied = await caller.http.post(url, data={"person": "小明", "allow": "0"})
    assert "code=" in allowed.headers["Location"]
    assert denied.status_code == 200


@pytest.mark.gen_test
async def test_snapshot_gives_a_virtual_person(caller: Caller) -> None:
    """In snapshot mode the person is another, and is_snapshotuser says so."""
    real = await exchange(caller, (await redirect_of(caller, authorize_url(caller)))["code"])
    await caller.control("snapshot", {"on": True})
    caller.http.cookies.set("simulated_person", "alice")
    back = await caller.http.get(authorize_url(caller))
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    virtual = await exchange(caller, code)
    assert virtual["is_snapshotuser"] == 1 and "is_snapshotuser" not in real
    assert virtual["openid"] != real["openid"]


def qrconnect_url(caller: Caller, **changes: str) -> str:
    query = {
        "appid": WEBSITE_APP_ID,
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "snsapi_login",
        "state": "s2",
    }
    return f"{caller.wechat.open_base}/connect/qrconnect?{urlencode(query | changes)}"


@pytest.mark.gen_test
async def test_website_login(caller: Caller) -> None:
    """The shown code is scanned and confirmed on the phone; its page learns both."""
    page = await caller.http.get(qrconnect_url(caller))
    uuid = re.search(r'data-uuid="(\w+)"', page.text)[1]  # type: ignore[index]
    poll = f"{caller.wechat.open_base}/connect/l/qrconnect"
    first = await caller.http.get(poll, params={"uuid": uuid})
    await caller.http.get(f"{caller.wechat.phone_base}/w/{uuid}")
    scanned = await caller.http.get(poll, params={"uuid": uuid, "last": "408"})
    await caller.control("website", {"uuid": uuid, "person": "alice"})
    confirmed = await caller.http.get(poll, params={"uuid": uuid, "last": "404"})
    assert "wx_errcode=408" in first.text and "wx_errcode=404" in scanned.text
    code = re.search(r"wx_code='(\w+)'", confirmed.text)[1]  # type: ignore[index]
    token = await exchange(caller, code, caller.wechat.config.websites[0])
    assert token["scope"] == "snsapi_login" and token["unionid"]


@pytest.mark.gen_test
async def test_website_code_lives_ten_minutes(caller: Caller) -> None:
    """A website's code is good for ten minutes, twice as long as the other."""
    back = await redirect_of(caller, qrconnect_url(caller))
    caller.wechat.world.clock.advance(599)
    token = await exchange(caller, back["code"], caller.wechat.config.websites[0])
    assert "access_token" in token


@pytest.mark.gen_test
@pytest.mark.parametrize("redirects", [True, False])
async def test_denied_website_login(
    make_wechat: Callable[..., SimulatedWeChat], redirects: bool
) -> None:
    """Denying redirects with the state only, or not at all, as WeChat did and does."""
    caller = Caller(make_wechat(deny_redirects=redirects))
    back = await redirect_of(caller, qrconnect_url(caller), allow=False)
    await caller.http.aclose()
    assert back == ({"from": "1", "state": "s2"} if redirects else {})


@pytest.mark.gen_test
async def test_wrong_website_links(caller: Caller) -> None:
    """Another scope or an unknown app cannot be opened."""
    for changes in ({"scope": "snsapi_base"}, {"appid": "wx0000000000000000"}):
        page = await caller.http.get(qrconnect_url(caller, **changes))
        assert "data-uuid" not in page.text


@pytest.mark.gen_test
async def test_login_script_is_served(caller: Caller) -> None:
    """The imitation of wxLogin.js is where the real one is."""
    path = "/res/connect/zh_CN/htmledition/js/wxLogin.js"
    script = await caller.http.get(caller.wechat.url + path)
    assert "WxLogin" in script.text and "javascript" in script.headers["Content-Type"]


async def mini_session(caller: Caller, code: str) -> dict[str, Any]:
    app = caller.wechat.config.mini_programs[0]
    query = {"appid": app.app_id, "secret": app.app_secret, "js_code": code}
    answer = await sns(caller, "jscode2session", **query, grant_type="authorization_code")
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.gen_test
async def test_mini_program_login(caller: Caller) -> None:
    """wx.login's code gives openid, unionid and session_key, once."""
    body = {"person": "alice"}
    code = (await caller.control("mini_program/login", body)).json()["code"]
    session = await mini_session(caller, code)
    assert set(session) == {"openid", "unionid", "session_key"}
    assert (await mini_session(caller, code))["errcode"] == 40163
    assert (await mini_session(caller, "nonsense"))["errcode"] == 40029


@pytest.mark.gen_test
async def test_one_person_has_one_unionid(caller: Caller) -> None:
    """Account, website and mini program know other openids, but the same unionid."""
    web = await exchange(caller, (await redirect_of(caller, authorize_url(caller)))["code"])
    code = (await caller.control("mini_program/login", {"person": "alice"})).json()["code"]
    session = await mini_session(caller, code)
    assert web["unionid"] == session["unionid"] and web["openid"] != session["openid"]


async def mini_token(caller: Caller) -> str:
    app = caller.wechat.config.mini_programs[0]
    token: str = (await caller.token(appid=app.app_id, secret=app.app_secret))["access_token"]
    return token


@pytest.mark.gen_test
async def test_mini_program_code_picture(caller: Caller) -> None:
    """getwxacodeunlimit answers a picture for a scene of 32 characters."""
    url = f"{caller.wechat.api_base}/wxa/getwxacodeunlimit"
    query = {"access_token": await mini_token(caller)}
    answer = await caller.http.post(url, params=query, json={"scene": "0" * 32})
    assert answer.headers["Content-Type"] == "image/jpeg" and answer.content[:3] == b"\xff\xd8\xff"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "body, errcode",
    [
        ({}, 40129),
        ({"scene": "0" * 33}, 40169),
        ({"scene": "a b"}, 40129),
        ({"scene": "a&b"}, 40129),
        ({"scene": "a", "page": "/pages/index"}, 41030),
        ({"scene": "a", "width": 100}, 40097),
        ("scene=a", 40169),
    ],
)
async def test_mini_program_codes_that_cannot_be_made(
    caller: Caller, body: Any, errcode: int
) -> None:
    """Each mistake in getwxacodeunlimit has its errcode, as JSON."""
    token = await mini_token(caller)
    answer = await caller.post("/wxa/getwxacodeunlimit", body, access_token=token)
    assert answer["errcode"] == errcode


@pytest.mark.gen_test
async def test_phone_number(caller: Caller) -> None:
    """The button's code gives the number; a login code does not."""
    token = await mini_token(caller)
    codes = [
        (await caller.control(f"mini_program/{kind}", {"person": "alice"})).json()["code"]
        for kind in ("phone", "login")
    ]
    path = "/wxa/business/getuserphonenumber"
    given, refused = [await caller.post(path, {"code": c}, access_token=token) for c in codes]
    assert given["phone_info"]["watermark"]["appid"] == MINI_PROGRAM_APP_ID
    assert refused["errcode"] == 40029


def notice(openid: str, **changes: Any) -> dict[str, Any]:
    data = {key: {"value": "here"} for key in NOTICE_TEMPLATE.keys}
    document = {"touser": openid, "template_id": NOTICE_TEMPLATE.template_id, "data": data}
    return document | changes


async def follower(caller: Caller) -> str:
    await caller.wechat.phones.follow("alice")
    person = caller.wechat.world.people.named("alice")
    return caller.wechat.world.people.openid(person, caller.account.app_id)


SEND = "/cgi-bin/message/template/send"


@pytest.mark.gen_test
async def test_notice_is_shown_and_reported(caller: Caller, server: CallbackServer) -> None:
    """A template message is accepted, shown in the chat, and its result pushed afterwards."""
    openid = await follower(caller)
    sent = await caller.post(SEND, notice(openid))
    await server.received(2)
    report = server.pushes[1].message(caller.account)
    lines = caller.wechat.world.chats.lines("alice", caller.account.app_id)
    assert (report["Event"], report["Status"]) == ("TEMPLATESENDJOBFINISH", "success")
    assert report["MsgID"] == str(sent["msgid"])
    assert lines[-1].kind == "notice" and "here" in lines[-1].text


@pytest.mark.gen_test
async def test_blocked_notice(caller: Caller, server: CallbackServer) -> None:
    """A person who blocks notices gets none, which only the pushed result tells."""
    openid = await follower(caller)
    await caller.control("people", {"person": "alice", "blocks_notices": True})
    assert (await caller.post(SEND, notice(openid)))["errcode"] == 0
    await server.received(2)
    assert server.pushes[1].message(caller.account)["Status"] == "failed:user block"


@pytest.mark.gen_test
async def test_same_notice_is_sent_once(caller: Caller) -> None:
    """The same client_msg_id gets the same msgid and is shown once."""
    openid = await follower(caller)
    first = await caller.post(SEND, notice(openid, client_msg_id="1"))
    again = await caller.post(SEND, notice(openid, client_msg_id="1"))
    lines = caller.wechat.world.chats.lines("alice", caller.account.app_id)
    assert first["msgid"] == again["msgid"] and len(lines) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "changes, errcode",
    [
        ({"touser": "oNobody"}, 40003),
        ({"template_id": "other"}, 40037),
        ({"data": {}}, 47003),
        ({"data": {"thing1": {"value": "x" * 21}}}, 47003),
        ({"url": "h" * 3000}, 40039),
    ],
)
async def test_notices_that_are_refused(
    caller: Caller, changes: dict[str, Any], errcode: int
) -> None:
    """Each mistake in a template message has its errcode."""
    openid = await follower(caller)
    assert (await caller.post(SEND, notice(openid, **changes)))["errcode"] == errcode


@pytest.mark.gen_test
async def test_notice_needs_a_follower(caller: Caller) -> None:
    """A person who left the account cannot be written to."""
    openid = await follower(caller)
    await caller.wechat.phones.unfollow("alice")
    assert (await caller.post(SEND, notice(openid)))["errcode"] == 43004


@pytest.mark.gen_test
async def test_only_wechats_own_browser(make_wechat: Callable[..., SimulatedWeChat]) -> None:
    """Where it is asked for, other browsers are told to open the link in WeChat."""
    caller = Caller(make_wechat(wechat_browser_only=True))
    caller.http.cookies.set("simulated_person", "alice")
    url = authorize_url(caller, scope="snsapi_base")
    other = await caller.http.get(url)
    agent = {"User-Agent": "Mozilla/5.0 (iPhone) MicroMessenger/8.0.50"}
    own = await caller.http.get(url, headers=agent)
    await caller.http.aclose()
    assert (other.status_code, own.status_code) == (200, 302)


@pytest.mark.gen_test
async def test_session_check(caller: Caller) -> None:
    """checksession accepts the signature by the session_key, and no other."""
    code = (await caller.control("mini_program/login", {"person": "alice"})).json()["code"]
    session = await mini_session(caller, code)
    right = hmac.new(session["session_key"].encode(), b"", hashlib.sha256).hexdigest()
    token = await mini_token(caller)
    query = {"openid": session["openid"], "sig_method": "hmac_sha256", "access_token": token}
    accepted = await caller.get("/wxa/checksession", signature=right, **query)
    refused = await caller.get("/wxa/checksession", signature="0" * 64, **query)
    assert (accepted["errcode"], refused["errcode"]) == (0, 87009)


@pytest.mark.gen_test
async def test_deciding_a_website_login_on_the_phone(caller: Caller) -> None:
    """The phone's page asks and decides once; afterwards the code is over."""
    page = await caller.http.get(qrconnect_url(caller))
    uuid = re.search(r'data-uuid="(\w+)"', page.text)[1]  # type: ignore[index]
    url = f"{caller.wechat.phone_base}/w/{uuid}"
    asked = await caller.http.get(url)
    await caller.http.post(url, data={"person": "alice", "allow": "0"})
    over = await caller.http.get(url)
    poll = f"{caller.wechat.open_base}/connect/l/qrconnect"
    denied = await caller.http.get(poll, params={"uuid": uuid, "last": "404"})
    assert "site.example" in asked.text and "wx_errcode=403" in denied.text
    assert over.status_code == 410
