"""open.weixin.qq.com: web authorisation inside WeChat, and website login by qrconnect."""

import asyncio
from dataclasses import dataclass

from tornado.web import HTTPError, RequestHandler

from simulator.authorisations import (
    AuthorisationRequest,
    ErrorPage,
    WebsiteLogin,
    read_authorize,
    read_qrconnect,
    returning,
)
from simulator.hosts.pages import PageHandler
from simulator.pictures import qr_jpeg
from simulator.world import World

POLL_SECONDS = 25.0
CODE_SIDE = 430


@dataclass(frozen=True)
class Consent:
    """The result of a web authorisation: where the browser is sent, or a page's number."""

    redirect: str = ""
    error: int | None = None


class OpenPageHandler(PageHandler):
    """A page of the open host; every request counts as a call and may meet a fault's delay."""

    async def prepare(self) -> None:  # type: ignore[override]
        super().prepare()
        path = "/" + self.request.path.split("/", 2)[2]
        fault = self.world.faults.called("open", path)
        if fault is not None:
            # A page has neither errcode nor JSON: of a fault only delay and status apply.
            await asyncio.sleep(fault.delay)
            if fault.status is not None:
                raise HTTPError(fault.status)

    def show_error_page(self, page: ErrorPage) -> None:
        if page.number == 0:
            self.finish(b"")
        else:
            self.show_message(str(page.number), str(page).partition(" ")[2])


SNAPSHOT_NICKNAME = "微信用户"


def consent(
    world: World, request: AuthorisationRequest, name: str, snapshot: bool = False
) -> Consent:
    """The person `name` allows it: where the browser goes then, with code and state."""
    # A snapshot logs in a virtual person: another openid than that of the real one.
    person = world.people.named(f"{name} (snapshot)" if snapshot else name)
    if snapshot:
        person.nickname = SNAPSHOT_NICKNAME
        world.people.changed(person)
    code = world.grants.issue(request.app.app_id, person, request.scope, snapshot)
    return Consent(returning(request.redirect_uri, code=code, state=request.state))


class AuthorizeHandler(OpenPageHandler):
    """``connect/oauth2/authorize``: silent for snsapi_base, asks for snsapi_userinfo.

    A browser that was not used as a phone before is asked whose it is.
    """

    def get(self) -> None:
        request = self._request()
        if request is None:
            return
        name = self.holder()
        wanted = request.scope == "snsapi_userinfo"
        # A snapshot page logs in a virtual person without asking.
        if wanted and request.app.app_id in self.world.snapshot_accounts:
            self.redirect(consent(self.world, request, name or "Somebody", True).redirect)
        elif name and not wanted and not request.force_popup:
            self.redirect(consent(self.world, request, name).redirect)
        else:
            question = "consent_profile" if wanted else "consent_base"
            self.show_decision(question, "account", request.app.name, name, request.site)

    def post(self) -> None:
        request = self._request()
        if request is None:
            return
        name = self.chosen_person()
        if self.get_body_argument("allow") == "1":
            self.redirect(consent(self.world, request, name).redirect)
        else:
            self.show_message("refused", "refused_more")

    def _request(self) -> AuthorisationRequest | None:
        """What the link asks; None after an error page was shown."""
        agent = self.request.headers.get("User-Agent", "")
        if self.world.config.wechat_browser_only and "MicroMessenger" not in agent:
            self.show_message("wechat_only", "wechat_only_more")
            return None
        try:
            return read_authorize(self.request.query, self.world.accounts, self.world.websites)
        except ErrorPage as page:
            self.show_error_page(page)
            return None


class QrConnectHandler(OpenPageHandler):
    """``connect/qrconnect``: a code for the phone, as a page, in a popup or an iframe."""

    # Any site may frame it and bring a style sheet of its own, as with the real page.
    policy = (
        "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "style-src 'self' https: data:; base-uri 'none'"
    )

    def get(self) -> None:
        try:
            request = read_qrconnect(self.request.query, self.world.websites)
        except ErrorPage as page:
            self.show_error_page(page)
            return
        login = self.world.website_logins.begin(request)
        self.show(
            "qrconnect.html",
            login=login,
            app=request.app.name,
            phone_url=f"{self.world.phone_base}/w/{login.login_id}",
            style=self.get_query_argument("href", ""),
            top=self.get_query_argument("self_redirect", "false") != "true",
            deny_redirects=self.world.config.deny_redirects,
            embedded=self.get_query_argument("login_type", "") == "jssdk",
        )


class LoginHandler(RequestHandler):
    """Something about one shown qrconnect code."""

    def initialize(self, world: World) -> None:
        self.world = world

    def login(self, login_id: str) -> WebsiteLogin:
        """The login of this id.

        Raises:
            HTTPError: 404.
        """
        login = self.world.website_logins.get(login_id)
        if login is None:
            raise HTTPError(404)
        return login


class LoginPictureHandler(LoginHandler):
    """``connect/qrcode/<id>``: the picture."""

    def get(self, login_id: str) -> None:
        login = self.login(login_id)
        self.set_header("Content-Type", "image/jpeg")
        self.write(qr_jpeg(f"{self.world.phone_base}/w/{login.login_id}", CODE_SIDE))


class LoginPollHandler(LoginHandler):
    """``connect/l/qrconnect?uuid=``: answers a script, as the real one does.

    ``window.wx_errcode`` is 408 (wait), 404 (scanned), 405 (confirmed, with wx_code), 403
    (denied) or 402 (expired). `last` is what the page knows already.
    """

    async def get(self) -> None:
        login = self.login(self.get_query_argument("uuid", ""))
        if login.status == int(self.get_query_argument("last", "0")):
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await login.changed.wait()
            except TimeoutError:
                # Looked up again: that is what turns a login of five minutes into an expired one.
                self.login(login.login_id)
        self.set_header("Content-Type", "text/javascript")
        self.set_header("Cache-Control", "no-store")
        self.write(f"window.wx_errcode={login.status};window.wx_code='{login.code}';")


def decide_login(world: World, login: WebsiteLogin, name: str, allow: bool) -> str:
    """The person decides on their phone. Gives the URL that the page goes to, if any."""
    request = login.request
    if not allow:
        world.website_logins.change(login, 403)
        denied = returning(request.redirect_uri, state=request.state)
        return denied if world.config.deny_redirects else ""
    # The poll gives the page the code alone: its script makes the address, as WeChat's does.
    redirect = consent(world, request, name).redirect
    code = redirect.rpartition("code=")[2].partition("&")[0]
    world.website_logins.change(login, 405, code)
    return redirect
