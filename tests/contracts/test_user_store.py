"""What every `UserStore` promises (services/people/store.py)."""

import asyncio
import uuid

import pytest

from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.people.store import (
    LEASE_SECONDS,
    UNIONID_DUE_SECONDS,
    Identity,
    Login,
    Profile,
    UserStore,
)
from tests.contracts.benches import UserBench

NOW = 1_760_000_000.25


def scene() -> SceneStr:
    return SceneStr(str(uuid.uuid4()))


def person(openid: str = "ann", app: str = "wx1", unionid: str | None = None) -> Identity:
    return Identity(AppId(app), OpenId(openid), None if unionid is None else UnionId(unionid))


async def logged_in(store: UserStore, identity: Identity, now: float = NOW) -> Login:
    return await store.login(identity, scene(), "default", now)


@pytest.mark.gen_test
async def test_a_first_login_registers(people: UserBench) -> None:
    """A new identity becomes a user that can be found by id and by identity."""
    store = people.store()
    login = await store.login(person(), scene(), "second", NOW)
    user = login.user
    assert login.is_new and user.account == "second"
    assert (user.created_at, user.last_login_at, user.logins) == (NOW, NOW, 1)
    assert await store.get(user.id) == user
    assert await store.find(person()) == (user, person())


@pytest.mark.gen_test
async def test_a_second_login_counts(people: UserBench) -> None:
    """The same identity is the same user, not new, one login more."""
    store = people.store()
    first = await logged_in(store, person(), NOW)
    second = await logged_in(store, person(), NOW + 10)
    assert (second.user.id, second.is_new) == (first.user.id, False)
    assert (second.user.created_at, second.user.last_login_at) == (NOW, NOW + 10)
    assert second.user.logins == 2


@pytest.mark.gen_test
async def test_an_email_is_told_with_the_user(people: UserBench) -> None:
    """As the person typed it, also by later logins, which bring none."""
    store = people.store()
    profile = Profile(name="Ann", email="ann@example.com")
    first = await store.login(person(), scene(), "default", NOW, profile=profile)
    again = await logged_in(store, person(), NOW + 1)
    assert {first.user.email, again.user.email} == {"ann@example.com"}
    assert await store.get(first.user.id) == again.user


@pytest.mark.gen_test
async def test_unknown_people_are_none(people: UserBench) -> None:
    """Looking for an unknown identity finds and makes no user; joining one is no error."""
    store = people.store()
    assert await store.find(person()) is None
    assert await store.get(UserId("nobody")) is None
    await store.join(person(unionid="u"))
    assert await store.find(person()) is None


@pytest.mark.gen_test
async def test_openids_of_two_accounts_are_two_people(people: UserBench) -> None:
    """The same openid text under another app_id is another person."""
    store = people.store()
    one = await logged_in(store, person(app="wx1"))
    two = await logged_in(store, person(app="wx2"))
    assert two.is_new and one.user.id != two.user.id


@pytest.mark.gen_test
async def test_hostile_names_are_just_text(people: UserBench) -> None:
    """Dots, dollars, quotes and colons in an openid neither match nor break anything."""
    store = people.store()
    names = ["$ne", "a.b", "'; DROP TABLE users; --", "x:y", "x", "{}", "\u0000", "名"]
    ids = {(await logged_in(store, person(name))).user.id for name in names}
    assert len(ids) == len(names)
    assert (await logged_in(store, person("y", app="wx1:x"))).user.id not in ids


# Doing it again.


@pytest.mark.gen_test
async def test_a_login_repeated_for_its_scene_is_the_same(people: UserBench) -> None:
    """Again with the same scene_str: same user, same is_new, counted once."""
    store = people.store()
    name = scene()
    first = await store.login(person(), name, "default", NOW)
    again = await store.login(person(), name, "default", NOW + 3)
    assert again == first and first.is_new


