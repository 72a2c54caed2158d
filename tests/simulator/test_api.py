"""The api and mp hosts answer as WeChat's pages say."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from simulator import Quota, SimulatedWeChat
from tests.simulator.conftest import Caller


@pytest.mark.gen_test
async def test_stable_token_stays_the_same(caller: Caller) -> None:
    """Every caller gets the same token with its remaining life."""
    first = await caller.token()
    caller.wechat.world.clock.advance(100)
    second = await caller.token()
    assert first["access_token"] == second["access_token"]
    assert (first["expires_in"], second["expires_in"]) == (7200, 7100)


@pytest.mark.gen_test
async def test_stable_tokens_overlap(caller: Caller) -> None:
    """In the last five minutes a new token is given, and the old one works to its end."""
    tokens = caller.wechat.world.tokens
    old = (await caller.token())["access_token"]
    caller.wechat.world.clock.advance(6_901)
    new = (await caller.token())["access_token"]
    assert old != new and tokens.owner(old) == tokens.owner(new)
    caller.wechat.world.clock.advance(299)
    assert (await caller.get("/cgi-bin/getcallbackip", access_token=old))["errcode"] == 42001


@pytest.mark.gen_test
async def test_forced_refresh_is_limited(caller: Caller) -> None:
    """force_refresh kills the present token at once, but not twice within 30 seconds."""
    old = (await caller.token())["access_token"]
    new = (await caller.token(force_refresh=True))["access_token"]
    again = (await caller.token(force_refresh=True))["access_token"]
    assert new == again != old
    assert (await caller.get("/cgi-bin/getcallbackip", access_token=old))["errcode"] == 40001


@pytest.mark.gen_test
async def test_classic_tokens_replace_each_other(caller: Caller) -> None:
    """The classic family gives a new token each time; the older one dies after five minutes."""
    query = {
        "grant_type": "client_credential",
        "appid": caller.account.app_id,
        "secret": caller.account.app_secret,
    }
    url = f"{caller.wechat.api_base}/cgi-bin/token"
    old, new = [(await caller.http.get(url, params=query)).json()["access_token"] for _ in range(2)]
    owner = caller.wechat.world.tokens.owner
    assert old != new and owner(old) == owner(new)
    caller.wechat.world.clock.advance(300)
    assert (await caller.get("/cgi-bin/getcallbackip", access_token=old))["errcode"] == 40001


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "changes, errcode",
    [
        ({"secret": "0" * 32}, 40125),
        ({"appid": "wx0000000000000000"}, 40013),
        ({"grant_type": "password"}, 40002),
        ({"secret": ""}, 41004),
        ({"appid": ""}, 41002),
    ],
)
async def test_wrong_credentials(caller: Caller, changes: dict[str, str], errcode: int) -> None:
    """Each mistake in the credentials has its own errcode, with a rid."""
    answer = await caller.token(**changes)
    assert answer["errcode"] == errcode and " rid: " in answer["errmsg"]


@pytest.mark.gen_test
async def test_methods_matter(caller: Caller) -> None:
    """A GET where POST is needed is 43002, with HTTP status 200."""
    answer = await caller.http.get(f"{caller.wechat.api_base}/cgi-bin/stable_token")
    assert (answer.status_code, answer.json()["errcode"]) == (200, 43002)


@pytest.mark.gen_test
async def test_address_outside_the_allow_list(
    make_wechat: Callable[..., SimulatedWeChat],
) -> None:
    """The token endpoints name an address that is not allowed."""
    caller = Caller(make_wechat(ip_allow_list=("10.0.0.0/8",)))
    answer = await caller.token()
    await caller.http.aclose()
    assert answer["errcode"] == 40164 and "127.0.0.1" in answer["errmsg"]


@pytest.mark.gen_test
async def test_code_looks_like_wechats(caller: Caller) -> None:
    """A code has a 96-character ticket, its life and a URL of the phone page."""
    code = await caller.code()
    assert len(code["ticket"]) == 96 and base64.b64decode(code["ticket"])[:2] == b"\x81\x01"
    assert code["expire_seconds"] == 300
    assert code["url"].startswith(f"{caller.wechat.phone_base}/q/02")


def _code(action: Any = "QR_STR_SCENE", expire: Any = 60, **scene: Any) -> dict[str, Any]:
    return {
        "action_name": action,
        "expire_seconds": expire,
        "action_info": {"scene": scene},
    }


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "body, errcode",
    [
        (_code("QR_STR", scene_str="a"), 40052),
        (_code(scene_str=""), 40053),
        (_code(scene_str="a" * 65), 40053),
        (_code(scene_str=12), 40053),
        (_code(scene_id=12), 40053),
        (_code("QR_SCENE", scene_id=0), 40053),
        (_code("QR_LIMIT_SCENE", scene_id=100_001), 40053),
        (_code(scene_str="a", expire=2_592_001), 40097),
        ({"action_name": "QR_STR_SCENE"}, 40053),
        ([], 47001),
    ],
)
async def test_codes_that_cannot_be_made(caller: Caller, body: Any, errcode: int) -> None:
    """Each mistake in qrcode/create has its errcode."""
    assert (await caller.post("/cgi-bin/qrcode/create", body))["errcode"] == errcode


@pytest.mark.gen_test
async def test_picture_of_a_code(caller: Caller) -> None:
    """showqrcode needs no credential, gives a picture, and 404 for a bad ticket."""
    url = f"{caller.wechat.mp_base}/cgi-bin/showqrcode"
    code = await caller.code()
    picture = await caller.http.get(url, params={"ticket": code["ticket"]})
    missing = await caller.http.get(url, params={"ticket": "nonsense"})
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert picture.content[:3] == b"\xff\xd8\xff" and picture.content[-2:] == b"\xff\xd9"
    assert missing.status_code == 404


@pytest.mark.gen_test
@pytest.mark.parametrize("account", [{"verified": False}, {"kind": "subscription"}])
async def test_only_verified_service_accounts_make_codes(
    make_wechat: Callable[..., SimulatedWeChat], account: dict[str, Any]
) -> None:
    """Any other account is answered 48001."""
    caller = Caller(make_wechat(**account))
    answer = await caller.code()
    await caller.http.aclose()
    assert answer["errcode"] == 48001


@pytest.mark.gen_test
async def test_daily_quota(make_wechat: Callable[..., SimulatedWeChat]) -> None:
    """Over the day's quota 45009 is answered, until it is cleared."""
    caller = Caller(make_wechat(quotas={"/cgi-bin/qrcode/create": Quota(per_day=1)}))
    await caller.code()
    assert (await caller.code())["errcode"] == 45009
    await caller.post("/cgi-bin/clear_quota", {"appid": caller.account.app_id})
    assert "ticket" in await caller.code()
    await caller.http.aclose()


