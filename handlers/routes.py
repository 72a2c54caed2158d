"""The only route table."""

from typing import Any

from tornado.httputil import HTTPInputError, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router, Rule
from tornado.web import Application

from handlers.api_documents import DocumentHandler
from handlers.assets import static_assets
from handlers.base import NotFoundHandler, log_request
from handlers.callbacks import CallbackHandler
from handlers.http_messages import origin_form
from handlers.mini_program import (
    MiniProgramConfirmHandler,
    MiniProgramLoginHandler,
    MiniProgramScanHandler,
)
from handlers.oauth import AllowHandler, ReturnHandler, StartHandler
from handlers.oidc import (
    DiscoveryHandler,
    IntrospectionHandler,
    ProviderKeysHandler,
    RevocationHandler,
    TokenHandler,
    UserinfoHandler,
)
from handlers.oidc_device import DeviceAuthorizationHandler, DeviceHandler
from handlers.oidc_pages import AuthorizeHandler, LogoutHandler, PushedRequestHandler
from handlers.operations import (
    DoctorHandler,
    HealthHandler,
    MetricsHandler,
    OwnMetricsHandler,
    OwnReadyHandler,
    ReadyHandler,
)
from handlers.operator import (
    BanHandler,
    ErrorsPageHandler,
    OperatorPageHandler,
    OverviewHandler,
    StoryHandler,
    UnbanHandler,
    UserSessionsHandler,
)
from handlers.operator_api import (
    AccessTokenHandler,
    ExportHandler,
    RemovalHandler,
    UsersHandler,
)
from handlers.operator_events import (
    AuditHandler,
    DeadEventsHandler,
    SendEventHandler,
    SendEventsHandler,
)
from handlers.pages import FilesHandler, PageHandler, VerifyFileHandler
from handlers.people import ExchangeHandler, JwksHandler, MeHandler, RegisterHandler
from handlers.scenes import AckHandler, NumberHandler, PictureHandler, SceneHandler, ScenesHandler
from handlers.screens import (
    KioskHandler,
    KioskNoticeHandler,
    KioskReloadHandler,
    KioskSecretHandler,
    KiosksHandler,
    OperatorPairHandler,
    PairHandler,
    PairPictureHandler,
)
from handlers.sessions import RefreshHandler, RevokeHandler, SessionHandler, SessionsHandler
from handlers.sockets import SocketRouter
from services.container import Container
from services.scenes.states import Kind

_KIOSK = r"/api/operator/kiosks/([^/]{1,64})"
_SCENE = r"/api/scenes/([^/]+)"
"""Of any length, so that all that is no scene is answered like one that is unknown."""
_USER = r"/api/operator/users/([^/]{1,384})"
"""An id of the operator's own system has up to 128 characters, each of which may be escaped."""


