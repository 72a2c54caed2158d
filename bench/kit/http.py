"""A few keep-alive HTTP connections in the same loop as the sockets."""

import os
import socket
import ssl
from collections import deque
from collections.abc import Callable

from bench.kit import wire
from bench.kit.dialler import Dialler
from bench.kit.loop import OUT, Loop
from bench.kit.sockets import READ_BYTES, WOULD_BLOCK

Done = Callable[[int, bytes, float], None]
"""Called with status, body and the moment. Status 0: no answer, the body says why."""


class _Link:
    """One connection, one request at a time."""

    __slots__ = ("pool", "sock", "fd", "ready", "data", "pending", "done", "sent_at", "request",
                 "reused", "writing")  # fmt: skip

    def __init__(self, pool: "HttpPool") -> None:
        self.pool = pool
        self.sock: socket.socket | None = None
        self.fd = -1
        self.ready = self.reused = self.writing = False
        self.data = self.pending = self.request = b""
        self.done: Done | None = None
        self.sent_at = 0.0

    def on_ready(self, events: int) -> None:
        self.pool.on_ready(self, events)

    def shut(self) -> None:
        if self.sock is not None:
            self.sock.close()


class HttpPool:
    """At most `size` requests at a time towards one server, in the order they were asked for."""

    def __init__(self, loop: Loop, target: wire.Target, size: int, timeout_seconds: float) -> None:
        self._loop = loop
        self._timeout = timeout_seconds
        self._dialler = Dialler(target)
        self._idle = [_Link(self) for _ in range(size)]
        self._busy: dict[_Link, None] = {}
        self._waiting: deque[tuple[bytes, Done]] = deque()
        loop.every(0.5, self._give_up_late_ones)

    @property
    def busy(self) -> int:
        """Requests without an answer yet, waiting ones included."""
        return len(self._busy) + len(self._waiting)

    @property
    def free(self) -> int:
        """How many requests would go out at once."""
        return max(0, len(self._idle) - len(self._waiting))

    def ask(self, request: bytes, done: Done) -> None:
        """Send a request now, or when a connection is free; `done` is called exactly once."""
        if self._idle:
            self._send(self._idle.pop(), request, done)
        else:
            self._waiting.append((request, done))

    def close(self) -> None:
        """Close every connection; pending requests get no answer any more."""
        for link in [*self._idle, *self._busy]:
            self._disconnect(link)
        self._busy.clear()

    def _send(self, link: _Link, request: bytes, done: Done) -> None:
        self._busy[link] = None
        link.request = link.pending = request
        link.done, link.data = done, b""
        link.sent_at = self._loop.now()
        link.reused = link.ready
        try:
            if link.sock is None:
                self._connect(link)
            elif link.ready:
                self._flush(link)
        except OSError as error:
            self._failed(link, error)

    def _connect(self, link: _Link) -> None:
        sock = self._dialler.new_socket()
        link.sock, link.fd = sock, sock.fileno()
        link.sock = self._dialler.connect(sock)
        link.writing = True
        self._loop.add(link.fd, link, write=True)

    def on_ready(self, link: _Link, events: int) -> None:
        """A descriptor is ready."""
        try:
            if not link.ready and not self._connected(link):
                return
            if link.pending and events & OUT:
                self._flush(link)
            if events & ~OUT:
                self._read(link)
        except OSError as error:
            self._failed(link, error)

    def _connected(self, link: _Link) -> bool:
        assert link.sock is not None
        error = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if isinstance(link.sock, ssl.SSLSocket):
            try:
                link.sock.do_handshake()
            except ssl.SSLWantReadError:
                self._want_write(link, False)
                return False
            except ssl.SSLWantWriteError:
                self._want_write(link, True)
                return False
        link.ready = True
        self._flush(link)
        return True

    def _flush(self, link: _Link) -> None:
        assert link.sock is not None
        try:
            sent = link.sock.send(link.pending)
        except WOULD_BLOCK:
            sent = 0
        link.pending = link.pending[sent:]
        self._want_write(link, bool(link.pending))

    def _want_write(self, link: _Link, wanted: bool) -> None:
        if wanted is not link.writing:
            link.writing = wanted
            self._loop.want_write(link.fd, wanted)

    def _read(self, link: _Link) -> None:
        assert link.sock is not None
        while True:
            try:
                data = link.sock.recv(READ_BYTES)
            except WOULD_BLOCK:
                break
            if not data:
                raise ConnectionResetError("the server closed the connection")
            link.data += data
            if len(data) < READ_BYTES and not self._dialler.encrypts:
                break
        taken = wire.take_answer(link.data)
        if taken is not None:
            answer, link.data = taken
            self._answered(link, answer)

    def _answered(self, link: _Link, answer: wire.Answer) -> None:
        done, link.done = link.done, None
        self._busy.pop(link, None)
        if answer.closes:
            self._disconnect(link)
        self._idle.append(link)
        if done is not None:
            done(answer.status, answer.body, self._loop.now())
        self._next()

    def _next(self) -> None:
        while self._waiting and self._idle:
            request, done = self._waiting.popleft()
            self._send(self._idle.pop(), request, done)

    def _failed(self, link: _Link, error: OSError) -> None:
        self._disconnect(link)
        if link not in self._busy:
            return
        done = link.done
        assert done is not None
        if link.reused:
            # The server may close an idle connection at any time, which is no fault: try once more
            # on a new one. Every request of the kit may be sent twice.
            self._send(link, link.request, done)
            return
        link.done = None
        self._busy.pop(link)
        self._idle.append(link)
        done(0, (error.strerror or str(error)).encode(), self._loop.now())
        self._next()

    def _disconnect(self, link: _Link) -> None:
        if link.sock is not None:
            self._loop.remove(link.fd)
            link.sock.close()
        link.sock, link.fd, link.ready = None, -1, False

    def _give_up_late_ones(self) -> None:
        limit = self._loop.now() - self._timeout
        for link in list(self._busy):
            if link.sent_at > limit:
                return
            link.reused = False
            self._failed(link, TimeoutError("no answer in time"))
