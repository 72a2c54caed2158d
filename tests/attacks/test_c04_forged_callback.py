"""C4: what WeChat did not sign changes nothing, and the answer does not say why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.messages import PushOptions, PushRequest, xml_document
from tests.pushes import with_query
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP

OTHER_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


async def refused(stack: Stack, page: Page, push: PushRequest, status: int) -> bytes:
    """The body of the refusal; the scene has not moved."""
    answer = await stack.sender().send(push)
    assert answer.status_code == status, answer.text
    assert await page.state() == "waiting"
    return answer.content


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
async def test_every_forgery_is_the_same_403(tmp_path: Path, mode: str) -> None:
    """Signature, timestamp, token, key, appid, padding: no oracle tells them apart."""
    accounts = {"default": {"mode": mode}, "second": {}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        page = await stack.begin()
        strangers: list[tuple[dict[str, str], dict[str, Any]]] = [
            ({}, {"bad_signature": True}),
            ({}, {"stale_seconds": 601}),
            ({}, {"stale_seconds": -660}),
            ({"callback_token": "anothertoken"}, {}),
        ]
        if mode != "plaintext":
            strangers += [
                ({}, {"wrong_app_id": True}),
                ({"encoding_aes_key": OTHER_KEY}, {}),
                ({"mode": "plaintext"}, {}),
            ]
        bodies = set()
        for changes, options in strangers:
            sender = stack.sender(**changes)
            push = stack.scan_of(page, sender=sender, options=PushOptions(**options))
            bodies.add(await refused(stack, page, push, 403))
        assert len(bodies) == 1


async def test_an_account_is_picked_by_the_path_alone(tmp_path: Path) -> None:
    """A push for one account, sent to the other's address, is a forgery."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {}, "second": {}}}) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        astray = replace(push, url=push.url.replace("/callback?", "/callback/second?"))
        await refused(stack, page, astray, 403)
        second = stack.sender("second")
        push = stack.scan_of(page, sender=second)
        astray = replace(push, url=push.url.replace("/callback/second?", "/callback?"))
        await refused(stack, page, astray, 403)


@pytest.mark.parametrize("mode", ["safe", "plaintext"])
@pytest.mark.parametrize("name", ["signature", "timestamp", "nonce", "msg_signature"])
async def test_a_missing_argument_is_refused(tmp_path: Path, mode: str, name: str) -> None:
    """400 for what is no push at all, 403 for a push without what its mode demands."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        page = await stack.begin()
        if (mode, name) in (("safe", "signature"), ("plaintext", "msg_signature")):
            return  # That one is not looked at in this mode.
        push = with_query(stack.scan_of(page), **{name: None})
        await refused(stack, page, push, 403 if name == "msg_signature" else 400)


async def test_arguments_without_end_are_none(tmp_path: Path) -> None:
    """Reading 15,000 of them would take longer than all else of a forged push. Some do no harm."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        await refused(stack, page, replace(push, url=push.url + "&a=b" * 64), 400)
        await stack.sender().send(replace(push, url=push.url + "&a=b" * 50))
        assert await page.state() == "authorized"


async def test_a_changed_ciphertext_is_refused(tmp_path: Path) -> None:
    """One character, anywhere: the signature covers all of it."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        start = push.body.index(b"<Encrypt><![CDATA[") + 18
        for at in (start, start + 100, push.body.index(b"]]></Encrypt>") - 3):
            other = b"A" if push.body[at : at + 1] != b"A" else b"B"
            body = push.body[:at] + other + push.body[at + 1 :]
            await refused(stack, page, replace(push, body=body), 403)


async def test_safe_mode_takes_no_plain_body(tmp_path: Path) -> None:
    """Not even with a valid signature over the query: that would be a downgrade."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        plain = xml_document(
            sender.event("SCAN", "alice", stack.now, EventKey=page.scene_str)
        ).encode()
        await refused(stack, page, replace(push, body=plain), 403)
        without = with_query(push, encrypt_type=None, msg_signature=None)
        await refused(stack, page, replace(without, body=plain), 403)
        await refused(stack, page, with_query(push, encrypt_type="raw"), 403)


async def test_the_openid_of_the_query_is_not_believed(tmp_path: Path) -> None:
    """It is not signed; only the decrypted body names the person."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        await sender.send(with_query(stack.scan_of(page), openid=sender.openid("mallory")))
        scene = await stack.scene(page)
        assert scene is not None and scene.openid == sender.openid("alice")


@pytest.mark.parametrize(
    "body", [b"", b"x", b"<xml>", b"{}", b"<xml><Encrypt/></xml>", b"\xff\xfe"]
)
async def test_what_is_no_push_is_400_or_403(tmp_path: Path, body: bytes) -> None:
    """Under a valid query, too."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        answer = await stack.sender().send(replace(stack.scan_of(page), body=body))
        assert answer.status_code in (400, 403) and await page.state() == "waiting"


async def test_a_configuration_check_with_a_wrong_signature_is_403(tmp_path: Path) -> None:
    """And never echoes what was sent."""
    async with Stack(tmp_path) as stack:
        query = {"signature": "0" * 40, "timestamp": "1", "nonce": "2", "echostr": "<b>x</b>"}
        answer = await stack.http.get("/wechat/callback", params=query)
        assert answer.status_code == 403 and "<b>" not in answer.text
        del query["echostr"]
        assert (await stack.http.get("/wechat/callback", params=query)).status_code == 400
