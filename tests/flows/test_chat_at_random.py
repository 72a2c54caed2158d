"""Three people, many codes, every push delivered up to three times and late: what always holds."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.people.store import Identity
from services.scenes.states import State
from simulator.clock import TurnableClock
from simulator.messages import PushRequest
from tests.flows.chatter import Chatter
from tests.stack import ON_LOOP, Page, Stack

pytestmark = ON_LOOP

ROUNDS = 25


class Story:
    """Random deeds of random people, and what they were answered."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self.people = [Chatter(stack, name) for name in ("alice", "bob", "carol")]
        self.pages: list[Page] = []
        self.yeses: dict[str, int] = defaultdict(int)
        self.replies: dict[bytes, set[str]] = defaultdict(set)
        self._late: list[tuple[Chatter, PushRequest]] = []

    async def round(self) -> None:
        """Some deeds of the same second, each delivered up to three times, some again later."""
        self.pages.append(await self._stack.begin(lang="en"))
        deeds = [self._deed() for _ in range(self._random.randint(1, 4))]
        deeds += self._random.sample(self._late, min(2, len(self._late)))
        self._late = deeds
        many = [deed for deed in deeds for _ in range(self._random.randint(1, 3))]
        self._random.shuffle(many)
        await asyncio.gather(*(self._deliver(*deed) for deed in many))
        if isinstance(self._stack.container.clock, TurnableClock):
            await self._stack.advance(self._random.choice((1, 1, 1, 20)))

    def _deed(self) -> tuple[Chatter, PushRequest]:
        person = self._random.choice(self.people)
        page = self._random.choice(self.pages[-3:])
        said = self._random.choice(["scan", "scan", "1", "1", "0", "what?", "unsubscribe"])
        if said == "scan":
            return person, person.scan(page)
        if said == "unsubscribe":
            return person, person.event("unsubscribe", EventKey="")
        self.yeses[person.openid] += said == "1"
        return person, person.text(said)

    async def _deliver(self, person: Chatter, push: PushRequest) -> None:
        self.replies[push.body].add(await person.sends(push))


@pytest.mark.parametrize("seed", range(4))
async def test_what_always_holds(tmp_path: Path, seed: int, any_scenes: OpenBackend) -> None:
    """No person is logged in without a yes of their own, one yes is one login, each event has one
    answer, and the page and the user agree on who it was."""
    clock = TurnableClock(SystemClock())
    login = {"confirm": "always", "confirm_ttl_seconds": 30}
    async with Stack(tmp_path, clock, login=login, stores=any_scenes) as stack:
        story = Story(stack, seed)
        for _ in range(ROUNDS):
            await story.round()
        scenes = [await stack.scene(page) for page in story.pages]
        logins: dict[str, int] = defaultdict(int)
        for scene in scenes:
            if scene is not None and scene.state is State.AUTHORIZED:
                assert scene.openid is not None
                logins[scene.openid] += 1
                app_id = stack.container.accounts.named(None).app_id
                found = await stack.container.backend.users.find(Identity(app_id, scene.openid))
                assert found is not None and found[0].id == scene.user_id
        assert all(count <= story.yeses[openid] for openid, count in logins.items())
        assert all(len(replies) == 1 for replies in story.replies.values())
