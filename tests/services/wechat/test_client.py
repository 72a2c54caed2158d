"""One call to WeChat: its time, its second host, its errors, and what they do not tell."""

import asyncio
import logging
import traceback
from typing import Any

import httpx
import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from services.errors import WeChatError, WeChatRefused, WeChatUnavailable
from services.http_client import make_transport
from services.wechat.client import MAX_ANSWER_BYTES, WeChatClient, scrubbed, spare_of
from services.wechat.errcodes import TABLE, Action
from tests.clocks import StandingClock
from tests.services.wechat.fakes import API, SPARE, bench, eventually

QUERY = {"access_token": "SECRETSECRETSECRETSECRETSECRET"}
PATH = "/cgi-bin/some/thing"


async def ask(client: WeChatClient, **options: Any) -> dict[str, Any]:
    return await client.json("GET", PATH, query=QUERY, **options)


@pytest.mark.gen_test
async def test_plain_answer() -> None:
    """The decoded answer of HTTP 200, with the arguments in the query."""
    async with bench() as b:
        b.wechat.script[PATH] = [{"a": 1}]
        assert await ask(b.client) == {"a": 1}
        assert b.wechat.seen[0].query == QUERY


@pytest.mark.gen_test
async def test_json_body_in_utf8() -> None:
    """Chinese text is sent as it is, not as escapes that older interfaces show literally."""
    async with bench() as b:
        await b.client.json("POST", PATH, query={}, body={"name": "登录"})
        assert b.wechat.seen[0].raw == '{"name": "登录"}'.encode()
        assert b.wechat.seen[0].content_type == "application/json"


@pytest.mark.gen_test
async def test_lenient_decoding() -> None:
    """text/plain, control characters in a name and a broken letter are all still read."""
    content = b'{"nickname": "a\x01\nb\xff", "errcode": "0"}'
    async with bench() as b:
        b.wechat.script[PATH] = [
            httpx.Response(200, content=content, headers={"Content-Type": "text/plain"})
        ]
        assert (await ask(b.client))["nickname"] == "a\x01\nb\ufffd"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={"errcode": 0}),
        httpx.Response(404),
        httpx.Response(302, headers={"Location": "https://example.org/"}),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(200, json={"errcode": {"a": 1}}),
        httpx.Response(200, content=b"x", headers={"Content-Encoding": "gzip"}, request=None),
        httpx.RemoteProtocolError("rubbish"),
        httpx.ReadTimeout("slow"),
        OSError("odd"),
    ],
    ids=repr,
)
@pytest.mark.gen_test
async def test_rubbish(answer: Any) -> None:
    """Whatever is no answer is one error."""
    async with bench(spare_base="") as b:
        b.wechat.script[PATH] = [answer]
        with pytest.raises(WeChatUnavailable):
            await ask(b.client)


@pytest.mark.gen_test
async def test_endless_answer() -> None:
    """An answer that is too long is not read to its end."""
    async with bench() as b:
        b.wechat.script[PATH] = [httpx.Response(200, content=b"x" * (MAX_ANSWER_BYTES + 1))]
        with pytest.raises(WeChatUnavailable):
            await ask(b.client)


@pytest.mark.parametrize(
    "row",
    [r for r in TABLE.values() if r.action not in (Action.PAGE, Action.RETRY)],
    ids=lambda r: str(r.errcode),
)
@pytest.mark.gen_test
async def test_every_errcode(row: Any, logs: Any) -> None:
    """Each errcode becomes its refusal; what the operator must mend is an error in the log."""
    async with bench() as b:
        logs.expect(rf"ERROR WeChat refuses: .*\(errcode {row.errcode}\)")
        b.wechat.script[PATH] = [{"errcode": row.errcode, "errmsg": "no"}] * 2
        for _ in range(2):
            with pytest.raises(WeChatRefused) as caught:
                await ask(b.client)
            assert (caught.value.errcode, caught.value.code) == (row.errcode, row.code)
        assert len(logs.lines) == row.alarming
        assert len(b.wechat.seen) == 2


@pytest.mark.gen_test
async def test_busy_is_asked_again() -> None:
    """-1 twice, then an answer: the caller notices nothing."""
    async with bench() as b:
        b.wechat.busy = 2
        assert (await ask(b.client))["errcode"] == 0
        assert len(b.wechat.seen) == 3


@pytest.mark.parametrize(("repeatable", "tries"), [(True, 3), (False, 1)])
@pytest.mark.gen_test
async def test_busy_for_ever(repeatable: bool, tries: int) -> None:
    """Three tries and no more; a call that must not be repeated is not."""
    async with bench() as b:
        b.wechat.busy = 9
        with pytest.raises(WeChatUnavailable):
            await ask(b.client, repeatable=repeatable)
        assert len(b.wechat.seen) == tries


@pytest.mark.gen_test
async def test_time_out() -> None:
    """A host that never answers ends with the time-out."""
    async with bench(timeout_seconds=0.05, spare_base="") as b:
        b.wechat.hanging = asyncio.Event()
        with pytest.raises(WeChatUnavailable, match="time-out"):
            await ask(b.client)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.gen_test
async def test_stand_in_when_unreachable(repeatable: bool, logs: Any) -> None:
    """Nothing was sent, so even a call that must not be repeated goes to api2."""
    logs.expect("API host cannot be reached")
    async with bench() as b:
        b.wechat.unreachable = {"api.weixin.qq.com"}
        await ask(b.client, repeatable=repeatable)
        assert [seen.host for seen in b.wechat.seen] == [SPARE]


