"""The simulated console, and the mistakes that can be made on WeChat's side."""

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from simulator.config import MINI_PROGRAM_APP_ID
from simulator.mistakes import MISTAKES, make_mistake
from tests.simulator.conftest import CallbackServer, Caller

pytestmark = pytest.mark.gen_test


async def save(caller: Caller, part: str, app_id: str = "", **fields: str) -> str:
    data = {"part": part, "app_id": app_id or caller.account.app_id, **fields}
    answer = await caller.http.post(f"{caller.wechat.url}/console", data=data)
    assert answer.status_code in (200, 400)
    return answer.text


def server_fields(caller: Caller, **changes: str) -> dict[str, str]:
    account = caller.account
    return {
        "callback_url": account.callback_url,
        "callback_token": account.callback_token,
        "encoding_aes_key": account.encoding_aes_key,
        "mode": account.mode,
        **changes,
    }


async def test_the_keys_page_changes_the_account(caller: Caller) -> None:
    """AppSecret, IP allow list, kind, binding and templates hold from then on."""
    await save(
        caller,
        "keys",
        app_secret="f" * 32,
        ip_allow_list="127.0.0.1 10.0.0.0/8",
        service="1",
        verified="1",
        templates="one thing1 time2",
    )
    account = caller.wechat.world.accounts[caller.account.app_id]
    assert account.app_secret == "f" * 32 and account.open_platform == ""
    assert account.ip_allow_list == ("127.0.0.1", "10.0.0.0/8")
    assert [(one.template_id, one.keys) for one in account.templates] == [
        ("one", ("thing1", "time2"))
    ]
    page = (await caller.http.get(f"{caller.wechat.url}/console")).text
    assert "f" * 32 in page and "one thing1 time2" in page


async def test_the_push_page_is_saved_only_where_the_address_answers(
    caller: Caller, server: CallbackServer
) -> None:
    """As at WeChat: the check comes first."""
    world, app_id = caller.wechat.world, caller.account.app_id
    text = await save(caller, "server", **server_fields(caller, callback_url="http://127.0.0.1:1/"))
    assert "token校验失败" in text
    assert world.accounts[app_id].callback_url == server.url
    text = await save(
        caller, "server", **server_fields(caller, mode="plaintext", data_format="json")
    )
    assert "Saved" in text
    assert (world.accounts[app_id].mode, world.accounts[app_id].data_format) == (
        "plaintext",
        "json",
    )
    await world.phones.follow("alice")
    assert server.pushes[-1].body.startswith("{")


async def test_nonsense_is_not_saved(caller: Caller) -> None:
    """A list that is none, an app that is none, a key that is none: the page says so."""
    fields = {"app_secret": "x", "ip_allow_list": "nowhere", "templates": ""}
    assert "Not saved" in await save(caller, "keys", **fields)
    assert "Not saved" in await save(caller, "keys", "wx0", app_secret="x")
    assert "Not saved" in await save(caller, "server", "wx0", **server_fields(caller))
    assert "Not saved" in await save(caller, "server", **server_fields(caller, mode="other"))
    short = server_fields(caller, encoding_aes_key="short")
    assert "Not saved" in await save(caller, "server", **short)


async def test_an_app_has_a_secret_and_a_binding(caller: Caller) -> None:
    """Mini programs and website apps."""
    await save(caller, "keys", MINI_PROGRAM_APP_ID, app_secret="e" * 32)
    app = caller.wechat.world.mini_program_apps[MINI_PROGRAM_APP_ID]
    assert (app.app_secret, app.open_platform) == ("e" * 32, "")


async def test_a_foreign_page_changes_nothing(caller: Caller) -> None:
    """Its form is refused by its Origin."""
    answer = await caller.http.post(
        f"{caller.wechat.url}/console",
        data={"part": "unfreeze"},
        headers={"Origin": "https://evil.example.com"},
    )
    assert answer.status_code == 403


async def test_a_frozen_secret_is_unfrozen(caller: Caller) -> None:
    """40243 until then."""
    make_mistake(caller.wechat.world, "frozen")
    assert (await caller.token())["errcode"] == 40243
    await save(caller, "unfreeze")
    assert "access_token" in await caller.token()