@pytest.mark.gen_test
async def test_user_info_of_a_follower(caller: Caller) -> None:
    """A follower has a unionid and subscribe data, but no nickname."""
    code = await caller.code("scene-1")
    await caller.wechat.phones.scan("alice", url=code["url"])
    person = caller.wechat.world.people.named("alice")
    openid = caller.wechat.world.people.openid(person, caller.account.app_id)
    info = await caller.get("/cgi-bin/user/info", openid=openid)
    assert (info["subscribe"], info["qr_scene_str"]) == (1, "scene-1")
    assert info["unionid"].startswith("o") and "nickname" not in info


@pytest.mark.gen_test
async def test_user_info_of_others(caller: Caller) -> None:
    """A person who left has nothing but an openid; an unknown openid is refused."""
    people = caller.wechat.world.people
    openid = people.openid(people.named("bob"), caller.account.app_id)
    left = await caller.get("/cgi-bin/user/info", openid=openid)
    assert left == {"subscribe": 0, "openid": openid}
    assert (await caller.get("/cgi-bin/user/info", openid="oNobody"))["errcode"] == 40003


@pytest.mark.gen_test
async def test_ordered_errcode(caller: Caller) -> None:
    """A fault spoils as many calls as ordered and is counted as a call."""
    fault = {"path": "/cgi-bin/qrcode/create", "errcode": 45009, "times": 1}
    await caller.control("faults", fault)
    assert (await caller.code())["errcode"] == 45009
    assert "ticket" in await caller.code()
    calls = (await caller.http.get(f"{caller.wechat.url}/simulator/calls")).json()
    assert calls["/cgi-bin/qrcode/create"] == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("fault", [{"drop": True}, {"cut": True}])
async def test_ordered_broken_connection(caller: Caller, fault: dict[str, bool]) -> None:
    """A connection can be cut before or within the answer."""
    await caller.control("faults", {"path": "/cgi-bin/qrcode/create", **fault})
    with pytest.raises(httpx.RemoteProtocolError):
        await caller.code()


@pytest.mark.gen_test
async def test_ordered_status_and_garbage(caller: Caller) -> None:
    """An HTTP status and rubbish with status 200 can be ordered."""
    path = "/cgi-bin/getcallbackip"
    await caller.control("faults", {"path": path, "status": 502})
    await caller.control("faults", {"path": path, "garbage": True})
    answers = [await caller.http.get(caller.wechat.api_base + path) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 200]
    assert "html" in answers[1].text


