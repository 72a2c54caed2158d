"""The login notice: fit for its template, once, and harmless when it fails."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import StoreUnavailable
from services.ids import OpenId, SceneStr
from services.wechat import notices
from services.wechat.notices import Notices, fill, notice_time
from services.wechat.official_account import OfficialAccountClient
from tests.services.wechat.fakes import Bench, bench, eventually

SEND = "/cgi-bin/message/template/send"
SCENE = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
FIELDS = {"thing1": "{site} 登录提醒", "time2": "{time}", "thing3": "{name}"}


def sender(b: Bench) -> Notices:
    api = OfficialAccountClient(b.authorized())
    return Notices(api, b.supervisor, template_id="tpl", fields=FIELDS, site="Example")


def test_fill() -> None:
    """Placeholders become values, in the form their keys take."""
    assert fill(FIELDS, site="Example", time=notice_time(1700000000), name="小明") == {
        "thing1": "Example 登录提醒",
        "time2": "2023年11月15日 06:13",
        "thing3": "小明",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("thing1", "x" * 50, "x" * 19 + "…"),
        ("thing1", "", "-"),
        ("thing1", "a\nb", "a b"),
        ("character_string2", "登录A1", "A1"),
        ("phrase3", "登录成功啦啦", "登录成功…"),
        ("unheard_of9", "y" * 50, "y" * 19 + "…"),
        ("first", "z", "z"),
    ],
)
def test_values_fit_their_keys(key: str, value: str, expected: str) -> None:
    """WeChat refuses the whole message for one value that is too long or empty."""
    assert fill({key: "{name}"}, name=value) == {key: expected}


def test_braces_in_values_mean_nothing() -> None:
    """A person called {site} stays {site}; an unknown placeholder stays as written."""
    assert fill({"thing1": "{name}{other}"}, name="{site}", site="X") == {"thing1": "{site}{other}"}


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40)), st.text(max_size=100))
def test_fill_never_fails(fields: dict[str, str], name: str) -> None:
    """Whatever the settings and the person's name hold."""
    for value in fill(fields, name=name, site="s", time="t").values():
        assert 0 < len(value) <= 32


@pytest.mark.gen_test
async def test_sent_in_the_background() -> None:
    """Once per login by client_msg_id, to the person who logged in."""
    async with bench() as b:
        sender(b).send_later(OpenId("oA"), SCENE, "小明", 1700000000)
        await eventually(lambda: b.supervisor.running == 0)
        body = b.wechat.asked(SEND)[0].body
        assert (body["touser"], body["template_id"]) == ("oA", "tpl")
        assert body["client_msg_id"] == SCENE.replace("-", "")
        assert set(body["data"]) == set(FIELDS)


@pytest.mark.parametrize("errcode", [43004, 47003, 40037, -1])
@pytest.mark.gen_test
async def test_failure_is_seen_by_the_operator_only(errcode: int, logs: Any) -> None:
    """A refused notice is a line in the log, without the person's openid."""
    logs.expect("login notice not accepted|WeChat refuses")
    async with bench() as b:
        b.wechat.script[SEND] = [{"errcode": errcode, "errmsg": "no"}]
        sender(b).send_later(OpenId("oSomebody"), SCENE, "小明", 0)
        await eventually(lambda: b.supervisor.running == 0)
        assert len(b.wechat.asked(SEND)) == 1
    assert any("login notice not accepted" in line for line in logs.lines)
    assert "oSomebody" not in "".join(logs.lines)


@pytest.mark.gen_test
async def test_without_a_credential_the_notice_is_dropped_aloud(logs: Any) -> None:
    """The store of all nodes has none and gives none: a warning, as for WeChat's own failures."""
    logs.expect("login notice not accepted: gone|no new access_token: gone")
    async with bench() as b:
        b.store.fail = StoreUnavailable("gone")
        sender(b).send_later(OpenId("oA"), SCENE, "", 0)
        await eventually(lambda: b.supervisor.running == 0)
    assert any("login notice not accepted: gone" in line for line in logs.lines)


@pytest.mark.gen_test
async def test_flood_is_dropped(logs: Any) -> None:
    """Beyond the limit notices are dropped aloud, and later ones are sent again."""
    logs.expect("login notice dropped")
    async with bench() as b:
        many = sender(b)
        for _ in range(notices.MOST_IN_FLIGHT + 1):
            many.send_later(OpenId("oA"), SCENE, "", 0)
        await eventually(lambda: b.supervisor.running == 0)
        assert len(b.wechat.asked(SEND)) == notices.MOST_IN_FLIGHT
        many.send_later(OpenId("oA"), SCENE, "", 0)
        await eventually(lambda: b.supervisor.running == 0)
        assert len(b.wechat.asked(SEND)) == notices.MOST_IN_FLIGHT + 1
