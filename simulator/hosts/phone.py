"""The simulated phone as web pages: say who you are, scan, read the reply, write back; and the
pages that ask to allow or to deny a website login or a mini program's login.
"""

import json
from typing import Any

from tornado.web import HTTPError

from services.settings.branding import shared_style
from simulator.authorisations import WebsiteLogin
from simulator.hosts.open import decide_login
from simulator.hosts.pages import PageHandler
from simulator.pushes import Delivery

TEXT_LENGTH = 600


class HomeHandler(PageHandler):
    """Leads to the phone."""

    def get(self) -> None:
        self.redirect(f"{self.base}/phone")


class PaletteHandler(PageHandler):
    """``.../phone/static/palette.css``: the colours and the type of scanpush's own pages."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.write(shared_style())


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
            after = self.get_query_argument("after", "0")
            # int() alone would also take other digits, signs and underscores.
            number = int(after) if after.isascii() and after.isdigit() else 0
            lines = self.world.chats.lines(name, account.app_id, number)
            document["follower"] = account.app_id in self.world.people.named(name).follows
            document["lines"] = [line.document() for line in lines]
        self.write(document)


class ActHandler(PageHandler):
    """``POST .../phone/act {"person", "action", "code", "text"}``: the person does something."""

    async def post(self) -> None:
        # Only JSON by name: a foreign page cannot send that without a preflight request.
        if self.request.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise HTTPError(415, reason="Send application/json")
        try:
            document = json.loads(self.request.body)
            name = self.person_name(document["person"])
            action = document["action"]
        except (ValueError, TypeError, KeyError):
            raise HTTPError(400, reason="Not understood") from None
        # WeChat knows a person's language by their phone: here by their browser.
        person = self.world.people.named(name)
        person.language = self.language.replace("-", "_")
        self.world.people.changed(person)
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


class WebsiteDecisionHandler(PageHandler):
    """``/w/<id>``: what the phone shows after it scanned a qrconnect code."""

    def get(self, login_id: str) -> None:
        login = self._login(login_id)
        if login is None:
            return
        # Opening the page is the scan; a reload of it must not undo a later status.
        if login.status == 408:
            self.world.website_logins.change(login, 404)
        self.show_decision(
            "consent_website", "website", login.request.app.name, self.holder(), login.request.site
        )

    def post(self, login_id: str) -> None:
        login = self._login(login_id)
        if login is None:
            return
        allow = self.get_body_argument("allow") == "1"
        decide_login(self.world, login, self.chosen_person(), allow)
        words = ("allowed", "allowed_more") if allow else ("refused", "refused_more")
        self.show_message(*words)

    def _login(self, login_id: str) -> WebsiteLogin | None:
        login = self.world.website_logins.get(login_id)
        if login is None or login.status not in (408, 404):
            self.show_message("over", "over_more", 410)
            return None
        return login


class MiniProgramHandler(PageHandler):
    """``/m/<app_id>?scene=``: the mini program that its code opens; the first one without app_id.

    First it asks whose phone this is; then it tells the server that this person scanned, and
    asks to allow or to deny, as WeChat's own samples do.
    """

    def get(self, app_id: str) -> None:
        self._ask(app_id, "mini_open", self.holder(), step="open")

    async def post(self, app_id: str) -> None:
        scene = self.get_query_argument("scene", "")
        name = self.chosen_person()
        person = self.world.people.named(name)
        programs = self.world.mini_programs
        # Each step sends the server a new wx.login code, as a code is good once.
        if self.get_body_argument("step") == "open":
            status, answer = await programs.scan(person, scene, app_id)
            if status == 200:
                self._ask(app_id, "consent_mini", name, step="decide")
                return
        else:
            allow = self.get_body_argument("allow") == "1"
            status, answer = await programs.confirm(person, scene, allow, app_id)
            if status == 200:
                words = ("allowed", "allowed_more") if allow else ("refused", "refused_more")
                self.show_message(*words)
                return
        error = answer.get("error") if isinstance(answer, dict) else None
        problem = f"{status} {error.get('code', '')}" if isinstance(error, dict) else f"{status}"
        self.show_message("not_possible", problem)

    def _ask(self, app_id: str, question: str, holder: str, step: str) -> None:
        try:
            app = self.world.mini_programs.app(app_id)
        except KeyError:
            raise HTTPError(404) from None
        self.show_decision(question, "mini_program", app.name, holder, step=step)
