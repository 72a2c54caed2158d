"""Notices within one process."""

from collections.abc import Callable

from services.push.broker import Notice


class LocalBroker:
    """A `Broker` for one node: publishing is a call, and a gap cannot happen."""

    def __init__(self) -> None:
        self._on_notice: Callable[[Notice], None] | None = None

    def publish(self, notice: Notice) -> None:
        """Bring the notice to whoever listens; to be called on the event loop."""
        if self._on_notice is not None:
            self._on_notice(notice)

    async def listen(self, on_notice: Callable[[Notice], None], on_gap: Callable[[], None]) -> None:
        self._on_notice = on_notice

    async def close(self) -> None:
        self._on_notice = None

    async def ping(self) -> None:
        return None
