"""What people say in the chat about their sessions: which there are, end that one, that was not
me."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.ids import AppId, OpenId, UnionId, UserId, new_scene_str
from services.people.store import Identity
from services.scenes.session_words import LISTED_SECONDS, MOST_LISTED
from services.sessions.states import BROWSER, SessionId
from services.wechat.replies import MAX_CONTENT_BYTES, text
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.contracts.sessions import a_session
from tests.flows.browsers import Walker, asks
from tests.flows.chatter import Chatter
from tests.flows.other_system import other_system
from tests.flows.test_sessions import logged_in, me, refresh, refused
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

SESSIONS = {"refresh_ttl_seconds": 30 * 86400}

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def said(outcome: str, **values: str) -> str:
    return text(outcome, "en", site="Teashop", **values)


class Shop(Stack):
    """A server with sessions. Its account speaks English, and its site is called Teashop."""

    def __init__(self, folder: Path, clock: TurnableClock | None = None, **options: Any) -> None:
        account = {"language": "en", **options.pop("account", {})}
        options["wechat"] = {"site_name": "Teashop", "accounts": {"default": account}}
        options.setdefault("sessions", SESSIONS)
        super().__init__(folder, clock, **options)

    async def user_of(self, person: Chatter, user_id: UserId | None = None) -> UserId:
        """The person's user, who has logged in without beginning a session."""
        app_id = AppId(self.container.accounts.named(None).app_id)
        identity = Identity(app_id, OpenId(person.openid))
        users = self.container.backend.users
        login = await users.login(identity, new_scene_str(), "default", self.now, user_id=user_id)
        return login.user.id

    async def begin_session(
        self, user_id: UserId, label: str = "Chrome, Windows", ago: float = 0, **fields: Any
    ) -> SessionId:
        at = self.now - ago
        fields.setdefault("ends_at", at + 30 * 86400)
        session = a_session(user_id, at, label=label, **fields)
        await self.container.backend.sessions.begin(session, most_per_user=0, now=self.now)
        return session.id

    async def alive(self, user_id: UserId) -> Sequence[SessionId]:
        sessions = await self.container.backend.sessions.of_user(user_id, self.now)
        return [session.id for session in sessions]


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The events until now, with their data."""
    names = ("event", "user", "account", "session", "scene", "person", "openid")
    return [
        {name: vars(record)[name] for name in names if name in vars(record)}
        for record in caplog.records
        if record.name == "scanpush.events"
    ]


async def test_the_sessions_are_listed_with_numbers(tmp_path: Path) -> None:
    """The latest first, each with its browser and how long ago, in the reader's language."""
    async with Shop(tmp_path) as stack:
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        user_id = await stack.user_of(alice)
        await stack.begin_session(user_id, "Safari, iPhone", ago=90_000, used_at=stack.now - 4000)
        await stack.begin_session(user_id, "Chrome, Windows", ago=130)
        await stack.begin_session(await stack.user_of(bob), "Firefox, Linux")
        assert (await alice.says("devices")).split("\n") == [
            "You are logged in to Teashop on:",
            "1. Chrome, Windows, since 2 min ago, last used 2 min ago",
            "2. Safari, iPhone, since 1 d ago, last used 1 h ago",
            said("sessions_hint"),
        ]
        assert "1. Chrome, Windows，2 分钟前登录，2 分钟前用过" in await alice.says("设备")
        assert "2. Safari, iPhone，1 天前登入，1 小時前用過" in await alice.says("裝置")
        assert "2. Safari, iPhone（ログイン：1 日前" in await alice.says("端末")


