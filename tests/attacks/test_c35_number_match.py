"""C35: number match guessed or relayed. Two digits, one try, a keyed hash, nothing on the page."""

import ast
import inspect
import json
import sqlite3
from pathlib import Path
from typing import Any

from services.ids import AppId, OpenId, SceneStr
from services.people.store import Identity
from services.scenes import numbers
from services.scenes.number_match import NumberMatch
from services.scenes.policy import ChatTexts, LoginResult, Visit
from services.scenes.states import Move, Scene, State, Step, Verdict, apply
from services.settings.models import AccountSettings
from services.tasks import Supervisor
from tests.contracts.scenes import a_scene
from tests.flows.chatter import Chatter
from tests.flows.test_number_match import Matching, number_in, wrong_for
from tests.stack import ON_LOOP, until

GUESSES = 10_000
MOST_RIGHT = 140
"""Four times the deviation above the hundred that chance gives."""


class Victims:
    """Scenes in memory that all ask for their numbers, and whatever else `NumberMatch` needs of the
    server: scenes, logins, policy, accounts and account in one."""

    name, app_id = "default", AppId("wx0123456789abcdef")

    def __init__(self) -> None:
        self.settings = AccountSettings.model_validate({"app_secret": "5" * 32})
        self.scenes: dict[SceneStr, Scene] = {}
        self.tried: dict[str, str] = {}
        self.right = 0
        self.api = self

    def add(self) -> SceneStr:
        scene = a_scene(0, state=State.CONFIRMING, seq=3, openid=OpenId("victim"))
        details: Any = numbers.details_of_new(self, scene)  # type: ignore[arg-type]
        self.scenes[scene.scene_str] = scene._replace(details=details)
        return scene.scene_str

    def named(self, name: str) -> "Victims":
        return self

    async def get(self, scene_str: SceneStr) -> Scene | None:
        return self.scenes[scene_str]

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        return self.tried.setdefault(key, value)

    async def end(self, scene_str: SceneStr, move: Move) -> Step:
        step = apply(self.scenes[scene_str], move, 1)
        assert step.verdict is Verdict.MOVED and step.scene is not None
        self.scenes[scene_str] = step.scene
        return step

    async def user_of(self, identity: Identity) -> None:
        return None

    async def admit(self, visit: Visit) -> LoginResult:
        assert visit.identity == Identity(self.app_id, OpenId("victim"))
        self.right += 1
        return LoginResult("logged_in", Step(Verdict.MOVED))

    async def send_text(self, openid: OpenId, content: str) -> None:
        assert "A wrong number" in content


@ON_LOOP
async def test_ten_thousand_guesses_are_right_as_often_as_chance() -> None:
    """A script with a page for each victim guesses once for each; a second guess is refused."""
    victims, supervisor = Victims(), Supervisor()
    texts = ChatTexts("Teashop", {})
    parts: Any = (victims, victims, victims, victims, texts, victims, supervisor)
    match = NumberMatch(*parts)
    for n in range(GUESSES):
        await match.answer(victims.add(), 3, f"{n * 37 % 100:02}")
    await supervisor.close()
    ended = sum(scene.state is State.DENIED for scene in victims.scenes.values())
    assert victims.right <= MOST_RIGHT
    assert ended == GUESSES - victims.right


@ON_LOOP
async def test_a_relayed_code_gives_the_attacker_a_guess_and_the_victim_a_warning(
    tmp_path: Path,
) -> None:
    """The attacker's page is told nothing of the number; a wrong one ends it, and the victim hears
    of it in the chat."""
    async with Matching(tmp_path) as stack:
        stack.http.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0"
        attacker, victim = await stack.begin(), Chatter(stack, "victim")
        async with attacker.socket() as socket:
            question = await victim.scans(attacker)
            assert "Firefox, Linux" in question and "Not you? Reply 0." in question
            document = await until(socket, "confirming")
            assert set(document) == {"type", "scene_str", "state", "seq", "expires_in", "confirm"}
            guess = {"type": "number", "seq": 3, "number": wrong_for(number_in(question))}
            await socket.send(json.dumps(guess))
            assert "login" not in await until(socket, "denied")


@ON_LOOP
async def test_another_browser_cannot_answer(tmp_path: Path) -> None:
    """Neither without the watch token nor with that of another scene; the try is not spent."""
    async with Matching(tmp_path) as stack:
        page, other, alice = await stack.begin(), await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        path, body = f"{page.document['status']}/number", {"seq": 3, "number": number}
        for headers in ({}, other.bearer, {**page.bearer, "Origin": "https://evil.example"}):
            answer = await stack.http.post(path, json=body, headers=headers)
            assert answer.status_code in (401, 403)
        assert await page.state() == "confirming"
        assert (await stack.type(page, number)).status_code == 204


@ON_LOOP
async def test_the_store_does_not_have_the_number(tmp_path: Path) -> None:
    """Neither the scene nor the reply that is kept for repeats: that has a mark in its place."""
    async with Matching(tmp_path) as stack:
        page, alice = await stack.begin(), Chatter(stack)
        number = number_in(await alice.scans(page))
        scene = await stack.scene(page)
        assert scene is not None and number not in scene.details.values()
        assert len(scene.details[numbers.HASH]) == 64
        with sqlite3.connect(tmp_path / "scanpush.db") as database:
            dump = "\n".join(database.iterdump())
        database.close()
        assert "Number: " in dump and f"Number: {number}" not in dump


def test_numbers_are_compared_in_constant_time() -> None:
    """By `hmac.compare_digest`, over hashes of one length, and by nothing else."""
    tree = ast.parse(inspect.getsource(numbers.matches))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls == {"hmac.compare_digest"}
    assert not any(isinstance(node, ast.Compare) for node in ast.walk(tree))
