"""What other servers than scanpush call: messages, menus, tags, media, tickets, links, quotas."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import Quota, SimulatedApp, SimulatedWeChat, SimulatorConfig
from simulator.config import MINI_PROGRAM_APP_ID, NOTICE_TEMPLATE
from simulator.credentials import Grant
from tests.simulator.conftest import Caller

NOTICE = {"thing1": {"value": "a"}, "time2": {"value": "12:00"}, "thing3": {"value": "b"}}


async def follower(caller: Caller, name: str = "alice") -> str:
    """The openid of a person who follows the account."""
    await caller.wechat.phones.follow(name)
    person = caller.wechat.world.people.named(name)
    return caller.wechat.world.people.openid(person, caller.account.app_id)


def chat(caller: Caller, name: str = "alice") -> list[str]:
    return [line.text for line in caller.wechat.world.chats.lines(name, caller.account.app_id)]


async def upload(
    caller: Caller, kind: str = "image", name: str = "a.png", body: bytes = b"x"
) -> Any:
    token = (await caller.token())["access_token"]
    url = f"{caller.wechat.api_base}/cgi-bin/media/upload"
    query = {"access_token": token, "type": kind}
    return (await caller.http.post(url, params=query, files={"media": (name, body)})).json()


GETS = (
    "/cgi-bin/user/get",
    "/cgi-bin/user/info",
    "/cgi-bin/tags/get",
    "/cgi-bin/menu/get",
    "/cgi-bin/media/get",
    "/cgi-bin/ticket/getticket",
    "/cgi-bin/getcallbackip",
    "/cgi-bin/get_api_domain_ip",
    "/cgi-bin/template/get_all_private_template",
    "/wxaapi/newtmpl/gettemplate",
)
POSTS = (
    "/cgi-bin/qrcode/create",
    "/cgi-bin/user/info/batchget",
    "/cgi-bin/user/info/updateremark",
    "/cgi-bin/user/tag/get",
    "/cgi-bin/tags/create",
    "/cgi-bin/tags/update",
    "/cgi-bin/tags/delete",
    "/cgi-bin/tags/members/batchtagging",
    "/cgi-bin/tags/members/batchuntagging",
    "/cgi-bin/tags/getidlist",
    "/cgi-bin/message/custom/send",
    "/cgi-bin/message/custom/typing",
    "/cgi-bin/message/template/send",
    "/cgi-bin/message/subscribe/bizsend",
    "/cgi-bin/menu/create",
    "/cgi-bin/shorten/gen",
    "/cgi-bin/shorten/fetch",
    "/cgi-bin/shorturl",
    "/cgi-bin/openapi/quota/get",
    "/cgi-bin/clear_quota",
    "/cgi-bin/callback/check",
)


@pytest.mark.gen_test
async def test_every_interface_checks_its_method_and_token(caller: Caller) -> None:
    """The other method is 43001 or 43002; no token is 41001, nonsense 40014, an old one 42001."""
    expired = (await caller.token())["access_token"]
    caller.wechat.world.clock.advance(7_200)
    for path in (*GETS, *POSTS, "/cgi-bin/media/upload"):
        url = f"{caller.wechat.api_base}{path}"
        posts = path not in GETS

        async def errcode(method: str, token: str) -> int:
            answer = await caller.http.request(method, url, params={"access_token": token})
            assert answer.status_code == 200, path
            return int(answer.json()["errcode"])

        assert await errcode("GET" if posts else "POST", "") == (43002 if posts else 43001), path
        method = "POST" if posts else "GET"
        for token, expected in (("", 41001), ("nonsense", 40014), (expired, 42001)):
            assert await errcode(method, token) == expected, path
        assert await errcode(method, "99_" + "x" * 147) == 40001, path


@pytest.mark.gen_test
async def test_a_body_that_is_no_json(caller: Caller) -> None:
    """Nothing is 44002, and what is no JSON object 47001."""
    token = (await caller.token())["access_token"]
    for path in POSTS:
        url = f"{caller.wechat.api_base}{path}"
        for body, errcode in ((b"", 44002), (b"{", 47001), (b"[]", 47001), (b"[" * 9_999, 47001)):
            answer = await caller.http.post(url, params={"access_token": token}, content=body)
            assert answer.json()["errcode"] == errcode, (path, body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = (
    *("touser", "msgtype", "text", "image", "news", "command", "openid", "remark", "tag", "tagid"),
    *("openid_list", "next_openid", "button", "long_data", "expire_seconds", "short_key", "action"),
    *("long_url", "cgi_path", "user_list", "template_id", "data", "page", "action_name", "url"),
)


def test_no_json_makes_the_simulator_fail(io_loop: Any, caller: Caller) -> None:
    """Whatever the fields hold, the answer is JSON with status 200."""

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.sampled_from(POSTS))
    def answered(body: dict[str, Any], path: str) -> None:
        async def ask() -> None:
            token = caller.wechat.world.tokens.stable(caller.account.app_id, False)[0]
            url = f"{caller.wechat.api_base}{path}"
            answer = await caller.http.post(url, params={"access_token": token}, json=body)
            assert answer.status_code == 200 and isinstance(answer.json(), dict)

        io_loop.run_sync(ask)

    answered()


@pytest.mark.gen_test
async def test_an_unknown_path(caller: Caller) -> None:
    """The api host answers 40066 as JSON, with a rid and HTTP status 200."""
    for path in ("/cgi-bin/no/such", "/", "/cgi-bin/qrcode/create/", "/wxa/%00", "/%E4%BD%A0"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            answer = await caller.http.request(method, f"{caller.wechat.api_base}{path}")
            assert (answer.status_code, answer.json()["errcode"]) == (200, 40066), path
            assert answer.json()["errmsg"].startswith("invalid url rid: ")


@pytest.mark.gen_test
async def test_the_allow_list_holds_for_every_call(
    make_wechat: Callable[..., SimulatedWeChat],
) -> None:
    """A call with a good token from an address that is not listed is 40164, in WeChat's words."""
    caller = Caller(make_wechat(ip_allow_list=("10.0.0.0/8", "192.0.2.7")))
    token = caller.wechat.world.tokens.stable(caller.account.app_id, False)[0]
    for path in (*GETS, *POSTS, "/cgi-bin/media/upload", "/sns/oauth2/access_token"):
        query = {"access_token": token, "grant_type": "authorization_code", "code": "c"}
        query |= {"appid": caller.account.app_id, "secret": caller.account.app_secret}
        method = "POST" if path in POSTS or "upload" in path else "GET"
        url = f"{caller.wechat.api_base}{path}"
        answer = (await caller.http.request(method, url, params=query, json={})).json()
        assert answer["errcode"] == 40164, path
        assert answer["errmsg"].startswith(
            "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist rid: "
        )
    world = caller.wechat.world
    grant = Grant(caller.account.app_id, world.people.named("alice"), "snsapi_userinfo", 0)
    person = world.user_tokens.issue(grant, "oA")
    for path in ("/sns/userinfo", "/sns/auth"):
        query = {"access_token": person.value, "openid": "oA"}
        answer = (await caller.http.get(f"{caller.wechat.api_base}{path}", params=query)).json()
        assert answer["errcode"] == 40164, path
    await caller.http.aclose()