@pytest.mark.gen_test
async def test_a_late_repeat_is_still_the_same(people: UserBench) -> None:
    """Also when other logins of the person came between."""
    store = people.store()
    name, second = scene(), scene()
    await store.login(person(), name, "default", NOW)
    await store.login(person(), second, "default", NOW + 1)
    for number in range(8):
        await logged_in(store, person(), NOW + 2 + number)
    first_again = await store.login(person(), name, "default", NOW + 20)
    second_again = await store.login(person(), second, "default", NOW + 20)
    assert (first_again.is_new, second_again.is_new) == (True, False)
    assert second_again.user.logins == 10


@pytest.mark.gen_test(timeout=60)
async def test_five_hundred_first_logins_make_one_user(people: UserBench) -> None:
    """On two nodes at once, with 500 scenes: one user, exactly one is_new, 500 logins."""
    stores = people.store("a"), people.store("b")
    logins = await asyncio.gather(*(logged_in(stores[i % 2], person()) for i in range(500)))
    assert len({login.user.id for login in logins}) == 1
    assert [login.is_new for login in logins].count(True) == 1
    user = await stores[0].get(logins[0].user.id)
    assert user is not None and user.logins == 500


@pytest.mark.gen_test(timeout=30)
async def test_one_scene_a_hundred_times_at_once_counts_once(people: UserBench) -> None:
    """Two nodes finish the same scene: all get the same answer."""
    stores = people.store("a"), people.store("b")
    name = scene()
    logins = await asyncio.gather(
        *(stores[i % 2].login(person(), name, "default", NOW) for i in range(100))
    )
    assert all(login.is_new for login in logins)
    user = await stores[0].get(logins[0].user.id)
    assert user is not None and user.logins == 1


# Many people at once.


async def registered(store: UserStore, count: int) -> list[Identity]:
    """So many people, each of whom has logged in once."""
    crowd = [person(f"crowd{number}", unionid=f"u{number}") for number in range(count)]
    await asyncio.gather(*(logged_in(store, identity) for identity in crowd))
    return crowd


async def counted(store: UserStore, crowd: list[Identity]) -> list[int]:
    """How often each of them has logged in."""
    found = [await store.find(identity) for identity in crowd]
    return [one[0].logins for one in found if one is not None]


@pytest.mark.gen_test(timeout=30)
async def test_many_people_at_once_are_each_counted_once(people: UserBench) -> None:
    """Each gets an answer about their own user, on whichever node."""
    stores = people.store("a"), people.store("b")
    crowd = await registered(stores[0], 60)
    logins = await asyncio.gather(
        *(logged_in(stores[i % 2], identity, NOW + i) for i, identity in enumerate(crowd))
    )
    for number, (identity, login) in enumerate(zip(crowd, logins, strict=True)):
        found = await stores[0].find(identity)
        assert found is not None and found == (login.user, identity)
        assert not login.is_new and login.user.logins == 2
        assert login.user.last_login_at == NOW + number


@pytest.mark.gen_test(timeout=60)
async def test_one_person_often_among_many_is_counted_each_time(people: UserBench) -> None:
    """Forty logins of one of them come between those of the others."""
    store = people.store()
    crowd = await registered(store, 20)
    burst = [identity for other in crowd for identity in (crowd[0], other, crowd[0])]
    logins = await asyncio.gather(*(logged_in(store, identity) for identity in burst))
    assert not any(login.is_new for login in logins)
    assert await counted(store, crowd) == [42, *[2] * 19]


@pytest.mark.gen_test(timeout=30)
async def test_a_repeat_among_many_is_still_the_same(people: UserBench) -> None:
    """The scene that registered a person, and one that did not, come again in a crowd."""
    store, first, second = people.store(), scene(), scene()
    ann, bob = person("ann"), person("bob")
    crowd = await registered(store, 10)
    await store.login(ann, first, "default", NOW)
    await logged_in(store, bob)
    await store.login(bob, second, "default", NOW)
    again = await asyncio.gather(
        store.login(ann, first, "default", NOW + 1),
        store.login(bob, second, "default", NOW + 1),
        *(logged_in(store, identity) for identity in crowd),
    )
    assert [login.is_new for login in again] == [True, *[False] * 11]
    assert await counted(store, [ann, bob, *crowd]) == [1, *[2] * 11]


