"""A whole visit as one would first build it: web.Application, WebSocketHandler, httpx, aiosqlite.

The yardstick for scanpush's rates: the same steps with the same cryptography (services/wechat
/crypto.py and ES256), but Tornado's own handlers, one httpx client, and one autocommitted statement
after the other. WeChat is asked for each scene's code and for the unionid of each new person. It
has no limits, Origin checks, logs, metrics or retries, and its access_token never ends, so it is
flattered. Routes and messages are those of scanpush that a login needs.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import aiosqlite
import httpx
import jwt
import tornado.httpserver
import tornado.web
import tornado.websocket
import xmltodict
from cryptography.hazmat.primitives.asymmetric import ec

from bench.callbacks import ACCOUNT, APP_ID, CALLBACK_TOKEN, ENCODING_AES_KEY
from bench.peers import common
from services.wechat import crypto

SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
CREATE TABLE scenes(scene_str TEXT PRIMARY KEY, watch_hash BLOB, state TEXT, seq INTEGER,
                    ends_at REAL, openid TEXT, user_id TEXT, claims TEXT);
CREATE TABLE users(openid TEXT PRIMARY KEY, user_id TEXT, created_at REAL, last_login_at REAL,
                   logins INTEGER, unionid TEXT);
CREATE TABLE outcomes(key TEXT PRIMARY KEY, reply TEXT, ends_at REAL);
"""
LIFE_SECONDS = 1800
ACCESS_TOKEN = "A" * 136
"""As long as WeChat's are."""
TOKEN_SECONDS = 7200
REPLY = (
    "<xml><ToUserName><![CDATA[{openid}]]></ToUserName><FromUserName><![CDATA[{account}]]>"
    "</FromUserName><CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
    "<Content><![CDATA[Logged in.]]></Content></xml>"
)
SEALED = (
    "<xml><Encrypt><![CDATA[{text}]]></Encrypt><MsgSignature><![CDATA[{signature}]]>"
    "</MsgSignature><TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
)


class Site:
    """What the handlers share."""

    def __init__(self, database: aiosqlite.Connection, wechat: httpx.AsyncClient) -> None:
        self.database = database
        self.wechat = wechat
        self.cipher = crypto.Cipher(ENCODING_AES_KEY, APP_ID)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.sockets: dict[str, "Socket"] = {}

    async def one(self, statement: str, *values: Any) -> Any:
        """One statement, autocommitted; its first row, or None."""
        rows = list(await self.database.execute_fetchall(statement, values))
        return rows[0] if rows else None

    async def ask(self, method: str, path: str, query: dict[str, str], body: Any = None) -> Any:
        """WeChat's answer to one call."""
        query = {"access_token": ACCESS_TOKEN, **query}
        return (await self.wechat.request(method, path, params=query, json=body)).json()

    def mint(self, claims: dict[str, Any]) -> str:
        """The JWT of these claims."""
        return jwt.encode(claims, self.key, "ES256", headers={"kid": "bench"})


class Scenes(tornado.web.RequestHandler):
    """POST /api/scenes, with a code of WeChat's."""

    def initialize(self, site: Site) -> None:
        self.site = site

    async def post(self) -> None:
        scene_str, watch_token = str(uuid.uuid4()), secrets.token_urlsafe(32)
        watch_hash = hashlib.sha256(watch_token.encode()).digest()
        code = await self.site.ask(
            "POST",
            "/cgi-bin/qrcode/create",
            {},
            {
                "expire_seconds": LIFE_SECONDS,
                "action_name": "QR_STR_SCENE",
                "action_info": {"scene": {"scene_str": scene_str}},
            },
        )
        await self.site.one(
            "INSERT INTO scenes VALUES (?,?,'waiting',1,?,NULL,NULL,NULL)",
            scene_str,
            watch_hash,
            time.time() + LIFE_SECONDS,
        )
        self.set_status(201)
        self.write(
            {
                "scene_str": scene_str,
                "watch_token": watch_token,
                "state": "waiting",
                "qr": {"content": code["url"]},
            }
        )


class Socket(tornado.websocket.WebSocketHandler):
    """GET /ws/<scene_str> with the watch token among the subprotocols."""

    def initialize(self, site: Site) -> None:
        self.site = site

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "scanpush.v1" if "scanpush.v1" in subprotocols else None

    async def get(self, scene_str: str) -> None:
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(", ")
        tokens = [offer[6:] for offer in offered if offer.startswith("watch.")]
        row = await self.site.one("SELECT watch_hash FROM scenes WHERE scene_str=?", scene_str)
        given = hashlib.sha256((tokens or [""])[0].encode()).digest()
        if row is None or not hmac.compare_digest(given, row[0]):
            raise tornado.web.HTTPError(403)
        await super().get(scene_str)

    def open(self, scene_str: str) -> None:
        # Two small messages in a row would otherwise wait 40 ms for each other (Nagle's algorithm).
        self.set_nodelay(True)
        self.scene_str = scene_str
        self.site.sockets[scene_str] = self
        self.send_status("waiting", 1)

    def send_status(self, state: str, seq: int, **more: Any) -> None:
        """Write a status document."""
        status = {"type": "status", "scene_str": self.scene_str, "state": state, "seq": seq}
        self.write_message(json.dumps({**status, "expires_in": 60, **more}))

    async def on_message(self, message: str | bytes) -> None:
        document = json.loads(message)
        if document.get("type") != "ack":
            self.close(4400)
            return
        row = await self.site.one(
            "UPDATE scenes SET state='consumed', seq=seq+1 "
            "WHERE scene_str=? AND state='authorized' AND seq=? RETURNING seq",
            self.scene_str,
            document["seq"],
        )
        if row is not None:
            self.send_status("consumed", row[0])
            self.close(1000)

    def on_close(self) -> None:
        if self.site.sockets.get(self.scene_str) is self:
            del self.site.sockets[self.scene_str]


