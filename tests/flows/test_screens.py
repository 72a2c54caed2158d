"""Screens: paired with a code, cared for by the operator, revoked at once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from services import VERSION
from services.backends import Backend, OpenBackend
from services.clock import Clock, SystemClock
from services.errors import StoreUnavailable
from services.ids import LETTER_CODE_LENGTH, LETTERS
from services.screens.pairing import MOST_PENDING
from services.settings.models import Settings
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Page, Stack, eventually, status

pytestmark = ON_LOOP

TOKEN = "a-token-for-the-operator"
SECRET = "a-secret-for-the-lobby"
OPERATOR: dict[str, Any] = {"operator": {"token": TOKEN}}
CONFIGURED: dict[str, Any] = {"kiosks": {"lobby3": {"label": "Lobby 3", "secret": SECRET}}}
TIZEN = (
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/538.1 (KHTML, like Gecko) "
    "Chrome/63.0 TV Safari/538.1"
)


def early_in_ten_minutes() -> TurnableClock:
    """A clock for what is counted in ten minutes, which must not fall into twenty."""
    clock = TurnableClock(SystemClock())
    clock.advance(601 - clock.now() % 600)
    return clock


class Wall:
    """A screen in public: what its page asks of the server."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.code = ""
        self.token = ""
        self.name = ""
        self.secret = ""

    async def ask(self) -> httpx.Response:
        """Ask for a code."""
        agent = {"User-Agent": TIZEN}
        answer = await self.stack.http.post("/api/kiosks/pair", headers=agent)
        if answer.status_code == 201:
            self.code, self.token = answer.json()["code"], answer.json()["pair_token"]
        return answer

    async def fetch(self, token: str | None = None, *, again: bool = False) -> httpx.Response:
        """Ask whether the operator has named it, `again` after an answer that got lost."""
        bearer = {"Authorization": f"Bearer {self.token if token is None else token}"}
        query = {"again": "1"} if again else {}
        answer = await self.stack.http.get("/api/kiosks/pair", headers=bearer, params=query)
        if answer.status_code == 200:
            self.name, self.secret = answer.json()["name"], answer.json()["secret"]
        return answer

    async def picture(self) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.token}"}
        return await self.stack.http.get("/api/kiosks/pair/qr.svg", headers=bearer)

    async def try_to_begin(self, **body: Any) -> httpx.Response:
        bearer, agent = {"Authorization": f"Bearer {self.secret}"}, {"User-Agent": TIZEN}
        return await self.stack.http.post(
            "/api/scenes", json={"kiosk": self.name, **body}, headers={**bearer, **agent}
        )

    async def begin(self, **body: Any) -> Page:
        answer = await self.try_to_begin(page=VERSION, **body)
        assert answer.status_code == 201, answer.text
        return Page(self.stack, answer.json(), "")


async def operate(stack: Stack, method: str, path: str = "", **body: Any) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    url = f"/api/operator/kiosks{path}"
    return await stack.http.request(method, url, json=body or None, headers=bearer)


async def name_it(stack: Stack, wall: Wall, name: str = "hall", **more: Any) -> httpx.Response:
    return await operate(stack, "POST", "/pair", code=wall.code, name=name, **more)


async def paired(stack: Stack, name: str = "hall", label: str = "The hall", **more: Any) -> Wall:
    """A screen that the operator has named, with its secret."""
    wall = Wall(stack)
    assert (await wall.ask()).status_code == 201
    answer = await name_it(stack, wall, name, label=label, **more)
    assert answer.status_code == 201, answer.text
    assert (await wall.fetch()).status_code == 200
    return wall


async def listed(stack: Stack, name: str = "hall") -> dict[str, Any]:
    kiosks = (await operate(stack, "GET")).json()["kiosks"]
    return dict(next(one for one in kiosks if one["name"] == name))


async def told(socket: ClientConnection, member: str) -> dict[str, Any]:
    """The next message about the screen that has that member."""
    while (message := await status(socket))["type"] != "screen" or member not in message:
        pass
    return message


