"""The phone page: its data, its headers, and what is reachable beside it."""

import html
import json
import re
from typing import Any

import httpx
import pytest

from simulator import SimulatedWeChat
from simulator.hosts.routes import HERE
from simulator.texts import CHINESE, ENGLISH, language_of
from tests.simulator.conftest import CallbackServer, Caller


async def act(caller: Caller, base: str, **document: Any) -> httpx.Response:
    return await caller.http.post(f"{base}/phone/act", json={"person": "小明", **document})


async def state(caller: Caller, base: str, code: str = "", after: int = 0) -> dict[str, Any]:
    query: dict[str, str | int] = {"person": "小明", "code": code, "after": after}
    answer = await caller.http.get(f"{base}/phone/state", params=query)
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.gen_test
async def test_scan_on_the_page(caller: Caller, server: CallbackServer) -> None:
    """The page sees a valid code, scans it, and shows the follower from then on."""
    code_id = (await caller.code())["url"].rsplit("/", 1)[1]
    base = caller.wechat.phone_base
    before = await state(caller, base, code_id)
    answer = await act(caller, base, action="scan", code=code_id)
    after = await state(caller, base, code_id)
    assert (before["code"], before["follower"], after["follower"]) == ("valid", False, True)
    assert answer.json()["outcome"] == "answered" and len(server.pushes) == 1


@pytest.mark.gen_test
async def test_codes_the_page_cannot_scan(caller: Caller) -> None:
    """The page tells an expired code from an unknown one."""
    code_id = (await caller.code())["url"].rsplit("/", 1)[1]
    caller.wechat.world.clock.advance(301)
    assert (await state(caller, caller.wechat.phone_base, code_id))["code"] == "expired"
    assert (await state(caller, caller.wechat.phone_base, "x"))["code"] == "unknown"


@pytest.mark.gen_test
async def test_writing_in_the_chat(caller: Caller, server: CallbackServer) -> None:
    """A follower's text is pushed and stands in the chat; `after` gives only what is new."""
    base = caller.wechat.phone_base
    await act(caller, base, action="follow")
    await act(caller, base, action="text", text=" 1 ")
    message = server.pushes[-1].message(caller.account)
    lines = (await state(caller, base))["lines"]
    assert (message["MsgType"], message["Content"]) == ("text", "1")
    assert [line["text"] for line in lines] == ["1"]
    assert (await state(caller, base, after=lines[-1]["number"]))["lines"] == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "document",
    [
        {"action": "nonsense"},
        {"action": "text", "text": "  "},
        {"action": "scan", "person": ""},
        {"action": "scan", "person": "x" * 33},
        {"action": "scan", "person": ["x"]},
        {},
    ],
)
async def test_what_the_page_cannot_do(caller: Caller, document: dict[str, Any]) -> None:
    """Anything malformed is 400."""
    assert (await act(caller, caller.wechat.phone_base, **document)).status_code == 400


@pytest.mark.gen_test
async def test_foreign_pages_cannot_act(caller: Caller) -> None:
    """Another site's page can neither post JSON nor a form here."""
    url = f"{caller.wechat.phone_base}/phone/act"
    foreign = {"Origin": "http://evil.example"}
    body = {"person": "小明", "action": "follow"}
    assert (await caller.http.post(url, json=body, headers=foreign)).status_code == 403
    assert (await caller.http.post(url, content=json.dumps(body))).status_code == 415


@pytest.mark.gen_test
async def test_page_needs_no_inline_script(caller: Caller) -> None:
    """The policy allows own scripts only, the page has no inline ones, and speaks Chinese."""
    page = await caller.http.get(
        f"{caller.wechat.phone_base}/phone", headers={"Accept-Language": "zh-CN,en;q=0.5"}
    )
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)", page.text) == []
    assert CHINESE["badge"] in html.unescape(page.text)


@pytest.mark.gen_test
async def test_second_listener_shows_only_the_phone(caller: Caller) -> None:
    """At the other address only the phone page exists, and only below the secret path."""
    main = caller.wechat.url
    base = caller.wechat.start_phone_listener("127.0.0.1")
    root, secret = base.rsplit("/", 1)
    assert len(secret) == 43 and caller.wechat.phone_base == base
    assert (await caller.http.get(f"{base}/phone")).status_code == 200
    assert (await caller.http.get(f"{base}/phone/static/phone.js")).status_code == 200
    for path in ("/phone", "/simulator/calls", "/api/cgi-bin/token", "/open/connect/qrconnect"):
        assert (await caller.http.get(root + path)).status_code == 404
        assert (await caller.http.get(base + path.replace("/phone", "/x"))).status_code == 404
        assert (await caller.http.get(main + path)).status_code != 404


@pytest.mark.gen_test
async def test_codes_lead_to_the_second_listener(caller: Caller) -> None:
    """With the second listener on, a new code's content is there and can be scanned there."""
    base = caller.wechat.start_phone_listener("127.0.0.1", secret_path="secret")
    url = (await caller.code())["url"]
    answer = await act(caller, base, action="scan", code=url.rsplit("/", 1)[1])
    assert url.startswith(f"{base}/q/")
    assert answer.json()["outcome"] == "answered"


@pytest.mark.gen_test
async def test_stopping_twice(wechat: SimulatedWeChat) -> None:
    """A second stop does nothing, and the port is free again."""
    await wechat.stop()
    await wechat.stop()
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(wechat.url)


@pytest.mark.parametrize(
    "header, language",
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("fr, zh-TW;q=0.3", "zh-CN"),
        ("", "en"),
        ("zh;q=x", "en"),
    ],
)
def test_language(header: str, language: str) -> None:
    """The browser's preferred language among the two is used, English otherwise."""
    assert language_of(header) == language


def test_both_languages_say_the_same() -> None:
    """Every word exists in both languages."""
    assert set(CHINESE) == set(ENGLISH)


def test_static_files_are_self_contained() -> None:
    """No file of the pages loads anything from another host."""
    for file in (HERE / "static").iterdir():
        found = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?https?://", file.read_text())
        assert found == [], file.name


@pytest.mark.gen_test
async def test_the_pages_have_the_colours_of_scanpush(caller: Caller) -> None:
    """Those of static/base.css, on the second listener as well; phone.css has none of its own but
    that of the person's lines."""
    caller.wechat.start_phone_listener("127.0.0.1")
    base = caller.wechat.phone_base
    palette = await caller.http.get(f"{base}/phone/static/palette.css")
    page = (await caller.http.get(f"{base}/phone")).text
    style = (HERE / "static" / "phone.css").read_text()
    defined = set(re.findall(r"(--[\w-]+):", palette.text + style))
    assert palette.headers["Content-Type"].startswith("text/css")
    assert "/phone/static/palette.css" in page
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) <= defined
    assert set(re.findall(r"(--[\w-]+): #", style)) == {"--mine"}


@pytest.mark.gen_test
async def test_the_phone_says_why_pages_know_no_names(caller: Caller) -> None:
    """Before a person is chosen, whose name the login page will not show."""
    page = await caller.http.get(f"{caller.wechat.phone_base}/phone")
    assert ENGLISH["nameless"] in html.unescape(page.text)