@pytest.mark.gen_test
@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0"])
async def test_an_allowed_address_calls(
    make_wechat: Callable[..., SimulatedWeChat], entry: str
) -> None:
    """A single address and a network both admit the calls."""
    caller = Caller(make_wechat(ip_allow_list=("2001:db8::/32", entry)))
    assert (await caller.get("/cgi-bin/tags/get"))["tags"]
    await caller.http.aclose()


@pytest.mark.gen_test
async def test_a_mini_programs_list_holds_for_its_secret(
    make_wechat: Callable[..., SimulatedWeChat],
) -> None:
    """Calls with the AppSecret are refused, those with an access_token are not."""
    app = SimulatedApp(MINI_PROGRAM_APP_ID, "0" * 32, ip_allow_list=("10.0.0.1",))
    caller = Caller(make_wechat(mini_programs=(app,)))
    refused = await caller.token(appid=app.app_id, secret=app.app_secret)
    assert refused["errcode"] == 40164
    token = caller.wechat.world.tokens.stable(app.app_id, False)[0]
    answer = await caller.get("/cgi-bin/getcallbackip", access_token=token)
    await caller.http.aclose()
    assert answer["ip_list"]


def test_allow_lists_are_checked() -> None:
    """Eleven entries of a mini program, and what is no network, are mistakes of the config."""
    SimulatedApp("wx1", "s", ip_allow_list=("10.0.0.1",) * 10)
    for entries in (("10.0.0.1",) * 11, ("10.0.0.1/8",), ("example.org",)):
        with pytest.raises(ValueError):
            SimulatedApp("wx1", "s", ip_allow_list=entries)


