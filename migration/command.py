"""The command: arguments, both stores, what it tells, how it ends."""

import argparse
import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from migration.copying import Difference, Part, bring
from migration.events import EventsToMongo, EventsToSqlite
from migration.people import (
    COMMAND_SECONDS,
    IdentitiesToSqlite,
    PeopleToMongo,
    UsersToSqlite,
    finish_merges,
)
from migration.sessions import SCREENS, SESSIONS, AlikeToMongo, AlikeToSqlite
from services.backends import SQLITE_SCHEMAS, keeping_of
from services.errors import ScanpushError, SettingsError, StoreUnavailable
from services.events.store_mongo import MongoEventStore
from services.logs import scrub_line
from services.people.store_mongo import MongoUserStore
from services.screens.store_mongo import MongoScreenStore
from services.sessions.store_mongo import MongoSessionStore
from services.settings.models import Settings, load_settings
from services.settings.outgoing import drop_key_log
from services.sqlite import Database, sqlite_errors

TO_MONGODB, TO_SQLITE = "to-mongodb", "to-sqlite"

EPILOG = """
Reads embedded.path, mongodb.url and mongodb.database; `backend` does not matter. Run it while the
server serves from the source, as often as you like: each run writes only what differs. Then stop
the server, run it with --final, change `backend`, and start the server. docs/operations.md tells
more.
exit code: 0 done, 1 a store does not answer, or source and destination still differ, 2 a mistake in
           the settings or arguments, or the destination is not for this, 130 ended by Ctrl-C: run
           it again to go on
"""

MARK = "migration"
"""A table or collection that the destination has from the first run to the last."""


_IN_USE = "holds people already who were not copied here; name another one, or remove it"


class Ended(ScanpushError):
    """Ctrl-C or SIGTERM."""


class SourceChanges(ScanpushError):
    """After the last run something differs."""


