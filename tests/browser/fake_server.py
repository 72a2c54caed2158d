"""A scanpush in memory, with a switch for every fault a page must survive.

It speaks the contract of the scene routes (begin, socket, poll, ack, cancel, register) and serves
the pages under the same Content-Security-Policy, with Trusted Types besides, so that page tests
can have exact faults that the real server has only rarely. ``python -m
tests.browser.fake_server`` prints its port.

Switches, set by ``POST /fake``: ``begin`` and ``poll`` (a status and an error code to answer with),
``socket`` (``open``, ``refuse``, ``hang`` or ``mute``), ``long_poll`` (``serve`` or ``cut``),
``scene_seconds``, ``qr_seconds``, ``poll_interval``, ``retry_after``, ``simulated``, ``kinds``,
``site``, ``logo``, ``colours``, ``terms``, ``privacy``, ``account_name``, ``account_qr``,
``kiosk_secret`` (that which a screen has),
``screen`` (what the operator did to it, told with its scenes), ``pairing`` (a status to answer
with), ``pair_seconds``, ``overview`` (members of the operator's overview in place of its own),
``audit`` (whether the routes of audit, events and users exist).
``POST /fake/screen`` is what the operator does to a screen, told at once; ``POST /fake/pair`` pairs
it. ``POST /fake/scene`` moves a scene, ``POST /fake/close`` closes its sockets with a code,
``GET /fake/log`` tells what arrived.
"""

import asyncio
import base64
import io
import json
import secrets
import time
import uuid
from typing import Any

import segno
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from handlers.assets import static_assets
from handlers.pages import page_policy
from services.scenes.pictures import picture_source
from services.wechat.replies import language

TRUSTED_TYPES = "; require-trusted-types-for 'script'; trusted-types 'none'"
KIOSK_SECRET = "a-secret-for-the-lobby"
RIGHT_NUMBER = "42"
BRAND = ("site", "logo", "colours", "terms", "privacy")
FINAL = {"consumed", "expired", "denied", "cancelled", "failed"}
DEFAULTS: dict[str, Any] = {
    "begin": None,
    "poll": None,
    "socket": "open",
    "long_poll": "serve",
    "scene_seconds": 180,
    "qr_seconds": 150,
    "poll_interval": 1,
    "retry_after": None,
    "simulated": False,
    "kinds": "official_account code",
    "register_error": None,
    "site": "示例站点",
    "logo": "",
    "colours": "",
    "terms": "",
    "privacy": "",
    "number_error": None,
    "kiosk_secret": KIOSK_SECRET,
    "screen": None,
    "pairing": None,
    "pair_seconds": 600,
    "overview": {},
    "audit": False,
    "account_name": "",
    "account_qr": "",
}