@pytest.mark.gen_test
async def test_hosts_by_name(caller: Caller) -> None:
    """Requests that name WeChat's hosts need no first part of the path."""
    code = await caller.code()
    for host, path, query in (
        ("api.weixin.qq.com", "/cgi-bin/no/such", {}),
        ("API2.weixin.qq.com:443", "/cgi-bin/no/such", {}),
        ("mp.weixin.qq.com", "/cgi-bin/showqrcode", {"ticket": code["ticket"]}),
        ("open.weixin.qq.com", "/connect/qrconnect", {"appid": "unknown"}),
        ("res.wx.qq.com", "/connect/zh_CN/htmledition/js/wxLogin.js", {}),
    ):
        answer = await caller.http.get(
            f"{caller.wechat.url}{path}", params=query, headers={"Host": host}
        )
        assert answer.status_code == 200, host
    page = await caller.http.get(
        f"{caller.wechat.url}/phone/static/qrconnect.js", headers={"Host": "open.weixin.qq.com"}
    )
    assert page.status_code == 200


@pytest.mark.gen_test
async def test_custom_messages(caller: Caller) -> None:
    """A text stands in the chat; three are allowed in the minute after a follow, then none."""
    openid = await follower(caller)
    message = {"touser": openid, "msgtype": "text", "text": {"content": "Hello"}}
    send = "/cgi-bin/message/custom/send"
    codes = [(await caller.post(send, message))["errcode"] for _ in range(4)]
    assert codes == [0, 0, 0, 45047] and chat(caller).count("Hello") == 3
    await caller.wechat.phones.text("alice", "and?")
    assert (await caller.post(send, message))["errcode"] == 0
    caller.wechat.world.clock.advance(48 * 3_600)
    assert (await caller.post(send, message))["errcode"] == 45015


CUSTOM_MESSAGES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"msgtype": "text", "text": {"content": ""}}, 44004),
    ({"msgtype": "text"}, 44004),
    ({"msgtype": "text", "text": {"content": "x" * 2_049}}, 45002),
    ({"msgtype": "telepathy"}, 40008),
    ({}, 40008),
    ({"msgtype": "image", "image": {"media_id": "unknown"}}, 40007),
    ({"msgtype": "video", "video": {}}, 40007),
    ({"msgtype": "news", "news": {"articles": []}}, 44003),
    ({"msgtype": "news", "news": {"articles": [{}, {}]}}, 45008),
    ({"msgtype": "text", "text": {"content": "a"}, "touser": "o" * 28}, 40003),
    ({"msgtype": "msgmenu", "msgmenu": {"head_content": "Yes or no?"}}, 0),
)


@pytest.mark.gen_test
async def test_custom_messages_that_are_refused(caller: Caller) -> None:
    """Each mistake has its own errcode."""
    openid = await follower(caller)
    for message, errcode in CUSTOM_MESSAGES:
        answer = await caller.post("/cgi-bin/message/custom/send", {"touser": openid, **message})
        assert answer["errcode"] == errcode, message


@pytest.mark.gen_test
async def test_typing(caller: Caller) -> None:
    """It can be shown after a message of the person, once, and be taken away."""
    openid = await follower(caller)

    async def typing(command: str, touser: str = openid) -> int:
        body = {"touser": touser, "command": command}
        return int((await caller.post("/cgi-bin/message/custom/typing", body))["errcode"])

    assert await typing("Typing") == 45080
    await caller.wechat.phones.text("alice", "hello")
    assert [await typing("Typing"), await typing("Typing")] == [0, 45081]
    assert [await typing("CancelTyping"), await typing("Typing")] == [0, 0]
    assert [await typing("Sing"), await typing("Typing", "o" * 28)] == [45072, 40003]


