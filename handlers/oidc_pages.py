"""The OpenID Provider's addresses for browsers, ``/oauth/authorize`` and ``/oauth/logout``, and
``/oauth/par``, at which clients leave what the first is to be asked."""

import gzip
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from handlers.api_request import as_api_error
from handlers.assets import STATIC, static_assets
from handlers.base import BaseHandler, write_response
from handlers.oidc import ClientHandler, client_of, form_of, is_form, provider_of
from handlers.pages import page_facts, page_policy, small_page, small_page_policy
from services.errors import OAuthError, StoreUnavailable
from services.oidc import authorize
from services.oidc.authorize import Cause, Parameters, Refused, Response, Unshown
from services.oidc.browser import LoginPage
from services.oidc.logout import LoggedOut
from services.oidc.requests import PUSHED_SECONDS, PendingLogin
from services.oidc.texts import BUTTONS, CAUSES, PAGES
from services.tokens.issuer import MAX_TOKEN_CHARACTERS
from services.wechat.replies import language

COOKIE = "op_session"

MOST_PARAMETERS = 100

_PROOFS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})

_PLACE = b"$authorize$"
"""Stands in the login page for what differs by request."""


def parameters_of(text: str) -> Parameters:
    """The parameters of a query or a form.

    Raises:
        ValueError: more than any client sends.
    """
    return parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MOST_PARAMETERS)


class ProviderHandler(BaseHandler):
    """A request by a person's browser. What it gets are pages."""

    needs_clients = True

    # No HEAD, which would spend what a browser is about to use.
    SUPPORTED_METHODS = ("GET", "POST")

    failure = "bad_request"
    """The page for a request that is refused."""

    def prepare(self) -> None:
        super().prepare()
        self.provider = provider_of(self.asked)

    def get_template_path(self) -> str:
        return str(STATIC)

    @property
    def begin_cookie(self) -> str | None:
        return self.asked.own_cookie("begin")

    @property
    def session_cookie(self) -> str | None:
        return self.asked.own_cookie(COOKIE)

    def asked_parameters(self) -> Parameters:
        return self._parsed(self.request.query)

    def form(self) -> Parameters:
        """What a form posts (OpenID Connect Core, section 3.1.2.1)."""
        if not is_form(self.asked):
            raise Unshown("not a form")
        return self._parsed(self.request.body.decode("utf-8", "replace"))

    def _parsed(self, text: str) -> Parameters:
        try:
            return parameters_of(text)
        except ValueError:
            raise Unshown("too many parameters") from None

    def spoken(self, ui_locales: str = "") -> str:
        """The language for the person: as the client says, as they chose, as their browser says."""
        for tag in ui_locales.split():
            if tag[:2].lower() in ("zh", "en", "ja"):
                return language(tag)
        return self.visitor_language()

    def keep(self, name: str, value: str, days: int | None = None) -> None:
        self.add_header("Set-Cookie", self.asked.set_cookie(name, value, "/", days))

    def go(self, path: str) -> None:
        """Redirect to a path of this server; with 303, so that a form is not posted once more."""
        self.set_status(303 if self.request.method == "POST" else 302)
        self.set_header("Location", path)
        self.finish()

    def leave(self, address: str) -> None:
        """Send the browser on to a client."""
        if self.request.method == "GET":
            # Not through `redirect`, which would take a relative address for one of this server.
            self.go(address)
            return
        # Chromium holds what follows a form to the policy of its page (form-action), through all
        # redirects. A client that sends the browser on to a third site would be blocked, so the
        # way from a form to the client begins in a page.
        self.show("onward", good=True, link=address, leaves=True)

    def answer(self, response: Response | str) -> None:
        """Send the browser on to a client, or to a path of this server."""
        if isinstance(response, str):
            self.go(response)
        elif response.mode == "query":
            self.leave(response.address)
        else:
            # OAuth 2.0 Form Post Response Mode, section 2.
            self.show(
                "onward",
                good=True,
                form=response.fields,
                action=response.redirect_uri,
                forms=authorize.form_action(response.redirect_uri),
                posts=True,
            )

    def show(
        self,
        page: str,
        lang: str = "",
        *,
        good: bool = False,
        name: str = "",
        form: Mapping[str, str] | None = None,
        action: str = "",
        forms: str = "'self'",
        posts: bool = False,
        link: str = "",
        leaves: bool = False,
        cause: Cause = "",
    ) -> None:
        """A small page. `posts`: its form goes off by itself; `leaves`: the browser follows its
        link by itself; `cause`: what the site's administrator is told."""
        lang = lang or self.spoken()
        self.render_page(
            "oidc_page.html",
            lang,
            forms,
            words=PAGES[page][lang],
            buttons=BUTTONS[lang],
            good=good,
            name=name,
            form=form,
            action=action,
            posts=posts,
            link=link,
            leaves=leaves,
            cause=CAUSES[cause][lang] if cause else "",
        )

    def render_page(self, template: str, lang: str, forms: str = "'self'", **names: object) -> None:
        """Answer with a small page that is made from a template of static/.

        Args:
            forms: where its forms may go (`page_policy`).
            names: what the template is told besides `small_page`.
        """
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Language", lang)
        self.protect(small_page_policy(self.container, self.request.host, forms=forms))
        self.render(template, lang=lang, **names, **small_page(self.container, lang))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A failure as a page, with the status of the contract."""
        cause = kwargs.get("exc_info", (None, None))[1]
        if isinstance(cause, Unshown):
            self.set_status(400)
            self.show("over" if cause.cause == "over" else self.failure, cause=cause.cause)
            return
        error = as_api_error(cause, status_code)
        if error.code in ("method_not_allowed", "not_found"):
            super().write_error(status_code, **kwargs)
            return
        self.set_status(error.status)
        if error.retry_after is not None:
            self.set_header("Retry-After", str(error.retry_after))
        passing = error.status in (429, 500, 503) or isinstance(cause, StoreUnavailable)
        self.show("unavailable" if passing else self.failure)


class AuthorizeHandler(ProviderHandler):
    """``/oauth/authorize`` (OpenID Connect Core, section 3.1.2.1).

    GET brings a client's request, or a pending login that goes on. POST brings a client's request
    as well, or, with `pending`, the form of the login page.
    """

    async def get(self) -> None:
        parameters = self.asked_parameters()
        service = self.provider.authorization
        if pending := dict(parameters).get("pending", ""):
            self.show_login(await service.resume(pending, self.begin_cookie))
            return
        answer = await service.begin(parameters, self.session_cookie)
        if isinstance(answer, PendingLogin):
            await self.container.limits.spend("authorize", self.asked.address)
            self.show_login(await service.page(answer, self.begin_cookie))
        else:
            self.answer(answer)

    async def post(self) -> None:
        form = self.form()
        fields, service = dict(form), self.provider.authorization
        if "pending" not in fields:
            await self.container.limits.spend("authorize", self.asked.address)
            self.answer(await service.posted(form))
            return
        self.asked.refuse_other_pages()
        if "refuse" in fields:
            barred = fields["refuse"] == "barred"
            self.answer(await service.refuse(fields["pending"], self.begin_cookie, barred=barred))
            return
        finished = None
        if 0 < len(ticket := fields.get("ticket", "")) <= MAX_TOKEN_CHARACTERS:
            finished = await service.finish(ticket, self.session_cookie, self.begin_cookie)
        if finished is None:
            # The same address shows the page with a new code.
            self.go(self.request.uri or "/oauth/authorize")
            return
        if finished.cookie:
            self.keep(COOKIE, finished.cookie)
        self.answer(finished.response)

    def show_login(self, shown: LoginPage) -> None:
        """The page with the client's name, and only its login kinds."""
        lang = self.spoken(shown.ui_locales)
        offered = self.container.scene_codes
        facts = page_facts(self.container) | {
            "client": shown.client.name,
            "kinds": " ".join(kind for kind in shown.client.kinds if kind in offered),
            "authorize": _PLACE.decode(),
        }
        page = static_assets().page("authorize", lang, facts)
        self.keep("begin", shown.begin_cookie, 365)
        self.set_header("Content-Type", page.content_type)
        self.set_header("Content-Language", lang)
        self.protect(page_policy(self.request.host, page.script_hashes, page.style_hashes))
        body = page.body.replace(_PLACE, shown.pending_id.encode())
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            # 0.5 ms. Better codings take longer than they save on a page that is sent once.
            self.set_header("Content-Encoding", "gzip")
            body = gzip.compress(body, 1)
        self.finish(body)