@pytest.mark.gen_test
async def test_lost_answer(caller: Caller) -> None:
    """With `when: after` the call took effect although its answer was lost."""
    await caller.token()
    fault = {"path": "/cgi-bin/clear_quota", "drop": True, "when": "after"}
    await caller.control("faults", fault)
    with pytest.raises(httpx.RemoteProtocolError):
        await caller.post("/cgi-bin/clear_quota", {"appid": caller.account.app_id})
    for _ in range(9):
        await caller.post("/cgi-bin/clear_quota", {"appid": caller.account.app_id})
    last = await caller.post("/cgi-bin/clear_quota", {"appid": caller.account.app_id})
    assert last["errcode"] == 48006


@pytest.mark.gen_test
async def test_controls_refuse_foreign_pages(caller: Caller) -> None:
    """A foreign Origin, or a body that a page may post without being asked, is refused; and a page
    of a public name that was made to mean this machine, whose Origin is the same, reads nothing."""
    url = f"{caller.wechat.url}/simulator/clock"
    for path in ("simulator/calls", "simulator/people", "console"):
        address = f"{caller.wechat.url}/{path}"
        rebound = await caller.http.get(address, headers={"Host": "evil.example:8889"})
        local = await caller.http.get(address, headers={"Host": "simulator.localhost:8889"})
        assert (rebound.status_code, local.status_code) == (403, 200)
    foreign = await caller.http.post(url, json={"advance": 1}, headers={"Origin": "http://evil"})
    form = await caller.http.post(url, data={"advance": "1"})
    assert (foreign.status_code, form.status_code) == (403, 415)


@pytest.mark.gen_test
async def test_several_followers_at_once(caller: Caller) -> None:
    """batchget answers a list, up to a hundred; each entry says whether it follows."""
    people = caller.wechat.world.people
    openid = people.openid(people.named("bob"), caller.account.app_id)
    path = "/cgi-bin/user/info/batchget"
    one = await caller.post(path, {"user_list": [{"openid": openid}]})
    many = await caller.post(path, {"user_list": [{"openid": openid}] * 101})
    assert one["user_info_list"] == [{"subscribe": 0, "openid": openid}]
    assert many["errcode"] == 40032


@pytest.mark.gen_test
async def test_callback_diagnostics(caller: Caller) -> None:
    """The addresses of callbacks, and the check of the callback URL with its own errcodes."""
    path = "/cgi-bin/callback/check"
    body = {"action": "all", "check_operator": "DEFAULT"}
    assert (await caller.get("/cgi-bin/getcallbackip"))["ip_list"]
    assert set(await caller.post(path, body)) == {"dns", "ping"}
    assert (await caller.post(path, body | {"action": "x"}))["errcode"] == 40202
    assert (await caller.post(path, body | {"check_operator": "x"}))["errcode"] == 40203


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "token, errcode", [("", 41001), ("short", 40014), ("9_" + "x" * 40, 40001)]
)
async def test_wrong_access_tokens(caller: Caller, token: str, errcode: int) -> None:
    """A missing, a malformed and an unknown access_token are told apart."""
    answer = await caller.get("/cgi-bin/getcallbackip", access_token=token)
    assert answer["errcode"] == errcode


@pytest.mark.gen_test
async def test_every_token_can_be_ended(caller: Caller) -> None:
    """A control ends all tokens, as a reset secret would: 40001, and the next one is new."""
    old = (await caller.token())["access_token"]
    await caller.control("tokens/expire", {})
    assert (await caller.get("/cgi-bin/getcallbackip", access_token=old))["errcode"] == 40001
    assert "ip_list" in await caller.get("/cgi-bin/getcallbackip")


@pytest.mark.gen_test
async def test_numbered_and_permanent_codes(caller: Caller) -> None:
    """A numbered code arrives as decimal digits; a permanent one has no life and is one only."""
    body = _code("QR_LIMIT_STR_SCENE", scene_str="shelf")
    first = await caller.post("/cgi-bin/qrcode/create", body)
    again = await caller.post("/cgi-bin/qrcode/create", body)
    large = _code("QR_SCENE", scene_id=2**33)
    await caller.post("/cgi-bin/qrcode/create", large)
    assert first == again and "expire_seconds" not in first
    found = caller.wechat.phones.find_code(scene_str="4294967295")
    assert found is not None and found.numeric