@pytest.mark.gen_test
async def test_menus(caller: Caller) -> None:
    """A menu is published, read in both forms, and deleted."""
    inner = [{"type": "view", "name": "Site", "url": "https://example.org/"}]
    menu = {
        "button": [{"type": "click", "name": "A", "key": "a"}, {"name": "B", "sub_button": inner}]
    }
    assert (await caller.get("/cgi-bin/menu/get"))["errcode"] == 46003
    assert (await caller.post("/cgi-bin/menu/create", menu))["errcode"] == 0
    buttons = (await caller.get("/cgi-bin/menu/get"))["menu"]["button"]
    assert [button["name"] for button in buttons] == ["A", "B"]
    shown = await caller.get("/cgi-bin/get_current_selfmenu_info")
    assert shown["selfmenu_info"]["button"][1]["sub_button"]["list"][0]["name"] == "Site"
    assert (await caller.get("/cgi-bin/menu/delete"))["errcode"] == 0
    assert (await caller.get("/cgi-bin/menu/get"))["errcode"] == 46003


def _button(**changes: Any) -> dict[str, Any]:
    return {"button": [{"type": "click", "name": "A", "key": "a", **changes}]}


MENUS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"button": []}, 40016),
    ({"button": [{}] * 4}, 40016),
    (_button(name=""), 40018),
    (_button(name="x" * 61), 40018),
    (_button(type="dance"), 40017),
    (_button(key="x" * 129), 40019),
    (_button(type="view"), 40020),
    (_button(sub_button=[{}] * 6), 40023),
    (_button(sub_button=[{"name": "A"}]), 40024),
    (_button(sub_button=[{"type": "click"}]), 40025),
    (_button(sub_button=[{"type": "click", "name": "A"}]), 40026),
    (_button(sub_button=[{"type": "view", "name": "A"}]), 40027),
)


@pytest.mark.gen_test
async def test_menus_that_are_refused(caller: Caller) -> None:
    """Each mistake in a button has its own errcode."""
    for menu, errcode in MENUS:
        assert (await caller.post("/cgi-bin/menu/create", menu))["errcode"] == errcode, menu


@pytest.mark.gen_test
async def test_list_of_followers(caller: Caller) -> None:
    """All followers in their order; the list goes on after a given openid."""
    empty = await caller.get("/cgi-bin/user/get")
    openids = [await follower(caller, name) for name in ("zoe", "alice", "bob")]
    await caller.wechat.phones.unfollow("bob")
    whole = await caller.get("/cgi-bin/user/get")
    rest = await caller.get("/cgi-bin/user/get", next_openid=openids[0])
    assert empty == {"total": 0, "count": 0, "next_openid": ""}
    assert (whole["total"], whole["data"]["openid"]) == (2, openids[:2])
    assert rest["data"]["openid"] == [openids[1]] and rest["next_openid"] == openids[1]
    unknown = await caller.get("/cgi-bin/user/get", next_openid="o" * 28)
    assert unknown["errcode"] == 40003


@pytest.mark.gen_test
async def test_remarks(caller: Caller) -> None:
    """A remark stands in user/info; a long one, and one of a stranger, is refused."""
    openid = await follower(caller)
    path = "/cgi-bin/user/info/updateremark"
    assert (await caller.post(path, {"openid": openid, "remark": "Ali"}))["errcode"] == 0
    assert (await caller.get("/cgi-bin/user/info", openid=openid))["remark"] == "Ali"
    assert (await caller.post(path, {"openid": openid, "remark": "x" * 31}))["errcode"] == 40035
    assert (await caller.post(path, {"openid": "o" * 28, "remark": "x"}))["errcode"] == 40003