@pytest.mark.gen_test(timeout=30)
async def test_a_stranger_among_many_is_registered(people: UserBench) -> None:
    """The others log in, and a known person learns a unionid, at the same time."""
    store = people.store()
    crowd = await registered(store, 10)
    bob = await logged_in(store, person("bob"))
    mixed = [*crowd[:5], person("stranger"), person("bob", unionid="ub"), *crowd[5:]]
    logins = await asyncio.gather(*(logged_in(store, identity) for identity in mixed))
    assert [login.is_new for login in logins] == [*[False] * 5, True, *[False] * 6]
    assert logins[6].user.id == bob.user.id
    assert await counted(store, mixed) == [*[2] * 5, 1, *[2] * 6]
    found = await store.find(person("bob"))
    assert found is not None and found[1].unionid == "ub"


@pytest.mark.gen_test(timeout=30)
async def test_a_login_that_is_given_up_harms_no_other(people: UserBench) -> None:
    """Cancelled before or while others log in; asked again for the scene, counted once."""
    store, scenes = people.store(), [scene() for _ in range(12)]
    crowd = await registered(store, 12)
    for turns in (0, 1, 3):
        calls = [
            asyncio.ensure_future(store.login(identity, name, "default", NOW))
            for identity, name in zip(crowd, scenes, strict=True)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.exception() is None for call in calls if not call.cancelled())
    for identity, name in zip(crowd, scenes, strict=True):
        assert (await store.login(identity, name, "default", NOW)).user.logins == 2


# One person, several login kinds.


@pytest.mark.gen_test
async def test_a_known_unionid_brings_its_user(people: UserBench) -> None:
    """A new identity with a known unionid belongs to the user who has it."""
    store = people.store()
    first = await logged_in(store, person("ann-oa", "wx1", "u"))
    second = await logged_in(store, person("ann-mp", "wx2", "u"), NOW + 5)
    assert (second.user.id, second.is_new, second.user.logins) == (first.user.id, False, 2)
    found = await store.find(person("ann-mp", "wx2"))
    assert found == (second.user, person("ann-mp", "wx2", "u"))


@pytest.mark.gen_test
async def test_a_known_unionid_finds_its_person_by_a_new_identity(people: UserBench) -> None:
    """A person whom the operator admits by one account is no stranger at another; nothing is
    written."""
    store = people.store()
    login = await logged_in(store, person("ann", "wx1", "u"))
    new_app = person("ann-mp", "wx2", "u")
    assert await store.find(new_app) == (login.user, new_app)
    assert await store.find(person("ann-mp", "wx2")) is None
    assert await store.find(person("ann-mp", "wx2", "somebody-else")) is None


@pytest.mark.gen_test(timeout=30)
async def test_one_person_by_many_accounts_at_once_is_one_user(people: UserBench) -> None:
    """Fifty first logins through five accounts with one unionid: one user, one is_new."""
    stores = people.store("a"), people.store("b")
    logins = await asyncio.gather(
        *(logged_in(stores[i % 2], person(f"ann{i % 5}", f"wx{i % 5}", "u")) for i in range(50))
    )
    final = {(await stores[0].get(login.user.id)) for login in logins}
    assert len(final) == 1
    assert [login.is_new for login in logins].count(True) == 1


