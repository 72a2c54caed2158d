"""What the operator asks of the audit, and does about events that were not taken."""

import json
import re
from datetime import UTC, datetime

from tornado.iostream import StreamClosedError

from handlers.operator import OperatorHandler
from services.errors import ApiError
from services.events.entries import MOST_NUMBER
from services.events.store import Search
from services.ids import scene_prefix

_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_CURSOR = re.compile(r"[0-9]{1,19}")

MOST_TEXT = 384
"""Characters of a value to look for."""


class AuditHandler(OperatorHandler):
    """``GET /api/operator/audit``: what happened, the newest first; ``format=jsonl`` streams all of
    it, one entry a line."""

    parameters = (
        *("person", "since", "until", "account", "screen", "outcome", "scene"),
        *("cursor", "format"),
    )

    async def get(self) -> None:
        events = self.container.events
        person = self._text("person")
        search = await events.person(person) if person else Search()
        scene = self._text("scene")
        prefix = scene_prefix(scene) if scene else ""
        if prefix is None:
            raise ApiError(
                "bad_request", "scene must be 4 to 32 hexadecimal digits.", field="scene"
            )
        since, until = self._time("since"), self._time("until")
        if since is not None and until is not None and since > until:
            raise ApiError("bad_request", "until must not be before since.", field="until")
        search = search._replace(
            since=since,
            until=until,
            account=self._text("account"),
            screen=self._text("screen"),
            outcome=self._text("outcome"),
            scene=prefix,
        )
        cursor, form = cursor_of(self), self._text("format")
        if form == "jsonl":
            await self._stream(search, cursor)
        elif form in ("", "json"):
            self.write_json(await events.search(search, cursor))
        else:
            raise ApiError("bad_request", "format must be json or jsonl.", field="format")

    async def _stream(self, search: Search, cursor: int | None) -> None:
        self.set_header("Content-Type", "application/jsonl")
        self.set_header("Content-Disposition", 'attachment; filename="audit.jsonl"')
        async for entries in self.container.events.export(search, cursor):
            for entry in entries:
                self.write(json.dumps(entry, ensure_ascii=False) + "\n")
            try:
                # Waits for the client, so that no more is read than it takes.
                await self.flush()
            except StreamClosedError:
                return  # the client has gone

    def _text(self, name: str) -> str:
        text = self.get_query_argument(name, "")
        if len(text) > MOST_TEXT:
            raise ApiError("bad_request", f"{name} is too long.", field=name)
        if not text and any(self.request.query_arguments.get(name, ())):
            # Tornado takes blanks and control characters away: what is left finds everything.
            raise ApiError("bad_request", f"{name} is blank.", field=name)
        return text

    def _time(self, name: str) -> float | None:
        """Unix seconds, or ISO 8601, of which a day or a time without a zone is in UTC."""
        text = self._text(name)
        if not text:
            return None
        if _SECONDS.fullmatch(text):
            return float(text)
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ApiError(
                "bad_request", f"{name} must be unix seconds or an ISO 8601 time.", field=name
            ) from None
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


class DeadEventsHandler(OperatorHandler):
    """``GET /api/operator/events/dead``: dead letters, the newest first."""

    parameters = ("cursor",)

    async def get(self) -> None:
        self.write_json(await self.container.events.dead_letters(cursor_of(self)))


class SendEventsHandler(OperatorHandler):
    """``POST /api/operator/events/send``: send all dead letters again."""

    async def post(self) -> None:
        self.write_json({"sent": await self.container.events.send_all_again()})


class SendEventHandler(OperatorHandler):
    """``POST /api/operator/events/<id>/send``: send one dead letter again."""

    async def post(self, event_id: str) -> None:
        if not await self.container.events.send_again(event_id):
            raise ApiError("not_found", "There is no such dead letter.")
        self.set_status(204)


def cursor_of(handler: OperatorHandler) -> int | None:
    """Where a page continues, as the page before has said."""
    text = handler.get_query_argument("cursor", "")
    if not text:
        return None
    if not _CURSOR.fullmatch(text) or int(text) > MOST_NUMBER:
        raise ApiError("bad_request", "That is no cursor of an answer.", field="cursor")
    return int(text)