@pytest.mark.gen_test
async def test_tags(caller: Caller) -> None:
    """A tag is made, renamed, put on a follower, listed from both sides, and deleted."""
    openid = await follower(caller)
    tag = (await caller.post("/cgi-bin/tags/create", {"tag": {"name": "vip"}}))["tag"]
    renamed = {"tag": {"id": tag["id"], "name": "gold"}}
    assert (await caller.post("/cgi-bin/tags/update", renamed))["errcode"] == 0
    members = {"tagid": tag["id"], "openid_list": [openid]}
    assert (await caller.post("/cgi-bin/tags/members/batchtagging", members))["errcode"] == 0
    tags = (await caller.get("/cgi-bin/tags/get"))["tags"]
    assert {"id": tag["id"], "name": "gold", "count": 1} in tags
    tagged = await caller.post("/cgi-bin/user/tag/get", {"tagid": tag["id"]})
    assert (tagged["count"], tagged["data"]["openid"]) == (1, [openid])
    own = {"openid": openid}
    assert (await caller.post("/cgi-bin/tags/getidlist", own))["tagid_list"] == [tag["id"]]
    assert (await caller.get("/cgi-bin/user/info", openid=openid))["tagid_list"] == [tag["id"]]
    assert (await caller.post("/cgi-bin/tags/members/batchuntagging", members))["errcode"] == 0
    assert (await caller.post("/cgi-bin/user/tag/get", {"tagid": tag["id"]}))["count"] == 0
    assert (await caller.post("/cgi-bin/tags/delete", renamed))["errcode"] == 0
    assert (await caller.post("/cgi-bin/user/tag/get", {"tagid": tag["id"]}))["errcode"] == 45159


TAGS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("create", {"tag": {"name": ""}}, 45157),
    ("create", {"tag": {"name": "星标组"}}, 45157),
    ("create", {"tag": {"name": "x" * 31}}, 45158),
    ("update", {"tag": {"id": 2, "name": "a"}}, 45058),
    ("update", {"tag": {"id": 999, "name": "a"}}, 45159),
    ("delete", {"tag": {"id": 0}}, 45058),
    ("delete", {}, 45159),
    ("members/batchtagging", {"tagid": 2, "openid_list": ["o"] * 51}, 40032),
    ("members/batchtagging", {"tagid": 2, "openid_list": ["o" * 28]}, 40003),
    ("members/batchtagging", {"tagid": "x", "openid_list": ["o"]}, 45159),
    ("getidlist", {"openid": "o" * 28}, 40003),
)


@pytest.mark.gen_test
async def test_tags_that_are_refused(caller: Caller) -> None:
    """Each mistake has its own errcode."""
    for path, body, errcode in TAGS:
        assert (await caller.post(f"/cgi-bin/tags/{path}", body))["errcode"] == errcode, body


@pytest.mark.gen_test
async def test_twenty_tags_of_a_follower(caller: Caller) -> None:
    """The twenty-first tag of one follower is refused."""
    openid, tags = await follower(caller), caller.wechat.world.tags
    app_id = caller.account.app_id
    ids = [tags.create(app_id, f"tag {number}")["id"] for number in range(21)]
    for tag in ids[:20]:
        tags.change(app_id, tag, [openid], on=True)
    body = {"tagid": ids[20], "openid_list": [openid]}
    answer = await caller.post("/cgi-bin/tags/members/batchtagging", body)
    assert answer["errcode"] == 45059


@pytest.mark.gen_test
async def test_media(caller: Caller) -> None:
    """A file comes back as it was sent, for three days, and can be sent to a person."""
    uploaded = await upload(caller, body=b"\x89PNG\0\xff")
    token = (await caller.token())["access_token"]
    query = {"access_token": token, "media_id": uploaded["media_id"]}
    url = f"{caller.wechat.api_base}/cgi-bin/media/get"
    got = await caller.http.get(url, params=query)
    assert got.content == b"\x89PNG\0\xff" and got.headers["Content-Type"] == "image/png"
    assert 'filename="a.png"' in got.headers["Content-Disposition"]
    image = {"touser": await follower(caller), "msgtype": "image", "image": uploaded}
    assert (await caller.post("/cgi-bin/message/custom/send", image))["errcode"] == 0
    caller.wechat.world.clock.advance(3 * 86_400)
    gone = await caller.get("/cgi-bin/media/get", media_id=uploaded["media_id"])
    assert gone["errcode"] == 40007


