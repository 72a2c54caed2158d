"""What every `UserStore` promises of finding, copying and removing people."""

import asyncio
import uuid
from collections.abc import Awaitable
from typing import Any

import pytest

from services.ids import AppId, OpenId, UnionId, UserId, new_scene_str
from services.people.store import Identity, Login, Profile, StoredIdentity, UserStore
from tests.contracts.benches import UserBench
from tests.contracts.sessions import a_session

NOW = 1_760_000_000.0


class Person:
    """A person with two apps and one unionid."""

    def __init__(self) -> None:
        self.suffix = uuid.uuid4().hex
        self.unionid = UnionId(f"u-{self.suffix}")

    def at(self, app: str, *, known: bool = False) -> Identity:
        unionid = self.unionid if known else None
        return Identity(AppId(app), OpenId(f"{app}-{self.suffix}"), unionid)


async def login(store: UserStore, identity: Identity, **facts: Any) -> Login:
    return await store.login(identity, new_scene_str(), "default", facts.pop("now", NOW), **facts)


async def joined(store: UserStore, person: Person) -> tuple[UserId, UserId]:
    """A person with two identities that were two users; both ids, the one that stayed first."""
    older = await login(store, person.at("wx1", known=True), profile=Profile(name="Ann"))
    younger = await login(store, person.at("wx2"), now=NOW + 1)
    await store.join(person.at("wx2", known=True))
    return older.user.id, younger.user.id


# Found.


@pytest.mark.gen_test
async def test_people_are_found_by_the_beginning_of_their_name(people: UserBench) -> None:
    """In the order of name and id, page by page; an alias and a removed person are not among
    them."""
    store, mark = people.store(), uuid.uuid4().hex
    names = [f"{mark}{rest}" for rest in ("", "a", "a", "b", "张", "\U0001f600")]
    ids = [(await login(store, Person().at("wx1"), profile=Profile(n))).user.id for n in names]
    await login(store, Person().at("wx1"), profile=Profile(f"x{mark}"))
    gone = await login(store, Person().at("wx1"), profile=Profile(f"{mark}c"))
    await store.remove(gone.user.id)
    person = Person()
    alias = await login(store, person.at("wx1"), profile=Profile(f"{mark}d"), now=NOW + 1)
    await login(store, person.at("wx2", known=True), profile=Profile("other"))
    await store.join(person.at("wx1", known=True))
    found, after = [], None
    while page := await people.store("b").named(mark, after, 2):
        found += page
        after = (page[-1].name, page[-1].id)
    assert [(user.name, user.id) for user in found] == sorted(zip(names, ids, strict=True))
    assert alias.user.id not in {user.id for user in found}


@pytest.mark.gen_test
async def test_a_record_holds_all_of_a_person(people: UserBench) -> None:
    """Under either id: the user, aliases, and each identity with what WeChat said of it."""
    store, person = people.store(), Person()
    ids = await joined(store, person)
    await login(store, person.at("wx1"), profile=Profile(phone="123", email="a@b.example"))
    await store.follow(person.at("wx2"), NOW + 5, following=True)
    await store.ban(ids[0], True, NOW + 7)
    for user_id in ids:
        record = await people.store("b").record(user_id)
        assert record is not None
        assert (record.user.id, record.user.name, record.user.logins) == (ids[0], "Ann", 3)
        assert (record.phone, record.user.email) == ("123", "a@b.example")
        assert (record.aliases, record.banned_at) == ((ids[1],), NOW + 7)
        assert record.identities == (
            StoredIdentity(*person.at("wx1", known=True), True, 0.0),
            StoredIdentity(*person.at("wx2", known=True), True, NOW + 5),
        )
    assert await store.record(UserId("unknown")) is None


# Removed.


@pytest.mark.gen_test
async def test_of_a_removed_person_nothing_is_kept(people: UserBench) -> None:
    """By whichever id: aliases, identities, unionid, what is owed, and their name; others stay."""
    for by in (0, 1):
        store, person, other = people.store(), Person(), Person()
        await joined(store, other)
        ids = await joined(store, person)
        await login(store, person.at("wx3"), unionid_wanted=True, user_id=ids[0])
        assert set(await people.store("b").remove(ids[by])) == set(ids)
        kept = await people.kept()
        for trace in (person.suffix, *ids):
            assert trace not in kept
        assert other.suffix in kept
        assert await store.get(ids[0]) is None and await store.find(person.at("wx2")) is None
        for user_id in ids:
            assert not (await store.person(user_id)).known
            assert await store.remove(user_id) == ()
            assert await store.ban(user_id, True, NOW) is None


