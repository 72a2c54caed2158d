"""What all of WeChat's interfaces share: faults, errcodes with status 200, credentials."""

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Literal

from tornado.httputil import format_timestamp
from tornado.web import RequestHandler

from simulator.config import SimulatedAccount, SimulatedApp, networks
from simulator.faults import Fault
from simulator.people import Person
from simulator.refusals import Refusal, refusal_document
from simulator.world import World

Needs = Literal["", "verified", "service", "verified service"]

GARBAGE = b"<html><body><h1>upstream request time-out</h1></body></html>"
JSON = "application/json; encoding=utf-8"
PLAIN = "text/plain"


class WeChatHandler(RequestHandler):
    """One interface of WeChat. Subclasses say their host, method and needs, and `call`.

    Every errcode is answered as JSON with status 200, as WeChat does.
    """

    host: ClassVar[str] = "api"
    method: ClassVar[str] = "GET"
    content_type: ClassVar[str] = JSON
    world: World

    def initialize(self, world: World) -> None:
        self.world = world
        self._fault: Fault | None = None

    def set_default_headers(self) -> None:
        """The Date by the simulator's clock. Tornado asks for it before `initialize`, too."""
        world = getattr(self, "world", None)
        if world is not None and world.clock.is_turned:  # else Tornado has set the same
            self.set_header("Date", format_timestamp(world.clock.now()))

    @property
    def wechat_path(self) -> str:
        """The path as on WeChat's own host."""
        return "/" + self.request.path.split("/", 2)[2]

    async def prepare(self) -> None:
        self.set_default_headers()
        # Before anything is checked: calls that are refused count, too.
        fault = self._fault = self.world.faults.called(self.host, self.wechat_path)
        if fault is None:
            return
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.spoils and fault.when == "before":
            self._spoil(fault)

    async def get(self, *_: str) -> None:
        await self._serve("GET")

    async def post(self, *_: str) -> None:
        await self._serve("POST")

    async def put(self, *_: str) -> None:
        await self._serve("PUT")

    async def patch(self, *_: str) -> None:
        await self._serve("PATCH")

    async def delete(self, *_: str) -> None:
        await self._serve("DELETE")

    async def _serve(self, method: str) -> None:
        if self.method not in ("", method):
            raise Refusal(43002 if self.method == "POST" else 43001)
        await self.call()

    async def call(self) -> None:
        """Do what the interface does and `answer`; raise `Refusal` for an errcode."""
        raise NotImplementedError

    def answer(self, document: Mapping[str, Any]) -> None:
        """Answer with JSON as WeChat writes it: UTF-8, nothing escaped."""
        # Half of a surrogate pair, which JSON may hold and UTF-8 may not, becomes a question mark.
        text = json.dumps(document, ensure_ascii=False)
        self.give(text.encode("utf-8", "replace"), self.content_type)

    def give(self, body: bytes, content_type: str) -> None:
        """Answer with these bytes, unless a fault spoils the answer."""
        fault = self._fault
        # By now the call has had its effect: a code is used, a quota spent.
        if fault is not None and fault.spoils and fault.when == "after":
            self._spoil(fault)
            return
        self.set_header("Content-Type", (fault and fault.content_type) or content_type)
        self.finish(body)

    def _spoil(self, fault: Fault) -> None:
        if fault.drop or fault.cut:
            # Tornado would close in good order; the caller has to see the connection break.
            stream = self.detach()
            if fault.cut:
                stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + b'{"errcode": ')
            stream.close()
            return
        self.set_header("Content-Type", fault.content_type or self.content_type)
        if fault.errcode is not None:
            self.finish(self._refusal_json(Refusal(fault.errcode)))
            return
        self.set_status(fault.status or 200)
        self.finish(GARBAGE if fault.body is None else fault.body)

    def _refusal_json(self, refusal: Refusal) -> bytes:
        return json.dumps(
            refusal_document(refusal, self.world.clock.now(), self.world.rng), ensure_ascii=False
        ).encode()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        # Tornado calls this for any exception; only a Refusal is WeChat's own answer.
        if isinstance(error, Refusal):
            self.set_status(200)
            self.set_header("Content-Type", self.content_type)
            self.finish(self._refusal_json(error))
        else:
            self.finish(f"{status_code}\n")

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """An errcode is an ordinary answer, not a failure of the simulator."""
        if not isinstance(value, Refusal):
            super().log_exception(typ, value, tb)

    def json_body(self) -> dict[str, Any]:
        """The request's JSON object, whatever its Content-Type.

        Raises:
            Refusal: 44002 for no body at all, else 47001.
        """
        if not self.request.body:
            raise Refusal(44002)
        try:
            document = json.loads(self.request.body)
        # A deep nesting ends Python's recursion.
        except (ValueError, RecursionError):
            raise Refusal(47001) from None
        if not isinstance(document, dict):
            raise Refusal(47001)
        return document

    def owner_of(
        self, arguments: Mapping[str, Any], secret_needed: bool = True
    ) -> SimulatedAccount | SimulatedApp:
        """The app that ``appid`` and ``secret`` name.

        Raises:
            Refusal: 41002, 40013, 41004, 40125.
        """
        app_id, secret = arguments.get("appid"), arguments.get("secret")
        if not app_id:
            raise Refusal(41002)
        app = self.world.app(str(app_id))
        if app is None:
            raise Refusal(40013)
        if secret_needed:
            if not secret:
                raise Refusal(41004)
            if secret != app.app_secret:
                raise Refusal(40125)
        return app

    def unionid(self, app_id: str, person: Person) -> dict[str, str]:
        """The field of an answer: WeChat leaves it out where the app is bound to nothing."""
        app = self.world.app(app_id)
        unionid = self.world.people.unionid(person, app.open_platform if app else "")
        return {"unionid": unionid} if unionid else {}

    def query(self) -> dict[str, str]:
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}

    def check_address(self, app: SimulatedAccount | SimulatedApp) -> None:
        """The app's IP allow list, where it has one.

        Raises:
            Refusal: 40164, naming the address.
        """
        if not app.ip_allow_list:
            return
        address = ipaddress.ip_address(self.request.remote_ip or "")
        # A socket for both families shows an IPv4 address as a mapped one.
        plain = getattr(address, "ipv4_mapped", None) or address
        if not any(plain in network for network in networks(app.ip_allow_list)):
            shown = f"::ffff:{plain}" if plain.version == 4 else str(plain)
            raise Refusal(40164, f"invalid ip {plain} ipv6 {shown}, not in whitelist")


