"""What is no login goes on as received; whatever the other system does, WeChat gets its answer."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from services.http_client import make_transport
from services.tasks import Supervisor
from services.wechat.forwarder import HOPS_HEADER, MAX_ANSWER_BYTES, MOST_HOPS, Forwarder
from tests.services.wechat.fakes import eventually

QUERY = "signature=aa&timestamp=1&nonce=a%2Bb+c&encrypt_type=aes&msg_signature=bb&openid=o%C3%A4"
BODY = b"<xml>\r\n<Encrypt><![CDATA[a+/=]]></Encrypt>\xff</xml>"


class Other(web.RequestHandler):
    """The operator's other system."""

    async def post(self) -> None:
        self.application.settings["seen"].append(self.request)
        self.set_header("Content-Type", "application/xml")
        answer = self.application.settings["answer"]
        if answer == "hang":
            await asyncio.Event().wait()
        self.set_status(200 if isinstance(answer, bytes) else answer)
        self.set_cookie("PHPSESSID", "abc")
        self.write(answer if isinstance(answer, bytes) else b"error page")


@asynccontextmanager
async def other_system(answer: Any = b"<xml>reply</xml>") -> AsyncIterator[tuple[str, list[Any]]]:
    seen: list[Any] = []
    listener, port = bind_unused_port()
    server = HTTPServer(
        web.Application([(r"/.*", Other)], seen=seen, answer=answer, log_function=lambda _: None)
    )
    server.add_sockets([listener])
    try:
        yield f"http://127.0.0.1:{port}/wx?tenant=1", seen
    finally:
        server.stop()
        await server.close_all_connections()


@asynccontextmanager
async def forwarder(url: str, **options: Any) -> AsyncIterator[tuple[Forwarder, Supervisor]]:
    supervisor = Supervisor()
    async with make_transport(url) as client:
        yield Forwarder(client, supervisor, url, **options), supervisor
        await supervisor.close()


@pytest.mark.gen_test
async def test_forwarded_as_received() -> None:
    """The other system gets every byte and argument, and its answer comes back."""
    async with other_system() as (url, seen), forwarder(url) as (forward, _):
        answer = await forward.forward(QUERY, BODY, "text/xml")
        assert answer is not None
        assert (answer.body, answer.content_type) == (b"<xml>reply</xml>", "application/xml")
    (request,) = seen
    assert request.body == BODY
    assert request.headers["Content-Type"] == "text/xml"
    assert parse_qsl(request.query) == [("tenant", "1"), *parse_qsl(QUERY)]


@pytest.mark.gen_test
async def test_cookies_of_one_answer_are_not_sent_with_the_next_push() -> None:
    """The pushes are of many people: a session of the other system would be everybody's."""
    async with other_system() as (url, seen), forwarder(url) as (forward, _):
        for _ in range(2):
            await forward.forward(QUERY, BODY, "text/xml")
    assert [request.headers.get("Cookie") for request in seen] == [None, None]


@pytest.mark.parametrize("answer", [500, 404, 302, b"x" * (MAX_ANSWER_BYTES + 1), "hang"])
@pytest.mark.gen_test
async def test_no_answer_of_use(answer: Any, logs: Any) -> None:
    """Errors, redirects, floods and silence all become the server's own answer."""
    logs.expect("forward address")
    options = {"timeout_seconds": 0.2} if answer == "hang" else {}
    async with other_system(answer) as (url, _), forwarder(url, **options) as (forward, _):
        assert await forward.forward(QUERY, BODY, "text/xml") is None


@pytest.mark.gen_test
async def test_a_flood_leaves_no_generator_half_read(logs: Any) -> None:
    """httpx's are all closed when the call ends, and not by the garbage collector later on."""
    logs.expect("forward address")
    left: list[str] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(generator.__qualname__))
    try:
        async with other_system(b"x" * 8 * MAX_ANSWER_BYTES) as (url, _), forwarder(url) as (it, _):
            assert await it.forward(QUERY, BODY, "text/xml") is None
    finally:
        sys.set_asyncgen_hooks(*before)
    assert left == []


@pytest.mark.gen_test
async def test_longest_answer() -> None:
    """Exactly 64 KiB still pass."""
    async with other_system(b"x" * MAX_ANSWER_BYTES) as (url, _), forwarder(url) as (forward, _):
        answer = await forward.forward(QUERY, BODY, "text/xml")
        assert answer is not None and len(answer.body) == MAX_ANSWER_BYTES


@pytest.mark.gen_test
async def test_empty_answer() -> None:
    """An empty answer is an answer: WeChat takes it for success."""
    async with other_system(b"") as (url, _), forwarder(url) as (forward, _):
        answer = await forward.forward(QUERY, BODY, "")
        assert answer is not None and answer.body == b""


@pytest.mark.gen_test
async def test_no_server_there(logs: Any) -> None:
    """A system that is down is a line in the log without the address or its query."""
    logs.expect("forward address")
    listener, port = bind_unused_port()
    listener.close()
    async with forwarder(f"http://127.0.0.1:{port}/secret-path") as (forward, _):
        assert await forward.forward(QUERY, BODY, "text/xml") is None
    assert "signature" not in "".join(logs.lines) and "secret-path" not in "".join(logs.lines)


@pytest.mark.gen_test
async def test_rings_end(logs: Any) -> None:
    """Two servers that forward to one another stop after three hops."""
    logs.expect("not forwarded")
    async with other_system() as (url, seen), forwarder(url) as (forward, _):
        for hops in range(MOST_HOPS + 1):
            answer = await forward.forward(QUERY, BODY, "text/xml", hops=hops)
            assert (answer is None) is (hops == MOST_HOPS)
    assert [request.headers[HOPS_HEADER] for request in seen] == ["1", "2", "3"]


@pytest.mark.gen_test
async def test_copy() -> None:
    """A login is passed on without any caller waiting."""
    async with other_system() as (url, seen), forwarder(url) as (forward, supervisor):
        forward.copy_later(QUERY, BODY, "text/xml")
        assert seen == []
        await eventually(lambda: supervisor.running == 0)
    assert seen[0].body == BODY


@pytest.mark.gen_test
async def test_no_pile_up(logs: Any) -> None:
    """While the other system hangs, only so many wait for it."""
    logs.expect("forward")
    held = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        await held.wait()
        return httpx.Response(200)

    async with httpx.MockTransport(hang) as client:
        supervisor = Supervisor()
        forward = Forwarder(client, supervisor, "http://127.0.0.1/")
        for _ in range(200):
            forward.copy_later("a=1", b"", "")
        await eventually(lambda: forward._in_flight == 200)
        assert await forward.forward("a=1", b"", "") is None
        held.set()
        await eventually(lambda: supervisor.running == 0)
        assert await forward.forward("a=1", b"", "") is not None
