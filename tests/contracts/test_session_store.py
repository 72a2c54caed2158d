"""What every `SessionStore` promises (services/sessions/store.py)."""

import asyncio
import hashlib
import uuid
from typing import Any

import pytest

from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.people.store import Identity, UserStore
from services.sessions.states import (
    BROWSER,
    REPEAT_SECONDS,
    Refresh,
    Refreshed,
    Session,
    SessionId,
)
from services.sessions.store import SessionStore
from services.sessions.tokens import new_session_id
from tests.contracts.benches import UserBench
from tests.contracts.sessions import LIFE, a_session

NOW = 1_760_000_000.0


def token(session_id: SessionId, generation: int) -> bytes:
    """The hash of that session's token: what its successor is follows from it, as in the server."""
    return hashlib.sha256(f"{session_id} {generation}".encode()).digest()


def session(user_id: str = "ann", **fields: Any) -> Session:
    made = a_session(user_id, NOW, **fields)
    return made._replace(token_hash=token(made.id, made.generation))


def asked(of: Session, generation: int = 1, **fields: Any) -> Refresh:
    return Refresh(
        of.id,
        of.client,
        generation,
        token(of.id, generation),
        token(of.id, generation + 1),
        is_genuine=True,
        idle_seconds=0,
    )._replace(**fields)


class KnownPeople:
    """A bench whose sessions are of people who are known: they log in before, by their id."""

    def __init__(self, bench: UserBench) -> None:
        self._bench = bench

    def store(self, node: str = "a") -> UserStore:
        return self._bench.store(node)

    def sessions(self, node: str = "a") -> SessionStore:
        store: Any = _SessionsOfKnown(self._bench.sessions(node), self._bench.store(node))
        return store


class _SessionsOfKnown:
    def __init__(self, sessions: SessionStore, users: UserStore) -> None:
        self._sessions, self._users = sessions, users

    async def begin(self, session: Session, *, most_per_user: int, now: float) -> Any:
        if not (await self._users.person(session.user_id)).known:
            identity = Identity(AppId("wx"), OpenId(session.user_id))
            scene = SceneStr(str(uuid.uuid4()))
            await self._users.login(identity, scene, "default", NOW, user_id=session.user_id)
        return await self._sessions.begin(session, most_per_user=most_per_user, now=now)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._sessions, operation)


@pytest.fixture
def people(people: UserBench) -> KnownPeople:
    return KnownPeople(people)


async def begun(store: SessionStore, one: Session | None = None, most: int = 0) -> Session:
    one = one or session(f"user-{uuid.uuid4()}")
    await store.begin(one, most_per_user=most, now=NOW)
    return one


async def family(store: SessionStore, user_id: str = "") -> tuple[Session, list[Session]]:
    """A browser session and two clients' sessions below it."""
    user_id = user_id or f"user-{uuid.uuid4()}"
    browser = await begun(store, session(user_id, client=BROWSER))
    clients = [
        await begun(store, session(user_id, client=name, parent=browser.id, scope="openid"))
        for name in ("grafana", "gitlab")
    ]
    return browser, clients


# Begin.


@pytest.mark.gen_test
async def test_what_is_begun_is_found(people: KnownPeople) -> None:
    """Every field of a session comes back as it was, on any node."""
    plain = await begun(people.sessions("a"))
    browser, (client, _) = await family(people.sessions("a"))
    for one in (plain, browser, client):
        assert await people.sessions("b").get(one.id, NOW) == one


@pytest.mark.gen_test
async def test_a_session_begins_once(people: KnownPeople) -> None:
    """Again with the same id, also after a refresh, changes nothing."""
    store = people.sessions()
    one = await begun(store)
    refreshed = (await store.refresh(asked(one), NOW + 5)).session
    await begun(store, one._replace(label="Another, Linux"))
    assert await store.get(one.id, NOW + 6) == refreshed


@pytest.mark.gen_test
async def test_the_longest_unused_make_room(people: KnownPeople) -> None:
    """Over the limit the others that were not used for longest end, with what is below them, and
    those of clients do not count."""
    store, user_id = people.sessions(), f"user-{uuid.uuid4()}"
    browser, clients = await family(store, user_id)
    old = await begun(store, session(user_id, used_at=NOW - 50))
    newest = session(user_id, used_at=NOW + 1)
    ended = await store.begin(newest, most_per_user=3, now=NOW)
    assert ended == []
    last = session(user_id, used_at=NOW + 2)
    ended = await store.begin(last, most_per_user=2, now=NOW)
    assert {one.id for one in ended} == {old.id, browser.id, *(one.id for one in clients)}
    assert [one.id for one in await store.of_user(UserId(user_id), NOW)] != []
    assert {one.id for one in await store.of_user(UserId(user_id), NOW)} == {newest.id, last.id}