class Scene:
    """One scene: its status document, its sockets and the long polls that wait for news."""

    def __init__(self, switches: dict[str, Any], wish: dict[str, Any]) -> None:
        self.scene_str = str(uuid.uuid4())
        self.watch_token = secrets.token_urlsafe(32)
        self.kind = wish.get("kind") or "official_account"
        self.kiosk = wish.get("kiosk")
        self.switches = switches
        self.state, self.seq, self.extra = "waiting", 1, {}
        self.ends = time.time() + switches["scene_seconds"]
        self.qr_seconds = switches["qr_seconds"]
        self.poll_interval = switches["poll_interval"]
        self.sockets: list[Any] = []
        self.held: set[Any] = set()
        self.news = asyncio.Event()

    def begun(self, origin: str) -> dict[str, Any]:
        at = f"/api/scenes/{self.scene_str}"
        document: dict[str, Any] = {
            "scene_str": self.scene_str,
            "watch_token": self.watch_token,
            "state": "waiting",
            "seq": 1,
            "expires_in": round(self.ends - time.time(), 3),
            "ws": f"/ws/{self.scene_str}",
            "status": at,
            "poll_interval": self.poll_interval,
        }
        if self.kind in ("official_account", "web"):
            content = f"http://weixin.qq.com/q/02{self.scene_str[:20]}"
            if self.kind == "web":
                content = f"{origin}/oauth/wechat/start?scene={self.scene_str}"
            document["qr"] = {"content": content, "svg": f"{at}/qr.svg", "png": f"{at}/qr.png"}
        if self.kind == "mini_program":
            document["qr"] = {"png": f"{at}/qr.png"}
        if "qr" in document:
            document["qr"]["expires_in"] = self.qr_seconds
        if self.screen():
            document["screen"] = self.screen()
        if self.kind == "code":
            document["code"] = "402917"
        if self.kind == "website":
            document["start"] = f"/oauth/website/start?scene={self.scene_str}"
        return document

    def status(self) -> dict[str, Any]:
        left = max(0, round(self.ends - time.time(), 3))
        head = {"type": "status", "scene_str": self.scene_str, "state": self.state}
        screen = {"screen": self.screen()} if self.screen() else {}
        return {**head, "seq": self.seq, "expires_in": left, **self.extra, **screen}

    def screen(self) -> dict[str, Any] | None:
        """What the operator did to the kiosk that shows this scene."""
        return self.switches["screen"] if self.kiosk else None

    def move(self, state: str, seconds: float = 60, **extra: Any) -> None:
        self.state, self.seq, self.extra = state, self.seq + 1, extra
        self.ends = time.time() + seconds
        self.wake()
        for socket in list(self.sockets):
            socket.tell()

    def wake(self) -> None:
        """Have the long polls answered."""
        self.news.set()
        self.news = asyncio.Event()

    def settle(self) -> None:
        if self.state not in FINAL and time.time() >= self.ends:
            self.move("expired")

    def ack(self, seq: int) -> bool:
        if self.state == "authorized" and seq == self.seq:
            self.move("consumed")
        return self.state == "consumed"


def make_token(subject: str, simulated: bool) -> str:
    """A token of the right shape. Its signature is rubbish: pages never verify it."""
    now = int(time.time())
    claims = {
        "iss": "http://fake",
        "sub": subject,
        "aud": "scanpush",
        "iat": now,
        "nbf": now,
        "exp": now + 7200,
        "jti": secrets.token_urlsafe(12),
        "account": "default",
        "amr": ["simulated"] if simulated else ["wechat"],
    }
    parts = [{"alg": "ES256", "kid": "fake-1", "typ": "JWT"}, claims]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts
    ]
    return ".".join([*encoded, secrets.token_urlsafe(64)])