@pytest.mark.gen_test
async def test_unreachable_host_is_avoided_for_a_while(logs: Any) -> None:
    """For a minute the stand-in is asked first; then the nearest host again."""
    logs.expect("API host cannot be reached")
    async with bench() as b:
        b.wechat.unreachable = {"api.weixin.qq.com"}
        await ask(b.client)
        b.wechat.unreachable = set()
        await ask(b.client)
        b.clock.seconds = 61
        await ask(b.client)
        assert [seen.host for seen in b.wechat.seen] == [SPARE, SPARE, "api.weixin.qq.com"]


@pytest.mark.parametrize(("repeatable", "hosts"), [(True, 2), (False, 1)])
@pytest.mark.gen_test
async def test_broken_after_sending(repeatable: bool, hosts: int) -> None:
    """Once bytes were sent, only what may be repeated goes to the other host."""
    async with bench() as b:
        b.wechat.broken = {"api.weixin.qq.com", SPARE}
        with pytest.raises(WeChatUnavailable):
            await ask(b.client, repeatable=repeatable)
        assert len(b.wechat.seen) == hosts


@pytest.mark.gen_test
async def test_both_unreachable(logs: Any) -> None:
    """Without any host the error is the same as for one."""
    logs.expect("API host cannot be reached")
    async with bench() as b:
        b.wechat.unreachable = {"api.weixin.qq.com", SPARE}
        with pytest.raises(WeChatUnavailable):
            await ask(b.client)


@pytest.mark.gen_test
async def test_errcodes_do_not_switch_hosts() -> None:
    """A refusal is an answer: the other host would say the same."""
    async with bench() as b:
        b.wechat.script[PATH] = [{"errcode": 45011, "errmsg": "no"}]
        with pytest.raises(WeChatRefused):
            await ask(b.client)
        assert len(b.wechat.seen) == 1


@pytest.mark.gen_test
async def test_foreign_host_has_no_stand_in() -> None:
    """A simulator or proxy that is down is down."""
    async with bench(api_base="http://127.0.0.1:1") as b:
        b.wechat.unreachable = {"127.0.0.1"}
        with pytest.raises(WeChatUnavailable):
            await ask(b.client)
        assert b.wechat.seen == []


def test_stand_ins() -> None:
    """Only WeChat's own nearest host has one."""
    assert spare_of(API) == "https://api2.weixin.qq.com"
    assert spare_of("https://sh.api.weixin.qq.com") == ""
    assert spare_of("http://127.0.0.1:8080") == ""


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("x " + QUERY["access_token"]),
        httpx.ReadError("x " + QUERY["access_token"]),
        httpx.UnsupportedProtocol("x " + QUERY["access_token"]),
        {"errcode": 45011, "errmsg": "bad access_token " + QUERY["access_token"] + " rid: 1"},
        {"errcode": -1, "errmsg": QUERY["access_token"]},
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.gen_test
async def test_errors_hold_no_secret(fault: Any, logs: Any) -> None:
    """Neither the text nor the traceback of an error shows the query or what WeChat echoes."""
    logs.expect("API host cannot be reached")
    async with bench(spare_base="") as b:
        b.wechat.script[PATH] = [fault] * 3
        with pytest.raises(WeChatError) as caught:
            await ask(b.client)
    shown = "".join(traceback.format_exception(caught.value))
    assert QUERY["access_token"] not in shown
    assert caught.value.__cause__ is None


def test_errmsg_keeps_its_rid() -> None:
    """Support asks for the rid, which is no secret; long words may be one."""
    text = "invalid\n credential 0123456789abcdef0123456789abcdef rid: 60aca0ce-220f3372-6945f8d5"
    assert scrubbed(text) == "invalid credential *** rid: 60aca0ce-220f3372-6945f8d5"
    assert scrubbed(None) == ""
    assert len(scrubbed("a " * 5000)) <= 300


@pytest.mark.gen_test
async def test_httpx_does_not_log_addresses(caplog: pytest.LogCaptureFixture) -> None:
    """httpx would log each address with its query at INFO."""
    caplog.set_level(logging.DEBUG)
    async with bench() as b:
        await ask(b.client)
    assert QUERY["access_token"] not in caplog.text


@pytest.mark.gen_test
async def test_real_sockets() -> None:
    """Many calls at once over real connections, spread over pools, all answered."""
    served: list[str] = []

    class Handler(web.RequestHandler):
        async def get(self) -> None:
            served.append(self.request.path)
            await asyncio.sleep(0)
            self.write({"errcode": 0})

    listener, port = bind_unused_port()
    server = HTTPServer(web.Application([(r"/.*", Handler)]))
    server.add_sockets([listener])
    async with make_transport(f"http://127.0.0.1:{port}") as http:
        client = WeChatClient(http, f"http://127.0.0.1:{port}", StandingClock(), timeout_seconds=20)
        await asyncio.gather(*(ask(client) for _ in range(40)))
    server.stop()
    await server.close_all_connections()
    assert served == [PATH] * 40


@pytest.mark.gen_test
async def test_no_server_listens() -> None:
    """A refused connection is an error of the contract."""
    listener, port = bind_unused_port()
    listener.close()
    base = f"http://127.0.0.1:{port}"
    async with make_transport(base) as http:
        with pytest.raises(WeChatUnavailable, match="ConnectError"):
            await ask(WeChatClient(http, base, StandingClock(), timeout_seconds=5))


@pytest.mark.gen_test
async def test_cancelled_caller() -> None:
    """A caller that gives up first (a callback's own deadline) is not held."""
    async with bench(spare_base="") as b:
        b.wechat.hanging = asyncio.Event()
        task = asyncio.ensure_future(ask(b.client))
        await eventually(lambda: bool(b.wechat.seen))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