@pytest.mark.gen_test
async def test_video(caller: Caller) -> None:
    """Of a video media/get tells only the address, which needs no token."""
    uploaded = await upload(caller, "video", "a.mp4", b"film")
    address = (await caller.get("/cgi-bin/media/get", media_id=uploaded["media_id"]))["video_url"]
    video = await caller.http.get(address)
    assert (video.content, video.headers["Content-Type"]) == (b"film", "video/mp4")


MEDIA = (
    ("hologram", "a.png", b"x", 40004),
    ("image", "a.exe", b"x", 40005),
    ("image", "png", b"", 40006),
    ("voice", "a.png", b"x", 40005),
    ("thumb", "a.jpg", b"x" * 65_537, 40012),
    ("voice", "a.mp3", b"x" * 2_097_153, 40010),
    ("image", "a.png", b"x" * 10_485_761, 40009),
)


@pytest.mark.gen_test
async def test_media_that_are_refused(caller: Caller) -> None:
    """Each mistake has its own errcode."""
    for kind, name, body, errcode in MEDIA:
        assert (await upload(caller, kind, name, body))["errcode"] == errcode, (kind, name)


@pytest.mark.gen_test
async def test_media_that_are_missing(caller: Caller) -> None:
    """No file in the form is 41005; no media_id 41006; another app's media 40007."""
    assert (await caller.post("/cgi-bin/media/upload", {}, type="image"))["errcode"] == 41005
    assert (await caller.get("/cgi-bin/media/get"))["errcode"] == 41006
    uploaded = await upload(caller)
    token = caller.wechat.world.tokens.stable(MINI_PROGRAM_APP_ID, False)[0]
    query = {"access_token": token, "media_id": uploaded["media_id"]}
    assert (await caller.get("/cgi-bin/media/get", **query))["errcode"] == 40007


@pytest.mark.gen_test
async def test_tickets(caller: Caller) -> None:
    """Every caller gets the same ticket until it ends; other kinds are refused."""
    path = "/cgi-bin/ticket/getticket"
    first = await caller.get(path, type="jsapi")
    caller.wechat.world.clock.advance(100)
    second, card = await caller.get(path, type="jsapi"), await caller.get(path, type="wx_card")
    assert first["errcode"] == 0 and first["ticket"] == second["ticket"] != card["ticket"]
    assert (first["expires_in"], second["expires_in"]) == (7_200, 7_100)
    caller.wechat.world.clock.advance(7_200)
    assert (await caller.get(path, type="jsapi"))["ticket"] != first["ticket"]
    assert (await caller.get(path, type="bus"))["errcode"] == 40097


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", ["account", "mini program"])
async def test_subscribe_messages(caller: Caller, kind: str) -> None:
    """A consent is good for one message, on the path of that kind of app."""
    account = caller.account.app_id if kind == "account" else MINI_PROGRAM_APP_ID
    token = caller.wechat.world.tokens.stable(account, False)[0]
    own, other = ("bizsend", "send") if kind == "account" else ("send", "bizsend")
    template_id = NOTICE_TEMPLATE.template_id
    agreed = await caller.control(
        "subscribe", {"person": "alice", "template_id": template_id, "account": account}
    )
    message = {"touser": agreed.json()["openid"], "template_id": template_id, "data": NOTICE}

    async def send(path: str, **changes: Any) -> int:
        url = f"/cgi-bin/message/subscribe/{path}"
        return int((await caller.post(url, message | changes, access_token=token))["errcode"])

    assert await send(other) == 48001
    assert await send(own, touser="o" * 28) == 40003
    assert await send(own, template_id="x") == 40037
    assert await send(own, page="/index") == 41030
    assert await send(own, data={}) == 47003
    assert [await send(own), await send(own)] == [0, 43101]


@pytest.mark.gen_test
async def test_templates_are_listed(caller: Caller) -> None:
    """Both lists name the templates with their keys."""
    private = await caller.get("/cgi-bin/template/get_all_private_template")
    subscribe = await caller.get("/wxaapi/newtmpl/gettemplate")
    assert private["template_list"][0]["template_id"] == NOTICE_TEMPLATE.template_id
    assert "{{thing1.DATA}}" in subscribe["data"][0]["content"]


