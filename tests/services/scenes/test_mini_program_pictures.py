"""services.scenes.pictures: one call for each code, and failures are not kept."""

import httpx
import pytest

from services.errors import ScanpushError, StoreUnavailable, WeChatUnavailable
from services.ids import SceneStr
from services.rate_limits import RateLimits
from services.scenes.pictures import MiniProgramPictures
from services.settings.models import LimitSettings
from services.wechat.mini_program import MiniProgramClient
from tests.conftest import UnexpectedLogs
from tests.services.wechat.fakes import APP_ID, APP_SECRET, Bench, bench

DRAW = "/wxa/getwxacodeunlimit"
SCENE = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
PNG = httpx.Response(200, content=b"\x89PNG", headers={"Content-Type": "image/png"})


def pictures(b: Bench) -> MiniProgramPictures:
    api = MiniProgramClient(b.client, b.authorized(), app_id=APP_ID, app_secret=APP_SECRET)
    return MiniProgramPictures(api, b.supervisor, RateLimits(LimitSettings()))


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", [StoreUnavailable, WeChatUnavailable])
async def test_a_failure_is_told_and_the_next_call_tries_again(
    kind: type[ScanpushError], logs: UnexpectedLogs
) -> None:
    """Whether the store of all nodes had no credential to give, or WeChat no picture."""
    logs.expect("no new access_token: gone")
    async with bench() as b:
        of = pictures(b).of
        if kind is StoreUnavailable:
            b.store.fail = StoreUnavailable("gone")
        else:
            b.wechat.script[DRAW] = [httpx.Response(200, content=b"<html>")]
        with pytest.raises(kind):
            await of(SCENE, "192.0.2.1")
        b.store.fail = None
        b.wechat.script[DRAW] = [PNG]
        assert (await of(SCENE, "192.0.2.1")).body == b"\x89PNG"
        assert (await of(SCENE, "192.0.2.1")).body == b"\x89PNG"
