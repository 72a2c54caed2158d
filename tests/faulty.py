"""Stores that fail on command: the real one behind a switch for each operation."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from services.backends import Backend, open_embedded
from services.clock import Clock
from services.errors import StoreUnavailable
from services.settings.models import Settings


class FaultyStore:
    """Passes every operation to `store`, unless its switch says otherwise.

    Operations are named as in the port. `calls` counts what was asked, failing or not.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._refused: dict[str, list[int]] = {}
        self._lost: dict[str, list[int]] = {}
        self._held: dict[str, asyncio.Event] = {}
        self.calls: Counter[str] = Counter()

    def refuse(self, *operations: str, after: int = 0, times: int = 10**9) -> None:
        """Raise and do nothing, `times` times, once it has worked `after` times more."""
        self._refused |= {operation: [after, times] for operation in operations}

    def lose(self, *operations: str, after: int = 0, times: int = 10**9) -> None:
        """Do it, then raise, as when the connection breaks before the answer."""
        self._lost |= {operation: [after, times] for operation in operations}

    def hold(self, *operations: str) -> None:
        """Hang until healed."""
        self._held |= {operation: asyncio.Event() for operation in operations}

    def heal(self) -> None:
        """Work again; what hangs goes on."""
        self._refused.clear()
        self._lost.clear()
        for held in self._held.values():
            held.set()
        self._held.clear()

    def get_nowait(self, *args: Any) -> None:
        """Nothing is known without waiting, so that every operation passes its switch."""

    attach_nowait = get_nowait

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        carry_out = getattr(self._store, operation)

        async def faulty(*args: Any, **options: Any) -> Any:
            self.calls[operation] += 1
            if (held := self._held.get(operation)) is not None:
                await held.wait()
            if _strikes(self._refused, operation):
                raise StoreUnavailable(f"test: {operation} refused")
            result = await carry_out(*args, **options)
            if _strikes(self._lost, operation):
                raise StoreUnavailable(f"test: answer of {operation} lost")
            return result

        return faulty


def _strikes(switches: dict[str, list[int]], operation: str) -> bool:
    counts = switches.get(operation, [0, 0])
    which = 0 if counts[0] else 1
    counts[which] -= 1
    return which == 1 and counts[1] >= 0


async def open_faulty(settings: Settings, clock: Clock, node: str) -> Backend:
    """For `build_container`: the embedded backend with switches before its stores."""
    backend = await open_embedded(settings, clock, node)
    backend.scenes = FaultyStore(backend.scenes)
    backend.users = FaultyStore(backend.users)
    backend.screens = FaultyStore(backend.screens)
    backend.sessions = FaultyStore(backend.sessions)
    backend.logins = None  # so that each step passes its switch
    return backend
