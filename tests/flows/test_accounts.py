"""Several accounts on one server: each with its own address, secrets, scenes and openids."""

from pathlib import Path

import pytest

from services.ids import OpenId
from services.people.store import Identity
from tests.conftest import UnexpectedLogs
from tests.flows.chatter import Chatter
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

TWO = {"accounts": {"default": {}, "second": {"mode": "plaintext", "language": "en"}}}


async def account_in_token(stack: Stack, document: dict[str, object]) -> str:
    """What the login's own holder reads at /api/me."""
    login = document["login"]
    assert isinstance(login, dict)
    bearer = {"Authorization": f"Bearer {login['token']}"}
    me = (await stack.http.get("/api/me", headers=bearer)).json()
    claims = stack.container.issuer.verify(login["token"], stack.now)
    assert claims.account == me["account"]
    return str(me["account"])


@pytest.mark.parametrize("account", ["default", "second"])
async def test_a_login_by_each_account(tmp_path: Path, account: str) -> None:
    """The page names the account, WeChat calls its address, and the token says which it was."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(account=account)
        assert (await stack.scan(page))["outcome"] == "answered"
        document = (await page.poll()).json()
        assert await account_in_token(stack, document) == account


async def test_the_first_account_serves_who_names_none(tmp_path: Path) -> None:
    """In the order of the file; its address is the bare one, and the named one as well."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin()
        await Chatter(stack, account="default").scans(page)
        assert await account_in_token(stack, (await page.poll()).json()) == "default"


async def test_events_of_one_account_do_nothing_to_anothers_scene(tmp_path: Path) -> None:
    """A person of either account who names the other's scene: 200, no reply, no change."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        for owner, stranger in (("default", "second"), ("second", "default")):
            page = await stack.begin(account=owner)
            assert await Chatter(stack, account=stranger).scans(page) == ""
            assert (await page.poll()).json()["seq"] == 1
            assert await Chatter(stack, account=owner).scans(page) != ""
            assert await page.state() == "authorized"


async def test_one_accounts_secrets_open_no_other_account(tmp_path: Path) -> None:
    """C4: the account is chosen by the path alone, and then its own secrets decide."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page, mallory = await stack.begin(), Chatter(stack, account="second")
        push = mallory.scan(page)
        for path in ("/wechat/callback", "/wechat/callback/default"):
            answer = await stack.http.post(
                push.url.replace("/wechat/callback/second", path), content=push.body
            )
            assert answer.status_code in (400, 403)
        assert (await page.poll()).json()["seq"] == 1


async def test_people_of_two_accounts_are_joined_by_unionid_only(tmp_path: Path) -> None:
    """The simulated accounts share an Open Platform account, so the same person is one user."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        logins = []
        for account in ("default", "second"):
            page = await stack.begin(account=account)
            await stack.scan(page, "alice")
            logins.append((await page.poll()).json()["login"])
        assert await stack.one_user(logins) == logins[0]["user"]["id"]
        assert Chatter(stack).openid != Chatter(stack, account="second").openid


async def test_a_question_of_one_account_is_not_answered_to_another(tmp_path: Path) -> None:
    """`1` counts in the chat where it was asked."""
    async with Stack(tmp_path, wechat=TWO, login={"confirm": "always"}) as stack:
        page = await stack.begin(account="default")
        here, there = Chatter(stack), Chatter(stack, account="second")
        await here.scans(page)
        assert await there.says("1") == ""
        assert await page.state() == "confirming"
        await here.says("1")
        assert await page.state() == "authorized"


async def test_leaving_one_account_ends_nothing_at_another(tmp_path: Path) -> None:
    """Following is between a person and one account."""
    async with Stack(tmp_path, wechat=TWO, login={"confirm": "always"}) as stack:
        page = await stack.begin(account="default")
        here, there = Chatter(stack), Chatter(stack, account="second")
        await here.scans(page)
        await there.sends(there.event("unsubscribe"))
        assert await page.state() == "confirming"


async def test_unknown_accounts(tmp_path: Path) -> None:
    """For the page an error that names the field; for WeChat's side simply not there."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        answer = await stack.http.post("/api/scenes", json={"account": "third"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_account")
        push = Chatter(stack, account="second").text("hello")
        gone = push.url.replace("/callback/second", "/callback/third")
        assert (await stack.http.post(gone, content=push.body)).status_code == 404


@pytest.mark.parametrize("registration", ["ask", "deny"])
async def test_whom_one_account_knows_is_no_stranger_to_the_other(
    tmp_path: Path, registration: str
) -> None:
    """The operator's policy is about people, and the unionid says who it is."""
    async with Stack(tmp_path, wechat=TWO) as stack:
        page = await stack.begin(account="second")
        await stack.scan(page)
        known = (await page.poll()).json()["login"]["user"]["id"]
        await stack.unionids_are_learned()
    async with Stack(tmp_path, wechat=TWO, login={"registration": registration}) as stack:
        page, stranger = await stack.begin(), await stack.begin()
        await stack.scan(page)
        # Asked before the login: without the answer the person would have been a stranger.
        assert await stack.wechat_calls("/cgi-bin/user/info") == 1
        await stack.scan(stranger, "bob")
        assert (await page.poll()).json()["login"]["user"] == {"id": known, "is_new": False}
        assert await stranger.state() in ("registering", "failed")


@pytest.mark.parametrize("registration", ["ask", "deny"])
async def test_a_known_person_waits_for_no_unionid(
    tmp_path: Path, registration: str, logs: UnexpectedLogs
) -> None:
    """Under every policy: who is known by openid is logged in although WeChat does not answer."""
    logs.expect("unionids are owed")
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", drop=True, times=0)
        page = await stack.begin()
        await stack.scan(page)
        known = (await page.poll()).json()["login"]["user"]["id"]
    async with Stack(tmp_path, login={"registration": registration}) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", drop=True, times=0)
        page = await stack.begin()
        await stack.scan(page)
        assert (await page.poll()).json()["login"]["user"] == {"id": known, "is_new": False}
        assert await stack.container.backend.users.count_owed_unionids(9) == 1


async def test_a_stranger_waits_for_wechat_a_second_and_no_more(tmp_path: Path) -> None:
    """Then the form is shown; the unionid is owed by the login that follows from it."""
    async with Stack(tmp_path, login={"registration": "ask"}) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/info", delay=3.0)
        page = await stack.begin()
        await stack.scan(page)
        asked = await page.reaches("registering")
        form = {"registration_token": asked["registration_token"], "name": "Alice"}
        assert (await stack.http.post("/api/register", json=form)).status_code == 200
        login = (await page.reaches("authorized"))["login"]
        assert login["user"]["is_new"]
        await stack.unionids_are_learned()
        identity = Identity(
            stack.container.accounts.named(None).app_id, OpenId(Chatter(stack).openid)
        )
        found = await stack.container.backend.users.find(identity)
        assert found is not None and found[1].unionid and found[0].id == login["user"]["id"]
