"""The contract of `ScreenStore`, on every backend."""

import asyncio
from typing import Any

import pytest

from services.ids import SceneStr, new_scene_str, secret_hash
from services.screens.store import MOST_SCENES, Beginning, Screen, new_id
from tests.contracts.benches import UserBench

pytestmark = pytest.mark.gen_test(timeout=30)

FIRST, SECOND = secret_hash("first"), secret_hash("second")


def lobby(name: str = "lobby3", **fields: Any) -> Screen:
    known = {"label": "Lobby 3", "secret_hash": FIRST, "paired_at": 1000.0}
    return Screen(new_id(), name, **{**known, **fields})


def begins(scene_str: SceneStr | None = None, at: float = 2000.0) -> Beginning:
    return Beginning(scene_str or new_scene_str(), at, "1.2.3", "Chrome, Linux")


async def test_a_paired_screen_is_kept_whole(people: UserBench) -> None:
    """By secret and in the list, on another node as well."""
    screen = lobby(keypad=True, notice="今天休息", reload=1_700_000_000_123)
    assert await people.screens("a").pair(screen)
    other = people.screens("b")
    assert await other.of_secret(FIRST) == screen and list(await other.all()) == [screen]
    assert await other.of_secret(SECOND) is None


async def test_a_name_is_one_screens(people: UserBench) -> None:
    """Of several that are paired at once under one name one is kept."""
    stores = [people.screens(node) for node in "abab"]
    screens = [lobby(secret_hash=secret_hash(str(number))) for number in range(4)]
    paired = await asyncio.gather(
        *(store.pair(screen) for store, screen in zip(stores, screens, strict=True))
    )
    assert sorted(paired) == [False, False, False, True]
    assert list(await stores[0].all()) == [screens[paired.index(True)]]


async def test_a_begun_scene_is_noted(people: UserBench) -> None:
    """When, by which page and browser; of its scenes the newest are kept."""
    store = people.screens()
    await store.pair(lobby())
    scenes = [new_scene_str() for _ in range(MOST_SCENES + 2)]
    for number, scene_str in enumerate(scenes):
        screen = await store.begun(FIRST, begins(scene_str, 2000.0 + number))
    assert screen is not None and screen.scenes == tuple(scenes[2:])
    assert (screen.page, screen.browser) == ("1.2.3", "Chrome, Linux")
    assert screen.begun_at == screen.seen_at == 2000 + MOST_SCENES + 1
    assert list(await store.all()) == [screen]


async def test_a_revoked_screen_begins_nothing(people: UserBench) -> None:
    """Its name is free at once; the record that is left has its scenes, until it is forgotten."""
    store, other, screen = people.screens("a"), people.screens("b"), lobby(next_hash=SECOND)
    await store.pair(screen)
    begun = begins()
    await other.begun(FIRST, begun)
    revoked = await store.revoke(screen.id, 3000.0)
    assert revoked is not None and revoked.scenes == (begun.scene_str,)
    assert await store.revoke(screen.id, 3001.0) is None
    for secret in (FIRST, SECOND):
        assert await other.begun(secret, begins()) is None
        assert await other.of_secret(secret) is None
    assert await other.change(screen.id, {"label": "again"}) is None
    assert await other.pair(lobby(secret_hash=SECOND))
    await store.forget(3000.0)
    assert len(await store.all()) == 2
    await store.forget(3000.5)
    assert [one.secret_hash for one in await store.all()] == [SECOND]


async def test_no_scene_slips_past_a_revocation(people: UserBench) -> None:
    """Each of those begun at the same moment is either refused or among those to end."""
    store, other, screen = people.screens("a"), people.screens("b"), lobby()
    await store.pair(screen)
    beginnings = [begins() for _ in range(8)]
    *begun, revoked = await asyncio.gather(
        *(other.begun(FIRST, one) for one in beginnings), store.revoke(screen.id, 3000.0)
    )
    assert revoked is not None
    accepted = {one.scene_str for one, kept in zip(beginnings, begun, strict=True) if kept}
    assert accepted == set(revoked.scenes)


async def test_one_secret_ends_at_the_first_use_of_the_next(people: UserBench) -> None:
    """Until then both are good; looking one up is no use."""
    store, screen = people.screens(), lobby()
    await store.pair(screen)
    assert await store.change(screen.id, {"next_hash": SECOND})
    assert await store.begun(FIRST, begins()) and await store.of_secret(SECOND)
    assert await store.begun(FIRST, begins())
    used = await store.begun(SECOND, begins())
    assert used is not None and (used.secret_hash, used.next_hash) == (SECOND, b"")
    assert await store.begun(FIRST, begins()) is None
    assert await store.begun(SECOND, begins())


async def test_a_screen_gets_another_name_unless_it_is_taken(people: UserBench) -> None:
    """A name that is not free changes nothing."""
    store, screen = people.screens(), lobby()
    await store.pair(screen)
    await store.pair(lobby("lobby4", secret_hash=SECOND))
    assert await store.change(screen.id, {"name": "lobby4", "label": "x"}) is None
    moved = await store.change(screen.id, {"name": "lobby5"})
    assert moved == screen._replace(name="lobby5")
    assert await store.pair(lobby(secret_hash=secret_hash("third")))


async def test_a_screen_of_the_settings_has_notes(people: UserBench) -> None:
    """Made when they are needed, on any node; a screen that is paired later takes them over."""
    store, other = people.screens("a"), people.screens("b")
    await asyncio.gather(
        store.care_for("lobby3", {"notice": "back soon"}), other.begun_at("lobby3", begins())
    )
    (noted,) = await store.all()
    assert noted.notice == "back soon" and len(noted.scenes) == 1 and not noted.secret_hash
    await store.seen(noted.id, "socket", 2500.0)
    (seen,) = await other.all()
    assert (seen.transport, seen.seen_at) == ("socket", 2500.0)
    assert await store.pair(lobby())
    (paired,) = await other.all()
    assert paired.name == "lobby3" and paired.secret_hash == FIRST


async def test_no_secret_is_kept(people: UserBench) -> None:
    """What is kept of screens holds hashes only."""
    store = people.screens()
    await store.pair(lobby(secret_hash=secret_hash("a-secret-of-a-screen")))
    assert "a-secret-of-a-screen" not in await people.kept() + repr(await store.all())
