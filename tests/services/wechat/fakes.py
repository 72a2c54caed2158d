"""A WeChat behind httpx's MockTransport, with a switch for each thing that goes wrong."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from services.tasks import Supervisor
from services.wechat.access_token import (
    AccessTokenRecord,
    AuthorizedClient,
    MemoryAccessTokenStore,
    make_authorized_client,
)
from services.wechat.client import WeChatClient
from tests.clocks import StandingClock

APP_ID = "wx1234567890abcdef"
APP_SECRET = "0123456789abcdef0123456789abcdef"
API = "https://api.weixin.qq.com"
SPARE = "api2.weixin.qq.com"

Answer = dict[str, Any] | httpx.Response | Exception


class Seen:
    """One request as it arrived."""

    def __init__(self, request: httpx.Request) -> None:
        self.method = request.method
        self.host = request.url.host
        self.path = request.url.path
        self.raw_query = request.url.query.decode()
        self.query = dict(request.url.params)
        self.content_type = request.headers.get("Content-Type", "")
        self.raw = request.content
        self.body = json.loads(request.content) if request.content else None


class FakeWeChat:
    """Answers like the API hosts.

    Switches: `script` answers of a path (used up first to last, then the default), `unreachable`
    and `broken` hosts, `hanging` (until it is set), `busy` answers of -1 to come.
    """

    def __init__(self, clock: StandingClock) -> None:
        self.clock = clock
        self.seen: list[Seen] = []
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.unreachable: set[str] = set()
        self.broken: set[str] = set()
        self.hanging: asyncio.Event | None = None
        self.busy = 0
        self.tokens_made = 0
        self.token = ""
        self.token_ends = 0.0
        self.refused_tokens: set[str] = set()

    def asked(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    async def handle(self, request: httpx.Request) -> httpx.Response:
        seen = Seen(request)
        if seen.host in self.unreachable:
            raise httpx.ConnectError(f"no way to {request.url}", request=request)
        self.seen.append(seen)
        if self.hanging is not None:
            await self.hanging.wait()
        if seen.host in self.broken:
            raise httpx.ReadError(f"lost {request.url}", request=request)
        answer = self._answer(seen)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def _answer(self, seen: Seen) -> Answer:
        if self.busy:
            self.busy -= 1
            return {"errcode": -1, "errmsg": "system error"}
        if self.script[seen.path]:
            return self.script[seen.path].pop(0)
        if seen.path == "/cgi-bin/stable_token":
            return self._stable(seen.body["force_refresh"])
        if seen.path == "/cgi-bin/token":
            return self._new_token()
        if "access_token" in seen.query and seen.query["access_token"] in self.refused_tokens:
            return {"errcode": 40001, "errmsg": "invalid credential, access_token is invalid"}
        return {"errcode": 0, "errmsg": "ok"}

    def _stable(self, force: bool) -> Answer:
        left = self.token_ends - self.clock.now()
        if self.token and left >= 300 and not force:
            return {"access_token": self.token, "expires_in": int(left)}
        return self._new_token()

    def _new_token(self) -> Answer:
        self.tokens_made += 1
        self.token = f"TOKEN_{self.tokens_made}"
        self.token_ends = self.clock.now() + 7200
        return {"access_token": self.token, "expires_in": 7200}


class FaultyStore(MemoryAccessTokenStore):
    """A store shared by nodes; `fail` makes its operations raise that error."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: Exception | None = None

    async def load(self, key: str) -> AccessTokenRecord | None:
        if self.fail is not None:
            raise self.fail
        return await super().load(key)


class Bench:
    """Everything one test needs, taken apart at its end."""

    def __init__(self, **options: Any) -> None:
        self.clock = StandingClock()
        self.wechat = FakeWeChat(self.clock)
        self.store = FaultyStore()
        self.supervisor = Supervisor()
        self.http = httpx.MockTransport(self.wechat.handle)
        self.client = WeChatClient(
            self.http,
            options.pop("api_base", API),
            self.clock,
            timeout_seconds=options.pop("timeout_seconds", 5),
            busy_pauses=(0.0, 0.0),
            **options,
        )

    def authorized(self, credential: Any = "stable") -> AuthorizedClient:
        """A node's client with access_token; all of them share the bench's store."""
        return make_authorized_client(
            self.client,
            self.store,
            self.clock,
            self.supervisor,
            app_id=APP_ID,
            app_secret=APP_SECRET,
            credential=credential,
        )

    async def close(self) -> None:
        await self.supervisor.close()
        await self.http.aclose()


@asynccontextmanager
async def bench(**options: Any):
    """A `Bench` that is closed whatever happens."""
    made = Bench(**options)
    try:
        yield made
    finally:
        await made.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
