"""Login pages of scanpush: they begin a scene, watch it, and acknowledge the login they get. Their
codes are scanned by people of scanpush's own simulator, or by bench/callbacks.py.
"""

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.kit import wire
from bench.kit.http import HttpPool
from bench.kit.loop import Loop
from bench.kit.sockets import Page, Sockets, Stage

BEGIN_LINKS = 16
HTTP_TIMEOUT_SECONDS = 30.0
BROWSER = (
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Content-Type: application/json",
    "Accept: */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9",
)
"""What Chromium sends with a `fetch` of the login page."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a page has to remember of a scene it began."""

    scene_str: str
    watch_token: str
    seconds: float = 0.0
    """How long its beginning took, from when that was due."""


class Scanner(Protocol):
    """Has the code of a scene scanned by some person."""

    def scan(self, scene_str: str, failed: Callable[[str], None]) -> None:
        """Scan once; `failed` is called with a reason when the scan itself was refused."""


class Durations(array):
    """Seconds that things took, in the order in which they ended."""

    def __new__(cls) -> "Durations":
        return super().__new__(cls, "d")

    first, last = math.inf, -math.inf
    """When the first of them was due, and the last of them ended."""

    def took(self, due: float, now: float) -> None:
        """What was due at that moment has ended now."""
        self.append(now - due)
        self.first, self.last = min(self.first, due), now


@dataclass(slots=True)
class Tally:
    """What happened to logins; `lost_in` has the lost ones by their page's last state. Times are
    in seconds; `begin`, `open`, `due_to_token` and `whole` count from when the thing was due.

    `whole` is what one visit waited for the server: its begin, open and login together, without
    the time that the person let pass between them.
    """

    begun: int = 0
    begin_errors: Counter[str] = field(default_factory=Counter)
    scans: int = 0
    scan_errors: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    consumed: int = 0
    lost: int = 0
    lost_in: Counter[str] = field(default_factory=Counter)
    misdelivered: int = 0
    repeated: int = 0
    duplicated_after_ack: int = 0
    expired: int = 0
    begin: Durations = field(default_factory=Durations)
    open: Durations = field(default_factory=Durations)
    whole: Durations = field(default_factory=Durations)
    scan_to_token: "array[float]" = field(default_factory=lambda: array("d"))
    token_at: "array[float]" = field(default_factory=lambda: array("d"))
    due_to_token: Durations = field(default_factory=Durations)
    scan_to_consumed: "array[float]" = field(default_factory=lambda: array("d"))


