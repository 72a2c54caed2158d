"""How long the operator's audit takes to search, with a million entries in the embedded store.

Each row is one kind of question, asked with other values each time: the first page, and, for the
last row, pages far down. No server runs; the store is that of `services/events/store_sqlite.py`.
"""

import asyncio
import random
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from bench.measure.common import Options
from bench.results import Board, Figure
from services.events.entries import Entry, entry
from services.events.store import Keeping, Search
from services.events.store_sqlite import SCHEMA, SqliteEventStore
from services.ids import UserId
from services.logs import short_hash
from services.sqlite import Database

FIGURES = (
    Figure("median_ms", "median ms", 2),
    Figure("worst_ms", "worst ms", 2),
    Figure("entries", "entries found", 0),
)
AT = 1_700_000_000.0
SECONDS = 0.5
"""Between two entries: a million are some six days."""

PAGE = 100
ASKED = 25
"""Times that each question is asked."""

AT_ONCE = 5_000
PEOPLE, ACCOUNTS, SCREENS = 50_000, ("main", "main", "main", "second"), 20


def run(options: Options) -> Board:
    """Fill a store, and ask it."""
    board = Board("audit", FIGURES, {"entries": options.entries, "rounds": options.rounds})
    with tempfile.TemporaryDirectory(prefix="scanpush-audit-") as name:
        asyncio.run(_measure(board, Path(name), options))
    return board


async def _measure(board: Board, folder: Path, options: Options) -> None:
    database = Database(folder / "scanpush.db", "NORMAL", (SCHEMA,))
    database.open()
    try:
        store = SqliteEventStore(database, Keeping(audited=True))
        rng = random.Random(1)
        scenes: list[str] = []
        begun = time.monotonic()
        for start in range(0, options.entries, AT_ONCE):
            some = [_entry(rng, n) for n in range(start, min(start + AT_ONCE, options.entries))]
            scenes.append(some[0].scene)
            await store.keep(some)
        seconds = time.monotonic() - begun
        size = (folder / "scanpush.db").stat().st_size
        board.note(
            f"{options.entries:,} entries written in {seconds:.0f} s,"
            f" {size / options.entries:.0f} bytes each with their indexes"
        )
        for number in range(options.rounds):
            for kind in _questions(rng, options.entries, scenes):
                board.add(number, kind, await _asked(store, kind, rng, options.entries, scenes))
    finally:
        await database.close()


def _entry(rng: random.Random, n: int) -> Entry:
    facts: dict[str, Any] = {
        "account": rng.choice(ACCOUNTS),
        "kind": "official_account",
        "screen": f"screen{rng.randrange(SCREENS)}" if rng.random() < 0.2 else "",
        "scene": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    }
    kind = rng.choices(("login", "denied", "failed"), (96, 3, 1))[0]
    person = rng.randrange(PEOPLE)
    user = UserId(f"{person:032x}") if kind == "login" else None
    return entry(kind, AT + n * SECONDS, str(n), openid=f"openid{person}", user=user, **facts)


def _questions(rng: random.Random, entries: int, scenes: list[str]) -> dict[str, Search]:
    """One of each kind, with values at random."""
    user, since = UserId(f"{rng.randrange(PEOPLE):032x}"), AT + rng.random() * entries * SECONDS
    screen = f"screen{rng.randrange(SCREENS)}"
    return {
        "newest": Search(),
        "time": Search(since=since, until=since + 3600),
        "person": Search(users=[user]),
        "person and outcome": Search(users=[user], outcome="denied"),
        "account": Search(account="second"),
        "account of none": Search(account="third"),
        "screen": Search(screen=screen),
        "outcome": Search(outcome="failed"),
        "scene": Search(scene=rng.choice(scenes)[:8]),
        "short hash": Search(short_hash=short_hash(f"openid{rng.randrange(PEOPLE)}")),
        "account, outcome, time": Search(account="second", outcome="failed", until=since),
        "screen of another account": Search(screen=screen, account="third"),
        "outcome of another account": Search(outcome="authorized", account="third"),
        "deep page": Search(outcome="authorized", until=since),
    }


async def _asked(
    store: SqliteEventStore, kind: str, rng: random.Random, entries: int, scenes: list[str]
) -> dict[str, float]:
    took, found = [], 0
    for _ in range(ASKED):
        search = _questions(rng, entries, scenes)[kind]
        begun = time.perf_counter()
        page = await store.search(search, None, PAGE)
        took.append((time.perf_counter() - begun) * 1000)
        found += len(page.entries)
    took.sort()
    return {"median_ms": took[len(took) // 2], "worst_ms": took[-1], "entries": found / ASKED}
