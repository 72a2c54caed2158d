"""The controls for tests, the load kit and demonstrations: ``/simulator/...``, JSON only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from simulator.authorisations import ErrorPage, read_authorize, read_qrconnect
from simulator.faults import Fault
from simulator.hosts.open import consent, decide_login
from simulator.hosts.pages import refuse_public_names
from simulator.messages import PushOptions
from simulator.mistakes import MISTAKES, make_mistake
from simulator.pushes import Delivery
from simulator.world import World


class ControlHandler(RequestHandler):
    """A control. Bodies are JSON by Content-Type, so that no foreign page can post one."""

    def initialize(self, world: World) -> None:
        self.world = world

    def prepare(self) -> None:
        self.set_header("Cache-Control", "no-store")
        refuse_public_names(self)
        # Command-line clients send none; a browser always does with a POST.
        origin = self.request.headers.get("Origin")
        if origin is not None and origin != f"{self.request.protocol}://{self.request.host}":
            raise HTTPError(403, reason="Foreign Origin")
        if self.request.method == "POST":
            kind = self.request.headers.get("Content-Type", "").split(";")[0].strip()
            if kind != "application/json":
                raise HTTPError(415, reason="Send application/json")

    def body(self) -> dict[str, Any]:
        """The request's JSON object.

        Raises:
            HTTPError: 400.
        """
        try:
            document = json.loads(self.request.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise HTTPError(400, reason="The body is no JSON object")
        return document

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, (KeyError, TypeError, ValueError)):
            self.set_status(400)
            self.finish({"error": f"{type(error).__name__}: {error}"})
        else:
            self.finish({"error": self._reason})

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """A mistake of the caller is answered with 400 or the like, and is no failure to log."""
        if not isinstance(value, (KeyError, TypeError, ValueError, HTTPError)):
            super().log_exception(typ, value, tb)


def push_options(document: Mapping[str, Any]) -> PushOptions:
    """The options of a control request.

    Raises:
        ValueError: an unknown option.
    """
    known = {field.name for field in fields(PushOptions)}
    if unknown := set(document) - known:
        raise ValueError(f"unknown option {sorted(unknown)[0]}")
    return PushOptions(**document)


class PhoneControlHandler(ControlHandler):
    """``POST /simulator/scan|follow|unfollow|text|message|menu|event``: a person does it.

    Body: ``person``, what the action needs, ``account`` (an app_id), ``options`` (see
    `PushOptions`). The answer is the `Delivery`.
    """

    async def post(self, action: str) -> None:
        document = self.body()
        options = push_options(document.get("options", {}))
        # The route's pattern admits only the names of the methods below.
        delivery = await getattr(self, f"_{action}")(document, options)
        self.write(delivery.document())

    async def _scan(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        return await self.world.phones.scan(
            document["person"],
            url=document.get("url", ""),
            ticket=document.get("ticket", ""),
            scene_str=document.get("scene_str", ""),
            follow=document.get("follow", True),
            options=options,
        )

    async def _follow(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        return await self.world.phones.follow(
            document["person"],
            document.get("account", ""),
            event_key=document.get("event_key"),
            options=options,
        )

    async def _unfollow(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        account = document.get("account", "")
        return await self.world.phones.unfollow(document["person"], account, options=options)

    async def _text(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        return await self.world.phones.text(
            document["person"], document["text"], document.get("account", ""), options=options
        )

    async def _message(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        account = document.get("account", "")
        return await self.world.phones.message(
            document["person"], document["fields"], account, options
        )

    async def _menu(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        return await self.world.phones.menu(
            document["person"],
            document["key"],
            document.get("account", ""),
            view=document.get("view", False),
            options=options,
        )

    async def _event(self, document: dict[str, Any], options: PushOptions) -> Delivery:
        return await self.world.phones.event(
            document["person"],
            document["event"],
            document.get("fields", {}),
            document.get("account", ""),
            options=options,
        )


class ReleaseHandler(ControlHandler):
    """``POST /simulator/release``: send what was held, newest first."""

    async def post(self) -> None:
        deliveries = await self.world.phones.release()
        self.write({"deliveries": [delivery.document() for delivery in deliveries]})


class CheckHandler(ControlHandler):
    """``POST /simulator/check``: the console's check of the callback URL."""

    async def post(self) -> None:
        account = self.world.phones.account(self.body().get("account", ""))
        self.write({"passed": await self.world.pusher.check(account)})


class FaultsHandler(ControlHandler):
    """``POST /simulator/faults`` adds one (see `Fault`), ``DELETE`` clears all."""

    def post(self) -> None:
        self.world.faults.add(Fault.from_json(self.body()))
        self.set_status(204)

    def delete(self) -> None:
        self.world.faults.clear()
        self.set_status(204)


class MistakesHandler(ControlHandler):
    """``POST /simulator/mistakes {"name"}`` makes one of `MISTAKES`; ``GET`` tells which."""

    def get(self) -> None:
        self.write({name: mistake.meaning for name, mistake in MISTAKES.items()})

    def post(self) -> None:
        make_mistake(self.world, self.body()["name"])
        self.set_status(204)


class ClockHandler(ControlHandler):
    """``POST /simulator/clock {"advance": seconds}``: turns only the simulator's clock."""

    def post(self) -> None:
        self.world.clock.advance(float(self.body()["advance"]))
        self.write({"now": self.world.clock.now()})


class SubscribeHandler(ControlHandler):
    """``POST /simulator/subscribe {"person", "template_id"}``: agrees to subscribe messages.

    Of ``account`` (an app_id, also of a mini program), as often as ``times`` says: once.
    """

    def post(self) -> None:
        document = self.body()
        app = self.world.app(document.get("account", "") or self.world.phones.account().app_id)
        if app is None:
            raise ValueError("unknown account")
        person = self.world.people.named(document["person"])
        times = int(document.get("times", 1))
        self.world.notices.agree(person, app.app_id, document["template_id"], times)
        self.write({"openid": self.world.people.openid(person, app.app_id)})


class TokensHandler(ControlHandler):
    """``POST /simulator/tokens/expire``: every access_token stops working now."""

    def post(self) -> None:
        self.world.tokens.expire_all()
        self.set_status(204)


class CallsHandler(ControlHandler):
    """``GET /simulator/calls``: how often each of WeChat's paths was called."""

    def get(self) -> None:
        self.write(dict(self.world.faults.calls))


class PeopleHandler(ControlHandler):
    """``GET /simulator/people``; ``POST`` changes one: name, language, nickname, ..."""

    def get(self) -> None:
        self.write({"people": [asdict(person) for person in self.world.people]})

    def post(self) -> None:
        document = self.body()
        person = self.world.people.named(document.pop("person"))
        for key, value in document.items():
            if key not in ("language", "nickname", "avatar", "phone_number", "blocks_notices"):
                raise ValueError(f"unknown field {key}")
            setattr(person, key, value)
        self.world.people.changed(person)
        # Asking for an openid makes it known, so that WeChat's interfaces find the person by it.
        app_ids = (*self.world.accounts, *self.world.mini_program_apps, *self.world.websites)
        openids = {app_id: self.world.people.openid(person, app_id) for app_id in app_ids}
        self.write({**asdict(person), "openids": openids})


class ChatHandler(ControlHandler):
    """``GET /simulator/chat/<person>[?account=]``: what was said, oldest first."""

    def get(self, name: str) -> None:
        account = self.world.phones.account(self.get_query_argument("account", ""))
        lines = self.world.chats.lines(name, account.app_id)
        self.write({"lines": [line.document() for line in lines]})


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
                # After a denial WeChat's browser goes nowhere: the site is not told.
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