@pytest.mark.gen_test
async def test_a_unionid_learned_later_is_kept(people: UserBench) -> None:
    """`join`, or a later login, notes the unionid of a known identity."""
    store = people.store()
    joined = await logged_in(store, person("ann"))
    await logged_in(store, person("bob"))
    await store.join(person("ann", unionid="ua"))
    await logged_in(store, person("bob", unionid="ub"))
    await logged_in(store, person("bob"))
    ann, bob = await store.find(person("ann")), await store.find(person("bob"))
    assert ann is not None and ann[1].unionid == "ua"
    assert bob is not None and bob[1].unionid == "ub"
    assert (await logged_in(store, person("x", "wx2", "ua"))).user.id == joined.user.id


@pytest.mark.gen_test
@pytest.mark.parametrize("by_login", [False, True], ids=["by join", "by login"])
async def test_two_users_become_the_older_one(people: UserBench, by_login: bool) -> None:
    """When a unionid shows two users to be one, the older id stays and the other means it."""
    store = people.store()
    older = await logged_in(store, person("ann", "wx1", "u"), NOW)
    younger = await logged_in(store, person("ann", "wx2"), NOW + 1)
    assert older.user.id != younger.user.id
    proof = person("ann", "wx2", "u")
    if by_login:
        login = await logged_in(store, proof, NOW + 2)
        assert (login.user.id, login.is_new) == (older.user.id, False)
    else:
        await store.join(proof)
    one, other = await store.get(older.user.id), await store.get(younger.user.id)
    assert one is not None and one == other and one.id == older.user.id
    assert one.logins == (3 if by_login else 2)


@pytest.mark.gen_test
async def test_the_older_stays_whichever_brings_the_proof(people: UserBench) -> None:
    """Also when the older user is the one whose unionid is learned last."""
    store = people.store()
    older = await logged_in(store, person("ann", "wx1"), NOW)
    younger = await logged_in(store, person("ann", "wx2", "u"), NOW + 1)
    await store.join(person("ann", "wx1", "u"))
    kept = await store.get(younger.user.id)
    assert kept is not None and kept.id == older.user.id
    for app in ("wx1", "wx2"):
        login = await logged_in(store, person("ann", app), NOW + 5)
        assert (login.user.id, login.is_new) == (older.user.id, False)


@pytest.mark.gen_test
async def test_an_alias_leads_through_a_chain(people: UserBench) -> None:
    """C became B, then B became A: C's id brings A for ever."""
    store = people.store()
    a = await logged_in(store, person("ann", "wx1"), NOW)
    b = await logged_in(store, person("ann", "wx2"), NOW + 1)
    c = await logged_in(store, person("ann", "wx3", "u"), NOW + 2)
    await store.join(person("ann", "wx2", "u"))
    await store.join(person("ann", "wx1", "u"))
    for user_id in (a.user.id, b.user.id, c.user.id):
        user = await store.get(user_id)
        assert user is not None and user.id == a.user.id and user.logins == 3


@pytest.mark.gen_test
async def test_a_scene_keeps_its_answer_after_a_join(people: UserBench) -> None:
    """A repeated login of a scene keeps its is_new, and names the user it became."""
    store = people.store()
    older = await logged_in(store, person("ann", "wx1", "u"), NOW)
    name = scene()
    await store.login(person("ann", "wx2"), name, "default", NOW + 1)
    await store.join(person("ann", "wx2", "u"))
    again = await store.login(person("ann", "wx2", "u"), name, "default", NOW + 2)
    assert (again.user.id, again.is_new, again.user.logins) == (older.user.id, True, 2)


@pytest.mark.gen_test(timeout=30)
async def test_joining_twenty_times_at_once_joins_once(people: UserBench) -> None:
    """Two nodes learn the same unionids at once: one user stays, every login counted once."""
    stores = people.store("a"), people.store("b")
    apps = [f"wx{number}" for number in range(4)]
    logins = [await logged_in(stores[0], person("ann", app), NOW + i) for i, app in enumerate(apps)]
    await asyncio.gather(*(stores[i % 2].join(person("ann", apps[i % 4], "u")) for i in range(20)))
    for login in logins:
        user = await stores[1].get(login.user.id)
        assert user is not None and (user.id, user.logins) == (logins[0].user.id, 4)