@pytest.mark.gen_test
async def test_of_many_that_begin_at_once_the_latest_stay(people: KnownPeople) -> None:
    """On two nodes: none of them ends another that is newer, so the newest is there in the end."""
    stores, user_id = (people.sessions("a"), people.sessions("b")), f"user-{uuid.uuid4()}"
    new = [session(user_id, used_at=NOW + i) for i in range(12)]
    await asyncio.gather(
        *(stores[i % 2].begin(one, most_per_user=3, now=NOW) for i, one in enumerate(new))
    )
    await stores[0].begin(last := session(user_id, used_at=NOW + 99), most_per_user=3, now=NOW)
    left = {one.id for one in await stores[1].of_user(UserId(user_id), NOW)}
    assert left == {new[-2].id, new[-1].id, last.id}


# Refresh.


@pytest.mark.gen_test
async def test_a_token_has_a_successor(people: KnownPeople) -> None:
    """The current token rotates, by which the session counts as used; then its successor does."""
    store = people.sessions()
    one = await begun(store)
    first = await store.refresh(asked(one), NOW + 5)
    assert first.outcome is Refreshed.ROTATED and first.session is not None
    assert first.session == await store.get(one.id, NOW + 5)
    assert (first.session.generation, first.session.used_at) == (2, NOW + 5)
    second = await store.refresh(asked(one, 2), NOW + 6)
    assert second.outcome is Refreshed.ROTATED
    assert second.session == await store.get(one.id, NOW + 6)


@pytest.mark.gen_test(timeout=60)
async def test_a_hundred_refreshes_make_one_successor(people: KnownPeople) -> None:
    """Of one token, on two nodes, at the same moment; of a first token and of a later one."""
    stores = people.sessions("a"), people.sessions("b")
    one = await begun(stores[0])
    for generation in (1, 2):
        done = await asyncio.gather(
            *(stores[i % 2].refresh(asked(one, generation), NOW + 5) for i in range(100))
        )
        outcomes = [each.outcome for each in done]
        assert outcomes.count(Refreshed.ROTATED) == 1
        assert outcomes.count(Refreshed.REPEATED) == 99
        assert {each.session for each in done} == {await stores[1].get(one.id, NOW + 5)}


@pytest.mark.gen_test
async def test_a_lost_answer_is_repeated(people: KnownPeople) -> None:
    """The same token again within ten seconds: the same session, which does not change."""
    store = people.sessions()
    one = await begun(store)
    first = await store.refresh(asked(one), NOW)
    again = await store.refresh(asked(one), NOW + REPEAT_SECONDS - 1)
    assert again.outcome is Refreshed.REPEATED and again.session == first.session


@pytest.mark.parametrize("later, used", [(REPEAT_SECONDS, 1), (1, 2), (1, 3)])
@pytest.mark.gen_test
async def test_a_reuse_ends_the_session(people: UserBench, later: float, used: int) -> None:
    """Too late for a lost answer, or after the successor was used: it ends, and says so."""
    store = people.sessions()
    one = await begun(store)
    for generation in range(1, used + 1):
        assert (await store.refresh(asked(one, generation), NOW)).outcome is Refreshed.ROTATED
    reused = await store.refresh(asked(one), NOW + later)
    assert reused.outcome is Refreshed.REUSED
    assert [ended.id for ended in reused.ended] == [one.id]
    assert await store.get(one.id, NOW) is None
    assert (await store.refresh(asked(one, used + 1), NOW)).outcome is Refreshed.REFUSED


@pytest.mark.gen_test
async def test_a_reuse_at_a_client_ends_all_of_the_browser(people: KnownPeople) -> None:
    """The session of the browser, and those of its other clients, end too."""
    store = people.sessions()
    browser, clients = await family(store)
    await store.refresh(asked(clients[0]), NOW)
    reused = await store.refresh(asked(clients[0]), NOW + REPEAT_SECONDS)
    everything = {browser.id, *(one.id for one in clients)}
    assert {ended.id for ended in reused.ended} == everything
    assert [await store.get(one, NOW) for one in everything] == [None] * 3


