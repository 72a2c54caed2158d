"""The embedded store: what it remembers is what stands in its file."""

from pathlib import Path
from uuid import UUID

import pytest

from services.clock import SystemClock
from services.ids import OpenId, SceneStr, UserId
from services.scenes.states import Claims, Kind, Scene, State
from services.scenes.store_sqlite import RECENT, SCHEMA, SqliteSceneStore
from services.sqlite import Database


def scene(number: int) -> Scene:
    now = SystemClock().now()
    return Scene(
        scene_str=SceneStr(str(UUID(int=number, version=4))),
        state=State.AUTHORIZED,
        seq=3,
        kind=Kind.WEB,
        account="default",
        lang="en",
        created_at=now,
        changed_at=now,
        ends_at=now + 60,
        watch_hash=b"w" * 32,
        begin_hash=b"b" * 32,
        openid=OpenId("o"),
        user_id=UserId("u"),
        claims=Claims("jti", 1, 2, True),
        owed=True,
        details={"name": "张三"},
    )


@pytest.mark.gen_test
async def test_begun_scenes_are_remembered_and_written(tmp_path: Path) -> None:
    """The same from memory, from the file once memory has forgotten them, and for another."""
    database = Database(tmp_path / "a.db", "NORMAL", (SCHEMA,))
    database.open()
    try:
        store, other = (
            SqliteSceneStore(database, SystemClock(), lambda notice: None) for _ in range(2)
        )
        scenes = [await store.create(scene(number)) for number in range(RECENT + 10)]
        for begun in scenes:
            assert store.at_hand(begun.scene_str) == begun
            assert other.at_hand(begun.scene_str) == begun
    finally:
        await database.close()
