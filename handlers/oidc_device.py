"""The device flow's two addresses: ``/oauth/device_authorization`` for devices, and ``/device``,
where a person allows one."""

from urllib.parse import urlencode

from handlers.oidc import ClientHandler, client_of, form_of, provider_of
from handlers.oidc_pages import ProviderHandler
from services.ids import letter_code_of
from services.oidc.device import EXPIRES_SECONDS, INTERVAL_SECONDS, Answer, Question, shown
from services.oidc.device_texts import LABELS, PAGES
from services.oidc.requests import PendingLogin

PATH = "/device"

_STATUS = {Answer.UNKNOWN: 404, Answer.TAKEN: 409}
"""The HTTP status of each answer's page that is not 200."""


class DeviceAuthorizationHandler(ClientHandler):
    """``POST /oauth/device_authorization`` (RFC 8628, section 3.1)."""

    async def post(self) -> None:
        container = self.container
        form = form_of(self.asked)
        client = client_of(self.asked, form)
        # A public client proves nothing, so that anyone could fill the store with codes.
        await container.limits.spend("authorize", self.asked.address)
        codes = await provider_of(self.asked).devices.begin(client, form.get("scope", ""))
        address = container.own_url + PATH
        self.write_json(
            {
                "device_code": codes.device_code,
                "user_code": codes.user_code,
                "verification_uri": address,
                "verification_uri_complete": f"{address}?user_code={codes.user_code}",
                "expires_in": EXPIRES_SECONDS,
                "interval": INTERVAL_SECONDS,
            }
        )


class DeviceHandler(ProviderHandler):
    """``/device``: GET shows the form, or what is behind a user code, and allows nothing; POST is
    the person's answer."""

    @property
    def guesser(self) -> str:
        """What wrong codes count against; an address that is exempt from limits counts as itself:
        those are for what costs WeChat's quota."""
        address = self.asked.address
        return self.container.limits.group(address) or address

    async def get(self) -> None:
        parameters = dict(self.asked_parameters())
        code = parameters.get("user_code", "")
        if not code:
            self.show_device("enter", typed="")
            return
        found = await self.provider.devices.visit(code, self.guesser, self.session_cookie)
        # "back": the person has just left the login page without a login. Sent to it again they
        # would go in a circle.
        if isinstance(found, PendingLogin) and parameters.get("back"):
            self.show_device("not_logged_in", typed=shown(letter_code_of(code) or ""))
            return
        await self.tell(found, code)

    async def post(self) -> None:
        self.asked.refuse_other_pages()
        form = dict(self.form())
        code = form.get("user_code", "")
        await self.tell(
            await self.provider.devices.answer(
                code,
                self.guesser,
                self.session_cookie,
                form.get("sid", ""),
                allow=form.get("allow") == "1",
            ),
            code,
        )

    async def tell(self, found: Answer | PendingLogin | Question, code: str) -> None:
        if isinstance(found, PendingLogin):
            await self.container.limits.spend("authorize", self.asked.address)
            page = await self.provider.authorization.page(found, self.begin_cookie)
            self.keep("begin", page.begin_cookie, 365)
            self.go(f"/oauth/authorize?{urlencode({'pending': page.pending_id})}")
        elif isinstance(found, Question):
            self.show_device("question", question=found)
        else:
            self.set_status(_STATUS.get(found, 200))
            # What was mistyped is seen again, to be compared with the screen.
            typed = code[:32] if found is Answer.UNKNOWN else None
            self.show_device(found, good=found is Answer.ALLOWED, typed=typed)

    def show_device(
        self,
        page: str,
        *,
        good: bool | None = None,
        typed: str | None = None,
        question: Question | None = None,
    ) -> None:
        lang = self.spoken()
        self.render_page(
            "device.html",
            lang,
            page=page,
            words=PAGES[page][lang],
            labels=LABELS[lang],
            good=good,
            typed=typed,
            question=question,
        )
