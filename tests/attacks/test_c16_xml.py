"""C16: hostile XML is refused before it is verified, and not read after that."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.wechat.crypto import Cipher, signature
from simulator.messages import PushOptions, PushRequest
from tests.pushes import Sender, query_of, with_query
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 if i else str()};" * 10}">' for i in range(9))
    + "]><xml><A>&a8;</A></xml>"
)
HOSTILE = {
    "billion laughs": LAUGHS,
    "quadratic": f'<!DOCTYPE x [<!ENTITY a "{"a" * 20_000}">]><xml><A>{"&a;" * 5000}</A></xml>',
    "external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><xml>&a;</xml>',
    "external dtd": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><xml><A>b</A></xml>',
    "parameter entity": '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]><xml/>',
    "depth": "<xml>" + "<a>" * 6_000 + "</a>" * 6_000 + "</xml>",
    "elements": "<xml>" + "<a/>" * 12_000 + "</xml>",
    "many attributes": "<xml " + " ".join(f'a{i}=""' for i in range(5000)) + "/>",
    "another charset": '<?xml version="1.0" encoding="UTF-16"?><xml><A>b</A></xml>',
    "seven bit": '<?xml version="1.0" encoding="UTF-7"?><xml>+ADw-A+AD4-</xml>',
    "namespace": '<xml xmlns="http://x/"><A xmlns:y="http://y/">b</A></xml>',
    "include": '<xml xmlns:xi="http://www.w3.org/2001/XInclude">'
    '<xi:include href="/etc/hostname"/></xml>',
    "not closed": "<xml><A>b",
    "two roots": "<xml></xml><xml></xml>",
    "control": "<xml><A>\x00</A></xml>",
    "deep json": "[" * 30_000,
    "deep json object": '{"a":' * 10_000,
}


def containing(sender: Sender, push: PushRequest, inner: str) -> PushRequest:
    """A push that is signed and encrypted correctly, with hostile content."""
    query = query_of(push)
    cipher = Cipher(sender.account.encoding_aes_key, sender.account.app_id)
    encrypt = cipher.encrypt(inner.encode(), b"0123456789abcdef")
    token = sender.account.callback_token
    signed = signature(token, query["timestamp"], query["nonce"], encrypt)
    body = f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>".encode()
    return replace(with_query(push, msg_signature=signed), body=body)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_outer_body_is_refused(tmp_path: Path, name: str) -> None:
    """In safe mode: before anything is decrypted."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = replace(stack.scan_of(page), body=HOSTILE[name].encode())
        answer = await sender.send(push)
        assert answer.status_code in (400, 403, 413) and await page.state() == "waiting"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_inner_body_is_not_read(tmp_path: Path, name: str) -> None:
    """Encrypted and signed as WeChat would, it is answered like what is no login (C34)."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        if len(HOSTILE[name]) > 45_000:
            return  # Encrypted it would be over 64 KiB, which is another test.
        answer = await sender.send(containing(sender, stack.scan_of(page), HOSTILE[name]))
        assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "waiting"


@pytest.mark.parametrize("where", ["inner", "outer"])
async def test_a_doctype_is_not_read_wherever_it_stands(tmp_path: Path, where: str) -> None:
    """Not even beside an otherwise perfect push: verified, so 200, but no person is logged in."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        push = stack.scan_of(page, options=PushOptions(doctype=where))
        answer = await sender.send(push)
        assert (answer.status_code, answer.content) == (200, b"success")
        assert await page.state() == "waiting"


async def test_a_megabyte_of_text_is_413(tmp_path: Path) -> None:
    """Before it is read, whatever is inside."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        body = b"<xml><A><![CDATA[" + b"x" * 1_000_000 + b"]]></A></xml>"
        answer = await sender.send(replace(stack.scan_of(page), body=body))
        assert answer.status_code == 413


async def test_markup_inside_values_stays_text(tmp_path: Path) -> None:
    """CDATA that ends early, entities in an EventKey: another code, no harm."""
    async with Stack(tmp_path) as stack:
        page, sender = await stack.begin(), stack.sender()
        for key in (f"]]><EventKey>{page.scene_str}", "&lt;b&gt;", "<b/>"):
            answer = await sender.send(stack.scan_of(page, EventKey=key))
            assert answer.status_code == 200, key
            assert await page.state() == "waiting"