async def test_every_mistake_is_mended_at_the_console(
    caller: Caller, server: CallbackServer
) -> None:
    """With the values of the settings, as a person enters them at WeChat, and no restart."""
    world, account = caller.wechat.world, caller.account

    def state() -> Any:
        quota = world.quotas.report(account.app_id, "/cgi-bin/qrcode/create")["quota"]["used"]
        secrets = [app.app_secret for app in world.mini_program_apps.values()]
        return world.accounts[account.app_id], secrets, quota, world.clock.is_turned

    well = state()
    keys = {
        "app_secret": account.app_secret,
        "service": "1",
        "verified": "1",
        "bound": "1" if account.open_platform else "",
        "ip_allow_list": " ".join(account.ip_allow_list),
        "templates": "\n".join(" ".join((one.template_id, *one.keys)) for one in account.templates),
    }
    apps = {app_id: app.app_secret for app_id, app in world.mini_program_apps.items()}
    for name in MISTAKES:
        make_mistake(world, name)
        await save(caller, "keys", **keys)
        await save(caller, "server", **server_fields(caller))
        for app_id, secret in apps.items():
            await save(caller, "keys", app_id, app_secret=secret, bound="1")
        for part in ("unfreeze", "quota", "clock"):
            assert "Not saved" not in await save(caller, part)
        assert state() == well, name
        world.quotas._clears.clear()  # ten a month are enough elsewhere
        assert "access_token" in await caller.token()


async def test_mistakes_are_made_by_name(caller: Caller) -> None:
    """The control lists them; an unknown one is 400."""
    url = f"{caller.wechat.url}/simulator/mistakes"
    assert set((await caller.http.get(url)).json()) == set(MISTAKES)
    assert (await caller.http.post(url, json={"name": "secret"})).status_code == 204
    assert (await caller.token())["errcode"] == 40125
    assert (await caller.http.post(url, json={"name": "none"})).status_code == 400


async def test_a_turned_clock_shows_in_the_date(caller: Caller) -> None:
    """The header of every answer."""
    caller.wechat.world.clock.advance(10_000)
    query = {"grant_type": "client_credential"}
    answer = await caller.http.get(f"{caller.wechat.api_base}/cgi-bin/token", params=query)
    date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert abs(date - caller.wechat.world.clock.now()) < 100


async def test_the_quota_of_what_is_not_granted_is_not_told(caller: Caller) -> None:
    """76022, as for all of /sns/."""
    token = (await caller.token())["access_token"]

    async def errcode(path: str) -> int:
        answer = await caller.post(
            "/cgi-bin/openapi/quota/get", {"cgi_path": path}, access_token=token
        )
        return int(answer["errcode"])

    assert await errcode("/cgi-bin/qrcode/create") == 0
    assert await errcode("/sns/userinfo") == 76022
    make_mistake(caller.wechat.world, "unverified")
    assert await errcode("/cgi-bin/qrcode/create") == 76022


async def test_a_refused_creation_is_not_counted(caller: Caller) -> None:
    """No code was made of it."""
    token = (await caller.token())["access_token"]
    for body in ({"action_name": ""}, {"action_name": "QR_STR_SCENE"}):
        answer = await caller.post("/cgi-bin/qrcode/create", body, access_token=token)
        assert answer["errcode"] in (40052, 40053)
    report = caller.wechat.world.quotas.report(caller.account.app_id, "/cgi-bin/qrcode/create")
    assert report["quota"]["used"] == 0


async def test_what_was_not_saved_looks_like_a_warning(
    caller: Caller, server: CallbackServer
) -> None:
    """And what was saved does not."""
    refused = await save(
        caller, "server", **server_fields(caller, callback_url="http://127.0.0.1:1/")
    )
    saved = await save(caller, "server", **server_fields(caller))
    assert 'class="card said bad"' in refused and "Not saved" in refused
    assert 'class="card said"' in saved and "Saved" in saved