class Progress:
    """One line on standard error, renewed where that is a terminal, else now and then.

    Where the run is to end, it ends between two pages: pymongo does not let every cancellation
    through, and a page that is cut off would only be done again.
    """

    def __init__(self) -> None:
        self._renews = sys.stderr.isatty()
        self._next = 0.0
        self._is_to_end = False

    def end(self) -> None:
        """End with the page that is being copied."""
        self._is_to_end = True

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._is_to_end:
            raise Ended
        if done < total and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.2 if self._renews else 5.0)
        end = "\r" if self._renews and done < total else "\n"
        print(f"{name}: {done} of {total}", end=end, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run and return the exit code."""
    options = _parser().parse_args(arguments)
    environ = dict(environ)
    drop_key_log(environ)
    try:
        settings = load_settings(options.config, environ)
        return asyncio.run(migrate(settings, options))
    except SettingsError as error:
        print(f"scanpush: {scrub_line(str(error))}", file=sys.stderr)
        return 2
    except (StoreUnavailable, SourceChanges) as error:
        print(f"scanpush: {scrub_line(str(error))}; run it again to go on", file=sys.stderr)
        return 1
    except Ended:
        print("scanpush: ended; what is copied stays, run it again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/migrate",
        description="Copy people, sessions, screens and the audit from SQLite to MongoDB, or back, "
        "live.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("direction", choices=(TO_MONGODB, TO_SQLITE), help="the destination")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "config.yaml",
        metavar="FILE",
        help="the settings (default: config.yaml of the tree)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--dry-run", action="store_true", help="compare, tell what would be written, write nothing"
    )
    how.add_argument(
        "--final",
        action="store_true",
        help="the last run, with the server stopped: copy the rest, compare all once more",
    )
    return parser


async def migrate(settings: Settings, options: argparse.Namespace) -> int:
    """One run; the exit code.

    Raises:
        SettingsError: a store cannot be used, or is not for this.
        StoreUnavailable: a store does not answer.
        SourceChanges: in a final run.
        Ended: by a signal.
    """
    began, progress = time.monotonic(), Progress()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, progress.end)
    async with _opened(settings, options) as parts:
        for part in parts:
            found = await bring(part, progress, apply=not options.dry_run)
            print(f"{part.name}: {_told(found, options)}", flush=True)
        if options.dry_run:
            return 0
        if not options.final:
            seconds = time.monotonic() - began
            print(
                f"copied in {seconds:.0f} s; the server may go on serving from the source. Next: "
                "stop it, and run this again with --final"
            )
            return 0
        for part in parts:
            left = await bring(part, progress, apply=False)
            if left:
                raise SourceChanges(
                    f"{part.name}: {left.changed + left.removed} changed meanwhile: a server still "
                    "writes to the source. Stop it"
                )
    backend = "distributed" if options.direction == TO_MONGODB else "embedded"
    print(f"compared once more: all is there. Set backend: {backend} and start the server")
    return 0


def _told(found: Difference, options: argparse.Namespace) -> str:
    written, removed = ("to write", "to remove") if options.dry_run else ("written", "removed")
    return f"{found.compared} compared, {found.changed} {written}, {found.removed} {removed}"


@contextlib.asynccontextmanager
async def _opened(settings: Settings, options: argparse.Namespace) -> AsyncIterator[Sequence[Part]]:
    """The parts over both stores; a final run that ends well takes the mark off."""
    users = MongoUserStore(
        settings.mongodb.url.get_secret_value(),
        settings.mongodb.database,
        timeout_seconds=COMMAND_SECONDS,
    )
    async with contextlib.AsyncExitStack() as undo:
        await users.open()
        undo.push_async_callback(users.close)
        await MongoSessionStore(users).open()
        await MongoScreenStore(users).open()
        await MongoEventStore(users, keeping_of(settings)).open()
        if options.direction == TO_MONGODB:
            reader = await _source(settings, options, undo)
            await _mark_mongodb(users, dry=options.dry_run)
            alike = (AlikeToMongo(one, reader, users) for one in (SESSIONS, SCREENS))
            yield [PeopleToMongo(reader, users), *alike, EventsToMongo(reader, users)]
            if options.final:
                async with users.call():
                    await users.collection(MARK).drop()
        else:
            database = await _destination(settings, options, undo)
            if not options.dry_run:
                await finish_merges(users)
            yield [
                UsersToSqlite(users, database),
                IdentitiesToSqlite(users, database),
                AlikeToSqlite(SESSIONS, users, database),
                AlikeToSqlite(SCREENS, users, database),
                EventsToSqlite(users, database),
            ]
            if options.final:
                await database.write(lambda db: db.execute(f"DROP TABLE {MARK}") and None)


async def _source(
    settings: Settings, options: argparse.Namespace, undo: contextlib.AsyncExitStack
) -> sqlite3.Connection:
    """Reads the SQLite file: beside a server, or in a final run instead of one."""
    path = settings.embedded.path
    if not path.is_file():
        raise SettingsError("embedded.path", "there is no database to copy from")
    if options.final:
        database = Database(path, settings.embedded.synchronous, SQLITE_SCHEMAS)
        database.open()
        undo.push_async_callback(database.close)
        return database.reader
    # Without the lock, and unable to write: the server goes on.
    try:
        reader = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5
        )
        undo.callback(reader.close)
        reader.execute("SELECT banned_at FROM users LIMIT 1").fetchone()
        reader.execute("SELECT id FROM sessions LIMIT 1").fetchone()
        reader.execute("SELECT id FROM screens LIMIT 1").fetchone()
        reader.execute("SELECT id FROM events LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise SettingsError(
            "embedded.path", f"cannot be read ({error}); start this version's server on it once"
        ) from None
    return reader


async def _mark_mongodb(users: MongoUserStore, *, dry: bool) -> None:
    """Refuse a database with other people; mark one that this copy begins."""
    async with users.call():
        if await users.collection(MARK).find_one({}) is not None:
            return
        if await users.collection("people").find_one({}, ["_id"]) is not None:
            raise SettingsError("mongodb.database", _IN_USE)
        if not dry:
            await users.collection(MARK).insert_one({"_id": "copy"})


async def _destination(
    settings: Settings, options: argparse.Namespace, undo: contextlib.AsyncExitStack
) -> Database:
    """The SQLite file, locked: no server can use it meanwhile."""
    path = settings.embedded.path
    if options.dry_run and not path.exists():
        path = Path(undo.enter_context(tempfile.TemporaryDirectory())) / "empty.db"
    database = Database(path, settings.embedded.synchronous, SQLITE_SCHEMAS)
    database.open()
    undo.push_async_callback(database.close)
    with sqlite_errors():
        marks = "SELECT 1 FROM sqlite_master WHERE name = ?"
        is_marked = database.reader.execute(marks, (MARK,)).fetchone() is not None
        if not is_marked and database.reader.execute("SELECT 1 FROM users LIMIT 1").fetchone():
            raise SettingsError("embedded.path", _IN_USE)
    if not is_marked and not options.dry_run:
        await database.write(lambda db: db.execute(f"CREATE TABLE {MARK} (at REAL)") and None)
    return database