@pytest.mark.gen_test
async def test_it_answers_a_ping(people: UserBench) -> None:
    """A ping of a working store raises nothing."""
    await people.store().ping()


# What is known of a person.


@pytest.mark.gen_test
async def test_what_is_learned_is_kept(people: UserBench) -> None:
    """A profile is noted with the login; what it does not know overwrites nothing."""
    store = people.store()
    first = Profile(name="张三", avatar="https://example.com/a")
    login = await store.login(person(), scene(), "default", NOW, profile=first)
    assert (login.user.name, login.user.avatar) == ("张三", "https://example.com/a")
    await store.login(person(), scene(), "default", NOW, profile=Profile(name="Zhang"))
    user = await store.get((await logged_in(store, person())).user.id)
    assert user is not None
    assert (user.name, user.avatar) == ("Zhang", "https://example.com/a")


@pytest.mark.gen_test(timeout=30)
async def test_a_wanted_id_is_given_once(people: UserBench) -> None:
    """An operator's own id makes a new user, or brings a new identity to the one who has it."""
    store = people.store()
    wanted = UserId("emp-1007")
    logins = await asyncio.gather(
        *(
            store.login(person(f"o{i}"), scene(), "default", NOW + i, user_id=wanted)
            for i in range(10)
        )
    )
    assert {login.user.id for login in logins} == {wanted}
    assert [login.is_new for login in logins].count(True) == 1
    known = await store.login(person("o3"), scene(), "default", NOW, user_id=UserId("other"))
    assert (known.user.id, known.is_new, known.user.logins) == (wanted, False, 11)


@pytest.mark.gen_test
async def test_an_unfollow_forgets_the_profile(people: UserBench) -> None:
    """The person stays a user, without name and picture."""
    store = people.store()
    profile = Profile(name="张三", avatar="https://example.com/a", phone="1", email="a@b")
    login = await store.login(person(), scene(), "default", NOW, profile=profile)
    assert await store.follow(person(), NOW + 1, following=False)
    user = await store.get(login.user.id)
    assert user is not None and (user.name, user.avatar) == ("", "")


@pytest.mark.gen_test
async def test_what_was_known_of_two_is_known_of_the_one(people: UserBench) -> None:
    """The older one's own name stays, what it lacked is filled, and the later login is the last."""
    store = people.store()
    one, other = person("ann", "wx1", "u"), person("ann", "wx2")
    older = await store.login(one, scene(), "default", NOW, profile=Profile(name="Ann"))
    both = Profile(name="Bob", avatar="https://example.com/b")
    await store.login(other, scene(), "default", NOW + 9, profile=both)
    await store.join(person("ann", "wx2", "u"))
    user = await store.get(older.user.id)
    assert user is not None
    assert (user.name, user.avatar) == ("Ann", "https://example.com/b")
    assert (user.logins, user.last_login_at) == (2, NOW + 9)


@pytest.mark.gen_test
async def test_an_unfollow_forgets_what_was_known_of_an_alias(people: UserBench) -> None:
    """Whatever was known of either is gone, wherever it was kept."""
    store = people.store()
    one, other = person("ann", "wx1", "u"), person("ann", "wx2")
    typed = Profile(
        name="Bob", avatar="https://example.com/b", phone="+8613800138000", email="b@x.org"
    )
    await store.login(one, scene(), "default", NOW)
    await store.login(other, scene(), "default", NOW + 1, profile=typed)
    await store.join(person("ann", "wx2", "u"))
    for identity in (one, other):
        assert await store.follow(identity, NOW + 2, following=False)
    kept = await people.kept()
    assert not [word for word in ("Bob", "example.com", "13800138000", "b@x.org") if word in kept]


