"""The client end of many WebSockets: one small object each, no task, no timer."""

import os
import socket
import ssl
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Opcode

from bench.kit import wire
from bench.kit.dialler import Dialler
from bench.kit.loop import OUT, Loop

READ_BYTES = 65_536
FRAMES_BYTES = 4_096
"""Read at a time from a socket: more than a status has. A buffer of READ_BYTES costs each ping more
than the reading."""

EMPTY_PING = b"\x89\x00"
EMPTY_PONG = wire.pong_frame(b"")
"""Its mask is the same each time, which an empty payload makes no difference to."""

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stage(IntEnum):
    """How far one socket is."""

    CONNECTING = 0
    UPGRADING = 1
    OPEN = 2
    CLOSING = 3
    GONE = 4


class Listener(Protocol):
    """Gets the events of sockets. Every method gets the page it is about."""

    def on_open(self, page: "Page", now: float) -> None: ...

    def on_refused(self, page: "Page", why: str) -> None: ...

    def on_text(self, page: "Page", text: bytes, now: float) -> None: ...

    def on_gone(self, page: "Page", code: int) -> None:
        """An open socket ended. `code` is the server's close code; 1006: it sent none."""


class Page:
    """One socket. `Sockets` keeps the first eight fields; the others belong to its listener:
    the page's role, when its push was caused, when that (before it: the opening) was due, the
    seconds it has waited for the server, the `seq` it has acknowledged, the last state it
    received, and whether this side began to close."""

    __slots__ = ("owner", "sock", "fd", "stage", "began", "rest", "pending", "code", "key", "role",
                 "fired", "due", "waited", "seq", "state", "left")  # fmt: skip

    def __init__(self, owner: "Sockets", sock: socket.socket, key: str, request: bytes) -> None:
        self.owner = owner
        self.sock = sock
        self.fd = sock.fileno()
        self.stage = Stage.CONNECTING
        self.began = 0.0
        self.rest = b""
        self.pending = request
        self.code = 1006
        self.key = key
        self.role = ""
        self.fired = self.due = self.waited = 0.0
        self.seq = 0
        self.state = ""
        self.left = False

    def on_ready(self, events: int) -> None:
        self.owner.on_ready(self, events)

    def shut(self) -> None:
        self.stage = Stage.GONE
        self.sock.close()


