"""A proxy before a whole server that breaks it on purpose, one row of the table at a time.

It speaks just enough HTTP/1.1 for the tool's requests, one a connection, and pipes sockets.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from services.push.close_codes import CloseCode


@dataclass
class Message:
    """A request or a response, as it may be changed."""

    first: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def drop(self, name: str) -> None:
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()]

    def put(self, name: str, value: str) -> None:
        self.drop(name)
        self.headers.append((name, value))

    def encoded(self) -> bytes:
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body

    @property
    def method(self) -> str:
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        values = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: value[0] for name, value in values.items()}

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    def answer(self, status: int, body: str | None = None, **headers: str) -> None:
        """Become another response."""
        self.first = f"HTTP/1.1 {status} Broken"
        if body is not None:
            self.body = body.encode()
        for name, value in headers.items():
            self.put(name.replace("_", "-"), value)
        self.put("Content-Length", str(len(self.body)))


@dataclass
class Seen:
    """What the proxy has learned of scenes, for faults that need it."""

    tokens: dict[str, str] = field(default_factory=dict)
    """The watch token by each text that stands for a scene: its id, what its code holds."""
    ended: set[str] = field(default_factory=set)


Fault = Callable[[Seen, Message, Message | None], None]
"""Changes a request (without a response), or its response."""


def _scene_of(request: Message) -> str:
    found = re.match(r"/api/scenes/([^/?]+)", request.path)
    return found[1] if found else ""


class BreakingProxy:
    """Listens on an unused port before a server at `target`; each of `faults` breaks one thing."""

    def __init__(self, target: int, *rows: str) -> None:
        self._target = target
        self._faults = [FAULTS[row] for row in rows if row in FAULTS]
        self._misnames_replaced = "C8" in rows
        self._seen = Seen()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = await _read(reader)
            upstream = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await self._pass(request, reader, writer, *upstream)
            finally:
                upstream[1].close()
                writer.close()

    async def _pass(
        self,
        request: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        out: asyncio.StreamWriter,
    ) -> None:
        for fault in self._faults:
            fault(self._seen, request, None)
        if request.get("Upgrade"):
            out.write(request.encoded())
            await asyncio.gather(self._pipe(reader, out), self._pipe(back, writer, self._frames))
            return
        request.put("Connection", "close")
        out.write(request.encoded())
        response = _parsed(await back.read())
        self._learn(request, response)
        for fault in self._faults:
            fault(self._seen, request, response)
        response.put("Connection", "close")
        writer.write(response.encoded())
        await writer.drain()

    async def _pipe(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        change: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(change(data))
                await sink.drain()
        sink.close()

    def _frames(self, data: bytes) -> bytes:
        """A socket that was replaced is closed as if its page had made a mistake."""
        wrong = struct.pack(">BBH", 0x88, 2, CloseCode.BAD_MESSAGE)
        right = struct.pack(">BBH", 0x88, 2, CloseCode.REPLACED)
        return data.replace(right, wrong) if self._misnames_replaced else data

    def _learn(self, request: Message, response: Message) -> None:
        if request.path == "/api/scenes" and response.status == 201:
            document = json.loads(response.body)
            token = document["watch_token"]
            content = document.get("qr", {}).get("content", "")
            for name in (document["scene_str"], re.sub(r"[^!-~]", "", content)):
                self._seen.tokens[name] = token
        if request.method == "DELETE" and response.status == 204:
            self._seen.ended.add(_scene_of(request))


async def _read(reader: asyncio.StreamReader) -> Message:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    message = _headed(head)
    length = int(message.get("Content-Length") or 0)
    message.body = await reader.readexactly(length)
    return message


def _parsed(data: bytes) -> Message:
    head, _, body = data.partition(b"\r\n\r\n")
    message = _headed(head.decode("latin-1"))
    message.body = body
    return message


def _headed(head: str) -> Message:
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return Message(first, [(name, value.strip()) for name, _, value in pairs])


# What is broken, by the row that must go red for it.


def _token_in_the_query(seen: Seen, request: Message, response: Message | None) -> None:
    if response is None and "watch_token" in request.query:
        request.put("Authorization", f"Bearer {request.query['watch_token']}")


def _code_as_token(seen: Seen, request: Message, response: Message | None) -> None:
    shown = request.get("Authorization").removeprefix("Bearer ")
    if response is None and "://" in shown and shown in seen.tokens:
        request.put("Authorization", f"Bearer {seen.tokens[shown]}")


def _accepts_unsigned(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.query.get("encrypt_type") == "aes":
        response.answer(200, "success")


def _acks_what_ended(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path.endswith("/ack") and response.status == 409:
        response.answer(204, "")


def _open_cookie(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and "begin=" in response.get("Set-Cookie"):
        response.put("Set-Cookie", response.get("Set-Cookie").replace(" HttpOnly;", ""))


def _no_origin_on_sockets(seen: Seen, request: Message, response: Message | None) -> None:
    if response is None and request.get("Upgrade"):
        request.drop("Origin")


def _renews_anything(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/api/token/refresh":
        response.answer(200, "{}")


def _takes_alg_none(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/api/me":
        if request.get("Authorization").endswith("."):
            response.answer(200, "{}")


def _weak_callback_token(seen: Seen, request: Message, response: Message | None) -> None:
    query = request.query
    if response is not None and "echostr" in query:
        parts = sorted(["weixin", query["timestamp"], query["nonce"]])
        if hashlib.sha1("".join(parts).encode()).hexdigest() == query["signature"]:
            response.answer(200, query["echostr"])


def _reads_files(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and b"file:///etc/passwd" in request.body:
        response.answer(403, "root:x:0:0")


def _takes_any_size(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and response.status == 413:
        response.answer(400)


def _tells_what_ended(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and response.status == 401 and _scene_of(request) in seen.ended:
        response.answer(410)


def _believes_in_headers(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/api/me" and request.get("X-WX-OPENID"):
        response.answer(200, "{}")


def _session_key(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/api/miniprogram/login":
        response.answer(response.status, '{"session_key": "x"}')


def _echo(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and response.status == 401 and request.path == "/api/me":
        response.answer(401, request.get("Authorization"))


def _goes_anywhere(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.query.get("next", "").startswith("//"):
        response.answer(302, "", Location=request.query["next"])


def _forwarded_host(seen: Seen, request: Message, response: Message | None) -> None:
    host = request.get("X-Forwarded-Host")
    if response is not None and host and response.status == 201:
        document: dict[str, Any] = json.loads(response.body)
        document["qr"]["content"] = f"https://{host}/oauth/wechat/start"
        response.answer(201, json.dumps(document))


def _no_policy(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/kiosk":
        response.drop("Content-Security-Policy")


def _fails_at_objects(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and b"$gt" in request.body:
        response.answer(500)


def _takes_doubled_cookies(seen: Seen, request: Message, response: Message | None) -> None:
    cookies = request.get("Cookie").split("; ")
    if response is not None and len(cookies) == 2 and response.status == 201:
        response.put("Set-Cookie", f"{cookies[0]}; HttpOnly; SameSite=Lax; Path=/")


def _takes_numbers_of_others(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path.endswith("/number") and response.status == 401:
        response.answer(204, "")


def _offers_plain(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/.well-known/openid-configuration":
        document = json.loads(response.body)
        response.answer(
            200, json.dumps({**document, "code_challenge_methods_supported": ["plain"]})
        )


def _no_more_scenes(seen: Seen, request: Message, response: Message | None) -> None:
    if response is not None and request.path == "/api/scenes":
        response.answer(429, Retry_After="30")


FAULTS: dict[str, Fault] = {
    "C1": _token_in_the_query,
    "C2": _code_as_token,
    "C4": _accepts_unsigned,
    "C10": _acks_what_ended,
    "C11": _open_cookie,
    "C12": _no_origin_on_sockets,
    "C13": _renews_anything,
    "C14": _takes_alg_none,
    "C15": _weak_callback_token,
    "C16": _reads_files,
    "C17": _takes_any_size,
    "C19": _tells_what_ended,
    "C20": _believes_in_headers,
    "C22": _session_key,
    "C23": _echo,
    "C24": _goes_anywhere,
    "C25": _forwarded_host,
    "C26": _no_policy,
    "C27": _fails_at_objects,
    "C31": _takes_doubled_cookies,
    "C35": _takes_numbers_of_others,
    "C36": _offers_plain,
}
BREAKABLE = (*FAULTS, "C8")
FAULTS["limit"] = _no_more_scenes
"""No row: the run cannot go on."""
