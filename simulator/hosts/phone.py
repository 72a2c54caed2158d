"""The simulated phone as a web page: say who you are, scan, read the reply, write back."""

import json
from typing import Any

from tornado.web import HTTPError

from simulator.hosts.pages import PageHandler
from simulator.phones import Delivery

TEXT_LENGTH = 600


class HomeHandler(PageHandler):
    """Leads to the phone."""

    def get(self) -> None:
        self.redirect(f"{self.base}/phone")


class PhonePageHandler(PageHandler):
    """The phone, with the scanned code if the path names one."""

    def get(self, code_id: str = "") -> None:
        self.show("phone.html", code_id=code_id)


class StateHandler(PageHandler):
    """``GET .../phone/state?person=&code=&after=``: what the page has to show now."""

    def get(self) -> None:
        code = self.world.codes.by_id(self.get_query_argument("code", ""))
        account = self.world.phones.account(code.app_id if code else "")
        document: dict[str, Any] = {"account": account.name, "code": "unknown"}
        if code is not None:
            document["code"] = "expired" if code.expired(self.world.clock.now()) else "valid"
        if given := self.get_query_argument("person", ""):
            name = self.person_name(given)
            after = _number(self.get_query_argument("after", "0"))
            lines = self.world.chats.lines(name, account.app_id, after)
            document["follower"] = account.app_id in self.world.people.named(name).follows
            document["lines"] = [line.document() for line in lines]
        self.write(document)


class ActHandler(PageHandler):
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


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
