"""``/operator`` and what its page asks for. All of it is 404 where no ``operator.token`` is set."""

import functools
import hmac
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, ClassVar

from handlers.base import BaseHandler
from handlers.pages import PageHandler
from services.errors import ApiError
from services.events.entries import entry
from services.ids import UserId
from services.operator import OperatorService
from services.wechat.replies import language

ROOT = Path(__file__).resolve().parents[1]

CHANGES = ("post", "put", "patch", "delete")
"""The methods of deeds."""


class OperatorHandler(BaseHandler):
    """Only for requests that bear the operator's token; it is compared in constant time.

    A page of a foreign origin does nothing. A deed is in the audit before it is done: while that
    cannot be written, nothing is. What hands out more than figures calls `note_deed` itself.

    What is not known here is refused by its name: a search with a parameter that is misspelt would
    find everything, and look as if it had found what was asked for.
    """

    parameters: ClassVar[Collection[str]] = ()
    """What the query may hold, each once."""

    def __init_subclass__(cls) -> None:
        for method in CHANGES:
            if (carry_out := vars(cls).get(method)) is not None:
                setattr(cls, method, _audited(carry_out))

    def prepare(self) -> None:
        super().prepare()
        token = self.container.settings.operator.token.get_secret_value()
        if not token:
            raise ApiError("not_found", "There is nothing here.")
        shown = self.asked.bearer().encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(token.encode(), shown):
            raise ApiError("unauthorized", "The operator's token is missing or wrong.")
        if (self.request.method or "").lower() in CHANGES:
            self.asked.refuse_foreign_origin()
        for name, values in self.request.query_arguments.items():
            if name not in self.parameters:
                # Tornado reads names as latin-1, and values as UTF-8.
                field = name.encode("latin-1").decode(errors="replace")[:64]
                raise ApiError("bad_request", f"{field} is no parameter here.", field=field)
            if len(values) > 1:
                raise ApiError("bad_request", f"{name} is given more than once.", field=name)

    @property
    def operator(self) -> OperatorService:
        assert self.container.operator is not None  # there is a token, as `prepare` has seen
        return self.container.operator

    async def note_deed(self, account: str = "") -> None:
        """Write down what is about to be done: ``users ban`` is a POST of ``.../users/<id>/ban``,
        ``delete users sessions`` a DELETE of ``.../users/<id>/sessions``.

        Args:
            account: which one it concerns.
        """
        noun, *deed = self.request.path.split("/")[3:]
        # By its place: a person or a screen may be named like a deed.
        about = self.path_args[0] if self.path_args else ""
        deed = [noun, *(deed[1:] if about else deed)]
        method = self.request.method or ""
        if method != "POST":
            deed.insert(0, method.lower())
        await self.container.events.keep(
            entry(
                "operator",
                self.container.clock.now(),
                outcome=" ".join(deed),
                user=UserId(about) if noun == "users" and about else None,
                account=account,
                screen=about if noun == "kiosks" else "",
                detail=f"{method} {self.request.path} from {self.asked.address}",
            )
        )


def _audited(carry_out: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(carry_out)
    async def audited(self: OperatorHandler, *args: str) -> None:
        # An exchange of a code (`ExchangeHandler`) is a part of a login, which is in the audit.
        if self.request.path.startswith("/api/operator/"):
            await self.note_deed()
        done = carry_out(self, *args)
        if done is not None:
            await done

    return audited


class OverviewHandler(OperatorHandler):
    """``GET /api/operator/overview``: this node in figures, and the last hour of all nodes."""

    async def get(self) -> None:
        self.write_json(await self.operator.overview())


class StoryHandler(OperatorHandler):
    """``GET /api/operator/scenes/<scene_str>``: what happened to one scene, by its short id too."""

    async def get(self, text: str) -> None:
        story = await self.operator.story(text)
        if story is None:
            raise ApiError("not_found", "Nothing is known of that scene.")
        self.write_json(story)


class UserHandler(OperatorHandler):
    """``POST /api/operator/users/<id>/ban|unban`` and ``DELETE .../sessions``, each by its verb."""

    def answer(self, known: bool) -> None:
        if not known:
            raise ApiError("not_found", "There is no such user.")
        self.set_status(204)


class BanHandler(UserHandler):
    async def post(self, user_id: str) -> None:
        self.answer(await self.operator.ban(UserId(user_id)))


class UnbanHandler(UserHandler):
    async def post(self, user_id: str) -> None:
        self.answer(await self.operator.unban(UserId(user_id)))


class UserSessionsHandler(UserHandler):
    async def delete(self, user_id: str) -> None:
        self.answer(await self.operator.end_sessions(UserId(user_id)))


class OperatorPageHandler(PageHandler):
    """``/operator``: the page itself holds nothing and is not protected; it asks for the token."""

    def prepare(self) -> None:
        super().prepare()
        if not self.container.settings.operator.token.get_secret_value():
            raise ApiError("not_found", "There is nothing here.")


class ErrorsPageHandler(OperatorPageHandler):
    """``GET /operator/errors``: docs/errors.md as it is, in Chinese or in English. The page of the
    operator links each of WeChat's errcodes to its line."""

    async def get(self) -> None:
        chinese = language(self.get_query_argument("lang", "")).startswith("zh")
        file = ROOT / "docs" / ("zh-CN" if chinese else "") / "errors.md"
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            raise ApiError("not_found", "This server was installed without docs/.") from None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text)
