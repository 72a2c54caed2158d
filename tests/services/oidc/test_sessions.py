"""Browser sessions over a store of the test's own."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.clock import SystemClock
from services.ids import OpenId, UserId
from services.oidc.sessions import BrowserSessions
from services.people.store import UserStore
from services.scenes.states import Kind, Scene, State
from services.sessions.service import SessionService
from services.sessions.states import Session, SessionId
from services.sessions.store import SessionStore
from services.tokens.claims import Claims
from tests.contracts.scenes import a_scene

pytestmark = pytest.mark.gen_test


class Store:
    """Keeps sessions. With `refuses` a begin leaves none, as for a banned person."""

    def __init__(self) -> None:
        self.kept: dict[SessionId, Session] = {}
        self.refuses = False

    async def begin(self, session: Session, *, most_per_user: int, now: float) -> Sequence[Session]:
        if not self.refuses:
            self.kept[session.id] = session
        return []

    async def get(self, session_id: SessionId, now: float) -> Session | None:
        return self.kept.get(session_id)

    async def prove(self, session_id: SessionId, auth_at: float, kind: str) -> None:
        self.kept[session_id] = self.kept[session_id]._replace(auth_at=auth_at, kind=kind)

    async def end(self, session_id: SessionId) -> Sequence[Session]:
        ended = self.kept.pop(session_id, None)
        return [] if ended is None else [ended]


class Users:
    """All ids are of people of their own, but those of a pair that was joined."""

    async def get(self, user_id: UserId) -> Any:
        return type("User", (), {"id": "old" if user_id in ("old", "young") else user_id})


class Bench:
    def __init__(self) -> None:
        self.store, users, clock, none = Store(), Users(), SystemClock(), cast(Any, None)
        store, people = cast(SessionStore, self.store), cast(UserStore, users)
        # Browsers have no refresh tokens.
        service = SessionService(
            *(store, people, none, none, clock, none),
            amr=(),
            life_seconds=0,
            idle_seconds=0,
            most_per_user=20,
            collect_ttl_seconds=0,
            token_ttl_seconds=0,
        )
        self.ended: list[Session] = []
        service.on_ended.append(self.ended.extend)
        self.sessions = BrowserSessions(
            store,
            service,
            people,
            clock,
            amr=("wechat",),
            ttl_seconds=600,
            refresh_ttl_seconds=86400,
        )


def scene(user_id: str, at: int = 1_000_000) -> Scene:
    return a_scene(
        0,
        state=State.CONSUMED,
        kind=Kind.CODE,
        openid=OpenId("o"),
        user_id=UserId(user_id),
        claims=Claims("jti", at, at + 60, False),
    )


async def logged_in(bench: Bench, user_id: str, before: Session | None = None) -> Session:
    session, _ = await bench.sessions.log_in(scene(user_id), before) or (None, "")
    assert session is not None
    return session


async def test_a_cookie_finds_its_session_and_no_other() -> None:
    """Id and secret have to fit; the store has only a hash."""
    bench = Bench()
    session, cookie = await bench.sessions.log_in(scene("alice"), None) or (None, "")
    assert session is not None and await bench.sessions.of_cookie(cookie) == session
    assert cookie.partition(".")[2].encode() not in session.token_hash
    other, _ = cookie[:-1], await logged_in(bench, "bob")
    for wrong in (None, "", ".", other, f"{_.id}.{cookie.partition('.')[2]}", f"x{cookie}"):
        assert await bench.sessions.of_cookie(wrong) is None
    bench.store.kept[session.id] = session._replace(client="wiki")
    assert await bench.sessions.of_cookie(cookie) is None


async def test_a_session_is_kept_as_long_as_what_stands_below_it() -> None:
    """Refresh tokens of clients end with it."""
    session = await logged_in(Bench(), "alice")
    assert session.ends_at - session.begun_at == 86400


async def test_the_same_person_goes_on_under_either_id() -> None:
    """Users that were joined are one person: no new cookie, a later time."""
    bench = Bench()
    before = await logged_in(bench, "young")
    again = await bench.sessions.log_in(scene("old", 2_000_000), before)
    assert again == (before._replace(auth_at=2_000_000), "")
    assert bench.store.kept[before.id].auth_at == 2_000_000 and bench.ended == []


async def test_a_person_who_may_not_log_in_changes_nothing() -> None:
    """Banned meanwhile: no session, and the browser's is what it was."""
    bench = Bench()
    before = await logged_in(bench, "alice")
    bench.store.refuses = True
    assert await bench.sessions.log_in(scene("mallory"), before) is None
    assert list(bench.store.kept) == [before.id] and bench.ended == []


async def test_another_person_ends_the_session_before() -> None:
    """Those who want to know are told."""
    bench = Bench()
    before = await logged_in(bench, "alice")
    after = await logged_in(bench, "bob", before)
    assert bench.ended == [before] and list(bench.store.kept) == [after.id]