class World:
    """Everything the fake knows."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.switches = dict(DEFAULTS)
        self.scenes: dict[str, Scene] = {}
        self.log: list[str] = []
        self.polled_at: list[float] = []
        self.pages: list[str | None] = []
        self.pairs: dict[str, Pair] = {}


class Pair:
    """A code that a screen shows, until the operator gives it a secret or it ends."""

    def __init__(self, seconds: float) -> None:
        self.code = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8))
        self.ends = time.time() + seconds
        self.given: dict[str, str] | None = None


class Base(RequestHandler):
    world: World

    def initialize(self, world: World) -> None:
        self.world = world

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE")
        self.set_header("Access-Control-Expose-Headers", "Retry-After")

    def options(self, *_: str) -> None:
        self.world.log.append("preflight")
        self.set_status(204)

    def body(self) -> dict[str, Any]:
        return json.loads(self.request.body or b"{}")

    def fail(self, status: int, code: str, field: str | None = None) -> None:
        self.set_status(status)
        if self.world.switches["retry_after"] and status in (429, 503):
            self.set_header("Retry-After", str(self.world.switches["retry_after"]))
        self.finish(
            {"error": {"code": code, "message": code, **({"field": field} if field else {})}}
        )

    def scene(self, scene_str: str) -> Scene | None:
        scene = self.world.scenes.get(scene_str)
        wanted = f"Bearer {scene.watch_token}" if scene else ""
        if scene is None or self.request.headers.get("Authorization") != wanted:
            self.fail(401, "unauthorized")
            return None
        scene.settle()
        return scene


class Scenes(Base):
    def post(self) -> None:
        self.world.log.append("begin")
        if self.world.switches["begin"]:
            return self.fail(*self.world.switches["begin"])
        wish = self.body()
        bearer = self.request.headers.get("Authorization")
        if wish.get("kiosk") and bearer != f"Bearer {self.world.switches['kiosk_secret']}":
            return self.fail(401, "unauthorized")
        self.world.pages.append(wish.get("page"))
        scene = Scene(self.world.switches, wish)
        self.world.scenes[scene.scene_str] = scene
        self.set_status(201)
        self.finish(scene.begun(f"http://{self.request.host}"))


class Status(Base):
    async def get(self, scene_str: str) -> None:
        wait = float(self.get_query_argument("wait", "0"))
        self.world.log.append("long_poll" if wait else "poll")
        if not wait:
            self.world.polled_at.append(time.monotonic())
        if self.world.switches["poll"]:
            return self.fail(*self.world.switches["poll"])
        if wait and self.world.switches["long_poll"] == "cut":
            return self.fail(504, "cut")
        scene = self.scene(scene_str)
        if scene is None:
            return
        if wait and int(self.get_query_argument("seq", str(scene.seq))) >= scene.seq:
            await self.news(scene, wait)
        self.finish(scene.status())

    async def news(self, scene: Scene, wait: float) -> None:
        scene.held.add(self)
        try:
            await asyncio.wait_for(scene.news.wait(), min(wait, 25))
        except TimeoutError:
            scene.settle()
        finally:
            scene.held.discard(self)

    def on_connection_close(self) -> None:
        # The page has gone: it hears nothing, though its poll still waits.
        for scene in self.world.scenes.values():
            scene.held.discard(self)

    def delete(self, scene_str: str) -> None:
        self.world.log.append("cancel")
        scene = self.scene(scene_str)
        if scene is None:
            return
        if scene.state not in FINAL:
            scene.move("cancelled")
        self.set_status(204)


class Pairing(Base):
    """``/api/kiosks/pair`` (docs/contract.md), with an interval of a second."""

    def post(self) -> None:
        self.world.log.append("pair")
        if self.world.switches["pairing"]:
            return self.fail(self.world.switches["pairing"], "not_found")
        seconds, token = self.world.switches["pair_seconds"], secrets.token_urlsafe(32)
        pair = self.world.pairs[token] = Pair(seconds)
        self.set_status(201)
        self.finish({"code": pair.code, "pair_token": token, "expires_in": seconds, "interval": 1})

    def get(self) -> None:
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        pair = self.world.pairs.get(token)
        if pair is None:
            return self.fail(401, "unauthorized")
        if self.get_query_argument("again", "") != "1":
            return self.fail(400, "bad_request")  # a lost answer would cost the secret
        if pair.given:
            del self.world.pairs[token]
            return self.finish(pair.given)
        if time.time() >= pair.ends:
            return self.fail(410, "gone")
        self.set_status(202)
        self.finish({"interval": 1})


class PairPicture(Base):
    """``GET /api/kiosks/pair/qr.svg``, which says in a title what it holds."""

    def get(self) -> None:
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        address = f"http://{self.request.host}/operator#pair={self.world.pairs[token].code}"
        picture = io.BytesIO()
        segno.make(address).save(
            picture, kind="svg", xmldecl=False, svgns=True, omitsize=True, title=address
        )
        self.set_header("Content-Type", "image/svg+xml")
        self.finish(picture.getvalue())


class Picture(Base):
    """``GET /api/scenes/<scene_str>/qr.png`` and ``.svg``, public as on the real server."""

    def get(self, scene_str: str, kind: str) -> None:
        self.world.log.append("picture")
        scene = self.world.scenes.get(scene_str)
        if scene is None or scene.state != "waiting":
            return self.fail(404, "not_found")
        picture = io.BytesIO()
        segno.make(scene_str).save(picture, kind=kind, scale=8)
        self.set_header("Content-Type", {"png": "image/png", "svg": "image/svg+xml"}[kind])
        self.finish(picture.getvalue())


class Ack(Base):
    def post(self, scene_str: str) -> None:
        self.world.log.append("ack by post")
        scene = self.scene(scene_str)
        if scene is None:
            return
        if not scene.ack(self.body()["seq"]):
            return self.fail(409, "stale_seq")
        self.set_status(204)


def gone(written: "asyncio.Future[None]") -> None:
    """A page that left while it was being written to: nothing to do."""
    if not written.cancelled():
        written.exception()


class Number(Base):
    """What was typed; `RIGHT_NUMBER` logs in."""

    def post(self, scene_str: str) -> None:
        said = self.body()
        if self.world.switches["number_error"]:
            status, code = self.world.switches["number_error"]
            self.world.switches["number_error"] = None
            return self.fail(status, code)
        scene = self.scene(scene_str)
        if scene is None:
            return
        self.world.log.append(f"number {said['number']}")
        if said["seq"] != scene.seq or scene.extra.get("confirm") != "number":
            return self.fail(409, "stale_seq")
        if said["number"] == RIGHT_NUMBER:
            key = {"exchange_code": "xc_fake"} if scene.kiosk else {}
            scene.move("authorized", **(key or login_of(self.world, "王小明")))
        else:
            scene.move("denied")
        self.set_status(204)


class Socket(WebSocketHandler):
    def initialize(self, world: World) -> None:
        self.world = world

    async def get(self, *args: Any, **kwargs: Any) -> None:
        self.world.log.append("socket")
        how = self.world.switches["socket"]
        if how == "hang":
            await asyncio.sleep(3600)
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        scene = self.world.scenes.get(self.path_args[0])
        if how == "refuse" or scene is None or f"watch.{scene.watch_token}" not in offered:
            raise HTTPError(403)
        self.scene = scene
        await super().get(*args, **kwargs)

    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str:
        return "scanpush.v1"

    def open(self, *_: str) -> None:
        for older in self.scene.sockets:
            older.close(4409)
        self.scene.sockets = [self]
        self.scene.settle()
        self.tell()

    def tell(self) -> None:
        if self.world.switches["socket"] == "mute":
            return
        try:
            self.write_message(json.dumps(self.scene.status())).add_done_callback(gone)
        except WebSocketClosedError:
            return
        if self.scene.state in FINAL:
            self.close(4408 if self.scene.state == "expired" else 1000)

    def on_message(self, message: str | bytes) -> None:
        said = json.loads(message)
        self.world.log.append(f"{said['type']} by socket")
        if said["type"] == "ack":
            self.scene.ack(said["seq"])

    def on_close(self) -> None:
        if self in self.scene.sockets:
            self.scene.sockets.remove(self)


class Register(Base):
    def post(self) -> None:
        said = self.body()
        if self.world.switches["register_error"]:
            status, code, field = self.world.switches["register_error"]
            self.world.switches["register_error"] = None
            return self.fail(status, code, field)
        scene = self.world.scenes[said["registration_token"]]
        scene.move("authorized", login=login_of(self.world, said["name"])["login"])
        self.finish({"state": "authorized"})


class Me(Base):
    def get(self) -> None:
        self.finish(
            {
                "id": "usr_7Hq2",
                "name": "王小明",
                "avatar": "",
                "account": "default",
                "created_at": int(time.time()) - 86400 * 40,
                "last_login_at": int(time.time()),
            }
        )


OPERATOR_TOKEN = "a-token-for-the-operator"


def hour_of_a_cluster(now: float) -> dict[str, Any]:
    logins = [round(60 + 50 * ((i * 7) % 13) / 13) for i in range(60)]
    series = {
        "shown": [2 * n for n in logins],
        "scanned": logins,
        "authorized": logins,
        "consumed": logins,
        "failed": [i % 5 for i in range(60)],
        "denied": [i % 3 for i in range(60)],
        "callbacks": [n + 4 for n in logins],
        "refused": [2] * 60,
        "errors": [0] * 58 + [2, 1],
        "sockets": [18000 + 10 * i for i in range(60)],
        "store_ms": [0.4 + i % 7 / 10 for i in range(60)],
    }
    return {"from": 60 * (now // 60 - 59), "series": series}


class Overview(Base):
    """``GET /api/operator/overview``, with figures that never change but by a switch."""

    def get(self) -> None:
        if self.request.headers.get("Authorization") != f"Bearer {OPERATOR_TOKEN}":
            return self.fail(401, "unauthorized")
        sockets = sum(len(scene.sockets) for scene in self.world.scenes.values())
        self.finish(
            {**cluster(time.time(), sockets), **self.world.switches["overview"]},
        )


def cluster(now: float, sockets: int) -> dict[str, Any]:
    """Three nodes, of which one leaves, and a fourth that is gone."""
    latency = {
        "callback": {"p50_ms": 1.2, "p90_ms": 2.1, "p99_ms": 3.8, "count": 5480},
        "push": {"p50_ms": 0.4, "p90_ms": 0.9, "p99_ms": 12, "count": 5402},
    }
    stores = [
        {
            "store": store,
            "engine": engine,
            "up": True,
            "answered_at": now - 2,
            "median_ms": 0.4,
            "most_ms": 1.7,
        }
        for store, engine in (("scenes", "Redis"), ("users", "MongoDB"), ("broker", "Redis"))
    ]
    scene_str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    story = [("made", "", 40), ("shown", "socket", 39.5), ("scanned", "", 31)]
    return {
        "now": now,
        "version": "0.1.0",
        "backend": "distributed",
        "simulated": False,
        "node_id": "node-a",
        "sockets": 18432 + sockets,
        "waiting_polls": 211,
        "scenes": {"waiting": 18604, "scanned": 12, "confirming": 3, "consumed": 241},
        "logins_per_minute": [round(60 + 50 * ((i * 7) % 13) / 13) for i in range(60)],
        "funnel": {
            "window_seconds": 3600,
            "shown": 9120,
            "scanned": 5480,
            "authorized": 5402,
            "consumed": 5399,
        },
        "latency": latency,
        "wechat": [
            {
                "account": "default",
                "credential_expires_in": 5412,
                "codes_left": 90880,
                "errors": {"40001": 2, "45009": 1},
            },
            {
                "account": "shop",
                "credential_expires_in": 640,
                "codes_left": None,
                "errors": {},
            },
        ],
        "nodes": [
            {
                "node_id": name,
                "sockets": 6144,
                "uptime_seconds": 93600,
                "version": "0.1.0",
                "draining": name == "node-c",
            }
            for name in ("node-a", "node-b", "node-c")
        ],
        "hour": hour_of_a_cluster(now),
        "callbacks": [
            {
                "account": "shop",
                "outcome": "signature",
                "count": 120,
                "last_at": now - 20,
                "refused": True,
            },
            {
                "account": "default",
                "outcome": "logged_in",
                "count": 5402,
                "last_at": now - 1,
                "refused": False,
            },
            {
                "account": "default",
                "outcome": "ignored",
                "count": 311,
                "last_at": now - 9,
                "refused": False,
            },
        ],
        "errors": [
            {
                "account": "default",
                "errcode": 45009,
                "count": 1,
                "last_at": now - 30,
                "meaning": "daily quota used up",
                "action": "alarm",
                "alarming": True,
            },
            {
                "account": "default",
                "errcode": 40001,
                "count": 2,
                "last_at": now - 1800,
                "meaning": "access_token invalid, or wrong secret",
                "action": "refresh",
                "alarming": False,
            },
        ],
        "failures": [
            {
                "at": now - 30,
                "scene_str": scene_str,
                "state": "failed",
                "error": "banned",
                "kind": "official_account",
                "account": "default",
                "kiosk": "lobby3",
                "node": "node-b",
                "timeline": [
                    {"at": now - before, "event": event, "note": note, "node": "node-a"}
                    for event, note, before in (*story, ("failed", "banned", 30))
                ],
            },
            {
                "at": now - 200,
                "scene_str": scene_str.replace("3f25", "4a01"),
                "state": "expired",
                "error": "",
                "left_in": "registering",
                "kind": "code",
                "account": "default",
                "kiosk": "",
                "node": "node-b",
                "timeline": [
                    {"at": now - 200, "event": "expired", "note": "by time", "node": "node-b"}
                ],
            },
        ],
        "reports": [
            {
                "node_id": name,
                "told_at": now - (400 if name in ("node-d", "node-e") else 2),
                "gone": name in ("node-d", "node-e"),
                "ended": name == "node-e",
                "hour": {
                    "shown": 3040,
                    "authorized": 1800,
                    "failed": 40,
                    "callbacks": 1900,
                    "refused": 40,
                    "errors": 1,
                },
                "scenes": {"waiting": 6201, "scanned": 4, "consumed": 80},
                "credentials": {"default": 5412},
                "latency": latency,
                "stores": stores,
            }
            for name in ("node-a", "node-b", "node-c", "node-d", "node-e")
        ],
    }


PERSON = {
    "id": "usr_7Hq2",
    "name": "王小明",
    "account": "default",
    "banned": False,
    "created_at": 1_790_000_000,
    "last_login_at": 1_795_000_000,
}


class Errors(Base):
    """``GET /operator/errors``: one row of docs/zh-CN/errors.md."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("| 45009 | 当天额度用完 | alarm | `wechat_quota` |\n")


