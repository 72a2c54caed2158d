"""One kernel queue for all parked descriptors: epoll on Linux, kqueue on macOS and BSD.

The queue is itself a descriptor that the IOLoop watches, so twenty thousand sockets are one
handler to Tornado. It is level-triggered: what was not handled in this turn is reported again in
the next, which is what makes slices safe.
"""

import select
import sys

Ready = tuple[int, bool]
"""A descriptor, and whether it was waiting to be written to and now can be."""

if sys.platform == "linux":

    class Poller:
        """Watches descriptors for input (or, while something is unsent, for room)."""

        def __init__(self) -> None:
            self._queue = select.epoll()

        def fileno(self) -> int:
            return self._queue.fileno()

        def watch(self, fd: int) -> None:
            """Report input, end of stream and errors of `fd` from now on."""
            self._queue.register(fd, select.EPOLLIN)

        def watch_for_room(self, fd: int) -> None:
            """Report only when `fd` can be written to (or failed). It must be watched."""
            self._queue.modify(fd, select.EPOLLOUT)

        def watch_for_input(self, fd: int) -> None:
            """Back from `watch_for_room`."""
            self._queue.modify(fd, select.EPOLLIN)

        def forget(self, fd: int) -> None:
            """Stop watching. Before the close: a child process may still hold the same socket."""
            self._queue.unregister(fd)

        def poll(self, limit: int) -> list[Ready]:
            """At most `limit` descriptors that are ready now; never waits."""
            ready = self._queue.poll(0, limit)
            return [(fd, bool(mask & select.EPOLLOUT)) for fd, mask in ready]

        def close(self) -> None:
            self._queue.close()

else:

    class Poller:
        """Watches descriptors for input (or, while something is unsent, for room)."""

        def __init__(self) -> None:
            self._queue = select.kqueue()

        def fileno(self) -> int:
            return self._queue.fileno()

        def watch(self, fd: int) -> None:
            """Report input, end of stream and errors of `fd` from now on."""
            self._change(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD)

        def watch_for_room(self, fd: int) -> None:
            """Report only when `fd` can be written to (or failed). It must be watched."""
            self._change(fd, select.KQ_FILTER_READ, select.KQ_EV_DELETE)
            self._change(fd, select.KQ_FILTER_WRITE, select.KQ_EV_ADD)

        def watch_for_input(self, fd: int) -> None:
            """Back from `watch_for_room`."""
            self._change(fd, select.KQ_FILTER_WRITE, select.KQ_EV_DELETE)
            self._change(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD)

        def forget(self, fd: int) -> None:
            """Stop watching. Before the close: a child process may still hold the same socket."""
            for side in (select.KQ_FILTER_READ, select.KQ_FILTER_WRITE):
                try:
                    self._change(fd, side, select.KQ_EV_DELETE)
                except FileNotFoundError:
                    continue  # It was watched for the other side only.

        def poll(self, limit: int) -> list[Ready]:
            """At most `limit` descriptors that are ready now; never waits."""
            ready = self._queue.control(None, limit, 0)
            return [(event.ident, event.filter == select.KQ_FILTER_WRITE) for event in ready]

        def close(self) -> None:
            self._queue.close()

        def _change(self, fd: int, side: int, flags: int) -> None:
            self._queue.control([select.kevent(fd, side, flags)], 0, 0)
