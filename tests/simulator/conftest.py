"""A simulated WeChat and a tiny callback server that records and can be told what to answer."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import xmltodict
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from services.wechat.crypto import Cipher, signature
from simulator import SimulatedAccount, SimulatedWeChat, SimulatorConfig
from simulator.messages import xml_document


@dataclass
class Push:
    """One request that the callback server received."""

    query: dict[str, str]
    body: str
    content_type: str

    def message(self, account: SimulatedAccount) -> dict[str, Any]:
        """The message inside, decrypted and its signature checked where it is encrypted."""
        document: dict[str, Any] = xmltodict.parse(self.body)["xml"]
        if "Encrypt" not in document:
            return document
        query, encrypt = self.query, document["Encrypt"]
        parts = (account.callback_token, query["timestamp"], query["nonce"], encrypt)
        assert signature(*parts) == query["msg_signature"]
        opened = Cipher(account.encoding_aes_key, account.app_id).decrypt(encrypt)
        inner: dict[str, Any] = xmltodict.parse(opened)["xml"]
        return inner


class CallbackServer:
    """Records pushes. `answer` makes each body; `status` and `hang` are the faults."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.answer: Callable[[Push], str] = lambda push: "success"
        self.statuses: list[int] = []
        self.hang = 0
        self.release = asyncio.Event()
        self.url = ""
        self.arrived = asyncio.Condition()

    async def received(self, count: int) -> None:
        """Wait until so many pushes came; five seconds at most."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.pushes) >= count)


class _Callback(RequestHandler):
    def initialize(self, server: CallbackServer) -> None:
        self.server = server

    def get(self) -> None:
        self.write(self.get_query_argument("echostr"))

    async def post(self) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        kind = self.request.headers.get("Content-Type", "")
        push = Push(query, self.request.body.decode(), kind)
        async with self.server.arrived:
            self.server.pushes.append(push)
            self.server.arrived.notify_all()
        if self.server.hang:
            self.server.hang -= 1
            await self.server.release.wait()
        if self.server.statuses:
            self.set_status(self.server.statuses.pop(0))
        self.write(self.server.answer(push))


def passive_reply(account: SimulatedAccount, push: Push, text: str, encrypt: bool = True) -> str:
    """The reply document an honest server would give to this push."""
    fields: dict[str, str | int] = {
        "ToUserName": push.message(account)["FromUserName"],
        "FromUserName": account.original_id,
        "CreateTime": 1_700_000_000,
        "MsgType": "text",
        "Content": text,
    }
    if not encrypt:
        return xml_document(fields)
    cipher = Cipher(account.encoding_aes_key, account.app_id)
    sealed = cipher.encrypt(xml_document(fields).encode(), b"0123456789abcdef")
    return xml_document(
        {
            "Encrypt": sealed,
            "MsgSignature": signature(account.callback_token, "1700000000", "7", sealed),
            "TimeStamp": 1_700_000_000,
            "Nonce": "7",
        }
    )


@pytest.fixture
def server(io_loop: IOLoop) -> Iterator[CallbackServer]:
    """The callback server, listening."""
    recorder = CallbackServer()
    routes = [(r"/callback", _Callback, {"server": recorder})]
    application = Application(routes, log_function=lambda handler: None)
    http = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")

    async def listen() -> None:
        http.add_sockets(sockets)

    async def close() -> None:
        recorder.release.set()
        http.stop()
        await http.close_all_connections()

    io_loop.run_sync(listen)
    recorder.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/callback"
    yield recorder
    io_loop.run_sync(close)


@pytest.fixture
def make_wechat(
    io_loop: IOLoop, server: CallbackServer
) -> Iterator[Callable[..., SimulatedWeChat]]:
    """Starts simulated WeChats; keywords change the account's or the world's settings."""
    started: list[SimulatedWeChat] = []

    def make(**changes: Any) -> SimulatedWeChat:
        config = SimulatorConfig.generated(server.url)
        known = set(SimulatedAccount.__dataclass_fields__)
        own = {key: value for key, value in changes.items() if key in known}
        world = {key: value for key, value in changes.items() if key not in known}
        world.setdefault("push_timeout_seconds", 0.2)
        config = replace(config, accounts=(replace(config.accounts[0], **own),), **world)
        wechat = SimulatedWeChat(config)
        wechat.start()
        started.append(wechat)
        return wechat

    yield make
    for wechat in started:
        io_loop.run_sync(wechat.stop)


@pytest.fixture
def wechat(make_wechat: Callable[..., SimulatedWeChat]) -> SimulatedWeChat:
    """One simulated WeChat as it comes."""
    return make_wechat()


class Caller:
    """Calls WeChat's interfaces as a server would, with the account's credential."""

    def __init__(self, wechat: SimulatedWeChat) -> None:
        self.wechat = wechat
        self.account = wechat.config.accounts[0]
        self.http = httpx.AsyncClient(timeout=10, trust_env=False)

    async def token(self, **changes: Any) -> dict[str, Any]:
        body = {
            "grant_type": "client_credential",
            "appid": self.account.app_id,
            "secret": self.account.app_secret,
        }
        url = f"{self.wechat.api_base}/cgi-bin/stable_token"
        answer: dict[str, Any] = (await self.http.post(url, json=body | changes)).json()
        return answer

    async def post(self, path: str, body: Any, **query: str) -> dict[str, Any]:
        """POST with a credential; gives the JSON."""
        query = {"access_token": (await self.token())["access_token"]} | query
        url = f"{self.wechat.api_base}{path}"
        answer: dict[str, Any] = (await self.http.post(url, params=query, json=body)).json()
        return answer

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        query = {"access_token": (await self.token())["access_token"]} | query
        answer = await self.http.get(f"{self.wechat.api_base}{path}", params=query)
        document: dict[str, Any] = answer.json()
        return document

    async def code(self, scene: str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301") -> dict[str, Any]:
        """A temporary code of this scene, for five minutes."""
        body = {
            "expire_seconds": 300,
            "action_name": "QR_STR_SCENE",
            "action_info": {"scene": {"scene_str": scene}},
        }
        return await self.post("/cgi-bin/qrcode/create", body)

    async def control(self, path: str, body: Any) -> httpx.Response:
        return await self.http.post(f"{self.wechat.url}/simulator/{path}", json=body)


@pytest.fixture
def caller(io_loop: IOLoop, wechat: SimulatedWeChat) -> Iterator[Caller]:
    """A caller of `wechat`."""
    caller = Caller(wechat)
    yield caller
    io_loop.run_sync(caller.http.aclose)