async def test_a_number_ends_the_session_that_was_listed_under_it(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """The numbers of the last list count, also after one of them has ended; others stand."""
    async with Shop(tmp_path, stores=any_scenes) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        third, second, first = [
            await stack.begin_session(user_id, label, ago)
            for label, ago in (("Safari, Mac", 300), ("Edge, Windows", 200), ("WeChat", 100))
        ]
        assert await alice.says("end 2") == said("session_unknown")
        await alice.says("devices")
        assert await alice.says("end 2") == said("session_ended", label="Edge, Windows")
        assert await stack.alive(user_id) == [first, third]
        newest = await stack.begin_session(user_id, "Firefox, Linux")
        assert await alice.says("退出１") == text(
            "session_ended", "zh-CN", site="Teashop", label="WeChat"
        )
        assert await stack.alive(user_id) == [newest, third]
        assert await alice.says("end 2") == said("session_ended", label="Edge, Windows")
        for number in (0, 4, 999):
            assert await alice.says(f"end {number}") == said("session_unknown")
        assert await stack.alive(user_id) == [newest, third]


async def test_numbers_are_forgotten_after_some_minutes(tmp_path: Path) -> None:
    """And a list that is written later makes an older message mean nothing."""
    clock = TurnableClock(SystemClock())
    async with Shop(tmp_path, clock) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        await stack.begin_session(user_id)
        late = alice.text("end 1", at=stack.now - 5)
        await alice.says("devices")
        assert await alice.sends(late) == said("session_unknown")
        await stack.advance(LISTED_SECONDS + 1)
        assert await alice.says("end 1") == said("session_unknown")
        assert len(await stack.alive(user_id)) == 1


async def test_each_persons_numbers_are_their_own(tmp_path: Path) -> None:
    """One person's list opens no other's sessions."""
    async with Shop(tmp_path) as stack:
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        ids = [await stack.user_of(alice), await stack.user_of(bob)]
        for user_id in ids:
            await stack.begin_session(user_id)
        await alice.says("devices")
        assert await bob.says("end 1") == said("session_unknown")
        assert [len(await stack.alive(user_id)) for user_id in ids] == [1, 1]


async def test_any_openid_of_the_person_counts(tmp_path: Path) -> None:
    """A session of the website's login is ended from the chat, also after two users became one."""
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        users = stack.container.backend.users
        website = Identity(AppId("wx-site"), OpenId("alice-there"), UnionId("u-alice"))
        there = await users.login(website, new_scene_str(), "default", stack.now)
        await stack.begin_session(there.user.id, "Edge, Windows")
        here = await stack.user_of(alice)
        await stack.begin_session(here, "Chrome, Windows", ago=60)
        app_id = AppId(stack.container.accounts.named(None).app_id)
        await users.join(Identity(app_id, OpenId(alice.openid), UnionId("u-alice")))
        listed = await alice.says("devices")
        assert "1. Edge, Windows" in listed and "2. Chrome, Windows" in listed
        await alice.says("end 1")
        await alice.says("end 2")
        assert await alice.says("devices") == said("sessions_none")


async def test_not_me_ends_the_latest_session_and_tells_the_operator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser's session with all below it, too; one event names user and session."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        older = await stack.begin_session(user_id, "Safari, Mac", ago=3700)
        latest = await stack.begin_session(user_id, "Edge, Windows", client=BROWSER, ago=70)
        below = await stack.begin_session(user_id, client="grafana", parent=latest)
        said_so = await alice.says("not me")
        assert said_so == said("not_me_ended", label="Edge, Windows", begun="1 min ago")
        assert await stack.alive(user_id) == [older]
        assert await stack.container.backend.sessions.get(below, stack.now) is None
        (event,) = told(caplog)
        assert len(event.pop("person")) == 10 and alice.openid not in caplog.text
        assert event == {
            "event": "not_me",
            "user": user_id,
            "account": "default",
            "session": latest,
        }


async def test_not_me_while_asked_denies(
    tmp_path: Path, any_scenes: OpenBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The session that is there stands, and so do the repeats of the message."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    login = {"confirm": "always"}
    async with Shop(tmp_path, stores=any_scenes, login=login) as stack:
        page, alice = await stack.begin(lang="en"), Chatter(stack)
        user_id = await stack.user_of(alice)
        session_id = await stack.begin_session(user_id)
        await alice.scans(page)
        no = alice.text("不是我")
        assert {await alice.sends(no) for _ in range(3)} == {said("confirm_denied")}
        assert await page.state() == "denied" and await stack.alive(user_id) == [session_id]
        (event,) = told(caplog)
        assert (event["event"], event["user"], event["scene"]) == (
            "not_me",
            user_id,
            page.scene_str,
        )


async def test_other_words_leave_the_question_open(tmp_path: Path) -> None:
    """They are done, and the question can still be answered."""
    async with Shop(tmp_path, login={"confirm": "always"}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await stack.begin_session(await stack.user_of(alice))
        await alice.scans(page)
        assert "1. Chrome, Windows" in await alice.says("devices")
        assert await alice.says("end 1") == said("session_ended", label="Chrome, Windows")
        assert await page.state() == "confirming"
        await alice.says("1")
        assert await page.state() == "authorized"


async def test_not_me_ends_what_the_phones_page_asks_about(tmp_path: Path) -> None:
    """And closes a form that waits to be filled in."""
    async with Shop(tmp_path, login={"registration": "ask"}) as stack:
        web, form = await stack.begin(kind="web", lang="en"), await stack.begin(lang="en")
        alice = Chatter(stack)
        async with Walker(stack) as phone:
            assert asks(await phone.walk(web))
        assert await alice.says("not me") == said("confirm_denied")
        assert await web.state() == "denied"
        await alice.scans(form)
        assert await form.state() == "registering"
        assert await alice.says("not me") == said("confirm_denied")
        assert await form.state() == "cancelled"


async def test_a_repeat_ends_nothing_more(
    tmp_path: Path, any_scenes: OpenBackend, logs: UnexpectedLogs
) -> None:
    """Deliveries at once, later, and after a store that failed in the middle."""
    logs.expect("a store fails")
    async with Shop(tmp_path, stores=any_scenes) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        kept = [await stack.begin_session(user_id, ago=n) for n in (90, 80, 70)]
        no = alice.text("not me")
        replies = set(await asyncio.gather(*(alice.sends(no) for _ in range(4))))
        replies.add(await alice.sends(no))
        assert len(replies) == 1 and "over" in replies.pop()
        assert await stack.alive(user_id) == kept[1::-1]
        await alice.says("devices")
        end = alice.text("end 1")
        assert len({await alice.sends(end) for _ in range(2)}) == 1
        await stack.begin_session(user_id)
        await alice.says("devices")
        assert await alice.sends(end) == said("session_ended", label="Chrome, Windows")
        assert len(await stack.alive(user_id)) == 2


@pytest.mark.parametrize("operation", ["recall", "remember", "replace"])
async def test_a_store_that_fails_ends_nothing_more(
    tmp_path: Path, operation: str, logs: UnexpectedLogs
) -> None:
    """The answer of one write is lost: it is done again, and ends the same session."""
    logs.expect("a store fails")
    async with Shop(tmp_path, faulty=True) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        oldest = await stack.begin_session(user_id, ago=90)
        for ago in (80, 70):
            await stack.begin_session(user_id, ago=ago)
        for word in ("not me", "devices", "end 1"):
            stack.scenes.lose(operation, times=1)
            assert await alice.says(word)
        assert await stack.alive(user_id) == [oldest]


async def test_a_stranger_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A person who never logged in is told so, and no operator is warned."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        assert await alice.says("devices") == said("sessions_none")
        assert await alice.says("end 1") == said("session_unknown")
        assert await alice.says("not me") == said("not_me_none")
        assert told(caplog) == []


async def test_a_long_list_fits_into_a_reply(tmp_path: Path) -> None:
    """Many sessions with the longest names, on several accounts: the latest, and how many more."""
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        for number in range(MOST_LISTED + 3):
            await stack.begin_session(
                user_id,
                "端" * 60,
                ago=number * 9 * 86400,
                account=f"{number}" + "a" * 60,
                ends_at=stack.now + 60,
            )
        for word in ("devices", "设备", "裝置", "端末"):
            listed = await alice.says(word)
            assert len(listed.encode()) <= MAX_CONTENT_BYTES
            assert len(listed.split("\n")) == MOST_LISTED + 3
            assert f"{MOST_LISTED}. 端端" in listed and "… (0aaa" in listed


WORDS = ["设备", "devices", "退出 2", "end 2", "不是我", "not me", "登出 2", "端末"]


async def test_the_words_do_not_reach_the_other_system(tmp_path: Path) -> None:
    """Everything else does, also what is nearly a word."""
    async with other_system() as system:
        async with Shop(tmp_path, account={"forward_url": system.url}) as stack:
            alice = Chatter(stack)
            for word in WORDS:
                assert await alice.says(word) != ""
            assert system.seen == []
            for other in ("退出", "my devices", "end", "1"):
                assert await alice.says(other) == ""
            assert len(system.seen) == 4


@pytest.mark.parametrize(
    "sessions", [{}, {**SESSIONS, "chat_words": False}], ids=["off", "without words"]
)
async def test_without_sessions_they_are_ordinary_messages(
    tmp_path: Path, sessions: dict[str, Any]
) -> None:
    """And so with `chat_words: false`: forwarded as ever."""
    async with other_system() as system:
        account = {"forward_url": system.url}
        async with Shop(tmp_path, account=account, sessions=sessions) as stack:
            alice = Chatter(stack)
            user_id = await stack.user_of(alice)
            await stack.begin_session(user_id)
            for word in WORDS:
                assert await alice.says(word) == ""
            assert len(system.seen) == len(WORDS) and len(await stack.alive(user_id)) == 1


async def test_unfollowing_ends_the_sessions_where_that_is_wanted(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """All of the person; a store that fails in between is waited for."""
    logs.expect("a store fails")
    sessions = {**SESSIONS, "end_on_unsubscribe": True}
    async with Shop(tmp_path, sessions=sessions, faulty=True) as stack:
        alice, bob = Chatter(stack), Chatter(stack, "bob")
        ids = [await stack.user_of(alice), await stack.user_of(bob)]
        for user_id in ids:
            for label in ("Safari, Mac", "WeChat"):
                await stack.begin_session(user_id, label)
        stack.users.lose("follow", times=1)
        await alice.sends(alice.event("unsubscribe"))
        assert [len(await stack.alive(user_id)) for user_id in ids] == [0, 2]


async def test_unfollowing_ends_no_session_otherwise(tmp_path: Path) -> None:
    """Nor does an event that is older than the last follow, nor consent that is taken back."""
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        await stack.begin_session(user_id)
        await alice.sends(alice.event("unsubscribe"))
        assert len(await stack.alive(user_id)) == 1
    sessions = {**SESSIONS, "end_on_unsubscribe": True}
    async with Shop(tmp_path / "wanted", sessions=sessions) as stack:
        alice = Chatter(stack)
        user_id = await stack.user_of(alice)
        await stack.begin_session(user_id)
        await alice.sends(alice.event("subscribe"))
        await alice.sends(alice.event("unsubscribe", at=stack.now - 60))
        assert len(await stack.alive(user_id)) == 1
        await alice.sends(alice.event("unsubscribe", at=stack.now + 5))
        assert await stack.alive(user_id) == []


async def test_a_login_that_was_not_theirs_is_over_at_once(tmp_path: Path) -> None:
    """From the scan to the word: the page that has the login can no longer renew or use it."""
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        kept, stolen = await logged_in(stack), await logged_in(stack, browser=FIREFOX)
        listed = (await alice.says("devices")).split("\n")
        assert listed[1].startswith("1. Firefox, Linux, since just now") and len(listed) == 4
        assert "Firefox, Linux" in await alice.says("not me")
        assert refused(await refresh(stack, stolen["refresh_token"]))
        assert [await me(stack, login) for login in (kept, stolen)] == [200, 401]
        assert (await refresh(stack, kept["refresh_token"])).status_code == 200
