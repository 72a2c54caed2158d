"""What this node knows of scenes because it has just moved them itself.

On Redis a move is noticed to every node that has the scene attached, also to the one that made it.
That one has the result already: it delivers this, and neither waits for its own notice nor reads
the scene again. A notice is still only a hint: what is delivered comes from the store's own answer
to the move, and where there was none the scene is read.

A fast path: it saves a notice and a read for each move. The plain path is the broker's notice and
`SceneStore.get`; tests/contracts/test_scene_sharing.py and tests/flows run with it and without.
"""

import asyncio
from collections.abc import Callable

from services.caches import Cache
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
"""For how long the notice of a scan is held back while its login follows: nearly always the login
is what the page sees next (states may be skipped), and showing both costs more."""

NEVER = 2**53
"""A `seq` that no scene has: a listener that gets it has to read."""


class PendingMoves:
    """Moves of one scene that the store has not answered yet."""

    __slots__ = ("began", "count", "noticed", "scene_str")

    def __init__(self, scene_str: SceneStr, began: float) -> None:
        self.scene_str = scene_str
        self.began = began
        """When the first of them was asked for, by the event loop's clock."""
        self.count = 0
        self.noticed = 0
        """The newest `seq` noticed meanwhile."""


class LocalEcho:
    """Plain calls on the event loop, shared by a node's store and its broker."""

    def __init__(self) -> None:
        self._pending: dict[SceneStr, PendingMoves] = {}
        self._recent: Cache[SceneStr, tuple[float, Scene]] = Cache(RECENT)
        self._on_notice: Callable[[Notice], None] | None = None
        self._held: dict[SceneStr, Notice] = {}
        self._timer_runs = False

    def listen(self, on_notice: Callable[[Notice], None]) -> None:
        """Have `on_notice` called after each move made here, whatever became of it: soon after one
        that leaves the next step to this server, else at once."""
        self._on_notice = on_notice

    def begin(self, scene_str: SceneStr) -> PendingMoves:
        """A move begins. What this returns is for `end`, which must follow."""
        moves = self._pending.get(scene_str)
        if moves is None:
            began = asyncio.get_running_loop().time()
            moves = self._pending[scene_str] = PendingMoves(scene_str, began)
        moves.count += 1
        return moves

    def end(self, moves: PendingMoves, scene: Scene | None) -> None:
        """The move is over, with the scene of the store's answer. None: the store failed, or the
        caller stopped waiting; then listeners have to read."""
        moves.count -= 1
        if not moves.count:
            del self._pending[moves.scene_str]
        if scene is not None:
            # Answers to moves of one scene may overtake each other. Fresh by when the move was
            # asked for, not by when it was answered: nothing older than FRESH_SECONDS is delivered.
            newest = self._recent.get(scene.scene_str)
            if newest is None or newest[1].seq <= scene.seq:
                newest = (moves.began, scene)
            self._recent.keep(scene.scene_str, newest)
        if self._on_notice is None:
            return
        # What was noticed meanwhile (see `expects`) is told now. Where the store's answer is older
        # than that, or there is none, the listener reads.
        seq = NEVER if scene is None else scene.seq
        notice = Notice(moves.scene_str, max(seq, moves.noticed))
        if scene is not None and scene.owed:
            # The login that this server owes follows within milliseconds: one timer for all.
            self._held[notice.scene_str] = notice
            if not self._timer_runs:
                self._timer_runs = True
                asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release)
        else:
            # What was held is older: states may be skipped.
            self._held.pop(moves.scene_str, None)
            self._on_notice(notice)

    def _release(self) -> None:
        self._timer_runs = False
        held, self._held = self._held, {}
        for notice in held.values():
            if self._on_notice is not None:
                self._on_notice(notice)

    def expects(self, notice: Notice) -> bool:
        """Whether this notice will be given from here: at the end of a pending move of that scene,
        or with those that are held."""
        if notice.newest or self._on_notice is None:
            return False
        moves = self._pending.get(notice.scene_str)
        if moves is None:
            held = self._held.get(notice.scene_str)
            return held is not None and notice.seq <= held.seq
        # It may be of another node's move, which this node's answer need not show: `end` compares.
        moves.noticed = max(moves.noticed, notice.seq)
        return True

    def get_nowait(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The scene as a move made here has left it just now, if that is `seq` or newer."""
        at, scene = self._recent.get(scene_str, (0.0, None))
        if scene is None or scene.seq < seq:
            return None
        return scene if asyncio.get_running_loop().time() - at < FRESH_SECONDS else None
