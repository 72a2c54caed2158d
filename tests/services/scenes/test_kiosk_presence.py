"""When a kiosk counts as up or down, over nodes that come and go."""

from typing import Any

from services.events.entries import Entry
from services.ids import SceneStr
from services.scenes.kiosk_presence import BEAT_SECONDS, KioskPresence
from services.scenes.states import Scene
from tests.contracts.scenes import a_scene
from tests.stack import ON_LOOP

pytestmark = ON_LOOP

DOWN_SECONDS = 120


class Shared:
    """What the nodes have in common: a clock, the values, and what was told."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0
        self.values: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def recall(self, key: str) -> str | None:
        return self.values.get(key)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> None:
        self.values[key] = value

    async def keep(self, entry: Entry) -> None:
        self.entries.setdefault(entry.id, entry)

    @property
    def told(self) -> list[str]:
        return [f"{entry.type} {entry.screen}" for entry in self.entries.values()]


class Node:
    def __init__(self, shared: Shared) -> None:
        parts: Any = shared
        self.watched: set[SceneStr] = set()
        self.presence = KioskPresence(
            parts, parts, shared, self.watched.__contains__, down_seconds=DOWN_SECONDS
        )

    def shows(self, scene: Scene) -> None:
        """The page of that scene opens its socket here."""
        self.presence.seen(scene)
        self.watched.add(scene.scene_str)


def scene(kiosk: str = "lobby") -> Scene:
    return a_scene(0, life=1800, details={"kiosk": kiosk} if kiosk else {})


async def beats(shared: Shared, seconds: float, *nodes: Node) -> None:
    for _ in range(round(seconds / BEAT_SECONDS)):
        shared.at += BEAT_SECONDS
        for node in nodes:
            await node.presence.beat()


async def test_a_kiosk_with_a_socket_stays_up() -> None:
    """As long as it waits, however long nothing happens; other pages are no kiosks."""
    shared = Shared()
    node = Node(shared)
    node.shows(scene())
    node.shows(scene(""))
    await beats(shared, 20 * DOWN_SECONDS, node)
    assert shared.told == ["kiosk.up lobby"]


async def test_a_kiosk_that_polls_stays_up_until_it_stops() -> None:
    """It is down after a while, and up again when it comes back."""
    shared = Shared()
    node = Node(shared)
    for _ in range(12):
        node.presence.seen(scene())
        await beats(shared, BEAT_SECONDS, node)
    assert shared.told == ["kiosk.up lobby"]
    await beats(shared, DOWN_SECONDS - BEAT_SECONDS, node)
    assert shared.told == ["kiosk.up lobby"]
    await beats(shared, 4 * DOWN_SECONDS, node)
    node.presence.seen(scene())
    await beats(shared, BEAT_SECONDS, node)
    assert shared.told == ["kiosk.up lobby", "kiosk.down lobby", "kiosk.up lobby"]


async def test_a_node_that_ends_tells_nothing() -> None:
    """Its kiosks find another one in time; nor does one that begins after all others ended."""
    shared = Shared()
    first, second = Node(shared), Node(shared)
    first.shows(scene())
    await beats(shared, 5 * DOWN_SECONDS, first, second)
    await beats(shared, DOWN_SECONDS / 2, second)
    second.shows(scene())
    await beats(shared, 5 * DOWN_SECONDS, second)
    shared.at += 3600
    third = Node(shared)
    await beats(shared, DOWN_SECONDS / 2, third)
    third.shows(scene())
    await beats(shared, 5 * DOWN_SECONDS, third)
    assert shared.told == ["kiosk.up lobby"]


async def test_two_nodes_tell_one_thing_once() -> None:
    """That a kiosk is down is found by each; what the first has written down may be lost."""
    shared = Shared()
    nodes = Node(shared), Node(shared)
    nodes[0].presence.seen(scene())
    await beats(shared, BEAT_SECONDS, *nodes)
    await beats(shared, DOWN_SECONDS, *nodes)
    kept = dict(shared.values)
    assert shared.told == ["kiosk.up lobby"]
    for node in nodes:
        shared.values = dict(kept)
        await beats(shared, BEAT_SECONDS, node)
    assert shared.told == ["kiosk.up lobby", "kiosk.down lobby"]


async def test_no_kiosk_is_down_for_an_outage_of_the_store() -> None:
    """The first node that beats after it does not know yet what the others see."""
    shared = Shared()
    first, second = Node(shared), Node(shared)
    first.shows(scene())
    await beats(shared, DOWN_SECONDS, first, second)
    shared.at += 5 * DOWN_SECONDS
    await beats(shared, BEAT_SECONDS, second, first)
    assert shared.told == ["kiosk.up lobby"]
    first.watched.clear()
    await beats(shared, 2 * DOWN_SECONDS, second, first)
    assert shared.told == ["kiosk.up lobby", "kiosk.down lobby"]
