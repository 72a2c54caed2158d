"""Callbacks in each mode, format and key, and everything that is no login."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.wechat.replies import text
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

OTHER_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def account(**settings: str) -> dict[str, object]:
    return {"accounts": {"default": settings}}


@pytest.mark.parametrize(
    ("mode", "encrypted"), [("safe", True), ("compatible", True), ("plaintext", False)]
)
async def test_each_mode_logs_in(tmp_path: Path, mode: str, encrypted: bool) -> None:
    """The reply is encrypted wherever the push was."""
    async with Stack(tmp_path, wechat=account(mode=mode)) as stack:
        page, sender = await stack.begin(), stack.sender()
        reply = sender.read(await sender.send(stack.scan_of(page)), "alice")
        assert await page.state() == "authorized"
        assert reply.encrypted is encrypted
        assert reply.text == text("registered", "zh-CN", site=f"127.0.0.1:{stack.port}")


async def test_json_is_answered_with_json(tmp_path: Path) -> None:
    """The newer console can be set to JSON; the reply is then JSON too."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender(data_format="json")
        answer = await sender.send(stack.scan_of(page, sender=sender))
        assert answer.content.startswith(b"{") and sender.read(answer, "alice").encrypted
        assert answer.headers["Content-Type"].startswith("application/json")
        assert await page.state() == "authorized"


@pytest.mark.parametrize("key", ["current", "previous"])
async def test_both_keys_open_and_seal(tmp_path: Path, key: str) -> None:
    """While WeChat still uses the old key, the reply is sealed with it (read checks that)."""
    settings = account(previous_encoding_aes_key=OTHER_KEY)
    async with Stack(tmp_path, wechat=settings) as stack:
        changes = {"encoding_aes_key": OTHER_KEY} if key == "previous" else {}
        page, sender = await stack.begin(), stack.sender(**changes)
        reply = sender.read(await sender.send(stack.scan_of(page, sender=sender)), "alice")
        assert reply.encrypted and await page.state() == "authorized"


async def test_in_compatible_mode_only_the_encrypted_part_counts(tmp_path: Path) -> None:
    """The plain fields beside Encrypt are not covered by any signature."""
    async with Stack(tmp_path, wechat=account(mode="compatible")) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        mallory = sender.openid("mallory").encode()
        forged = push.body.replace(sender.openid("alice").encode(), mallory)
        assert forged != push.body
        await sender.send(replace(push, body=forged))
        scene = await stack.scene(page)
        assert scene is not None and scene.openid == sender.openid("alice")


async def test_the_console_check_passes(tmp_path: Path) -> None:
    """WeChat's GET is answered with the bare echostr, for each account at its own address."""
    accounts = {"default": {}, "second": {"mode": "plaintext"}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        for name in accounts:
            app_id = stack.container.accounts.named(name).app_id
            assert await stack.simulator("check", account=app_id) == {"passed": True}


HARMLESS = [
    {"Event": "subscribe"},
    {"Event": "subscribe", "EventKey": ""},
    {"Event": "subscribe", "EventKey": "last_trade_no_4200000000"},
    {"Event": "subscribe", "EventKey": "qrscene_123"},
    {"Event": "subscribe", "EventKey": "qrscene_"},
    {"Event": "SCAN", "EventKey": "123"},
    {"Event": "SCAN", "EventKey": "qrscene_not-a-uuid"},
    {"Event": "SCAN"},
    {"Event": "unsubscribe", "EventKey": ""},
    {"Event": "LOCATION", "Latitude": "23.1", "Longitude": "113.3", "Precision": "119"},
    {"Event": "CLICK", "EventKey": "MENU"},
    {"Event": "VIEW", "EventKey": "https://example.com/?a=b&c=d"},
    {"Event": "TEMPLATESENDJOBFINISH", "MsgID": 200163836, "Status": "failed:user block"},
    {"Event": "user_authorization_revoke", "OpenID": "o" + "x" * 27, "RevokeInfo": "301"},
    {"Event": "an_event_of_the_future", "Whatever": "else"},
    {"MsgType": "text", "Event": "", "Content": "hello", "MsgId": 23238423},
    {"MsgType": "image", "Event": "", "PicUrl": "http://x/", "MediaId": "m", "MsgId": 23238424},
    {"MsgType": "voice", "Event": "", "MediaId": "m", "Format": "amr", "MsgId": 23238425},
]


@pytest.mark.parametrize("fields", HARMLESS, ids=lambda f: "-".join(map(str, f.values()))[:40])
async def test_what_is_no_login_is_answered_and_harmless(
    tmp_path: Path, fields: dict[str, str | int]
) -> None:
    """`success`, at once and every time; the waiting scene does not move."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        event = {**sender.event("", "alice", stack.now), **fields}
        for _ in range(2):
            answer = await sender.send(sender.sealed(event, stack.now))
            assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "waiting"


async def test_a_scene_in_capitals_is_not_ours(tmp_path: Path) -> None:
    """The codes of this server hold lower-case UUIDs; another spelling is another code."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        answer = await sender.send(stack.scan_of(page, EventKey=page.scene_str.upper()))
        assert answer.content == b"success" and await page.state() == "waiting"


async def test_each_account_has_its_own_scenes(tmp_path: Path) -> None:
    """A scene of another account is answered 200 and nothing changes."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {}, "second": {}}}) as stack:
        page = await stack.begin(account="second")
        first, second = stack.sender(), stack.sender("second")
        answer = await first.send(stack.scan_of(page, sender=first))
        assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "waiting"
        await second.send(stack.scan_of(page, sender=second))
        assert await page.state() == "authorized"


async def test_one_person_at_two_accounts_is_one_user_by_unionid(tmp_path: Path) -> None:
    """Two openids, one unionid (asked of user/info after the logins): one user."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {}, "second": {}}}) as stack:
        logins = []
        for name in ("default", "second"):
            page = await stack.begin(account=name)
            await stack.scan(page, "alice")
            logins.append((await page.poll()).json()["login"])
        assert await stack.one_user(logins) == logins[0]["user"]["id"]
        page = await stack.begin(account="second")
        await stack.scan(page, "alice")
        again = (await page.poll()).json()["login"]["user"]
        assert again == {"id": logins[0]["user"]["id"], "is_new": False}


async def test_an_unknown_account_in_the_path_is_not_found(tmp_path: Path) -> None:
    """404 for both methods, whatever is signed."""
    async with Stack(tmp_path) as stack:
        for method in ("GET", "POST"):
            answer = await stack.http.request(method, "/wechat/callback/nobody?signature=x")
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "not_found"


async def test_the_first_account_answers_to_its_name_too(tmp_path: Path) -> None:
    """/wechat/callback and /wechat/callback/default are the same route."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender("default")
        await sender.send(stack.scan_of(page, sender=sender))
        assert await page.state() == "authorized"