class Operators(Base):
    """The routes of audit, events and users, where the switch ``audit`` is on; what was asked is
    in the log, and a person who is deleted is found no more."""

    def prepare(self) -> None:
        super().prepare()
        if not self.world.switches["audit"]:
            self.fail(404, "not_found")
        elif self.request.headers.get("Authorization") != f"Bearer {OPERATOR_TOKEN}":
            self.fail(401, "unauthorized")
        else:
            self.world.log.append(f"{self.request.method} {self.request.uri}")

    def get(self, path: str) -> None:
        cursor = self.get_query_argument("cursor", "")
        entry = {
            "id": "1",
            "at": 1_795_000_000,
            "type": "login",
            "outcome": "failed",
            "user": "usr_7Hq2",
            "person": None,
            "account": "default",
            "kind": "official_account",
            "screen": "lobby3",
            "scene": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "session": None,
            "detail": "page two" if cursor else "banned",
        }
        if path == "audit" and self.get_query_argument("format", "") == "jsonl":
            self.finish(json.dumps(entry) + "\n" + json.dumps(entry) + "\n")
        elif path == "audit":
            self.finish({"entries": [entry], "cursor": None if cursor else "next"})
        elif path == "events/dead":
            event = {"id": "e1", "type": "login", "at": 1_795_000_000, "tries": 9, "data": {}}
            self.finish({"events": [{**event, "error": "503 of the receiver"}], "cursor": None})
        elif path == "users":
            found = not self.get_query_argument("id", "").startswith("-")
            found = found and "DELETE" not in str(self.world.log)
            self.finish({"users": [PERSON] if found else [], "cursor": None})
        else:
            self.finish({"id": "usr_7Hq2"})

    def post(self, path: str) -> None:
        if path == "events/send":
            self.finish({"sent": 1})
        else:
            self.set_status(204)

    def delete(self, path: str) -> None:
        self.set_status(204)


