"""The embedded database: who waits for what, and what a failing job takes with it."""

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services import sqlite
from services.errors import SettingsError, StoreUnavailable
from services.sqlite import BATCH, LONG_LOG_PAGES, SCHEMA_VERSION, Database

pytestmark = pytest.mark.gen_test(timeout=60)

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);"


@asynccontextmanager
async def database(folder: Path, synchronous: str = "NORMAL") -> AsyncIterator[Database]:
    one = Database(folder / "a" / "b.db", synchronous, (SCHEMA,))
    one.open()
    try:
        yield one
    finally:
        await one.close()


def note(text: str) -> Any:
    """A job that writes one note and returns its id."""
    return lambda db: db.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid


def texts(one: Database) -> list[str]:
    return [text for (text,) in one.reader.execute("SELECT text FROM notes ORDER BY id")]


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_what_is_written_can_be_read_at_once(tmp_path: Path, synchronous: str) -> None:
    """The write is answered once it is committed, and readers see it from then on."""
    async with database(tmp_path, synchronous) as one:
        assert await one.write(note("first")) == 1
        assert texts(one) == ["first"]


async def test_many_writes_at_once_are_all_done_in_their_order(tmp_path: Path) -> None:
    """More than one batch of them."""
    async with database(tmp_path) as one:
        wanted = [str(number) for number in range(3 * BATCH)]
        ids = await asyncio.gather(*(one.write(note(text)) for text in wanted))
        assert ids == list(range(1, 3 * BATCH + 1)) and texts(one) == wanted


