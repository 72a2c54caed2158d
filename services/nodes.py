"""The nodes that share the stores, for the operator's page.

Each keeps a line about itself in one document of the store and says it again every few seconds;
who falls silent is forgotten. Two that write at once may lose a line, which is back a few seconds
later: good enough to look at, and nothing else relies on it.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from services.clock import Clock
from services.errors import StoreUnavailable
from services.scenes.store import SceneStore
from services.version import VERSION

log = logging.getLogger("scanpush.nodes")

KEY = "nodes"
TELL_SECONDS = 5.0
SILENT_SECONDS = 3 * TELL_SECONDS


class Nodes:
    """This node's line, and the lines of the others.

    Args:
        figures: this node's ``sockets``, ``waiting_polls`` and ``draining`` now.
        shared: whether there can be others.
    """

    def __init__(
        self,
        node: str,
        store: SceneStore,
        clock: Clock,
        figures: Callable[[], Mapping[str, Any]],
        *,
        shared: bool,
    ) -> None:
        self.node = node
        self._store = store
        self._clock = clock
        self._figures = figures
        self._shared = shared
        self._began = clock.monotonic()

    async def known(self) -> list[dict[str, Any]]:
        """Every node that was heard of lately, this one first and as it is now.

        This one alone while the store is unavailable: that is when the operator looks.
        """
        own = self._line()
        try:
            others = await self._others() if self._shared else {}
        except StoreUnavailable as error:
            log.info("the other nodes are not known now: %s", error)
            others = {}
        return [own, *(others[node] for node in sorted(others))]

    async def tell_forever(self) -> None:
        """Keep the others informed, as long as there can be others."""
        while self._shared:
            try:
                await self._tell()
            except StoreUnavailable as error:
                log.info("the other nodes hear nothing of this one: %s", error)
            await asyncio.sleep(TELL_SECONDS)

    async def _tell(self) -> None:
        lines = {**await self._others(), self.node: self._line()}
        await self._store.replace(KEY, json.dumps(lines), SILENT_SECONDS)

    async def _others(self) -> dict[str, dict[str, Any]]:
        kept = await self._store.recall(KEY)
        lines: dict[str, dict[str, Any]] = json.loads(kept) if kept else {}
        since = self._clock.now() - SILENT_SECONDS
        return {
            node: line
            for node, line in lines.items()
            if node != self.node and line["told_at"] >= since
        }

    def _line(self) -> dict[str, Any]:
        return {
            "node_id": self.node,
            **self._figures(),
            "uptime_seconds": int(self._clock.monotonic() - self._began),
            "version": VERSION,
            "told_at": self._clock.now(),
        }
