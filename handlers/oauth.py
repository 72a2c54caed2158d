"""``/oauth/...``: the browser's way to WeChat's pages and back, for web authorisation inside WeChat
and for website logins. The answers, failures included, are small pages (`Landing`)."""

from typing import Any

from handlers.api_request import as_api_error
from handlers.assets import STATIC
from handlers.base import BaseHandler
from handlers.pages import small_page, small_page_policy
from services.container import Container
from services.errors import ApiError, StoreUnavailable, WeChatError
from services.scenes.states import Kind
from services.web_login.oauth import Browser
from services.web_login.pages import Landing

COOKIE = "oauth"
"""What `state` is bound to: one random value for each browser."""

MAX_VALUE = 1024
"""Characters of a value in the query: WeChat's, and this server's own, are far shorter."""


class BrowserHandler(BaseHandler):
    """A request by a person's browser."""

    # No HEAD, which would spend the code that WeChat sent along.
    SUPPORTED_METHODS = ("GET",)

    @property
    def browser(self) -> Browser:
        return Browser(
            cookie=self.asked.own_cookie(COOKIE) or "",
            begin_cookie=self.asked.own_cookie("begin") or "",
            origin=self.asked.own_origin,
            lang=self.asked.accepted_language,
        )

    def value(self, name: str) -> str:
        """A value of the query, or an empty string."""
        value = self.get_query_argument(name, "")
        if len(value) > MAX_VALUE:
            raise ApiError("bad_request", f"{name} is too long.", field=name)
        return value

    def get_template_path(self) -> str:
        return str(STATIC)

    def land(self, landing: Landing) -> None:
        """Show the page, or go on."""
        if landing.onward:
            # Without a fragment of its own the page would inherit WeChat's, "#wechat_redirect"
            # (RFC 9110, section 10.2.2), and a page with routes there would be lost.
            self.redirect(landing.onward + ("" if "#" in landing.onward else "#"))
            return
        self.set_status(landing.status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.protect(small_page_policy(self.container, self.request.host))
        page = "oauth_done.html" if landing.question is None else "oauth_confirm.html"
        self.render(page, landing=landing, **small_page(self.container, landing.lang))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A failure as a page, with the status of the contract."""
        cause = kwargs.get("exc_info", (None, None))[1]
        error = as_api_error(cause, status_code)
        # Not what a browser does by itself: answered with the error document.
        if error.code == "method_not_allowed":
            super().write_error(status_code, **kwargs)
            return
        # The page says which kind of failure it is: whether trying again may help.
        passing = error.status in (429, 500, 503)
        passing = passing or isinstance(cause, StoreUnavailable | WeChatError)
        if error.retry_after is not None:
            self.set_header("Retry-After", str(error.retry_after))
        outcome = "unavailable" if passing else "bad_request"
        self.land(Landing(outcome, self.browser.lang, http_status=error.status))


class StartHandler(BrowserHandler):
    """``GET /oauth/wechat|website/start?scene=[&next=][&format=json]``."""

    def initialize(self, container: Container, kind: Kind = Kind.WEB) -> None:
        super().initialize(container)
        self.kind = kind

    async def get(self) -> None:
        way = await self.container.oauth.start(
            self.kind, self.value("scene"), self.value("next"), self.browser
        )
        if isinstance(way, Landing):
            self.land(way)
            return
        self.set_header("Set-Cookie", self.asked.set_cookie(COOKIE, way.cookie, "/oauth"))
        if self.value("format") == "json":
            # What wxLogin.js is given to embed WeChat's code in a page.
            self.write_json(
                {
                    "appid": way.app_id,
                    "scope": "snsapi_login",
                    "redirect_uri": way.redirect_uri,
                    "state": way.state,
                }
            )
        else:
            self.redirect(way.url)


class ReturnHandler(BrowserHandler):
    """``GET /oauth/wechat|website/callback?code=&state=``: WeChat sends the browser here."""

    def initialize(self, container: Container, kind: Kind = Kind.WEB) -> None:
        super().initialize(container)
        self.kind = kind

    async def get(self) -> None:
        self.land(
            await self.container.oauth.callback(
                self.kind, self.value("code"), self.value("state"), self.browser
            )
        )


class AllowHandler(BrowserHandler):
    """``POST /oauth/allow``: the form of the page that asks the person."""

    SUPPORTED_METHODS = ("POST",)

    async def post(self) -> None:
        browser = self.browser
        self.asked.refuse_other_pages()
        value = self.get_body_argument("value", "")
        allow = self.get_body_argument("allow", "0") == "1"
        self.land(await self.container.oauth.decide(value, allow, browser))