class Kiosks(Base):
    """``GET /api/operator/kiosks``: a screen that is up, one that is not, one that never was."""

    def get(self) -> None:
        now = time.time()
        unknown = {
            "keypad": False,
            "configured": False,
            "paired_at": now - 900,
            "up": False,
            "last_seen_at": None,
            "page": "",
            "browser": "",
            "transport": "",
            "code_age_seconds": None,
            "notice": "",
            "replacing_secret": False,
        }
        seen = {"page": "0.1.0", "transport": "socket", "browser": "Chrome, Linux"}
        hall = {"last_seen_at": now - 7200, "page": "0.0.9", "notice": "今天下午三点闭馆"}
        kiosks = [
            {**unknown, "name": "foyer", "label": ""},
            {**unknown, **seen, "name": "hall", "label": "一层大厅", **hall},
            {
                **unknown,
                **seen,
                "name": "lobby3",
                "label": "三号大厅",
                "configured": True,
                "paired_at": None,
                "up": True,
                "last_seen_at": now,
                "code_age_seconds": 754,
            },
        ]
        self.finish({"kiosks": kiosks})


class Timeline(Base):
    """``GET /api/operator/scenes/<scene_str>``: the story that support needs."""

    def get(self, scene_str: str) -> None:
        if scene_str not in self.world.scenes:
            return self.fail(404, "not_found")
        start = time.time() - 30
        story = [
            (0, "made", "qrcode/create 180 ms"),
            (0.21, "shown", "socket"),
            (9.4, "scanned", "callback 1 of 3"),
            (9.403, "authorized", "known person"),
            (9.41, "delivered", "socket, seq 3"),
            (9.46, "acked", ""),
            (14.4, "callback", "2 of 3, duplicate"),
        ]
        self.finish(
            {
                "scene_str": scene_str,
                "node_id": "node-a",
                "state": "consumed",
                "kind": "official_account",
                "account": "default",
                "created_at": start,
                "timeline": [
                    {"at": start + at, "event": event, "note": note, "node": "node-a"}
                    for at, event, note in story
                ],
            }
        )