class Sockets:
    """Opens, reads and closes pages towards one server, and counts what happens to them."""

    def __init__(
        self, loop: Loop, target: wire.Target, listener: Listener, source_addresses: Sequence[str]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._dialler = Dialler(target, source_addresses)
        self._upgrade = wire.Upgrade(target)
        self._opening: dict[Page, None] = {}
        self.open_pages: dict[Page, None] = {}
        self.handshake_seconds = array("d")
        self.opened = 0
        self.pings = 0
        self.refusals: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.first_gone = self.last_gone = 0.0

    @property
    def opening(self) -> int:
        """How many are on their way."""
        return len(self._opening)

    def open(self, key: str, path: str, subprotocols: Sequence[str] = (), role: str = "") -> Page:
        """Begin to open one socket; the listener gets the result."""
        request = self._upgrade.request(path, subprotocols)
        page = Page(self, self._dialler.new_socket(), key, request)
        page.role = role
        self._opening[page] = None
        page.began = self._loop.now()
        try:
            self._connect(page)
        except OSError as error:
            self._loop.add(page.fd, page)
            self._drop(page, error.strerror or str(error))
            return page
        self._loop.add(page.fd, page, write=page.stage is Stage.CONNECTING)
        return page

    def _connect(self, page: Page) -> None:
        page.sock = self._dialler.connect(page.sock)
        if self._dialler.encrypts:
            return
        # On loopback the connection is there already; asking the poller first would only cost time.
        try:
            sent = page.sock.send(page.pending)
        except BlockingIOError:
            return
        if sent == len(page.pending):
            page.pending, page.stage = b"", Stage.UPGRADING

    def give_up_older_than(self, seconds: float) -> None:
        """Refuse the openings that take longer; call it now and then."""
        limit = self._loop.now() - seconds
        for page in list(self._opening):
            if page.began > limit:
                return
            self._drop(page, "no answer in time")

    def on_ready(self, page: Page, events: int) -> None:
        """A descriptor is ready."""
        try:
            if page.stage is Stage.CONNECTING and not self._connected(page):
                return
            if events & OUT and page.pending:
                self._flush(page)
            if events & ~OUT:
                self._read(page)
        except (OSError, ProtocolError, PayloadTooBig) as error:
            self._drop(page, getattr(error, "strerror", None) or str(error))

    def _connected(self, page: Page) -> bool:
        error = page.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if isinstance(page.sock, ssl.SSLSocket):
            try:
                page.sock.do_handshake()
            except ssl.SSLWantReadError:
                self._loop.want_write(page.fd, False)
                return False
            except ssl.SSLWantWriteError:
                self._loop.want_write(page.fd, True)
                return False
        page.stage = Stage.UPGRADING
        self._flush(page)
        return True

    def _flush(self, page: Page) -> None:
        try:
            sent = page.sock.send(page.pending)
        except WOULD_BLOCK:
            sent = 0
        page.pending = page.pending[sent:]
        self._loop.want_write(page.fd, bool(page.pending))

    def send(self, page: Page, data: bytes) -> None:
        """Write frame bytes; what does not fit waits for the poller."""
        if page.pending:
            page.pending += data
            return
        try:
            sent = page.sock.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self._drop(page, error.strerror or str(error))
            return
        if sent < len(data):
            page.pending = data[sent:]
            self._loop.want_write(page.fd, True)

    def _read(self, page: Page) -> None:
        while page.stage is not Stage.GONE:
            try:
                data = page.sock.recv(FRAMES_BYTES)
            except WOULD_BLOCK:
                return
            if not data:
                self._drop(page, "closed by the server")
                return
            if data == EMPTY_PING and page.stage is Stage.OPEN and not page.rest:
                # Nearly all that an idle page gets: parsing and masking would take longer than
                # reading and writing, and a generator of many pages does little else.
                self.pings += 1
                self.send(page, EMPTY_PONG)
            else:
                self._take(page, data)
            # Level-triggered: a short read has emptied the buffer, but TLS may hold more.
            if len(data) < FRAMES_BYTES and not self._dialler.encrypts:
                return

    def _take(self, page: Page, data: bytes) -> None:
        now = self._loop.now()
        if page.rest:
            data = page.rest + data
        if page.stage is Stage.UPGRADING:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                page.rest = head
                return
            page.rest = b""
            refusal = self._upgrade.refusal(head)
            if refusal is not None:
                self._drop(page, refusal)
                return
            self._opened(page, now)
        frames, page.rest = wire.take_frames(data)
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                self._listener.on_text(page, bytes(frame.data), now)
            elif frame.opcode is Opcode.PING:
                self.pings += 1
                self.send(page, wire.pong_frame(bytes(frame.data)))
            elif frame.opcode is Opcode.CLOSE:
                self._closed_by_server(page, wire.close_code(frame))
            if page.stage is Stage.GONE:
                return

    def _opened(self, page: Page, now: float) -> None:
        del self._opening[page]
        page.stage = Stage.OPEN
        self.open_pages[page] = None
        self.opened += 1
        self.handshake_seconds.append(now - page.began)
        self._listener.on_open(page, now)

    def _closed_by_server(self, page: Page, code: int) -> None:
        page.code = code
        if page.stage is Stage.OPEN:
            self.send(page, wire.close_frame(code if code != 1005 else 1000))
        # RFC 6455, section 7.1.1: the server closes the connection first. Waiting for it would
        # only cost descriptors here, and the frame is all that the figures need.
        self._drop(page, "closed")

    def close(self, page: Page, code: int = 1000) -> None:
        """Begin the closing handshake from this side."""
        if page.stage is Stage.OPEN:
            page.stage = Stage.CLOSING
            self.send(page, wire.close_frame(code))

    def abort(self, page: Page) -> None:
        """Close the connection without a close frame, as a laptop does whose lid is shut."""
        if page.stage is not Stage.GONE:
            page.code = 1006
            page.stage = Stage.CLOSING if page.stage is Stage.OPEN else page.stage
            self._drop(page, "aborted")

    def _drop(self, page: Page, why: str) -> None:
        if page.stage is Stage.GONE:
            return
        was_open = page.stage in (Stage.OPEN, Stage.CLOSING)
        page.left = page.stage is Stage.CLOSING
        page.stage = Stage.GONE
        self._loop.remove(page.fd)
        page.sock.close()
        if was_open:
            del self.open_pages[page]
            self.codes[page.code] += 1
            self.last_gone = self._loop.now()
            self.first_gone = self.first_gone or self.last_gone
            self._listener.on_gone(page, page.code)
        else:
            del self._opening[page]
            self.refusals[why] += 1
            self._listener.on_refused(page, why)


def open_at_rate(
    loop: Loop, sockets: Sockets, rate: float, inflight: int, next_page: Callable[[], bool]
) -> bool:
    """Open pages by calling `next_page` until it says False, and wait for the last of them.

    `rate` is in sockets a second; 0: as fast as `inflight` openings at a time allow. Returns
    whether it got that far before the loop was stopped.
    """
    began = loop.now()
    made, over = 0, False

    def top_up() -> bool:
        nonlocal made, over
        while not over and sockets.opening < inflight:
            if rate and made >= (loop.now() - began) * rate:
                break
            over = not next_page()
            made += 1
        return over and sockets.opening == 0

    with loop.turning_every(min(0.01, 1 / rate) if rate else 0.1):
        return loop.run_until(top_up)
