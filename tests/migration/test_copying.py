"""People and sessions survive the change of the backend, in both directions."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest import CaptureFixture, MonkeyPatch

from migration import copying
from migration.command import SourceChanges, main
from migration.sessions import SCREENS
from services.errors import SettingsError
from services.events.store import Search
from services.ids import AppId, UserId, new_scene_str, secret_hash
from services.screens.store import Screen
from services.screens.store_sqlite import row_of, screen_of
from tests.docs.pages import ROOT
from tests.migration.sites import NOW, Site, happen, identity, log_in, populate, session

pytestmark = pytest.mark.mongodb


@pytest.fixture
def site(tmp_path: Path, mongo_url: str) -> Site:
    return Site(tmp_path, mongo_url)


@pytest.fixture
def small_pages(monkeypatch: MonkeyPatch) -> None:
    """Pages of two, so that a few people are several pages."""
    for module in ("copying", "people", "sessions", "events"):
        monkeypatch.setattr(f"migration.{module}.PAGE", 2)


@pytest.mark.gen_test
async def test_there_and_back_nothing_changes(site: Site, small_pages: None) -> None:
    """Every row of users, identities, owed unionids, sessions and entries comes back as it was."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
        await happen(site.entries)
    before = site.rows()
    assert await site.to_mongodb(final=True) == 0
    site.path.unlink()
    assert await site.to_sqlite(final=True) == 0
    assert site.rows() == before
    assert all(before.values())


@pytest.mark.gen_test
async def test_mongodb_serves_them_as_sqlite_did(site: Site) -> None:
    """Users, aliases, bans, owed unionids and sessions are found as before, and logins go on."""
    async with site.embedded() as (users, sessions):
        ids = await populate(users, sessions)
        before = {name: await users.get(user_id) for name, user_id in ids.items()}
    assert await site.to_mongodb(final=True) == 0
    async with site.distributed() as (users, sessions):
        assert {name: await users.get(user_id) for name, user_id in ids.items()} == before
        person = await users.person(ids["middle"])
        assert set(person.ids) == {ids["oldest"], ids["middle"], ids["youngest"]}
        assert person.ids[0] == ids["oldest"]
        assert (await users.person(ids["banned"])).banned
        assert await users.owed_unionids(AppId("wx1"), NOW + 60, 9) == [identity("owing")]
        listed = await sessions.of_user(ids["oldest"], NOW)
        assert listed == [session("s2", ids["youngest"])]
        assert await sessions.below(listed[0].id, NOW) == [session("s3", ids["youngest"], "s2")]
        for name, app_id in (("z1", "wx3"), ("z2", "wx2"), ("z3", "wx1")):
            assert await log_in(users, identity(name, app_id=app_id)) == ids["oldest"]
        assert await log_in(users, identity("new", "u1", "wx9")) == ids["two ways"]


@pytest.mark.gen_test
async def test_sqlite_serves_what_mongodb_kept(site: Site, small_pages: None) -> None:
    """What nodes wrote, aliases kept among identities and a merge that was cut off included."""
    async with site.distributed() as (users, sessions):
        ids = await populate(users, sessions)
        cut = await log_in(users, identity("cut"), NOW + 9)
        people = users.collection("people")
        plain = await people.find_one({"user_id": ids["plain"]})
        half = {"home": False, "of": plain["_id"], "left": True, "banned_at": NOW}
        await people.update_one({"user_id": cut}, {"$set": half})
        before = {name: await users.get(user_id) for name, user_id in ids.items()}
    assert await site.to_sqlite(final=True) == 0
    async with site.embedded() as (users, sessions):
        after = {name: await users.get(user_id) for name, user_id in ids.items()}
        joined = after.pop("plain")
        assert joined is not None and (joined.logins, joined.banned) == (2, True)
        before.pop("plain")
        assert after == before
        assert await users.person(ids["youngest"]) == await users.person(ids["oldest"])
        assert len((await users.person(ids["oldest"])).ids) == 3
        assert await users.get(cut) == joined
        assert await users.count_owed_unionids(9) == 1
        assert [one.id for one in await sessions.of_user(ids["oldest"], NOW)] == ["s2"]
        assert await log_in(users, identity("z3")) == ids["oldest"]


@pytest.mark.gen_test
async def test_what_is_not_told_yet_is_told_from_the_other_store(
    site: Site, small_pages: None
) -> None:
    """Events wait, dead letters are listed and the audit is searched as before, both ways; what the
    source has forgotten or told meanwhile is so in the destination, too."""

    async def seen() -> list[Any]:
        page = await site.entries.search(Search(), None, 100)
        due = sorted(
            (one.entry, one.tries) for one in await site.entries.due(NOW + 40, NOW + 40, 9)
        )
        dead = [
            (one.entry, one.tries, one.error) for one in await site.entries.dead_letters(None, 9)
        ]
        return [sorted(page.entries), due, dead]

    async with site.distributed():
        await happen(site.entries, 1)
        await happen(site.entries, 2)
        first = await seen()
        assert await site.to_sqlite() == 0
        events = await site.entries.due(NOW + 9, NOW + 9, 100)
        await site.entries.settle(events[1:], [], [])
        await site.entries.forget([UserId("u1")], [], 9)
        await site.entries.expire(NOW + 1, 1)
        before = await seen()
        assert before != first and all(before)
    assert await site.to_sqlite(final=True) == 0
    async with site.embedded():
        assert await seen() == before
    site.database += "_back"
    site.settings = site.settings.model_copy(
        update={"mongodb": site.settings.mongodb.model_copy(update={"database": site.database})}
    )
    assert await site.to_mongodb(final=True) == 0
    async with site.distributed():
        assert await seen() == before


