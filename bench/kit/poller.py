"""epoll where there is one, `selectors` elsewhere, behind epoll's own four methods."""

import select
import selectors
from typing import Protocol

IN = 0x001
OUT = 0x004
GONE = 0x008 | 0x010
"""epoll's EPOLLERR and EPOLLHUP; always reported, never asked for."""


class Poller(Protocol):
    """The part of `select.epoll` that the kit uses."""

    def register(self, fd: int, eventmask: int = ...) -> None: ...

    def modify(self, fd: int, eventmask: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def poll(self, timeout: float = ...) -> list[tuple[int, int]]: ...

    def close(self) -> None: ...


class SelectorPoller:
    """The same on macOS's kqueue, and wherever else `selectors` works."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @staticmethod
    def _events(mask: int) -> int:
        wanted = selectors.EVENT_READ if mask & IN else 0
        return wanted | (selectors.EVENT_WRITE if mask & OUT else 0)

    def register(self, fd: int, eventmask: int = IN) -> None:
        self._selector.register(fd, self._events(eventmask))

    def modify(self, fd: int, eventmask: int) -> None:
        self._selector.modify(fd, self._events(eventmask))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float = -1) -> list[tuple[int, int]]:
        ready = self._selector.select(None if timeout < 0 else timeout)
        return [
            (
                key.fd,
                (IN if got & selectors.EVENT_READ else 0)
                | (OUT if got & selectors.EVENT_WRITE else 0),
            )
            for key, got in ready
        ]

    def close(self) -> None:
        self._selector.close()


def best_poller() -> Poller:
    """The cheapest poller of this system."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()
