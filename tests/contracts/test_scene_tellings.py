"""What moves of scenes tell is kept with the move, alike in every backend."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from services.events.entries import Entry
from services.events.store import Keeping, Search
from services.events.store_sqlite import SCHEMA, SqliteEventStore
from services.ids import UserId
from services.redis_client import RedisLink
from services.scenes.states import OWED_SECONDS, Move, Scene, State
from services.scenes.store import SceneStore
from services.scenes.store_redis import RedisSceneStore, told_lists
from services.scenes.store_sqlite import SCHEMA as SCENES_SCHEMA
from services.scenes.store_sqlite import SqliteSceneStore
from services.scenes.tellings import SLICE, CollectedEntries, entries_of
from services.sqlite import Database
from tests.clocks import TurnedClock
from tests.contracts.scenes import ANN, SCANNED, a_scene, authorize, claim
from tests.stack import ON_LOOP

pytestmark = ON_LOOP


class TellingBench:
    """Scenes of one backend, and the entries that come of them, in a database of their own."""

    forgets_alone = False

    def __init__(self, request: pytest.FixtureRequest, server: str) -> None:
        self.clock = TurnedClock()
        folder = request.getfixturevalue("tmp_path_factory").mktemp("tellings")
        self.database = Database(folder / "scanpush.db", "NORMAL", (SCENES_SCHEMA, SCHEMA))
        self.entries = SqliteEventStore(self.database, Keeping(told=True, audited=True))
        self.link: RedisLink | None = None
        if server != "sqlite":
            running = request.getfixturevalue(f"redis_{server}")
            flush = running.ask_all if server == "cluster" else running.ask
            flush("FLUSHALL")
            self.link = RedisLink(running.url, timeout_seconds=5)

    async def open(self) -> None:
        self.database.open()
        if self.link is not None:
            await self.link.open()

    async def close(self) -> None:
        if self.link is not None:
            await self.link.close()
        await self.database.close()

    def store(self, node: str = "a") -> SceneStore:
        if self.link is not None:
            return RedisSceneStore(self.link, ahead=lambda: self.clock.ahead, tells=True)
        return SqliteSceneStore(self.database, self.clock, lambda notice: None, self.entries)

    def collected(self) -> CollectedEntries:
        assert self.link is not None
        return CollectedEntries(self.link, told_lists(), self.entries, self.clock.now)

    async def told(self) -> Sequence[Entry]:
        """The oldest first."""
        if self.link is not None:
            await self.collected().collect()
        return list((await self.entries.search(Search(), None, 500)).entries)[::-1]


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("server", marks=pytest.mark.redis),
        pytest.param("cluster", marks=pytest.mark.redis),
    ]
)
def bench(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[TellingBench]:
    made = TellingBench(request, request.param)
    io_loop.run_sync(made.open)
    yield made
    io_loop.run_sync(made.close)


async def moved(store: SceneStore, bench: Any, *moves: Move) -> Scene:
    scene = await store.create(a_scene(bench.clock.now()))
    for move in moves:
        step = await store.advance(scene.scene_str, move)
        assert step.scene is not None
        scene = step.scene
    return scene


async def test_a_login_is_told_as_it_was_saved(bench: TellingBench) -> None:
    """With all that the scene knows of it, once, whatever is asked of the scene afterwards."""
    store = bench.store()
    login = authorize()._replace(is_new=True, details={"sid": "session", "kiosk": "lobby"})
    scene = await moved(store, bench, claim(), login, login)
    await store.advance(scene.scene_str, Move(State.CONSUMED, frozenset({State.AUTHORIZED})))
    told = await bench.told()
    assert told == list(entries_of(scene)) == list(await bench.told())
    assert [one.type for one in told] == ["registered", "login"]
    assert (told[1].scene, told[1].screen, told[1].session, told[1].user) == (
        scene.scene_str,
        "lobby",
        "session",
        scene.user_id,
    )


async def test_a_denial_and_a_failure_are_told(bench: TellingBench) -> None:
    """With the person where they are known; what ends by a page or by time is not."""
    store = bench.store()
    known = UserId("u1")
    denied = Move(State.DENIED, SCANNED, openid=ANN, user_id=known)
    failed = Move(State.FAILED, SCANNED, openid=ANN, error="not_registered")
    await moved(store, bench, claim(), denied)
    await moved(store, bench, claim(), failed)
    await moved(store, bench, Move(State.CANCELLED, frozenset({State.WAITING})))
    told = await bench.told()
    assert [(one.type, one.user, one.detail) for one in told] == [
        ("denied", known, ""),
        ("failed", None, "not_registered"),
    ]
    assert len({one.person for one in told}) == 1 and told[0].person


async def test_a_login_that_is_owed_too_long_fails_and_is_told(bench: TellingBench) -> None:
    """By whichever node looks after it first; that of the others is the same."""
    store = bench.store()
    scene = await moved(store, bench, claim()._replace(owed=True))
    bench.clock.ahead += OWED_SECONDS + 1
    for _ in range(2):
        await store.expire(10)
        await store.owed(0, 10)
    told = await bench.told()
    assert [(one.type, one.detail, one.scene) for one in told] == [
        ("failed", "try_again", scene.scene_str)
    ]


async def test_what_two_nodes_bring_over_is_brought_once(bench: TellingBench) -> None:
    """Also where it is more than one looks at in one go, and while more comes."""
    if bench.link is None:
        return  # nothing is brought over
    store = bench.store()
    scene = await moved(store, bench, claim(), authorize())
    text, where = "", ""
    for key in told_lists():
        if kept := await bench.link.call(key, "LRANGE", key, 0, -1):
            (text,), where = kept, key
    many = [text.replace(scene.scene_str, f"scene {n}") for n in range(2 * SLICE + 5)]
    await bench.link.call(where, "RPUSH", where, *many)
    first, second = bench.collected(), bench.collected()
    before = bench.clock.now()
    results = [await first.collect(), await second.collect()]
    assert results[0].some and not results[1].some
    assert all(before <= one.complete_at <= bench.clock.now() for one in results)
    assert len(await bench.told()) == 2 * (len(many) + 1)  # of each a registration and a login
    assert await bench.link.call(where, "EXISTS", where) == 0
