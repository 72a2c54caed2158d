"""What this node knows of scenes because it has just moved them itself.

On Redis a move is noticed to every node that watches the scene, also to the one that made it. That
one has been told the result already: it delivers this, and neither waits for its own notice nor
reads the scene again. A notice is still only a hint: what is delivered comes from the store's own
answer to the move, and where there was none the scene is read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from services.ids import SceneStr
from services.scenes.states import Scene
from services.scenes.store import Notice

RECENT = 256
"""Scenes remembered after a move."""

FRESH_SECONDS = 0.5
"""For how long after a move was asked for its answer is delivered without reading again. A node
that slept in between, or whose answer was long on its way, has nothing fresh, and so delivers
nothing that is over by now."""

HOLD_SECONDS = 0.05
"""For how long nobody here is told of a scan whose login is already under way: nearly always the
login is what the page sees next (states may be skipped), and showing both costs more."""

NEVER = 2**53
"""A `seq` that no scene has: whoever is told of it has to read."""


class UnderWay:
    """Moves of one scene that are under way."""

    __slots__ = ("began", "count", "heard", "scene_str")

    def __init__(self, scene_str: SceneStr, began: float) -> None:
        self.scene_str = scene_str
        self.began = began
        """When the first of them was asked for, by the event loop's clock."""
        self.count = 0
        self.heard = 0
        """The newest `seq` noticed meanwhile."""


class OwnMoves:
    """Plain calls on the event loop, shared by a node's store and its broker."""

    def __init__(self) -> None:
        self._under_way: dict[SceneStr, UnderWay] = {}
        self._recent: OrderedDict[SceneStr, tuple[float, Scene]] = OrderedDict()
        self._tell: Callable[[Notice], None] | None = None
        self._held: dict[SceneStr, Notice] = {}
        self._will_tell = False

    def listen(self, tell: Callable[[Notice], None]) -> None:
        """Have `tell` called after each move made here, whatever became of it: soon after one that
        leaves the next step to this server, else at once."""
        self._tell = tell

    def begin(self, scene_str: SceneStr) -> UnderWay:
        """A move begins. What this gives is for `end`, which must follow."""
        moves = self._under_way.get(scene_str)
        if moves is None:
            moves = self._under_way[scene_str] = UnderWay(
                scene_str, asyncio.get_running_loop().time()
            )
        moves.count += 1
        return moves

    def end(self, moves: UnderWay, scene: Scene | None) -> None:
        """The move is over, with the scene of the store's answer. None: the store failed, or the
        caller stopped waiting; then listeners are told to read."""
        moves.count -= 1
        if not moves.count:
            del self._under_way[moves.scene_str]
        if scene is not None:
            self._keep(scene, moves.began)
        if self._tell is None:
            return
        seq = NEVER if scene is None else scene.seq
        notice = Notice(moves.scene_str, max(seq, moves.heard))
        if scene is not None and scene.owed:
            self._hold(notice)
        else:
            self._held.pop(moves.scene_str, None)
            self._tell(notice)

    def _hold(self, notice: Notice) -> None:
        self._held[notice.scene_str] = notice
        if not self._will_tell:
            self._will_tell = True
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self._tell_held)

    def _tell_held(self) -> None:
        """Everything held, also what came a moment ago: one timer does for all."""
        self._will_tell = False
        held, self._held = self._held, {}
        for notice in held.values():
            if self._tell is not None:
                self._tell(notice)

    def expects(self, notice: Notice) -> bool:
        """Whether this notice will be told of from here: at the end of a move of that scene that is
        under way, or with what is held."""
        if notice.connection or self._tell is None:
            return False
        moves = self._under_way.get(notice.scene_str)
        if moves is None:
            held = self._held.get(notice.scene_str)
            return held is not None and notice.seq <= held.seq
        moves.heard = max(moves.heard, notice.seq)
        return True

    def at_hand(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The scene as a move made here has left it just now, if that is `seq` or newer."""
        at, scene = self._recent.get(scene_str, (0.0, None))
        if scene is None or scene.seq < seq:
            return None
        return scene if asyncio.get_running_loop().time() - at < FRESH_SECONDS else None

    def _keep(self, scene: Scene, at: float) -> None:
        before = self._recent.pop(scene.scene_str, None)
        if before is not None and before[1].seq > scene.seq:
            self._recent[scene.scene_str] = before
            return
        self._recent[scene.scene_str] = (at, scene)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