@pytest.mark.gen_test
async def test_an_older_change_of_following_changes_nothing(people: UserBench) -> None:
    """Changes arrive in any order and more than once; the newest one counts."""
    store = people.store()
    login = await store.login(person(), scene(), "default", NOW, profile=Profile(name="Ann"))
    assert await store.follow(person(), NOW + 5, following=True)
    assert not await store.follow(person(), NOW + 4, following=False)
    assert not await store.follow(person(), NOW + 5, following=False)
    user = await store.get(login.user.id)
    assert user is not None and user.name == "Ann"
    assert not await store.follow(person("nobody"), NOW, following=False)


@pytest.mark.gen_test
async def test_the_last_change_of_following_may_be_repeated(people: UserBench) -> None:
    """What follows from it may have failed: it is told again that the change counts."""
    store = people.store()
    await logged_in(store, person())
    for _ in range(2):
        assert await store.follow(person(), NOW + 5, following=False)


# Bans.


@pytest.mark.gen_test
async def test_a_ban_is_told_of_the_user(people: UserBench) -> None:
    """By id and by identity, until it is lifted; doing either again is no error."""
    store = people.store()
    user = (await logged_in(store, person())).user
    assert not user.banned
    for banned in (True, True, False, False, True):
        told = user._replace(banned=banned)
        assert await store.ban(user.id, banned, NOW + 5) == told
        assert await store.get(user.id) == told
        assert await store.find(person()) == (told, person())
    assert await store.ban(UserId("nobody"), True, NOW) is None


@pytest.mark.gen_test
async def test_the_login_of_a_banned_person_changes_nothing(people: UserBench) -> None:
    """Nothing is counted, and nothing of the profile is kept; afterwards they log in as before."""
    store = people.store()
    before = (await logged_in(store, person())).user
    await store.ban(before.id, True, NOW + 1)
    typed = Profile(name="Bob", avatar="https://example.com/b", phone="1", email="b@x.org")
    for _ in range(3):
        login = await store.login(person(), scene(), "default", NOW + 9, profile=typed)
        assert login == Login(before._replace(banned=True), is_new=False)
    assert not [word for word in ("Bob", "example.com", "b@x.org") if word in await people.kept()]
    await store.ban(before.id, False, NOW + 10)
    after = (await logged_in(store, person(), NOW + 11)).user
    assert after == before._replace(logins=2, last_login_at=NOW + 11)


@pytest.mark.gen_test
async def test_a_login_that_was_counted_is_banned_when_it_is_repeated(people: UserBench) -> None:
    """A crash left the scene without its login; the ban came before it was finished."""
    store, name = people.store(), scene()
    user = (await store.login(person(), name, "default", NOW)).user
    await store.ban(user.id, True, NOW + 1)
    again = await store.login(person(), name, "default", NOW + 2)
    assert again.user.banned and again.user.logins == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("banned", ["older", "younger"])
async def test_a_ban_holds_for_all_of_a_joined_person(people: UserBench, banned: str) -> None:
    """Of two users who turn out to be one, either may be the banned one; lifting it lifts it for
    both ids."""
    store = people.store("a")
    one, other = person("ann", "wx1", "u"), person("ann", "wx2")
    older, younger = await logged_in(store, one), await logged_in(store, other, NOW + 1)
    await store.ban((older if banned == "older" else younger).user.id, True, NOW + 2)
    await store.join(other._replace(unionid=UnionId("u")))
    for node in (store, people.store("b")):
        for user_id in (older.user.id, younger.user.id):
            user = await node.get(user_id)
            assert user is not None and (user.id, user.banned) == (older.user.id, True)
        for identity in (one, other):
            assert (await logged_in(node, identity, NOW + 3)).user.banned
    lifted = await store.ban(younger.user.id, False, NOW + 4)
    assert lifted is not None and (lifted.id, lifted.banned) == (older.user.id, False)
    for identity in (one, other):
        assert not (await logged_in(store, identity, NOW + 5)).user.banned


