"""The life of a follower: unfollowing deletes the person's data and ends what they left open."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.ids import AppId, OpenId
from services.people.store import Identity, Profile, User
from services.scenes.states import Move, State
from tests.flows.chatter import Chatter
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP

ASKED = {"login": {"confirm": "always"}}


async def known(stack: Stack, person: Chatter) -> User:
    """The person's user."""
    app_id = stack.container.accounts.named(None).app_id
    found = await stack.container.backend.users.find(Identity(app_id, person.openid))
    assert found is not None
    return found[0]


async def named_login(stack: Stack, person: Chatter, name: str) -> Page:
    """A login of a person whose name has become known."""
    page = await stack.begin()
    await person.scans(page)
    scene = await stack.scene(page)
    assert scene is not None
    identity = Identity(stack.container.accounts.named(None).app_id, OpenId(person.openid))
    another = await stack.begin()
    again = await stack.scene(another)
    assert again is not None
    profile = Profile(name=name, avatar="https://thirdwx.qlogo.cn/a", phone="1", email="a@b")
    await stack.container.login.log_in(again, identity, profile)
    return page


async def test_unfollowing_forgets_the_profile(tmp_path: Path) -> None:
    """Name, picture, phone and mail go; the user stays, and is the same one afterwards."""
    async with Stack(tmp_path) as stack:
        alice = Chatter(stack)
        await named_login(stack, alice, "Alice")
        before = await known(stack, alice)
        assert await alice.sends(alice.event("unsubscribe")) == ""
        after = await known(stack, alice)
        assert (before.name, after.name, after.avatar) == ("Alice", "", "")
        page = await stack.begin()
        await alice.sends(alice.event("subscribe", EventKey=f"qrscene_{page.scene_str}"))
        assert (await page.poll()).json()["login"]["user"] == {"id": before.id, "is_new": False}


async def test_changes_count_in_the_order_of_their_time(tmp_path: Path) -> None:
    """An unfollow that arrives after the follow it preceded forgets nothing."""
    async with Stack(tmp_path) as stack:
        alice = Chatter(stack)
        await named_login(stack, alice, "Alice")
        await alice.sends(alice.event("subscribe", at=stack.now))
        await alice.sends(alice.event("unsubscribe", at=stack.now - 60))
        assert (await known(stack, alice)).name == "Alice"
        await alice.sends(alice.event("unsubscribe", at=stack.now + 60))
        assert (await known(stack, alice)).name == ""


async def test_an_unfollow_of_before_the_scan_ends_nothing(tmp_path: Path) -> None:
    """Late news: the person has come back and scanned since."""
    async with Stack(tmp_path, **ASKED) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        await alice.sends(alice.event("unsubscribe", at=stack.now - 60))
        assert await page.state() == "confirming"


async def test_unfollowing_ends_only_ones_own_scene(tmp_path: Path) -> None:
    """Bob's question stands when Alice leaves."""
    async with Stack(tmp_path, **ASKED) as stack:
        pages = [await stack.begin(), await stack.begin()]
        people = [Chatter(stack, "alice"), Chatter(stack, "bob")]
        for person, page in zip(people, pages, strict=True):
            await person.scans(page)
        await people[0].sends(people[0].event("unsubscribe"))
        assert [await page.state() for page in pages] == ["cancelled", "confirming"]


async def test_unfollowing_while_registering_ends_it(tmp_path: Path) -> None:
    """With ``registration: ask`` the form of a person who left is closed."""
    async with Stack(tmp_path, login={"registration": "ask"}) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        assert await page.state() == "registering"
        await alice.sends(alice.event("unsubscribe"))
        assert await page.state() == "cancelled"


async def test_a_newer_registration_closes_the_older_form(tmp_path: Path) -> None:
    """So that unfollowing leaves none open."""
    async with Stack(tmp_path, login={"registration": "ask"}) as stack:
        older, newer, alice = await stack.begin(), await stack.begin(), Chatter(stack)
        await alice.scans(older)
        await alice.scans(newer)
        assert [await older.state(), await newer.state()] == ["cancelled", "registering"]
        await alice.sends(alice.event("unsubscribe"))
        assert await newer.state() == "cancelled"


async def test_unfollowing_and_allowing_at_once_agree(tmp_path: Path) -> None:
    """Either the login came first, or there is none: never a cancelled scene with a token."""
    async with Stack(tmp_path, **ASKED) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        await asyncio.gather(alice.says("1"), alice.sends(alice.event("unsubscribe")))
        document = (await page.poll()).json()
        assert (document["state"], "login" in document) in [
            ("authorized", True),
            ("cancelled", False),
        ]


async def test_a_login_that_is_there_stays(tmp_path: Path) -> None:
    """Unfollowing takes back no token: it is short-lived, and the page has it or not."""
    async with Stack(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        await alice.sends(alice.event("unsubscribe"))
        assert await page.state() == "authorized"


@pytest.mark.parametrize("event", ["user_authorization_revoke", "user_authorization_cancellation"])
async def test_consent_taken_back_is_like_unfollowing(tmp_path: Path, event: str) -> None:
    """The person is named by OpenID; FromUserName is a WeChat service there."""
    async with Stack(tmp_path, **ASKED) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        fields = {"OpenID": alice.openid, "AppID": stack.container.accounts.named(None).app_id}
        service = Chatter(stack, "service")
        await service.sends(service.event(event, RevokeInfo="1", **fields))
        assert await page.state() == "cancelled"


async def test_consent_to_another_app_is_its_own_matter(tmp_path: Path) -> None:
    """The same openid may be another person there: nothing is forgotten, nothing ends."""
    async with Stack(tmp_path, **ASKED) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        fields = {"OpenID": alice.openid, "AppID": AppId("wx00000000deadbeef")}
        await alice.sends(alice.event("user_authorization_revoke", RevokeInfo="1", **fields))
        assert await page.state() == "confirming"


async def test_the_unfollow_of_a_stranger_does_nothing(tmp_path: Path) -> None:
    """An unfollow of a person who never logged in makes no user and no error."""
    async with Stack(tmp_path) as stack:
        alice = Chatter(stack)
        assert await alice.sends(alice.event("unsubscribe")) == ""
        app_id = stack.container.accounts.named(None).app_id
        assert await stack.container.backend.users.find(Identity(app_id, alice.openid)) is None


async def test_a_store_that_fails_is_waited_for(tmp_path: Path, logs: Any) -> None:
    """Leaving must not be forgotten: it is done again until it is done."""
    logs.expect("a store fails")
    async with Stack(tmp_path, faulty=True, **ASKED) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        stack.users.refuse("follow", times=2)
        stack.scenes.lose("advance", times=1)
        await alice.sends(alice.event("unsubscribe"))
        assert await page.state() == "cancelled"


async def test_a_scene_of_another_person_is_out_of_reach(tmp_path: Path) -> None:
    """Whatever stands in the store under a person's name, only their own scenes end with them."""
    async with Stack(tmp_path, **ASKED) as stack:
        page, alice, bob = await stack.begin(), Chatter(stack), Chatter(stack, "bob")
        await alice.scans(page)
        assert await bob.scans(page) != ""
        await bob.sends(bob.event("unsubscribe"))
        assert await page.state() == "confirming"
        scene = await stack.scene(page)
        assert scene is not None
        move = Move(State.AUTHORIZED, frozenset({State.CONFIRMING}), openid=OpenId(bob.openid))
        step = await stack.container.backend.scenes.advance(scene.scene_str, move)
        assert step.verdict == "refused"