@pytest.mark.gen_test
async def test_logins_go_on_while_it_copies(site: Site, small_pages: None) -> None:
    """What the server writes during a run, new people and joins too, is there after the last."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)

        async def people_come() -> None:
            for number in range(25):
                await log_in(users, identity(f"new{number}", f"n{number % 15}", f"wx{number % 3}"))
                await log_in(users, identity("plain"), NOW + number)
            await sessions.end(session("s1", UserId("")).id)

        run, _ = await asyncio.gather(site.to_mongodb(), people_come())
        assert run == 0
        await log_in(users, identity("last"))
    before = site.rows()
    assert await site.to_mongodb(final=True) == 0
    site.path.unlink()
    assert await site.to_sqlite(final=True) == 0
    assert site.rows() == before
    assert "s1" not in {row[0] for row in before["sessions"]}


@pytest.mark.gen_test
async def test_a_second_run_writes_nothing(site: Site, capsys: CaptureFixture[str]) -> None:
    """What is there already is left alone, in both directions."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
    assert await site.to_mongodb() == 0
    capsys.readouterr()
    assert await site.to_mongodb() == 0
    assert "people: 13 compared, 0 written, 0 removed" in capsys.readouterr().out


@pytest.mark.gen_test
async def test_a_dry_run_writes_nothing(site: Site, capsys: CaptureFixture[str]) -> None:
    """It tells what a run would write; the destination is empty afterwards."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
    assert await site.to_mongodb(dry_run=True) == 0
    assert "sessions: 3 compared, 3 to write, 0 to remove" in capsys.readouterr().out
    async with site.distributed() as (users, _):
        assert await users.collection("people").count_documents({}) == 0
        assert await users.collection("sessions").count_documents({}) == 0
    site.path.unlink()
    assert await site.to_sqlite(dry_run=True) == 0
    assert not site.path.exists()


@pytest.mark.gen_test
async def test_other_people_are_left_alone(site: Site) -> None:
    """A destination with people that no copy brought is refused, also after the final run."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
    assert await site.to_mongodb(final=True) == 0
    with pytest.raises(SettingsError, match="mongodb.database: holds people already"):
        await site.to_mongodb()
    with pytest.raises(SettingsError, match="embedded.path: holds people already"):
        await site.to_sqlite()


@pytest.mark.gen_test
async def test_the_last_run_waits_for_the_server_to_stop(site: Site) -> None:
    """A final run locks the file, so no login can come after it."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
        with pytest.raises(SettingsError, match="another scanpush is using this file"):
            await site.to_mongodb(final=True)


@pytest.mark.gen_test
async def test_a_node_that_goes_on_is_noticed(site: Site, monkeypatch: MonkeyPatch) -> None:
    """Where MongoDB changes during the final run, that run fails, and the next one succeeds."""
    async with site.distributed() as (users, sessions):
        await populate(users, sessions)
        bring, runs = copying.bring, []

        async def bring_while_people_come(part: copying.Part, *args: Any, **how: Any) -> Any:
            runs.append(part.name)
            if runs.count("users") == 2:
                await log_in(users, identity("late"))
            return await bring(part, *args, **how)

        monkeypatch.setattr("migration.command.bring", bring_while_people_come)
        with pytest.raises(SourceChanges, match="users: 1 changed meanwhile: a server still"):
            await site.to_sqlite(final=True)
        assert await site.to_sqlite(final=True) == 0
        assert len(site.rows()["identities"]) == 10


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
@pytest.mark.gen_test
async def test_ended_anywhere_it_goes_on(site: Site, how: signal.Signals, code: int) -> None:
    """After kill -9 or Ctrl-C in the middle the next run brings the rest."""
    async with site.embedded() as (users, sessions):
        await populate(users, sessions)
        await asyncio.gather(*(log_in(users, identity(f"one {n}")) for n in range(300)))
    before = site.rows()
    command = (sys.executable, "-m", "migration", "to-mongodb", "--config", str(site.config))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE)
    assert process.stderr is not None
    first = await process.stderr.readline()
    process.send_signal(how)
    rest = await process.stderr.read()
    assert await process.wait() == code
    assert first == b"people: 200 of 308\n"
    assert how is signal.SIGKILL or b"run it again to go on" in rest
    assert await site.to_mongodb(final=True) == 0
    site.path.unlink()
    assert await site.to_sqlite(final=True) == 0
    assert site.rows() == before


def test_a_mistake_in_the_settings_is_one_line(tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    """Exit code 2, and no traceback."""
    assert main(["to-sqlite", "--config", str(tmp_path / "none.yaml")], {}) == 2
    told = capsys.readouterr().err
    assert told.startswith("scanpush: ") and told.count("\n") == 1


def test_a_screen_is_alike_on_both_sides() -> None:
    """Its row, made a document and a row again, is what it was."""
    screen = Screen(
        "an-id",
        "hall",
        "一层大厅",
        keypad=True,
        secret_hash=secret_hash("a secret"),
        paired_at=1000.5,
        reload=1_700_000_000_123,
        scenes=(new_scene_str(), new_scene_str()),
    )
    row = row_of(screen)
    assert SCREENS.to_row(SCREENS.to_document(row)) == row and screen_of(row) == screen
