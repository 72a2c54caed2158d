"""The pages of the peers in bench/peers: a key in the path, pushes by POST, no checks."""

import json
import uuid
from array import array
from collections.abc import Callable

from bench.kit import wire
from bench.kit.http import HttpPool
from bench.kit.loop import Loop
from bench.kit.sockets import Page, Sockets

PUSH_BYTES = 366
"""The size of a status document with a token, roughly; the same for every peer."""


def push_body(key: str) -> bytes:
    """A message of PUSH_BYTES with the key in it."""
    document = {"type": "status", "scene_str": key, "state": "authorized", "login": {"token": ""}}
    document["login"] = {"token": "t" * (PUSH_BYTES - len(json.dumps(document)))}
    return json.dumps(document).encode()


class ToyCrew:
    """Opens pages of a peer and pushes to them, checking every message."""

    def __init__(
        self, loop: Loop, ws: wire.Target, push: wire.Target, sources: list[str], links: int
    ) -> None:
        self._loop = loop
        self._push = push
        self.sockets = Sockets(loop, ws, self, sources)
        self.http = HttpPool(loop, push, links, timeout_seconds=10)
        self.waiting: dict[Page, None] = {}
        self.seconds = array("d")
        self.seconds_due = array("d")
        self.delivered = self.misdelivered = self.http_errors = 0
        self.on_delivered: Callable[[], None] = lambda: None

    def open(self) -> Page:
        """Begin to open one page with a key of its own."""
        key = str(uuid.uuid4())
        return self.sockets.open(key, f"/ws/{key}")

    def push(self, page: Page, due: float | None = None) -> None:
        """Push to `page` now; `due` is when it should have happened."""
        body = push_body(page.key)
        path = f"{self._push.path}/push/{page.key}"
        page.fired = self._loop.now()
        page.due = due or page.fired
        self.waiting[page] = None
        self.http.ask(wire.http_request("POST", path, self._push, body), self._answered)

    def _answered(self, status: int, body: bytes, now: float) -> None:
        if not 200 <= status < 300:
            self.http_errors += 1

    def on_open(self, page: Page, now: float) -> None:
        """Nothing is due to an opened page."""

    def on_refused(self, page: Page, why: str) -> None:
        """Counted by `Sockets`."""

    def on_text(self, page: Page, text: bytes, now: float) -> None:
        if page not in self.waiting or page.key.encode() not in text:
            self.misdelivered += 1
            return
        del self.waiting[page]
        self.seconds.append(now - page.fired)
        self.seconds_due.append(now - page.due)
        self.delivered += 1
        self.on_delivered()

    def on_gone(self, page: Page, code: int) -> None:
        """A page that went while a push was due stays in `waiting`: that push is lost."""
