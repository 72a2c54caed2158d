"""The mini program's calls to WeChat; session_key stays out of everything."""

import dataclasses
from typing import Any

import httpx
import pytest

from services.errors import WeChatError, WeChatRefused, WeChatUnavailable
from services.wechat.mini_program import MiniProgramClient, MiniProgramPerson
from tests.services.wechat.fakes import APP_ID, APP_SECRET, Bench, bench

SESSION = "/sns/jscode2session"
CODE = "/wxa/getwxacodeunlimit"
SCENE = "3f2504e04f8941d39a0c0305e82c3301"


def program(b: Bench, **options: Any) -> MiniProgramClient:
    return MiniProgramClient(
        b.client, b.authorized(), app_id=APP_ID, app_secret=APP_SECRET, **options
    )


@pytest.mark.gen_test
async def test_code_to_session() -> None:
    """Who ran wx.login, by one request."""
    async with bench() as b:
        b.wechat.script[SESSION] = [{"openid": "oM", "session_key": "KEY==", "unionid": "uA"}]
        person = await program(b).code_to_session("JSCODE")
        assert dataclasses.asdict(person) == {"openid": "oM", "unionid": "uA"}
        assert b.wechat.seen[0].query == {
            "appid": APP_ID,
            "secret": APP_SECRET,
            "js_code": "JSCODE",
            "grant_type": "authorization_code",
        }


def test_session_key_has_no_place() -> None:
    """No value of this module could carry one."""
    assert {f.name for f in dataclasses.fields(MiniProgramPerson)} == {"openid", "unionid"}


@pytest.mark.parametrize(
    ("errcode", "code"),
    [
        (40029, "bad_request"),
        (40163, "bad_request"),
        (40226, "bad_request"),
        (45011, "wechat_quota"),
        (-1, "wechat_unavailable"),
    ],
)
@pytest.mark.gen_test
async def test_refusals(errcode: int, code: str) -> None:
    """Each has its name; none is asked twice, for the code may be used up."""
    async with bench() as b:
        b.wechat.script[SESSION] = [{"errcode": errcode, "errmsg": "no"}]
        with pytest.raises(WeChatError) as caught:
            await program(b).code_to_session("JSCODE")
        assert caught.value.code == code
        assert len(b.wechat.seen) == 1


@pytest.mark.parametrize("answer", [{}, {"session_key": "K"}, {"openid": ""}, {"openid": {}}])
@pytest.mark.gen_test
async def test_no_openid(answer: dict[str, Any]) -> None:
    """An answer without an openid logs no person in."""
    async with bench() as b:
        b.wechat.script[SESSION] = [answer]
        with pytest.raises(WeChatUnavailable):
            await program(b).code_to_session("JSCODE")


@pytest.mark.parametrize("code", ["", "a b", "x" * 513, "é"])
@pytest.mark.gen_test
async def test_what_is_no_code(code: str) -> None:
    """WeChat is not even asked."""
    async with bench() as b:
        with pytest.raises(WeChatRefused):
            await program(b).code_to_session(code)
        assert b.wechat.seen == []


@pytest.mark.gen_test
async def test_code_picture() -> None:
    """A picture with the scene in it, as JSON asked, as bytes got."""
    async with bench() as b:
        b.wechat.script[CODE] = [
            httpx.Response(200, content=b"\xff\xd8", headers={"Content-Type": "image/jpeg; q=1"})
        ]
        picture = await program(b, page="pages/login").mini_program_code(SCENE)
        assert (picture.content_type, picture.body) == ("image/jpeg", b"\xff\xd8")
        assert b.wechat.asked(CODE)[0].body == {
            "scene": SCENE,
            "env_version": "release",
            "page": "pages/login",
            "check_path": True,
        }


@pytest.mark.gen_test
async def test_a_page_that_is_not_published_yet_is_not_looked_for() -> None:
    """WeChat would refuse the code (41030), for it looks into the published version."""
    async with bench() as b:
        b.wechat.script[CODE] = [
            httpx.Response(200, content=b"\x89PNG", headers={"Content-Type": "image/png"})
        ]
        await program(b, page="pages/new", env_version="trial").mini_program_code(SCENE)
        asked = b.wechat.asked(CODE)[0].body
        assert (asked["env_version"], asked["check_path"]) == ("trial", False)


@pytest.mark.parametrize("errcode", [40129, 40169, 41030, 45009])
@pytest.mark.gen_test
async def test_code_refused(errcode: int, logs: Any) -> None:
    """JSON instead of a picture is a refusal."""
    logs.expect("WeChat refuses")
    async with bench() as b:
        b.wechat.script[CODE] = [{"errcode": errcode, "errmsg": "no"}]
        with pytest.raises(WeChatRefused) as caught:
            await program(b).mini_program_code(SCENE)
        assert caught.value.errcode == errcode


@pytest.mark.parametrize("scene", ["", "a" * 33, "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "a%b"])
@pytest.mark.gen_test
async def test_scene_that_does_not_fit(scene: str) -> None:
    """A UUID with its hyphens is too long: 32 characters at most."""
    async with bench() as b:
        with pytest.raises(ValueError):
            await program(b).mini_program_code(scene)
