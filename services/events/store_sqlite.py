"""Entries in the embedded database: one row each, in the order of their numbers.

A row that is pending has `lane` and `due`, a dead letter `lane` alone; partial indexes find them
among any number of others. What an index finds is in the order of the numbers, as the number is the
row's id. Searches run beside the event loop, on a connection of their own.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.events.entries import DELETION, MOST_NUMBER, Entry, nameless, number_at, time_of
from services.events.store import (
    FURTHER_LANES,
    MOST_COUNTED,
    MOST_LOOKED_AT,
    MOST_OF_LANE,
    Backlog,
    Dead,
    Keeping,
    Later,
    Page,
    Pending,
    Search,
)
from services.ids import UserId
from services.sqlite import Connection, Database, sqlite_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL NOT NULL, type TEXT NOT NULL,
    outcome TEXT NOT NULL, user TEXT, person TEXT NOT NULL, account TEXT NOT NULL,
    kind TEXT NOT NULL, screen TEXT NOT NULL, scene TEXT NOT NULL, session TEXT NOT NULL,
    detail TEXT NOT NULL, lane TEXT, due REAL, tries INTEGER NOT NULL, error TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_user ON events (user) WHERE user IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_by_person ON events (person)
    WHERE user IS NULL AND person <> '';
CREATE INDEX IF NOT EXISTS events_by_account ON events (account);
CREATE INDEX IF NOT EXISTS events_by_outcome ON events (outcome) WHERE outcome <> 'authorized';
CREATE INDEX IF NOT EXISTS events_by_screen ON events (screen) WHERE screen <> '';
CREATE INDEX IF NOT EXISTS events_by_scene ON events (scene) WHERE scene <> '';
CREATE INDEX IF NOT EXISTS events_due ON events (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_pending ON events (lane) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_dead ON events (number) WHERE lane IS NOT NULL AND due IS NULL;
"""

_ENTRY = ", ".join(Entry._fields)
_EVENT = f"number, lane, tries, due, error, {_ENTRY}"
_INSERT = (
    f"INSERT INTO events (number, {_ENTRY}, lane, due, tries, error)"
    f" VALUES ({', '.join('?' * (len(Entry._fields) + 5))}) ON CONFLICT DO NOTHING"
)
_IS_DEAD = "lane IS NOT NULL AND due IS NULL"

LOGGED_IN = "authorized"
"""The outcome of most entries. It has no index, which would cost each login a write."""

SCANNED = 5_000
"""Entries that a search looks at for one page: some 30 ms on a busy machine."""


