"""Reading the links of open.weixin.qq.com as strictly as WeChat does, and website logins.

Facts: WeChat's pages "Web page authorisation" (parameter order, error pages 10003 to 10016) and
"Website login" (qrconnect).
"""

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from simulator.clock import TurnableClock
from simulator.config import SimulatedAccount, SimulatedApp
from simulator.state import State

ORDER = ("appid", "redirect_uri", "response_type", "scope", "state")
LOGIN_SECONDS = 300
MAX_STATE_BYTES = 128

ERROR_PAGES: Mapping[int, str] = {
    0: "",
    10003: "redirect_uri domain is not the one configured for this account",
    10005: "this account is not granted the scope",
    10010: "scope is empty",
    10011: "redirect_uri is empty",
    10012: "appid is empty",
    10013: "state is empty",
    10016: "this appid belongs to an Open Platform app",
    40013: "appid is unknown",
    40128: "state is longer than 128 bytes",
}
"""Number 0 is the blank page that a link in the wrong order gets."""


class ErrorPage(Exception):
    """WeChat shows a page with this number instead of going on."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{number} {ERROR_PAGES[number]}".strip())
        self.number = number


@dataclass(frozen=True)
class AuthorisationRequest:
    """A valid link: whose app, what for, and where to return to."""

    app: SimulatedAccount | SimulatedApp
    redirect_uri: str
    scope: str
    state: str
    force_popup: bool = False

    @property
    def site(self) -> str:
        """The host that the browser returns to."""
        return urlsplit(self.redirect_uri).netloc


def read_authorize(
    query: str,
    accounts: Mapping[str, SimulatedAccount],
    websites: Mapping[str, SimulatedApp],
) -> AuthorisationRequest:
    """The request of a ``connect/oauth2/authorize`` link, from its raw query.

    Raises:
        ErrorPage: as WeChat's page lists them; wrong order gives number 0, a blank page.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    # Other parameters, such as forcePopup, may stand anywhere.
    names = [name for name, _ in pairs if name in ORDER]
    if names != [name for name in ORDER if name in names]:
        raise ErrorPage(0)
    values = dict(pairs)
    for name, number in (("appid", 10012), ("redirect_uri", 10011), ("scope", 10010)):
        if not values.get(name):
            raise ErrorPage(number)
    if values.get("response_type") != "code":
        raise ErrorPage(0)
    state = _state(values)
    app_id, scope = values["appid"], values["scope"]
    if app_id in websites:
        raise ErrorPage(10016)
    account = accounts.get(app_id)
    if account is None:
        raise ErrorPage(40013)
    # Only a verified service account has the interface at all.
    may_authorise = account.verified and account.kind == "service"
    if scope not in ("snsapi_base", "snsapi_userinfo") or not may_authorise:
        raise ErrorPage(10005)
    _check_domain(values["redirect_uri"], account.web_domain)
    popup = values.get("forcePopup") == "true"
    return AuthorisationRequest(account, values["redirect_uri"], scope, state, popup)


def read_qrconnect(query: str, websites: Mapping[str, SimulatedApp]) -> AuthorisationRequest:
    """The request of a ``connect/qrconnect`` link. Its order does not matter.

    Raises:
        ErrorPage: the link cannot be opened.
    """
    values = dict(parse_qsl(query, keep_blank_values=True))
    app = websites.get(values.get("appid", ""))
    if app is None:
        raise ErrorPage(40013)
    if values.get("scope") != "snsapi_login" or not app.verified:
        raise ErrorPage(10005)
    redirect_uri = values.get("redirect_uri", "")
    _check_domain(redirect_uri, app.redirect_domain)
    return AuthorisationRequest(app, redirect_uri, "snsapi_login", _state(values))


def _state(values: Mapping[str, str]) -> str:
    state = values.get("state")
    # The parameter may be left out, but not be empty.
    if state == "":
        raise ErrorPage(10013)
    if len((state or "").encode()) > MAX_STATE_BYTES:
        raise ErrorPage(40128)
    return state or ""


def _check_domain(redirect_uri: str, domain: str) -> None:
    parts = urlsplit(redirect_uri)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ErrorPage(10003)
    # A domain that is configured without a port admits every port of that host.
    if domain and domain not in (parts.netloc, parts.hostname):
        raise ErrorPage(10003)


def returning(redirect_uri: str, **values: str) -> str:
    """`redirect_uri` with these values added to its query, before any fragment."""
    parts = urlsplit(redirect_uri)
    added = urlencode({name: value for name, value in values.items() if value})
    query = f"{parts.query}&{added}" if parts.query and added else parts.query or added
    return urlunsplit(parts._replace(query=query))


@dataclass
class WebsiteLogin:
    """One shown qrconnect code. `status` is the number that its page polls for.

    408 waiting, 404 scanned, 405 confirmed (with `code`), 403 denied, 402 expired.
    """

    login_id: str
    request: AuthorisationRequest
    ends: float
    status: int = 408
    code: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class WebsiteLogins:
    """The qrconnect codes that are shown somewhere, for five minutes each."""

    def __init__(
        self,
        clock: TurnableClock,
        rng: random.Random,
        websites: Mapping[str, SimulatedApp],
        state: State,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._state = state
        self._logins: dict[str, WebsiteLogin] = {}
        for login_id, document in state.documents("website_logins").items():
            if app := websites.get(document["app_id"]):
                values = (document["redirect_uri"], document["scope"], document["state"])
                self._logins[login_id] = WebsiteLogin(
                    login_id,
                    AuthorisationRequest(app, *values),
                    document["ends"],
                    document["status"],
                    document["code"],
                )

    def begin(self, request: AuthorisationRequest) -> WebsiteLogin:
        now = self._clock.now()
        # A minute longer than it lasts, so that its page still learns that it expired.
        for old in [key for key, login in self._logins.items() if login.ends + 60 < now]:
            del self._logins[old]
            self._state.drop("website_logins", old)
        login_id = uuid.UUID(int=self._rng.getrandbits(128), version=4).hex
        login = self._logins[login_id] = WebsiteLogin(login_id, request, now + LOGIN_SECONDS)
        self._keep(login)
        return login

    def get(self, login_id: str) -> WebsiteLogin | None:
        """The login of this id; an expired one says 402."""
        login = self._logins.get(login_id)
        if login is not None and login.status in (408, 404) and self._clock.now() >= login.ends:
            self.change(login, 402)
        return login

    def _keep(self, login: WebsiteLogin) -> None:
        document = {
            "app_id": login.request.app.app_id,
            "redirect_uri": login.request.redirect_uri,
            "scope": login.request.scope,
            "state": login.request.state,
            "ends": login.ends,
            "status": login.status,
            "code": login.code,
        }
        self._state.put("website_logins", login.login_id, document)

    def change(self, login: WebsiteLogin, status: int, code: str = "") -> None:
        """Set the status and wake the page that polls for it."""
        login.status, login.code = status, code
        self._keep(login)
        # A new event each time: pages that wait hold the old one, the next poll takes the new.
        login.changed.set()
        login.changed = asyncio.Event()
