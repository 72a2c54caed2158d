"""What every `SceneStore` promises about debts, notices and what is kept by key."""

import asyncio
import uuid

import pytest

from services.scenes.states import Move, Scene, State, Verdict
from tests.contracts.benches import SceneBench
from tests.contracts.scenes import ANN, BOB, SCANNED, a_scene, alike, authorize, claim

# What the server owes.


async def noticed(bench: SceneBench, scene: Scene, nodes: list[str]) -> list[str]:
    """Those of the nodes that got a notice of the scene."""
    return [node for node in nodes if await bench.notices(node, scene.scene_str)]


@pytest.mark.gen_test
async def test_a_claim_left_alone_is_owed(scenes: SceneBench) -> None:
    """A claimed scene shows up after the given time, until its login is finished."""
    store = scenes.store()
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.advance(scene.scene_str, claim())
    assert await store.owed(5, 10) == []
    await scenes.pass_time(6)
    (left,) = await scenes.store("b").owed(5, 10)
    assert (left.scene_str, left.state, left.openid) == (scene.scene_str, State.SCANNED, ANN)
    await store.advance(scene.scene_str, authorize())
    assert await store.owed(5, 10) == []


@pytest.mark.gen_test
async def test_what_ended_is_not_owed(scenes: SceneBench) -> None:
    """Scenes that waited for a person, were cancelled or expired owe no login."""
    store = scenes.store()
    names = [(await store.create(a_scene(scenes.clock.now(), life=40))).scene_str for _ in range(4)]
    for name in names[1:]:
        await store.advance(name, claim())
    await store.advance(names[1], Move(State.CANCELLED, SCANNED))
    await store.advance(names[2], Move(State.CONFIRMING, SCANNED, 120, openid=ANN))
    await scenes.pass_time(6)
    assert [scene.scene_str for scene in await store.owed(5, 10)] == [names[3]]
    await scenes.pass_time(35)
    assert await store.owed(5, 10) == []


@pytest.mark.gen_test
async def test_at_most_the_limit_is_owed(scenes: SceneBench) -> None:
    """A sweeper takes what it can carry, and finds the rest the next time."""
    store = scenes.store()
    for _ in range(7):
        scene = await store.create(a_scene(scenes.clock.now()))
        await store.advance(scene.scene_str, claim())
    await scenes.pass_time(6)
    assert len(await store.owed(5, 3)) == 3
    assert len(await store.owed(5, 100)) == 7


# Notices.


@pytest.mark.gen_test
async def test_a_move_is_noticed_where_attached(scenes: SceneBench) -> None:
    """Each change brings the scene's name and its new seq to the attached node."""
    store = scenes.store("a")
    scene = await store.create(a_scene(scenes.clock.now()))
    attached = await store.attach(scene.scene_str, "a", 1, scene.watch_hash)
    assert attached is not None and alike(attached.scene, scene)
    await scenes.store("b").advance(scene.scene_str, claim())
    await scenes.store("b").advance(scene.scene_str, authorize())
    seen = [notice.seq for notice in await scenes.notices("a", scene.scene_str)]
    assert seen == [2, 3]


@pytest.mark.gen_test
async def test_what_does_not_move_is_not_noticed(scenes: SceneBench) -> None:
    """Repeats and refusals are silent."""
    store = scenes.store("a")
    scene = await store.create(a_scene(scenes.clock.now()))
    await store.attach(scene.scene_str, "a", 1, scene.watch_hash)
    await store.advance(scene.scene_str, claim(ANN))
    await store.advance(scene.scene_str, claim(ANN))
    await store.advance(scene.scene_str, claim(BOB))
    assert [notice.seq for notice in await scenes.notices("a", scene.scene_str)] == [2]


