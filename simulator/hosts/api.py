"""api.weixin.qq.com, ``/cgi-bin``: credentials, QR codes, short links, diagnostics; and
mp.weixin.qq.com, which has only the picture of a code.
"""

from collections.abc import Mapping
from typing import Any

from simulator.codes import MAX_SHORT_SECONDS, SHORT_LINKS
from simulator.config import SimulatedAccount, SimulatedApp
from simulator.hosts.base import CredentialHandler, Needs, WeChatHandler
from simulator.pictures import qr_jpeg
from simulator.refusals import Refusal

CODE_SIDE = 430
"""Pixels of WeChat's own picture of a code."""


class TokenHandler(WeChatHandler):
    """``GET /cgi-bin/token``: a new access_token each time."""

    async def call(self) -> None:
        arguments = self.query()
        if arguments.get("grant_type") != "client_credential":
            raise Refusal(40002)
        app = self.owner_of(arguments)
        self.check_address(app)
        self.world.quotas.spend(app.app_id, self.wechat_path)
        token, expires_in = self.world.tokens.classic(app.app_id)
        self.answer({"access_token": token, "expires_in": expires_in})


class StableTokenHandler(WeChatHandler):
    """``POST /cgi-bin/stable_token``: the same access_token for every caller."""

    method = "POST"

    async def call(self) -> None:
        arguments = self.json_body()
        if arguments.get("grant_type") != "client_credential":
            raise Refusal(40002)
        app = self.owner_of(arguments)
        self.check_address(app)
        self.world.quotas.spend(app.app_id, self.wechat_path)
        force = arguments.get("force_refresh") is True
        token, expires_in = self.world.tokens.stable(app.app_id, force)
        self.answer({"access_token": token, "expires_in": expires_in})


class CreateCodeHandler(CredentialHandler):
    """``POST /cgi-bin/qrcode/create``."""

    method = "POST"
    needs = "verified service"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        try:
            code = self.world.codes.create(app.app_id, self.json_body())
        except Refusal:
            # Whether WeChat counts what it refuses is not documented; no code was made.
            self.world.quotas.give_back(app.app_id, self.wechat_path)
            raise
        document: dict[str, Any] = {"ticket": code.ticket}
        if code.expires_at is not None:
            document["expire_seconds"] = code.expire_seconds
        self.answer({**document, "url": self.world.code_url(code)})


class ShortenHandler(CredentialHandler):
    """``POST /cgi-bin/shorten/gen``: a short key for a long text."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        expire_seconds = request.get("expire_seconds", MAX_SHORT_SECONDS)
        links = self.world.short_links
        self.ok(short_key=links.shorten(app.app_id, request.get("long_data"), expire_seconds))


class FetchShortHandler(CredentialHandler):
    """``POST /cgi-bin/shorten/fetch``: the text of a short key."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        short_key = self.json_body().get("short_key")
        self.ok(**self.world.short_links.fetch(app.app_id, short_key))


class ShortUrlHandler(CredentialHandler):
    """``POST /cgi-bin/shorturl``: the older form, for addresses only; its links lead nowhere."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        request = self.json_body()
        long_url = request.get("long_url")
        if request.get("action") != "long2short":
            raise Refusal(40202)
        if not isinstance(long_url, str) or "://" not in long_url:
            raise Refusal(40035)
        key = self.world.short_links.shorten(app.app_id, long_url, MAX_SHORT_SECONDS)
        self.ok(short_url=f"{SHORT_LINKS}{key}")


class TicketHandler(CredentialHandler):
    """``GET /cgi-bin/ticket/getticket?type=``: what signs pages that use WeChat's scripts."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        kind = self.get_query_argument("type", "jsapi")
        ticket, expires_in = self.world.tickets.get(app.app_id, kind)
        self.ok(ticket=ticket, expires_in=expires_in)


class AddressesHandler(CredentialHandler):
    """``GET /cgi-bin/getcallbackip`` and ``get_api_domain_ip``: this machine, both ways."""

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        self.answer({"ip_list": ["127.0.0.1", "::1"]})


class CallbackCheckHandler(CredentialHandler):
    """``POST /cgi-bin/callback/check``: resolves and pings the callback URL's host."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        arguments = self.json_body()
        if not isinstance(app, SimulatedAccount) or not app.callback_url:
            raise Refusal(40201)
        if arguments.get("action") not in ("dns", "ping", "all"):
            raise Refusal(40202)
        if arguments.get("check_operator") not in ("CHINANET", "UNICOM", "CAP", "DEFAULT"):
            raise Refusal(40203)
        document: dict[str, Any] = {}
        if arguments["action"] != "ping":
            document["dns"] = [{"ip": "127.0.0.1", "real_operator": "DEFAULT"}]
        if arguments["action"] != "dns":
            ping = {"ip": "127.0.0.1", "from_operator": "DEFAULT"}
            document["ping"] = [{**ping, "package_loss": "0%", "time": "0.05ms"}]
        self.answer(document)


class ClearQuotaHandler(CredentialHandler):
    """``POST /cgi-bin/clear_quota``: ten times a month."""

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        if self.json_body().get("appid") != app.app_id:
            raise Refusal(40013)
        self.world.quotas.clear(app.app_id)
        self.ok()


class ClearQuotaBySecretHandler(WeChatHandler):
    """``POST /cgi-bin/clear_quota/v2``: the same, for an app that cannot get a token any more."""

    method = "POST"

    async def call(self) -> None:
        arguments = self.query() | (self.json_body() if self.request.body else {})
        app = self.owner_of({**arguments, "secret": arguments.get("appsecret")})
        self.check_address(app)
        self.world.quotas.clear(app.app_id)
        self.answer({"errcode": 0, "errmsg": "ok"})


GRANTS: Mapping[str, Needs] = {
    "/cgi-bin/qrcode/create": "verified service",
    "/cgi-bin/message/template/send": "verified service",
    "/cgi-bin/user/info": "verified",
    "/cgi-bin/user/info/batchget": "verified",
    "/cgi-bin/user/get": "verified",
}
"""What an account must be for paths whose quota is asked for; anything for the others."""


class QuotaHandler(CredentialHandler):
    """``POST /cgi-bin/openapi/quota/get``: what is left of a path's quota; 76022 for a path that
    the account may not call, or that begins with ``/sns/``.
    """

    method = "POST"

    async def call_for(self, app: SimulatedAccount | SimulatedApp) -> None:
        path = self.json_body().get("cgi_path")
        if str(path).startswith("/sns/") or not self.is_granted(app, GRANTS.get(str(path), "")):
            raise Refusal(76022)
        self.ok(**self.world.quotas.report(app.app_id, path))


class ShowCodeHandler(WeChatHandler):
    """``GET /cgi-bin/showqrcode?ticket=``: needs no credential; 404 for an unknown ticket."""

    host = "mp"

    async def call(self) -> None:
        code = self.world.codes.by_ticket(self.get_query_argument("ticket", ""))
        # No errcode: this host serves browsers.
        if code is None or code.expired(self.world.clock.now()):
            self.set_status(404)
            self.finish()
            return
        self.set_header("Cache-Control", "max-age=604800")
        self.give(qr_jpeg(self.world.code_url(code), CODE_SIDE), "image/jpeg")