def login_of(world: World, name: str) -> dict[str, Any]:
    token = make_token("usr_7Hq2", world.switches["simulated"])
    user = {"id": "usr_7Hq2", "is_new": False}
    login = {"token": token, "token_type": "Bearer", "expires_in": 7200, "user": user}
    return {"user": {"name": name, "avatar": ""}, "login": login}


class Control(Base):
    """``POST /fake``: set switches; ``{"reset": true}`` forgets everything first."""

    def post(self) -> None:
        said = self.body()
        if said.pop("reset", False):
            self.world.reset()
        self.world.switches.update(said)
        self.finish({"ok": True})


class ControlScene(Base):
    """``POST /fake/scene``: move the newest scene (or the `nth`, or `scene_str`), or forget it."""

    def post(self) -> None:
        said = self.body()
        if "scene_str" in said:
            scene = self.world.scenes[said.pop("scene_str")]
        else:
            scene = list(self.world.scenes.values())[said.pop("nth", -1)]
        state = said.pop("state")
        if state == "forgotten":
            del self.world.scenes[scene.scene_str]
            for socket in scene.sockets:
                socket.close(1011)
        else:
            name = said.pop("login", None)
            if state == "authorized":
                key = {"exchange_code": "xc_fake"} if scene.kiosk else {}
                refresh = said.pop("refresh_token", None)
                said = {**said, **(key or login_of(self.world, name or "王小明"))}
                if refresh:
                    said["login"]["refresh_token"] = refresh
            if state == "registering":
                said["registration_token"] = scene.scene_str
            scene.move(state, **said)
        self.finish({"ok": True})


