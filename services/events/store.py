"""The port to the entries: kept, told, searched, forgotten.

An entry that is to be told is pending until the operator's server has taken it, or until it is a
dead letter: too old to be tried again by itself. Backends: `store_sqlite`, `store_mongo`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.events.entries import TOLD, Entry
from services.ids import UserId

MOST_COUNTED = 100_000
"""`Backlog` counts no further."""

MOST_OF_LANE = 20
"""Events of a lane that are read at once."""

MOST_LOOKED_AT = 2_000
"""Due events among which lanes are looked for, those due longest first."""

FURTHER_LANES = 32
"""So many lanes more are looked for where a few have all of those events: in the order of their
names, from where the last look ended. So however much waits in a few lanes, each other one has its
turn: with a thousand lanes that wait, within some thirty looks."""


class Keeping(NamedTuple):
    """Which entries are kept, and for what; with neither nothing is."""

    told: bool = False
    """They are told to the operator's server."""
    audited: bool = False
    """They can be searched."""

    @property
    def on(self) -> bool:
        return self.told or self.audited

    def tells(self, entry: Entry) -> bool:
        return self.told and entry.type in TOLD

    def keeps(self, entry: Entry) -> bool:
        return self.audited or self.tells(entry)


class Pending(NamedTuple):
    """An event that is to be told now. `tries` were in vain."""

    number: int
    entry: Entry
    lane: str
    tries: int


class Later(NamedTuple):
    """A try in vain: the next one is at `due`."""

    event: Pending
    due: float


class Dead(NamedTuple):
    """A dead letter: why, and after how many tries."""

    number: int
    entry: Entry
    tries: int
    error: str


class Backlog(NamedTuple):
    """What is not told yet; counted up to `MOST_COUNTED`."""

    pending: int
    dead: int
    oldest_at: float | None


class Search(NamedTuple):
    """Which entries are looked for: those that fit all that is given.

    `users`, `hashes` and `short_hash` are one person: any of the user ids; of entries without a
    user, any of the short hashes of their openids; or that short hash, of any entry. `scene` is the
    beginning of a scene_str. `until` is excluded.
    """

    users: Sequence[UserId] = ()
    hashes: Sequence[str] = ()
    since: float | None = None
    until: float | None = None
    account: str = ""
    screen: str = ""
    outcome: str = ""
    scene: str = ""
    short_hash: str = ""


class Page(NamedTuple):
    """Entries, the newest first. `cursor` leads to the older ones; None: there are none.

    A page may hold fewer entries than asked for, or none, and have a cursor all the same: a search
    looks at so many entries at a time.
    """

    entries: Sequence[Entry]
    cursor: int | None


class EventStore(Protocol):
    """Keeps entries.

    Guarantees every backend gives, held by tests/contracts/test_event_store.py:

    - **Kept once**: an entry of a known id changes nothing.
    - **Fair**: however much is due in a few lanes, `due` comes to all others.
    - **In order**: `due` gives a lane's events from its first pending one on, and none while that
      is not due.
    - **One owner**: of all nodes, one has the lease at a time.

    Raises `errors.StoreUnavailable`, and only that; doing it again is then safe.
    """

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Keep what `Keeping` says of them; those to be told are due at once."""

    async def lease(self, node: str, now: float, seconds: float) -> bool:
        """Whether that node is the one that tells and forgets, for so many seconds from now."""

    async def release(self, node: str) -> None:
        """Give the lease up, if that node has it."""

    async def due(self, now: float, until: float, limit: int) -> Sequence[Pending]:
        """What is to be told now, in order; of at most `limit` lanes, those due longest, and where
        those have too much, of `FURTHER_LANES` more.

        Args:
            until: nothing that happened later: a lane may still lack something from before.
        """

    async def settle(
        self, told: Sequence[Pending], later: Sequence[Later], dead: Sequence[Dead]
    ) -> None:
        """Note what came of events. What was told is forgotten, but for the audit."""

    async def backlog(self) -> Backlog:
        """How much is not told."""

    async def dead_letters(self, before: int | None, limit: int) -> Sequence[Dead]:
        """The newest first, those with a smaller number than `before`."""

    async def send_again(self, event_id: str | None, now: float, limit: int) -> int:
        """Make dead letters due: that one, or any, at most `limit`. How many."""

    async def search(self, search: Search, before: int | None, limit: int) -> Page:
        """Search the audit, from the entry before that number on."""

    async def forget(self, users: Sequence[UserId], hashes: Sequence[str], limit: int) -> int:
        """Let entries name that person no more, as `Search` finds them: at most `limit`; how many.

        They stay in the audit (`entries.nameless`), and what is not told of them yet never is. The
        deed by which the person was deleted goes on to name the id.
        """

    async def expire(self, before: float, limit: int) -> int:
        """Forget entries of before that time, at most `limit`; how many. Pending ones stay."""