class LogoutHandler(ProviderHandler):
    """``/oauth/logout`` (OpenID Connect RP-Initiated Logout 1.0, section 2)."""

    failure = "log_out_bad_request"

    async def get(self) -> None:
        self.tell(await self.provider.logout.begin(self.asked_parameters(), self.session_cookie))

    async def post(self) -> None:
        form = self.form()
        answer = dict(form).get("answer")
        if answer is None:
            # Once more by GET, as in `AuthorizeHandler.post`.
            self.go(f"/oauth/logout?{urlencode(form)}")
            return
        self.asked.refuse_other_pages()
        if answer != "yes":
            self.show("still_logged_in", good=True)
            return
        asked = [(name, value) for name, value in form if name != "answer"]
        self.tell(await self.provider.logout.confirm(asked, self.session_cookie))

    def tell(self, ended: Any) -> None:
        """Go on, say that it is done, or ask."""
        lang = self.spoken(ended.lang)
        if not isinstance(ended, LoggedOut):
            self.show("log_out", lang, name=ended.client, form=ended.fields, action="/oauth/logout")
            return
        if self.session_cookie is not None:
            self.keep(COOKIE, "", 0)
        if ended.address and ended.is_sent:
            self.leave(ended.address)
        else:
            self.show("logged_out", lang, good=True, link=ended.address)


class PushedRequestHandler(ClientHandler):
    """``POST /oauth/par`` (RFC 9126)."""

    async def post(self) -> None:
        form = form_of(self.asked)
        client = client_of(self.asked, form)
        if "request_uri" in form:
            raise OAuthError("invalid_request", "A pushed request cannot name another.")
        await self.container.limits.spend("authorize", self.asked.address)
        # With HTTP Basic the id need not be in the body. What proves the client is not kept.
        named = {"client_id": client.id} | form
        pushed = [(name, value) for name, value in named.items() if name not in _PROOFS]
        try:
            reference = await provider_of(self.asked).authorization.push(client, pushed)
        except Unshown as problem:
            raise OAuthError("invalid_request", f"{problem}.") from None
        except Refused as refused:
            raise OAuthError(refused.error, f"{refused}.") from None
        document = {"request_uri": reference, "expires_in": PUSHED_SECONDS}
        write_response(self, self.asked.respond(document, 201))