@pytest.mark.gen_test
async def test_what_is_not_its_token_ends_nothing(people: KnownPeople) -> None:
    """Forged tokens, tokens of the future, another client's, and those whose key was lost."""
    store = people.sessions()
    one = await begun(store)
    await store.refresh(asked(one), NOW)
    current = await store.refresh(asked(one, 2), NOW)
    forged = hashlib.sha256(b"forged").digest()
    for wrong in (
        asked(one, 3, token_hash=forged, is_genuine=False),
        asked(one, 1, token_hash=forged, is_genuine=False),
        asked(one, 3, client="grafana"),
        asked(one, 1, client="grafana"),
        asked(one, 9),
        asked(one, 2, next_hash=forged),
        asked(one, 3, id=new_session_id()),
    ):
        refused = await store.refresh(wrong, NOW)
        assert (refused.outcome, refused.ended) == (Refreshed.REFUSED, ())
    assert await store.get(one.id, NOW) == current.session


@pytest.mark.gen_test
async def test_a_token_whose_key_was_lost_works_once(people: KnownPeople) -> None:
    """The hash proves the current token, whatever the server's key is."""
    store = people.sessions()
    one = await begun(store)
    other_key = hashlib.sha256(b"of another key").digest()
    unknown = asked(one, next_hash=other_key, is_genuine=False)
    assert (await store.refresh(unknown, NOW)).outcome is Refreshed.ROTATED
    successor = asked(one, 2, token_hash=other_key)
    assert (await store.refresh(successor, NOW)).outcome is Refreshed.ROTATED


@pytest.mark.gen_test
async def test_time_ends_a_session(people: KnownPeople) -> None:
    """Its own, and what it may stay unused; each refresh begins the latter again."""
    store = people.sessions()
    one = await begun(store)
    for generation, at in ((1, 50.0), (2, 149.0)):
        used = asked(one, generation, idle_seconds=100)
        assert (await store.refresh(used, NOW + at)).outcome is Refreshed.ROTATED
    idle = await store.refresh(asked(one, 3, idle_seconds=100), NOW + 249)
    over = await store.refresh(asked(one, 3), NOW + LIFE)
    assert (idle.outcome, over.outcome) == (Refreshed.REFUSED, Refreshed.REFUSED)
    assert await store.get(one.id, NOW + LIFE) is None
    assert await store.of_user(one.user_id, NOW + LIFE) == []


@pytest.mark.gen_test
async def test_a_login_that_arrived_lives_on(people: KnownPeople) -> None:
    """Acknowledged or used, a session begun for a moment gets its whole life; never less."""
    store = people.sessions()
    acked, used = [await begun(store, session(ends_at=NOW + 60)) for _ in range(2)]
    for ends_at in (NOW + LIFE, NOW + 30):
        await store.confirm(acked.id, ends_at)
    await store.refresh(asked(used, life_seconds=LIFE), NOW + 59)
    for one in (acked, used):
        found = await store.get(one.id, NOW + LIFE - 1)
        assert found is not None and found.ends_at == NOW + LIFE


@pytest.mark.gen_test
async def test_a_later_proof_is_noted(people: KnownPeople) -> None:
    """The person proved themself again, and how; an older proof changes nothing."""
    store = people.sessions()
    browser, _ = await family(store)
    for at, kind in ((NOW + 100, "web"), (NOW + 50, "code")):
        await store.prove(browser.id, at, kind)
    found = await store.get(browser.id, NOW)
    assert found is not None and (found.auth_at, found.kind) == (NOW + 100, "web")
    assert found.used_at == NOW + 100


# End.


@pytest.mark.gen_test
async def test_what_ended_is_ended_everywhere(people: KnownPeople) -> None:
    """With what is below, told to the one caller that ended it."""
    store, other = people.sessions("a"), people.sessions("b")
    browser, clients = await family(store)
    assert {one.id for one in await other.below(browser.id, NOW)} == {one.id for one in clients}
    calls = await asyncio.gather(*(each.end(browser.id) for each in (store, other)))
    told = [one.id for ended in calls for one in ended]
    assert sorted(told) == sorted([browser.id, *(one.id for one in clients)])
    for one in (browser, *clients):
        assert await other.get(one.id, NOW) is None
        assert (await other.refresh(asked(one), NOW)).outcome is Refreshed.REFUSED
    assert await store.below(browser.id, NOW) == []
    assert await store.end(browser.id) == []


