"""The mini program's simulated page calls its server as a real one would."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from simulator import SimulatedWeChat, SimulatorConfig
from simulator.config import MINI_PROGRAM_APP_ID
from tests.simulator.conftest import Caller


class _Recorder(RequestHandler):
    """Records what the mini program sends; a scene named "gone" is refused."""

    calls: list[tuple[str, dict[str, object]]] = []

    def post(self, action: str) -> None:
        document = json.loads(self.request.body)
        self.calls.append((action, document))
        if document["scene"] == "gone":
            self.set_status(409)
            self.write({"error": {"code": "already_claimed", "message": ""}})
        else:
            self.write({"state": "scanned"})


@pytest.fixture
def page(io_loop: IOLoop) -> Iterator[Caller]:
    """A simulator whose mini program talks to a small recording server."""
    _Recorder.calls = []
    routes = [(r"/api/miniprogram/(scan|confirm)", _Recorder)]
    server = HTTPServer(Application(routes, log_function=lambda handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    config = replace(SimulatorConfig.generated("", server_url=url), push_timeout_seconds=0.2)
    wechat = SimulatedWeChat(config)
    wechat.start()
    caller = Caller(wechat)
    yield caller
    io_loop.run_sync(caller.http.aclose)
    io_loop.run_sync(wechat.stop)
    server.stop()
    io_loop.run_sync(server.close_all_connections)


@pytest.mark.gen_test
@pytest.mark.parametrize("allow", ["1", "0"])
async def test_open_then_decide(page: Caller, allow: str) -> None:
    """Opening tells the server of the scan, deciding of the decision, each with a fresh code."""
    url = f"{page.wechat.phone_base}/m/{MINI_PROGRAM_APP_ID}?scene=abc"
    await page.http.post(url, data={"step": "open", "person": "alice", "allow": "1"})
    await page.http.post(url, data={"step": "decide", "person": "alice", "allow": allow})
    (scan, first), (confirm, second) = _Recorder.calls
    assert (scan, confirm, first["scene"]) == ("scan", "confirm", "abc")
    assert second["allow"] is (allow == "1") and first["code"] != second["code"]


@pytest.mark.gen_test
async def test_refusal_is_shown(page: Caller) -> None:
    """What the server refuses is shown with its code."""
    url = f"{page.wechat.phone_base}/m/{MINI_PROGRAM_APP_ID}?scene=gone"
    answer = await page.http.post(url, data={"step": "open", "person": "alice", "allow": "1"})
    assert "already_claimed" in answer.text
