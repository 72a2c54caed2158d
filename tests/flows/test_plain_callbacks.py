"""Pushes in one piece, as a proxy sends them, over real connections to a whole server."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import h11
import pytest

from services.wechat.replies import text
from simulator.messages import PushRequest, read_reply
from tests.stack import ON_LOOP, WITHIN_SECONDS, Stack, status, until

pytestmark = ON_LOOP


class Line:
    """One kept-alive connection to a server."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def __aenter__(self) -> "Line":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._stack.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, *data: bytes) -> tuple[int, bytes]:
        """Send the request in these pieces; status and body of the answer."""
        for piece in data:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0.02)
        answer = h11.Connection(h11.CLIENT)
        answer.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
        answer.send(h11.EndOfMessage())
        code, body = 0, b""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                match answer.next_event():
                    case h11.NEED_DATA:
                        answer.receive_data(await self._reader.read(8192))
                    case h11.Response() as response:
                        code = response.status_code
                    case h11.Data() as content:
                        body += content.data
                    case _:
                        return code, body

    async def push(self, push: PushRequest, cut: int | None = None) -> tuple[int, bytes]:
        """Send a push, whole or in two pieces."""
        url = urlsplit(push.url)
        head = (
            f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            f"Content-Type: text/xml\r\nContent-Length: {len(push.body)}\r\n\r\n"
        ).encode()
        data = head + push.body
        return await (self.ask(data) if cut is None else self.ask(data[:cut], data[cut:]))


def lines(stack: Stack) -> int:
    """How many connections are served, without that of the stack's own client."""
    return len(stack.server._http.connections) - 1


async def test_a_login_and_everything_else_over_one_connection(tmp_path: Path) -> None:
    """A push, its repeat, a request of another client and a further push: all are answered."""
    async with Stack(tmp_path) as stack, Line(stack) as line:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            push = stack.scan_of(page)
            code, first = await line.push(push)
            assert code == 200 and (await until(socket, "authorized"))["login"]["token"]
            code, again = await line.push(push)
            assert code == 200 and lines(stack) == 1
            site = f"127.0.0.1:{stack.port}"
            sender = stack.sender()
            replies = [
                read_reply(body, sender.account, sender.openid("alice")) for body in (first, again)
            ]
            said = [reply.text for reply in replies]
            assert said == 2 * [text("registered", "zh-CN", site=site)]
        assert (await line.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200
        other = await stack.begin()
        assert (await line.push(stack.scan_of(other)))[0] == 200
        assert await other.state() == "authorized"


async def test_a_push_in_two_pieces(tmp_path: Path) -> None:
    """Head and body apart, or a head in halves: the same answer."""
    async with Stack(tmp_path) as stack:
        for cut in (-20, 30):
            page = await stack.begin()
            async with Line(stack) as line:
                assert (await line.push(stack.scan_of(page), cut))[0] == 200
            assert await page.state() == "authorized"


async def test_what_is_refused_says_no_more_than_ever(tmp_path: Path) -> None:
    """A forged push is 403, rubbish 400, an unknown account 404; the connection ends with it."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        unknown = push.url.replace("/callback", "/callback/nobody")
        for refused, status_code in (
            (replace(push, body=stack.scan_of(page, "bob").body), 403),
            (replace(push, body=b"rubbish"), 400),
            (replace(push, url=unknown), 404),
        ):
            async with Line(stack) as line:
                assert (await line.push(refused))[0] == status_code
                assert await line._reader.read() == b""
        async with Line(stack) as line:
            assert await page.state() == "waiting"
            assert (await line.push(push))[0] == 200


@pytest.mark.parametrize("path", ["/wechat/callbacks", "/wechat/callback/default/more"])
async def test_another_path_is_no_callback(tmp_path: Path, path: str) -> None:
    """A longer path is not served as that which it begins with."""
    async with Stack(tmp_path) as stack, Line(stack) as line:
        page = await stack.begin()
        push = stack.scan_of(page)
        url = push.url.replace("/wechat/callback", path)
        assert (await line.push(replace(push, url=url)))[0] == 404
        assert await page.state() == "waiting"


async def test_a_leaving_server_closes_these_connections(tmp_path: Path) -> None:
    """Idle ones are closed at the end; the server does not wait for them."""
    async with Stack(tmp_path) as stack, Line(stack) as line:
        page = await stack.begin()
        assert (await line.push(stack.scan_of(page)))[0] == 200
        await stack.server.drain()
        await stack.server.close()
        assert await line._reader.read() == b""
        assert not stack.server._http.connections and not stack.server._http.requests