def routes(container: Container) -> list[Any]:
    """Every route of the server.

    Some requests are served before this table is asked: plain upgrades below ``/ws/``
    (handlers/listener.py), and the hot routes, the POSTs of ``/wechat/callback``, ``/api/scenes``,
    ``/api/token/refresh`` and ``/oauth/token`` (handlers/http1.py).
    """
    shared = {"container": container}
    # Now, so that a mistake there stops the start and no visitor waits for it.
    static_assets()
    return [
        (r"/", PageHandler, {"page": "index", **shared}),
        (r"/kiosk", PageHandler, {"page": "kiosk", **shared}),
        (r"/operator", OperatorPageHandler, {"page": "operator", **shared}),
        (r"/operator/errors", ErrorsPageHandler, {"page": "operator", **shared}),
        (r"/api/operator/overview", OverviewHandler, shared),
        (r"/api/operator/scenes/([^/]{1,64})", StoryHandler, shared),
        (r"/api/operator/audit", AuditHandler, shared),
        (r"/api/operator/events/dead", DeadEventsHandler, shared),
        (r"/api/operator/events/send", SendEventsHandler, shared),
        (r"/api/operator/events/([^/]{1,64})/send", SendEventHandler, shared),
        (_USER + r"/ban", BanHandler, shared),
        (_USER + r"/unban", UnbanHandler, shared),
        (_USER + r"/sessions", UserSessionsHandler, shared),
        (r"/api/operator/kiosks", KiosksHandler, shared),
        (r"/api/operator/kiosks/pair", OperatorPairHandler, shared),
        (_KIOSK, KioskHandler, shared),
        (_KIOSK + r"/reload", KioskReloadHandler, shared),
        (_KIOSK + r"/notice", KioskNoticeHandler, shared),
        (_KIOSK + r"/secret", KioskSecretHandler, shared),
        (r"/api/kiosks/pair", PairHandler, shared),
        (r"/api/kiosks/pair/qr\.svg", PairPictureHandler, shared),
        (_USER + r"/export", ExportHandler, shared),
        (_USER, RemovalHandler, shared),
        (r"/api/operator/users", UsersHandler, shared),
        (r"/api/operator/access_token", AccessTokenHandler, shared),
        (r"/static/(.*)", FilesHandler, shared),
        (r"/ws/.*", SocketRouter(container.push.admission, container.metrics)),
        (r"/api/scenes", ScenesHandler, shared),
        (_SCENE, SceneHandler, shared),
        (_SCENE + r"/ack", AckHandler, shared),
        (_SCENE + r"/number", NumberHandler, shared),
        (_SCENE + r"/qr\.(svg|png)", PictureHandler, shared),
        (r"/api/me", MeHandler, shared),
        (r"/api/token/refresh", RefreshHandler, shared),
        (r"/api/token/revoke", RevokeHandler, shared),
        (r"/api/sessions", SessionsHandler, shared),
        (r"/api/sessions/([^/]{1,64})", SessionHandler, shared),
        (r"/api/register", RegisterHandler, shared),
        (r"/api/exchange", ExchangeHandler, shared),
        (r"/\.well-known/jwks\.json", JwksHandler, shared),
        (r"/wechat/callback(?:/([^/]{1,64}))?", CallbackHandler, shared),
        (r"/oauth/wechat/start", StartHandler, {"kind": Kind.WEB, **shared}),
        (r"/oauth/wechat/callback", ReturnHandler, {"kind": Kind.WEB, **shared}),
        (r"/oauth/website/start", StartHandler, {"kind": Kind.WEBSITE, **shared}),
        (r"/oauth/website/callback", ReturnHandler, {"kind": Kind.WEBSITE, **shared}),
        (r"/oauth/allow", AllowHandler, shared),
        (r"/\.well-known/openid-configuration", DiscoveryHandler, shared),
        (r"/oauth/jwks", ProviderKeysHandler, shared),
        (r"/oauth/authorize", AuthorizeHandler, shared),
        (r"/oauth/par", PushedRequestHandler, shared),
        (r"/oauth/logout", LogoutHandler, shared),
        (r"/oauth/device_authorization", DeviceAuthorizationHandler, shared),
        (r"/device", DeviceHandler, shared),
        (r"/oauth/token", TokenHandler, shared),
        (r"/oauth/userinfo", UserinfoHandler, shared),
        (r"/oauth/revoke", RevocationHandler, shared),
        (r"/oauth/introspect", IntrospectionHandler, shared),
        (r"/api/miniprogram/login", MiniProgramLoginHandler, shared),
        (r"/api/miniprogram/scan", MiniProgramScanHandler, shared),
        (r"/api/miniprogram/confirm", MiniProgramConfirmHandler, shared),
        (r"/([A-Za-z0-9_-]{1,80}\.txt)", VerifyFileHandler, shared),
        (r"/(openapi|asyncapi)\.json", DocumentHandler, shared),
        (r"/healthz", HealthHandler, shared),
        (r"/readyz", ReadyHandler, shared),
        (r"/metrics", MetricsHandler, shared),
        (r"/api/doctor", DoctorHandler, shared),
    ]


def routes_for_worker_peers(container: Container) -> list[Any]:
    """What the other processes of the same server ask, over a socket of their own."""
    shared = {"container": container}
    return [(r"/readyz", OwnReadyHandler, shared), (r"/metrics", OwnMetricsHandler, shared)]


class AbsoluteTargets(Router):
    """The last rule of `application`: serves absolute targets, which Tornado's own connections hand
    on as they are. handlers/http1.py has made them origin form before."""

    def __init__(self, application: Application) -> None:
        self._application = application
        application.wildcard_router.rules.append(Rule(PathMatches(r"[^/*].*"), self))

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        if request.method == "CONNECT":
            return None
        named = origin_form(request.uri or "")
        if named is None:
            raise HTTPInputError("not a target")
        host, request.uri = named
        request.headers["Host"] = request.host = host
        request.path, _, request.query = request.uri.partition("?")
        return self._application.find_handler(request, **kwargs)


def make_application(container: Container, rules: list[Any]) -> Application:
    application = Application(
        rules,
        default_handler_class=NotFoundHandler,
        default_handler_args={"container": container},
        log_function=log_request,
        websocket_ping_interval=0,
    )
    AbsoluteTargets(application)
    return application
