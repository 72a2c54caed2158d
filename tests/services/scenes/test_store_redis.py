"""What only the store in Redis does; its contract is in tests/contracts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.scenes.store_redis import SHARDS, keys_of
from tests.conftest import UnexpectedLogs
from tests.contracts.scenes import claim
from tests.faults.test_redis import linked, new_scene
from tests.servers import RedisServer, started


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with started(RedisServer(tmp_path)) as server:
        yield server


@given(st.uuids(version=4))
def test_the_keys_of_a_scene_share_a_hash_tag(uuid: object) -> None:
    """What stands in braces decides the slot (redis.io, "Redis cluster specification")."""
    tags = {key[key.index("{") : key.index("}")] for key in keys_of(SceneStr(str(uuid)))}
    assert len(tags) == 1
    assert 0 <= int(tags.pop()[1:]) < SHARDS


@pytest.mark.redis
@pytest.mark.gen_test
async def test_a_newer_scanpush_may_add_fields(server: RedisServer) -> None:
    """During a rolling upgrade, fields that this version does not know are kept and do no harm."""
    async with linked(server.url) as store:
        scene = await store.create(new_scene())
        key = keys_of(scene.scene_str)[0]
        server.ask("HSET", key, "v", "2", "colour", "red")
        step = await store.advance(scene.scene_str, claim())
        assert step.scene is not None and step.scene.details == {} and step.scene.seq == 2
        assert b"red" in server.ask("HGET", key, "colour")


@pytest.mark.redis
@pytest.mark.gen_test
async def test_what_another_version_wrote_is_left_to_it(
    server: RedisServer, logs: UnexpectedLogs
) -> None:
    """A scene that is not understood is unavailable here, and keeps no other from being found."""
    logs.expect("left to others: Redis: scene .* is not understood")
    async with linked(server.url) as store:
        scenes = [await store.create(new_scene()) for _ in range(3)]
        for scene in scenes:
            await store.advance(scene.scene_str, claim())
        odd = scenes[1].scene_str
        server.ask("HSET", keys_of(odd)[0], "kind", "novel")
        with pytest.raises(StoreUnavailable, match="not understood"):
            await store.get(odd)
        owed = {scene.scene_str for scene in await store.owed(-1, 10)}
        assert owed == {scenes[0].scene_str, scenes[2].scene_str}


@pytest.mark.redis
@pytest.mark.gen_test
async def test_a_finished_login_is_no_longer_listed_as_a_debt(server: RedisServer) -> None:
    """The list holds what is owed and nothing else; what died there is taken off."""
    async with linked(server.url) as store:
        scene = await store.create(new_scene())
        key, debts = keys_of(scene.scene_str)
        await store.advance(scene.scene_str, claim())
        assert server.ask("ZCARD", debts).startswith(b":1")
        server.ask("DEL", key)
        assert await store.owed(-1, 10) == []
        assert server.ask("ZCARD", debts).startswith(b":0")