@pytest.mark.gen_test
async def test_a_ban_by_either_id_is_one_ban(people: UserBench) -> None:
    """After the join, the younger id is as good as the older one."""
    store = people.store()
    one, other = person("ann", "wx1", "u"), person("ann", "wx2")
    older, younger = await logged_in(store, one), await logged_in(store, other, NOW + 1)
    await store.join(other._replace(unionid=UnionId("u")))
    for user_id, unlifted in ((younger.user.id, older.user.id), (older.user.id, younger.user.id)):
        assert await store.ban(user_id, True, NOW + 2)
        assert (await logged_in(store, one, NOW + 3)).user.banned
        assert await store.ban(unlifted, False, NOW + 4)
        assert not (await logged_in(store, other, NOW + 5)).user.banned


@pytest.mark.gen_test
async def test_a_banned_person_comes_by_no_other_way(people: UserBench) -> None:
    """A further identity with their unionid, or with their id in the operator's system."""
    store = people.store()
    user = (await logged_in(store, person(unionid="u"))).user
    await store.ban(user.id, True, NOW + 1)
    website = await logged_in(store, person("w", "wx9", "u"), NOW + 2)
    assert (website.user.id, website.user.banned, website.is_new) == (user.id, True, False)
    given = await store.login(person("g", "wx8"), scene(), "default", NOW + 3, user_id=user.id)
    assert (given.user.id, given.user.banned, given.is_new) == (user.id, True, False)
    assert given.user.logins == 1


@pytest.mark.gen_test
async def test_a_banned_person_still_owes_a_unionid(people: UserBench) -> None:
    """It may show other users to be the same person, who are then banned as well."""
    store = people.store()
    user = (await logged_in(store, person())).user
    await store.ban(user.id, True, NOW)
    assert (await owing(store, person())).owes_unionid
    assert await store.owed_unionids(person().app_id, DUE, 10) == [person()]


@pytest.mark.gen_test(timeout=60)
async def test_no_login_is_counted_once_a_ban_has_returned(people: UserBench) -> None:
    """Logins at two nodes while the ban comes: none that begins later, and no more are let in than
    were counted."""
    stores = people.store("a"), people.store("b")
    user = (await logged_in(stores[0], person())).user
    logins = [asyncio.ensure_future(logged_in(stores[i % 2], person())) for i in range(40)]
    await asyncio.sleep(0)
    banned = await stores[1].ban(user.id, True, NOW + 1)
    assert banned is not None
    late = [logged_in(stores[i % 2], person()) for i in range(20)]
    assert all(login.user.banned for login in await asyncio.gather(*late))
    let_in = [login for login in await asyncio.gather(*logins) if not login.user.banned]
    after = await stores[0].get(user.id)
    assert after is not None and after.logins == banned.logins
    assert len(let_in) <= after.logins - 1


# Unionids that are owed.

DUE = NOW + UNIONID_DUE_SECONDS


async def owing(store: UserStore, identity: Identity, now: float = NOW) -> Login:
    return await store.login(identity, scene(), "default", now, unionid_wanted=True)


@pytest.mark.gen_test
async def test_a_unionid_is_owed_from_the_login_on(people: UserBench) -> None:
    """Any node may take it up once it is due, and finds the identity by whatever name."""
    a, b = people.store("a"), people.store("b")
    ann = person("a:b", app="wx:1")
    assert (await owing(a, ann)).owes_unionid
    assert await b.count_owed_unionids(10) == 1
    assert await b.owed_unionids(ann.app_id, DUE - 0.1, 10) == []
    assert await b.owed_unionids(AppId("wx2"), DUE, 10) == []
    assert await b.owed_unionids(ann.app_id, DUE, 10) == [ann]


