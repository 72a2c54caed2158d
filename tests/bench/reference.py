"""A tiny scanpush with its simulator, kept in memory, that can be told to misbehave.

The kit's counts are tested against it: a server that never loses anything cannot show that losses
are counted. `python -m tests.bench.reference [--fault NAME]` prints `ready {"http": PORT}`.
"""

import argparse
import asyncio
import json
import secrets
import signal
import uuid

import tornado.web
import tornado.websocket

HELD_BACK = ("confirming", "registering", "failed")
"""States that a scan may end in by the server's settings; each is a fault, too."""

FAULTS = (
    *HELD_BACK,
    "none",
    "lose",
    "misdeliver",
    "again",
    "limit",
    "drop",
    "refuse",
    "real",
    "slow",
    "never_closes",
    "site",
)
SITE = "https://shop.example.com"
"""Whose pages log in here under the fault `site`."""

LIMIT = 5
"""Scenes that may be begun under the fault `limit`."""

SLOW_SECONDS = 0.5
"""What an upgrade takes under the fault `slow`."""


class World:
    """Scenes and sockets."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.port = 0
        self.tokens: dict[str, str] = {}
        self.sockets: dict[str, "Socket"] = {}


class Handler(tornado.web.RequestHandler):
    def initialize(self, world: World) -> None:
        self.world = world

    def is_of_another_site(self) -> bool:
        """Under the fault `site` only pages of one other site may log in here."""
        return self.world.fault == "site" and self.request.headers.get("Origin") != SITE


class Health(Handler):
    def get(self) -> None:
        self.write("ok")


class Scenes(Handler):
    def post(self) -> None:
        if self.is_of_another_site():
            raise tornado.web.HTTPError(403)
        if self.world.fault == "limit" and len(self.world.tokens) >= LIMIT:
            self.set_status(429)
            self.write({"error": {"code": "rate_limited", "message": "too many"}})
            return
        scene_str, token = str(uuid.uuid4()), secrets.token_urlsafe(32)
        self.world.tokens[scene_str] = token
        host = f"http://127.0.0.1:{self.world.port}"
        if self.world.fault == "real":
            host = "https://mp.weixin.qq.com"
        self.set_status(201)
        image = f"{host}/cgi-bin/showqrcode?ticket=t"
        self.write(
            {"scene_str": scene_str, "watch_token": token, "qr": {"wechat_image": image}}
        )  # fmt: skip


class Scene(Handler):
    def delete(self, scene_str: str) -> None:
        self.world.tokens.pop(scene_str, None)
        self.set_status(204)


class Scan(Handler):
    def post(self) -> None:
        document = json.loads(self.request.body)
        if "person" not in document or self.world.fault == "refuse":
            self.set_status(400)
            self.write({"error": "no person"})
            return
        socket = self.world.sockets.get(document["scene_str"])
        if socket is not None and self.world.fault in HELD_BACK:
            error = {"error": {"code": "not_registered"}} if self.world.fault == "failed" else {}
            socket.tell(self.world.fault, 2, **error)
        elif socket is not None and self.world.fault != "lose":
            socket.tell("authorized", 2, login={"token": "t"})
        self.write({})


class Socket(Handler, tornado.websocket.WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "scanpush.v1"

    async def get(self, scene_str: str) -> None:
        if self.is_of_another_site():
            raise tornado.web.HTTPError(403)
        header = self.request.headers.get("Sec-WebSocket-Protocol", "")
        offered = [name.strip() for name in header.split(",")]
        if f"watch.{self.world.tokens.get(scene_str)}" not in offered:
            raise tornado.web.HTTPError(403)
        if self.world.fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        await super().get(scene_str)

    async def open(self, scene_str: str) -> None:
        self.scene_str = scene_str
        self.world.sockets[scene_str] = self
        self.tell("waiting", 1)
        if self.world.fault == "drop":
            self.close(1011)
        if self.world.fault == "never_closes":
            # Tornado reads no frame before this returns, not even the close of the page.
            await asyncio.Event().wait()

    def tell(self, state: str, seq: int, **more: object) -> None:
        scene_str = self.scene_str
        if self.world.fault == "misdeliver" and more:
            scene_str = str(uuid.uuid4())
        document = {"type": "status", "scene_str": scene_str, "state": state, "seq": seq}
        self.write_message(json.dumps({**document, **more}))

    def on_message(self, message: str | bytes) -> None:
        self.tell("consumed", 3)
        if self.world.fault == "again":
            self.tell("authorized", 2, login={"token": "t"})
        self.close(1000)

    def on_close(self) -> None:
        self.world.sockets.pop(self.scene_str, None)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", choices=FAULTS, default="none")
    world = World(parser.parse_args().fault)
    shared = {"world": world}
    application = tornado.web.Application(
        [
            (r"/healthz", Health, shared),
            (r"/api/scenes", Scenes, shared),
            (r"/api/scenes/([^/]+)", Scene, shared),
            (r"/simulator/scan", Scan, shared),
            (r"/ws/([^/]+)", Socket, shared),
        ],
        log_function=lambda handler: None,
    )
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    tornado.httpserver.HTTPServer(application).add_sockets(sockets)
    world.port = sockets[0].getsockname()[1]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", json.dumps({"http": world.port}), flush=True)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
