"""Tries on bytes: what pretends to be WeChat, bombs, floods, frames and half-open clients."""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import struct
import time
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed

from attack.target import Answer, Broken, NotApplicable, Target

TOO_LARGE, PROTOCOL, FLOOD, LOST = 1009, 1002, 4429, 1006
"""Close codes of sockets; the last stands for a connection that ended without a close frame."""

QUICK_SECONDS = 3.0
"""An answer that takes longer is no quick refusal, wherever the server stands."""

FROM_WECHAT = {"Content-Type": "text/xml"}

EVENT = (
    b"<xml><ToUserName>gh_1</ToUserName><FromUserName>oAttacker</FromUserName>"
    b"<CreateTime>1</CreateTime><MsgType>event</MsgType><Event>SCAN</Event>"
    b"<EventKey>%s</EventKey><Ticket>t</Ticket></xml>"
)


async def _push(target: Target, body: bytes, **query: str) -> Answer:
    path = "/wechat/callback" + (f"?{urlencode(query)}" if query else "")
    return await target.ask("POST", path, headers=FROM_WECHAT, content=body)


async def forged_callbacks(target: Target) -> None:
    """A scan that WeChat did not sign changes nothing, in whatever form it comes."""
    scene = await target.scene("a")
    body = EVENT % scene.scene_str.encode()
    now, nonce = str(int(time.time())), secrets.token_hex(4)
    empty = hashlib.sha1(
        "".join(sorted(["", now, nonce])).encode(), usedforsecurity=False
    ).hexdigest()
    signed = {"timestamp": now, "nonce": nonce}
    queries: list[dict[str, str]] = [
        {},
        {"signature": "", **signed},
        {"signature": empty, **signed},
        {"signature": "\N{GRINNING FACE}", **signed},
        {"signature": empty, "msg_signature": empty, "encrypt_type": "aes", **signed},
    ]
    encrypted = b"<xml><ToUserName>gh_1</ToUserName><Encrypt>AAAA</Encrypt></xml>"
    scan = {"MsgType": "event", "Event": "SCAN", "EventKey": scene.scene_str}
    for query in queries:
        for content in (body, encrypted, json.dumps(scan).encode()):
            answer = await _push(target, content, **query)
            answer.must_be(400, 403, why="a push that WeChat did not sign")
    await target.must_be_untouched(scene, answer)


async def forged_configuration(target: Target) -> None:
    """The check of WeChat's console echoes nothing that is not signed."""
    for signature in ("", "0" * 40):
        canary = secrets.token_hex(8)
        query = {"signature": signature, "timestamp": "1", "nonce": "1", "echostr": canary}
        answer = await target.ask("GET", f"/wechat/callback?{urlencode(query)}")
        answer.must(canary not in answer.text, "an unsigned echo is answered")


async def well_known_callback_tokens(target: Target) -> None:
    """The callback token is none that others would try first."""
    for token in ("", "token", "weixin", "wechat", "scanpush", "123456", "test", "changeme"):
        now, nonce, canary = str(int(time.time())), secrets.token_hex(4), secrets.token_hex(8)
        signature = hashlib.sha1(
            "".join(sorted([token, now, nonce])).encode(), usedforsecurity=False
        ).hexdigest()
        query = {"signature": signature, "timestamp": now, "nonce": nonce, "echostr": canary}
        answer = await target.ask("GET", f"/wechat/callback?{urlencode(query)}")
        answer.must(canary not in answer.text, "callback_token can be guessed")


def _bombs() -> dict[str, bytes]:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><xml>&e9;</xml>'
    blow_up = f'<!DOCTYPE x [<!ENTITY a "{"a" * 30_000}">]><xml>{"&a;" * 5_000}</xml>'
    outside = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><xml>&f;</xml>'
    return {
        "entities within entities": laughs.encode(),
        "a large entity many times": blow_up.encode(),
        "an external entity": outside.encode(),
        "ten thousand levels": b"<a>" * 10_000,
        "a large text": b"<xml><![CDATA[" + b"x" * 60_000 + b"]]></xml>",
        "another character set": "<?xml version='1.0' encoding='UTF-16'?><xml/>".encode("utf-16"),
    }


