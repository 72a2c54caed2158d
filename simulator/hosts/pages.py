"""What the simulator's pages share: language, strict headers, and whose phone it is."""

import json
from typing import Any
from urllib.parse import quote, unquote

from tornado.web import HTTPError, RequestHandler

from services.settings import hosts
from simulator.texts import language_of, texts
from simulator.world import World

NAME_LENGTH = 32
PERSON_COOKIE = "simulated_person"

STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'"
)


def refuse_public_names(handler: RequestHandler) -> None:
    """For what is only for this machine and its network. A page of a public site whose name is
    made to mean this machine (DNS rebinding) is of the same origin as the simulator, and reads and
    does everything; what it cannot do is to leave its own name out of Host.

    Raises:
        HTTPError: 403.
    """
    host = handler.request.host_name
    if not hosts.literal_addresses(host) and not hosts.is_local_name(host):
        raise HTTPError(403, reason="Public Name")


class PageHandler(RequestHandler):
    """A page of the simulator, below `base`, in the browser's language.

    `form-action` is not limited: a consent form redirects to the site that asked, which browsers
    count as the form's target.
    """

    policy = STRICT_POLICY + "; frame-ancestors 'none'"

    def initialize(self, world: World, base: str) -> None:
        self.world = world
        self.base = base

    @property
    def language(self) -> str:
        return language_of(self.request.headers.get("Accept-Language", ""))

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", self.policy)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")

    def prepare(self) -> None:
        """A form or a call has to come from the simulator's own pages, or from no page at all."""
        origin = self.request.headers.get("Origin")
        own = f"{self.request.protocol}://{self.request.host}"
        if self.request.method == "POST" and origin not in (None, own):
            raise HTTPError(403, reason="Foreign Origin")

    def show(self, template: str, **values: Any) -> None:
        """Render a page with the words of its language."""
        words = texts(self.language)
        self.render(
            template,
            base=self.base,
            lang=self.language,
            words=words,
            words_json=json.dumps(words, ensure_ascii=False),
            **values,
        )

    def show_message(self, title: str, text: str, status: int = 200) -> None:
        self.set_status(status)
        self.show("message.html", title=title, text=text)

    def show_decision(
        self, question: str, kind: str, app: str, holder: str, site: str = "", step: str = ""
    ) -> None:
        """Ask the person to allow or to deny. `kind` names the app if it has no name."""
        self.show(
            "decision.html",
            question=question,
            kind=kind,
            app=app,
            holder=holder,
            site=site,
            step=step,
        )

    def person_name(self, given: object) -> str:
        """A usable name.

        Raises:
            HTTPError: 400.
        """
        name = given.strip() if isinstance(given, str) else ""
        if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
            raise HTTPError(400, reason="No usable name")
        return name

    def holder(self) -> str:
        """The name of the person who used this browser as a phone last, or nothing."""
        # Names may be Chinese, which a cookie cannot hold unquoted.
        try:
            return self.person_name(unquote(self.get_cookie(PERSON_COOKIE) or ""))
        except HTTPError:
            return ""

    def chosen_person(self) -> str:
        """The person that a decision form names: typed or picked. Kept in the cookie.

        Raises:
            HTTPError: 400.
        """
        typed = self.get_body_argument("other", "")
        name = self.person_name(typed or self.get_body_argument("person", ""))
        # Not httponly: the script of the phone page sets the same cookie.
        self.set_cookie(PERSON_COOKIE, quote(name), httponly=False, samesite="Lax")
        return name

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"error": self._reason})
