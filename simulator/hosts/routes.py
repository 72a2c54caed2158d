"""Which path leads to which handler: the whole simulator, and the phone page alone."""

import logging
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler, StaticFileHandler

from simulator.hosts import api, console, control, followers, messages
from simulator.hosts import open as open_host
from simulator.hosts import phone, sns, wxa
from simulator.hosts.base import UnknownHandler
from simulator.world import World

log = logging.getLogger("scanpush.simulator")

HERE = Path(__file__).resolve().parent.parent

STATIC = {"path": str(HERE / "static")}

HOST_NAMES = {
    "api.weixin.qq.com": "/api",
    "api2.weixin.qq.com": "/api2",
    "sh.api.weixin.qq.com": "/api",
    "sz.api.weixin.qq.com": "/api",
    "hk.api.weixin.qq.com": "/api",
    "file.api.weixin.qq.com": "/api",
    "mp.weixin.qq.com": "/mp",
    "open.weixin.qq.com": "/open",
    "lp.open.weixin.qq.com": "/open",
    "res.wx.qq.com": "/res",
}
"""WeChat's hosts, and the first part of the path that stands for each of them here."""

_Routes = list[Any]


def whole_application(world: World) -> Application:
    """Every host, told apart by the first path segment, with the controls and the phone page."""
    shared = {"world": world}
    wechat: list[tuple[str, type[RequestHandler]]] = [
        (r"/api2?/cgi-bin/token", api.TokenHandler),
        (r"/api2?/cgi-bin/stable_token", api.StableTokenHandler),
        (r"/api2?/cgi-bin/qrcode/create", api.CreateCodeHandler),
        (r"/api2?/cgi-bin/shorten/gen", api.ShortenHandler),
        (r"/api2?/cgi-bin/shorten/fetch", api.FetchShortHandler),
        (r"/api2?/cgi-bin/shorturl", api.ShortUrlHandler),
        (r"/api2?/cgi-bin/ticket/getticket", api.TicketHandler),
        (r"/api2?/cgi-bin/(?:getcallbackip|get_api_domain_ip)", api.AddressesHandler),
        (r"/api2?/cgi-bin/callback/check", api.CallbackCheckHandler),
        (r"/api2?/cgi-bin/clear_quota", api.ClearQuotaHandler),
        (r"/api2?/cgi-bin/clear_quota/v2", api.ClearQuotaBySecretHandler),
        (r"/api2?/cgi-bin/openapi/quota/get", api.QuotaHandler),
        (r"/api2?/cgi-bin/user/get", followers.UserListHandler),
        (r"/api2?/cgi-bin/user/info", followers.UserInfoHandler),
        (r"/api2?/cgi-bin/user/info/batchget", followers.BatchUserInfoHandler),
        (r"/api2?/cgi-bin/user/info/updateremark", followers.RemarkHandler),
        (r"/api2?/cgi-bin/user/tag/get", followers.TaggedHandler),
        (r"/api2?/cgi-bin/tags/get", followers.TagsHandler),
        (r"/api2?/cgi-bin/tags/(?:create|update|delete)", followers.ChangeTagHandler),
        (
            r"/api2?/cgi-bin/tags/members/(?:batchtagging|batchuntagging)",
            followers.TagMembersHandler,
        ),
        (r"/api2?/cgi-bin/tags/getidlist", followers.TagsOfFollowerHandler),
        (r"/api2?/cgi-bin/message/custom/send", messages.CustomMessageHandler),
        (r"/api2?/cgi-bin/message/custom/typing", messages.TypingHandler),
        (r"/api2?/cgi-bin/message/template/send", messages.SendTemplateHandler),
        (r"/api2?/cgi-bin/template/get_all_private_template", messages.TemplatesHandler),
        (
            r"/api2?/cgi-bin/message/subscribe/(?:send|bizsend)",
            messages.SubscribeMessageHandler,
        ),
        (r"/api2?/wxaapi/newtmpl/gettemplate", messages.SubscribeTemplatesHandler),
        (r"/api2?/cgi-bin/menu/create", messages.CreateMenuHandler),
        (
            r"/api2?/cgi-bin/(?:menu/(?:get|delete)|get_current_selfmenu_info)",
            messages.MenuHandler,
        ),
        (r"/api2?/cgi-bin/media/upload", messages.UploadHandler),
        (r"/api2?/cgi-bin/media/get", messages.DownloadHandler),
        (r"/api2?/sns/oauth2/access_token", sns.ExchangeHandler),
        (r"/api2?/sns/oauth2/refresh_token", sns.RefreshHandler),
        (r"/api2?/sns/userinfo", sns.ProfileHandler),
        (r"/api2?/sns/auth", sns.CheckHandler),
        (r"/api2?/sns/jscode2session", sns.MiniProgramSessionHandler),
        (r"/api2?/wxa/getwxacodeunlimit", wxa.UnlimitedCodeHandler),
        (r"/api2?/wxa/business/getuserphonenumber", wxa.PhoneNumberHandler),
        (r"/api2?/wxa/checksession", wxa.CheckSessionHandler),
        (r"/(?:api/)?video/([\w-]+)", messages.VideoHandler),
        (r"/api2?/.*", UnknownHandler),
        (r"/mp/cgi-bin/showqrcode", api.ShowCodeHandler),
        (r"/open/connect/qrcode/(\w+)", open_host.LoginPictureHandler),
        (r"/open/connect/l/qrconnect", open_host.LoginPollHandler),
        (
            r"/simulator/(scan|follow|unfollow|text|message|menu|event)",
            control.PhoneControlHandler,
        ),
        (r"/simulator/authorize", control.AuthorizeControlHandler),
        (r"/simulator/snapshot", control.SnapshotHandler),
        (r"/simulator/website", control.WebsiteControlHandler),
        (r"/simulator/mini_program/(login|phone)", control.MiniProgramControlHandler),
        (r"/simulator/release", control.ReleaseHandler),
        (r"/simulator/check", control.CheckHandler),
        (r"/simulator/faults", control.FaultsHandler),
        (r"/simulator/mistakes", control.MistakesHandler),
        (r"/simulator/clock", control.ClockHandler),
        (r"/simulator/subscribe", control.SubscribeHandler),
        (r"/simulator/tokens/expire", control.TokensHandler),
        (r"/simulator/calls", control.CallsHandler),
        (r"/simulator/people", control.PeopleHandler),
        (r"/simulator/chat/([^/]+)", control.ChatHandler),
    ]
    routes: _Routes = [(path, handler, shared) for path, handler in wechat]
    pages: _Routes = [
        (r"/console", console.ConsoleHandler, {**shared, "base": ""}),
        (r"/open/connect/oauth2/authorize", open_host.AuthorizeHandler, {**shared, "base": ""}),
        (r"/open/connect/qrconnect", open_host.QrConnectHandler, {**shared, "base": ""}),
        # The script's real address is on res.wx.qq.com.
        (r"/(?:open|res)/connect/\w+/htmledition/js/(wxLogin\.js)", StaticFileHandler, STATIC),
    ]
    return _application(routes + pages + _phone_routes(world, ""))


