"""The embedded database: one file, one writer thread, reads on the event loop.

Measured (docs/performance.md): a read by key costs about 5 us, less than handing it to a thread,
so reads happen where they are asked. Writes go to one thread that commits all that is waiting in
one transaction, so that the cost of a commit, and of waking the thread, is shared.

Checkpoints, which would otherwise stop a commit for 5 to 10 ms, run on a connection of their own
in a second thread. They leave the log as it is, and SQLite restarts it only when a write finds
it copied to the end (sqlite.org, "Write-Ahead Logging"). So what is written during a copy is copied
too, and again, until nothing was written meanwhile. At 600 writes a second that happens before the
log is long (measured: 28 MB at most); without it it never does, and the log grows by 6 MB a
second. Where writes never pause the writer itself restarts a long log. That holds the writer while
the disk syncs what is left to copy: 1 ms after four copies, 5 after one, and more on a busy disk.

`synchronous` NORMAL keeps every answered write through ``kill -9``; FULL also through a power
failure (sqlite.org, "PRAGMA synchronous" and "Write-Ahead Logging").
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import queue
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from services.errors import SettingsError, StoreUnavailable
from services.logs import PacedLog

log = logging.getLogger("scanpush.sqlite")

T = TypeVar("T")
Connection = sqlite3.Connection
Job = Callable[[sqlite3.Connection], Any]
Then = Callable[[Any], None] | None
Asked = tuple[Job, "asyncio.Future[Any]", Then]

BATCH = 256
CHECKPOINT_SECONDS = 0.5
COPIES = 4
"""How often at most the log is copied at a time."""
LONG_LOG_PAGES = 16_384
"""64 MB of 4 KB pages: reached only where a writer never pauses."""
SCHEMA_VERSION = 2
"""1: without `users.banned_at`."""

FREE_BYTES = 1 << 20
"""Below this the disk counts as full: SQLite could still write where its log has room from before,
so some logins would succeed and others fail."""

_PROBE_SCHEMA = "CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);"
_PROBE = "INSERT INTO probe VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1"

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_MAGIC = b"SQLite format 3\x00"
"""The first bytes of every database (sqlite.org, "Database File Format")."""
_CHECKPOINT = "PRAGMA wal_checkpoint({})"


class sqlite_errors:
    """Turn what SQLite raises into `StoreUnavailable`."""

    # A class and no generator: around a read, a generator took a third as long as the query.

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise StoreUnavailable(f"SQLite: {error}") from error


class Database:
    """One SQLite file for all embedded stores.

    `write` jobs are functions of a connection. They run in the writer thread, many in one
    transaction, and must do nothing but change that connection: when one of a batch fails, the
    batch is rolled back and each of its jobs is run again alone, so that only the bad one fails.

    Args:
        path: the file; it and its directory are made, the file for its owner alone. One process at
            a time may use it, also where the file is deleted meanwhile.
        synchronous: ``NORMAL`` or ``FULL``.
        schemas: SQL scripts of ``CREATE ... IF NOT EXISTS``, one of each store. A table that an
            older version made gets the columns it lacks, each of which must be optional or have a
            constant default.
    """

    def __init__(self, path: Path, synchronous: str, schemas: tuple[str, ...]) -> None:
        self._path = path
        self._synchronous = synchronous
        self._schemas = schemas
        self._jobs: queue.SimpleQueue[list[Asked] | None] = queue.SimpleQueue()
        self._asked: list[Asked] = []
        """What was asked for in this turn of the event loop."""
        # Two threads write and read these; a value that is late by a turn harms nothing.
        self._wrote = False
        self._log_is_long = False
        self._is_broken = False
        """Whether SQLite found the file malformed: that does not heal."""
        self._paced_log = PacedLog(log)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._file: int | None = None
        self._connections: list[sqlite3.Connection] = []

    def open(self) -> None:
        """Lock the file, make the tables, start the threads. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_other_files()
            self._lock = open(f"{self._path}.lock", "w")  # noqa: SIM115, held until close
        except OSError as error:
            raise SettingsError("embedded.path", f"cannot be written: {error.strerror}") from None
        self._name: socket.socket | None = None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._name = _locked_name(self._path)
        except OSError:
            self._lock.close()
            raise SettingsError(
                "embedded.path",
                "another scanpush is using this file; end that one, or give this one a file of its "
                "own (SCANPUSH_EMBEDDED__PATH=data/second.db). Several on one store need backend: "
                "distributed",
            ) from None
        try:
            if not self._path.exists():
                # Names, phone numbers and openids are for this server alone; SQLite's other files
                # get the mode of this one. That of a file that is there is the operator's.
                self._path.touch(mode=0o600)
            self._writer = self._connect()
            self._make_tables(self._writer)
            self.reader = self._connect()
            self._checkpointer = self._connect()
            # Kept open until the connections are closed: see `_refuse_other_files`.
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (sqlite3.Error, OSError) as error:
            self._close_files()
            raise SettingsError("embedded.path", f"is not a usable database: {error}") from None
        for target in (self._write_batches, self._checkpoint):
            thread = threading.Thread(target=target, name=f"sqlite{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _refuse_other_files(self) -> None:
        """A path given by mistake gets no lock file beside it."""
        # Before any connection: closing a file gives up this process's POSIX locks on it.
        try:
            with open(self._path, "rb") as file:
                beginning = file.read(len(_MAGIC))
        except FileNotFoundError:
            return
        if beginning not in (b"", _MAGIC):
            raise SettingsError("embedded.path", "is not a usable database: another kind of file")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=2,
        )
        self._connections.append(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"made by a newer scanpush (schema {version})")
        schemas = (_PROBE_SCHEMA, *self._schemas)
        _add_columns(connection, schemas)
        for schema in schemas:
            connection.executescript(schema)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    async def write(
        self, job: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """Run `job` in the writer thread; its result, once it is committed.

        Args:
            then: called on the event loop with that result, also where the caller has stopped
                waiting for it.
        """
        if self._closing.is_set():
            raise StoreUnavailable("SQLite: closed")
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append((job, future, then))
        return await future

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless logins can be saved: the file at the path is the one that
        is open, is a database, has room on its disk, and takes a write."""
        await self.write(self._probe)

    def _probe(self, writer: sqlite3.Connection) -> None:
        if self._is_broken:
            raise sqlite3.DatabaseError("the database is malformed")
        file = self._file
        assert file is not None
        try:
            is_same = os.path.samestat(os.stat(self._path), os.fstat(file))
            beginning = os.pread(file, len(_MAGIC), 0)
            disk = os.statvfs(self._path)
        except FileNotFoundError:
            is_same = False
        except OSError as error:
            raise sqlite3.OperationalError(f"cannot be looked at: {error.strerror}") from None
        if not is_same:
            raise sqlite3.OperationalError("the database's file was deleted or replaced")
        if beginning != _MAGIC:
            raise sqlite3.DatabaseError("the database was overwritten")
        if disk.f_bavail * disk.f_frsize < FREE_BYTES:
            raise sqlite3.OperationalError("the disk is full")
        # The writer has pages in memory. A connection of its own reads the first of every table.
        fresh = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=0)
        try:
            tables = fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                fresh.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone()
        finally:
            fresh.close()
        writer.execute(_PROBE)

    async def read_aside(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in a thread of its own, on a connection that only reads: for what takes longer
        than a login may wait.

        Raises:
            StoreUnavailable: SQLite refuses it, or the database is closed.
        """
        if self._closing.is_set():
            raise StoreUnavailable("SQLite: closed")

        def read() -> T:
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=2)) as reader:
                return job(reader)

        with sqlite_errors():
            return await asyncio.to_thread(read)

    def _hand_over(self) -> None:
        """Give the writer all of one turn at once: waking a thread costs more than a write."""
        asked, self._asked = self._asked, []
        self._jobs.put(asked)

    def _write_batches(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch = first
            ending = False
            while len(batch) < BATCH:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ending = True
                    break
                batch += more
            results = self._commit(batch)
            self._wrote = True
            self._loop.call_soon_threadsafe(_resolve, batch, results)
            if self._log_is_long:
                self._restart_log()
            if ending:
                return

    def _commit(self, batch: list[Asked]) -> list[Any]:
        """The result or exception of each job; only what is committed counts as a result."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            results = [job(self._writer) for job, _, _ in batch]
            self._writer.execute("COMMIT")
            return results
        except Exception as error:  # whatever a job raises belongs to its caller, not to the thread
            if isinstance(error, sqlite3.DatabaseError):
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part
                self._is_broken = self._is_broken or code in _BROKEN
            with contextlib.suppress(sqlite3.Error):  # no transaction left is what is wanted
                self._writer.execute("ROLLBACK")
            if len(batch) == 1:
                return [error]
        return [result for item in batch for result in self._commit([item])]

    def _checkpoint(self) -> None:
        while not self._closing.wait(CHECKPOINT_SECONDS):
            try:
                self._log_is_long = self._copy_log() >= LONG_LOG_PAGES
            except sqlite3.Error as error:
                self._paced_log.log(logging.WARNING, "checkpoint failed, the log grows: %s", error)

    def _copy_log(self) -> int:
        """Copy what is in the log to the file, beside the writer. The log's pages are returned.

        Each further copy is shorter than the one before. If nothing is written during one, the
        next write restarts the log; else next to nothing is left for the writer to copy.
        """
        pages = 0
        for _ in range(COPIES):
            if not self._wrote:
                break
            self._wrote = False
            _, pages, _ = self._checkpointer.execute(_CHECKPOINT.format("PASSIVE")).fetchone()
        return pages

    def _restart_log(self) -> None:
        """In the writer, right after a checkpoint: only what came since then is left to copy."""
        self._log_is_long = False
        try:
            self._writer.execute(_CHECKPOINT.format("RESTART")).fetchone()
        except sqlite3.Error as error:
            self._paced_log.log(logging.WARNING, "checkpoint failed, the log grows: %s", error)

    async def close(self) -> None:
        """Finish the writes already asked for, then close the file. May be called twice."""
        if self._closing.is_set() or not self._threads:
            return
        self._closing.set()
        self._hand_over()
        self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._close_files()

    def _close_files(self) -> None:
        """The lock last: with it the file is another process's."""
        for connection in reversed(self._connections):
            connection.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._name is not None:
            self._name.close()
        self._lock.close()


def _add_columns(connection: sqlite3.Connection, schemas: tuple[str, ...]) -> None:
    """Add to the tables that are there what the schemas have and they have not."""
    with contextlib.closing(sqlite3.connect(":memory:")) as wanted:
        for schema in schemas:
            wanted.executescript(schema)
        tables = wanted.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = f"SELECT name, type, [notnull], dflt_value FROM pragma_table_info('{table}')"
            known = {name for name, *_ in connection.execute(columns)}
            for name, kind, required, default in wanted.execute(columns) if known else ():
                if name not in known:
                    rule = " NOT NULL" if required else ""
                    rule += "" if default is None else f" DEFAULT {default}"
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{rule}")


def _locked_name(path: Path) -> socket.socket | None:
    """Hold the path itself, as long as the socket is open.

    The lock file is deleted along with the data where the folder is cleared, and a second server
    would then lock a new one while the first still serves from files without a name. A name in
    Linux's abstract namespace (unix(7)) cannot be deleted, and ends with its process. It holds the
    mount namespace, for in another one the path is another file. Elsewhere there is the lock file.

    Raises:
        OSError: another process holds it.
    """
    if sys.platform != "linux":
        return None
    named = f"{os.readlink('/proc/self/ns/mnt')} {path.resolve()}"
    name = hashlib.sha256(os.fsencode(named)).hexdigest()
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0scanpush.{name}")
    except OSError:
        held.close()
        raise
    return held


def _resolve(batch: list[Asked], results: list[Any]) -> None:
    """On the loop: give each caller its result, unless it stopped waiting."""
    for (_, future, then), result in zip(batch, results, strict=True):
        if then is not None and not isinstance(result, Exception):
            # Before the caller goes on, and apart from the others of the batch, should it fail.
            future.get_loop().call_soon(then, result)
        if future.done():
            continue
        if isinstance(result, sqlite3.Error):
            future.set_exception(StoreUnavailable(f"SQLite: {result}"))
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