@pytest.mark.gen_test
async def test_a_login_after_that_is_of_a_new_person(people: UserBench) -> None:
    """One user for all of their identities, as with any other person, banned before or not."""
    store, person = people.store(), Person()
    ids = await joined(store, person)
    await store.ban(ids[0], True, NOW)
    await store.remove(ids[0])
    first = await login(store, person.at("wx2", known=True), now=NOW + 2)
    assert first.is_new and first.user.id not in ids
    assert not first.user.banned and (first.user.logins, first.user.name) == (1, "")
    second = await login(people.store("b"), person.at("wx1", known=True), now=NOW + 3)
    assert (second.user.id, second.is_new, second.user.logins) == (first.user.id, False, 2)


@pytest.mark.gen_test
async def test_the_operators_own_id_may_be_given_again(people: UserBench) -> None:
    """To the person who comes back."""
    store, person, own = people.store(), Person(), UserId(f"customer {uuid.uuid4()}")
    await login(store, person.at("wx1"), user_id=own)
    assert list(await store.remove(own)) == [own]
    again = await login(store, person.at("wx2"), user_id=own)
    assert (again.user.id, again.is_new) == (own, True)


@pytest.mark.gen_test
async def test_no_session_begins_of_a_removed_person(people: UserBench) -> None:
    """Whichever comes first, once the sessions of all ids are ended after the removal."""
    store, sessions = people.store(), people.sessions("b")
    for _ in range(5):
        ids = await joined(store, Person())
        begun = [a_session(ids[i % 2], NOW) for i in range(4)]

        async def removed(ids: tuple[UserId, ...] = ids) -> None:
            for user_id in await store.remove(ids[1]):
                await people.sessions().end_of_user(user_id)

        await asyncio.gather(
            removed(), *(sessions.begin(one, most_per_user=0, now=NOW) for one in begun)
        )
        assert [await sessions.get(one.id, NOW) for one in begun] == [None] * 4


async def whole(bench: UserBench, person: Person) -> None:
    """Log in by each identity, with its unionid, and find one user who has them all."""
    store = bench.store()
    for app in ("wx1", "wx2", "wx1"):
        user = (await login(store, person.at(app, known=True), now=NOW + 50)).user
    for app in ("wx1", "wx2"):
        found = await bench.store("b").find(person.at(app))
        assert found is not None and found[0].id == user.id
    record = await store.record(user.id)
    assert record is not None
    assert [one[:3] for one in record.identities] == [
        person.at("wx1", known=True),
        person.at("wx2", known=True),
    ]
    await store.remove(user.id)
    assert person.suffix not in await bench.kept()


@pytest.mark.gen_test(timeout=60)
async def test_a_removal_at_the_same_moment_leaves_no_half_person(people: UserBench) -> None:
    """A login, logins by a further identity, a join, an unfollow or another removal: each comes
    before or after. The person's next logins find one user with all identities, and a removal
    after that leaves nothing."""
    a, b = people.store("a"), people.store("b")
    for turn in range(4):
        for what in ("login", "further login", "join", "follow", "removal"):
            person = Person()
            first = await login(a, person.at("wx1", known=what == "further login"))
            if what in ("join", "follow"):
                await login(a, person.at("wx2", known=True), now=NOW + turn - 2)
            together: list[Awaitable[Any]] = [a.remove(first.user.id)]
            if what == "login":
                together.append(login(b, person.at("wx1", known=True)))
            elif what == "further login":
                together += [login(b, person.at("wx2", known=True)) for _ in range(2)]
            elif what == "join":
                together.append(b.join(person.at("wx1", known=True)))
            elif what == "follow":
                together.append(b.follow(person.at("wx1"), NOW + 1, following=False))
            else:
                together.append(b.remove(first.user.id))
            await asyncio.gather(*(together if turn % 2 else reversed(together)))
            if what in ("follow", "removal"):
                assert await a.find(person.at("wx1")) is None
            await whole(people, person)
