"""Controls for the doors that a browser or a mini program goes through: ``/simulator/...``."""

from urllib.parse import urlsplit

from simulator.authorisations import ErrorPage, read_authorize, read_qrconnect
from simulator.hosts.control import ControlHandler
from simulator.hosts.open import consent, decide_login


class AuthorizeControlHandler(ControlHandler):
    """``POST /simulator/authorize {"url", "person", "allow", "snapshot"}``.

    The person opens a link of ``connect/oauth2/authorize`` (or of ``connect/qrconnect``) and
    decides. Answers ``redirect``: where WeChat sends the browser (empty if nowhere), or
    ``error``: the number of WeChat's error page.
    """

    def post(self) -> None:
        document = self.body()
        parts = urlsplit(document["url"])
        allow, name = document.get("allow", True), document["person"]
        try:
            if parts.path.endswith("/connect/qrconnect"):
                request = read_qrconnect(parts.query, self.world.websites)
                login = self.world.website_logins.begin(request)
                redirect = decide_login(self.world, login, name, allow)
            else:
                request = read_authorize(parts.query, self.world.accounts, self.world.websites)
                snapshot = bool(document.get("snapshot", False))
                answer = consent(self.world, request, name, snapshot) if allow else None
                redirect = answer.redirect if answer else ""
        except ErrorPage as page:
            self.write({"redirect": "", "error": page.number})
            return
        self.write({"redirect": redirect})


class SnapshotHandler(ControlHandler):
    """``POST /simulator/snapshot {"on": bool}``: WeChat finds the account's pages improper."""

    def post(self) -> None:
        document = self.body()
        app_id = self.world.phones.account(document.get("account", "")).app_id
        if document["on"]:
            self.world.snapshot_accounts.add(app_id)
        else:
            self.world.snapshot_accounts.discard(app_id)
        self.set_status(204)


class WebsiteControlHandler(ControlHandler):
    """``POST /simulator/website {"uuid", "person", "allow"}``: decides a shown qrconnect code."""

    def post(self) -> None:
        document = self.body()
        login = self.world.website_logins.get(document["uuid"])
        if login is None or login.status not in (408, 404):
            raise ValueError("this code is over")
        allow = document.get("allow", True)
        self.write({"redirect": decide_login(self.world, login, document["person"], allow)})


class MiniProgramControlHandler(ControlHandler):
    """``POST /simulator/mini_program/login|phone {"person"}``: gives a ``code``."""

    def post(self, kind: str) -> None:
        document = self.body()
        person = self.world.people.named(document["person"])
        programs, app_id = self.world.mini_programs, document.get("app_id", "")
        give = programs.login_code if kind == "login" else programs.phone_code
        self.write({"code": give(person, app_id)})