class ControlScreen(Base):
    """``POST /fake/screen``: what is told by sockets now, and by polls and begins from now on."""

    def post(self) -> None:
        said = self.body()
        self.world.switches["screen"] = {**(self.world.switches["screen"] or {}), **said}
        for scene in self.world.scenes.values():
            scene.wake()
            for socket in scene.sockets:
                socket.write_message(json.dumps({"type": "screen", **said}))
        self.finish({"ok": True})


class ControlPair(Base):
    """``POST /fake/pair``: the operator gives the screen that shows a code its name and secret."""

    def post(self) -> None:
        said = self.body()
        code = said.pop("code")
        pair = next(p for p in self.world.pairs.values() if p.code == code)
        pair.given = said
        self.world.switches["kiosk_secret"] = said["secret"]
        self.finish({"ok": True})


class ControlClose(Base):
    """``POST /fake/close``: close every socket with a code; 1006 drops the connection."""

    def post(self) -> None:
        code = self.body()["code"]
        for scene in self.world.scenes.values():
            for socket in list(scene.sockets):
                if code == 1006:
                    socket.ws_connection.client_terminated = True
                    socket.ws_connection.stream.close()
                else:
                    socket.close(code)
        self.finish({"ok": True})


class Log(Base):
    def get(self) -> None:
        scenes = [scene.status() for scene in self.world.scenes.values()]
        open_sockets = sum(len(scene.sockets) for scene in self.world.scenes.values())
        self.finish(
            {
                "log": self.world.log,
                "polled_at": self.world.polled_at,
                "scenes": scenes,
                "sockets": open_sockets,
                "pages": self.world.pages,
                "held": sum(len(scene.held) for scene in self.world.scenes.values()),
            }
        )