@pytest.mark.gen_test
async def test_another_watch_token_attaches_nothing(shared_scenes: SceneBench) -> None:
    """It gets the answer of an unknown scene, and hears of no change."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    assert await store.attach(scene.scene_str, "b", 1, b"x" * 32) is None
    await store.advance(scene.scene_str, claim())
    assert await shared_scenes.notices("b", scene.scene_str) == []


@pytest.mark.gen_test
async def test_another_watch_token_reads_nothing(scenes: SceneBench) -> None:
    """On every backend."""
    store = scenes.store("a")
    scene = await store.create(a_scene(scenes.clock.now()))
    assert await store.attach(scene.scene_str, "a", 1, b"x" * 32) is None


@pytest.mark.gen_test
async def test_attaching_reads_what_time_has_done(scenes: SceneBench) -> None:
    """A socket that comes late sees the expired scene at once."""
    store = scenes.store("a")
    scene = await store.create(a_scene(scenes.clock.now(), life=10))
    await scenes.pass_time(11)
    attached = await store.attach(scene.scene_str, "a", 1, scene.watch_hash)
    assert attached is not None and attached.scene.state is State.EXPIRED


@pytest.mark.gen_test
async def test_each_attached_node_is_noticed(shared_scenes: SceneBench) -> None:
    """A poll on one node and a socket on another both get their notice, others none."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    await store.attach(scene.scene_str, "a", -1, scene.watch_hash)
    await store.attach(scene.scene_str, "b", -1, scene.watch_hash)
    await store.advance(scene.scene_str, claim())
    for node, seqs in {"a": [2], "b": [2], "c": []}.items():
        assert [n.seq for n in await shared_scenes.notices(node, scene.scene_str)] == seqs


@pytest.mark.gen_test
async def test_each_detaches_only_itself(shared_scenes: SceneBench) -> None:
    """The end of an old connection never removes a newer one of the same node."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    for node, connection in (("a", 1), ("a", 11), ("b", 1)):
        await store.attach(scene.scene_str, node, connection, scene.watch_hash)
    await store.detach(scene.scene_str, "a", 1)
    await store.detach(scene.scene_str, "b", 1)
    await store.detach(scene.scene_str, "b", 1)
    before = len(await shared_scenes.notices("a", scene.scene_str))
    await store.advance(scene.scene_str, claim())
    after = await shared_scenes.notices("a", scene.scene_str)
    assert [notice.seq for notice in after[before:]] == [2]
    assert all(notice.seq == 1 for notice in await shared_scenes.notices("b", scene.scene_str))


@pytest.mark.gen_test
async def test_an_attachment_that_was_lost_is_made_again(shared_scenes: SceneBench) -> None:
    """It gets notices from then on, once however often it was made again, and no other node is told
    of it."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    await store.attach(scene.scene_str, "b", 2, scene.watch_hash)
    for _ in range(2):
        again = await store.reattach(scene.scene_str, "a", 1, 1)
        assert again is not None and alike(again.scene, scene)
    assert await shared_scenes.notices("b", scene.scene_str) == []
    await store.advance(scene.scene_str, claim())
    for node in ("a", "b"):
        assert [n.seq for n in await shared_scenes.notices(node, scene.scene_str)] == [2]
    await store.detach(scene.scene_str, "a", 1)
    await store.advance(scene.scene_str, authorize())
    assert [n.seq for n in await shared_scenes.notices("a", scene.scene_str)] == [2]


@pytest.mark.gen_test
async def test_making_an_attachment_again_displaces_no_newer_one(shared_scenes: SceneBench) -> None:
    """The page may have moved on meanwhile: four newer ones stay, and one older goes first."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    for number in range(3):
        await store.attach(scene.scene_str, f"node{number}", -1, scene.watch_hash)
    await store.reattach(scene.scene_str, "old", 1, 1)
    await store.attach(scene.scene_str, "node3", -1, scene.watch_hash)
    await store.reattach(scene.scene_str, "late", 1, 1)
    await store.advance(scene.scene_str, claim())
    nodes = ["old", "late", *(f"node{number}" for number in range(4))]
    assert await noticed(shared_scenes, scene, nodes) == ["node0", "node1", "node2", "node3"]


@pytest.mark.gen_test
async def test_the_newest_four_are_kept(shared_scenes: SceneBench) -> None:
    """A page that polls from everywhere costs four notices, not more."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    for number in range(6):
        await store.attach(scene.scene_str, f"node{number}", -1, scene.watch_hash)
    await store.advance(scene.scene_str, claim())
    nodes = [f"node{number}" for number in range(6)]
    assert await noticed(shared_scenes, scene, nodes) == ["node2", "node3", "node4", "node5"]


