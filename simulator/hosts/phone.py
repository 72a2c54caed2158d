"""The simulated phone as a web page: say who you are, scan, read the reply, write back."""

import json
from typing import Any

from tornado.web import HTTPError, RequestHandler

from simulator.phones import Delivery
from simulator.texts import language_of, texts
from simulator.world import World

NAME_LENGTH = 32
TEXT_LENGTH = 600

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class PhoneHandler(RequestHandler):
    """What the pages and their data share: the base path, the language, strict headers."""

    def initialize(self, world: World, base: str) -> None:
        self.world = world
        self.base = base
        self.language = language_of(self.request.headers.get("Accept-Language", ""))

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")

    def person_name(self, given: object) -> str:
        """A usable name.

        Raises:
            HTTPError: 400.
        """
        name = given.strip() if isinstance(given, str) else ""
        if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
            raise HTTPError(400, reason="No usable name")
        return name

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"error": self._reason})


class HomeHandler(PhoneHandler):
    """Leads to the phone."""

    def get(self) -> None:
        self.redirect(f"{self.base}/phone")


class PageHandler(PhoneHandler):
    """The phone, with the scanned code if the path names one."""

    def get(self, code_id: str = "") -> None:
        words = texts(self.language)
        self.render(
            "phone.html",
            base=self.base,
            lang=self.language,
            words=words,
            words_json=json.dumps(words, ensure_ascii=False),
            code_id=code_id,
        )


class StateHandler(PhoneHandler):
    """``GET .../phone/state?person=&code=&after=``: what the page has to show now."""

    def get(self) -> None:
        code = self.world.codes.by_id(self.get_query_argument("code", ""))
        account = self.world.phones.account(code.app_id if code else "")
        document: dict[str, Any] = {"account": account.name, "code": "unknown"}
        if code is not None:
            document["code"] = "expired" if code.expired(self.world.clock.now()) else "valid"
        if given := self.get_query_argument("person", ""):
            name = self.person_name(given)
            after = int(self.get_query_argument("after", "0"))
            lines = self.world.chats.lines(name, account.app_id, after)
            document["follower"] = account.app_id in self.world.people.named(name).follows
            document["lines"] = [line.document() for line in lines]
        self.write(document)


class ActHandler(PhoneHandler):
    """``POST .../phone/act {"person", "action", "code", "text"}``: the person does something."""

    async def post(self) -> None:
        # Only JSON by name: a foreign page cannot send that without being asked first.
        if self.request.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise HTTPError(415, reason="Send application/json")
        try:
            document = json.loads(self.request.body)
            name = self.person_name(document["person"])
            action = document["action"]
        except (ValueError, TypeError, KeyError):
            raise HTTPError(400, reason="Not understood") from None
        self.world.people.named(name).language = self.language.replace("-", "_")
        delivery = await self._act(name, action, document)
        self.write(delivery.document())

    async def _act(self, name: str, action: object, document: dict[str, Any]) -> Delivery:
        phones = self.world.phones
        code = self.world.codes.by_id(str(document.get("code", "")))
        app_id = code.app_id if code else ""
        if action == "scan":
            return await phones.scan(name, ticket=code.ticket if code else "")
        if action == "follow":
            return await phones.follow(name, app_id)
        if action == "unfollow":
            return await phones.unfollow(name, app_id)
        if action == "text":
            text = str(document.get("text", "")).strip()[:TEXT_LENGTH]
            if text:
                return await phones.text(name, text, app_id)
        raise HTTPError(400, reason="Not understood")
