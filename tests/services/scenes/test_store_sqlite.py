"""A move decided by the scene in memory: exactly as if the scene had been read for it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.scenes.states import OPEN, Move, Scene, State, Verdict
from services.scenes.store import Notice
from services.scenes.store_sqlite import RECENT, SCHEMA, SqliteSceneStore
from services.sqlite import Database
from tests.clocks import TurnedClock
from tests.contracts.scenes import a_scene, authorize, claim

pytestmark = pytest.mark.gen_test(timeout=60)


class Stored:
    """A store with one authorized scene, which it has in memory."""

    def __init__(self, folder: Path) -> None:
        self.clock = TurnedClock()
        self.database = Database(folder / "a.db", "NORMAL", (SCHEMA,))
        self.database.open()
        self.notices: list[Notice] = []
        self.store = SqliteSceneStore(self.database, self.clock, self.notices.append)

    async def scene(self, **fields: object) -> Scene:
        scene = a_scene(self.clock.now(), **fields)
        await self.store.create(scene)
        await self.store.advance(scene.scene_str, claim())
        step = await self.store.advance(scene.scene_str, authorize())
        assert step.verdict is Verdict.MOVED and step.scene is not None
        return step.scene

    def in_file(self, scene: Scene) -> tuple[str, int, str]:
        """What the file says of a scene: its state, seq and details."""
        query = "SELECT state, seq, details FROM scenes WHERE scene_str = ?"
        found: tuple[str, int, str] = self.database.reader.execute(
            query, (scene.scene_str,)
        ).fetchone()
        return found


@asynccontextmanager
async def a_store(folder: Path) -> AsyncIterator[Stored]:
    one = Stored(folder)
    try:
        yield one
    finally:
        await one.database.close()


async def give_up(stored: Stored, scene: Scene) -> None:
    """Ask for an ack, and stop waiting for it once it is on its way."""
    asked = asyncio.ensure_future(stored.store.advance(scene.scene_str, ack(scene)))
    await asyncio.sleep(0)
    asked.cancel()


def ack(scene: Scene, **fields: object) -> Move:
    move = Move(State.CONSUMED, frozenset({State.AUTHORIZED}), seq=scene.seq)
    return move._replace(**fields)  # type: ignore[arg-type]


async def test_two_moves_of_one_turn_see_each_other(tmp_path: Path) -> None:
    """Both are decided by the same memory and run in one transaction; one of them moves."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene()
        first, second, cancel = await asyncio.gather(
            stored.store.advance(scene.scene_str, ack(scene)),
            stored.store.advance(scene.scene_str, ack(scene)),
            stored.store.advance(scene.scene_str, Move(State.CANCELLED, OPEN)),
        )
        assert first.verdict is Verdict.MOVED and first.scene is not None
        assert second.verdict is Verdict.REPEATED and second.scene == first.scene
        assert cancel.verdict is Verdict.REFUSED and cancel.scene == first.scene
        assert stored.in_file(scene)[:2] == ("consumed", scene.seq + 1)


async def test_a_refusal_by_memory_is_decided_again(tmp_path: Path) -> None:
    """The move before it in the same transaction has made it possible."""
    async with a_store(tmp_path) as stored:
        scene = a_scene(stored.clock.now())
        await stored.store.create(scene)
        await stored.store.advance(scene.scene_str, claim())
        authorized, consumed = await asyncio.gather(
            stored.store.advance(scene.scene_str, authorize()),
            stored.store.advance(scene.scene_str, ack(scene, seq=3)),
        )
        assert authorized.verdict is consumed.verdict is Verdict.MOVED
        assert stored.in_file(scene)[:2] == ("consumed", 4)


async def test_a_move_whose_caller_gave_up_is_noticed(tmp_path: Path) -> None:
    """It was asked for and is done; the sockets hear of it, and the memory has it."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene()
        await give_up(stored, scene)
        await stored.database.write(lambda db: None)
        await asyncio.sleep(0)
        assert stored.notices[-1] == Notice(scene.scene_str, scene.seq + 1)
        known = stored.store.get_nowait(scene.scene_str)
        assert known is not None and known.state is State.CONSUMED


async def test_a_batch_rolled_back_is_decided_as_before(tmp_path: Path) -> None:
    """A failing neighbour takes back the ack in the file; run again alone, it moves again."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene()

        def broken(db: sqlite3.Connection) -> None:
            raise ZeroDivisionError

        first, failed, second = await asyncio.gather(
            stored.store.advance(scene.scene_str, ack(scene)),
            stored.database.write(broken),
            stored.store.advance(scene.scene_str, ack(scene)),
            return_exceptions=True,
        )
        assert isinstance(failed, ZeroDivisionError)
        assert not isinstance(first, BaseException) and first.verdict is Verdict.MOVED
        assert not isinstance(second, BaseException) and second.verdict is Verdict.REPEATED
        assert stored.in_file(scene)[:2] == ("consumed", scene.seq + 1)


async def test_time_is_over_in_memory_too(tmp_path: Path) -> None:
    """Also where the sweeper has already written it down in the same transaction."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene()
        stored.clock.ahead = 61
        touched, late = await asyncio.gather(
            stored.store.expire(10), stored.store.advance(scene.scene_str, ack(scene))
        )
        assert touched == 1
        assert late.verdict is Verdict.REFUSED and late.scene is not None
        assert late.scene.state is State.EXPIRED
        stored.clock.ahead = 200
        assert await stored.store.expire(10) == 1
        assert (await stored.store.advance(scene.scene_str, ack(scene))).verdict is Verdict.UNKNOWN


async def test_details_are_written_by_the_moves_that_bring_some(tmp_path: Path) -> None:
    """And stay as they are by all others."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene(details={"kiosk": "门"})
        assert stored.in_file(scene)[2] == '{"kiosk": "门"}'
        await stored.store.advance(scene.scene_str, ack(scene, details={"name": "安"}))
        assert stored.in_file(scene)[2] == '{"kiosk": "门", "name": "安"}'


async def test_what_has_no_waiting_caller_is_read_again(tmp_path: Path) -> None:
    """A move whose caller gave up may have been done: what is in memory is not believed."""
    async with a_store(tmp_path) as stored:
        scene = await stored.scene()
        await give_up(stored, scene)
        await stored.store.ping()
        assert stored.in_file(scene)[0] == "consumed"
        found = await stored.store.get(scene.scene_str)
        assert found is not None and found.state is State.CONSUMED


async def test_begun_scenes_are_remembered_and_written(tmp_path: Path) -> None:
    """The same from memory, from the file once memory has forgotten them, and for another."""
    async with a_store(tmp_path) as stored:
        other = SqliteSceneStore(stored.database, stored.clock, lambda notice: None)
        for _ in range(RECENT + 10):
            begun = await stored.store.create(a_scene(stored.clock.now()))
            assert stored.store.get_nowait(begun.scene_str) == begun
            assert other.get_nowait(begun.scene_str) == begun