@pytest.mark.gen_test
async def test_a_new_socket_is_told_to_the_other_nodes(shared_scenes: SceneBench) -> None:
    """The notice has the new socket's number; a waiting poll replaces no socket."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    await store.attach(scene.scene_str, "a", 7, scene.watch_hash)
    await store.attach(scene.scene_str, "b", -3, scene.watch_hash)
    assert await shared_scenes.notices("a", scene.scene_str) == []
    newest = await store.attach(scene.scene_str, "b", 9, scene.watch_hash)
    assert newest is not None
    notices = await shared_scenes.notices("a", scene.scene_str)
    assert [(n.seq, n.newest) for n in notices] == [(1, newest.number)]
    assert await shared_scenes.notices("b", scene.scene_str) == []


@pytest.mark.gen_test
async def test_sockets_are_numbered_in_their_order(shared_scenes: SceneBench) -> None:
    """Across nodes, whatever their connections are called; a waiting poll takes no number."""
    stores = shared_scenes.store("a"), shared_scenes.store("b")
    scene = await stores[0].create(a_scene(shared_scenes.clock.now()))
    numbers = []
    for at, connection in ((0, 900), (1, 5), (0, -6), (0, 4), (1, 900)):
        attached = await stores[at].attach(scene.scene_str, "ab"[at], connection, scene.watch_hash)
        assert attached is not None
        numbers.append(attached.number)
    assert numbers == [1, 2, 2, 3, 4]


@pytest.mark.gen_test(timeout=30)
async def test_no_two_sockets_have_one_number(shared_scenes: SceneBench) -> None:
    """Fifty at once on two nodes get fifty numbers."""
    stores = shared_scenes.store("a"), shared_scenes.store("b")
    scene = await stores[0].create(a_scene(shared_scenes.clock.now()))
    attached = await asyncio.gather(
        *(
            stores[i % 2].attach(scene.scene_str, "ab"[i % 2], i + 1, scene.watch_hash)
            for i in range(50)
        )
    )
    assert sorted(one.number for one in attached if one is not None) == list(range(1, 51))


@pytest.mark.gen_test
async def test_no_later_socket_has_a_smaller_number(scenes: SceneBench) -> None:
    """On every backend; where all sockets are on one node, all numbers may be alike."""
    store = scenes.store("a")
    scene = await store.create(a_scene(scenes.clock.now()))
    numbers = []
    for connection in (3, 2, 1):
        attached = await store.attach(scene.scene_str, "a", connection, scene.watch_hash)
        assert attached is not None
        numbers.append(attached.number)
    again = await store.reattach(scene.scene_str, "a", 1, numbers[-1])
    assert again is not None and [*numbers, again.number] == sorted([*numbers, again.number])


@pytest.mark.gen_test
@pytest.mark.parametrize(("number", "newest"), [(1, 3), (3, 3), (8, 8)])
async def test_attaching_again_tells_the_newest_number(
    shared_scenes: SceneBench, number: int, newest: int
) -> None:
    """A socket that was replaced unnoticed learns it; numbers that were lost do not come twice."""
    store = shared_scenes.store("a")
    scene = await store.create(a_scene(shared_scenes.clock.now()))
    for connection in (1, 2, 3):
        await store.attach(scene.scene_str, "a", connection, scene.watch_hash)
    again = await store.reattach(scene.scene_str, "a", 1, number)
    following = await store.attach(scene.scene_str, "b", 4, scene.watch_hash)
    assert again is not None and following is not None
    assert (again.number, following.number) == (newest, newest + 1)


@pytest.mark.gen_test
@pytest.mark.parametrize("off", [-30.0, 30.0])
async def test_a_node_whose_clock_is_off_makes_scenes_as_others_do(
    shared_scenes: SceneBench, off: float
) -> None:
    """Half a minute fast or slow: the scene's times are the store's, its life is what was asked."""
    now = shared_scenes.clock.now()
    times = {"created_at": now + off, "changed_at": now + off, "ends_at": now + off + 20}
    scene = await shared_scenes.store("a").create(a_scene(shared_scenes.clock.now(), **times))
    assert abs(scene.created_at - now) < 5 and scene.ends_at - scene.created_at == pytest.approx(20)
    await shared_scenes.pass_time(19)
    step = await shared_scenes.store("b").advance(scene.scene_str, claim())
    assert step.verdict is Verdict.MOVED and abs(step.now - now - 19) < 5


# Small things kept by key.


@pytest.mark.gen_test
async def test_the_first_value_is_remembered(scenes: SceneBench) -> None:
    """A second value under the same key is not kept; the first is returned."""
    store = scenes.store()
    key = str(uuid.uuid4())
    assert await store.recall(key) is None
    assert await store.remember(key, "erste", 60) == "erste"
    assert await store.remember(key, "zweite", 60) == "erste"
    assert await store.recall(key) == "erste"


@pytest.mark.gen_test(timeout=30)
async def test_one_of_a_hundred_is_remembered(scenes: SceneBench) -> None:
    """At once, on two nodes, one value wins and every caller gets that one."""
    stores = scenes.store("a"), scenes.store("b")
    key = str(uuid.uuid4())
    kept = await asyncio.gather(*(stores[i % 2].remember(key, str(i), 60) for i in range(100)))
    assert len(set(kept)) == 1


@pytest.mark.gen_test(timeout=30)
async def test_every_count_is_counted(scenes: SceneBench) -> None:
    """A hundred at once count to a hundred, each with a number of its own."""
    stores = scenes.store("a"), scenes.store("b")
    key = str(uuid.uuid4())
    numbers = await asyncio.gather(*(stores[i % 2].count(key, 60) for i in range(100)))
    assert sorted(numbers) == list(range(1, 101))


@pytest.mark.gen_test
async def test_what_is_kept_is_forgotten_in_time(scenes: SceneBench) -> None:
    """Values and counters end after the life they were made with, and can be made again."""
    store = scenes.store()
    value, counter = str(uuid.uuid4()), str(uuid.uuid4())
    await store.remember(value, "one", 0.2)
    await store.count(counter, 0.2)
    await store.count(counter, 1000)
    await scenes.pass_time(0.3)
    assert await store.recall(value) is None
    assert await store.remember(value, "two", 60) == "two"
    assert await store.count(counter, 60) == 1


@pytest.mark.gen_test
async def test_a_replaced_value_is_returned(scenes: SceneBench) -> None:
    """`replace` keeps the new value and tells what was there."""
    store, key = scenes.store(), str(uuid.uuid4())
    assert await store.replace(key, "one", 60) is None
    assert await store.replace(key, "two", 60) == "one"
    assert await store.recall(key) == "two"


@pytest.mark.gen_test(timeout=30)
async def test_one_of_a_hundred_takes(scenes: SceneBench) -> None:
    """A value is taken once, however many ask on two nodes at once."""
    stores, key = (scenes.store("a"), scenes.store("b")), str(uuid.uuid4())
    await stores[0].remember(key, "once", 60)
    taken = await asyncio.gather(*(stores[i % 2].take(key) for i in range(100)))
    assert sorted(value for value in taken if value is not None) == ["once"]
    assert await stores[0].recall(key) is None


@pytest.mark.gen_test
async def test_it_answers_a_ping(scenes: SceneBench) -> None:
    """A ping of a working store raises nothing."""
    await scenes.store().ping()
