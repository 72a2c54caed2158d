"""A person whom the operator has banned: whichever way they come, the login ends there."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.backends import OpenBackend
from services.ids import AppId, OpenId, UserId
from services.people.store import Identity
from services.scenes.states import Kind
from services.wechat.replies import text
from tests.flows.browsers import Walker, asks, title
from tests.flows.chatter import Chatter, planted
from tests.flows.test_mini_program_login import Program, error
from tests.hook_server import HookServer
from tests.stack import ON_LOOP, Page, Stack, until

pytestmark = ON_LOOP

KIOSKS = {"lobby": {"label": "Lobby 3", "secret": "k" * 32}}


def said(outcome: str, **values: str) -> str:
    return text(outcome, "en", site="Teashop", **values)


class Shop(Stack):
    """A server whose pages are English, and whose site is called Teashop."""

    def __init__(self, folder: Path, **options: Any) -> None:
        accounts = {"default": {"language": "en"}}
        options["wechat"] = {"site_name": "Teashop", "accounts": accounts}
        super().__init__(folder, **options)

    async def ban(self, user_id: str, banned: bool = True) -> None:
        assert await self.container.backend.users.ban(UserId(user_id), banned, self.now)

    async def banned(self, person: Chatter) -> str:
        """The id of that person, who has logged in once and is banned since."""
        page = await self.begin()
        await person.scans(page)
        user_id = (await page.poll()).json()["login"]["user"]["id"]
        await self.ban(user_id)
        return str(user_id)

    async def logins_of(self, user_id: str) -> int:
        user = await self.container.backend.users.get(UserId(user_id))
        assert user is not None
        return user.logins


def is_refused(document: dict[str, Any]) -> bool:
    kept_out = {"code": "banned", "message": "The site keeps this person out."}
    return (document["state"], document.get("error")) == ("failed", kept_out) and (
        "login" not in document
    )


async def by_scan(stack: Shop, alice: Chatter) -> tuple[Page, str]:
    page = await stack.begin(lang="en")
    return page, await alice.scans(page)


async def by_code(stack: Shop, alice: Chatter) -> tuple[Page, str]:
    page = await stack.begin(kind="code", lang="en")
    return page, await alice.says(page.document["code"])


async def at_a_kiosk(stack: Shop, alice: Chatter) -> tuple[Page, str]:
    page = await planted(stack, Kind.OFFICIAL_ACCOUNT, kiosk="lobby")
    return page, await alice.scans(page)


@pytest.mark.parametrize("come", [by_scan, by_code, at_a_kiosk])
@pytest.mark.parametrize(
    "login",
    [{}, {"confirm": "always"}, {"registration": "deny"}, {"registration": "ask"}],
    ids=["default", "confirm", "deny", "ask"],
)
async def test_in_the_chat_a_banned_person_is_told_so(
    tmp_path: Path,
    login: dict[str, str],
    come: Callable[[Shop, Chatter], Awaitable[tuple[Page, str]]],
) -> None:
    """Nothing is asked first, nothing is counted, and the page is told why."""
    async with Shop(tmp_path, login=login, kiosks=KIOSKS) as stack:
        alice = Chatter(stack)
        app_id = stack.container.accounts.named(None).app_id
        known = await stack.begin()
        scene = await stack.scene(known)
        assert scene is not None
        identity = Identity(AppId(app_id), OpenId(alice.openid))
        user = (await stack.container.login.log_in(scene, identity)).user
        await stack.ban(user.id)
        page, reply = await come(stack, alice)
        assert reply == said("banned")
        assert is_refused((await page.poll()).json())
        assert await stack.logins_of(user.id) == 1


async def test_a_repeat_of_the_scan_is_told_the_same(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """The same event again, and another scan of the same code, with scenes in either store."""
    async with Shop(tmp_path, stores=any_scenes) as stack:
        alice = Chatter(stack)
        user_id = await stack.banned(alice)
        page = await stack.begin(lang="en")
        async with page.socket() as socket:
            scan = alice.scan(page)
            assert {await alice.sends(scan) for _ in range(3)} == {said("banned")}
            assert is_refused(await until(socket, "failed"))
        assert await alice.scans(page) == said("banned")
        assert await stack.logins_of(user_id) == 1
        metrics = (await stack.http.get("/metrics")).text
        assert 'scanpush_scenes_ended_total{state="failed"} 1.0' in metrics
        assert 'scanpush_logins_total{is_new="false"} 0.0' in metrics


async def test_a_ban_between_question_and_answer_counts(tmp_path: Path) -> None:
    """The yes comes too late: the scene fails, and its repeat is told the same."""
    async with Shop(tmp_path, login={"confirm": "always"}) as stack:
        first, second, alice = await stack.begin(), await stack.begin(lang="en"), Chatter(stack)
        await alice.scans(first)
        await alice.says("1")
        user_id = (await first.poll()).json()["login"]["user"]["id"]
        assert "Reply 1" in await alice.scans(second)
        await stack.ban(user_id)
        yes = alice.text("1")
        assert {await alice.sends(yes) for _ in range(2)} == {said("banned")}
        assert is_refused((await second.poll()).json())


async def test_a_ban_that_is_lifted_lets_the_person_in(tmp_path: Path) -> None:
    """With the next scan they are who they were."""
    async with Shop(tmp_path) as stack:
        alice = Chatter(stack)
        user_id = await stack.banned(alice)
        await stack.ban(user_id, False)
        page = await stack.begin(lang="en")
        assert await alice.scans(page) == said("logged_in")
        assert (await page.poll()).json()["login"]["user"] == {"id": user_id, "is_new": False}


async def test_others_are_let_in(tmp_path: Path) -> None:
    """A ban is of one person."""
    async with Shop(tmp_path) as stack:
        await stack.banned(Chatter(stack))
        page = await stack.begin(lang="en")
        assert await Chatter(stack, "bob").scans(page) == said("registered")


async def test_the_token_of_a_banned_person_is_refused(tmp_path: Path) -> None:
    """At /api/me, at once; services that verify offline learn it when the token expires."""
    async with Shop(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        await alice.scans(page)
        login = (await page.poll()).json()["login"]
        bearer = {"Authorization": f"Bearer {login['token']}"}
        assert (await stack.http.get("/api/me", headers=bearer)).status_code == 200
        await stack.ban(login["user"]["id"])
        answer = await stack.http.get("/api/me", headers=bearer)
        assert error(answer) == (401, "unauthorized")


async def test_the_form_lets_no_banned_person_in(tmp_path: Path) -> None:
    """The operator's hook knows a stranger as a person who is banned: sent twice, refused twice."""
    login = {"registration": "ask"}
    async with HookServer() as hook, Shop(tmp_path, login={**login, **hook.login}) as stack:
        hook.answer = {"user_id": "customer-4711"}
        pages = [await stack.begin(lang="en") for _ in range(2)]
        for page, name, state in zip(
            pages, ("alice", "bob"), ("authorized", "failed"), strict=True
        ):
            await Chatter(stack, name).scans(page)
            token = (await page.reaches("registering"))["registration_token"]
            for _ in range(2):
                form = {"registration_token": token, "name": name}
                answer = await stack.http.post("/api/register", json=form)
                assert answer.json() == {"state": state}
            await stack.ban("customer-4711")
        assert is_refused((await pages[1].poll()).json())


