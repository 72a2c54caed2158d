"""``/api/scenes``: begin, read, acknowledge, answer, cancel, and the pictures of the code."""

import re
from collections.abc import Mapping
from typing import Any

from handlers.api_request import ApiRequest, answer, optional_text, query_number
from handlers.base import BaseHandler, write_response
from handlers.http_messages import HotRoute, HttpResponse
from services.container import Container
from services.errors import ApiError
from services.ids import SceneStr, is_scene_str
from services.push.hub import Waiter
from services.push.polling import MOST_WAIT_SECONDS
from services.scenes.begin import BeginRequest
from services.scenes.numbers import is_number
from services.scenes.states import NO_DETAILS, Kind, State

_TARGET = re.compile(r"/api/scenes(?:\?.*)?")
_BEGIN_COOKIE_DAYS = 365
_PICTURE_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


async def begin(asked: ApiRequest) -> HttpResponse:
    """The answer to ``POST /api/scenes``.

    Raises:
        ApiError, WeChatError, StoreUnavailable: no scene was begun.
    """
    asked.refuse_foreign_origin()
    body = asked.json_object()
    begin_cookie, kind = asked.own_cookie("begin"), optional_text(body, "kind")
    pending, details = optional_text(body, "authorize"), NO_DETAILS
    if pending is not None:
        if (provider := asked.container.provider) is None:
            raise ApiError("bad_request", "There are no clients here.", field="authorize")
        details = await provider.authorization.scene_details(pending, kind, begin_cookie)
        if body.get("kiosk") is not None:
            raise ApiError("bad_request", "A kiosk logs no browser in.", field="kiosk")
    begun = await asked.container.begin.begin(
        BeginRequest(
            address=asked.address,
            account=optional_text(body, "account"),
            kind=kind,
            lang=optional_text(body, "lang"),
            kiosk=optional_text(body, "kiosk"),
            kiosk_secret=asked.bearer(),
            page=optional_text(body, "page") or "",
            begin_cookie=begin_cookie,
            user_agent=asked.headers.get("User-Agent", ""),
            origin=asked.own_origin,
            details=details,
        )
    )
    # Lax, so that it comes along when WeChat sends the browser back by a link; it proves there
    # that this browser began the scene (docs/security.md, C11).
    cookie = asked.set_cookie("begin", begun.begin_cookie, "/", _BEGIN_COOKIE_DAYS)
    return asked.respond(begun.document, 201, {"Set-Cookie": cookie, **asked.cors_headers()})


def hot_route(container: Container) -> HotRoute:
    """``POST /api/scenes`` without a RequestHandler: each page begins with it."""
    return HotRoute("POST", _TARGET, lambda request: answer(container, request, begin))


class ScenesHandler(BaseHandler):
    """``/api/scenes``: the other methods, and the POST where Tornado's own connections serve it."""

    async def post(self) -> None:
        write_response(self, await begin(self.asked))


class SceneHandler(BaseHandler):
    """``GET`` and ``DELETE /api/scenes/<scene_str>``: read the status, now or when it changes; give
    the scene up."""

    _waiter: Waiter | None = None
    _is_left = False

    async def get(self, text: str) -> None:
        self.share_with_origin()
        scene_str = self.scene_str(text)
        wait = query_number(self.get_query_argument("wait", None), "wait", MOST_WAIT_SECONDS)
        seq = query_number(self.get_query_argument("seq", None), "seq", 1e9, whole=True)
        polling = self.container.polling
        if wait is None:
            scene = await polling.now(scene_str, self.watch_token())
        else:
            known = None if seq is None else int(seq)
            scene = await polling.wait(
                scene_str, self.watch_token(), wait, known, self.asked.address, self._waits
            )
        self.write_body(self.container.login.document(scene))

    def _waits(self, waiter: Waiter) -> None:
        self._waiter = waiter
        if self._is_left:
            waiter.release()

    def on_connection_close(self) -> None:
        """The client of a long poll has gone, maybe before it waits: its place is free for
        another."""
        self._is_left = True
        if self._waiter is not None:
            self._waiter.release()

    async def delete(self, text: str) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        scene = await self.container.login.authenticated(self.scene_str(text), self.watch_token())
        await self.container.login.cancel(scene.scene_str)
        self.set_status(204)


class AckHandler(BaseHandler):
    """``POST /api/scenes/<scene_str>/ack``: the page has its login."""

    async def post(self, text: str) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        scene = await self.container.login.authenticated(self.scene_str(text), self.watch_token())
        await self.container.login.ack(scene.scene_str, _seq(self.asked.json_object()))
        self.set_status(204)


class NumberHandler(BaseHandler):
    """``POST /api/scenes/<scene_str>/number``: what was typed on the page, right or wrong."""

    async def post(self, text: str) -> None:
        self.asked.refuse_foreign_origin()
        self.share_with_origin()
        scene = await self.container.login.authenticated(self.scene_str(text), self.watch_token())
        body = self.asked.json_object()
        seq, number = _seq(body), body.get("number")
        if not is_number(number):
            raise ApiError("bad_request", "number must be two digits.", field="number")
        await self.container.number_match.answer(scene.scene_str, seq, str(number))
        self.set_status(204)


class PictureHandler(BaseHandler):
    """``GET /api/scenes/<scene_str>/qr.svg|png``: public, gone once the scene was scanned."""

    async def get(self, text: str, kind: str) -> None:
        self.share_with_origin()
        scene = await self.container.scenes.get(SceneStr(text)) if is_scene_str(text) else None
        pictures = self.container.mini_program_pictures
        if scene is None or scene.state is not State.WAITING:
            raise _no_picture()
        if content := scene.details.get("qr_content"):
            self.set_header("Content-Type", _PICTURE_TYPES[kind])
            self.finish(await self.container.pictures.draw(content, kind))
        elif scene.kind is Kind.MINI_PROGRAM and pictures is not None and kind == "png":
            # WeChat draws this one, often as JPEG. It is served under the name png all the same.
            picture = await pictures.of(scene.scene_str, self.asked.address)
            self.set_header("Content-Type", picture.content_type)
            self.finish(picture.body)
        else:
            raise _no_picture()


def _seq(body: Mapping[str, Any]) -> int:
    seq = body.get("seq")
    # Not isinstance, which takes true and false for numbers.
    if type(seq) is not int:
        raise ApiError("bad_request", "seq must be a whole number.", field="seq")
    return seq


def _no_picture() -> ApiError:
    return ApiError("not_found", "There is no code to show.")
