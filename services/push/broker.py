"""The port between nodes: small hints that a scene has changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.ids import SceneStr


@dataclass(frozen=True, slots=True)
class Notice:
    """A hint, no more: "read this scene again". It holds no secret and may come twice or late.

    `connection` other than 0 names the one new connection that replaces all older ones.
    """

    scene_str: SceneStr
    seq: int
    connection: int = 0


class Broker(Protocol):
    """Brings notices to this node. Stores publish; see `SceneStore.advance`.

    `listen` gives two callbacks, both plain functions called on the event loop: `on_notice` for
    each notice, and `on_gap` after the broker's connection was lost and is back, when notices may
    be missing and every attached scene must be read again.
    """

    async def listen(
        self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]
    ) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Raise `errors.StoreUnavailable` unless notices can arrive now."""
