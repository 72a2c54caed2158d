"""The only route table."""

from typing import Any

from tornado.web import Application

from handlers.access_log import log_request
from handlers.base import NotFoundHandler
from handlers.operations import HealthHandler, MetricsHandler, ReadyHandler
from handlers.pages import STATIC, FilesHandler, PageHandler
from handlers.people import JwksHandler, MeHandler
from handlers.scenes import AckHandler, PictureHandler, SceneHandler, ScenesHandler
from handlers.wechat import CallbackHandler
from services.container import Container

_SCENE = r"/api/scenes/([^/]{1,64})"


def routes(container: Container) -> list[Any]:
    """``/ws/<scene_str>`` is missing here: push/upgrade answers it, below the application."""
    shared = {"container": container}
    return [
        (r"/", PageHandler, {"page": "index.html", **shared}),
        (r"/static/(.*)", FilesHandler, {"path": str(STATIC)}),
        (r"/api/scenes", ScenesHandler, shared),
        (_SCENE, SceneHandler, shared),
        (_SCENE + r"/ack", AckHandler, shared),
        (_SCENE + r"/qr\.(svg|png)", PictureHandler, shared),
        (r"/api/me", MeHandler, shared),
        (r"/\.well-known/jwks\.json", JwksHandler, shared),
        (r"/wechat/callback(?:/([^/]{1,64}))?", CallbackHandler, shared),
        (r"/healthz", HealthHandler, shared),
        (r"/readyz", ReadyHandler, shared),
        (r"/metrics", MetricsHandler, shared),
    ]


def make_application(container: Container) -> Application:
    return Application(
        routes(container),
        default_handler_class=NotFoundHandler,
        default_handler_args={"container": container},
        log_function=log_request,
        under_way=set(),
        websocket_ping_interval=0,
    )