async def test_a_failing_job_takes_no_other_with_it(tmp_path: Path) -> None:
    """It was in one transaction with its neighbours; only it fails, for its caller alone."""
    async with database(tmp_path) as one:

        def broken(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO notes (text) VALUES ('never')")
            raise ZeroDivisionError

        jobs = [note("a"), note("b"), note("a"), broken, note("c")]
        results = await asyncio.gather(*map(one.write, jobs), return_exceptions=True)
        assert [type(r) for r in results] == [int, int, StoreUnavailable, ZeroDivisionError, int]
        assert texts(one) == ["a", "b", "c"]


async def test_a_caller_that_stopped_waiting_disturbs_no_other(tmp_path: Path) -> None:
    """The write is done all the same; that is what "unknown whether done" means."""
    async with database(tmp_path) as one:
        given_up = asyncio.ensure_future(one.write(note("given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        await one.write(note("after"))
        assert texts(one) == ["given up", "after"]


async def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    """And refuses what comes after; closing twice is no error."""
    async with database(tmp_path) as one:
        writes = [asyncio.ensure_future(one.write(note(str(n)))) for n in range(500)]
        await asyncio.sleep(0)
        await one.close()
        await asyncio.gather(*writes)
        with pytest.raises(StoreUnavailable):
            await one.write(note("late"))
    async with database(tmp_path) as again:
        assert len(texts(again)) == 500


async def test_two_processes_may_not_share_the_file(tmp_path: Path) -> None:
    """The second is told what to do instead; after the first has closed it may."""
    async with database(tmp_path):
        with pytest.raises(SettingsError, match="another scanpush"):
            async with database(tmp_path):
                pass
    async with database(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 500]
)
async def test_what_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    """With the setting's name, and the file as it was; the lock is given back."""
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "b.db"
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(SettingsError, match="embedded.path: is not a usable database"):
            async with database(tmp_path):
                pass
    assert path.read_bytes() == content


async def test_a_mistaken_path_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither beside a file of another kind nor beside a folder is a lock file made."""
    (tmp_path / "README.md").write_text("# scanpush")
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs"):
        with pytest.raises(SettingsError, match="embedded.path"):
            Database(tmp_path / name, "NORMAL", ()).open()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "docs"]


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """SQLite takes it for one, as a temporary file made beforehand."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.db").touch()
    async with database(tmp_path) as one:
        await one.write(note("written"))
        assert texts(one) == ["written"]


async def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """With the log beside it. One that is there already keeps the mode that it has."""
    file = tmp_path / "a" / "b.db"
    async with database(tmp_path) as one:
        await one.write(note("first"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.glob("b.db*")}
        assert modes.pop("b.db.lock") and set(modes.values()) == {0o600} and len(modes) == 3
    file.chmod(0o640)
    async with database(tmp_path):
        assert file.stat().st_mode & 0o777 == 0o640


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older scanpush must not write into it."""
    async with database(tmp_path) as one:
        await one.write(lambda db: db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}") and None)
    with pytest.raises(SettingsError, match="newer"):
        async with database(tmp_path):
            pass


async def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """Writes without a pause would keep SQLite from ever restarting it by itself."""
    async with database(tmp_path) as one:
        log = tmp_path / "a" / "b.db-wal"
        enough = asyncio.Event()

        async def write_on(writer: int) -> None:
            turn = 0
            while not enough.is_set():
                await one.write(note(f"{writer} {turn} " * 9000))
                turn += 1

        writers = [asyncio.ensure_future(write_on(number)) for number in range(20)]
        before = -1
        async with asyncio.timeout(40):
            while (size := log.stat().st_size) > before or size < LONG_LOG_PAGES * 4096:
                before = size
                await asyncio.sleep(0.1)
        enough.set()
        await asyncio.gather(*writers)


async def test_a_pause_is_enough_for_the_log_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all of it is copied, no writer has to wait for it."""
    monkeypatch.setattr("services.sqlite.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(Database, "_restart_log", None)
    async with database(tmp_path) as one:
        log = tmp_path / "a" / "b.db-wal"
        sizes = []
        for turn in range(5):
            for number in range(20):
                await one.write(note(f"{turn} {number} " * 900))
            sizes.append(log.stat().st_size)
            await asyncio.sleep(0.3)
        assert max(sizes) < 2 * sizes[0]


async def test_a_read_that_fails_is_a_store_that_fails(tmp_path: Path) -> None:
    """Nothing of sqlite3 escapes."""
    async with database(tmp_path) as one:
        with pytest.raises(StoreUnavailable):
            await one.write(lambda db: db.execute("SELECT nonsense FROM nowhere").fetchone())


def _delete(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _overwrite(path: Path, beginning: int) -> None:
    with open(path, "r+b") as file:
        file.seek(beginning)
        file.write(bytes(200_000))


async def test_the_check_writes(tmp_path: Path) -> None:
    """It passes again and again, and leaves its trace in the file."""
    async with database(tmp_path) as one:
        await one.check()
        await one.check()
        assert one.reader.execute("SELECT count FROM probe").fetchall() == [(2,)]


UNUSABLE = {
    "deleted": lambda folder: _delete(folder),
    "moved away": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "replaced": lambda folder: (folder / "b.db").rename(folder / "c.db")
    and (folder / "b.db").write_bytes((folder / "c.db").read_bytes()),
    "overwritten": lambda folder: _overwrite(folder / "b.db", 0),
}


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
async def test_the_check_looks_at_the_file_itself(tmp_path: Path, spoil: Any) -> None:
    """The writer alone would not notice: it has pages in memory, and its file open."""
    async with database(tmp_path) as one:
        await one.write(note("first"))
        spoil(tmp_path / "a")
        with pytest.raises(StoreUnavailable):
            await one.check()


async def test_the_check_reads_every_table(tmp_path: Path) -> None:
    """A file of which only the first page is left is malformed."""
    async with database(tmp_path) as one:
        await one.write(note("first"))
    folder = tmp_path / "a"
    async with database(tmp_path) as one:
        _overwrite(folder / "b.db", 4096)
        with pytest.raises(StoreUnavailable, match="malformed"):
            await one.check()
        with pytest.raises(StoreUnavailable, match="malformed"):
            await one.check()


async def test_the_check_wants_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk lets some writes pass, where the log has room from before."""
    async with database(tmp_path) as one:
        with monkeypatch.context() as full:
            full.setattr(sqlite, "FREE_BYTES", 1 << 80)
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await one.check()
        await one.check()


async def test_a_write_that_finds_the_file_malformed_is_remembered(tmp_path: Path) -> None:
    """The next check fails, whatever it reads itself; a write that only fails is forgotten."""
    async with database(tmp_path) as one:

        def broken(code: int) -> Any:
            def job(db: sqlite3.Connection) -> None:
                error = sqlite3.DatabaseError("spoilt")
                error.sqlite_errorcode = code
                raise error

            return job

        with pytest.raises(StoreUnavailable):
            await one.write(broken(sqlite3.SQLITE_FULL))
        await one.check()
        with pytest.raises(StoreUnavailable):
            await one.write(broken(sqlite3.SQLITE_CORRUPT_VTAB))
        with pytest.raises(StoreUnavailable, match="malformed"):
            await one.check()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the lock file is held")
@pytest.mark.parametrize("cleared", [_delete, shutil.rmtree], ids=["files", "folder"])
async def test_a_path_is_held_though_its_files_are_deleted(tmp_path: Path, cleared: Any) -> None:
    """Two servers would both save logins, one of them in files that nothing names. Afterwards the
    path is free."""
    async with database(tmp_path):
        cleared(tmp_path / "a")
        with pytest.raises(SettingsError, match="this file; .*SCANPUSH_EMBEDDED__PATH"):
            async with database(tmp_path):
                pass
    async with database(tmp_path) as one:
        await one.check()