class Crew:
    """Pages towards one scanpush, which begin at most `links` scenes at a time.

    `after_gone(page, code)` (code 0: it never opened) and `after_login(page)` may be set; they
    are called last. `fresh` collects opened pages for a caller that wants them, and empties it.
    """

    def __init__(
        self, loop: Loop, target: wire.Target, sources: list[str], links: int = BEGIN_LINKS
    ) -> None:
        self._loop = loop
        self._target = target
        self.sockets = Sockets(loop, target, self, sources)
        self.http = HttpPool(loop, target, links, HTTP_TIMEOUT_SECONDS)
        self.tally = Tally()
        self.waiting: dict[Page, None] = {}
        self.watching: dict[Page, None] = {}
        self.finishing: set[Page] = set()
        self.after_gone: Callable[[Page, int], None] = lambda page, code: None
        self.fresh: list[Page] = []
        self.after_login: Callable[[Page], None] = lambda page: None
        origin = target.page_origin
        headers = [*BROWSER, f"Origin: {origin}", f"Referer: {origin}/"]
        path = f"{target.path}/api/scenes"
        self._begin = wire.http_request("POST", path, target, b"{}", headers)
        self._begin_web = wire.http_request("POST", path, target, b'{"kind":"web"}', headers)

    def begin(
        self,
        then: Callable[[Ticket | None, str], None],
        due: float | None = None,
        *,
        web: bool = False,
    ) -> None:
        """Begin a scene that was `due` (None: now); `then` gets its ticket, or None and why. `web`:
        of that kind, which needs no code from WeChat."""
        since = self._loop.now() if due is None else due

        def answered(status: int, body: bytes, now: float) -> None:
            if status != 201:
                why = reason(status, body)
                self.tally.begin_errors[why] += 1
                then(None, why)
                return
            document = json.loads(body)
            self.tally.begun += 1
            self.tally.begin.took(since, now)
            then(Ticket(document["scene_str"], document["watch_token"], now - since), "")

        self.http.ask(self._begin_web if web else self._begin, answered)

    def open(self, ticket: Ticket, role: str = "", due: float | None = None) -> Page:
        """Begin to open the socket of a scene, which was `due` (None: now)."""
        offer = ("scanpush.v1", f"watch.{ticket.watch_token}")
        path = f"{self._target.path}/ws/{ticket.scene_str}"
        since = self._loop.now() if due is None else due
        page = self.sockets.open(ticket.scene_str, path, offer, role)
        page.due, page.waited = since, ticket.seconds
        return page

    def scan(self, page: Page, scanner: Scanner, due: float | None = None) -> None:
        """Have the code of `page` scanned; `due` is when that should have happened."""
        self.watching.pop(page, None)
        self.waiting[page] = None
        self.tally.scans += 1
        page.fired = self._loop.now()
        page.due = due or page.fired

        def failed(why: str) -> None:
            self.tally.scan_errors[why] += 1

        scanner.scan(page.key, failed)

    @property
    def at_rest(self) -> bool:
        """Whether no scene, opening, scan or ack is unfinished."""
        return not (self.http.busy or self.sockets.opening or self.waiting or self.finishing)

    def count_lost(self, seconds: float) -> None:
        """Give up the logins that were scanned longer ago than that."""
        limit = self._loop.now() - seconds
        for page in list(self.waiting):
            if page.fired > limit:
                return
            self._lose(page)

    def _lose(self, page: Page) -> None:
        if self.waiting.pop(page, page) is None:
            self.tally.lost += 1
            self.tally.lost_in[page.state or "none"] += 1

    def on_open(self, page: Page, now: float) -> None:
        self.tally.open.took(page.due, now)
        page.waited += now - page.due
        self.watching[page] = None
        self.fresh.append(page)

    def on_refused(self, page: Page, why: str) -> None:
        self.after_gone(page, 0)

    def on_text(self, page: Page, text: bytes, now: float) -> None:
        document: dict[str, Any] = json.loads(text)
        if document.get("scene_str") != page.key:
            self.tally.misdelivered += 1
            return
        page.state = document["state"]
        if page.state == "consumed" and page.seq:
            page.seq = -1
        if "error" in document:
            page.state += f" {document['error']['code']}"
        if "login" in document:
            self._login(page, document["seq"], now)

    def _login(self, page: Page, seq: int, now: float) -> None:
        tally = self.tally
        if page.seq:
            # A login may be sent twice before the ack arrives, but never after `consumed`.
            if page.seq < 0:
                tally.duplicated_after_ack += 1
            else:
                tally.repeated += 1
            return
        if self.waiting.pop(page, page) is not None:
            tally.misdelivered += 1
            return
        page.seq = seq
        self.finishing.add(page)
        self.sockets.send(page, wire.text_frame(b'{"type":"ack","seq":%d}' % seq))
        tally.delivered += 1
        tally.scan_to_token.append(now - page.fired)
        tally.token_at.append(now)
        tally.due_to_token.took(page.due, now)
        tally.whole.took(page.due - page.waited, now)
        self.after_login(page)

    def on_gone(self, page: Page, code: int) -> None:
        self.watching.pop(page, None)
        self.finishing.discard(page)
        if page.left:
            self.waiting.pop(page, None)  # Unknown whether its login would have come.
        else:
            self._lose(page)
        if page.seq and code == 1000:
            self.tally.consumed += 1
            self.tally.scan_to_consumed.append(self._loop.now() - page.fired)
        elif code == 4408:
            self.tally.expired += 1
        self.after_gone(page, code)

    def close_all(self, within: float) -> bool:
        """Close every open page; returns whether every closing handshake ended in time."""
        for page in list(self.sockets.open_pages):
            if page.stage is Stage.OPEN:
                self.sockets.close(page)
        return self._loop.run_until(lambda: not self.sockets.open_pages, within=within)


def reason(status: int, body: bytes) -> str:
    """A short text for an answer that was not the hoped-for one."""
    if status == 0:
        return body.decode(errors="replace")
    try:
        return f"{status} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"


SCAN_PATH = "/simulator/scan"
LINKS = 64


class SimulatorScanner:
    """Asks the simulator to let one of its people scan a scene."""

    def __init__(
        self, loop: Loop, simulator: wire.Target, person: str, people: int, timeout: float
    ) -> None:
        self._simulator = simulator
        self._person = person
        self._people = people
        self._turn = 0
        self._http = HttpPool(loop, simulator, LINKS, timeout)

    def scan(self, scene_str: str, failed: Callable[[str], None]) -> None:
        """See `Scanner`. People take turns, so that logins change different rows of the store."""
        self._turn = (self._turn + 1) % self._people
        body = json.dumps({"scene_str": scene_str, "person": f"{self._person}-{self._turn}"})
        path = self._simulator.path + SCAN_PATH
        headers = ["Content-Type: application/json"]

        def answered(status: int, answer: bytes, now: float) -> None:
            if not 200 <= status < 300:
                failed(reason(status, answer))

        self._http.ask(
            wire.http_request("POST", path, self._simulator, body.encode(), headers), answered
        )