async def xml_bombs(target: Target) -> None:
    """Bombs are refused at once, like any push that WeChat did not sign."""
    query = {"signature": "0" * 40, "timestamp": str(int(time.time())), "nonce": "1"}
    for name, body in _bombs().items():
        began = time.monotonic()
        answer = await _push(target, body, **query)
        answer.must_be(400, 403, 413, why=name)
        answer.must(time.monotonic() - began < QUICK_SECONDS, f"{name} takes seconds to refuse")
        answer.must("root:" not in answer.text, "a file of the server is answered")


async def oversize(target: Target) -> None:
    """Bodies over 64 KiB and messages over 4 KiB are not taken."""
    for path in ("/api/scenes", "/wechat/callback"):
        answer = await target.ask("POST", path, content=b"x" * 200_000)
        answer.must_be(413, 403, why="a body of 200 kB")
    code = await _closed_after(target, ["x" * 5000])
    _must_close(target, code, TOO_LARGE, "a message of 5,000 bytes")


async def flood(target: Target) -> None:
    """A socket that sends without end is closed."""
    code = await _closed_after(target, ['{"type":"ack","seq":999}'] * 100)
    _must_close(target, code, FLOOD, "a hundred messages at once")


async def _closed_after(target: Target, messages: list[str]) -> int | None:
    scene = await target.scene("a")
    async with target.socket(scene.scene_str, scene.watch_token) as socket:
        if isinstance(socket, int):
            raise NotApplicable(f"no socket can be opened ({socket}): see the proxy")
        if socket.protocol.extensions:
            request = target.socket_request(scene.scene_str, scene.watch_token, None)
            raise Broken("compression is negotiated, at 161 KB a socket", request)
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                await socket.send(message)
        return await target.closed_with(socket)


def _must_close(target: Target, code: int | None, wanted: int, what: str) -> None:
    # A reset, which what was sent after the close frame brings about, may overtake that frame.
    if code not in (wanted, LOST):
        request = f"on a socket of {target.url}/ws/<scene_str>: {what}"
        raise Broken(f"{what}: closed with {code} instead of {wanted}", request)


async def broken_frames(target: Target) -> None:
    """A frame without a mask, which only a proxy's bug or an attacker sends, ends the socket."""
    scene = await target.scene("b")
    host = urlsplit(target.url).netloc
    target.count()
    async with target.bytes() as (reader, writer):
        lines = [
            f"GET /ws/{scene.scene_str} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            f"Sec-WebSocket-Protocol: scanpush.v1, watch.{scene.watch_token}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            async with asyncio.timeout(QUICK_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            raise NotApplicable("no socket can be opened: see the proxy") from None
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise NotApplicable("no socket can be opened: see the proxy")
        writer.write(b"\x81\x02{}")
        rest = b""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(QUICK_SECONDS):
                rest = await reader.read()
    # A close frame with that code, and maybe a reason (RFC 6455, section 5.5.1).
    close = rb"\x88[\x02-\x7d]" + re.escape(struct.pack(">H", PROTOCOL))
    if rest and not re.search(close, rest):
        _must_close(target, None, PROTOCOL, "a frame without a mask")


async def gone_client(target: Target) -> None:
    """Pipelined requests of a client that has gone keep the server from no other."""
    requests, host = 40, urlsplit(target.url).netloc
    target.count(requests)
    async with target.bytes() as (_reader, writer):
        with contextlib.suppress(OSError):
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * requests)
            await writer.drain()
    began = time.monotonic()
    answer = await target.ask("GET", "/healthz")
    answer.must(time.monotonic() - began < QUICK_SECONDS, "others wait for a client that has gone")