@pytest.mark.gen_test
async def test_a_client_ends_alone(people: KnownPeople) -> None:
    """A client's session ends without the browser's and the other client's."""
    store = people.sessions()
    browser, (one, two) = await family(store)
    assert [ended.id for ended in await store.end(one.id)] == [one.id]
    assert [left.id for left in await store.below(browser.id, NOW)] == [two.id]


@pytest.mark.gen_test
async def test_nothing_begins_below_what_ended(people: KnownPeople) -> None:
    """Neither below an ended session, nor below one that was never there or whose time is up."""
    store = people.sessions()
    browser, clients = await family(store)
    await store.end(browser.id)
    late = await begun(store, clients[0]._replace(id=new_session_id()))
    orphan = await begun(store, clients[0]._replace(id=new_session_id(), parent=new_session_id()))
    brief = await begun(store, session(client=BROWSER, ends_at=NOW + 5))
    below = await begun(store, session(client="grafana", parent=brief.id))
    assert await store.get(late.id, NOW) is None and await store.get(orphan.id, NOW) is None
    assert await store.get(below.id, NOW + 4) is not None
    assert await store.get(below.id, NOW + 5) is None
    assert (await store.refresh(asked(below), NOW + 5)).outcome is Refreshed.REFUSED


@pytest.mark.gen_test(timeout=60)
async def test_begin_and_refresh_race_an_end(people: KnownPeople) -> None:
    """Whatever the order: once the end has returned, and they too, nothing below is alive."""
    stores = people.sessions("a"), people.sessions("b")
    for _ in range(10):
        browser, clients = await family(stores[0])
        late = [clients[0]._replace(id=new_session_id()) for _ in range(3)]
        await asyncio.gather(
            *(begun(stores[i % 2], one) for i, one in enumerate(late)),
            stores[1].refresh(asked(clients[0]), NOW),
            stores[0].end(browser.id),
            stores[1].refresh(asked(clients[1]), NOW),
        )
        for one in (*clients, *late):
            assert await stores[1].get(one.id, NOW) is None
            for generation in (1, 2):
                tried = await stores[0].refresh(asked(one, generation), NOW)
                assert tried.outcome is Refreshed.REFUSED


@pytest.mark.gen_test
async def test_all_of_a_person_end(people: KnownPeople) -> None:
    """But for the one that is excepted, which keeps what is below it; others keep theirs."""
    store, user_id = people.sessions(), f"user-{uuid.uuid4()}"
    kept = await family(store, user_id)
    gone = await family(store, user_id)
    plain = await begun(store, session(user_id))
    other = await begun(store)
    listed = await store.of_user(UserId(user_id), NOW)
    assert {one.id for one in listed} == {kept[0].id, gone[0].id, plain.id}
    ended = await store.end_of_user(UserId(user_id), except_id=kept[0].id)
    assert {one.id for one in ended} == {gone[0].id, plain.id, *(one.id for one in gone[1])}
    assert [one.id for one in await store.of_user(UserId(user_id), NOW)] == [kept[0].id]
    assert len(await store.below(kept[0].id, NOW)) == 2
    assert {one.id for one in await store.end_of_user(UserId(user_id))} == {
        kept[0].id,
        *(one.id for one in kept[1]),
    }
    assert await store.get(other.id, NOW) is not None


@pytest.mark.gen_test
async def test_the_latest_begun_comes_first(people: KnownPeople) -> None:
    """In a person's list, whenever they were used."""
    store, user_id = people.sessions(), f"user-{uuid.uuid4()}"
    for begun_at in (NOW - 20, NOW - 5, NOW - 10):
        await begun(store, session(user_id, begun_at=begun_at, used_at=2 * NOW - begun_at))
    listed = await store.of_user(UserId(user_id), NOW)
    assert [one.begun_at for one in listed] == [NOW - 5, NOW - 10, NOW - 20]