class UnknownHandler(WeChatHandler):
    """Any other path of the host: 40066 by every method."""

    method = ""

    async def call(self) -> None:
        raise Refusal(40066)


class CredentialHandler(WeChatHandler):
    """An interface that is called with an access_token.

    `needs` is what the account must be: "" anything, "verified", "service" (or verified), or
    "verified service"; mini programs may call what is not only for accounts.
    """

    needs: ClassVar[Needs] = ""
    for_mini_programs: ClassVar[bool] = False

    async def call(self) -> None:
        # WeChat takes it from the query only, also of a POST.
        app_id = self.world.tokens.owner(self.get_query_argument("access_token", ""))
        app = self.world.app(app_id)
        if app is None:
            raise Refusal(40013)
        # The list of an account holds for every call, that of a mini program for its secret only.
        if isinstance(app, SimulatedAccount):
            self.check_address(app)
        # Before the quota: a call that is not granted does not count.
        if not self.is_granted(app, self.needs):
            raise Refusal(48001)
        self.world.quotas.spend(app_id, self.wechat_path)
        await self.call_for(app)

    def is_granted(self, app: SimulatedAccount | SimulatedApp, needs: Needs) -> bool:
        """Whether the app is of a kind that may call what has these needs."""
        if isinstance(app, SimulatedApp):
            return not needs or self.for_mini_programs
        if needs == "service":
            return app.verified or app.kind == "service"
        if not needs or not app.verified:
            return not needs
        return needs == "verified" or app.kind == "service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        """Do what the interface does for this app."""
        raise NotImplementedError

    def ok(self, **fields: Any) -> None:
        """Answer that it was done, and with these fields."""
        self.answer({"errcode": 0, "errmsg": "ok", **fields})
