"""One person ends as one user, by whatever login kinds and in whatever order they log in."""

import asyncio
import uuid
from collections import defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.people.store import LEASE_SECONDS, Identity, UserStore
from tests.contracts.benches import UserBench

Event = tuple[str, str, bool, bool]
"""Person, login kind, whether the unionid is known this time, and whether it is a login or a
join."""

EVENTS = st.tuples(
    st.sampled_from(["ann", "bob"]), st.sampled_from("123"), st.booleans(), st.booleans()
)
PLANS = st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=5)
"""Groups of events: those of one group happen at once, on two nodes."""

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(plan=PLANS)
def test_one_person_ends_as_one_user(
    people: UserBench, io_loop: IOLoop, plan: list[list[Event]]
) -> None:
    """Identities whose unionid was learned share a user, the oldest; every login counts once."""
    io_loop.run_sync(lambda: _Town(people).live(plan), timeout=20)


class _Town:
    """Two people, their identities, and what the store answered about them."""

    def __init__(self, bench: UserBench) -> None:
        self._stores = [bench.store("a"), bench.store("b")]
        self._suffix = uuid.uuid4().hex
        self._now = 1_760_000_000.0
        self._ids: dict[tuple[str, str], set[UserId]] = defaultdict(set)
        self._learned: set[tuple[str, str]] = set()
        self._new: dict[str, int] = defaultdict(int)
        self._logins: dict[str, int] = defaultdict(int)

    def _identity(self, person: str, app: str, known: bool) -> Identity:
        unionid = UnionId(f"{person}-{self._suffix}") if known else None
        return Identity(AppId(f"wx{app}"), OpenId(f"{person}-{self._suffix}"), unionid)

    async def live(self, plan: list[list[Event]]) -> None:
        for group in plan:
            await asyncio.gather(*(self._happen(i, event) for i, event in enumerate(group)))
        for person in ("ann", "bob"):
            await self._check(person)

    async def _happen(self, number: int, event: Event) -> None:
        person, app, known, is_login = event
        self._now += 1
        store, identity = self._stores[number % 2], self._identity(person, app, known)
        if is_login:
            login = await store.login(identity, SceneStr(str(uuid.uuid4())), "default", self._now)
            self._ids[person, app].add(login.user.id)
            self._new[person] += login.is_new
            self._logins[person] += 1
            if known:
                self._learned.add((person, app))
        elif known:
            existed = (person, app) in self._ids
            await store.join(identity)
            if existed:
                self._learned.add((person, app))

    async def _check(self, person: str) -> None:
        final: dict[str, UserId] = {}
        users = {}
        for owner, app in list(self._ids):
            if owner != person:
                continue
            found = await self._stores[0].find(self._identity(person, app, False))
            assert found is not None
            final[app] = found[0].id
            users[found[0].id] = found[0]
            for user_id in self._ids[person, app]:
                assert await self._stores[1].get(user_id) == found[0]
        assert sum(user.logins for user in users.values()) == self._logins[person]
        joined = {final[app] for owner, app in self._learned if owner == person}
        assert len(joined) <= 1
        assert self._new[person] >= len(users)


Late = tuple[str, str, str]
"""Person, login kind, and what happens: a login, WeChat's answer about it (late or repeated), or an
answer that comes to nothing because the node ends before it has joined."""

LATE = st.tuples(
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["first account", "second account", "website"]),
    st.sampled_from(["login", "login", "answer"]),
)
LATE_PLANS = st.lists(st.lists(LATE, min_size=1, max_size=4), min_size=1, max_size=6)


@settings(SETTINGS, max_examples=25)
@given(plan=LATE_PLANS)
def test_a_person_who_is_learned_late_ends_as_one_user(
    people: UserBench, io_loop: IOLoop, plan: list[list[Late]]
) -> None:
    """Answers come late, twice or not at all: once the sweeps are through, each person is one user,
    to whom every id ever given leads, with all their logins."""
    io_loop.run_sync(lambda: _LateTown(people).live(plan), timeout=20)


class _LateTown:
    """Two people at two accounts, whose unionids are owed, and at a website, which brings them."""

    def __init__(self, bench: UserBench) -> None:
        self._stores = [bench.store("a"), bench.store("b")]
        self._suffix = uuid.uuid4().hex
        self._now = 1_760_000_000.0
        self._ids: dict[str, list[UserId]] = defaultdict(list)
        self._oldest: dict[str, float] = {}

    def _identity(self, person: str, kind: str) -> Identity:
        unionid = UnionId(f"{person}-{self._suffix}") if kind == "website" else None
        # Apps of this example alone: what others left is not to be taken up here.
        return Identity(AppId(f"{kind}-{self._suffix}"), OpenId(person), unionid)

    async def live(self, plan: list[list[Late]]) -> None:
        for group in plan:
            await asyncio.gather(*(self._happen(i, event) for i, event in enumerate(group)))
        for kind in ("first account", "second account"):
            app_id = self._identity("ann", kind).app_id
            while any(await asyncio.gather(*(self._sweep(one, app_id) for one in self._stores))):
                self._now += LEASE_SECONDS
        for person, ids in self._ids.items():
            users = {await store.get(one) for one in ids for store in self._stores}
            (user,) = users
            assert user is not None and user.logins == len(ids)
            assert user.created_at == self._oldest[person] and user.id in ids

    async def _happen(self, number: int, event: Late) -> None:
        person, kind, what = event
        self._now += 1
        store, identity, now = self._stores[number % 2], self._identity(person, kind), self._now
        if what == "answer":
            await self._answer(store, identity)
            return
        login = await store.login(
            identity, SceneStr(str(uuid.uuid4())), "default", now, unionid_wanted=kind != "website"
        )
        self._ids[person].append(login.user.id)
        created_at = login.user.created_at
        self._oldest[person] = min(created_at, self._oldest.get(person, created_at))

    async def _answer(self, store: UserStore, identity: Identity) -> None:
        await store.join(identity._replace(unionid=UnionId(f"{identity.openid}-{self._suffix}")))

    async def _sweep(self, store: UserStore, app_id: AppId) -> int:
        """What one node takes up and does; the last of it is done twice."""
        self._now += 10
        owed = await store.owed_unionids(app_id, self._now, 10)
        for identity in (*owed, *owed[-1:]):
            await self._answer(store, identity)
        return len(owed)