class SqliteEventStore:
    """`EventStore` in one file, for one process.

    Args:
        keeping: which entries, and for what.
        most_looked_at: see `MOST_LOOKED_AT`; a test makes it small.
    """

    def __init__(
        self, database: Database, keeping: Keeping, *, most_looked_at: int = MOST_LOOKED_AT
    ) -> None:
        self._database = database
        self._keeping = keeping
        self._most_looked_at = most_looked_at
        self._last_lane = ""
        """Where the search for further lanes goes on."""

    def keep_in_transaction(self, db: Connection, entries: Sequence[Entry]) -> None:
        """`keep`, within the transaction of what the entries tell."""
        for entry in entries:
            lane, due = None, None
            if self._keeping.tells(entry):
                lane, due = entry.lane, entry.at
            elif not self._keeping.audited:
                continue
            insert(db, entry, lane, due)

    async def keep(self, entries: Sequence[Entry]) -> None:
        if any(self._keeping.keeps(entry) for entry in entries):
            await self._database.write(lambda db: self.keep_in_transaction(db, entries))

    async def lease(self, node: str, now: float, seconds: float) -> bool:
        return True  # the file has one process

    async def release(self, node: str) -> None:
        """There was nothing to take."""

    async def due(self, now: float, until: float, limit: int) -> Sequence[Pending]:
        found: list[Pending] = []
        waiting: list[tuple[float, str, float]] = []
        with sqlite_errors():
            reader = self._database.reader
            lanes: dict[str, None] = {}
            looked_at = 0
            for (lane,) in reader.execute(
                "SELECT lane FROM events WHERE due <= ? ORDER BY due LIMIT ?",
                (now, self._most_looked_at),
            ):
                looked_at += 1
                lanes[lane] = None
                if len(lanes) == limit:
                    break
            further = self._further_lanes() if looked_at == self._most_looked_at else ()
            for lane in lanes | dict.fromkeys(further):
                rows = reader.execute(
                    f"SELECT {_EVENT} FROM events WHERE lane = ? AND due IS NOT NULL"
                    " ORDER BY number LIMIT ?",
                    (lane, MOST_OF_LANE),
                ).fetchall()
                if not rows:
                    continue  # its person was removed between the two reads
                first_due = rows[0][3]
                if first_due > now:
                    if lane in lanes:
                        waiting.append((first_due, lane, first_due))
                    continue
                found += [Pending(row[0], Entry._make(row[5:]), lane, row[2]) for row in rows]
        if waiting:
            # They would be found again in each round, until the first of their lane is due.
            await self._database.write(
                lambda db: db.executemany(
                    "UPDATE events SET due = ? WHERE lane = ? AND due < ?", waiting
                )
                and None
            )
        return [event for event in found if event.entry.at <= until]

    def _further_lanes(self) -> Iterator[str]:
        for _ in range(FURTHER_LANES):
            found = self._database.reader.execute(
                "SELECT lane FROM events WHERE lane > ? AND due IS NOT NULL ORDER BY lane LIMIT 1",
                (self._last_lane,),
            ).fetchone()
            self._last_lane = "" if found is None else found[0]
            if found is not None:
                yield found[0]

    async def settle(
        self, told: Sequence[Pending], later: Sequence[Later], dead: Sequence[Dead]
    ) -> None:
        done = "DELETE FROM events WHERE number = ? AND due IS NOT NULL"
        if self._keeping.audited:
            done = "UPDATE events SET lane = NULL, due = NULL WHERE number = ? AND due IS NOT NULL"

        def job(db: Connection) -> None:
            db.executemany(done, [(event.number,) for event in told])
            db.executemany(
                "UPDATE events SET due = ?, tries = ? WHERE number = ? AND due IS NOT NULL",
                [(one.due, one.event.tries + 1, one.event.number) for one in later],
            )
            db.executemany(
                "UPDATE events SET due = NULL, tries = ?, error = ?"
                " WHERE number = ? AND due IS NOT NULL",
                [(one.tries, one.error, one.number) for one in dead],
            )

        await self._database.write(job)

    async def backlog(self) -> Backlog:
        # By numbers, which the indexes hold: to read so many rows takes 0.1 s.
        count = "SELECT count(*), min(number) FROM (SELECT number FROM events WHERE {} LIMIT ?)"
        # Mostly there are none, and no thread is needed to find that out.
        with sqlite_errors():
            some = self._database.reader.execute(
                "SELECT EXISTS (SELECT 1 FROM events WHERE due IS NOT NULL)"
                f" OR EXISTS (SELECT 1 FROM events WHERE {_IS_DEAD})"
            ).fetchone()[0]
        if not some:
            return Backlog(0, 0, None)

        def read(db: sqlite3.Connection) -> Backlog:
            (pending, oldest), (dead, _) = (
                db.execute(count.format(which), (MOST_COUNTED,)).fetchone()
                for which in ("due IS NOT NULL", _IS_DEAD)
            )
            return Backlog(pending, dead, None if oldest is None else time_of(oldest))

        return await self._database.read_aside(read)

    async def dead_letters(self, before: int | None, limit: int) -> Sequence[Dead]:
        with sqlite_errors():
            rows = self._database.reader.execute(
                f"SELECT {_EVENT} FROM events WHERE {_IS_DEAD} AND number < ?"
                " ORDER BY number DESC LIMIT ?",
                (_above(before), limit),
            ).fetchall()
        return [Dead(row[0], Entry._make(row[5:]), row[2], row[4]) for row in rows]

    async def send_again(self, event_id: str | None, now: float, limit: int) -> int:
        which, chosen = _IS_DEAD, [event_id] if event_id is not None else []
        if chosen:
            which = f"{_IS_DEAD} AND id = ?"
        return await self._database.write(
            lambda db: db.execute(
                "UPDATE events SET due = ?, tries = 0, error = '' WHERE number IN"
                f" (SELECT number FROM events WHERE {which} ORDER BY number LIMIT ?)",
                (now, *chosen, limit),
            ).rowcount
        )

    async def search(self, search: Search, before: int | None, limit: int) -> Page:
        return await self._database.read_aside(lambda db: _search(db, search, before, limit))

    async def forget(self, users: Sequence[UserId], hashes: Sequence[str], limit: int) -> int:
        theirs = (
            f"SELECT number, {_ENTRY} FROM events INDEXED BY events_by_user"
            " WHERE user IN (SELECT value FROM json_each(?)) AND outcome <> ?"
            f" UNION ALL SELECT number, {_ENTRY} FROM events INDEXED BY events_by_person"
            " WHERE user IS NULL AND person IN (SELECT value FROM json_each(?)) AND person <> ''"
            " LIMIT ?"
        )
        asked = (json.dumps(list(users)), DELETION, json.dumps(list(hashes)), limit)

        def job(db: Connection) -> int:
            found = db.execute(theirs, asked).fetchall()
            if not self._keeping.audited:
                db.executemany("DELETE FROM events WHERE number = ?", [row[:1] for row in found])
                return len(found)
            left = [(row[0], nameless(Entry._make(row[1:]), users)) for row in found]
            db.executemany(
                "UPDATE events SET user = NULL, person = '', detail = ?, lane = NULL, due = NULL,"
                " tries = 0, error = '' WHERE number = ?",
                [(entry.detail, number) for number, entry in left],
            )
            return len(left)

        return await self._database.write(job)

    async def expire(self, before: float, limit: int) -> int:
        which = "number < ?" + (" AND due IS NULL" if self._keeping.told else "")
        old = f"SELECT number FROM events WHERE {which} ORDER BY number LIMIT ?"
        with sqlite_errors():
            found = self._database.reader.execute(old, (number_at(before), 1)).fetchone()
        if found is None:
            return 0
        return await self._database.write(
            lambda db: db.execute(
                f"DELETE FROM events WHERE number IN ({old})", (number_at(before), limit)
            ).rowcount
        )


