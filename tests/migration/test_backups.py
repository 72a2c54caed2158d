"""The backups of docs/operations.md, taken while logins go on, and restored."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.migration.sites import NOW, Site, identity, log_in, populate


@pytest.mark.gen_test
async def test_a_backup_of_sqlite_is_restored(tmp_path: Path) -> None:
    """It has every login that was answered before, although the server writes meanwhile."""
    site = Site(tmp_path, "mongodb://127.0.0.1:1")
    backup = tmp_path / "backup.db"
    async with site.embedded() as (users, sessions):
        ids = await populate(users, sessions)
        before = {name: await users.get(user_id) for name, user_id in ids.items()}

        def back_up() -> None:
            connection = sqlite3.connect(site.path)
            connection.execute(f"VACUUM INTO '{backup}'")
            connection.close()

        async def people_come() -> None:
            for number in range(50):
                await log_in(users, identity(f"later {number}"))

        await asyncio.gather(asyncio.to_thread(back_up), people_come())
    for name in ("scanpush.db", "scanpush.db-wal", "scanpush.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, site.path)
    async with site.embedded() as (users, sessions):
        assert {name: await users.get(user_id) for name, user_id in ids.items()} == before
        assert [one.id for one in await sessions.of_user(ids["oldest"], NOW)] == ["s2"]
        assert await log_in(users, identity("plain")) == ids["plain"]


@pytest.mark.mongodb
@pytest.mark.gen_test
async def test_a_backup_of_mongodb_is_restored(tmp_path: Path, mongo_url: str) -> None:
    """`scripts/migrate` takes it while nodes write, and restores it into an empty database."""
    site, restored = Site(tmp_path, mongo_url), Site(tmp_path, mongo_url)
    async with site.distributed() as (users, sessions):
        ids = await populate(users, sessions)
        before = {name: await users.get(user_id) for name, user_id in ids.items()}

        async def people_come() -> None:
            for number in range(20):
                await log_in(users, identity(f"later {number}"))

        await asyncio.gather(site.to_sqlite(), people_come())
    assert await restored.to_mongodb(final=True) == 0
    async with restored.distributed() as (users, sessions):
        assert {name: await users.get(user_id) for name, user_id in ids.items()} == before
        assert [one.id for one in await sessions.of_user(ids["oldest"], NOW)] == ["s2"]
        assert await log_in(users, identity("plain")) == ids["plain"]