def phone_application(world: World, base: str) -> Application:
    """Only the phone page, below `base`: neither WeChat's hosts nor the controls are reachable."""
    return _application(_phone_routes(world, base))


def _phone_routes(world: World, base: str) -> _Routes:
    shared = {"world": world, "base": base}
    return [
        (rf"{base}/", phone.HomeHandler, shared),
        (rf"{base}/phone", phone.PhonePageHandler, shared),
        (rf"{base}/q/([\w-]+)", phone.PhonePageHandler, shared),
        (rf"{base}/w/(\w+)", phone.WebsiteDecisionHandler, shared),
        (rf"{base}/m/(\w*)", phone.MiniProgramHandler, shared),
        (rf"{base}/phone/state", phone.StateHandler, shared),
        (rf"{base}/phone/act", phone.ActHandler, shared),
        (rf"{base}/phone/static/palette\.css", phone.PaletteHandler, shared),
        (rf"{base}/phone/static/(.*)", StaticFileHandler, STATIC),
    ]


class _Application(Application):
    """Finds the handler by WeChat's host names as well, for clients whose addresses are fixed."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        prefix = HOST_NAMES.get(request.host_name)
        # The pages of the open host name their own pictures and scripts by full paths.
        if prefix and not request.path.startswith((f"{prefix}/", "/phone/")):
            request.path = prefix + request.path
        return super().find_handler(request, **kwargs)


def _application(routes: _Routes) -> Application:
    # Tornado's own access log would hold queries, and with them secrets.
    return _Application(routes, log_function=_log, template_path=str(HERE / "templates"))


def _log(handler: RequestHandler) -> None:
    """One debug line per request, without its query, which holds secrets."""
    request = handler.request
    path = request.path if request.path.startswith(("/api", "/mp", "/open")) else "(page)"
    log.debug("%s %s %d", request.method, path, handler.get_status())