@pytest.mark.gen_test
async def test_what_was_taken_up_is_left_to_its_node(people: UserBench) -> None:
    """Until that has had time enough; and of two at once each gets others."""
    stores = people.store("a"), people.store("b")
    crowd = [person(str(number)) for number in range(20)]
    for one in crowd:
        await owing(stores[0], one)
    taken = await asyncio.gather(*(store.owed_unionids(AppId("wx1"), DUE, 12) for store in stores))
    more = await stores[0].owed_unionids(AppId("wx1"), DUE + 1, 20)
    identities = [one for some in (*taken, more) for one in some]
    assert sorted(identities) == sorted(crowd)
    again = await stores[0].owed_unionids(AppId("wx1"), DUE + LEASE_SECONDS + 3, 30)
    assert sorted(again) == sorted(crowd)


@pytest.mark.gen_test
async def test_the_longest_due_comes_first(people: UserBench) -> None:
    """So that none is passed over for ever."""
    store = people.store()
    for number in (2, 1, 3):
        await owing(store, person(str(number)), NOW + number)
    for number in (1, 2, 3):
        assert await store.owed_unionids(AppId("wx1"), DUE + 9, 1) == [person(str(number))]


@pytest.mark.parametrize("unionid", ["u", None])
@pytest.mark.gen_test
async def test_an_answer_settles_what_is_owed(people: UserBench, unionid: str | None) -> None:
    """Also the answer that there is none; then the next login owes it again."""
    store = people.store()
    await owing(store, person())
    await store.join(person(unionid=unionid))
    await store.join(person(unionid=unionid))
    assert await store.count_owed_unionids(10) == 0
    assert await store.owed_unionids(AppId("wx1"), DUE, 10) == []
    assert (await owing(store, person())).owes_unionid is (unionid is None)


@pytest.mark.gen_test
async def test_nothing_is_owed_where_it_is_known_or_not_wanted(people: UserBench) -> None:
    """Neither by people whose unionid came with them, nor by those WeChat cannot be asked about."""
    store = people.store()
    assert not (await owing(store, person(unionid="u"))).owes_unionid
    assert not (await owing(store, person())).owes_unionid
    assert not (await logged_in(store, person("bob"))).owes_unionid
    assert await store.count_owed_unionids(10) == 0


@pytest.mark.gen_test
async def test_a_known_person_can_owe_it_too(people: UserBench) -> None:
    """Once, however often they log in and whatever is asked again; due when it first was."""
    store = people.store()
    name = scene()
    await logged_in(store, person())
    first = await store.login(person(), name, "default", NOW, unionid_wanted=True)
    again = await store.login(person(), name, "default", NOW + 2, unionid_wanted=True)
    await owing(store, person(), NOW + 4)
    assert first.owes_unionid and again == first
    assert await store.count_owed_unionids(10) == 1
    assert await store.owed_unionids(AppId("wx1"), DUE, 10) == [person()]


@pytest.mark.gen_test
async def test_a_further_identity_can_owe_it_too(people: UserBench) -> None:
    """One that the operator's own id has made a user's second."""
    store = people.store()
    first = await store.login(person(), scene(), "default", NOW, user_id=UserId("7"))
    other = person(app="wx2")
    second = await store.login(
        other, scene(), "default", NOW, user_id=UserId("7"), unionid_wanted=True
    )
    assert second.owes_unionid and second.user.id == first.user.id
    assert (await owing(store, other)).owes_unionid
    await store.join(other._replace(unionid=UnionId("u")))
    assert not (await owing(store, other)).owes_unionid
    assert await store.count_owed_unionids(10) == 0


@pytest.mark.gen_test
async def test_counting_what_is_owed_has_a_limit(people: UserBench) -> None:
    """It reads each."""
    store = people.store()
    for number in range(4):
        await owing(store, person(str(number)))
    assert [await store.count_owed_unionids(limit) for limit in (3, 9)] == [3, 4]
