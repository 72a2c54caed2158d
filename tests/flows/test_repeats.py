"""The same event again: at once, later, after a failure, encrypted again."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.wechat.crypto import Cipher, signature
from services.wechat.replies import text
from simulator.messages import PushRequest, xml_document
from tests.pushes import Sender, query_of, with_query
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP


async def logins(stack: Stack, page: Page) -> int:
    """How often the page's person has logged in, as the user store counts."""
    scene = await stack.scene(page)
    assert scene is not None and scene.user_id is not None
    user = await stack.container.backend.users.get(scene.user_id)
    assert user is not None
    return user.logins


def encrypted_again(sender: Sender, push: PushRequest, fields: dict[str, str | int]) -> PushRequest:
    """The same fields in another ciphertext, under the timestamp and nonce of `push`."""
    query = query_of(push)
    cipher = Cipher(sender.account.encoding_aes_key, sender.account.app_id)
    encrypt = cipher.encrypt(xml_document(fields).encode(), b"another random16")
    body = xml_document({"ToUserName": fields["ToUserName"], "Encrypt": encrypt}).encode()
    token = sender.account.callback_token
    signed = signature(token, query["timestamp"], query["nonce"], encrypt)
    return replace(with_query(push, msg_signature=signed), body=body)


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
async def test_four_deliveries_within_a_second_are_one_login(tmp_path: Path, mode: str) -> None:
    """One user, one count, one seq, and four times the same reply."""
    async with Stack(tmp_path, wechat={"accounts": {"default": {"mode": mode}}}) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        answers = await asyncio.gather(*(sender.send(push) for _ in range(4)))
        replies = {sender.read(answer, "alice").text for answer in answers}
        assert replies == {text("registered", "zh-CN", site=f"127.0.0.1:{stack.port}")}
        document = (await page.poll()).json()
        assert (document["seq"], document["login"]["user"]["is_new"]) == (3, True)
        assert await logins(stack, page) == 1


async def test_a_late_repeat_gets_the_reply_of_the_first(tmp_path: Path) -> None:
    """Also when the scene has moved on meanwhile."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page)
        first = sender.read(await sender.send(push), "alice").text
        assert (await page.ack(3)).status_code == 204
        assert sender.read(await sender.send(push), "alice").text == first
        assert await page.state() == "consumed" and await logins(stack, page) == 1


async def test_a_repeat_encrypted_again_is_a_repeat(tmp_path: Path) -> None:
    """Under the same timestamp and nonce, and under others: accepted, and without effect."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        fields = sender.event("SCAN", "alice", stack.now, EventKey=page.scene_str)
        push = sender.sealed(fields, stack.now)
        again = encrypted_again(sender, push, fields)
        assert again.body != push.body and query_of(again)["nonce"] == query_of(push)["nonce"]
        pushes = (push, again, sender.sealed(fields, stack.now))
        replies = {sender.read(await sender.send(one), "alice").text for one in pushes}
        assert len(replies) == 1
        assert (await page.poll()).json()["seq"] == 3 and await logins(stack, page) == 1


async def test_a_repeat_of_what_was_refused_gets_the_same_words(tmp_path: Path) -> None:
    """A second person's event, delivered twice, is told twice that the code is taken."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        await sender.send(stack.scan_of(page, "alice"))
        push = stack.scan_of(page, "bob")
        replies = [sender.read(await sender.send(push), "bob").text for _ in range(2)]
        taken = text("already_used", "zh-CN", site=f"127.0.0.1:{stack.port}")
        assert replies == [taken, taken]


async def test_wechats_own_retries_end_in_one_login(tmp_path: Path) -> None:
    """The simulator delivers the same request five times at once."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        delivery = await stack.scan(page, duplicate=4)
        assert (delivery["delivered"], delivery["attempts"]) == (5, 5)
        assert (await page.poll()).json()["seq"] == 3 and await logins(stack, page) == 1


async def test_another_event_of_the_same_second_is_not_a_repeat(tmp_path: Path) -> None:
    """A LOCATION beside the SCAN must not swallow it."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page, same_second_pair=True)
        assert await page.state() == "authorized"


async def test_two_scans_of_one_second_on_two_pages_are_two_logins(tmp_path: Path) -> None:
    """FromUserName and CreateTime alone would confuse them."""
    async with Stack(tmp_path) as stack:
        pages, sender = [await stack.begin(), await stack.begin()], stack.sender()
        now = int(stack.now)
        pushes = [stack.scan_of(page, CreateTime=now) for page in pages]
        await asyncio.gather(*(sender.send(push) for push in pushes))
        assert [await page.state() for page in pages] == ["authorized", "authorized"]
        assert await logins(stack, pages[0]) == 2
