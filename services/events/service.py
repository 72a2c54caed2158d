"""Events and the audit as the rest of the server uses them: keep, search, send again."""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from services.clock import Clock
from services.errors import ApiError
from services.events.entries import TOLD, Entry, data, document
from services.events.store import EventStore, Keeping, Search
from services.ids import AppId, OpenId, UserId
from services.logs import short_hash
from services.people.store import Identity, UserStore, users_of_openid

log = logging.getLogger("scanpush.events")

PAGE = 100
"""Entries of an answer."""

EXPORTED_AT_ONCE = 500

FORGOTTEN_AT_ONCE = 500

SENT_AT_ONCE = 1000

_SHORT_HASH = re.compile(r"[0-9a-f]{10}")


def note(entry: Entry) -> None:
    """The event's line of the log; a deed of the operator has a line of its own there."""
    if entry.type in TOLD:
        known = {name: value for name, value in data(entry).items() if value or name == "user"}
        log.info("event %s", entry.type, extra={"event": entry.type, **known})


class EventService:
    """Keeps what is no move of a scene, and answers the operator's questions about them.

    Args:
        store: None where nothing is kept; events are then lines of the log alone.
        app_ids: of the accounts and apps, in which an openid is looked for.
        collect: brings what other stores hold of entries into `store`; None where entries are
            written there at once.
    """

    def __init__(
        self,
        store: EventStore | None,
        users: UserStore,
        clock: Clock,
        keeping: Keeping,
        app_ids: Sequence[AppId],
        collect: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._users = users
        self._clock = clock
        self._keeping = keeping
        self._app_ids = app_ids
        self._collect = collect

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self._store is not None

    async def keep(self, entry: Entry) -> None:
        """Keep it, and write its line of the log.

        Raises:
            StoreUnavailable: again is safe.
        """
        if self._store is not None:
            await self._store.keep([entry])
        note(entry)

    async def user_of(self, identity: Identity) -> UserId | None:
        """Who that is, for an entry, where entries are kept; None for a person without a user."""
        if self._store is None:
            return None
        found = await self._users.find(identity)
        return None if found is None else found[0].id

    # What is kept of a person, for who removes or copies all of it.

    async def entries_of(
        self, ids: Sequence[UserId], openids: Iterable[str]
    ) -> Sequence[Mapping[str, Any]]:
        """The audit's entries of the person with these ids, the newest first; those too that were
        written when only the openid was known. Empty without an audit.

        Raises `StoreUnavailable`.
        """
        if self._store is None or not self._keeping.audited:
            return []
        await self._bring_over()
        search = Search(ids, [short_hash(openid) for openid in openids])
        return [one async for entries in self.export(search, None) for one in entries]

    async def forget(self, ids: Sequence[UserId], openids: Iterable[str]) -> None:
        """Let no entry name the person with these ids and openids, and tell no more of them.

        Again is no error, and does what a failure has left. Raises `StoreUnavailable`.
        """
        if self._store is None:
            return
        await self._bring_over()
        hashes = [short_hash(openid) for openid in openids]
        while await self._store.forget(ids, hashes, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
            pass  # some at a time, so that no login waits long

    async def _bring_over(self) -> None:
        if self._collect is not None:
            await self._collect()

    # The operator's questions.

    async def backlog(self) -> Mapping[str, Any] | None:
        """What is not told: the overview's member ``events``; None where nothing is."""
        if self._store is None or not self._keeping.told:
            return None
        pending, dead, oldest_at = await self._store.backlog()
        oldest = 0.0 if oldest_at is None else max(0.0, self._clock.now() - oldest_at)
        return {"pending": pending, "dead": dead, "oldest_seconds": round(oldest, 3)}

    async def search(self, search: Search, cursor: int | None) -> Mapping[str, Any]:
        """The document of ``GET /api/operator/audit``.

        Raises:
            ApiError: ``not_found``: there is no audit.
        """
        entries, following = await self._audit().search(search, cursor, PAGE)
        return {
            "entries": [document(entry) for entry in entries],
            "cursor": None if following is None else str(following),
        }

    async def export(
        self, search: Search, cursor: int | None
    ) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """All entries that fit, the newest first, some at a time.

        Raises:
            ApiError: as `search`.
        """
        following = cursor
        while True:
            entries, following = await self._audit().search(search, following, EXPORTED_AT_ONCE)
            if entries:
                yield [document(entry) for entry in entries]
            if following is None:
                return

    def _audit(self) -> EventStore:
        if self._store is None or not self._keeping.audited:
            raise ApiError("not_found", "There is no audit: audit.days is 0.")
        return self._store

    async def person(self, text: str) -> Search:
        """A search for the entries of a person: by a user id, by an openid, or by the short hash
        that entries, events and the log name them by."""
        ids, openids = {UserId(text): None}, {text: None}
        named = await users_of_openid(self._users, self._app_ids, OpenId(text))
        for user_id in {UserId(text), *(user.id for user in named)}:
            record = await self._users.record(user_id)
            if record is not None:
                ids |= dict.fromkeys((record.user.id, *record.aliases))
                openids |= dict.fromkeys(one.openid for one in record.identities)
        return Search(
            list(ids),
            [short_hash(openid) for openid in openids],
            short_hash=text if _SHORT_HASH.fullmatch(text) else "",
        )

    async def dead_letters(self, cursor: int | None) -> Mapping[str, Any]:
        """The document of ``GET /api/operator/events/dead``.

        Raises:
            ApiError: ``not_found``: no events are told.
        """
        letters = await self._outbox().dead_letters(cursor, PAGE)
        return {
            "events": [
                {
                    "id": letter.entry.id,
                    "type": letter.entry.type,
                    "at": letter.entry.at,
                    "tries": letter.tries,
                    "error": letter.error,
                    "data": data(letter.entry),
                }
                for letter in letters
            ],
            "cursor": str(letters[-1].number) if len(letters) == PAGE else None,
        }

    async def send_again(self, event_id: str) -> bool:
        """Whether there is such a dead letter; it is due now."""
        return await self._outbox().send_again(event_id, self._clock.now(), 1) > 0

    async def send_all_again(self) -> int:
        """How many dead letters there were; they are due now."""
        sent = 0
        while some := await self._outbox().send_again(None, self._clock.now(), SENT_AT_ONCE):
            sent += some
            if some < SENT_AT_ONCE:
                break
        return sent

    def _outbox(self) -> EventStore:
        if self._store is None or not self._keeping.told:
            raise ApiError("not_found", "No events are told: events.url is empty.")
        return self._store