def insert(
    db: Connection,
    entry: Entry,
    lane: str | None,
    due: float | None,
    tries: int = 0,
    error: str = "",
) -> None:
    """Keep an entry at its number, or at the next one that is free; one of a known id stays."""
    number = entry.number
    while not db.execute(_INSERT, (number, *entry, lane, due, tries, error)).rowcount:
        kept = db.execute("SELECT id FROM events WHERE number = ?", (number,)).fetchone()
        if kept[0] == entry.id:
            break
        number += 1  # another one of the same microsecond


def _above(before: int | None) -> int:
    return MOST_NUMBER if before is None else before


def _search(db: sqlite3.Connection, search: Search, before: int | None, limit: int) -> Page:
    until = _above(before)
    if search.until is not None:
        until = min(until, number_at(search.until))
    since = 0 if search.since is None else number_at(search.since)
    found: dict[int, Entry] = {}
    seen_to = since
    """All entries from here on that fit are found."""
    for conditions in _ways(search):
        entries, reached = _scan(db, conditions, since, until, limit)
        found.update(entries)
        seen_to = max(seen_to, reached)
    numbers = sorted((number for number in found if number >= seen_to), reverse=True)
    page = numbers[:limit]
    cursor = None
    if len(numbers) > limit:
        cursor = page[-1]
    elif seen_to > since:
        cursor = seen_to
    return Page([found[number] for number in page], cursor)


class _Condition(NamedTuple):
    """A part of WHERE, and the index that answers it, if any does."""

    text: str
    values: tuple[object, ...]
    by: str


def _ways(search: Search) -> Iterator[list[_Condition]]:
    """What to look for: first what an index is asked, then what is compared besides. A person is
    found in several ways."""
    rest: list[_Condition] = []
    if search.scene:
        until = search.scene + "g"  # after all that continue with a digit or a hyphen
        text = "scene >= ? AND scene < ? AND scene <> ''"
        rest.append(_Condition(text, (search.scene, until), "events_by_scene"))
    if search.screen:
        text = "screen = ? AND screen <> ''"
        rest.append(_Condition(text, (search.screen,), "events_by_screen"))
    if search.outcome and search.outcome != LOGGED_IN:
        text = f"outcome = ? AND outcome <> '{LOGGED_IN}'"
        rest.append(_Condition(text, (search.outcome,), "events_by_outcome"))
    if search.account:
        rest.append(_Condition("account = ?", (search.account,), "events_by_account"))
    if search.outcome == LOGGED_IN:
        rest.append(_Condition("outcome = ?", (search.outcome,), ""))
    people = [_Condition("user = ?", (user,), "events_by_user") for user in search.users]
    text = "user IS NULL AND person = ? AND person <> ''"
    people += [_Condition(text, (one,), "events_by_person") for one in search.hashes]
    if search.short_hash:
        # No index: each login would pay for a search that is rare.
        people.append(_Condition("person = ?", (search.short_hash,), ""))
    if not people:
        yield rest
    for person in people:
        yield [person, *rest]


def _scan(
    db: sqlite3.Connection, conditions: Sequence[_Condition], since: int, until: int, limit: int
) -> tuple[dict[int, Entry], int]:
    """What fits, of the newest `SCANNED` entries that the first condition finds; and down to which
    number that is all there is."""
    table, where = "events NOT INDEXED", "number >= ? AND number < ?"
    values: list[object] = [since, until]
    if conditions:
        first, *others = conditions
        if first.by:
            table, where = f"events INDEXED BY {first.by}", f"{where} AND {first.text}"
            values += first.values
            conditions = others
    found = f"FROM {table} WHERE {where} ORDER BY number DESC LIMIT"
    compared = " AND ".join(one.text for one in conditions) or "1"
    compared_values = [value for one in conditions for value in one.values]
    rows = db.execute(
        f"SELECT * FROM (SELECT number, {_ENTRY} {found} {SCANNED}) WHERE {compared} LIMIT ?",
        (*values, *compared_values, limit + 1),
    ).fetchall()
    reached = since
    if len(rows) > limit:
        reached = rows[-1][0]
    elif conditions:
        # The last one that was compared.
        last = db.execute(f"SELECT number {found} 1 OFFSET {SCANNED - 1}", values).fetchone()
        reached = since if last is None else last[0]
    return {row[0]: Entry._make(row[1:]) for row in rows}, reached