@pytest.mark.parametrize(("kind", "route"), [("web", "wechat"), ("website", "website")])
async def test_on_wechats_pages_a_banned_person_is_asked_nothing(
    tmp_path: Path, kind: str, route: str
) -> None:
    """The phone's page says so instead of the question, also where it began the login itself."""
    async with Shop(tmp_path) as stack:
        first = await stack.begin(kind=kind, lang="en")
        async with Walker(stack, first) as phone:
            await phone.walk(first, route=route)
        login = (await first.poll()).json()["login"]
        await stack.ban(login["user"]["id"])
        for own in (False, True):
            page = await stack.begin(kind=kind, lang="en")
            async with Walker(stack, page if own else None) as phone:
                shown = await phone.walk(page, route=route)
            assert (shown.status_code, title(shown)) == (403, "Account blocked")
            assert not asks(shown) and is_refused((await page.poll()).json())


async def test_a_ban_while_the_phones_page_asks_counts(tmp_path: Path) -> None:
    """The button does not log in any more."""
    async with Shop(tmp_path) as stack:
        first, second = [await stack.begin(kind="web", lang="en") for _ in range(2)]
        async with Walker(stack, first) as phone:
            await phone.walk(first)
        async with Walker(stack) as phone:
            shown = await phone.walk(second)
            assert asks(shown)
            await stack.ban((await first.poll()).json()["login"]["user"]["id"])
            landed = await phone.answer(shown, allow=True)
        assert title(landed) == "Account blocked" and is_refused((await second.poll()).json())


async def test_the_mini_program_is_refused(tmp_path: Path) -> None:
    """Its own login is 403; a page's code fails when it is scanned, and stays so."""
    async with Shop(tmp_path) as stack:
        program = Program(stack)
        login = (await program.post("login")).json()["login"]
        await stack.ban(login["user"]["id"])
        assert error(await program.post("login")) == (403, "forbidden")
        page = await stack.begin(kind="mini_program", lang="en")
        for answer in (await program.scan(page), await program.confirm(page)):
            assert (answer.status_code, answer.json()) == (200, {"state": "failed"})
        assert is_refused((await page.poll()).json())
        assert await stack.logins_of(login["user"]["id"]) == 1


async def test_a_ban_while_the_mini_program_asks_counts(tmp_path: Path) -> None:
    """Allowing it ends in failed."""
    async with Shop(tmp_path) as stack:
        program = Program(stack)
        login = (await program.post("login")).json()["login"]
        page = await stack.begin(kind="mini_program", lang="en")
        assert (await program.scan(page)).json() == {"state": "scanned"}
        await stack.ban(login["user"]["id"])
        assert (await program.confirm(page)).json() == {"state": "failed"}
        assert is_refused((await page.poll()).json())