class Page(Base):
    """A page of `static/` as the real handler sends it, with Trusted Types besides."""

    def initialize(self, world: World, name: str = "") -> None:
        super().initialize(world)
        self.name = name

    def get(self) -> None:
        switches = self.world.switches
        lang = language(self.request.headers.get("Accept-Language", ""))
        lang = self.get_query_argument("lang", "") or self.get_cookie("lang") or lang
        facts = {
            "simulated": str(switches["simulated"]).lower(),
            **{name: switches[name] for name in BRAND},
            "account_name": switches["account_name"],
            "account_qr": picture_source(qr) if (qr := switches["account_qr"]) else "",
            "phone": "",
            "kinds": switches["kinds"],
        }
        page = static_assets().page(self.name, lang, facts)
        policy = page_policy(self.request.host, page.script_hashes, page.style_hashes)
        self.set_header("Content-Security-Policy", policy + TRUSTED_TYPES)
        self.finish(page.body)


EMBEDDING_PAGE = """<!doctype html><html lang="en"><title>Shop</title>{head}<body>
<h1>Shop</h1><scan-login id="scan" {attributes}></scan-login>
<script type="module" src="{server}/static/scan-login.js"></script></body></html>"""


class Embed(Base):
    """A strict foreign site: no inline code, no markup by scripts, no style source at all, only
    the fake server named.

    `server` is where the element comes from; the page itself is asked under another host name.
    `policy` replaces the site's policy, and `head` is put into the head of the page.
    """

    def get(self) -> None:
        server = self.get_query_argument("server")
        socket = server.replace("http", "ws", 1)
        policy = (
            f"default-src 'none'; script-src {server}; connect-src {server} {socket}; "
            f"img-src {server}; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        self.set_header("Content-Security-Policy", self.get_query_argument("policy", policy))
        attributes = self.get_query_argument("attributes", "")
        head = self.get_query_argument("head", "")
        self.finish(EMBEDDING_PAGE.format(server=server, attributes=attributes, head=head))


class Files(Base):
    """``/static/...``; nothing is kept, so that tests can break a file at any time."""

    def get(self, path: str) -> None:
        asset, _ = static_assets().find(path)
        if asset is None:
            raise HTTPError(404)
        self.set_header("Content-Type", asset.content_type)
        self.finish(asset.body)


def quiet(_: RequestHandler) -> None:
    """Refusals are this server's purpose: nothing to log."""


def make_app(world: World) -> Application:
    """The routes, all over one world."""
    it = {"world": world}
    return Application(
        [
            (r"/", Page, {**it, "name": "index"}),
            (r"/kiosk", Page, {**it, "name": "kiosk"}),
            (r"/operator", Page, {**it, "name": "operator"}),
            (r"/api/scenes", Scenes, it),
            (r"/api/scenes/([^/]+)", Status, it),
            (r"/api/scenes/([^/]+)/ack", Ack, it),
            (r"/api/scenes/([^/]+)/number", Number, it),
            (r"/api/scenes/([^/]+)/qr\.(png|svg)", Picture, it),
            (r"/api/kiosks/pair", Pairing, it),
            (r"/api/kiosks/pair/qr\.svg", PairPicture, it),
            (r"/api/register", Register, it),
            (r"/api/me", Me, it),
            (r"/ws/([^/]+)", Socket, it),
            (r"/operator/errors", Errors, it),
            (r"/api/operator/overview", Overview, it),
            (r"/api/operator/(audit|events/.*|users|users/.*)", Operators, it),
            (r"/api/operator/scenes/([^/]+)", Timeline, it),
            (r"/api/operator/kiosks", Kiosks, it),
            (r"/embed", Embed, it),
            (r"/fake", Control, it),
            (r"/fake/scene", ControlScene, it),
            (r"/fake/screen", ControlScreen, it),
            (r"/fake/pair", ControlPair, it),
            (r"/fake/close", ControlClose, it),
            (r"/fake/log", Log, it),
            (r"/static/(.*)", Files, it),
        ],
        log_function=quiet,
    )


async def main() -> None:
    """Serve on a port of the system's choice until the parent ends this process."""
    [listener] = bind_sockets(0, "127.0.0.1")
    HTTPServer(make_app(World())).add_socket(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