class Callback(tornado.web.RequestHandler):
    """POST /wechat/callback in safe mode."""

    def initialize(self, site: Site) -> None:
        self.site = site

    async def post(self) -> None:
        outer = xmltodict.parse(self.request.body)["xml"]
        encrypted = outer["Encrypt"]
        timestamp, nonce = self.get_query_argument("timestamp"), self.get_query_argument("nonce")
        given = self.get_query_argument("msg_signature")
        if not crypto.signature_matches(given, CALLBACK_TOKEN, timestamp, nonce, encrypted):
            raise tornado.web.HTTPError(403)
        event = xmltodict.parse(self.site.cipher.decrypt(encrypted))["xml"]
        await self._login(event)
        await self._reply(event["FromUserName"], timestamp, nonce)

    async def _login(self, event: dict[str, str]) -> None:
        site, openid = self.site, event["FromUserName"]
        scene_str = event["EventKey"].removeprefix("qrscene_")
        scanned = await site.one(
            "UPDATE scenes SET state='scanned', seq=seq+1, openid=? "
            "WHERE scene_str=? AND state='waiting' RETURNING seq",
            openid,
            scene_str,
        )
        if scanned is None:
            return
        now = time.time()
        user = await site.one(
            "INSERT INTO users VALUES (?,?,?,?,1,NULL) ON CONFLICT(openid) DO UPDATE SET "
            "last_login_at=excluded.last_login_at, logins=logins+1 RETURNING user_id, logins",
            openid,
            str(uuid.uuid4()),
            now,
            now,
        )
        if user[1] == 1:
            person = await site.ask("GET", "/cgi-bin/user/info", {"openid": openid})
            await site.one("UPDATE users SET unionid=? WHERE openid=?", person["unionid"], openid)
        claims = {"iss": "bench", "sub": user[0], "aud": "scanpush", "iat": int(now),
                  "nbf": int(now), "exp": int(now) + TOKEN_SECONDS, "account": "default",
                  "jti": secrets.token_hex(16), "amr": ["wechat"]}  # fmt: skip
        seq = await site.one(
            "UPDATE scenes SET state='authorized', seq=seq+1, user_id=?, claims=? "
            "WHERE scene_str=? AND state='scanned' RETURNING seq",
            user[0],
            json.dumps(claims),
            scene_str,
        )
        key = f"{openid}/{event['CreateTime']}/{event['Event']}/{event['EventKey']}"
        await site.one("INSERT INTO outcomes VALUES (?,'logged in',?)", key, now + 60)
        socket = site.sockets.get(scene_str)
        if socket is not None:
            login = {"token": site.mint(claims), "token_type": "Bearer", "expires_in": 7200,
                     "user": {"id": user[0], "is_new": user[1] == 1}}  # fmt: skip
            socket.send_status("authorized", seq[0], login=login)

    async def _reply(self, openid: str, timestamp: str, nonce: str) -> None:
        text = REPLY.format(openid=openid, account=ACCOUNT, now=int(time.time()))
        sealed = self.site.cipher.encrypt(text.encode(), secrets.token_bytes(16))
        signature = crypto.signature(CALLBACK_TOKEN, timestamp, nonce, sealed)
        self.set_header("Content-Type", "text/xml")
        self.write(
            SEALED.format(text=sealed, signature=signature, timestamp=timestamp, nonce=nonce)
        )


async def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--wechat", required=True, help="the address of WeChat's API")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        async with (
            aiosqlite.connect(Path(directory) / "stock.db", isolation_level=None) as database,
            httpx.AsyncClient(base_url=options.wechat, trust_env=False) as wechat,
        ):
            await database.executescript(SCHEMA)
            await serve(options.port, Site(database, wechat))


async def serve(port: int, site: Site) -> None:
    """Until SIGTERM."""
    shared = {"site": site}
    application = tornado.web.Application(
        [
            (r"/api/scenes", Scenes, shared),
            (r"/ws/([^/]+)", Socket, shared),
            (r"/wechat/callback", Callback, shared),
        ],
        log_function=lambda handler: None,
    )
    listener = common.listen(port)
    server = tornado.httpserver.HTTPServer(application)
    server.add_sockets([listener])
    common.ready(ws=common.port_of(listener), push=common.port_of(listener))
    await common.until_terminated()
    server.stop()
    for socket in list(site.sockets.values()):
        socket.close(1001)
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
