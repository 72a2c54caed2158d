"""What this node knows of scenes because it has just moved them itself.

On Redis a move is noticed to every node that watches the scene, also to the one that made it. That
one has been told the result already: it delivers this, and neither waits for its own notice nor
reads the scene again. A notice is still only a hint: what is delivered comes from the store's own
answer to the move, and where there was none the scene is read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.ids import SceneStr
from services.push.broker import Notice
from services.scenes.states import Scene

RECENT = 256
"""Scenes remembered after a move."""

FRESH_SECONDS = 0.5
"""For how long the answer to a move is delivered without reading again. A node that slept in
between wakes up with nothing fresh, and so delivers nothing that is over by now."""

NEVER = 2**53
"""A `seq` that no scene has: whoever is told of it has to read."""


class _Move:
    """Moves of one scene that are under way."""

    __slots__ = ("count", "heard")

    def __init__(self) -> None:
        self.count = 0
        self.heard = 0
        """The newest `seq` noticed meanwhile."""


class OwnMoves:
    """Plain calls on the event loop, shared by a node's store and its broker."""

    def __init__(self) -> None:
        self._under_way: dict[SceneStr, _Move] = {}
        self._recent: OrderedDict[SceneStr, tuple[float, Scene]] = OrderedDict()
        self._tell: Callable[[Notice], None] | None = None

    def listen(self, tell: Callable[[Notice], None]) -> None:
        """Have `tell` called after each move made here, whatever became of it."""
        self._tell = tell

    @contextmanager
    def moving(self, scene_str: SceneStr) -> Iterator[Callable[[Scene | None], None]]:
        """Around a move: call what it gives with the scene of the store's answer. Without a call,
        because the store failed or the caller stopped waiting, listeners are told to read."""
        move = self._under_way.setdefault(scene_str, _Move())
        move.count += 1
        seq = NEVER

        def answered(scene: Scene | None) -> None:
            nonlocal seq
            if scene is not None:
                seq = scene.seq
                self._keep(scene)

        try:
            yield answered
        finally:
            move.count -= 1
            if not move.count:
                del self._under_way[scene_str]
            if self._tell is not None:
                self._tell(Notice(scene_str, max(seq, move.heard)))

    def expects(self, notice: Notice) -> bool:
        """Whether a move of that scene is under way here, whose end tells of this notice too."""
        move = self._under_way.get(notice.scene_str)
        if move is None or notice.connection or self._tell is None:
            return False
        move.heard = max(move.heard, notice.seq)
        return True

    def at_hand(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The scene as a move made here has left it just now, if that is `seq` or newer."""
        at, scene = self._recent.get(scene_str, (0.0, None))
        if scene is None or scene.seq < seq:
            return None
        return scene if asyncio.get_running_loop().time() - at < FRESH_SECONDS else None

    def _keep(self, scene: Scene) -> None:
        before = self._recent.pop(scene.scene_str, None)
        if before is not None and before[1].seq > scene.seq:
            self._recent[scene.scene_str] = before
            return
        self._recent[scene.scene_str] = (asyncio.get_running_loop().time(), scene)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
