"""The phone's other pages: allow or deny a website login, or what a mini program asks."""

from typing import Any

from tornado.web import HTTPError

from simulator.authorisations import WebsiteLogin
from simulator.hosts.open import decide_login
from simulator.hosts.pages import PageHandler


class WebsiteDecisionHandler(PageHandler):
    """``/w/<id>``: what a phone shows that scanned a qrconnect code."""

    def get(self, login_id: str) -> None:
        login = self._login(login_id)
        if login is None:
            return
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

    First it asks who holds the phone; then it tells the server that this person scanned, and
    asks to allow or to deny, as design and WeChat's own samples do.
    """

    def get(self, app_id: str) -> None:
        self._ask(app_id, "mini_open", self.holder(), step="open")

    async def post(self, app_id: str) -> None:
        scene = self.get_query_argument("scene", "")
        name = self.chosen_person()
        person = self.world.people.named(name)
        programs = self.world.mini_programs
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
        self.show_message("not_possible", _problem(status, answer))

    def _ask(self, app_id: str, question: str, holder: str, step: str) -> None:
        try:
            app = self.world.mini_programs.app(app_id)
        except KeyError:
            raise HTTPError(404) from None
        self.show_decision(question, "mini_program", app.name, holder, step=step)


def _problem(status: int, answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return f"{status} {error.get('code', '')}" if isinstance(error, dict) else f"{status}"
