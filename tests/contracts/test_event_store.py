"""Every `EventStore` keeps, tells in order, searches and forgets alike."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from services.events.entries import DELETION, Entry, entry
from services.events.store import FURTHER_LANES, Dead, EventStore, Keeping, Later, Search
from services.events.store_mongo import MongoEventStore
from services.events.store_sqlite import SCHEMA, SqliteEventStore
from services.ids import UserId
from services.people.store_mongo import MongoUserStore
from services.sqlite import Database
from tests.stack import ON_LOOP

pytestmark = ON_LOOP
AT = 1_700_000_000.0
BOTH = Keeping(told=True, audited=True)


class Bench:
    """One backend, and its stores as several nodes and settings use it."""

    def __init__(self, request: pytest.FixtureRequest, server: str) -> None:
        self._server = server
        if server == "sqlite":
            folder = request.getfixturevalue("tmp_path_factory").mktemp("events")
            self._database = Database(folder / "scanpush.db", "NORMAL", (SCHEMA,))
        else:
            url = request.getfixturevalue(f"{server}_url")
            name = f"scanpush_test_{uuid.uuid4().hex[:12]}"
            self._users = MongoUserStore(url, name, timeout_seconds=30)

    async def open(self) -> None:
        if self._server == "sqlite":
            self._database.open()
        else:
            await self._users.open()

    async def close(self) -> None:
        await (self._database.close() if self._server == "sqlite" else self._users.close())

    async def store(self, keeping: Keeping = BOTH, **options: int) -> EventStore:
        if self._server == "sqlite":
            return SqliteEventStore(self._database, keeping, **options)
        store = MongoEventStore(self._users, keeping, **options)
        await store.open()
        return store


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("mongo", marks=pytest.mark.mongodb),
        pytest.param("secantus", marks=pytest.mark.mongodb),
    ]
)
def bench(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[Bench]:
    made = Bench(request, request.param)
    io_loop.run_sync(made.open)
    yield made
    io_loop.run_sync(made.close)


def login(user: str, seconds: float = 0.0, **facts: Any) -> Entry:
    told = {"account": "main", "kind": "code", **facts}
    return entry("login", AT + seconds, f"{user} {seconds}", user=UserId(user), **told)


async def due(store: EventStore, seconds: float = 60.0, **options: Any) -> list[str]:
    """The lanes of what is due then, in order."""
    found = await store.due(AT + seconds, options.get("until", AT + seconds), 100)
    return [f"{event.lane} {event.entry.at - AT:g}" for event in found]


async def found(store: EventStore, limit: int = 100, **search: Any) -> list[str]:
    page = await store.search(Search(**search), None, limit)
    return [f"{one.user} {one.at - AT:g}" for one in page.entries]


async def test_an_entry_is_kept_once(bench: Bench) -> None:
    """However often it is told, and as it was told first."""
    store = await bench.store()
    told = login("u1", screen="lobby", scene="scene", session="sid", detail="words", openid="o")
    await store.keep([told])
    await store.keep([told, login("u2")])
    page = await store.search(Search(users=[UserId("u1")]), None, 10)
    assert list(page.entries) == [told]
    assert sorted(await due(store)) == ["u1 0", "u2 0"]


async def test_entries_of_one_moment_are_all_kept(bench: Bench) -> None:
    """They have an order all the same."""
    store = await bench.store()
    await store.keep([login(f"u{n}") for n in range(300)])
    assert len(await found(store, 400)) == 300


async def test_a_lane_is_told_in_order(bench: Bench) -> None:
    """From its first event on, whatever came first into the store; lanes do not wait for others."""
    store = await bench.store()
    await store.keep([login("u1", 2), login("u2", 3)])
    await store.keep([login("u1", 1)])
    told = await due(store)
    assert [one for one in told if one.startswith("u1")] == ["u1 1", "u1 2"]
    assert sorted(told) == ["u1 1", "u1 2", "u2 3"]


async def test_a_lane_waits_for_its_first_event(bench: Bench) -> None:
    """Also what comes meanwhile; then all of it is due."""
    store = await bench.store()
    await store.keep([login("u1", 1), login("u1", 2), login("u2", 2)])
    first, *_ = [one for one in await store.due(AT + 9, AT + 9, 100) if one.lane == "u1"]
    await store.settle([], [Later(first, AT + 100)], [])
    await store.keep([login("u1", 3)])
    for _ in range(2):
        assert await due(store, 50) == ["u2 2"]
    again, *others = [one for one in await store.due(AT + 100, AT + 100, 9) if one.lane == "u1"]
    assert (again.entry, again.tries, len(others)) == (first.entry, 1, 2)


async def test_a_long_lane_keeps_no_other_from_its_turn(bench: Bench) -> None:
    """However much of one person waits, and for how long."""
    store = await bench.store()
    await store.keep([login("u1", n / 1000) for n in range(300)])
    await store.keep([login("u2", 1)])
    told = await store.due(AT + 9, AT + 9, 8)
    assert [one.lane for one in told if one.lane != "u1"] == ["u2"]
    assert [one.entry.at for one in told[:9]] == sorted(one.entry.at for one in told[:9])
    assert (await store.backlog())[:2] == (301, 0)


async def test_lanes_with_too_much_come_before_no_other_for_long(bench: Bench) -> None:
    """Where a few have all the events that are looked at, the others come in turns; one that waits
    is not among them."""
    store = await bench.store(most_looked_at=20)
    await store.keep([login("crowd", n / 1000) for n in range(30)])
    await store.keep([login(f"u{n:02}", 1) for n in range(FURTHER_LANES + 8)])
    (first,) = [one for one in await store.due(AT + 9, AT + 9, 8) if one.lane == "u03"]
    await store.settle([], [Later(first, AT + 100)], [])
    looks = [{one.lane for one in await store.due(AT + 9, AT + 9, 8)} for _ in range(2)]
    assert all("crowd" in look and len(look) > 8 for look in looks)
    waiting = {f"u{n:02}" for n in range(FURTHER_LANES + 8)}
    assert looks[0] | looks[1] == {"crowd", *waiting} - {"u03"}


async def test_nothing_is_due_that_may_lack_something_before_it(bench: Bench) -> None:
    """What happened after the time up to which all is known."""
    store = await bench.store()
    await store.keep([login("u1", 1), login("u1", 2)])
    assert await due(store, until=AT + 1) == ["u1 1"]


@pytest.mark.parametrize("audited", [True, False])
async def test_what_was_told_is_not_due_again(bench: Bench, audited: bool) -> None:
    """It stays in the audit, where there is one."""
    store = await bench.store(Keeping(told=True, audited=audited))
    await store.keep([login("u1", 1), login("u1", 2)])
    first, second = await store.due(AT + 9, AT + 9, 100)
    await store.settle([first], [], [])
    assert await due(store) == ["u1 2"]
    await store.settle([second], [], [])
    assert await due(store) == [] and (await store.backlog())[:2] == (0, 0)
    assert len(await found(store)) == (2 if audited else 0)


async def test_only_events_are_told(bench: Bench) -> None:
    """What is for the audit alone is not kept without one, and nothing is told without a URL."""
    deed = entry("operator", AT, outcome="users ban")
    told = await bench.store(Keeping(told=True))
    await told.keep([deed])
    assert await found(told) == [] == await due(told)
    audited = await bench.store(Keeping(audited=True))
    await audited.keep([deed, login("u1")])
    assert await due(audited) == [] and sorted(await found(audited)) == ["None 0", "u1 0"]


async def test_dead_letters_are_listed_and_sent_again(bench: Bench) -> None:
    """Each by its id, or all; those behind them in their lane did not wait for them."""
    store = await bench.store()
    await store.keep([login("u1", n) for n in range(3)])
    events = list(await store.due(AT + 9, AT + 9, 100))
    await store.settle([], [], [Dead(one.number, one.entry, 4, "HTTP 500") for one in events[:2]])
    assert await due(store) == ["u1 2"]
    backlog = await store.backlog()
    assert backlog == (1, 2, AT + 2)
    letters = await store.dead_letters(None, 10)
    assert [(one.entry, one.tries, one.error) for one in letters] == [
        (events[1].entry, 4, "HTTP 500"),
        (events[0].entry, 4, "HTTP 500"),
    ]
    assert [one.entry for one in await store.dead_letters(letters[0].number, 10)] == [
        events[0].entry
    ]
    assert await store.send_again("evt_unknown", AT, 1) == 0
    assert await store.send_again(events[0].entry.id, AT, 1) == 1
    assert await due(store) == ["u1 0", "u1 2"]
    assert await store.send_again(None, AT, 10) == 1
    assert await due(store) == ["u1 0", "u1 1", "u1 2"]


async def test_one_node_has_the_lease(bench: Bench) -> None:
    """It renews it; another has it when it is given up, or over."""
    store = await bench.store()
    assert await store.lease("a", AT, 10) and await store.lease("a", AT + 9, 10)
    if isinstance(store, SqliteEventStore):
        return  # there is one node
    assert not await store.lease("b", AT + 18, 10) and await store.lease("b", AT + 19, 10)
    await store.release("a")
    assert not await store.lease("a", AT + 20, 10)
    await store.release("b")
    assert await store.lease("a", AT + 20, 10)


SEARCHES: Sequence[tuple[dict[str, Any], list[str]]] = [
    ({}, ["u3 4", "None 3", "u2 2", "u1 1", "u1 0"]),
    ({"users": [UserId("u1")]}, ["u1 1", "u1 0"]),
    ({"users": [UserId("u1"), UserId("u2")], "hashes": []}, ["u2 2", "u1 1", "u1 0"]),
    ({"users": [UserId("u2")], "hashes": ["hash", "other"]}, ["None 3", "u2 2"]),
    ({"hashes": ["other"]}, []),
    ({"users": [UserId("hash")], "hashes": ["other"], "short_hash": "hash"}, ["u3 4", "None 3"]),
    ({"since": AT + 1, "until": AT + 3}, ["u2 2", "u1 1"]),
    ({"since": -62e9, "until": 1e12}, ["u3 4", "None 3", "u2 2", "u1 1", "u1 0"]),
    ({"since": 1e12}, []),
    ({"until": -62e9}, []),
    ({"account": "second"}, ["u2 2"]),
    ({"screen": "lobby"}, ["u3 4", "u1 1"]),
    ({"outcome": "denied"}, ["None 3"]),
    ({"outcome": "authorized", "account": "main"}, ["u3 4", "u1 1", "u1 0"]),
    ({"outcome": "denied", "account": "second"}, []),
    ({"scene": "abcd1234"}, ["u1 1"]),
    ({"scene": "abcd1234-0000"}, ["u1 1"]),
    ({"scene": "abcd12", "users": [UserId("u2")]}, []),
]


async def test_the_audit_is_searched_by_each_of_its_facts(bench: Bench) -> None:
    """And by several at once; the newest entry comes first, whatever page it is on."""
    store = await bench.store()
    unknown = entry("denied", AT + 3, "scene", account="main")._replace(person="hash")
    await store.keep(
        [
            login("u1", 0),
            login("u1", 1, screen="lobby", scene="abcd1234-0000-4000-8000-000000000000"),
            login("u2", 2, account="second"),
            unknown,
            login("u3", 4, screen="lobby")._replace(person="hash"),
        ]
    )
    for search, expected in SEARCHES:
        assert await found(store, **search) == expected, search
        pages, cursor = [], None
        for _ in range(9):
            page = await store.search(Search(**search), cursor, 2)
            pages += [f"{one.user} {one.at - AT:g}" for one in page.entries]
            cursor = page.cursor
            if cursor is None:
                break
        assert pages == expected, search


def of_a_person() -> list[Entry]:
    """What is kept of u1, whose alias is "u/2" and whose openid has the hash h1, and of another."""
    unknown = entry("denied", AT + 2, "a scene", account="main")
    ban = "POST /api/operator/users/u%2F2/ban from 127.0.0.1"
    return [
        login("u1", 1, detail="words of u1"),
        login("u/2", 3),
        unknown._replace(person="h1"),
        entry("operator", AT + 4, outcome="users ban", user=UserId("u/2"), detail=ban),
        entry("operator", AT + 5, outcome=DELETION, user=UserId("u1"), detail="DELETE u1"),
        login("u3", 6)._replace(person="h1"),
    ]


async def test_a_person_is_forgotten(bench: Bench) -> None:
    """Some entries at a time: they stay without the person, and nothing is told of them any more,
    dead letters included. The deed of the deletion goes on to name the id."""
    store = await bench.store()
    await store.keep(of_a_person())
    events = await store.due(AT + 9, AT + 9, 100)
    dead = next(one for one in events if one.entry.user == "u1")
    await store.settle([], [], [Dead(dead.number, dead.entry, 4, "HTTP 500")])
    ids, hashes = [UserId("u1"), UserId("u/2")], ["h1", "h2"]
    forgotten = [await store.forget(ids, hashes, 3) for _ in range(3)]
    assert forgotten == [3, 1, 0]
    assert await found(store) == ["u3 6", "u1 5", "None 4", "None 3", "None 2", "None 1"]
    assert await found(store, users=ids, hashes=hashes) == ["u1 5"]
    page = await store.search(Search(until=AT + 5), None, 9)
    assert {one.person for one in page.entries} == {""}
    assert [one.detail for one in page.entries if one.detail] == [
        "POST /api/operator/users/…/ban from 127.0.0.1",
        "words of …",
    ]
    assert await due(store) == ["u3 6"] and await store.dead_letters(None, 9) == []
    await store.settle(events[:1], [Later(events[1], AT)], [])
    assert await due(store) == ["u3 6"]


async def test_without_an_audit_a_forgotten_person_leaves_nothing(bench: Bench) -> None:
    """What was not told of them is gone."""
    store = await bench.store(Keeping(told=True))
    await store.keep(of_a_person())
    assert await store.forget([UserId("u1"), UserId("u/2")], ["h1"], 9) == 3
    assert await found(store) == ["u3 6"]


async def test_old_entries_are_forgotten(bench: Bench) -> None:
    """Some at a time; what is not told yet stays."""
    store = await bench.store()
    await store.keep([login("u1", n) for n in range(4)])
    told = await store.due(AT + 9, AT + 9, 100)
    await store.settle(told[:3], [], [])
    assert await store.expire(AT + 100, 2) == 2
    assert await store.expire(AT + 100, 2) == 1
    assert await store.expire(AT + 100, 2) == 0
    assert await found(store) == ["u1 3"]