@contextlib.asynccontextmanager
async def two_nodes(folder: Path, stores: OpenBackend) -> AsyncIterator[tuple[Stack, Stack]]:
    """Two servers that share their scenes and their screens."""
    async with Stack(folder / "one", stores=stores, **OPERATOR) as one:

        async def sharing(settings: Settings, clock: Clock, node: str) -> Backend:
            backend = await stores(settings, clock, node)
            backend.screens = one.container.backend.screens
            return backend

        async with Stack(folder / "two", stores=sharing, **OPERATOR) as two:
            yield one, two


# Pairing.


async def test_a_screen_is_paired_with_the_code_it_shows(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """Pending until the operator names it; then it begins scenes with its secret."""
    async with Stack(tmp_path, stores=any_scenes, **OPERATOR) as stack:
        wall = Wall(stack)
        asked = await wall.ask()
        assert asked.json() == {
            "code": wall.code,
            "pair_token": wall.token,
            "expires_in": 600,
            "interval": 3,
        }
        pictured = await wall.picture()
        assert pictured.headers["Content-Type"] == "image/svg+xml"
        address = f"{stack.http.base_url}/operator#pair={wall.code}"
        assert pictured.content == await stack.container.pictures.draw(address, "svg")
        assert len(wall.code) == LETTER_CODE_LENGTH and set(wall.code) <= set(LETTERS)
        pending = await wall.fetch()
        assert (pending.status_code, pending.json()) == (202, {"interval": 3})
        seen = (await operate(stack, "GET", f"/pair?code={wall.code}")).json()
        assert seen["code"] == wall.code and seen["address"] == "127.0.0.1"
        assert "Chrome" in seen["browser"] and abs(seen["since"] - stack.now) < 60
        named = await name_it(stack, wall, label="The hall")
        assert (named.status_code, named.json()) == (201, {"name": "hall", "label": "The hall"})
        assert (await wall.picture()).status_code == 410
        fetched = (await wall.fetch()).json()
        assert fetched == {"name": "hall", "secret": wall.secret, "label": "The hall"}
        page = await wall.begin()
        assert page.document["label"] == "The hall" and page.document["expires_in"] == 1800
        screen = {"notice": "", "reload": 0, "label": "The hall", "revoked": False}
        assert page.document["screen"] == screen
        assert (await page.poll()).json()["screen"] == screen


async def test_a_lost_answer_costs_no_secret(tmp_path: Path) -> None:
    """It is told once; to the same screen that asks again until it is used, then it is gone."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = await paired(stack)
        assert (await wall.fetch()).status_code == 410
        for _ in range(2):
            assert (await wall.fetch(again=True)).json()["secret"] == wall.secret
        await wall.begin()
        assert (await wall.fetch(again=True)).status_code == 410


async def test_an_answer_to_asking_again_is_one(tmp_path: Path) -> None:
    """A page that asks in that way from the start has been told: without it, the secret is gone."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        assert (await wall.fetch(again=True)).status_code == 202
        await name_it(stack, wall)
        assert (await wall.fetch(again=True)).status_code == 200
        assert (await wall.fetch()).status_code == 410


async def test_the_operator_may_write_the_code_otherwise(tmp_path: Path) -> None:
    """In small letters, with hyphen or blanks."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        code = wall.code.lower()
        for written in (code, f"{code[:4]}-{code[4:]}", f" {code[:4]} {code[4:]} "):
            seen = await operate(stack, "GET", f"/pair?code={written}")
            assert seen.json()["code"] == wall.code


async def test_only_the_screen_gets_the_secret(tmp_path: Path) -> None:
    """Not who read its code from the wall, nor who made up a token."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall, other = Wall(stack), Wall(stack)
        await wall.ask()
        await other.ask()
        await name_it(stack, wall)
        forged = wall.code + other.token[LETTER_CODE_LENGTH:]
        assert (await wall.fetch(forged)).status_code == 410
        for token in ("-", wall.code, wall.token[:-1], wall.token.lower(), TOKEN):
            assert (await wall.fetch(token)).status_code == 401
        assert (await other.fetch()).status_code == 202


async def test_a_code_is_good_for_one_name(tmp_path: Path) -> None:
    """Of several operators at once one names it; afterwards the code is unknown."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        answers = await asyncio.gather(*(name_it(stack, wall, f"hall{n}") for n in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 404, 404, 404]
        assert (await operate(stack, "GET", f"/pair?code={wall.code}")).status_code == 404
        assert len((await operate(stack, "GET")).json()["kiosks"]) == 1


async def test_a_taken_name_is_refused_and_the_code_stays(tmp_path: Path) -> None:
    """That of a paired screen, and of config.yaml; another name does."""
    async with Stack(tmp_path, **OPERATOR, **CONFIGURED) as stack:
        await paired(stack)
        wall = Wall(stack)
        await wall.ask()
        for name in ("hall", "lobby3"):
            answer = await name_it(stack, wall, name)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        assert (await wall.fetch()).status_code == 202
        assert (await name_it(stack, wall, "hall2")).status_code == 201


async def test_a_name_fits_an_address(tmp_path: Path) -> None:
    """400 for all others, and the code stays."""
    names: list[Any] = ["", "Hall", "a hall", "pair", "-hall", "h" * 33, "../x", "x\n", 7]
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        for name in names:
            answer = await name_it(stack, wall, name)
            assert answer.status_code == 400 and answer.json()["error"]["field"] == "name", name
        assert (await wall.fetch()).status_code == 202


async def test_a_code_ends(tmp_path: Path) -> None:
    """After its time neither the operator nor the screen gets anywhere with it."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, kiosk_pair_ttl_seconds=60, **OPERATOR) as stack:
        wall = Wall(stack)
        assert (await wall.ask()).json()["expires_in"] == 60
        await stack.advance(61)
        assert (await wall.fetch()).status_code == 410
        assert (await name_it(stack, wall)).status_code == 404


async def test_a_named_screen_may_come_late_for_its_secret(tmp_path: Path) -> None:
    """It was switched off meanwhile: what the operator did is kept."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        await name_it(stack, wall)
        await stack.advance(3600)
        assert (await wall.fetch()).status_code == 200
        await wall.begin()


async def test_codes_and_tries_are_limited_by_address(tmp_path: Path) -> None:
    """Both sides are told when to try again. A minute brings no more codes: they live for ten, and
    two addresses could keep all other screens from pairing."""
    limits = {"scenes_per_minute_per_address": 2}
    clock = early_in_ten_minutes()
    async with Stack(tmp_path, clock, limits=limits, **OPERATOR) as stack:
        wall = Wall(stack)
        assert [(await wall.ask()).status_code for _ in range(3)] == [201, 201, 429]
        tries = [await operate(stack, "GET", "/pair?code=BCDFGHJK") for _ in range(5)]
        assert [one.status_code for one in tries] == [404, 404, 404, 404, 429]
        assert int(tries[-1].headers["Retry-After"]) > 0
        assert (await name_it(stack, wall)).status_code == 429
        clock.advance(120)
        assert (await wall.ask()).status_code == 429
        assert (await name_it(stack, wall)).status_code == 201


async def test_pending_pairings_are_bounded(tmp_path: Path) -> None:
    """Over all addresses; those that are pending go on."""
    async with Stack(tmp_path, early_in_ten_minutes(), **OPERATOR) as stack:
        wall = Wall(stack)
        await wall.ask()
        window = f"pairings:{stack.now // 600:.0f}"
        count = stack.container.scenes.count
        await asyncio.gather(*(count(window, 600) for _ in range(MOST_PENDING - 1)))
        assert (await Wall(stack).ask()).status_code == 503
        assert (await name_it(stack, wall)).status_code == 201


async def test_without_an_operator_there_is_no_pairing(tmp_path: Path) -> None:
    """404 for the screen and for all that the operator could ask; no name is looked for."""
    async with Stack(tmp_path) as stack:
        wall = Wall(stack)
        assert (await wall.ask()).status_code == 404
        assert (await wall.fetch("x")).status_code == 404
        for path in ("", "/pair?code=BCDFGHJK"):
            assert (await operate(stack, "GET", path)).status_code == 404
        wall.name, wall.secret = "hall", "a-secret-that-was-made-up"
        assert (await wall.try_to_begin()).status_code == 401


async def test_a_paired_screen_outlives_a_time_without_an_operator(tmp_path: Path) -> None:
    """It is 404 then, at which its page keeps the secret; one that was revoked, or made up, is 401
    at any time."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall, gone, made_up = await paired(stack), await paired(stack, "gone"), Wall(stack)
        assert (await operate(stack, "DELETE", "/gone")).status_code == 204
        made_up.name, made_up.secret = "hall", "a-secret-that-was-made-up"
    for settings, answered in (({}, 404), (OPERATOR, 201)):
        async with Stack(tmp_path, **settings) as stack:
            found = {}
            for one in (wall, gone, made_up):
                one.stack = stack
                found[one] = (await one.try_to_begin()).status_code
            assert found == {wall: answered, gone: 401, made_up: 401}


async def test_only_the_operator_cares_for_screens(tmp_path: Path) -> None:
    """401 without the token, whatever is asked; 403 from another site's page."""
    asked = [("GET", ""), ("GET", "/pair"), ("POST", "/pair"), ("PATCH", "/hall")]
    asked += [
        ("DELETE", "/hall"),
        *(("POST", f"/hall/{x}") for x in ("reload", "notice", "secret")),
    ]
    async with Stack(tmp_path, **OPERATOR) as stack:
        await paired(stack)
        for method, path in asked:
            answer = await stack.http.request(method, f"/api/operator/kiosks{path}")
            assert answer.status_code == 401, (method, path)
        foreign = {"Origin": "https://evil.example", "Authorization": f"Bearer {TOKEN}"}
        answer = await stack.http.delete("/api/operator/kiosks/hall", headers=foreign)
        assert answer.status_code == 403
        assert (await listed(stack))["name"] == "hall"


# Care.


async def test_the_operator_sees_every_screen(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Paired or of config.yaml: page, browser, age of the code, and how it is connected."""
    async with Stack(tmp_path, stores=any_scenes, **OPERATOR, **CONFIGURED) as stack:
        wall = await paired(stack, keypad=True)
        configured = Wall(stack)
        configured.name, configured.secret = "lobby3", SECRET
        new = await listed(stack, "lobby3")
        assert new["configured"] and new["last_seen_at"] is None and new["code_age_seconds"] is None
        hall, lobby = await wall.begin(), await configured.begin()
        async with hall.socket() as socket:
            await status(socket)
            seen = await listed(stack)
            assert seen["transport"] == "socket" and seen["label"] == "The hall"
            assert seen["keypad"] is True and seen["configured"] is False
            assert seen["page"] == VERSION and "Chrome" in seen["browser"]
            assert 0 <= seen["code_age_seconds"] < 60
            assert abs(seen["last_seen_at"] - stack.now) < 60 and seen["paired_at"]
        await lobby.poll()

        async def is_noted() -> bool:
            return (await listed(stack, "lobby3"))["transport"] == "poll"

        await eventually(is_noted)
        assert (await listed(stack, "lobby3"))["label"] == "Lobby 3"


async def test_a_screen_that_stays_is_seen_and_one_that_goes_is_not(tmp_path: Path) -> None:
    """Written down at most once a minute; list and metric call it down after the same time."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, kiosk_down_seconds=300, **OPERATOR) as stack:
        screens, page = stack.container.screens, await (await paired(stack)).begin()
        assert screens is not None and screens._pages is not None
        async with page.socket() as socket:
            await status(socket)
            clock.advance(100)
            await screens.note_connected(screens._pages)
            await screens.refresh()
            (record,) = await screens.store.all()
            assert record.transport == "socket" and record.seen_at == pytest.approx(
                stack.now, abs=5
            )
            assert (await listed(stack))["up"] is True

        async def is_gone() -> bool:
            return not screens.transport(record)

        await eventually(is_gone)
        for seconds, is_up in ((280, True), (20, False)):
            clock.advance(seconds)
            await screens.note_connected(screens._pages)
            await screens.refresh()
            assert (await listed(stack))["up"] is is_up
            state = "up" if is_up else "down"
            metrics = (await stack.http.get("/metrics")).text
            assert f'scanpush_screens{{state="{state}"}} 1.0' in metrics


DEEDS: list[tuple[str, str, dict[str, Any], str, Any]] = [
    ("POST", "/hall/notice", {"text": " closed\n today "}, "notice", "closed today"),
    ("PATCH", "/hall", {"label": "Great hall"}, "label", "Great hall"),
    ("PATCH", "/hall", {"label": ""}, "label", "hall"),
    ("POST", "/hall/reload", {}, "reload", None),
    ("POST", "/hall/notice", {"text": ""}, "notice", ""),
]


async def test_a_page_is_told_what_the_operator_does(tmp_path: Path) -> None:
    """On its socket at once, in its status from then on, and when it begins the next scene."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = await paired(stack)
        page = await wall.begin()
        async with page.socket() as socket:
            known = (await status(socket))["screen"]
            for method, path, body, member, value in DEEDS:
                assert (await operate(stack, method, path, **body)).status_code == 204
                message = await told(socket, member)
                assert message == {"type": "screen", member: message[member]}
                assert message[member] == value if value is not None else message[member] > 0
                known[member] = message[member]
                assert (await page.poll()).json()["screen"] == known
        assert (await wall.begin()).document["screen"] == known


@pytest.mark.redis
async def test_a_page_is_told_on_whatever_node_it_is(
    tmp_path: Path, scenes_in_redis: OpenBackend
) -> None:
    """The operator asks one node, the screen's socket is on another."""
    async with two_nodes(tmp_path, scenes_in_redis) as (one, two):
        wall = await paired(one)
        page = await wall.begin()
        page.move_to(two)
        async with page.socket() as socket:
            await status(socket)
            await operate(one, "POST", "/hall/notice", text="closed")
            assert await told(socket, "notice") == {"type": "screen", "notice": "closed"}
            await operate(one, "DELETE", "/hall")
            message = await status(socket)
            assert message.get("revoked") or message["screen"]["revoked"]


async def test_a_long_poll_is_answered_with_the_news(tmp_path: Path) -> None:
    """It does not wait to its end."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await (await paired(stack)).begin()
        waiting = asyncio.create_task(page.poll(wait=25))

        async def waits() -> bool:
            return (await listed(stack))["transport"] == "long_poll"

        await eventually(waits)
        await operate(stack, "POST", "/hall/notice", text="closed")
        assert (await waiting).json()["screen"]["notice"] == "closed"


async def test_a_notice_that_was_missed_comes_with_the_next_look(tmp_path: Path) -> None:
    """The store is read now and then, whatever the broker said."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page, screens = await (await paired(stack)).begin(), stack.container.screens
        assert screens is not None
        async with page.socket() as socket:
            await status(socket)
            (record,) = await screens.store.all()
            await screens.store.change(record.id, {"notice": "closed"})
            screens.on_change()
            assert (await told(socket, "notice"))["notice"] == "closed"


async def test_a_screen_of_the_settings_is_told_but_not_changed(tmp_path: Path) -> None:
    """Reload and notice; what stands in config.yaml is changed there, as the answer says."""
    async with Stack(tmp_path, **OPERATOR, **CONFIGURED) as stack:
        wall = Wall(stack)
        wall.name, wall.secret = "lobby3", SECRET
        page = await wall.begin()
        async with page.socket() as socket:
            assert (await status(socket))["screen"]["label"] == "Lobby 3"

            async def is_noted() -> bool:
                return (await listed(stack, "lobby3"))["transport"] == "socket"

            await eventually(is_noted)
            await operate(stack, "POST", "/lobby3/notice", text="closed")
            assert (await told(socket, "notice"))["notice"] == "closed"
            await operate(stack, "POST", "/lobby3/reload")
            assert (await told(socket, "reload"))["reload"] > 0
        refused = [
            await operate(stack, "PATCH", "/lobby3", label="x"),
            await operate(stack, "DELETE", "/lobby3"),
            await operate(stack, "POST", "/lobby3/secret"),
        ]
        for answer in refused:
            assert answer.status_code == 409 and "kiosks.lobby3" in answer.text
        assert (await wall.try_to_begin()).status_code == 201


async def test_unknown_screens_and_empty_changes(tmp_path: Path) -> None:
    """404, and 400 that names the field."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        await paired(stack)
        for method, path in [("PATCH", "/no"), ("DELETE", "/no"), ("POST", "/no/reload")]:
            assert (await operate(stack, method, path, label="x")).status_code == 404
        for body in ({}, {"keypad": "yes"}, {"name": "X"}, {"label": "x" * 65}):
            assert (await operate(stack, "PATCH", "/hall", **body)).status_code == 400
        for text in ("x" * 201, 7, None):
            answer = await operate(stack, "POST", "/hall/notice", text=text, x=1)
            assert answer.status_code == 400 and answer.json()["error"]["field"] == "text"


async def test_a_renamed_screen_goes_on(tmp_path: Path) -> None:
    """Its secret stays, under the old name too, which is free for another screen."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = await paired(stack)
        page = await wall.begin()
        assert (await operate(stack, "PATCH", "/hall", name="foyer")).status_code == 204
        assert await page.state() == "cancelled"
        next_one = await wall.begin()
        scene = await stack.scene(next_one)
        assert scene is not None and scene.details["kiosk"] == "foyer"
        other = await paired(stack, "hall")
        await other.begin()
        assert (await operate(stack, "PATCH", "/hall", name="foyer")).status_code == 409
        await wall.begin()
        assert [(await listed(stack, name))["name"] for name in ("foyer", "hall")]


async def test_the_chat_names_a_paired_screen(tmp_path: Path) -> None:
    """As the operator calls it, also after it was renamed."""
    async with Stack(tmp_path, login={"confirm": "always"}, **OPERATOR) as stack:
        wall = await paired(stack)
        page = await wall.begin(lang="en")
        await operate(stack, "PATCH", "/hall", label="Great hall")
        assert "Great hall" in (await stack.scan(page, "alice"))["reply"]


async def test_a_paired_screen_with_a_keypad_asks_for_the_number(tmp_path: Path) -> None:
    """One without asks in the chat, as a configured one does."""
    async with Stack(tmp_path, login={"confirm": "number"}, **OPERATOR) as stack:
        asked = []
        for name, keypad in (("touch", True), ("still", False)):
            page = await (await paired(stack, name, keypad=keypad)).begin()
            await stack.scan(page, name)
            asked.append((await page.reaches("confirming"))["confirm"])
        assert asked == ["number", "chat"]


async def test_a_login_at_a_paired_screen_is_exchanged(tmp_path: Path) -> None:
    """By the operator's server, once; the page's ack leaves it where it is."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await (await paired(stack)).begin()
        await stack.scan(page)
        authorized = await page.reaches("authorized")
        assert "login" not in authorized
        assert (await page.ack(authorized["seq"])).status_code == 204
        operator = {"Authorization": f"Bearer {TOKEN}"}
        form = {"exchange_code": authorized["exchange_code"]}
        answer = await stack.http.post("/api/exchange", json=form, headers=operator)
        assert answer.json()["login"]["token"]


# Secrets and the end.


async def test_a_new_secret_ends_the_old_one_at_its_first_use(tmp_path: Path) -> None:
    """Until then the screen on the wall goes on; the address to open is given once."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall, new = await paired(stack), Wall(stack)
        answer = await operate(stack, "POST", "/hall/secret")
        assert answer.status_code == 201
        new.name, new.secret = "hall", answer.json()["secret"]
        assert answer.json()["path"] == f"/kiosk#hall:{new.secret}"
        assert (await listed(stack))["replacing_secret"] is True
        await wall.begin()
        await new.begin()
        assert (await wall.try_to_begin()).status_code == 401
        await new.begin()
        assert (await listed(stack))["replacing_secret"] is False


async def test_a_revocation_that_a_store_interrupts_comes_to_its_end(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """The screen is revoked, so that asking again would find none: its open scenes end once the
    store is back."""
    logs.expect("end some seconds later")
    async with Stack(tmp_path, faulty=True, **OPERATOR) as stack:
        page = await (await paired(stack)).begin()
        stack.scenes.refuse("advance", times=1)
        assert (await operate(stack, "DELETE", "/hall")).status_code == 204
        assert (await page.reaches("cancelled"))["screen"]["revoked"] is True


async def test_a_deed_is_done_though_its_news_come_later(
    tmp_path: Path, logs: UnexpectedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved is not answered with a failure, which would have it done twice."""
    logs.expect("hear of a change")
    async with Stack(tmp_path, **OPERATOR) as stack:
        page, screens = await (await paired(stack)).begin(), stack.container.screens
        assert screens is not None

        async def fails() -> None:
            raise StoreUnavailable("away")

        async with page.socket() as socket:
            await status(socket)
            with monkeypatch.context() as patch:
                patch.setattr(screens, "refresh", fails)
                answer = await operate(stack, "POST", "/hall/notice", text="closed")
            assert answer.status_code == 204
            assert (await told(socket, "notice"))["notice"] == "closed"


async def test_a_revoked_screen_ends_at_once(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Its page is told, every open scene of it ends, its secrets are void, its name is free."""
    async with Stack(tmp_path, stores=any_scenes, **OPERATOR) as stack:
        wall = await paired(stack)
        second = (await operate(stack, "POST", "/hall/secret")).json()["secret"]
        page, left = await wall.begin(), await wall.begin()
        async with page.socket() as socket:
            await status(socket)
            assert (await operate(stack, "DELETE", "/hall")).status_code == 204
            assert await told(socket, "revoked") == {"type": "screen", "revoked": True}
            ended = await status(socket)
            assert ended["state"] == "cancelled" and ended["screen"]["revoked"] is True
        polled = (await left.poll()).json()
        assert polled["state"] == "cancelled" and polled["screen"]["revoked"] is True
        for secret in (wall.secret, second):
            wall.secret = secret
            assert (await wall.try_to_begin()).status_code == 401
        assert (await operate(stack, "GET")).json() == {"kiosks": []}
        assert (await operate(stack, "DELETE", "/hall")).status_code == 404
        await (await paired(stack)).begin()


async def test_a_scene_begun_during_the_revocation_is_none(tmp_path: Path) -> None:
    """The screen was admitted before, and its scene was not noted yet."""
    async with Stack(tmp_path, faulty=True, **OPERATOR) as stack:
        wall = await paired(stack)
        stack.screens.hold("begun")
        late = asyncio.create_task(wall.try_to_begin())

        async def holds() -> bool:
            return stack.screens.calls["begun"] == 1

        await eventually(holds)
        assert (await operate(stack, "DELETE", "/hall")).status_code == 204
        stack.screens.heal()
        assert (await late).status_code == 401
        assert stack.container.history is not None
        assert stack.container.history.states()["cancelled"] == 1


async def test_screens_of_the_settings_need_no_store(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Their pages get codes while the screens' store does not answer; paired ones get a 503."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True, **OPERATOR, **CONFIGURED) as stack:
        wall, configured = await paired(stack), Wall(stack)
        configured.name, configured.secret = "lobby3", SECRET
        stack.screens.refuse("all", "begun", "begun_at", "of_secret", "seen")
        assert (await configured.try_to_begin()).status_code == 201
        assert (await wall.try_to_begin()).status_code == 503
        stack.screens.heal()
        assert (await wall.try_to_begin()).status_code == 201


async def test_no_page_without_a_kiosk_asks_for_screens(tmp_path: Path) -> None:
    """Their begin and login cost the screens' store nothing."""
    async with Stack(tmp_path, faulty=True, **OPERATOR) as stack:
        await paired(stack)
        calls = stack.screens.calls.total()
        page = await stack.begin()
        await stack.scan(page)
        document = await page.reaches("authorized")
        assert "screen" not in document and "screen" not in page.document
        assert stack.screens.calls.total() - calls == 0


async def test_nothing_secret_is_kept_or_listed(tmp_path: Path) -> None:
    """Neither the secrets nor the pair token are in the database or in the operator's list."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        wall = await paired(stack)
        second = (await operate(stack, "POST", "/hall/secret")).json()["secret"]
        pending = Wall(stack)
        await pending.ask()
        await wall.begin()
        database = stack.container.backend.database
        assert database is not None
        kept = await database.write(lambda db: "\n".join(db.iterdump()))
        kept += json.dumps((await operate(stack, "GET")).json())
        for secret in (wall.secret, wall.token, second, pending.token):
            assert secret not in kept
