"""The port to the scenes: what every backend promises of them, and the notice it publishes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.ids import SceneStr
from services.key_values import KeyValues
from services.scenes.states import Move, Scene, Step


@dataclass(frozen=True, slots=True)
class Notice:
    """A hint, no more: "read this scene again". It holds no secret and may come twice or late.

    `newest` other than 0 is the number of a new socket (`Attachment.number`): it replaces the
    sockets of smaller numbers, and no others.
    """

    scene_str: SceneStr
    seq: int
    newest: int = 0


class Attachment(NamedTuple):
    """A scene as it was when a connection was attached to it.

    `number` counts the scene's sockets in the order in which the backend attached them, the same
    for all nodes; a newer socket has a larger one. 0 where all sockets are on one node, which sees
    that order itself.
    """

    scene: Scene
    number: int


class SceneStore(KeyValues, Protocol):
    """Keeps scenes; decides every race by atomic moves; forgets everything by itself.

    Guarantees every backend gives, held by tests/contracts/test_scene_*.py:

    - **Its own clock decides.** Reads return the scene settled by time (`states.settle`).
    - **A move is atomic**: of any number of callers at once, on any number of nodes, one gets
      ``MOVED``. What `states.apply` says is what happens.
    - **Saved, then noticed.** When `advance` returns ``MOVED`` the change is durable, and the
      notice to each attached node was published after that, never before.
    - **Outcomes live and die with the move**: written in the same transaction, or not at all.

    Every method raises `errors.StoreUnavailable`, and only that, when the backend does not do
    its part; whether a write happened is then unknown, and doing it again is safe.
    """

    async def create(self, scene: Scene) -> Scene:
        """Keep a new scene. `created_at`, `changed_at` and `ends_at` come relative to the caller's
        clock and are moved to the store's; the scene as stored is returned."""

    async def get(self, scene_str: SceneStr) -> Scene | None:
        """The scene now, or None when unknown or forgotten."""

    def get_nowait(self, scene_str: SceneStr, seq: int) -> Scene | None:
        """The scene at `seq` or newer, where the backend can tell without waiting that it is so
        now. None says nothing at all: call `get`."""

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        """Carry out one move atomically.

        With ``move.outcome`` and a reply already kept under its key, nothing moves: the verdict
        is ``REPEATED`` and the step carries that reply (and the scene, if it still exists).
        """

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        """Record that `node` holds `connection` for the scene, then read the scene.

        Only for the browser whose watch token has that SHA-256; for others, as for an unknown
        scene, nothing is recorded and None is returned.

        From now on each change is noticed there. Attachments expire with the scene; at most four
        are kept, the newest. Attaching is what closes the race of a scan before the socket.

        A positive `connection` is a socket: it gets the next number, the other attached nodes are
        sent a notice with that number, and close their older ones. A negative one is a waiting
        poll, which replaces none.
        """

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        """`attach` where the backend needs no waiting for it, and so no number. None says nothing,
        and then nothing was recorded: call `attach`."""

    async def reattach(
        self, scene_str: SceneStr, node: str, connection: int, number: int
    ) -> Attachment | None:
        """Read the scene, and record an attachment again that the backend may have lost: a restart
        or a failover can take the newest writes with it. It publishes no notice, and takes no
        newer one's place.

        Returns the number of the scene's newest socket: larger than `number`, the one that the
        connection was attached with, when a newer socket has replaced it meanwhile.
        """

    async def detach(self, scene_str: SceneStr, node: str, connection: int) -> None:
        """Forget exactly this attachment; unknown ones are no error."""

    async def owed(self, older_than_seconds: float, limit: int) -> Sequence[Scene]:
        """Claimed scenes whose next step the server owes since that long (a crash in between)."""

    async def expire(self, limit: int) -> int:
        """Write down what time has done to at most `limit` scenes, notice it, and forget what is
        past reading. Returns how many were touched; 0 where the backend forgets by itself."""

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the backend answers now."""


class ObservedScenes:
    """What a store in front of another one has in common with it: all but the beginnings, the moves
    and the attachments of scenes."""

    def __init__(self, scenes: SceneStore) -> None:
        self._scenes = scenes
        # Straight to the store, without a call in between.
        self.get = scenes.get
        self.get_nowait = scenes.get_nowait
        self.reattach = scenes.reattach
        self.detach = scenes.detach
        self.owed = scenes.owed
        self.expire = scenes.expire
        self.recall = scenes.recall
        self.remember = scenes.remember
        self.replace = scenes.replace
        self.take = scenes.take
        self.count = scenes.count
        self.ping = scenes.ping