@pytest.mark.gen_test
async def test_two_users_that_are_one_have_each_others_sessions(people: KnownPeople) -> None:
    """Found, listed, limited and ended under any id, also where three became one step by step."""
    users, store, suffix = people.store("a"), people.sessions("b"), uuid.uuid4().hex
    ids = []
    for number, app in enumerate(("wx1", "wx2", "wx3")):
        identity = Identity(AppId(app), OpenId(f"ann-{suffix}"), None)
        scene_str = SceneStr(str(uuid.uuid4()))
        login = await users.login(identity, scene_str, "default", NOW - number)
        ids.append(login.user.id)
        await begun(store, session(login.user.id, begun_at=NOW + number))
    for unionid, apps in (("first", ("wx1", "wx2")), ("second", ("wx3",))):
        for app in apps:
            known = UnionId(f"{unionid}-{suffix}")
            await users.join(Identity(AppId(app), OpenId(f"ann-{suffix}"), known))
    # wx2 is the older of the first two; its unionid turns out to be that of wx3 as well.
    await users.join(Identity(AppId("wx3"), OpenId(f"ann-{suffix}"), UnionId(f"first-{suffix}")))
    assert {(await users.person(one)).ids for one in ids} != set()
    person = await users.person(ids[0])
    assert person.ids[0] == ids[2] and set(person.ids) == set(ids) and not person.banned
    for one in ids:
        listed = await store.of_user(one, NOW)
        assert [each.user_id for each in listed] == list(reversed(ids))
    latest = session(ids[1], used_at=NOW + 9)
    await store.begin(latest, most_per_user=3, now=NOW)
    assert len(await store.of_user(ids[0], NOW)) == 3
    assert len(await store.end_of_user(ids[0], except_id=latest.id)) == 2
    assert [one.id for one in await store.of_user(ids[2], NOW)] == [latest.id]


@pytest.mark.gen_test
async def test_an_unknown_user_stands_for_itself(people: KnownPeople) -> None:
    """An id that no user has: a person of that one id, without sessions."""
    unknown = UserId("unknown")
    assert (await people.store().person(unknown)).ids == (unknown,)
    assert await people.sessions().of_user(unknown, NOW) == []
    assert await people.sessions().end_of_user(unknown) == []


@pytest.mark.gen_test
async def test_sessions_are_forgotten_in_slices(people: KnownPeople) -> None:
    """Those whose time is up, at most so many in a round, with what is below them."""
    store, user_id = people.sessions(), f"user-{uuid.uuid4()}"
    for _ in range(5):
        await begun(store, session(user_id, ends_at=NOW + 5))
    browser = await begun(store, session(user_id, client=BROWSER, ends_at=NOW + 6))
    below = await begun(store, session(user_id, client="grafana", parent=browser.id))
    left = await begun(store, session(user_id))
    assert await store.expire(NOW + 4, 10) == 0
    assert await store.expire(NOW + 6, 4) == 4
    assert await store.expire(NOW + 6, 4) == 2
    assert await store.expire(NOW + 6, 4) == 0
    # By an earlier time they would be found again, were they still there.
    assert [one.id for one in await store.of_user(UserId(user_id), NOW)] == [left.id]
    assert await store.get(below.id, NOW) is None


async def person(people: KnownPeople) -> UserId:
    """A person who has logged in once."""
    identity = Identity(AppId("wx1"), OpenId(f"ann-{uuid.uuid4()}"))
    login = await people.store().login(identity, SceneStr(str(uuid.uuid4())), "default", NOW)
    return login.user.id


@pytest.mark.gen_test
async def test_no_session_of_a_banned_person_begins(people: KnownPeople) -> None:
    """Of whichever sort; once the ban is lifted they do again."""
    users, store = people.store(), people.sessions("b")
    user_id = await person(people)
    browser = await begun(store, session(user_id, client=BROWSER))
    await users.ban(user_id, True, NOW)
    await store.begin(session(user_id), most_per_user=0, now=NOW)
    below = session(user_id, client="grafana", parent=browser.id)
    await store.begin(below, most_per_user=0, now=NOW)
    assert [one.id for one in await store.of_user(user_id, NOW)] == [browser.id]
    assert await store.get(below.id, NOW) is None
    await users.ban(user_id, False, NOW)
    await begun(store, session(user_id))


@pytest.mark.gen_test(timeout=60)
async def test_a_ban_leaves_no_session_that_begins_meanwhile(people: KnownPeople) -> None:
    """The ban is written, then all sessions end: whichever way the two race, none is left."""
    users = people.store()
    stores = people.sessions("a"), people.sessions("b")
    for _ in range(5):
        user_id = await person(people)

        async def ban(of: UserId = user_id) -> None:
            await users.ban(of, True, NOW)
            await stores[0].end_of_user(of)

        begins = (stores[n % 2].begin(session(user_id), most_per_user=0, now=NOW) for n in range(8))
        await asyncio.gather(*begins, ban())
        assert await stores[1].of_user(user_id, NOW) == []