@pytest.mark.gen_test
async def test_short_links(caller: Caller) -> None:
    """A text is found by its key until its end, by its own account."""
    made = await caller.post("/cgi-bin/shorten/gen", {"long_data": "a=1", "expire_seconds": 60})
    caller.wechat.world.clock.advance(20)
    found = await caller.post("/cgi-bin/shorten/fetch", {"short_key": made["short_key"]})
    assert (found["long_data"], found["expire_seconds"]) == ("a=1", 40)
    caller.wechat.world.clock.advance(40)
    for key in (made["short_key"], "unknown", None):
        assert (await caller.post("/cgi-bin/shorten/fetch", {"short_key": key}))["errcode"] == 40097
    for body in ({}, {"long_data": ""}, {"long_data": "a", "expire_seconds": 2_592_001}):
        assert (await caller.post("/cgi-bin/shorten/gen", body))["errcode"] == 40097


@pytest.mark.gen_test
async def test_short_urls(caller: Caller) -> None:
    """The older form makes an address of an address."""
    body = {"action": "long2short", "long_url": "https://example.org/?a=1"}
    short = await caller.post("/cgi-bin/shorturl", body)
    assert short["short_url"].startswith("https://w.url.cn/s/")
    assert (await caller.post("/cgi-bin/shorturl", body | {"action": "x"}))["errcode"] == 40202
    assert (await caller.post("/cgi-bin/shorturl", body | {"long_url": "x"}))["errcode"] == 40035


@pytest.mark.gen_test
async def test_quotas_are_told_and_cleared(make_wechat: Callable[..., SimulatedWeChat]) -> None:
    """quota/get counts the calls of the day; both ways of clearing start it again."""
    path = "/cgi-bin/tags/get"
    caller = Caller(make_wechat(quotas={path: Quota(per_day=2, per_minute=9)}))
    app_id, secret = caller.account.app_id, caller.account.app_secret
    for clear, body in (
        ("clear_quota", {"appid": app_id}),
        ("clear_quota/v2", {"appid": app_id, "appsecret": secret}),
    ):
        for _ in range(3):
            last = await caller.get(path)
        told = await caller.post("/cgi-bin/openapi/quota/get", {"cgi_path": path})
        assert last["errcode"] == 45009
        assert told["quota"] == {"daily_limit": 2, "used": 2, "remain": 0}
        assert told["rate_limit"] == {"call_count": 9, "refresh_second": 60}
        assert (await caller.post(f"/cgi-bin/{clear}", body))["errcode"] == 0
        assert "tags" in await caller.get(path)
        assert (await caller.post(f"/cgi-bin/{clear}", body))["errcode"] == 0
    wrong = await caller.post("/cgi-bin/clear_quota/v2", {"appid": app_id, "appsecret": "x"})
    unknown = await caller.post("/cgi-bin/openapi/quota/get", {"cgi_path": "/x"})
    await caller.http.aclose()
    assert (wrong["errcode"], unknown["errcode"]) == (40125, 76021)


@pytest.mark.gen_test
async def test_who_may_call_what(make_wechat: Callable[..., SimulatedWeChat]) -> None:
    """Unverified, a subscription account has no menu, a service one has, neither may write."""
    codes = {}
    for kind in ("subscription", "service"):
        caller = Caller(make_wechat(kind=kind, verified=False))
        codes[kind] = [
            (await caller.get("/cgi-bin/menu/delete"))["errcode"],
            (await caller.post("/cgi-bin/message/custom/send", {}))["errcode"],
        ]
        await caller.http.aclose()
    assert codes == {"subscription": [48001, 48001], "service": [0, 48001]}


def test_a_seed_repeats_secrets_and_accounts_differ() -> None:
    """The same seed gives the same config; each account of it has ids and secrets of its own."""
    one, again = (SimulatorConfig.generated("http://a/", "http://b/", seed=7) for _ in range(2))
    other = SimulatorConfig.generated("http://a/", "http://b/", seed=8)
    assert one.accounts == again.accounts and one.mini_programs == again.mini_programs
    assert one.accounts[0].app_id == other.accounts[0].app_id
    assert one.accounts[0].app_secret != other.accounts[0].app_secret
    first, second = one.accounts
    for field in ("app_id", "app_secret", "callback_token", "encoding_aes_key", "original_id"):
        assert getattr(first, field) != getattr(second, field)
